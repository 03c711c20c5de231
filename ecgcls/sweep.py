"""What a sweep leaves behind: a word on every job, and the cross-validation of every configuration that is complete.

The jobs of a sweep may run in other processes or on other machines, so each leaves a small file in the sweep's
folder, ``outputs/.sweeps/<time>/jobs/<number>.json``; the summary reads nothing else.
"""

import json
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

log = logging.getLogger(__name__)


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
    from ecgcls.command import EXPECTED, explain

    word: dict[str, Any] = {"number": hydra.job.num, "overrides": list(hydra.overrides.task)}
    objective = None
    try:
        run_path, objective = job(config)
        word |= {"status": "finished", "run": run_path}
    except Exception as error:
        line = explain(error, "config")
        word |= {"status": "failed", "error": line, "traceback": traceback.format_exc()}
        print(f"error: job {hydra.job.num} ({' '.join(word['overrides'])}): {line}", file=sys.stderr)
        if not isinstance(error, EXPECTED):
            traceback.print_exc()
    jobs = Path(hydra.sweep.dir) / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    temporary = jobs / f".{hydra.job.num}.tmp"
    temporary.write_text(json.dumps(word, indent=2))
    temporary.replace(jobs / f"{hydra.job.num}.json")
    return objective


class SweepSummary(Callback):
    """Hydra callback: after a sweep, cross-validates what is complete, prints the table and names failed jobs."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Summarise the jobs of the sweep.

        Raises
        ------
        SystemExit
            With code 1 if a job failed.
        """
        words = [
            json.loads(path.read_text())
            for path in sorted((Path(config.hydra.sweep.dir) / "jobs").glob("*.json"), key=_job_number)
        ]
        failed = [word for word in words if word["status"] == "failed"]
        try:
            summarise(words)
        except Exception as error:  # Hydra would only warn
            from ecgcls.command import explain

            print(f"error: the cross-validation summary failed: {explain(error, 'config')}", file=sys.stderr)
            raise SystemExit(1) from error
        if failed:
            print(f"\n{len(failed)} of {len(words)} jobs failed:", file=sys.stderr)
            for word in failed:
                print(f"  {' '.join(word['overrides'])}: {word['error']}", file=sys.stderr)
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


def _job_number(path: Path) -> int:
    return int(path.stem)
