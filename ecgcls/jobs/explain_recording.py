"""What a finished run's net looks at in anyone's recording: ``run.explain(...)``, and ``interpret`` with ``input=``."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ecgcls.data.metadata import read_patient
from ecgcls.data.recordings import Recording, read_recording
from ecgcls.errors import ConfigError, DataError
from ecgcls.explanation.attribution import METHODS, attribute, get_method
from ecgcls.explanation.method import MethodSettings, Query, make_query
from ecgcls.files import name_file, name_files
from ecgcls.jobs.explain_files import format_rows, recorded, write_map, write_table
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.jobs.prediction import Prediction
from ecgcls.outputs import name_output
from ecgcls.training.standardizer import Standardizer

log = logging.getLogger(__name__)

_SHOWN = ("record", "class", "y_prob", "y_pred", "method", "figure")


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a net looked at in one recording, for some classes.

    Attributes
    ----------
    prediction
        What `LoadedRun.predict` returns: probabilities, decisions, windows, repairs.
    window
        By class which window was explained, counted from 0: the one in which the class is most probable.
    signal_mv, attribution
        By class ``(lead, sample)``: that window as the net takes it, and how much each of its samples counts.
    method, unit
        How the attribution was computed, and its unit.
    """

    prediction: Prediction
    window: dict[str, int]
    signal_mv: dict[str, NDArray[np.float32]]
    attribution: dict[str, NDArray[np.float32]]
    method: str
    unit: str


def explain_recording(
    run: LoadedRun,
    recording: Recording,
    *,
    metadata: NDArray[np.float64] | None = None,
    class_names: Sequence[str] | None = None,
    method: str = "grad_cam",
    settings: MethodSettings = MethodSettings(),
) -> Explanation:
    """Explain one recording, by a single net.

    Parameters
    ----------
    metadata
        ``(column,)``, of the run's `metadata_names`; None: nothing of them is known. They are held fixed.
    class_names
        Which classes; None: those that are predicted, or else the most probable one.
    method
        One of `ecgcls.explanation.attribution.METHODS`.

    Raises
    ------
    ConfigError
        If the run is several nets, or there is no such class or method.
    DataError
        If the recording cannot be used.
    """
    if len(run.nets) != 1:
        raise ConfigError(f"{run.path} holds {len(run.nets)} nets, expected one to explain: choose a fold's folder")
    if run.info.kind == "ensemble":
        raise ConfigError(f"{run.path} is an ensemble, expected one net to explain: choose a member's folder")
    how = get_method(method)
    check_classes(run, class_names)
    prepared = run.prepare(recording)
    metadata = np.full(len(run.metadata_names), np.nan) if metadata is None else metadata
    prediction = run.predict_prepared(prepared, metadata)
    likeliest = max(prediction.y_prob, key=prediction.y_prob.__getitem__)
    chosen = class_names or [name for name, held in prediction.y_pred.items() if held] or [likeliest]
    columns = [run.class_names.index(name) for name in chosen]
    window = [int(prediction.windows[:, column].argmax()) for column in columns]
    signals = run.nets[0].fill_absent(torch.from_numpy(prepared.windows_mv[window])).numpy()
    found = attribute(query_run(run, signals, columns, np.tile(metadata, (len(columns), 1))), method, settings)
    return Explanation(
        prediction=prediction,
        window=dict(zip(chosen, window, strict=True)),
        signal_mv=dict(zip(chosen, signals, strict=True)),
        attribution=dict(zip(chosen, found.values, strict=True)),
        method=how.name,
        unit=how.unit,
    )


def check_classes(run: LoadedRun, class_names: Sequence[str] | None) -> None:
    """Refuse a class that a run does not have."""
    unknown = [name for name in class_names or () if name not in run.class_names]
    if unknown:
        raise ConfigError(f"classes: this run has no class {', '.join(unknown)}; it has {', '.join(run.class_names)}")


def query_run(
    run: LoadedRun,
    signal_mv: NDArray[np.float32],
    class_index: Sequence[int],
    metadata: NDArray[np.float64],
) -> Query:
    """Ask a run's first net about records ``(record, lead, sample)``, each with the class to be explained.

    `metadata` is ``(record, column)``, of the run's `metadata_names`.
    """
    standardizer = run.nets[0][0]
    assert isinstance(standardizer, Standardizer)
    return make_query(
        run.nets[0],
        torch.from_numpy(signal_mv),
        class_index,
        baseline_mv=standardizer.mean_mv,
        sd_mv=standardizer.sd_mv,
        sampling_rate_hz=run.sampling_rate_hz,
        recalibrate=partial(run.calibrators[0].apply_logits, class_names=run.class_names),
        metadata=metadata if run.metadata_names else None,
    )


def explain_files(
    run: LoadedRun,
    paths: Sequence[Path],
    output: Path,
    *,
    methods: Sequence[str],
    class_names: Sequence[str] | None,
    settings: MethodSettings,
    tell: Callable[[str], None] = log.info,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Explain WFDB records (without extensions) and other files; write each one's maps and pictures when it is ready.

    Return the content of ``records.csv``, and by record why it could not be used.
    """
    check_classes(run, class_names)
    repeated = Counter(path.name for path in paths)
    values = {"record": [str(path) for path in paths], "class": run.class_names, "method": methods}
    format_row = format_rows(_SHOWN, values)
    tell(format_row(dict(zip(_SHOWN, _SHOWN, strict=True))))
    rows: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    with recorded(output, {"run": str(run.path), "records": [str(path) for path in paths]}):
        for path in paths:
            name = name_file(path.name) if repeated[path.name] == 1 else name_output(path)
            try:
                recording = read_recording(path, lead_names=run.lead_names)
                beside = read_patient(path, recording.patient, run.metadata_names)
                how: dict[str, Any] = {"metadata": beside, "class_names": class_names, "settings": settings}
                for method in methods:
                    found = explain_recording(run, recording, method=method, **how)
                    for row in _write_explanation(run, path, name, found, output):
                        rows.append(row)
                        write_table(pd.DataFrame(rows), output / "records.csv")
                        tell(format_row(row))
            except DataError as error:
                failures[str(path)] = " ".join(str(error).split())
                table = pd.DataFrame({"record": list(failures), "reason": list(failures.values())})
                write_table(table, output / "failed.csv")
    return pd.DataFrame(rows), failures


def _write_explanation(run: LoadedRun, path: Path, name: str, found: Explanation, output: Path) -> list[dict[str, Any]]:
    """Write the map and the picture of each class; return their rows of ``records.csv``."""
    prediction, files = found.prediction, name_files(run.class_names)
    rows = []
    for class_name, number in found.window.items():
        start_s = prediction.starts_s[number]
        y_prob, is_predicted = prediction.y_prob[class_name], prediction.y_pred[class_name]
        part = f", from {start_s:g} s" if len(prediction.starts_s) > 1 else ""
        decided = f"{'' if is_predicted else 'not '}predicted, threshold {prediction.thresholds[class_name]:.2f}"
        facts = {"record": str(path), "class_name": class_name, "y_prob": y_prob, "start_s": start_s}
        written = write_map(
            output,
            f"{name}_{files[class_name]}",
            METHODS[found.method],
            found.attribution[class_name],
            found.signal_mv[class_name],
            title=f"{path.name}{part}: {class_name}, predicted probability {y_prob:.2f} ({decided})",
            subtitle=f"{run.info.title}; {METHODS[found.method].label}",
            sampling_rate_hz=run.sampling_rate_hz,
            lead_names=run.lead_names,
            facts=facts,
        )
        row = {"record": str(path), "class": class_name, "y_prob": y_prob, "y_pred": int(is_predicted)}
        row |= {"threshold": prediction.thresholds[class_name], "method": found.method, "start_s": start_s}
        rows.append(row | {"repairs": "; ".join(prediction.repairs)} | written)
    return rows
