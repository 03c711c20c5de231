"""Apply a finished run to WFDB records: predict them in batches, write and print the predictions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgcls.data.recordings import Prepared, read_recording
from ecgcls.errors import DataError
from ecgcls.files import write_atomically, write_json
from ecgcls.jobs.loaded import BATCH_SIZE, LoadedRun, Prediction

MAX_SHOWN = 40
"""Rows of a table on the screen."""


def predict_files(run: LoadedRun, paths: Iterable[Path]) -> Iterator[tuple[Path, Prediction | DataError]]:
    """Predict WFDB records, given without extensions, in batches; the next batch is read while the nets compute.

    A record that cannot be used comes with the reason instead of a prediction.
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
            batch.append((path, prepared := run.prepare(read_recording(path))))
        except DataError as error:
            batch.append((path, error))
            continue
        n_windows += len(prepared.windows_mv)
        if n_windows >= BATCH_SIZE:
            break
    return batch


def _predict_batch(
    run: LoadedRun, batch: list[tuple[Path, Prepared | DataError]]
) -> Iterator[tuple[Path, Prediction | DataError]]:
    windows_mv = [prepared.windows_mv for _, prepared in batch if isinstance(prepared, Prepared)]
    y_prob = run.predict_windows(np.concatenate(windows_mv)) if windows_mv else np.empty(0)
    of_records = iter(np.split(y_prob, np.cumsum([len(own) for own in windows_mv])))
    for path, prepared in batch:
        yield path, run.summarize(prepared, next(of_records)) if isinstance(prepared, Prepared) else prepared


def write_predictions(
    folder: Path,
    predictions: Mapping[str, Prediction],
    failures: Mapping[str, str],
    *,
    run: LoadedRun,
    source: str,
) -> None:
    """Write ``predictions.csv``, ``predictions.json`` and, if some records could not be used, ``failed.csv``.

    `predictions` and `failures` are by path of the record; files of an earlier call are replaced.
    """
    for outdated in ("predictions.csv", "predictions.json", "failed.csv"):
        (folder / outdated).unlink(missing_ok=True)
    if failures:
        table = pd.DataFrame({"record": list(failures), "reason": list(failures.values())})
        write_atomically(folder / "failed.csv", table.to_csv(index=False).encode())
    if not predictions:
        return
    rows: list[dict[str, Any]] = [
        {
            "record": path,
            **{f"y_prob_{name}": one.y_prob[name] for name in run.class_names},
            **{f"y_pred_{name}": int(one.y_pred[name]) for name in run.class_names},
            "n_windows": len(one.starts_s),
            "repairs": "; ".join(one.repairs),
        }
        for path, one in predictions.items()
    ]
    write_atomically(folder / "predictions.csv", pd.DataFrame(rows).to_csv(index=False).encode())
    content = {
        "run": str(run.path),
        "experiment": run.info.experiment,
        "model": run.info.model,
        "variant": run.info.variant,
        "n_nets": len(run.nets),
        "trained_on_simulated_ecgs": run.info.synthetic,
        "input": source,
        "class_names": list(run.class_names),
        "thresholds": run.thresholds,
        "records": [{"record": path} | one.to_dict() for path, one in predictions.items()],
    }
    write_json(folder / "predictions.json", content, rows="records")


def format_predictions(predictions: Mapping[str, Prediction], run: LoadedRun) -> str:
    """Return predictions as a table with a mark at each class that is predicted, and the repairs by frequency."""
    rows = [
        {"record": path}
        | {name: f"{one.y_prob[name]:.3f}{'*' if one.y_pred[name] else ' '}" for name in run.class_names}
        for path, one in list(predictions.items())[:MAX_SHOWN]
    ]
    lines = [pd.DataFrame(rows).to_string(index=False)]
    if len(predictions) > MAX_SHOWN:
        lines.append(f"... and {len(predictions) - MAX_SHOWN} more records")
    thresholds = ", ".join(f"{name} {run.thresholds[name]:.3g}" for name in run.class_names)
    lines.append(f"\n* at or above the class's threshold: {thresholds}")
    repairs = Counter(repair for one in predictions.values() for repair in one.repairs)
    lines += [f"{count} records: {repair}" for repair, count in repairs.most_common(20)]
    if run.info.synthetic:
        lines.append("The net was trained on simulated ECGs: these numbers say nothing about patients.")
    return "\n".join(lines)
