"""Every run below a folder, finished or not, as a table; and the unfinished ones removed on request."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from ecgcls.errors import ConfigError, DataError
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import NAME, RunInfo

State = Literal["finished", "running", "interrupted", "failed", "killed", "damaged"]
"""As in ``run.json``; a run that says it is running but has no process is killed, one that cannot be read damaged."""
UNFINISHED: tuple[State, ...] = ("interrupted", "failed", "killed")
_SHOWN = 50  # characters of a variant; the folder has all of it


@dataclass(frozen=True)
class ListedRun:
    """A run, what became of it, and what it says of itself (None if it is damaged)."""

    run: RunDirectory
    state: State
    info: RunInfo | None

    @property
    def started(self) -> str:
        """ISO 8601, UTC; empty if it is not known."""
        return self.info.started if self.info else ""


def list_runs(folder: Path) -> list[ListedRun]:
    """Return the runs at or below a folder, the newest first."""
    if folder.is_dir():
        next(folder.iterdir(), None)  # one that cannot be read is an OSError, of which a glob says nothing
    runs = [_describe(RunDirectory(path.parent)) for path in sorted(folder.rglob(f"fold_*/{NAME}"))]
    return sorted(runs, key=lambda each: each.started, reverse=True)


def remove_runs(listed: Sequence[ListedRun]) -> Iterator[RunDirectory]:
    """Remove unfinished runs and the folders that are then empty, and yield each; one that has begun anew stays."""
    for each in listed:
        run = each.run
        with contextlib.suppress(ConfigError), run.locked():  # refuses one that a process is training
            if _describe(run, holds_lock=True).state not in UNFINISHED:
                continue
            run.clear()
            run.path.with_name(f".{run.path.name}.lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # what is not the run's own stays, and so do the folders around it
                run.path.rmdir()
                for parent in list(run.path.parents)[:3]:  # variant, model, experiment
                    parent.rmdir()
            yield run


def tabulate_runs(listed: Sequence[ListedRun]) -> pd.DataFrame:
    """Return one row per run: what names it, its state, its macro PR-AUC, its folder."""
    return pd.DataFrame([_tabulate(each) for each in listed])


def _describe(run: RunDirectory, *, holds_lock: bool = False) -> ListedRun:
    try:
        info = run.read_info()
    except (DataError, OSError):
        return ListedRun(run, "damaged", None)
    is_killed = info.status == "running" and (holds_lock or not _has_process(run))
    return ListedRun(run, "killed" if is_killed else info.status, info)


def _has_process(run: RunDirectory) -> bool:
    """Whether a process holds the run."""
    try:
        with run.locked():
            return False
    except (ConfigError, OSError):
        return True


def _tabulate(each: ListedRun) -> dict[str, str]:
    if each.info is None:
        return {"state": each.state, "folder": str(each.run.path)}
    scores = {"val": "", "test": ""}
    if each.state == "finished":
        with contextlib.suppress(DataError, OSError, KeyError, TypeError, ValueError):
            metrics = each.run.read_metrics()
            scores = {split: f"{float(metrics[split]['overall']['pr_auc']):.3f}" for split in scores}
    variant = each.info.variant
    return {
        "experiment": each.info.experiment,
        "model": each.info.model,
        "variant": variant if len(variant) <= _SHOWN else f"{variant[: _SHOWN - 3]}...",
        "fold": str(each.info.fold),
        "state": each.state,
        "val PR-AUC": scores["val"],
        "test PR-AUC": scores["test"],
        "started": each.started[:16].replace("T", " "),
        "folder": str(each.run.path),
    }
