"""A finished run as nets that are ready to predict: ``run = ecgcls.load_run(path)`` and ``run.predict(...)``.

The net is rebuilt from the run's own saved configuration, its weights and its preprocessing come from ``best.ckpt``.
The training data need not be there.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ecgcls.data.recordings import Prepared, Recording, prepare
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.files import STANDARDIZED_ON
from ecgcls.jobs.parts import build_net
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration
from ecgcls.runs.info import RunInfo
from ecgcls.runs.leaks import check_standardizer
from ecgcls.training.standardizer import Standardizer

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


def load_run(path: str | Path, *, device: str = "cpu") -> LoadedRun:
    """Load a finished run, or all folds of a configuration, whose probabilities are then averaged.

    Parameters
    ----------
    path
        A run's folder (``.../fold_0``), or the folder that holds ``fold_0``, ``fold_1``, ...
    device
        Where the nets compute: ``cpu``, ``cuda``, ...

    Raises
    ------
    ConfigError
        If there is no finished run, the folds differ in what they take or predict, or there is no such device.
    """
    return load_configuration(open_configuration(Path(path)), device=device)


def load_configuration(one: Configuration, *, device: str = "cpu") -> LoadedRun:
    """Load the nets of a run, or of all folds, as `load_run` does."""
    first = one.info.data
    for run, info in zip(one.runs, one.infos, strict=True):
        for key in ("class_names", "lead_names", "sampling_rate_hz", "n_samples"):
            if info.data[key] != first[key]:
                raise ConfigError(
                    f"{one.folder}: the folds cannot be averaged, their {key} differ: {first[key]} in "
                    f"{one.runs[0].path.name}, {info.data[key]} in {run.path.name}"
                )
    try:
        nets = tuple(load_net(run).to(device) for run in one.runs)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        raise ConfigError(f"device={device}: {str(error).splitlines()[0]}") from error
    return LoadedRun(
        path=one.folder,
        nets=nets,
        class_names=one.info.class_names,
        lead_names=tuple(first["lead_names"]),
        sampling_rate_hz=first["sampling_rate_hz"],
        n_samples=first["n_samples"],
        thresholds=one.thresholds,
        calibrators=tuple(info.read_decisions().calibrator for info in one.infos),
        info=one.info,
    )


def load_net(run: RunDirectory) -> nn.Sequential:
    """Rebuild the net of a run with the weights of its best epoch, the standardizer before it.

    It takes ``(batch, lead, sample)`` in mV, returns logits ``(batch, class)``, and is in evaluation mode without
    gradients of its parameters. A net that cannot be built, or a checkpoint that is not its own, is a `ConfigError`.
    """
    info = run.read_info()
    if info.kind == "baseline":
        raise ConfigError(
            f"{run.path}: a baseline has no net that could be applied or explained; its predictions.csv and "
            "baseline.json hold everything it knows"
        )
    n_leads, n_samples, n_classes = len(info.data["lead_names"]), info.data["n_samples"], len(info.class_names)
    try:
        net = build_net(run.read_config(), n_leads=n_leads, n_samples=n_samples, n_classes=n_classes)
    except ConfigError as error:
        raise ConfigError(f"{run.path}: {error}") from error
    whole = nn.Sequential(OrderedDict(standardizer=Standardizer(torch.zeros(n_leads), torch.ones(n_leads)), net=net))
    try:
        stored = torch.load(run.best_checkpoint, weights_only=True, map_location="cpu")
        weights = stored["state_dict"]
        whole.load_state_dict({key: weights[key] for key in weights if key.startswith(("standardizer.", "net."))})
        fitted_on = stored[STANDARDIZED_ON]
    except Exception as error:  # a damaged file raises whatever the unpickler stumbles over
        raise ConfigError(
            f"{run.best_checkpoint}: cannot be loaded into this run's net ({str(error).splitlines()[0]})"
        ) from error
    check_standardizer(fitted_on, info)
    return whole.eval().requires_grad_(False)
