"""Predictions: what a model said about records, as arrays and as the run's `predictions.csv`.

Task
    Hold one row a record: who it is, which split it was in, what is true and what the model said. Every
    reported number is computed from these rows alone. `Predictions.from_csv` reads a run's own file and takes no
    other; `read_predictions` and `from_arrays` read what any other program wrote, and say what they assumed.

Conventions
    Arrays are `(record, class)`. `y_true` is 0 or 1, `y_prob` a probability in [0, 1], `y_pred` the decision (0 or
    1) that was made of it; a record may have any number of positive classes. In the file, the columns
    `y_true_<CLASS>`, `y_prob_<CLASS>` and `y_pred_<CLASS>` carry the class names as they are ('LAFB/LPFB', 'ISC_'),
    all in class order. A file without `y_pred_` columns was decided at 0.5. Probabilities are written with the fewest
    digits that give the same float64 back, so any float32 or float64 value survives the file exactly.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import check_arrays, check_whole_numbers, describe_difference
from ecgcls.files import write_atomically

SPLITS = ("val", "test")
THRESHOLD = 0.5
"""A class is predicted where its probability is at least this, unless a run has thresholds of its own."""
_ID_COLUMNS = ("ecg_id", "patient_id", "strat_fold", "split")
_TRUE = "y_true_"
_PROB = "y_prob_"
_PRED = "y_pred_"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about records: one row a record.

    Arrays may be given in any type that holds the values exactly; they are kept in the types named below.

    Parameters
    ----------
    ecg_id, patient_id, strat_fold
        Whole numbers, shape `(n_records,)`, kept as int64.
    split
        'val' or 'test' for each record, shape `(n_records,)`. No ecg_id is twice in one split.
    y_true
        0 or 1, shape `(n_records, n_classes)`, kept as int8.
    y_prob
        Probabilities in [0, 1], shape `(n_records, n_classes)`, kept as float64.
    class_names
        One name a class, in the order of the columns.
    y_pred
        0 or 1: which classes are predicted; same shape, kept as int8. None: those with a probability of at least 0.5.

    Raises
    ------
    DataError
        There is no record, the shapes disagree, or a value is not what is said above.

    Examples
    --------
    >>> said = Predictions([7, 8], [1, 2], [9, 10], ["val", "test"], [[1, 0], [0, 1]],
    ...                    [[0.9, 0.1], [0.2, 0.6]], ("NORM", "MI"))
    >>> len(said), said.select("test").ecg_id
    (2, array([8]))
    """

    ecg_id: NDArray[np.int64]
    patient_id: NDArray[np.int64]
    strat_fold: NDArray[np.int64]
    split: NDArray[np.str_]
    y_true: NDArray[np.int8]
    y_prob: NDArray[np.float64]
    class_names: tuple[str, ...]
    y_pred: NDArray[np.int8] = None  # type: ignore[assignment]  # None is replaced at once

    def __post_init__(self) -> None:
        """Check the values and keep them in their own types."""
        ecg_id = check_whole_numbers("ecg_id", self.ecg_id)
        y_true, y_prob = check_arrays(self.y_true, self.y_prob, self.class_names, ecg_id=ecg_id)
        ids: dict[str, NDArray] = {
            "ecg_id": ecg_id,
            "patient_id": check_whole_numbers("patient_id", self.patient_id),
            "strat_fold": check_whole_numbers("strat_fold", self.strat_fold),
            "split": np.asarray(self.split, dtype=np.str_),
        }
        for name, array in ids.items():
            if array.shape != (len(y_true),):
                raise DataError(f"{name} must have shape ({len(y_true)},) like y_true, got {array.shape}")
        _check_splits(ecg_id, ids["split"])
        y_pred = (y_prob >= THRESHOLD).astype(np.int8)
        if self.y_pred is not None:
            y_pred, _ = check_arrays(self.y_pred, y_prob, self.class_names, ecg_id=ecg_id, name="y_pred")
        kept = {**ids, "y_true": y_true, "y_prob": y_prob, "class_names": tuple(self.class_names), "y_pred": y_pred}
        for name, value in kept.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """How many records."""
        return len(self.ecg_id)

    def select(self, split: str) -> Predictions:
        """Keep the records of one split, in the same order.

        Parameters
        ----------
        split
            'val' or 'test'.

        Raises
        ------
        ConfigError
            There is no such split.
        DataError
            No record is in it.
        """
        if split not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        rows = np.flatnonzero(self.split == split)
        if not len(rows):
            raise DataError(f"none of the {len(self)} predictions is in split {split!r}")
        return self._take_rows(rows)

    def take(self, ecg_ids: ArrayLike) -> Predictions:
        """Keep these records, in the order in which they stand here; one that is in both splits is kept in both.

        Parameters
        ----------
        ecg_ids
            Whole numbers in any order; one that is named twice counts once.

        Raises
        ------
        DataError
            No ecg_id is named, or one of them is not here.

        Examples
        --------
        >>> said = Predictions([7, 8], [1, 2], [9, 10], ["val", "test"], [[1], [0]], [[0.9], [0.2]], ("MI",))
        >>> said.take([8]).y_prob
        array([[0.2]])
        """
        wanted = np.unique(check_whole_numbers("ecg_ids", ecg_ids))
        unknown = wanted[~np.isin(wanted, self.ecg_id)]
        if len(unknown):
            first = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise DataError(
                f"{len(unknown)} of the {len(wanted)} wanted ecg_ids are not among the {len(self)} predictions: {first}"
            )
        if not len(wanted):
            raise DataError("no ecg_id is wanted, expected at least one")
        return self._take_rows(np.flatnonzero(np.isin(self.ecg_id, wanted)))

    def decide(self, thresholds: ArrayLike) -> Predictions:
        """Predict each class where its probability is at least a threshold.

        Parameters
        ----------
        thresholds
            One for all classes, or one a class.

        Examples
        --------
        >>> said = Predictions([7, 8], [1, 2], [9, 10], ["val", "test"], [[1], [0]], [[0.4], [0.2]], ("MI",))
        >>> said.y_pred.ravel().tolist(), said.decide([0.3]).y_pred.ravel().tolist()
        ([0, 0], [1, 0])
        """
        return replace(self, y_pred=(self.y_prob >= np.asarray(thresholds, dtype=float)).astype(np.int8))

    def to_csv(self, path: Path) -> None:
        """Write one line a record; equal predictions give equal bytes, the file appears whole or not at all.

        The columns are `ecg_id, patient_id, strat_fold, split, y_true_<CLASS>..., y_prob_<CLASS>...,
        y_pred_<CLASS>...`.

        Parameters
        ----------
        path
            The CSV file; its folder is made, an older file is replaced.
        """
        ids = pd.DataFrame({name: getattr(self, name) for name in _ID_COLUMNS})
        y_true = pd.DataFrame(self.y_true, columns=[_TRUE + name for name in self.class_names])
        y_prob = pd.DataFrame(self.y_prob, columns=[_PROB + name for name in self.class_names])
        y_pred = pd.DataFrame(self.y_pred, columns=[_PRED + name for name in self.class_names])
        text = pd.concat([ids, y_true, y_prob, y_pred], axis=1).to_csv(index=False, lineterminator="\n")
        write_atomically(path, text.encode())

    @classmethod
    def from_csv(cls, path: Path) -> Predictions:
        """Read what `to_csv` wrote.

        Parameters
        ----------
        path
            The CSV file. Rows are counted from 1, the first below the header.

        Raises
        ------
        DataError
            The file is missing or empty, a column is missing, unknown or twice there, the classes of the
            `y_true_` and `y_prob_` columns differ, or a value is not what `Predictions` asks for.
        """
        header = _read_header(path)
        missing = [name for name in _ID_COLUMNS if name not in header]
        if missing:
            raise DataError(f"{path}: column {missing[0]!r} is missing, got {', '.join(header[:6])}, ...")
        unknown = _find_unknown(header)
        if unknown:
            wanted = f"{', '.join(_ID_COLUMNS)}, {_TRUE}<CLASS>..., {_PROB}<CLASS>..., {_PRED}<CLASS>..."
            raise DataError(f"{path}: unknown column {unknown[0]!r}, expected {wanted}")
        true_names, prob_names = _find_class_names(path, header)
        if true_names != prob_names:
            raise _classes_differ(path, true_names, prob_names)
        return _parse(path, _read_rows(path), true_names)

    def _take_rows(self, rows: NDArray[np.intp]) -> Predictions:
        return Predictions(
            self.ecg_id[rows],
            self.patient_id[rows],
            self.strat_fold[rows],
            self.split[rows],
            self.y_true[rows],
            self.y_prob[rows],
            self.class_names,
            self.y_pred[rows],
        )


def read_predictions(path: Path) -> tuple[Predictions, list[str]]:
    """Read anybody's predictions: a CSV file that needs only the columns `y_true_<CLASS>` and `y_prob_<CLASS>`.

    Columns may stand in any order; the classes keep that of the `y_true_` columns.

    Parameters
    ----------
    path
        The CSV file. Rows are counted from 1, the first below the header.

    Returns
    -------
    predictions, assumptions
        A missing `ecg_id` is numbered from 1, a missing `patient_id` makes each record a patient of its own, a
        missing `strat_fold` is 0, a missing `split` is 'test', and columns of other names are ignored. Each of
        these that was done is a sentence for whoever reads the numbers.

    Raises
    ------
    DataError
        The file is missing or empty, a column is twice there, the classes of the `y_true_` and `y_prob_` columns
        differ, or a value is not what `Predictions` asks for.
    """
    header = _read_header(path)
    true_names, prob_names = _find_class_names(path, header)
    if set(true_names) != set(prob_names):
        raise _classes_differ(path, true_names, prob_names)
    rows = _read_rows(path)
    assumptions = []
    if unknown := _find_unknown(header):
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
    return _parse(path, rows, true_names), assumptions


def from_arrays(
    y_true_path: Path,
    y_prob_path: Path,
    class_names: Sequence[str] | None,
    *,
    patient_id_path: Path | None = None,
    values: Literal["probabilities", "logits"] = "probabilities",
) -> tuple[Predictions, list[str]]:
    """Read anybody's predictions from two `.npy` files, as `numpy.save` writes them.

    Parameters
    ----------
    y_true_path, y_prob_path
        Arrays `(record, class)` of 0 or 1 and of probabilities in [0, 1]; an array `(record,)` is one class.
    class_names
        One name a column.
    patient_id_path
        Whose record each row is, whole numbers ``(record,)``; None: each is a patient of its own.
    values
        What `y_prob_path` holds; logits, or any scores that rank the records, go through the sigmoid.

    Returns
    -------
    predictions, assumptions
        All in the split 'test', numbered from 1 in the order of the rows; and, as sentences, what was assumed.

    Raises
    ------
    ConfigError
        `class_names` are missing, empty, or not as many as the columns.
    DataError
        A file is missing or no `.npy` file, the shapes are not those above or differ, or a value is not what
        `Predictions` asks for.
    """
    y_true, y_prob = _load_array(y_true_path), _load_array(y_prob_path)
    if y_true.shape != y_prob.shape:
        raise DataError(
            f"y_true and y_prob differ in shape: {y_true.shape} {y_true_path}, {y_prob.shape} {y_prob_path}"
        )
    if values == "logits" and np.isfinite(y_prob).all():
        y_prob = expit(y_prob.astype(np.float64))
    n_records, n_classes = y_true.shape
    names = tuple(class_names or ())
    if isinstance(class_names, str) or len(names) != n_classes or not all(names):
        raise ConfigError(
            f"class_names must name the {n_classes} columns of {y_prob_path} in their order, as in NORM, MI, STTC; "
            f"got {class_names!r}"
        )
    try:
        y_true, y_prob = check_arrays(y_true, y_prob, names)  # names records by their row, there is no ecg_id
    except DataError as error:
        raise DataError(f"{y_true_path}, {y_prob_path}: {error}") from None
    numbers = np.arange(1, n_records + 1)
    patients = numbers
    if patient_id_path is not None:
        patients = check_whole_numbers(f"{patient_id_path}", _load_array(patient_id_path)[:, 0])
        if len(patients) != n_records:
            raise DataError(f"{patient_id_path}: expected {n_records} rows like {y_true_path}, got {len(patients)}")
    predictions = Predictions(numbers, patients, 0 * numbers, np.full(n_records, "test"), y_true, y_prob, names)
    alone = "arrays have no patient_id: each record counts as a patient of its own"
    return predictions, [
        f"arrays have no ecg_id: the records are numbered 1 to {n_records} in the order of the rows",
        *([alone] if patient_id_path is None else []),
        "arrays have no strat_fold: it is taken as 0 for all records",
        "arrays have no split: all records count as test",
    ]


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Pool out-of-fold predictions: put the folds' records together, sorted by ecg_id.

    Parameters
    ----------
    parts
        One a fold, each already narrowed to its out-of-fold records:
        `[part.select("test") for part in parts]`.

    Raises
    ------
    DataError
        There is no part, the classes differ in name or order, or a record is met twice.

    Examples
    --------
    >>> first = Predictions([9], [1], [1], ["test"], [[1]], [[0.75]], ("AFIB",))
    >>> second = Predictions([4], [2], [3], ["test"], [[0]], [[0.25]], ("AFIB",))
    >>> pool([first, second]).ecg_id
    array([4, 9])
    """
    if not parts:
        raise DataError("there are no predictions to pool: expected one part a fold, got none")
    class_names = parts[0].class_names
    for number, part in enumerate(parts[1:], start=1):
        if part.class_names != class_names:
            difference = describe_difference(part.class_names, class_names)
            raise DataError(f"the classes of part {number} differ from those of part 0: {difference}")
    ecg_id = np.concatenate([part.ecg_id for part in parts])
    _check_met_once(ecg_id, parts)
    together = Predictions(
        ecg_id,
        np.concatenate([part.patient_id for part in parts]),
        np.concatenate([part.strat_fold for part in parts]),
        np.concatenate([part.split for part in parts]),
        np.concatenate([part.y_true for part in parts]),
        np.concatenate([part.y_prob for part in parts]),
        class_names,
        np.concatenate([part.y_pred for part in parts]),
    )
    return together._take_rows(np.argsort(ecg_id, kind="stable"))


def _check_splits(ecg_id: NDArray[np.int64], split: NDArray[np.str_]) -> None:
    unknown = np.flatnonzero(~np.isin(split, SPLITS))
    if len(unknown):
        row = unknown[0]
        raise DataError(f"split must be 'val' or 'test', got '{split[row]}' for ecg_id {ecg_id[row]}")
    for name in SPLITS:
        ids, counts = np.unique(ecg_id[split == name], return_counts=True)
        if (counts > 1).any():
            raise DataError(f"ecg_id {ids[counts > 1][0]} is more than once in split {name!r}, expected once")


def _check_met_once(ecg_id: NDArray[np.int64], parts: Sequence[Predictions]) -> None:
    ids, counts = np.unique(ecg_id, return_counts=True)
    if (counts > 1).any():
        twice = ids[counts > 1][0]
        where = [
            f"{split!s} of part {number}"
            for number, part in enumerate(parts)
            for split in part.split[part.ecg_id == twice]
        ]
        raise DataError(
            f"ecg_id {twice} is met {len(where)} times ({', '.join(where)}), expected once; so are "
            f"{(counts > 1).sum() - 1} more records: pool one split of folds that do not overlap"
        )


def _read_header(path: Path) -> list[str]:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except FileNotFoundError:
        raise DataError(f"{path}: no such predictions file") from None
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{path}: not a readable CSV file: {error}") from None
    if not header:
        columns = ", ".join(_ID_COLUMNS)
        raise DataError(f"{path}: the file is empty, expected a header: {columns}, {_TRUE}<CLASS>...")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} is more than once in the header")
    return header


def _find_unknown(header: Sequence[str]) -> list[str]:
    return [name for name in header if name not in _ID_COLUMNS and not name.startswith((_TRUE, _PROB, _PRED))]


def _find_class_names(path: Path, header: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the classes of the `y_true_` and of the `y_prob_` columns."""
    true_names = tuple(name.removeprefix(_TRUE) for name in header if name.startswith(_TRUE))
    prob_names = tuple(name.removeprefix(_PROB) for name in header if name.startswith(_PROB))
    for prefix, names in ((_TRUE, true_names), (_PROB, prob_names)):
        if not names:
            raise DataError(f"{path}: there is no column {prefix}<CLASS>, got {', '.join(header[:6])}")
    return true_names, prob_names


def _classes_differ(path: Path, true_names: Sequence[str], prob_names: Sequence[str]) -> DataError:
    difference = describe_difference(prob_names, true_names)
    return DataError(f"{path}: the classes of the {_PROB} and {_TRUE} columns differ: {difference}")


def _read_rows(path: Path) -> pd.DataFrame:
    """Read the cells as text."""
    try:
        rows = pd.read_csv(path, encoding="utf-8-sig", dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable CSV file: {str(error).strip()}") from None
    if not isinstance(rows.index, pd.RangeIndex):
        raise DataError(f"{path}: row 1 has more cells than the header has columns ({rows.shape[1]})")
    if rows.empty:
        raise DataError(f"{path}: there is no record below the header")
    return rows


def _parse(path: Path, rows: pd.DataFrame, class_names: tuple[str, ...]) -> Predictions:
    """Turn cells of text into predictions."""
    try:
        ecg_id, patient_id, strat_fold = (
            check_whole_numbers(name, _read_numbers(rows[name], "a whole number"))
            for name in ("ecg_id", "patient_id", "strat_fold")
        )
        split = rows["split"].to_numpy(dtype=np.str_)
        decided = [str(name).removeprefix(_PRED) for name in rows if str(name).startswith(_PRED)]
        if decided and set(decided) != set(class_names):
            difference = describe_difference(decided, class_names)
            raise DataError(f"the classes of the {_PRED} and {_TRUE} columns differ: {difference}")
        y_true, y_prob = check_arrays(
            np.column_stack([_read_numbers(rows[_TRUE + name], "0 or 1") for name in class_names]),
            np.column_stack([_read_numbers(rows[_PROB + name], "in [0, 1]") for name in class_names]),
            class_names,
            ecg_id=ecg_id,
        )
        y_pred = [_read_numbers(rows[_PRED + name], "0 or 1") for name in class_names] if decided else None
        return Predictions(
            ecg_id, patient_id, strat_fold, split, y_true, y_prob, class_names,
            np.column_stack(y_pred) if y_pred else None,  # type: ignore[arg-type]
        )  # fmt: skip
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


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


def _read_numbers(column: pd.Series, wanted: str) -> NDArray[np.float64]:
    texts = column.to_numpy(dtype=np.str_)
    try:
        numbers = texts.astype(np.float64)  # exact, unlike some versions of pandas' own parser
    except ValueError:
        numbers = np.array([_read_number(text) for text in texts])
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{column.name} in row {row + 1} must be {wanted}, got {str(texts[row])!r}")
    return numbers


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
