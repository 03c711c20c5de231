"""A bundle that is ready to predict: ``bundle = ecgcls.load_bundle(path)`` and ``bundle.predict(...)``.

onnxruntime computes its graph; neither torch nor Lightning is needed. The bundle may be anybody's: nothing in it is
executed but the graph (`ecgcls.bundles.directory`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgcls.bundles.directory import GRAPH, BundleDirectory, open_bundle
from ecgcls.data.likeness import Likeness, read_likeness
from ecgcls.data.seen import GROUPS, SeenRecords, read_seen
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.conformal import Conformal
from ecgcls.jobs.predictor import BATCH_SIZE, Predictor

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
INPUTS = ("signal_mv", "metadata")
OUTPUTS = ("probabilities", "logits", "net_logits")


def load_bundle(path: str | Path, *, device: str = "cpu", n_threads: int | None = None) -> LoadedBundle:
    """Load a bundle, which predicts as the run that it was made from.

    Parameters
    ----------
    path
        The folder that ``python -m ecgcls.export`` wrote.
    device
        Where the graph computes: ``cpu``, or ``cuda`` with an onnxruntime that has it.
    n_threads
        Of the graph; None: as ``OMP_NUM_THREADS`` says, or as many as there are cores.

    Raises
    ------
    ConfigError
        If there is no bundle, onnxruntime is not installed, or there is no such device.
    DataError
        If a file of the bundle is missing or damaged, or not the one that it was made with.
    """
    bundle = open_bundle(Path(path))
    info, form = bundle.info, bundle.info.content["input"]
    return LoadedBundle(
        path=bundle.path,
        class_names=info.class_names,
        lead_names=tuple(form["lead_names"]),
        sampling_rate_hz=form["sampling_rate_hz"],
        n_samples=form["n_samples"],
        thresholds=info.thresholds,
        calibrators=info.calibrators,
        info=info.run,
        folds=info.content["nets"]["folds"],
        metadata_names=tuple(form["metadata"]),
        may_lack_leads=form["may_lack_leads"],
        pads=form["shorter"] == "pad",
        bundle=bundle,
        session=_open_session(bundle, device, n_threads),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedBundle(Predictor):
    """A bundle, ready to be applied.

    Attributes
    ----------
    bundle
        Its folder.
    session
        onnxruntime's, of the graph.
    """

    bundle: BundleDirectory
    session: Any

    def _learn_conformals(self) -> Sequence[Conformal]:
        names = [f"certainty_{number}.npz" for number in range(self.n_nets)]
        return [Conformal.from_arrays(self.bundle.read_arrays(name)) for name in names]

    def _read_likenesses(self) -> Sequence[Likeness | None]:
        names = [name for name in self.bundle.sums if name.startswith("likeness_")]
        return [read_likeness(self.bundle.check(name)) for name in sorted(names)]

    @cached_property
    def seen(self) -> SeenRecords | None:
        """The waveforms of the nets' data sets; None if the bundle was made without them, as usual."""
        names = [f"waveforms_{part}.npz" for part in GROUPS]
        return read_seen([self.bundle.check(name) for name in names]) if names[0] in self.bundle else None

    def apply_nets(
        self, windows_mv: NDArray[np.float32], metadata: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the nets' own logits of windows, before recalibration: ``(net, window, class)``, all finite."""
        logits = np.empty((self.n_nets, len(windows_mv), len(self.class_names)))
        for start in range(0, len(windows_mv), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            given = {INPUTS[0]: np.ascontiguousarray(windows_mv[rows], dtype=np.float32)}
            if self.metadata_names:
                unknown = np.full((len(given[INPUTS[0]]), len(self.metadata_names)), np.nan)
                given[INPUTS[1]] = np.asarray(unknown if metadata is None else metadata[rows], dtype=np.float32)
            (own,) = self.session.run([OUTPUTS[2]], given)  # (batch, stretch, net, class)
            if own.shape != (len(given[INPUTS[0]]), 1, self.n_nets, len(self.class_names)):
                raise DataError(f"{self.path / GRAPH}: its {OUTPUTS[2]} have the shape {own.shape}")
            if not np.isfinite(own).all():
                raise DataError(f"{self.path}: the net's logits are not finite")
            logits[:, rows] = own[:, 0].transpose(1, 0, 2)
        return logits


def _open_session(bundle: BundleDirectory, device: str, n_threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "a bundle needs onnxruntime: pip install 'ecgcls[onnx]', or pip install onnxruntime"
        ) from error
    provider = _PROVIDERS.get(device.partition(":")[0])
    if provider not in onnxruntime.get_available_providers():
        there = [name for name, each in _PROVIDERS.items() if each in onnxruntime.get_available_providers()]
        raise ConfigError(f"device={device}: the installed onnxruntime computes on {', '.join(there)}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads or int(os.environ.get("OMP_NUM_THREADS", "0") or 0)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a busy neighbor would stall them all
    options.log_severity_level = 3  # errors alone
    try:
        session = onnxruntime.InferenceSession(bundle.read(GRAPH), options, providers=[provider])
    except Exception as error:  # whatever it stumbles over
        raise DataError(f"{bundle.path / GRAPH}: cannot be used ({' '.join(str(error).split())[:200]})") from error
    _check_graph(bundle, session)
    return session


def _check_graph(bundle: BundleDirectory, session: Any) -> None:
    """Hold what the graph takes and returns against ``metadata.json``."""
    form, n_classes = bundle.info.content["input"], len(bundle.info.class_names)
    expected = [(INPUTS[0], 3, 1, len(form["lead_names"]))]
    if form["metadata"]:
        expected.append((INPUTS[1], 2, 1, len(form["metadata"])))
    outputs = [(OUTPUTS[0], 2, 1, n_classes), (OUTPUTS[1], 2, 1, n_classes), (OUTPUTS[2], 4, 3, n_classes)]
    for found, wanted in ((session.get_inputs(), expected), (session.get_outputs(), outputs)):
        shapes = {each.name: each.shape for each in found}
        for name, n_axes, axis, size in wanted:
            shape = shapes.pop(name, None)
            if shape is None or len(shape) != n_axes or shape[axis] != size:
                raise DataError(
                    f"{bundle.path / GRAPH}: {name} must have {n_axes} axes and {size} in axis {axis}, got {shape}"
                )
        if shapes:
            raise DataError(f"{bundle.path / GRAPH}: {next(iter(shapes))} is not known to this version of ecgcls")
