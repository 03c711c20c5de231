"""How a sweep shares out the machine, and what it leaves behind.

It leaves a word on every job, and the cross-validation of every configuration that is complete. The jobs run in other
processes, maybe on other machines, so all that passes between them is small files in the sweep's folder,
``outputs/.sweeps/<time>/``: ``plan.json`` says how many threads each job has, ``jobs/<number>.json`` how it ended.
"""

import contextlib
import itertools
import json
import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, flag_override

from ecgcls.errors import ConfigError
from ecgcls.processes import read_rank

log = logging.getLogger(__name__)

_ELSEWHERE = ("SlurmLauncher", "RayLauncher")  # whose jobs may run on other machines
_ON_THE_ONLY_GPU = 5  # jobs at a time: a guess, not measured; hydra.launcher.n_jobs=1 if its memory is short
_CLAIMS: list[FileLock] = []  # on a GPU, held until this process ends


@dataclass(frozen=True)
class Plan:
    """How the jobs of a sweep share the machine.

    Attributes
    ----------
    n_at_a_time
        Jobs that run side by side.
    threads
        Threads of each job. All jobs but the last few have the same number; those that are left over when the others
        are done share all cores, and start only then.
    n_gpus
        GPUs that the jobs share.
    """

    n_at_a_time: int
    threads: tuple[int, ...]
    n_gpus: int = 0

    @property
    def n_first(self) -> int:
        """The jobs that run before those left over; all of them if none is."""
        n_jobs = len(self.threads)
        return n_jobs - n_jobs % self.n_at_a_time if n_jobs > self.n_at_a_time else n_jobs


def make_plan(
    n_jobs: int, *, n_cores: int, n_gpus: int = 0, n_at_a_time: int | None = None, n_threads: int | None = None
) -> Plan:
    """Share out a machine so that it has no more threads at work than cores, unless the user asks for more jobs.

    A thread a job does more work than all threads for one job at a time: the steps of a small net are too short to
    be split well.

    Parameters
    ----------
    n_jobs
        Jobs of the sweep.
    n_cores, n_gpus
        What the machine has.
    n_at_a_time
        Jobs side by side, where the user has said it.
    n_threads
        The most threads that a job may have, where the user has said it.
    """
    if n_at_a_time is None:
        n_at_a_time = n_cores if n_gpus == 0 else _ON_THE_ONLY_GPU if n_gpus == 1 else n_gpus
        n_at_a_time = min(n_at_a_time, n_cores)
    n_at_a_time = max(1, min(n_at_a_time, n_jobs))
    n_left = n_jobs % n_at_a_time
    side_by_side = [n_at_a_time] * (n_jobs - n_left) + [n_left] * n_left
    threads = [max(1, min(n_cores // n, n_threads or n_cores)) for n in side_by_side]
    return Plan(n_at_a_time, tuple(threads), n_gpus)


def record_job(job: Callable[[DictConfig], tuple[str, float]], config: DictConfig) -> float | None:
    """Run a job; in a sweep leave word of how it ended, and let a failure not stop the others.

    Parameters
    ----------
    job
        Returns the run directory and the objective.
    config
        The job's configuration.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return job(config)[1]
    from ecgcls.command import explain, is_expected

    try:
        os.chdir(hydra.runtime.cwd)  # another machine's process may stand elsewhere
    except OSError as error:
        raise ConfigError(
            f"hydra/launcher: {socket.gethostname()} does not see the folder {hydra.runtime.cwd}, where the sweep was "
            "started; start it in one that all machines share"
        ) from error
    _take_share(Path(hydra.sweep.dir), hydra.job.num)
    word: dict[str, Any] = {"number": hydra.job.num, "overrides": list(hydra.overrides.task)}
    objective = None
    try:
        run_path, objective = job(config)
        word |= {"status": "finished", "run": run_path, "objective": objective}
    except Exception as error:
        line = explain(error, "config")
        word |= {"status": "failed", "error": line, "traceback": traceback.format_exc()}
        print(f"error: job {hydra.job.num} ({' '.join(word['overrides'])}): {line}", file=sys.stderr)
        if not is_expected(error):
            traceback.print_exc()
    if read_rank() > 0:
        return objective  # the first process of the job leaves word
    jobs = Path(hydra.sweep.dir) / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    temporary = jobs / f".{hydra.job.num}.tmp"
    temporary.write_text(json.dumps(word, indent=2))
    temporary.replace(jobs / f"{hydra.job.num}.json")
    return objective


class Sweep(Callback):
    """Hydra callback: shares out the machine; afterwards cross-validates what is complete and names failed jobs."""

    def __init__(self) -> None:
        self._watch: _Watch | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Go to the jobs without the watch, which is a thread of this process."""
        return {"_watch": None}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Choose how many jobs run side by side, with how many threads."""
        launcher, sweeper = config.hydra.launcher, config.hydra.sweeper
        searches = is_search(config.hydra)
        if searches:
            _check_search(config)
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)
        if launcher._target_.endswith("RayLauncher"):
            _check_address(launcher.ray.init.get("address"))
        if launcher._target_.endswith(_ELSEWHERE):
            os.environ.setdefault("SUBMITIT_LOG_LEVEL", "ERROR")  # not that a cluster keeps no accounts
            self._watch = _Watch(Path(config.hydra.sweep.dir) / "jobs")
            self._watch.start()
        if not launcher._target_.endswith("JoblibLauncher") or not (searches or _is_grid(config)):
            return
        from joblib import cpu_count

        n_at_a_time = launcher.n_jobs if launcher.n_jobs > 0 else None
        n_cores = cpu_count()
        n_gpus = 0 if config.trainer.get("accelerator") == "cpu" else _count_gpus()
        if (config.trainer.get("devices", 1), config.trainer.get("num_nodes", 1)) != (1, 1):  # a job has its own plan
            n_at_a_time, n_gpus = n_at_a_time or 1, 0
        if searches:  # trials after the first few learn from those that are done
            n_at_a_time = n_at_a_time or min(n_cores, sweeper.n_jobs)
        plan = make_plan(
            sweeper.n_trials if searches else _count_jobs(config),
            n_cores=n_cores,
            n_gpus=n_gpus,
            n_at_a_time=n_at_a_time,
            n_threads=int(said) if (said := os.environ.get("OMP_NUM_THREADS", "")).isdigit() else None,
        )
        with flag_override(config, ["readonly", "struct"], [False, False]):
            launcher.n_jobs = plan.n_at_a_time
            if searches:
                sweeper.n_jobs = plan.n_at_a_time
            else:
                sweeper.max_batch_size = sweeper.max_batch_size or plan.n_first  # the next batch waits for this one
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(asdict(plan)))
        if plan.n_at_a_time > 1:
            log.info("%d jobs, %d at a time", len(plan.threads), plan.n_at_a_time)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Summarise the jobs of the sweep.

        Raises
        ------
        SystemExit
            With code 1 if a job failed.
        """
        if self._watch:
            self._watch.end()
        words = [json.loads(path.read_text()) for path in _list_words(Path(config.hydra.sweep.dir) / "jobs")]
        failed = [word for word in words if word["status"] == "failed"]
        if _is_grid(config) and (n_silent := _count_jobs(config) - len(words)):
            print(f"error: {n_silent} jobs left no word in {config.hydra.sweep.dir}", file=sys.stderr)
        else:
            n_silent = 0
        try:
            if is_search(config.hydra):
                _summarise_search(config, words)
            else:
                summarise(words)
        except Exception as error:  # Hydra would only warn
            from ecgcls.command import explain

            print(f"error: the summary of the sweep failed: {explain(error, 'config')}", file=sys.stderr)
            raise SystemExit(1) from error
        if failed:
            print(f"\n{len(failed)} of {len(words)} jobs failed:", file=sys.stderr)
            for word in failed:
                print(f"  {' '.join(word['overrides'])}: {word['error']}", file=sys.stderr)
        if failed or n_silent:
            raise SystemExit(1)


def summarise(words: list[dict[str, Any]]) -> None:
    """Cross-validate every configuration that the jobs touched, and print one table with a line each."""
    from ecgcls.cross_validation import cross_validate, tabulate

    configurations = list(dict.fromkeys(Path(word["run"]).parent for word in words if word["status"] == "finished"))
    found = [cross_validate(folder) for folder in configurations]
    if found:
        print(f"\n{tabulate(found)}")
    for validated in found:
        print(validated.folder / "cv" if validated.is_complete else f"{validated.folder}: {validated.say_missing()}")


def _summarise_search(config: DictConfig, words: list[dict[str, Any]]) -> None:
    """Write the trials and the best of them into the experiment's folder, and print them."""
    from ecgcls.search import write_search

    sweep_folder = Path(config.hydra.sweep.dir)
    folder = Path(config.output_dir) / config.experiment / "search" / sweep_folder.name
    choices = [f"callbacks={config.hydra.runtime.choices.callbacks}"]
    print(f"\n{write_search(words, sweep_folder, folder, choices=choices).say()}")


def _check_search(config: DictConfig) -> None:
    """Refuse to search for the best fold, which is what a list of folds would mean to the sweeper."""
    for override in OverridesParser.create().parse_overrides(list(config.hydra.overrides.task)):
        if override.is_sweep_override() and override.get_key_element() in ("fold", "seed"):
            key = override.get_key_element()
            print(
                f"error: {key}: a search is over settings and would pick the luckiest {key}; give one {key} here, and "
                "sweep the best settings afterwards",
                file=sys.stderr,
            )
            raise SystemExit(1)


def _check_address(address: str | None) -> None:
    """Refuse the address of a Ray cluster where nobody answers, for whom Ray waits minutes."""
    host, _, port = (address or "").rpartition(":")
    if not (host and port.isdigit()) or "/" in host:
        return  # none, auto, or an address of Ray's own kinds
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        print(f"error: hydra.launcher.ray.init.address={address}: nobody answers ({error})", file=sys.stderr)
        raise SystemExit(1) from error


def is_search(hydra: Any) -> bool:
    """Whether Hydra's own part of a configuration says that its jobs are the trials of a search."""
    return hydra.mode == RunMode.MULTIRUN and str(hydra.sweeper._target_).endswith("OptunaSweeper")


def _is_grid(config: DictConfig) -> bool:
    return str(config.hydra.sweeper._target_).endswith("BasicSweeper")


def _take_share(sweep_folder: Path, job: int) -> None:
    """Use no more of the machine than the sweep's plan has for this job, where there is one."""
    path = sweep_folder / "plan.json"
    if not path.is_file():  # a launcher that shares out the machine itself; SLURM may let a job see all cores
        if "SLURM_CPUS_PER_TASK" in os.environ:
            import torch

            torch.set_num_threads(int(os.environ["SLURM_CPUS_PER_TASK"]))
        return
    plan = json.loads(path.read_text())
    if plan["n_gpus"] and plan["n_at_a_time"] > 1:
        _claim_gpu(sweep_folder, plan["n_gpus"])
    import torch

    torch.set_num_threads(plan["threads"][job])


def _claim_gpu(folder: Path, n_gpus: int) -> None:
    """Let this process see one GPU alone, the one with the fewest claims, for as long as it lives."""
    if _CLAIMS:
        return
    for place, gpu in ((place, gpu) for place in itertools.count() for gpu in range(n_gpus)):
        lock = FileLock(folder / f"gpu{gpu}_{place}.lock")
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0)
            _CLAIMS.append(lock)
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
            return


def _count_jobs(config: DictConfig) -> int:
    overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    return sum(len(batch) for batch in BasicSweeper.split_arguments(overrides, None))


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _list_words(jobs: Path) -> list[Path]:
    return sorted(jobs.glob("*.json"), key=lambda path: int(path.stem))


class _Watch(threading.Thread):
    """Tells of each job that ends on another machine, whose messages do not come here."""

    def __init__(self, jobs: Path) -> None:
        super().__init__(daemon=True)
        self._jobs = jobs
        self._told: set[Path] = set()
        self._arrays: set[str] = set()
        self._is_over = threading.Event()

    def run(self) -> None:
        """Look now and then."""
        while not self._is_over.wait(2):
            self._tell()

    def end(self) -> None:
        """Stop, after a last look."""
        self._is_over.set()
        self.join()
        self._tell()

    def _tell(self) -> None:
        arrays = {path.name.partition("_")[0] for path in (self._jobs.parent / ".submitit").glob("*_*/")}
        for array in sorted(arrays - self._arrays):
            log.info("Job array %s of SLURM: squeue --jobs=%s, scancel %s", array, array, array)
        self._arrays |= arrays
        for path in _list_words(self._jobs):
            if path not in self._told:
                self._told.add(path)
                word = json.loads(path.read_text())
                log.info("Job %d %s: %s", word["number"], word["status"], " ".join(word["overrides"]))
