"""Hydra's callback around a sweep: what happens before its jobs start and after they end.

Everything that the jobs share is in the sweep's folder, ``outputs/.sweeps/<time>/``: ``plan.json`` says how many run at
a time, ``jobs/<number>.json`` how each ended.
"""

import json
import logging
import os
import socket
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from ecgcls.command.refusal import explain
from ecgcls.command.start import check_sweep_folder, resolve
from ecgcls.config import check_group
from ecgcls.errors import ConfigError, DataError
from ecgcls.sweeps.plan import make_plan
from ecgcls.sweeps.reports import Report, is_search, list_reports

log = logging.getLogger(__name__)

_ELSEWHERE = ("SlurmLauncher", "RayLauncher")  # whose jobs may run on other machines


class Sweep(Callback):
    """Hydra callback: divides the machine; afterwards cross-validates what is complete and names failed jobs."""

    _watch: "_Watch | None" = None

    def __getstate__(self) -> dict[str, Any]:
        """Go to the jobs without the watch, which is a thread of this process."""
        return {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Choose how many jobs run side by side."""
        try:
            _check(config)
        except (ConfigError, DataError) as error:  # Hydra would only log it
            print(f"error: {explain(error)}", file=sys.stderr)
            raise SystemExit(1) from error
        if is_search(config.hydra):
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)
        launcher = config.hydra.launcher._target_
        if launcher.endswith(_ELSEWHERE):
            os.environ.setdefault("SUBMITIT_LOG_LEVEL", "ERROR")  # not that a cluster keeps no accounts
            self._watch = _Watch(Path(config.hydra.sweep.dir))
            self._watch.start()
        if launcher.endswith("JoblibLauncher") and (is_search(config.hydra) or _is_grid(config)):
            _divide_machine(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Summarize the jobs of the sweep, and exit with code 1 if one failed."""
        if self._watch:
            self._watch.end()
        folder = Path(config.hydra.sweep.dir)
        reports = list_reports(folder)
        failed = [report for report in reports if report.status == "failed"]
        n_silent = _count_jobs(config) - len(reports) if _is_grid(config) else 0
        if n_silent:
            print(f"error: {n_silent} jobs left no report in {folder}", file=sys.stderr)
        try:
            if summary := _summarize(config, reports):
                print(f"\n{summary}")
        except Exception as error:  # Hydra would only warn
            print(f"error: the summary of the sweep failed: {explain(error)}", file=sys.stderr)
            raise SystemExit(1) from error
        if failed:
            print(f"\n{len(failed)} of {len(reports)} jobs failed:", file=sys.stderr)
            for report in failed:
                print(f"  {report.typed}: {report.error}", file=sys.stderr)
        if failed or n_silent:
            raise SystemExit(1)


def _check(config: DictConfig) -> None:
    """Refuse what a sweep cannot do."""
    check_sweep_folder(config.hydra.overrides.hydra, is_sweep=True)
    if is_search(config.hydra):
        _check_search(config)
    launcher = config.hydra.launcher
    address = launcher.ray.init.get("address") if launcher._target_.endswith("RayLauncher") else None
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host:  # else none, auto, or an address of Ray's own kinds
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:  # Ray would wait for minutes
            raise ConfigError(f"hydra.launcher.ray.init.address={address}: no answer ({error})") from error


def _check_search(config: DictConfig) -> None:
    """Refuse a search over folds or seeds, and one whose every trial would fail for want of its data."""
    overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    swept = [override.get_key_element() for override in overrides if override.is_sweep_override()]
    for key in ("fold", "seed"):
        if key in swept:  # a list of folds would mean to the sweeper: find the best fold
            raise ConfigError(
                f"{key}: a search is over settings and would pick the luckiest {key}; give one {key} here, and sweep "
                "the best settings afterwards"
            )
    if not any(key.partition(".")[0] in ("data", "task", "folds") for key in [*swept, *config.hydra.sweeper.params]):
        from ecgcls.jobs.parts import check_data

        plain = resolve(OmegaConf.masked_copy(config, ["data", "task", "folds", "fold"]))
        for group in ("data", "task", "folds"):
            check_group(group, plain[group])
        check_data(plain)


def _divide_machine(config: DictConfig) -> None:
    """Write the plan of the sweep, and set it in the configuration of its launcher and sweeper."""
    from joblib import cpu_count

    launcher, sweeper, searches = config.hydra.launcher, config.hydra.sweeper, is_search(config.hydra)
    n_at_a_time = launcher.n_jobs if launcher.n_jobs > 0 else None
    n_cores = cpu_count()
    n_gpus = 0
    if config.trainer.get("accelerator") != "cpu":
        import torch

        n_gpus = torch.cuda.device_count()
    if (config.trainer.get("devices", 1), config.trainer.get("num_nodes", 1)) != (1, 1):  # a job has its own plan
        n_at_a_time, n_gpus = n_at_a_time or 1, 0
    if searches:  # trials after the first few learn from those that are done
        n_at_a_time = n_at_a_time or min(n_cores, sweeper.n_jobs)
    n_jobs = sweeper.n_trials if searches else _count_jobs(config)
    plan = make_plan(n_jobs, n_cores=n_cores, n_threads=config.n_threads, n_gpus=n_gpus, n_at_a_time=n_at_a_time)
    with flag_override(config, ["readonly", "struct"], [False, False]):
        launcher.n_jobs = plan.n_at_a_time
        if searches:
            sweeper.n_jobs = plan.n_at_a_time
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(asdict(plan) | {"process": os.getpid()}))
    if plan.n_at_a_time > 1:
        log.info("%d jobs, %d at a time", plan.n_jobs, plan.n_at_a_time)


def _summarize(config: DictConfig, reports: list[Report]) -> str:
    """Write the results of a search, or cross-validate every configuration that the jobs touched; return a table."""
    if is_search(config.hydra):
        from ecgcls.sweeps.search import write_search

        sweep_folder = Path(config.hydra.sweep.dir)
        folder = Path(config.output_dir) / config.experiment / "search" / sweep_folder.name
        choices = [f"callbacks={config.hydra.runtime.choices.callbacks}"]
        return write_search(reports, sweep_folder, folder, choices=choices)
    from ecgcls.jobs.cross_validate import cross_validate, format_configurations

    folders = dict.fromkeys(Path(report.run).parent for report in reports if report.status == "finished")
    found = [cross_validate(folder) for folder in folders]
    ends = [str(one.folder / "cv") if one.is_complete else f"{one.folder}: {one.missing}" for one in found]
    return "\n".join([format_configurations(found), *ends]) if found else ""


def _is_grid(config: DictConfig) -> bool:
    return str(config.hydra.sweeper._target_).endswith("BasicSweeper")


def _count_jobs(config: DictConfig) -> int:
    overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    return sum(len(batch) for batch in BasicSweeper.split_arguments(overrides, None))


class _Watch(threading.Thread):
    """Logs each job that ends on another machine, whose own messages stay there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder  # of the sweep
        self._seen: set[int | str] = set()  # numbers of the jobs that have ended, and names of arrays
        self._is_over = threading.Event()

    def run(self) -> None:
        """Look now and then, and once more at the end."""
        while not self._is_over.wait(2):
            self._look()
        self._look()

    def end(self) -> None:
        """Stop, after a last look."""
        self._is_over.set()
        self.join()

    def _look(self) -> None:
        arrays = {path.name.partition("_")[0] for path in (self._folder / ".submitit").glob("*_*/")}
        for array in sorted(arrays - self._seen):
            log.info("Job array %s of SLURM: squeue --jobs=%s, scancel %s", array, array, array)
        ended = [report for report in list_reports(self._folder) if report.number not in self._seen]
        for report in ended:
            log.info("Job %d %s: %s", report.number, report.status, report.typed)
        self._seen |= arrays | {report.number for report in ended}
