"""What each job of a sweep reports when it ends.

The jobs run in other processes, possibly on other machines, so their reports are small files in the sweep's folder:
``jobs/<number>.json``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from ecgcls.command.processes import read_rank
from ecgcls.command.refusal import explain, is_expected
from ecgcls.command.screen import guard_screen
from ecgcls.command.start import is_sweep
from ecgcls.errors import ConfigError
from ecgcls.sweeps.plan import join_sweep


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a job ended: its folder and objective (the best validation PR-AUC), or the error and its traceback."""

    number: int
    overrides: list[str]
    status: Literal["finished", "failed"]
    run: str = ""
    objective: float | None = None
    error: str = ""
    traceback: str = ""

    @property
    def typed(self) -> str:
        """The overrides as one line."""
        return " ".join(self.overrides)

    def write(self, sweep_folder: Path) -> None:
        """Write the job's file; another process sees it whole or not at all."""
        from ecgcls.files import write_json  # imports NumPy

        write_json(sweep_folder / "jobs" / f"{self.number}.json", asdict(self))


def report_job(job: Callable[[], tuple[Path, float]]) -> float | None:
    """Run a job; in a sweep report how it ended, and let a failure not stop the others. Return its objective."""
    if not is_sweep():
        return job()[1]
    with guard_screen():  # in a process of its own
        return _report(job)


def _report(job: Callable[[], tuple[Path, float]]) -> float | None:
    hydra = HydraConfig.get()
    try:
        os.chdir(hydra.runtime.cwd)  # another machine's process may be elsewhere
    except OSError as error:
        raise ConfigError(
            f"hydra/launcher: {socket.gethostname()} does not see the folder {hydra.runtime.cwd}, where the sweep was "
            "started; start it in one that all machines share"
        ) from error
    folder, number, overrides = Path(hydra.sweep.dir), hydra.job.num, list(hydra.overrides.task)
    join_sweep(folder)
    try:
        run, objective = job()
        report = Report(number=number, overrides=overrides, status="finished", run=str(run), objective=objective)
    except Exception as error:
        trace = traceback.format_exc()
        report = Report(number=number, overrides=overrides, status="failed", error=explain(error), traceback=trace)
        print(f"error: job {number} ({report.typed}): {report.error}", file=sys.stderr)
        if not is_expected(error):
            traceback.print_exc()
    if read_rank() == 0:  # the first process of the job reports
        report.write(folder)
    return report.objective


def list_reports(sweep_folder: Path) -> list[Report]:
    """Read the reports of the jobs that have ended, in the order of their numbers."""
    reports = [Report(**json.loads(path.read_text())) for path in (sweep_folder / "jobs").glob("*.json")]
    return sorted(reports, key=lambda report: report.number)


def is_search(hydra: Any) -> bool:
    """Whether Hydra's own part of a configuration says that its jobs are the trials of a search."""
    return hydra.mode == RunMode.MULTIRUN and str(hydra.sweeper._target_).endswith("OptunaSweeper")


def is_trial() -> bool:
    """Whether the running job is a trial of a search."""
    return is_search(HydraConfig.get())
