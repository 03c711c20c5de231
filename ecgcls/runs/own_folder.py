"""The folder that a run writes into: kept to one process, emptied of the run's own files alone, never another's."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ecgcls.errors import ConfigError, DataError
from ecgcls.files import remove_leftovers
from ecgcls.runs import manifest
from ecgcls.runs.info import NAME
from ecgcls.runs.saved import read_json

CONFIG = ".hydra/config.yaml"
"""The file of the run's configuration."""
_MAX_BYTES = 20_000_000  # of run.json
_OWN_FILES = (
    NAME, manifest.NAME, "best.ckpt", "last.ckpt", "baseline.json", "predictions.csv", "predictions_uncalibrated.csv",
    "groups.csv", "likelihoods.csv", "likeness.npz", "label_noise.csv", "repairs.csv", "left_out.csv", "history.csv",
    "metrics.json", "metrics_by_class.csv", "confusion_matrix.csv", "intervals.csv", "reliability.csv",
    "calibration.csv", "calibration_curves.csv", "decision_curves.csv", "subgroups.csv", "model_card.md",
    "tripod_ai.md", "run.log", "teacher.npz",
)  # fmt: skip
_OWN_FOLDERS = (
    ".hydra", "figures", "log", "tensorboard", "wandb", "evaluate", "interpret", "interpret_input", "predict",
    "compare", "waveforms",
)  # fmt: skip


@dataclass(frozen=True)
class OwnFolder:
    """A run's folder, whatever is in it."""

    path: Path

    @property
    def is_begun(self) -> bool:
        """Whether a run has started here."""
        return (self.path / NAME).is_file()

    def check_writable(self) -> None:
        """Refuse a folder that cannot be written, before minutes are spent on the data."""
        existing = next(parent for parent in (self.path, *self.path.absolute().parents) if parent.exists())
        why = "no permission" if existing.is_dir() else "it is a file"
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise ConfigError(f"output_dir: {existing} cannot be written ({why}); set output_dir=PATH")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep a second process out of it; the lock ends with the process, however it ends."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"output_dir: {self.path} cannot be made ({error.strerror}); set output_dir=PATH"
            ) from error
        try:
            with FileLock(lock, timeout=0):
                yield
        except Timeout:
            process: Any = {}
            with suppress(DataError):  # the other process may be replacing a damaged one
                process = read_json(self.path / NAME, max_bytes=_MAX_BYTES)["process"]
            raise ConfigError(
                f"{self.path}: another process is training this run (process {process.get('pid', '?')} on "
                f"{process.get('host', '?')} holds {lock}); wait for it, or choose another experiment=NAME"
            ) from None

    def clear(self) -> None:
        """Remove the run's own files and folders; whatever else is in the folder stays."""
        self.check_own()
        entries = {self.path / name for name in (*_OWN_FILES, *_OWN_FOLDERS)} | {*self.path.glob("*.ckpt")}
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        self.remove_leftovers()

    def remove_leftovers(self) -> None:
        """Remove what a process that was killed while it wrote has left."""
        for folder in (self.path, self.path / ".hydra", self.path / "figures"):
            remove_leftovers(folder)

    def check_own(self) -> None:
        """Refuse a folder that a run must not write into: a symbolic link, or what is no run's and not empty."""
        if self.path.is_symlink():
            raise ConfigError(
                f"{self.path} is a symbolic link to {self.path.resolve()}: a run is not written, nor emptied, through "
                "one; name the folder itself, or choose another experiment=NAME"
            )
        known = {*_OWN_FILES, *_OWN_FOLDERS}
        foreign = [path.name for path in self.path.iterdir() if path.name not in known] if self.path.is_dir() else []
        if foreign and not self.is_begun and not (self.path / CONFIG).is_file():
            raise ConfigError(
                f"{self.path} is not the folder of a run, and not empty ({sorted(foreign)[0]} is in it): name another"
            )
