"""A run directory: everything that is needed to defend the result of one fold.

``outputs/<experiment>/<model>/<variant>/fold_<k>/`` holds

- ``.hydra/config.yaml``: the resolved configuration, readable without this package;
- ``run.json``: status, versions, git commit, data, seed, time of each stage; see `ecgcls.runs.info.RunInfo`;
- ``best.ckpt``, ``last.ckpt``: the epoch with the best validation score, and the one to resume from;
- ``predictions.csv``: validation and test predictions of each record, recalibrated, with the decisions at the run's
  thresholds; ``predictions_uncalibrated.csv``: the best net's own probabilities;
- ``repairs.csv``, ``left_out.csv``, where there is anything to list: what was changed in a record or is doubtful about
  it, and which records cannot be used or repeat another;
- ``groups.csv``: the subgroups that each of these records belongs to;
- ``metrics.json``, ``metrics_by_class.csv``, ``history.csv``, ``figures/``: computed from predictions and epochs;
- ``run.log``.

The ``<variant>`` says what differs from the defaults; there is no such folder where nothing does.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock, Timeout

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.files import write_atomically, write_json
from ecgcls.identity import identify
from ecgcls.runs.info import NAME, RunInfo
from ecgcls.runs.predictions_csv import read_csv, write_csv

_CONFIG = ".hydra/config.yaml"


@dataclass(frozen=True)
class RunDirectory:
    """One run's folder and the files in it."""

    path: Path

    @property
    def best_checkpoint(self) -> Path:
        """The epoch with the best validation score."""
        return self.path / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The last finished epoch."""
        return self.path / "last.ckpt"

    @property
    def is_begun(self) -> bool:
        """Whether a run has started here."""
        return (self.path / NAME).is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the run ended and its results are all there."""
        return self.is_begun and self.read_info().is_finished

    def read_info(self) -> RunInfo:
        """Return ``run.json``; a damaged one is a `DataError`, a missing one a `FileNotFoundError`."""
        path = self.path / NAME
        try:
            return RunInfo.from_dict(json.loads(path.read_text()))
        except (ValueError, TypeError, KeyError) as error:
            raise _damaged(path, error) from error

    def write_info(self, info: RunInfo) -> None:
        """Replace ``run.json``."""
        write_json(self.path / NAME, info.to_dict())

    def read_config(self) -> dict[str, Any]:
        """Return the run's own resolved configuration."""
        path = self.path / _CONFIG
        try:
            config: dict[str, Any] = yaml.safe_load(path.read_text())
        except FileNotFoundError as error:
            raise DataError(f"{path}: this file of the run is missing; move the folder elsewhere") from error
        return config

    def write_config(self, text: str) -> None:
        """Keep the resolved configuration, as YAML."""
        write_atomically(self.path / _CONFIG, text.encode())

    def hash_predictions(self) -> str:
        """Return the SHA-256 of ``predictions.csv``."""
        return hashlib.sha256((self.path / "predictions.csv").read_bytes()).hexdigest()

    def read_predictions(self, split: str | None = None, *, is_calibrated: bool = True) -> Predictions:
        """Return the run's predictions of its ``val`` or ``test`` part, or of both; or those before recalibration."""
        predictions = read_csv(self._predictions(is_calibrated))
        return predictions if split is None else predictions.select(split)

    def write_predictions(self, predictions: Predictions, *, is_calibrated: bool = True) -> None:
        """Replace the predictions of both parts."""
        write_csv(predictions, self._predictions(is_calibrated))

    def _predictions(self, is_calibrated: bool) -> Path:
        return self.path / ("predictions.csv" if is_calibrated else "predictions_uncalibrated.csv")

    def read_groups(self) -> pd.DataFrame:
        """Return the subgroups of the predicted records: by ecg_id, a column of text per grouping."""
        path = self.path / "groups.csv"
        try:
            groups = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
            return groups.set_index(groups.pop("ecg_id").astype(int))
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(path, error) from error

    def write_groups(self, groups: pd.DataFrame) -> None:
        """Replace the subgroups of the predicted records."""
        write_atomically(self.path / "groups.csv", groups.to_csv(index_label="ecg_id").encode())

    def read_history(self) -> pd.DataFrame:
        """Return losses and metrics, one row per epoch."""
        path = self.path / "history.csv"
        try:
            return pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error

    def write_history(self, history: pd.DataFrame) -> None:
        """Replace the table of epochs."""
        write_atomically(self.path / "history.csv", history.to_csv(index=False).encode())

    def read_metrics(self) -> dict[str, Any]:
        """Return ``metrics.json``."""
        path = self.path / "metrics.json"
        try:
            metrics: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error
        return metrics

    def check_same_config(self, identity: Mapping[str, Any]) -> None:
        """Refuse a folder that was made for another configuration; `identity` is from `ecgcls.identity.identify`."""
        if not self.is_begun and not (self.path / _CONFIG).is_file():
            return
        existing = identify(self.read_config())
        differing = [key for key in sorted(existing.keys() | identity.keys()) if existing.get(key) != identity.get(key)]
        if differing:
            key = differing[0]
            more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            raise ConfigError(
                f"{self.path} holds a run of another configuration ({key}: {existing.get(key)} there, "
                f"{identity.get(key)} requested{more}): choose another experiment=NAME, or retrain with overwrite=true"
            )

    def check_same_data(self, fingerprint: Mapping[str, str]) -> None:
        """Refuse a run that was trained on other data; `fingerprint` is a SHA-256 by name of table or signals."""
        if not self.is_begun:
            return
        trained_on = self.read_info().data.get("fingerprint", {})
        differing = [name for name, digest in fingerprint.items() if trained_on.get(name, digest) != digest]
        if differing:
            raise ConfigError(
                f"{self.path}: this run was trained on other data ({', '.join(differing)} differ): retrain with "
                "overwrite=true, or choose another experiment=NAME"
            )

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
            process = self.read_info().process if self.is_begun else {}
            raise ConfigError(
                f"{self.path}: another process is training this run (process {process.get('pid', '?')} on "
                f"{process.get('host', '?')} holds {lock}); wait for it, or choose another experiment=NAME"
            ) from None

    def clear(self) -> None:
        """Remove everything in the folder."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _damaged(path: Path, error: Exception) -> DataError:
    what = "missing" if isinstance(error, FileNotFoundError) else f"damaged ({error})"
    return DataError(f"{path}: {what}; retrain with overwrite=true")
