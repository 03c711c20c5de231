"""Two ways to fit, with one shape: a net with Lightning, a baseline in closed form."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ecgcls.data.module import ECGDataModule
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.metrics import score
from ecgcls.files import STANDARDIZED_ON, hash_records, write_json
from ecgcls.training.baselines import MetadataBaseline
from ecgcls.training.callbacks import History
from ecgcls.training.classifier import ECGClassifier
from ecgcls.training.gathering import gather_rows, leave_group

log = logging.getLogger(__name__)

Predicted = dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
"""By part the rows of the cohort ``(record,)`` and their probabilities ``(record, class)``."""


@dataclass
class NetFitter:
    """Trains a net; its trainer keeps ``best.ckpt`` and ``last.ckpt`` in the folder."""

    classifier: ECGClassifier
    trainer: pl.Trainer
    kind: Literal["net"] = "net"

    @property
    def n_parameters(self) -> int:
        """Parameters of the net."""
        return sum(parameter.numel() for parameter in self.classifier.net.parameters())

    @property
    def n_steps(self) -> int:
        """Steps of the optimizer so far."""
        return self.trainer.global_step

    def attach(self, loggers: Sequence[Logger]) -> None:
        """Have every epoch logged by these."""
        self.trainer.loggers = list(loggers)

    def fit(self, data: ECGDataModule, folder: Path, *, resume: bool) -> pd.DataFrame:
        """Train, from the last epoch in the folder where `resume`; return losses and metrics, one row per epoch.

        What only Lightning finds wrong, or a training without an epoch worth keeping, is a `ConfigError`.
        """
        last = folder / "last.ckpt"
        checkpoint = str(last) if resume and last.is_file() else None
        if checkpoint:
            log.info("Resuming from %s", checkpoint)
        try:
            self.trainer.fit(self.classifier, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except MisconfigurationException as error:
            raise ConfigError(f"trainer: {error}") from error
        except SystemExit as stopped:  # what Lightning makes of a Ctrl-C
            raise KeyboardInterrupt from stopped
        if self.trainer.interrupted:
            raise KeyboardInterrupt
        if not (folder / "best.ckpt").is_file():
            raise ConfigError(f"{folder}: training saved no best.ckpt; does callbacks.checkpoint.monitor exist?")
        callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        history = next(callback for callback in callbacks if isinstance(callback, History))
        return history.table.copy()  # predicting restores the callbacks of the best epoch

    def predict(self, data: ECGDataModule, folder: Path) -> Predicted:
        """Predict validation and test set with the best epoch; each process gets all rows."""
        best = str(folder / "best.ckpt")
        batches: Any = self.trainer.predict(self.classifier, datamodule=data, ckpt_path=best, weights_only=True)
        predicted = {}
        for part, of_part in zip(("val", "test"), batches, strict=True):
            rows, y_prob = gather_rows(
                torch.cat([batch["record"] for batch in of_part]).cpu(),
                torch.cat([batch["y_prob"] for batch in of_part]).float().cpu(),
            )
            if not np.isfinite(y_prob).all():
                raise DataError("the net's probabilities are not finite: training diverged; try a smaller optimizer.lr")
            predicted[part] = (rows, y_prob)
        leave_group()
        return predicted

    def describe(self, folder: Path) -> dict[str, Any]:
        """Return `best_epoch`, `standardized_on` and `pos_weight` of `ecgcls.runs.info.RunInfo`."""
        stored = torch.load(folder / "best.ckpt", weights_only=True, map_location="cpu")
        pos_weight = getattr(self.classifier.loss, "pos_weight", None)
        return {
            "best_epoch": stored["epoch"],
            "standardized_on": stored[STANDARDIZED_ON],
            "pos_weight": None if pos_weight is None else pos_weight.cpu().double().tolist(),
        }


@dataclass
class BaselineFitter:
    """Fits a baseline, and keeps its coefficients as ``baseline.json`` in the folder."""

    baseline: MetadataBaseline
    kind: Literal["baseline"] = "baseline"
    n_steps: int = 0

    @property
    def n_parameters(self) -> int:
        """Fitted numbers."""
        return self.baseline.n_parameters

    def attach(self, loggers: Sequence[Logger]) -> None:
        """Log nothing: there are no epochs."""

    def fit(self, data: ECGDataModule, folder: Path, *, resume: bool) -> pd.DataFrame:
        """Fit; the history has one epoch."""
        rows = data.cohort.find_part("train")
        records = data.cohort.records.iloc[rows]
        self.baseline.fit(records, data.cohort.y_true[rows])
        self._standardized_on = hash_records(records.index)
        write_json(folder / "baseline.json", self.baseline.describe(data.class_names))
        train, val = self._score(data, "train"), self._score(data, "val")
        epoch = {"epoch": 0, "train/loss": train["log_loss"], "val/loss": val["log_loss"]}
        return pd.DataFrame([epoch | {f"val/{key}": val[key] for key in ("pr_auc", "roc_auc", "f1_macro", "f1_micro")}])

    def predict(self, data: ECGDataModule, folder: Path) -> Predicted:
        """Predict from the table."""
        rows = {part: data.cohort.find_part(part) for part in ("val", "test")}
        return {part: (own, self.baseline.predict(data.cohort.records.iloc[own])) for part, own in rows.items()}

    def describe(self, folder: Path) -> dict[str, Any]:
        """Return the records that the baseline was fitted on; it has one epoch and an unweighted loss."""
        return {"best_epoch": 0, "standardized_on": self._standardized_on, "pos_weight": None}

    def _score(self, data: ECGDataModule, part: Literal["train", "val"]) -> dict[str, Any]:
        rows = data.cohort.find_part(part)
        y_prob = self.baseline.predict(data.cohort.records.iloc[rows])
        return score(data.cohort.y_true[rows], y_prob, data.class_names).overall


Fitter = NetFitter | BaselineFitter
"""Fits the training set of a data module, keeps what it fitted in a folder, and predicts from there."""
