"""Files of predictions: a run's own `predictions.csv`, and what other programs wrote.

`read_csv` reads a run's own file and accepts no other; `read_predictions` and `read_arrays` read what any other program
wrote, and report what they assumed. Probabilities and logits are written with the fewest digits that give the same
float64 back, so any float32 or float64 value survives the file exactly. A name that a spreadsheet would take for a
formula has a ``'`` in front, which is taken away again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import check_arrays, check_ids, check_logits
from ecgcls.evaluation.predictions import (
    FOLD,
    ID_COLUMNS,
    PRED,
    PREFIXES,
    TRUE,
    Predictions,
    find_classes,
    find_unknown,
)
from ecgcls.files import encode_csv, restore, write_atomically


def write_csv(predictions: Predictions, path: Path) -> None:
    """Write `Predictions.to_table`; equal predictions give equal bytes, the file appears whole or not at all."""
    write_atomically(path, encode_csv(predictions.to_table(), index=False))


def read_csv(path: Path) -> Predictions:
    """Read what `write_csv` wrote, and refuse anything else; messages count rows from 1, the first below the header."""
    cells = _read_cells(path)
    try:
        return Predictions.from_table(cells)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_predictions(path: Path) -> tuple[Predictions, list[str]]:
    """Read any program's predictions: a CSV file that needs only `y_true_<CLASS>` and `y_prob_<CLASS>` or `y_logit_`.

    Columns may be in any order; the classes keep that of the `y_true_` columns. An empty cell of `y_true_<CLASS>`, -1
    or nan is not annotated. A column `fold` tells which net of a cross-validation predicted the record.

    Returns
    -------
    predictions, assumptions
        A missing `ecg_id` is numbered from 1, a missing `patient_id` makes each record a patient of its own, a
        missing `strat_fold` is 0, a missing `split` is 'test', and columns of other names are ignored. Each
        assumption that was made is a sentence for the reader of the scores.
    """
    rows = _read_cells(path)
    assumptions = []
    if unknown := find_unknown([*rows]):
        assumptions.append(f"columns that are not known were ignored: {', '.join(map(repr, unknown))}")
    numbers = pd.Series(range(1, len(rows) + 1), index=rows.index).astype(str)
    assumed = {
        "ecg_id": (numbers, f"the records are numbered 1 to {len(rows)} in the order of the file"),
        "patient_id": (rows.get("ecg_id", numbers), "each record counts as a patient of its own"),
        "strat_fold": ("0", "it is taken as 0 for all records"),
        "split": ("test", "all records count as test"),
    }
    for name, (values, sentence) in assumed.items():
        if name not in rows:
            rows[name] = values
            assumptions.append(f"column {name} is missing: {sentence}")
    try:
        classes = find_classes([*rows])
        if not any(PRED + name in rows for name in classes[TRUE]):
            assumptions.append(f"columns {PRED}<CLASS> are missing: a class is predicted from 0.5 on")
        of_classes = [prefix + name for prefix in PREFIXES for name in classes[TRUE] if prefix + name in rows]
        ids = [*ID_COLUMNS, FOLD] if FOLD in rows else [*ID_COLUMNS]
        return Predictions.from_table(rows[[*ids, *of_classes]]), assumptions
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_arrays(
    y_true_path: Path,
    y_prob_path: Path,
    class_names: Sequence[str] | None,
    *,
    patient_id_path: Path | None = None,
    values: Literal["probabilities", "logits"] = "probabilities",
) -> tuple[Predictions, list[str]]:
    """Read the predictions of any program from two `.npy` files, as `numpy.save` writes them.

    Parameters
    ----------
    y_true_path, y_prob_path
        Arrays `(record, class)` of 0 or 1 (-1 or nan: not annotated) and of probabilities in [0, 1]; an array
        `(record,)` is one class.
    class_names
        One name per column.
    patient_id_path
        Whose record each row is, whole numbers or names ``(record,)``; None: each is a patient of its own.
    values
        What `y_prob_path` holds; logits, or any scores, are kept and rank the records, their sigmoid is `y_prob`.

    Returns
    -------
    predictions, assumptions
        All in the split 'test', numbered from 1 in the order of the rows; and, as sentences, the assumptions.
    """
    y_true, y_prob = _load_array(y_true_path), _load_array(y_prob_path)
    if y_true.shape != y_prob.shape:
        raise DataError(
            f"y_true and y_prob differ in shape: {y_true.shape} {y_true_path}, {y_prob.shape} {y_prob_path}"
        )
    y_logit = None
    if values == "logits" and y_prob.dtype.kind in "biuf":
        y_logit, y_prob = y_prob.astype(np.float64), expit(y_prob.astype(np.float64))
    n_records, n_classes = y_true.shape
    names = tuple(class_names or ())
    if isinstance(class_names, str) or len(names) != n_classes or not all(names):
        raise ConfigError(
            f"class_names must name the {n_classes} columns of {y_prob_path} in their order, as in NORM, MI, STTC; "
            f"got {class_names!r}"
        )
    try:
        if y_logit is not None:
            check_logits(y_logit, expit(y_logit), names)  # names records by their row, there is no ecg_id
        y_true, y_prob = check_arrays(y_true, y_prob, names)
    except DataError as error:
        raise DataError(f"{y_true_path}, {y_prob_path}: {error}") from None
    numbers = np.arange(1, n_records + 1)
    patients = numbers
    if patient_id_path is not None:
        patients = check_ids(f"{patient_id_path}", _load_array(patient_id_path)[:, 0])
        if len(patients) != n_records:
            raise DataError(f"{patient_id_path}: expected {n_records} rows like {y_true_path}, got {len(patients)}")
    split = np.full(n_records, "test")
    predictions = Predictions(numbers, patients, 0 * numbers, split, y_true, y_prob, names, y_logit=y_logit)
    alone = "arrays have no patient_id: each record counts as a patient of its own"
    return predictions, [
        f"arrays have no ecg_id: the records are numbered 1 to {n_records} in the order of the rows",
        *([alone] if patient_id_path is None else []),
        "arrays have no strat_fold: it is taken as 0 for all records",
        "arrays have no split: all records count as test",
    ]


def _read_cells(path: Path) -> pd.DataFrame:
    """Read the cells as text, below the header."""
    try:
        cells = pd.read_csv(path, header=None, encoding="utf-8-sig", dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such predictions file") from None
    except pd.errors.EmptyDataError:
        columns = ", ".join(ID_COLUMNS)
        raise DataError(f"{path}: the file is empty, expected a header: {columns}, {TRUE}<CLASS>...") from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: not a readable CSV file: {str(error).strip()}") from None
    header, rows = cells.iloc[0].tolist(), cells.iloc[1:].reset_index(drop=True)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} is more than once in the header")
    if rows.empty:
        raise DataError(f"{path}: there is no record below the header")
    rows = rows.set_axis(header, axis="columns")
    for name in rows.columns.intersection([*ID_COLUMNS[:2]]):
        rows[name] = rows[name].map(restore)
    return rows


def _load_array(path: Path) -> NDArray:
    """Load a `.npy` file as `(record, class)`."""
    try:
        with Path(path).open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, OSError):
        raise DataError(f"{path}: not a .npy file of numbers, as numpy.save writes it") from None
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise DataError(f"{path}: expected an array (record, class), got shape {array.shape}")
    return array
