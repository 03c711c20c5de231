"""A finished run as nets that are ready to predict, and what they predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ecgcls.data.recordings import Prepared, Recording, prepare
from ecgcls.errors import DataError
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.runs.info import RunInfo

if TYPE_CHECKING:
    from ecgcls.jobs.explain_recording import Explanation

BATCH_SIZE = 256
"""Windows in one forward pass."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A run's prediction of one recording.

    Attributes
    ----------
    y_prob
        Probability by class: the mean over the windows, and over the nets of an ensemble.
    y_pred
        By class whether the probability is at least the run's threshold.
    thresholds
        Threshold by class.
    windows
        ``(window, class)``: the probabilities of each window.
    starts_s
        Where each window begins, s.
    repairs
        What was changed before the net saw the recording, in words; empty if nothing.
    """

    y_prob: dict[str, float]
    y_pred: dict[str, bool]
    thresholds: dict[str, float]
    windows: NDArray[np.float64]
    starts_s: tuple[float, ...]
    repairs: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text for `json.dump`."""
        return {
            "y_prob": self.y_prob,
            "y_pred": self.y_pred,
            "windows": [
                {"start_s": start_s, "y_prob": dict(zip(self.y_prob, y_prob, strict=True))}
                for start_s, y_prob in zip(self.starts_s, self.windows.tolist(), strict=True)
            ],
            "repairs": list(self.repairs),
        }


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A finished run, or the folds of a configuration together, ready to be applied.

    Attributes
    ----------
    path
        The run's folder, or the folder that holds the folds.
    nets
        One per fold; each takes ``(batch, lead, sample)`` in mV and returns logits ``(batch, class)``.
    class_names
        The classes, in the order of the logits.
    lead_names, sampling_rate_hz, n_samples
        What the nets take.
    thresholds
        By class: from what probability on it is predicted.
    calibrators
        One per net: recalibrates its probabilities.
    info
        The (first) run's ``run.json``.
    """

    path: Path
    nets: tuple[nn.Sequential, ...]
    class_names: tuple[str, ...]
    lead_names: tuple[str, ...]
    sampling_rate_hz: float
    n_samples: int
    thresholds: dict[str, float]
    calibrators: tuple[Calibrator, ...]
    info: RunInfo

    def predict(self, signal_mv: ArrayLike, *, sampling_rate_hz: float, lead_names: Sequence[str]) -> Prediction:
        """Predict one recording.

        Parameters
        ----------
        signal_mv
            ``(lead, sample)``, mV.
        sampling_rate_hz
            Its sampling rate; resampled to the run's, if that is another.
        lead_names
            The name of each row, in any order; missing limb leads are derived where that is exact.

        Raises
        ------
        DataError
            If the recording cannot be repaired: too short, a lead missing that cannot be derived, missing samples.
        """
        prepared = self.prepare(Recording(np.asarray(signal_mv), sampling_rate_hz, tuple(lead_names)))
        return self.summarize(prepared, self.predict_windows(prepared.windows_mv))

    def explain(
        self,
        signal_mv: ArrayLike,
        *,
        sampling_rate_hz: float,
        lead_names: Sequence[str],
        classes: Sequence[str] | None = None,
        method: str = "grad_cam",
    ) -> Explanation:
        """Explain one recording: how much each sample of each lead counts for some classes.

        The first arguments are those of `predict`; see `ecgcls.jobs.explain_recording.explain_recording` for the rest.
        """
        from ecgcls.jobs.explain_recording import explain_recording  # heavy, and predictions do not need it

        recording = Recording(np.asarray(signal_mv), sampling_rate_hz, tuple(lead_names))
        return explain_recording(self, recording, class_names=classes, method=method)

    def prepare(self, recording: Recording) -> Prepared:
        """Check a recording and bring it into the form that the nets take."""
        return prepare(
            recording, lead_names=self.lead_names, sampling_rate_hz=self.sampling_rate_hz, n_samples=self.n_samples
        )

    def predict_windows(self, windows_mv: NDArray[np.float32]) -> NDArray[np.float64]:
        """Turn ``(window, lead, sample)`` in mV into probabilities ``(window, class)``, the mean over the nets.

        Each net's probabilities are recalibrated first, as its run did with its own. All must be finite.
        """
        y_prob = np.zeros((len(windows_mv), len(self.class_names)))
        device = next(self.nets[0].buffers()).device
        with torch.inference_mode():
            for start in range(0, len(windows_mv), BATCH_SIZE):
                batch = torch.from_numpy(windows_mv[start : start + BATCH_SIZE]).to(device)
                for net, calibrator in zip(self.nets, self.calibrators, strict=True):
                    own = net(batch).sigmoid().double().cpu().numpy()
                    if np.isfinite(own).all():
                        own = calibrator.apply(own, self.class_names)
                    y_prob[start : start + len(batch)] += own
        if not np.isfinite(y_prob).all():
            raise DataError(f"{self.path}: the net's probabilities are not finite")
        return y_prob / len(self.nets)

    def summarize(self, prepared: Prepared, windows: NDArray[np.float64]) -> Prediction:
        """Average the windows of a recording and decide at the thresholds."""
        y_prob = dict(zip(self.class_names, windows.mean(axis=0).tolist(), strict=True))
        y_pred = {name: prob >= self.thresholds[name] for name, prob in y_prob.items()}
        return Prediction(y_prob, y_pred, self.thresholds, windows, prepared.starts_s, prepared.repairs)
