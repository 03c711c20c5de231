"""Predictions: what a model predicts for records. Every reported number is computed from these rows alone.

Arrays are `(record, class)`. `y_true` is 0 or 1, `y_prob` a probability in [0, 1], `y_pred` the decision (0 or 1) that
was made from it; a record may have any number of positive classes. In a table, the columns `y_true_<CLASS>`,
`y_prob_<CLASS>` and `y_pred_<CLASS>` carry the class names as they are ('LAFB/LPFB', 'ISC_'), all in class order. A
table without `y_pred_` columns was decided at 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import check_arrays, check_whole_numbers, describe_difference

SPLITS = ("val", "test")
THRESHOLD = 0.5
"""A class is predicted where its probability is at least this, unless a run has thresholds of its own."""
ID_COLUMNS = ("ecg_id", "patient_id", "strat_fold", "split")
TRUE, PROB, PRED = "y_true_", "y_prob_", "y_pred_"
"""What the columns of each class begin with."""
_ARRAYS = (*ID_COLUMNS, "y_true", "y_prob", "y_pred")


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions for records, one row per record.

    Arrays may be given in any type that holds the values exactly; they are kept in the types named below.

    Parameters
    ----------
    ecg_id, patient_id, strat_fold
        Whole numbers, `(record,)`, kept as int64.
    split
        'val' or 'test' for each record. No ecg_id is twice in one split.
    y_true, y_prob
        0 or 1, kept as int8, and probabilities, kept as float64; `(record, class)`.
    y_pred
        0 or 1, `(record, class)`, kept as int8. None: a class is predicted where its probability is at least 0.5.

    Examples
    --------
    >>> predictions = Predictions([7, 8], [1, 2], [9, 10], ["val", "test"], [[1, 0], [0, 1]],
    ...                           [[0.9, 0.1], [0.2, 0.6]], ("NORM", "MI"))
    >>> len(predictions), predictions.select("test").ecg_id
    (2, array([8]))
    >>> predictions.decide([0.5, 0.1]).y_pred.tolist()
    [[1, 1], [0, 1]]
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
        ids: dict[str, NDArray] = {name: check_whole_numbers(name, getattr(self, name)) for name in ID_COLUMNS[:3]}
        ids["split"] = np.asarray(self.split, dtype=np.str_)
        y_true, y_prob = check_arrays(self.y_true, self.y_prob, self.class_names, ecg_id=ids["ecg_id"])
        for name, array in ids.items():
            if array.shape != (len(y_true),):
                raise DataError(f"{name} must have shape ({len(y_true)},) like y_true, got {array.shape}")
        _check_splits(ids["ecg_id"], ids["split"])
        y_pred = (y_prob >= THRESHOLD).astype(np.int8)
        if self.y_pred is not None:
            y_pred, _ = check_arrays(self.y_pred, y_prob, self.class_names, ecg_id=ids["ecg_id"], name="y_pred")
        kept = {**ids, "y_true": y_true, "y_prob": y_prob, "class_names": tuple(self.class_names), "y_pred": y_pred}
        for name, value in kept.items():
            object.__setattr__(self, name, value)  # checked, and in its own type

    def __len__(self) -> int:
        return len(self.ecg_id)

    def select(self, split: str) -> Predictions:
        """Keep the records of one split, 'val' or 'test'; refuse to keep none."""
        if split not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        rows = np.flatnonzero(self.split == split)
        if not len(rows):
            raise DataError(f"none of the {len(self)} predictions is in split {split!r}")
        return self._take_rows(rows)

    def take(self, ecg_ids: ArrayLike) -> Predictions:
        """Keep these records in their present order, of both splits; refuse to keep none or an unknown one."""
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

    def take_classes(self, class_names: Sequence[str]) -> Predictions:
        """Keep some of the classes, in the given order."""
        columns = [self.class_names.index(name) for name in class_names]
        arrays = {name: getattr(self, name)[:, columns] for name in ("y_true", "y_prob", "y_pred")}
        return replace(self, **arrays, class_names=tuple(class_names))

    def decide(self, thresholds: ArrayLike) -> Predictions:
        """Predict each class where its probability is at least a threshold, one for all classes or one per class."""
        return replace(self, y_pred=(self.y_prob >= np.asarray(thresholds, dtype=float)).astype(np.int8))

    def to_table(self) -> pd.DataFrame:
        """Return the columns `ecg_id, patient_id, strat_fold, split, y_true_<CLASS>..., y_prob_..., y_pred_...`."""
        ids = pd.DataFrame({name: getattr(self, name) for name in ID_COLUMNS})
        blocks = ((TRUE, self.y_true), (PROB, self.y_prob), (PRED, self.y_pred))
        tables = [pd.DataFrame(array, columns=[prefix + name for name in self.class_names]) for prefix, array in blocks]
        return pd.concat([ids, *tables], axis=1)

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Predictions:
        """Build what `to_table` gave, from cells of numbers, or of text as in a CSV file.

        Refuse missing and unknown columns, `y_true_`, `y_prob_` and `y_pred_` columns of different classes, and values
        that `Predictions` refuses; messages count rows from 1.
        """
        columns = [str(name) for name in table]
        if missing := [name for name in ID_COLUMNS if name not in columns]:
            raise DataError(f"column {missing[0]!r} is missing, got {', '.join(columns[:6])}, ...")
        if unknown := find_unknown(columns):
            wanted = f"{', '.join(ID_COLUMNS)}, {TRUE}<CLASS>..., {PROB}<CLASS>..., {PRED}<CLASS>..."
            raise DataError(f"unknown column {unknown[0]!r}, expected {wanted}")
        classes = find_classes(columns)
        names = classes[TRUE]
        if classes[PROB] != names:
            raise _classes_differ(PROB, classes[PROB], names)
        ids = {name: _read_numbers(table[name], "a whole number") for name in ID_COLUMNS[:3]}
        split = table["split"].to_numpy(dtype=np.str_)
        y_true, y_prob, y_pred = (
            np.column_stack([_read_numbers(table[prefix + name], wanted) for name in names])
            if classes[prefix]
            else None
            for prefix, wanted in ((TRUE, "0 or 1"), (PROB, "in [0, 1]"), (PRED, "0 or 1"))
        )
        return cls(**ids, split=split, y_true=y_true, y_prob=y_prob, class_names=names, y_pred=y_pred)  # type: ignore[arg-type]

    def _take_rows(self, rows: NDArray[np.intp]) -> Predictions:
        return replace(self, **{name: getattr(self, name)[rows] for name in _ARRAYS})


def find_unknown(columns: Sequence[str]) -> list[str]:
    """Return the columns that no table of predictions has."""
    return [name for name in columns if name not in ID_COLUMNS and not name.startswith((TRUE, PROB, PRED))]


def find_classes(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the classes of the `y_true_`, `y_prob_` and `y_pred_` columns, by prefix.

    Only `y_pred_` columns may be absent; those that are there have the classes of the `y_true_` columns, in any order.
    """
    found = {
        prefix: tuple(name.removeprefix(prefix) for name in columns if name.startswith(prefix))
        for prefix in (TRUE, PROB, PRED)
    }
    for prefix, names in found.items():
        if not names and prefix != PRED:
            raise DataError(f"there is no column {prefix}<CLASS>, got {', '.join(columns[:6])}")
        if names and set(names) != set(found[TRUE]):
            raise _classes_differ(prefix, names, found[TRUE])
    return found


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Pool out-of-fold predictions: put the folds' records together, sorted by ecg_id.

    Each part is narrowed to its out-of-fold records by `select("test")`. Parts that differ in the classes or their
    order, and a record that occurs twice, are refused.

    Examples
    --------
    >>> first = Predictions([9], [1], [1], ["test"], [[1]], [[0.75]], ("AFIB",))
    >>> second = Predictions([4], [2], [3], ["test"], [[0]], [[0.25]], ("AFIB",))
    >>> pool([first, second]).ecg_id
    array([4, 9])
    """
    if not parts:
        raise DataError("there are no predictions to pool: expected one part per fold, got none")
    class_names = parts[0].class_names
    for number, part in enumerate(parts):
        if part.class_names != class_names:
            difference = describe_difference(part.class_names, class_names)
            raise DataError(f"the classes of part {number} differ from those of part 0: {difference}")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    ids, counts = np.unique(arrays["ecg_id"], return_counts=True)
    if (counts > 1).any():
        twice = ids[counts > 1][0]
        where = [
            f"{split!s} of part {number}"
            for number, part in enumerate(parts)
            for split in part.split[part.ecg_id == twice]
        ]
        raise DataError(
            f"ecg_id {twice} occurs {len(where)} times ({', '.join(where)}), expected once; so do "
            f"{(counts > 1).sum() - 1} more records: pool one split of folds that do not overlap"
        )
    return Predictions(**arrays, class_names=class_names)._take_rows(np.argsort(arrays["ecg_id"]))


def _classes_differ(prefix: str, got: Sequence[str], expected: Sequence[str]) -> DataError:
    return DataError(f"the classes of the {prefix} and {TRUE} columns differ: {describe_difference(got, expected)}")


def _check_splits(ecg_id: NDArray[np.int64], split: NDArray[np.str_]) -> None:
    unknown = np.flatnonzero(~np.isin(split, SPLITS))
    if len(unknown):
        row = unknown[0]
        raise DataError(f"split must be 'val' or 'test', got '{split[row]}' for ecg_id {ecg_id[row]}")
    for name in SPLITS:
        ids, counts = np.unique(ecg_id[split == name], return_counts=True)
        if (counts > 1).any():
            raise DataError(f"ecg_id {ids[counts > 1][0]} is more than once in split {name!r}, expected once")


def _read_numbers(column: pd.Series, wanted: str) -> NDArray[np.float64]:
    """Read numbers, or text, of which none may be nan or infinite."""
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64)
    else:
        numbers = np.array([_read_number(text) for text in column])  # exact, unlike some versions of pandas' own parser
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{column.name} in row {row + 1} must be {wanted}, got {str(column.iloc[row])!r}")
    return numbers


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
