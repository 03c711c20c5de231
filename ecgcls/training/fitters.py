"""Two ways to fit, with one shape: a net with Lightning, a baseline in closed form."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from scipy.special import expit

from ecgcls.data.module import ECGDataModule
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.metrics import score
from ecgcls.files import STANDARDIZED_ON, write_json
from ecgcls.training.baselines import MetadataBaseline
from ecgcls.training.callbacks import History
from ecgcls.training.checkpoints import read_checkpoint
from ecgcls.training.classifier import ECGClassifier
from ecgcls.training.finite import CURE
from ecgcls.training.gathering import gather_rows, leave_group
from ecgcls.training.monitor import check_scores
from ecgcls.training.standardizer import hash_weights, take_own

log = logging.getLogger(__name__)

_SMALL_BATCH = "Expected more than 1 value per channel"  # PyTorch's words for batch normalization of one record


@dataclass(frozen=True, eq=False)
class PredictedPart:
    """What is predicted for the records of one part."""

    rows: NDArray[np.int64]
    """``(record,)``, of the cohort."""
    y_prob: NDArray[np.float64]
    """``(record, class)``"""
    y_logit: NDArray[np.float64] | None = None
    """``(record, class)``, the logits of these probabilities, which tie where logits do not; None: of a baseline."""


Predicted = dict[str, PredictedPart]
"""By part what is predicted."""


@dataclass
class NetFitter:
    """Trains a net; its trainer keeps ``best.ckpt`` and ``last.ckpt`` in the folder."""

    classifier: ECGClassifier
    trainer: pl.Trainer
    kind: Literal["net"] = "net"
    teacher: Callable[[ECGDataModule, Path, str], NDArray[np.float32]] | None = None
    """Answers for the training records of data, ``(record, class)`` of the cohort, on a device; kept in the folder."""
    _n_steps: int = 0  # of a training that had ended before

    @property
    def n_parameters(self) -> int:
        """Parameters of the net."""
        return sum(parameter.numel() for parameter in self.classifier.net.parameters())

    @property
    def n_steps(self) -> int:
        """Steps of the optimizer so far."""
        return max(self.trainer.global_step, self._n_steps)

    def attach(self, loggers: Sequence[Logger]) -> None:
        """Have every epoch logged by these."""
        self.trainer.loggers = list(loggers)

    def is_trained(self, folder: Path) -> bool:
        """Whether a training in the folder has ended, and what predicting needs of it is whole."""
        last = read_checkpoint(folder / "last.ckpt") if (folder / "history.csv").is_file() else None
        if last is None or read_checkpoint(folder / "best.ckpt") is None:
            return False
        self._n_steps = last["global_step"]
        return True

    def fit(self, data: ECGDataModule, folder: Path, *, resume: bool) -> pd.DataFrame:
        """Train, from the last epoch in the folder where `resume`; return losses and metrics, one row per epoch.

        What only Lightning or PyTorch find wrong before the first step, or a training without an epoch worth keeping,
        is a `ConfigError`; a loss that is not finite a `DataError`.
        """
        last, best = folder / "last.ckpt", folder / "best.ckpt"
        checkpoint = str(last) if resume and _can_resume(last, best) else None
        if checkpoint:
            log.info("Resuming from %s", checkpoint)
        if self.teacher is not None and self.classifier.distillation is not None:
            with self.trainer.precision_plugin.forward_context():
                y_prob = self.teacher(data, folder, str(self.trainer.strategy.root_device))
            self.classifier.distillation.y_prob = torch.from_numpy(y_prob)
        try:
            self.trainer.fit(self.classifier, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as stopped:  # what Lightning makes of a Ctrl-C
            raise KeyboardInterrupt from stopped
        except Exception as error:
            if (told := self._explain(error)) is error:  # an error that is its own cause would have no end
                raise
            raise told from error
        if self.trainer.interrupted:
            raise KeyboardInterrupt
        callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        history = next(callback for callback in callbacks if isinstance(callback, History)).table
        monitor = next(callback.monitor for callback in callbacks if isinstance(callback, ModelCheckpoint))
        if history.empty:
            raise ConfigError("no epoch was trained: the training was over at once; see trainer.max_time")
        check_scores(history, str(monitor))
        if not best.is_file():
            raise ConfigError(f"{folder}: no epoch was a candidate for best.ckpt; see callbacks.checkpoint")
        return history.copy()  # predicting restores the callbacks of the best epoch

    def _explain(self, error: Exception) -> Exception:
        """Put an error that ends the training into words, if it is about what was asked for."""
        if isinstance(error, ConfigError | DataError | OSError):
            return error
        text = str(error).strip().splitlines()
        cause = text[0] if text else type(error).__name__
        if _SMALL_BATCH in cause:
            return ConfigError("data.batch_size: the net normalizes over a batch, which needs two records at least")
        if self.classifier.n_batches_trained and not isinstance(error, torch.OutOfMemoryError):
            return error
        return ConfigError(f"training cannot start with these settings: {type(error).__name__}: {cause}")

    def predict(self, data: ECGDataModule, folder: Path) -> Predicted:
        """Predict validation and test set with the best epoch; each process gets all rows."""
        best = str(folder / "best.ckpt")
        batches: Any = self.trainer.predict(self.classifier, datamodule=data, ckpt_path=best, weights_only=True)
        predicted: Predicted = {}
        parts: tuple[Literal["val", "test"], ...] = ("val", "test")
        for part, of_part in zip(parts, batches, strict=True):
            rows, logits = gather_rows(
                torch.cat([batch["record"] for batch in of_part]).cpu(),
                torch.cat([batch["logits"].cpu() for batch in of_part]).double(),
            )
            if not np.isfinite(logits).all():
                raise DataError(f"the net's logits of the {part} set are not finite: training diverged; {CURE}")
            if not np.array_equal(rows, data.cohort.find_part(part)):
                n_expected = len(data.cohort.find_part(part))
                raise DataError(
                    f"{len(rows)} predictions of the {part} set, expected one of each of {n_expected} records"
                )
            predicted[part] = PredictedPart(rows, expit(logits), logits)
        leave_group()
        return predicted

    def describe(self, folder: Path) -> dict[str, Any]:
        """Return `best_epoch`, `standardized_on`, `pos_weight` and `fingerprints` of `ecgcls.runs.info.RunInfo`."""
        stored = torch.load(folder / "best.ckpt", weights_only=True, map_location="cpu")
        pos_weight = getattr(self.classifier.loss, "pos_weight", None)
        return {
            "best_epoch": stored["epoch"],
            "standardized_on": stored[STANDARDIZED_ON],
            "pos_weight": None if pos_weight is None else pos_weight.cpu().double().tolist(),
            "fingerprints": {"net": hash_weights(take_own(stored["state_dict"]))},
        }

    @property
    def standardizer(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation by lead, mV."""
        own = self.classifier.standardizer
        return own.mean_mv.cpu().numpy(), own.sd_mv.cpu().numpy()


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

    def is_trained(self, folder: Path) -> bool:
        """Whether this object need not fit again: never, for it is done in a moment."""
        return False

    def fit(self, data: ECGDataModule, folder: Path, *, resume: bool) -> pd.DataFrame:
        """Fit; the history has one epoch."""
        rows = data.cohort.find_part("train")
        records = data.cohort.records.iloc[rows]
        self.baseline.fit(records, data.cohort.y_true[rows])
        self._standardized_on = data.cohort.hash_part("train")
        write_json(folder / "baseline.json", self.baseline.describe(data.class_names))
        train, val = self._score(data, "train"), self._score(data, "val")
        epoch = {"epoch": 0, "train/loss": train["log_loss"], "val/loss": val["log_loss"]}
        return pd.DataFrame([epoch | {f"val/{key}": val[key] for key in ("pr_auc", "roc_auc", "f1_macro", "f1_micro")}])

    def predict(self, data: ECGDataModule, folder: Path) -> Predicted:
        """Predict from the table."""
        predicted: Predicted = {}
        parts: tuple[Literal["val", "test"], ...] = ("val", "test")
        for part in parts:
            rows = data.cohort.find_part(part)
            predicted[part] = PredictedPart(rows, self.baseline.predict(data.cohort.records.iloc[rows]))
        return predicted

    def describe(self, folder: Path) -> dict[str, Any]:
        """Return the records that the baseline was fitted on; it has one epoch and an unweighted loss."""
        return {"best_epoch": 0, "standardized_on": self._standardized_on, "pos_weight": None, "fingerprints": {}}

    @property
    def standardizer(self) -> None:
        """None: it takes no signal."""

    def _score(self, data: ECGDataModule, part: Literal["train", "val"]) -> dict[str, Any]:
        rows = data.cohort.find_part(part)
        y_prob = self.baseline.predict(data.cohort.records.iloc[rows])
        return score(data.cohort.y_true[rows], y_prob, data.class_names).overall


Fitter = NetFitter | BaselineFitter
"""Fits the training set of a data module, keeps what it fitted in a folder, and predicts from there."""


def _can_resume(last: Path, best: Path) -> bool:
    """Whether both checkpoints are whole; of two that are not, nothing is left for the training that starts anew."""
    if not last.is_file():
        return False
    if read_checkpoint(last) is not None and read_checkpoint(best) is not None:
        return True
    log.warning("%s cannot be resumed from: the training starts anew", last.parent)
    for path in (last, best):
        path.unlink(missing_ok=True)
    return False
