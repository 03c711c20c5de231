"""Apply a finished run to ECGs: in Python two lines, ``run = ecgcls.load_run(path)`` and ``run.predict(...)``.

The net is rebuilt from the run's own saved configuration, its weights and its preprocessing come from ``best.ckpt``.
Neither Hydra's composition nor Lightning is involved, and the training data need not be there.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ecgcls.data.recordings import Prepared, Recording, prepare, read_recording
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.gate import STANDARDIZED_ON, check_standardizer
from ecgcls.runs import RunDirectory, list_folds, open_run, read_thresholds
from ecgcls.training.standardizer import Standardizer

_BATCH_SIZE = 256  # windows in one forward pass


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a run says about one recording.

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
        One a fold; each takes ``(batch, lead, sample)`` in mV and returns logits ``(batch, class)``.
    class_names
        The classes, in the order of the logits.
    lead_names, sampling_rate_hz, n_samples
        What the nets take.
    thresholds
        By class: from what probability on it is predicted.
    calibrators
        One a net: translates its probabilities; None for runs of version 0.1.0.
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
    calibrators: tuple[Calibrator | None, ...]
    info: dict[str, Any]

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
        recording = Recording(np.asarray(signal_mv), sampling_rate_hz, tuple(lead_names))
        prepared = self.prepare(recording)
        return self.summarise(prepared, self.predict_windows(prepared.windows_mv))

    def prepare(self, recording: Recording) -> Prepared:
        """Check a recording and bring it into the form that the nets take."""
        return prepare(
            recording,
            lead_names=self.lead_names,
            sampling_rate_hz=self.sampling_rate_hz,
            n_samples=self.n_samples,
        )

    def predict_windows(self, windows_mv: NDArray[np.float32]) -> NDArray[np.float64]:
        """Turn ``(window, lead, sample)`` in mV into probabilities ``(window, class)``, the mean over the nets.

        Each net's probabilities are recalibrated first, as its run did with its own.

        Raises
        ------
        DataError
            If a probability is not finite.
        """
        y_prob = np.zeros((len(windows_mv), len(self.class_names)))
        device = next(self.nets[0].buffers()).device
        with torch.inference_mode():
            for start in range(0, len(windows_mv), _BATCH_SIZE):
                batch = torch.from_numpy(windows_mv[start : start + _BATCH_SIZE]).to(device)
                for net, calibrator in zip(self.nets, self.calibrators, strict=True):
                    said = net(batch).sigmoid().double().cpu().numpy()
                    if calibrator is not None and np.isfinite(said).all():
                        said = calibrator.apply(said, self.class_names)
                    y_prob[start : start + len(batch)] += said
        if not np.isfinite(y_prob).all():
            raise DataError(f"{self.path}: the net's probabilities are not finite")
        return y_prob / len(self.nets)

    def summarise(self, prepared: Prepared, windows: NDArray[np.float64]) -> Prediction:
        """Average the windows of a recording and decide at the thresholds."""
        mean = windows.mean(axis=0).tolist()
        y_prob = dict(zip(self.class_names, mean, strict=True))
        return Prediction(
            y_prob=y_prob,
            y_pred={name: prob >= self.thresholds[name] for name, prob in y_prob.items()},
            thresholds=self.thresholds,
            windows=windows,
            starts_s=prepared.starts_s,
            repairs=prepared.repairs,
        )


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
    path = Path(path)
    runs = [open_run(path)] if (path / "run.json").is_file() or not any(path.glob("fold_*")) else list_folds(path)
    infos = [run.read_info() for run in runs]
    for run, info in zip(runs, infos, strict=True):
        for key in ("class_names", "lead_names", "sampling_rate_hz", "n_samples"):
            if info["data"][key] != infos[0]["data"][key]:
                raise ConfigError(
                    f"{path}: the folds cannot be averaged, their {key} differ: {infos[0]['data'][key]} in "
                    f"{runs[0].path.name}, {info['data'][key]} in {run.path.name}"
                )
    data = infos[0]["data"]
    try:
        nets = tuple(load_net(run).to(device) for run in runs)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        raise ConfigError(f"device={device}: {str(error).splitlines()[0]}") from error
    decisions = [run.read_decisions() for run in runs]
    return LoadedRun(
        path=path,
        nets=nets,
        class_names=tuple(data["class_names"]),
        lead_names=tuple(data["lead_names"]),
        sampling_rate_hz=data["sampling_rate_hz"],
        n_samples=data["n_samples"],
        thresholds=read_thresholds(runs, data["class_names"]),
        calibrators=tuple(None if one is None else one.calibrator for one in decisions),
        info=infos[0],
    )


def load_net(run: RunDirectory) -> nn.Sequential:
    """Rebuild the net of a run with the weights of its best epoch, the standardiser before it.

    Returns
    -------
    nn.Sequential
        Takes ``(batch, lead, sample)`` in mV and returns logits ``(batch, class)``; in evaluation mode, without
        gradients of its parameters.

    Raises
    ------
    ConfigError
        If the net cannot be built (a package that it comes from is not installed), or the checkpoint is not its own.
    """
    info, config = run.read_info()["data"], run.read_config()
    if (run.path / "baseline.json").is_file():
        raise ConfigError(
            f"{run.path}: a baseline has no net that could be applied or explained; its predictions.csv and "
            "baseline.json say all it knows"
        )
    n_leads = len(info["lead_names"])
    try:
        net = instantiate(config.model)(n_leads, info["n_samples"], len(info["class_names"]))
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(f"{run.path}: {config.model._target_} cannot be built: {cause}") from error
    whole = nn.Sequential(OrderedDict(standardizer=Standardizer(torch.zeros(n_leads), torch.ones(n_leads)), net=net))
    try:
        stored = torch.load(run.best_checkpoint, weights_only=True, map_location="cpu")
        own = {key: value for key, value in stored["state_dict"].items() if key.startswith(("standardizer.", "net."))}
        whole.load_state_dict(own)
    except Exception as error:  # a damaged file raises whatever the unpickler stumbles over
        raise ConfigError(
            f"{run.best_checkpoint}: cannot be loaded into {config.model._target_} ({str(error).splitlines()[0]})"
        ) from error
    check_standardizer(stored.get(STANDARDIZED_ON), info)
    return whole.eval().requires_grad_(False)


def predict_files(run: LoadedRun, paths: Iterable[Path]) -> Iterator[tuple[Path, Prediction | DataError]]:
    """Predict WFDB records in batches over the records; the next batch is read as the nets compute.

    Parameters
    ----------
    paths
        Each record's path without an extension.

    Yields
    ------
    path, prediction
        In the order of `paths`; a record that cannot be used comes with the reason instead of a prediction.
    """
    rest = iter(paths)
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(_read_batch, run, rest)
        while batch := coming.result():
            coming = reader.submit(_read_batch, run, rest)
            yield from _predict_batch(run, batch)


def _read_batch(run: LoadedRun, paths: Iterator[Path]) -> list[tuple[Path, Prepared | DataError]]:
    """Read recordings until their windows fill a batch; an empty list at the end."""
    batch: list[tuple[Path, Prepared | DataError]] = []
    n_windows = 0
    for path in paths:
        try:
            prepared = run.prepare(read_recording(path))
        except DataError as error:
            batch.append((path, error))
            continue
        batch.append((path, prepared))
        n_windows += len(prepared.windows_mv)
        if n_windows >= _BATCH_SIZE:
            break
    return batch


def _predict_batch(
    run: LoadedRun, batch: list[tuple[Path, Prepared | DataError]]
) -> Iterator[tuple[Path, Prediction | DataError]]:
    ready = [prepared for _, prepared in batch if isinstance(prepared, Prepared)]
    y_prob = run.predict_windows(np.concatenate([prepared.windows_mv for prepared in ready])) if ready else None
    start = 0
    for path, prepared in batch:
        if isinstance(prepared, DataError):
            yield path, prepared
            continue
        assert y_prob is not None
        stop = start + len(prepared.windows_mv)
        yield path, run.summarise(prepared, y_prob[start:stop])
        start = stop
