"""A bundle that is ready to predict: ``bundle = ecgcls.load_bundle(path)`` and ``bundle.predict(...)``.

onnxruntime computes its graph; neither torch nor Lightning is needed. The bundle may be anybody's: nothing in it is
executed but the graph (`ecgcls.bundles.directory`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ecgcls.bundles.directory import GRAPH, BundleDirectory, open_bundle
from ecgcls.bundles.graph_file import check_graph
from ecgcls.bundles.session import open_session, run_session
from ecgcls.data.likeness import Likeness, read_likeness
from ecgcls.data.quality import describe_windows
from ecgcls.data.seen import GROUPS, SeenRecords, read_seen
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.conformal import Conformal
from ecgcls.files import printable
from ecgcls.jobs.predictor import BATCH_SIZE, Predictor

_SAMPLES_AT_ONCE = 128_000
"""Of each lead, over all windows of a batch: what the widest nets have room for (`ecgcls.bundles.session`)."""
_LIMIT_S = 60.0
"""For a graph's first answer."""
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
        If there is no bundle, onnxruntime is not installed, there is no such device, or `n_threads` is below 1.
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


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
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

    @property
    def choice(self) -> str:
        """What names the bundle on the command line."""
        return f"bundle={self.path}"

    def explain(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to explain: `ecgcls.jobs.loaded.LoadedRun.explain` needs gradients, which a bundle has not."""
        raise ConfigError(
            f"{self.path}: a bundle has no gradients to explain a prediction with: ask the run that it was made from, "
            "ecgcls.load_run(PATH).explain(...)"
        )

    def _learn_conformals(self) -> Sequence[Conformal]:
        found = []
        for number in range(self.n_nets):
            name = f"certainty_{number}.npz"
            try:
                found.append(Conformal.from_arrays(self.bundle.read_arrays(name)))
                if len(found[-1].known) != len(self.class_names):
                    raise DataError(f"{len(found[-1].known)} classes of {len(self.class_names)}")
            except DataError as error:
                raise DataError(str(error) if name in str(error) else f"{self.path / name}: {error}") from error
        return found

    def _read_likenesses(self) -> Sequence[Likeness | None]:
        paths = [self.bundle.check(name) for name in sorted(self.bundle.sums) if name.startswith("likeness_")]
        found = [read_likeness(path) for path in paths]
        flat = np.zeros((1, len(self.lead_names), self.n_samples), np.float32)
        sizes = {
            key: each.shape[1:] for key, each in describe_windows(flat, self.sampling_rate_hz, self.lead_names).items()
        }
        for path, likeness in zip(paths, found, strict=True):
            if odd := [key for key, mean in likeness.means.items() if mean.shape != sizes[key]]:
                raise DataError(f"{path}: it is not of the bundle's leads, sampling rate and length ({odd[0]})")
        return found

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
        size = max(1, min(BATCH_SIZE, _SAMPLES_AT_ONCE // self.n_samples))
        for start in range(0, len(windows_mv), size):
            rows = slice(start, start + size)
            given = {INPUTS[0]: np.ascontiguousarray(windows_mv[rows], dtype=np.float32)}
            if self.metadata_names:
                unknown = np.full((len(given[INPUTS[0]]), len(self.metadata_names)), np.nan)
                given[INPUTS[1]] = np.asarray(unknown if metadata is None else metadata[rows], dtype=np.float32)
            (own,) = run_session(self.session, given, [OUTPUTS[2]], where=self.path / GRAPH)
            # (batch, stretch, net, class)
            _check_answers({OUTPUTS[2]: own}, self.bundle, n_records=len(given[INPUTS[0]]))
            logits[:, rows] = own[:, 0].transpose(1, 0, 2)
        return logits


def _open_session(bundle: BundleDirectory, device: str, n_threads: int | None) -> Any:
    if n_threads is not None and n_threads < 1:
        raise ConfigError(f"n_threads must be 1 or more, or null: as many as there are cores, got {n_threads}")
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "a bundle needs onnxruntime: pip install 'ecgcls[onnx]', or pip install onnxruntime"
        ) from error
    provider = _PROVIDERS.get(device.partition(":")[0])
    if provider is None or provider not in onnxruntime.get_available_providers():
        there = [name for name, each in _PROVIDERS.items() if each in onnxruntime.get_available_providers()]
        raise ConfigError(f"device={device}: the installed onnxruntime computes on {', '.join(there)}")
    where, content = bundle.path / GRAPH, bundle.read(GRAPH)
    check_graph(content, where=where)
    if n_threads is None:  # of a list, such as 4,2, the first is that of the outermost loops
        first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        n_threads = int(first) if first.isdecimal() else 0
    session = open_session(content, where=where, n_threads=n_threads, provider=provider)
    _check_shapes(bundle, session)
    _ask_once(bundle, session)
    return session


def _ask_once(bundle: BundleDirectory, session: Any) -> None:
    """Ask the graph about a flat recording: what takes too much memory or time, or answers wrongly, is told at once."""
    form = bundle.info.content["input"]
    given = {INPUTS[0]: np.zeros((1, len(form["lead_names"]), form["n_samples"]), np.float32)}
    if form["metadata"]:
        given[INPUTS[1]] = np.full((1, len(form["metadata"])), np.nan, np.float32)
    found = run_session(session, given, OUTPUTS, where=bundle.path / GRAPH, limit_s=_LIMIT_S)
    _check_answers(dict(zip(OUTPUTS, found, strict=True)), bundle, n_records=1)


def _check_answers(answers: Mapping[str, NDArray], bundle: BundleDirectory, *, n_records: int) -> None:
    """Refuse answers about records of one stretch that have another shape, or are no numbers."""
    n_nets, n_classes = len(bundle.info.calibrators), len(bundle.info.class_names)
    for name, found in answers.items():
        shape = (n_records, 1, n_nets, n_classes) if name == OUTPUTS[2] else (n_records, n_classes)
        if found.shape != shape:
            raise DataError(f"{bundle.path / GRAPH}: its {name} have the shape {found.shape}, expected {shape}")
        if not np.isfinite(found).all():
            raise DataError(f"{bundle.path / GRAPH}: its {name} are not finite")


def _check_shapes(bundle: BundleDirectory, session: Any) -> None:
    """Hold what the graph takes and returns against ``metadata.json``."""
    form, n_classes = bundle.info.content["input"], len(bundle.info.class_names)
    n_leads, n_columns, n_nets = len(form["lead_names"]), len(form["metadata"]), len(bundle.info.calibrators)
    inputs = {INPUTS[0]: ("float", (None, n_leads, None)), INPUTS[1]: ("float", (None, n_columns))}
    if not form["metadata"]:
        del inputs[INPUTS[1]]
    of_record, of_net = (None, n_classes), (None, None, n_nets, n_classes)
    outputs = {
        OUTPUTS[0]: ("float", of_record), OUTPUTS[1]: ("double", of_record), OUTPUTS[2]: ("double", of_net),
    }  # fmt: skip
    where = bundle.path / GRAPH
    for found, wanted in ((session.get_inputs(), inputs), (session.get_outputs(), outputs)):
        if (names := [each.name for each in found]) != [*wanted]:
            raise DataError(f"{where}: expected {', '.join(wanted)}, got {printable(', '.join(names))[:200]}")
        for each in found:
            kind, sizes = wanted[each.name]
            pairs = [*zip(each.shape, sizes, strict=False)]
            if len(each.shape) != len(sizes) or any(size not in (None, there) for there, size in pairs):
                got = printable(str(each.shape))[:200]
                raise DataError(f"{where}: {each.name} must be {' x '.join(map(_spell, sizes))}, got {got}")
            is_fixed = wanted is inputs and any(size is None and isinstance(there, int) for there, size in pairs)
            if is_fixed or each.type != f"tensor({kind})":
                raise DataError(f"{where}: {each.name} must be of any size and {kind}, got {each.shape} of {each.type}")


def _spell(size: int | None) -> str:
    return "any" if size is None else str(size)
