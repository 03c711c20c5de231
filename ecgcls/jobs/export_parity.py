"""Whether a bundle says what its nets say: the graph in onnxruntime against torch, and against what the run predicted.

On the run's own test records where they are at hand, each fold's on its own, and always on the bundle's example.
Against ``predictions.csv`` stands each net with its own calibrator, on records whose patients it has not seen.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from tqdm import tqdm

from ecgcls.data.metadata import read_columns
from ecgcls.data.reading import read_repaired
from ecgcls.data.sample_tables import read_table
from ecgcls.data.signals import to_millivolt
from ecgcls.data.source import split_settings
from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.check_bundle import BOUND, EXAMPLE
from ecgcls.jobs.load_bundle import LoadedBundle
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.jobs.parts import build_part
from ecgcls.jobs.trust import take_trusted
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.members import open_members

log = logging.getLogger(__name__)

MAX_RECORDS = 500
"""Of a run's test records, over all folds."""
_MAX_HALF = 0.05  # of a probability's difference to predictions.csv, where the run computed in half precision
_BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class _Part:
    """Test records of a fold: their files, metadata ``(record, column)``, and what the fold's net said, calibrated."""

    paths: Sequence[Path]
    metadata: NDArray[np.float64]
    y_prob: NDArray[np.float64]  # (record, class)


def measure_parity(
    one: Configuration, run: LoadedRun, bundle: LoadedBundle, *, trust: Sequence[str] = ()
) -> dict[str, Any]:
    """Measure how far a bundle is from its run.

    Returns
    -------
    dict
        ``records``, in words, and ``n_records``; ``largest_difference`` of a probability between torch and
        onnxruntime, and ``bound``; ``from_predictions``, the largest one of the bundle to ``predictions.csv``,
        ``precision``, in which the run computed these, and ``torch_from_predictions``, that of torch in this precision,
        each None where only the example was at hand; ``runtime``.

    Raises
    ------
    DataError
        If one is too large: the bundle would say something else than the run.
    """
    import onnxruntime

    found: dict[str, Any] = {"records": "simulated ECG (the example)", "n_records": 1}
    precision = _read_precision(one)
    largest, from_predictions, of_torch = _compare_example(run, bundle), None, None
    try:
        parts = _open_parts(one, run, trust)
        signals = [[_read(path, run) for path in part.paths] for part in parts]
    except (OSError, DataError, ConfigError) as error:
        log.warning("Parity is measured on the example alone: the run's test records are not at hand (%s)", error)
    else:
        n_records = sum(map(len, signals))
        found = {"records": "test records of the run", "n_records": n_records}
        from_predictions = of_torch = 0.0
        with tqdm(total=n_records, desc="Comparing with torch", unit=" records", disable=None) as progress:
            for number, (part, mv) in enumerate(zip(parts, signals, strict=True)):
                for start in range(0, len(mv), _BATCH_SIZE):
                    rows = slice(start, start + _BATCH_SIZE)
                    found_here = _compare(run, bundle, number, np.stack(mv[rows]), part, rows, precision)
                    largest, from_predictions, of_torch = map(max, (largest, from_predictions, of_torch), found_here)
                    progress.update(len(mv[rows]))
    if not largest <= BOUND:  # also nan
        raise DataError(
            f"{one.folder}: nothing was exported: in onnxruntime a probability is {largest:.2g} away from that in "
            f"torch (allowed: {BOUND:g}); try another version of torch or onnxruntime"
        )
    _judge(one, from_predictions, of_torch, precision)
    return {
        **found,
        "largest_difference": largest,
        "bound": BOUND,
        "from_predictions": from_predictions,
        "precision": precision,
        "torch_from_predictions": of_torch,
        "runtime": f"onnxruntime {onnxruntime.__version__}",
    }


def _judge(one: Configuration, from_predictions: float | None, of_torch: float | None, precision: str) -> None:
    """Refuse what is far from the run's predictions, and tell what half precision explains."""
    if from_predictions is None or of_torch is None or from_predictions <= BOUND:
        return
    far = f"{one.folder}: a probability is {from_predictions:.2g} away from that in predictions.csv"
    if not from_predictions <= _MAX_HALF or "16" not in precision:
        raise DataError(
            f"{far}, so nothing was exported: the net, the signals or the predictions were changed; retrain with "
            "overwrite=true"
        )
    log.warning(
        "%s, which the run computed with precision %s, and a bundle in single precision (torch in the run's precision: "
        "%.2g away)",
        far,
        precision,
        of_torch,
    )


def _read_precision(one: Configuration) -> str:
    """Return in which precision a run, or the members of an ensemble, computed; several are told one after another."""
    runs = [each for run in one.runs for each in (open_members(run) if one.info.ensemble else [run])]
    return " and ".join(sorted({str(run.read_config().get("trainer", {}).get("precision", "32-true")) for run in runs}))


def _open_parts(one: Configuration, run: LoadedRun, trust: Sequence[str]) -> list[_Part]:
    """Choose test records of each fold, evenly over its predictions."""
    node = take_trusted(one.runs[0].read_config(), "data", trust=trust)
    source = build_part("data", split_settings(node)[0])
    records = source.read_records()
    trained_on = one.info.data["fingerprint"]
    if changed := [name for name, digest in source.fingerprint().items() if trained_on.get(name) != digest]:
        raise DataError(f"{source.root / changed[0]} is not the table that it was trained on")
    parts = []
    for fold in one.runs:
        test = fold.read_predictions("test").take_classes(run.class_names)
        spread = np.linspace(0, len(test) - 1, min(len(test), MAX_RECORDS // len(one.runs))).round().astype(int)
        chosen = records.loc[test.ecg_id[spread]]
        metadata = read_columns(chosen, run.metadata_names, key="model.metadata")
        paths = [source.root / name for name in chosen["filename"]]
        parts.append(_Part(paths, metadata, test.y_prob[spread]))
    return parts


def _read(path: Path, run: LoadedRun) -> NDArray[np.float32]:
    """Read a record as the run had it, ``(lead, sample)`` in mV."""
    form: dict[str, Any] = {"sampling_rate_hz": int(run.sampling_rate_hz), "n_samples": run.n_samples}
    form |= {"lead_names": run.lead_names, "shorter": "pad" if run.pads else "refuse"}
    return to_millivolt(read_repaired(path, **form).signal_uv)


def _compare(
    run: LoadedRun,
    bundle: LoadedBundle,
    fold: int,
    signal_mv: NDArray[np.float32],
    part: _Part,
    rows: slice,
    precision: str,
) -> tuple[float, float, float]:
    """Return the largest differences of a probability: to torch, of the mean and of each net; to the predictions.

    The last is that of torch, in the precision of the run where the CPU has it, to the predictions.
    """
    metadata = part.metadata[rows]
    given = {"signal_mv": signal_mv} | ({"metadata": metadata.astype(np.float32)} if run.metadata_names else {})
    (mean,) = bundle.session.run(["probabilities"], given)
    own, in_torch = bundle.apply_nets(signal_mv, metadata), run.apply_nets(signal_mv, metadata)

    def calibrate(logits: NDArray[np.float64]) -> NDArray[np.float64]:
        pairs = zip(run.calibrators, logits, strict=True)
        return expit(np.stack([each.apply_logits(of_net, run.class_names) for each, of_net in pairs]))

    y_prob = part.y_prob[rows]
    largest = [np.abs(mean - expit(run.average(in_torch))).max(), np.abs(calibrate(own) - calibrate(in_torch)).max()]
    far = float(np.abs(calibrate(own)[fold] - y_prob).max())
    if far <= BOUND or precision != "bf16-mixed":
        return float(max(largest)), far, far
    with torch.autocast("cpu", dtype=torch.bfloat16):
        as_trained = run.apply_nets(signal_mv, metadata)
    return float(max(largest)), far, float(np.abs(calibrate(as_trained)[fold] - y_prob).max())


def _compare_example(run: LoadedRun, bundle: LoadedBundle) -> float:
    """Return the largest difference of a probability to torch: on the example, and on one of two and a half of it."""
    recording = read_table(bundle.path / EXAMPLE)
    form: dict[str, Any] = {"sampling_rate_hz": recording.sampling_rate_hz, "lead_names": recording.lead_names}
    signal = np.tile(recording.signal_mv, 3)[:, : 5 * run.n_samples // 2]
    given = {"signal_mv": signal[None]}
    if run.metadata_names:
        given["metadata"] = np.full((1, len(run.metadata_names)), np.nan, dtype=np.float32)
    (long,) = bundle.session.run(["probabilities"], given)
    expected = run.predict(recording.signal_mv, **form).y_prob, run.predict(signal, **form).y_prob
    found = bundle.predict(recording.signal_mv, **form).y_prob, dict(zip(run.class_names, long[0], strict=True))
    return max(float(abs(one[name] - other[name])) for one, other in zip(found, expected, strict=True) for name in one)
