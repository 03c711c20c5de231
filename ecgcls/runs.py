"""A run directory: build and train what a configuration says, and keep all that is needed to defend the result.

``outputs/<experiment>/<model>/<variant>/fold_<k>/`` holds

- ``.hydra/config.yaml``: the resolved configuration, readable without this package;
- ``run.json``: status, versions, git commit, what the data were, seed, wall time of each stage;
- ``best.ckpt``, ``last.ckpt``: the epoch with the best validation score, and the one to go on from;
- ``predictions.csv``: what the best net says about every record of validation and test;
- ``metrics.json``, ``metrics_by_class.csv``, ``history.csv``, ``figures/``: computed from the predictions and epochs;
- ``run.log``.

The `<variant>` says what differs from the defaults; it is absent where nothing does.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from ecgcls.config import identify
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.results import write_json


@dataclass(frozen=True)
class RunDirectory:
    """One run's folder and what stands in it."""

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
    def is_finished(self) -> bool:
        """Whether the run ended and its results are all there."""
        return self.read_info().get("status") == "finished"

    def read_info(self) -> dict[str, Any]:
        """Return ``run.json``; empty where there is none."""
        try:
            info: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DataError(f"{self.path / 'run.json'}: damaged ({error}); train anew with overwrite=true") from error
        return info

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Replace ``run.json``."""
        write_json(self.path / "run.json", info)

    def read_config(self) -> DictConfig:
        """Return the run's own resolved configuration."""
        config = OmegaConf.load(self.path / ".hydra" / "config.yaml")
        assert isinstance(config, DictConfig)
        return config

    def read_predictions(self) -> Predictions:
        """Return what the best net said about the validation and the test part."""
        return Predictions.from_csv(self.path / "predictions.csv")

    def read_metrics(self) -> dict[str, Any]:
        """Return ``metrics.json``."""
        metrics: dict[str, Any] = json.loads((self.path / "metrics.json").read_text())
        return metrics

    def check_same_config(self, config: DictConfig) -> None:
        """Refuse another configuration than the one this folder was made for.

        Raises
        ------
        ConfigError
            Naming the keys that differ.
        """
        if not (self.path / ".hydra" / "config.yaml").is_file():
            return
        there, asked = identify(self.read_config()), identify(config)
        differing = sorted(key for key in there.keys() | asked.keys() if there.get(key) != asked.get(key))
        if differing:
            key = differing[0]
            more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            raise ConfigError(
                f"{self.path} holds a run of another configuration ({key}: {there.get(key)} there, {asked.get(key)} "
                f"asked{more}): choose another experiment=NAME, or train anew with overwrite=true"
            )

    def tabulate_test(self) -> pd.DataFrame:
        """Return the test metrics, a row a class and one for their macro average."""
        test = self.read_metrics()["test"]
        columns = {"n_positive": "positives", "pr_auc": "PR-AUC", "roc_auc": "ROC-AUC", "f1": "F1"}
        table = pd.DataFrame(test["by_class"]).T[list(columns)].rename(columns=columns)
        overall = test["overall"]
        table.loc["macro"] = [overall["n_positive"], overall["pr_auc"], overall["roc_auc"], overall["f1_macro"]]
        return table.astype(float).astype({"positives": int})

    def check_writable(self) -> None:
        """Refuse a folder that cannot be written, before minutes are spent on the data."""
        existing = next(parent for parent in (self.path, *self.path.absolute().parents) if parent.exists())
        if not existing.is_dir():
            raise ConfigError(f"output_dir: {existing} is a file, {self.path} cannot be made; set output_dir=PATH")
        if not os.access(existing, os.W_OK):
            raise ConfigError(f"output_dir: {existing} cannot be written (no permission); set output_dir=PATH")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep a second process out of it; the lock goes with the process, however it ends."""
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
            raise ConfigError(f"{self.path}: another process is training this run (it holds {lock})") from None

    def empty(self) -> None:
        """Remove all that the folder holds."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def place_run(config: DictConfig, *, model: str, variant: str) -> RunDirectory:
    """Say where the run of a configuration stands."""
    folder = Path(config.output_dir) / config.experiment / model / variant / f"fold_{config.fold}"
    return RunDirectory(folder)


def say_title(info: Mapping[str, Any]) -> str:
    """Name a run in a figure's title from what ``run.json`` says."""
    return f"{info['model']}, fold {info['fold']}" + (" (simulated ECGs)" if info["synthetic"] else "")
