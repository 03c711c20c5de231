"""Predictions: what a model predicts for records. Every reported number is computed from these rows alone.

Arrays are `(record, class)`. `y_true` is 0 or 1, or -1 where nobody annotated the class, `y_prob` a probability in
[0, 1], `y_logit` its logit, `y_pred` the decision (0 or 1) that was made from the probability; a record may have any
number of positive classes. Records are ranked by their logits: probabilities near 1 round to the same number (in
float32 from a logit of 17 on). Where there are none, `y_prob` ranks.

In a table, the columns `y_true_<CLASS>`, `y_prob_<CLASS>`, `y_logit_<CLASS>` and `y_pred_<CLASS>` carry the class names
as they are ('LAFB/LPFB', 'ISC_'), all in class order. A table without `y_pred_` columns was decided at 0.5; an empty
cell of `y_true_` is not annotated. Where several nets predicted the records of a cross-validation, the column `fold`
tells whose prediction each is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import (
    UNKNOWN,
    check_arrays,
    check_ids,
    check_logits,
    check_names,
    check_whole_numbers,
    describe_difference,
)

SPLITS = ("val", "test")
THRESHOLD = 0.5
"""A class is predicted where its probability is at least this, unless a run has thresholds of its own."""
ID_COLUMNS = ("ecg_id", "patient_id", "strat_fold", "split")
FOLD = "fold"
"""The column after these, of predictions that several nets made."""
TRUE, PROB, LOGIT, PRED = PREFIXES = "y_true_", "y_prob_", "y_logit_", "y_pred_"
"""What the columns of each class begin with."""
OF_CLASSES = ("y_true", "y_prob", "y_pred", "y_logit")
"""The arrays `(record, class)` that predictions have, the last of them not always."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions for records, one row per record.

    Arrays may be given in any type that holds the values exactly; they are kept in the types named below.

    Parameters
    ----------
    ecg_id, patient_id
        Whole numbers, `(record,)`, kept as int64; or names such as JS00001, kept as text, and so is an array of text.
    strat_fold
        Whole numbers, `(record,)`, kept as int64.
    split
        'val' or 'test' for each record. No ecg_id is twice in one split.
    y_true, y_prob
        0 or 1 (-1 or nan: not annotated), kept as int8, and probabilities, kept as float64; `(record, class)`.
    y_pred
        0 or 1, `(record, class)`, kept as int8. None: a class is predicted where its probability is at least 0.5.
    y_logit
        The logits of `y_prob`, `(record, class)`, kept as float64; None: the probabilities rank the records.
    fold
        Whole numbers, `(record,)`, kept as int64: which net of a cross-validation predicted the record. Every metric is
        then measured within folds, see `metrics`. None: all records were predicted by the same one.

    Examples
    --------
    >>> predictions = Predictions([7, 8], [1, 2], [9, 10], ["val", "test"], [[1, 0], [0, 1]],
    ...                           [[0.9, 0.1], [0.2, 0.6]], ("NORM", "MI"))
    >>> len(predictions), predictions.select("test").ecg_id
    (2, array([8]))
    >>> predictions.decide([0.5, 0.1]).y_pred.tolist()
    [[1, 1], [0, 1]]
    """

    ecg_id: NDArray
    patient_id: NDArray
    strat_fold: NDArray[np.int64]
    split: NDArray[np.str_]
    y_true: NDArray[np.int8]
    y_prob: NDArray[np.float64]
    class_names: tuple[str, ...]
    y_pred: NDArray[np.int8] = None  # type: ignore[assignment]  # None is replaced at once
    y_logit: NDArray[np.float64] | None = None
    fold: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        ids: dict[str, NDArray] = {name: check_names(name, getattr(self, name)) for name in ID_COLUMNS[:2]}
        ids["strat_fold"] = check_whole_numbers("strat_fold", self.strat_fold)
        ids["split"] = np.asarray(self.split, dtype=np.str_)
        if self.fold is not None:
            ids[FOLD] = check_whole_numbers(FOLD, self.fold)
        y_true, y_prob = check_arrays(self.y_true, self.y_prob, self.class_names, ecg_id=ids["ecg_id"])
        for name, array in ids.items():
            if array.shape != (len(y_true),):
                raise DataError(f"{name} must have shape ({len(y_true)},) like y_true, got {array.shape}")
        _check_splits(ids["ecg_id"], ids["split"])
        y_pred = (y_prob >= THRESHOLD).astype(np.int8)
        if self.y_pred is not None:
            y_pred, _ = check_arrays(self.y_pred, y_prob, self.class_names, ecg_id=ids["ecg_id"], name="y_pred")
        y_logit = self.y_logit
        if y_logit is not None:
            y_logit = check_logits(y_logit, y_prob, self.class_names, ecg_id=ids["ecg_id"])
        kept = {**ids, "y_true": y_true, "y_prob": y_prob, "y_pred": y_pred, "y_logit": y_logit}
        kept["class_names"] = tuple(self.class_names)  # type: ignore[assignment]
        for name, value in kept.items():
            object.__setattr__(self, name, value)  # checked, and in its own type

    def __len__(self) -> int:
        return len(self.ecg_id)

    @property
    def y_score(self) -> NDArray[np.float64]:
        """What ranks the records, `(record, class)`: their logits, or their probabilities where there are none."""
        return self.y_prob if self.y_logit is None else self.y_logit

    @property
    def n_unknown(self) -> NDArray[np.int64]:
        """How many records nobody has annotated, `(class,)`."""
        counts: NDArray[np.int64] = (self.y_true == UNKNOWN).sum(axis=0)
        return counts

    def annotated(self, class_name: str) -> Predictions:
        """Keep one class, and the records that are annotated for it; refuse to keep none."""
        alone = self.take_classes([class_name])
        rows = np.flatnonzero(alone.y_true[:, 0] != UNKNOWN)
        if not len(rows):
            raise DataError(f"no record is annotated for {class_name}")
        return alone if len(rows) == len(self) else alone._take_rows(rows)

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
        wanted = np.unique(check_ids("ecg_ids", ecg_ids))
        if self.ecg_id.dtype.kind == "U":
            wanted = wanted.astype(np.str_)
        unknown = wanted[~np.isin(wanted, self.ecg_id)]
        if len(unknown):
            first = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise DataError(
                f"{len(unknown)} of the {len(wanted)} wanted ecg_ids are not among the {len(self)} predictions: {first}"
            )
        if not len(wanted):
            raise DataError("no ecg_id is wanted, expected at least one")
        return self._take_rows(np.flatnonzero(np.isin(self.ecg_id, wanted)))

    def take_like(self, other: Predictions) -> Predictions:
        """Put the records into the order of those of other predictions, split by split; refuse to lack one of them."""
        own, wanted = (pd.MultiIndex.from_arrays([each.split, each.ecg_id]) for each in (self, other))
        rows = own.get_indexer(wanted)
        if (rows < 0).any():
            raise DataError(f"ecg_id {other.ecg_id[int((rows < 0).argmax())]} is not among the {len(self)} predictions")
        return self._take_rows(rows)

    def with_names(self) -> Predictions:
        """Take the ecg_ids as names, also where all are numbers, as of a part of records that have names."""
        return replace(self, ecg_id=self.ecg_id.astype(np.str_))

    def take_classes(self, class_names: Sequence[str]) -> Predictions:
        """Keep some of the classes, in the given order."""
        columns = [self.class_names.index(name) for name in class_names]
        arrays = {name: array[:, columns] for name in OF_CLASSES if (array := getattr(self, name)) is not None}
        return replace(self, **arrays, class_names=tuple(class_names))

    def merge_folds(self) -> Predictions:
        """Forget which net predicted which record, to measure the records of all folds together."""
        return replace(self, fold=None)

    def decide(self, thresholds: ArrayLike) -> Predictions:
        """Predict each class where its probability is at least a threshold, one for all classes or one per class."""
        return replace(self, y_pred=(self.y_prob >= np.asarray(thresholds, dtype=float)).astype(np.int8))

    def to_table(self) -> pd.DataFrame:
        """Return a table of `ID_COLUMNS`, then the columns ``y_true_<CLASS>`` of all classes, and of the other arrays.

        After the ids comes ``fold``, where there is one. What is not annotated is missing in a column of pandas' Int8.
        """
        names = ID_COLUMNS if self.fold is None else (*ID_COLUMNS, FOLD)
        ids = pd.DataFrame({name: getattr(self, name) for name in names})
        tables = [
            pd.DataFrame(array, columns=[prefix + name for name in self.class_names])
            for prefix in PREFIXES
            if (array := getattr(self, prefix[:-1])) is not None
        ]
        for name in tables[0].columns[self.n_unknown > 0]:
            tables[0][name] = tables[0][name].astype("Int8").mask(tables[0][name] == UNKNOWN)
        return pd.concat([ids, *tables], axis=1)

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Predictions:
        """Build what `to_table` gave, from cells of numbers, or of text as in a CSV file.

        Probabilities are computed from the logits where only those are there. Refuse missing and unknown columns,
        `y_true_`, `y_prob_`, `y_logit_` and `y_pred_` columns of different classes, and values that `Predictions`
        refuses; messages count rows from 1.
        """
        columns = [str(name) for name in table]
        if missing := [name for name in ID_COLUMNS if name not in columns]:
            raise DataError(f"column {missing[0]!r} is missing, got {', '.join(columns[:6])}, ...")
        if unknown := find_unknown(columns):
            wanted = ", ".join([*ID_COLUMNS, FOLD, *(f"{prefix}<CLASS>..." for prefix in PREFIXES)])
            raise DataError(f"unknown column {unknown[0]!r}, expected {wanted}")
        classes = find_classes(columns)
        names = classes[TRUE]
        for prefix in (PROB, LOGIT):
            if classes[prefix] and classes[prefix] != names:
                raise _classes_differ(prefix, classes[prefix], names)
        ids = {name: table[name].to_numpy() for name in ID_COLUMNS[:2]}
        for name in ("strat_fold", FOLD):
            if name in columns:
                ids[name] = _read_numbers(table[name], "a whole number")
        split = table["split"].to_numpy(dtype=np.str_)
        allowed = {TRUE: "0 or 1", PROB: "in [0, 1]", LOGIT: "finite", PRED: "0 or 1"}
        y_true, y_prob, y_logit, y_pred = (
            np.column_stack([_read_numbers(table[prefix + name], allowed[prefix]) for name in names])
            if classes[prefix]
            else None
            for prefix in PREFIXES
        )
        y_prob = expit(y_logit) if y_prob is None else y_prob
        return cls(**ids, split=split, y_true=y_true, y_prob=y_prob, class_names=names, y_pred=y_pred, y_logit=y_logit)  # type: ignore[arg-type]

    def _take_rows(self, rows: NDArray[np.intp]) -> Predictions:
        arrays = {name: getattr(self, name) for name in (*ID_COLUMNS, FOLD, *OF_CLASSES)}
        taken = replace(self, **{name: array[rows] for name, array in arrays.items() if array is not None})
        for name in ID_COLUMNS[:2]:  # a part keeps the type of the whole, also if all of its names are numbers
            object.__setattr__(taken, name, arrays[name][rows])
        return taken


def find_unknown(columns: Sequence[str]) -> list[str]:
    """Return the columns that no table of predictions has."""
    return [name for name in columns if name not in (*ID_COLUMNS, FOLD) and not name.startswith(PREFIXES)]


def find_classes(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the classes of the `y_true_`, `y_prob_`, `y_logit_` and `y_pred_` columns, by prefix.

    `y_pred_` columns may be absent, and one of `y_prob_` and `y_logit_`; those that are there have the classes of the
    `y_true_` columns, in any order.
    """
    found = {
        prefix: tuple(name.removeprefix(prefix) for name in columns if name.startswith(prefix)) for prefix in PREFIXES
    }
    for prefix, names in found.items():
        if not names and (prefix == TRUE or (prefix == PROB and not found[LOGIT])):
            raise DataError(f"there is no column {prefix}<CLASS>, got {', '.join(columns[:6])}")
        if names and set(names) != set(found[TRUE]):
            raise _classes_differ(prefix, names, found[TRUE])
    return found


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
    """Read numbers, or text, of which none may be nan or infinite; what is missing in a column `TRUE` is `UNKNOWN`."""
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        numbers = np.array([_read_number(text) for text in column])  # exact, unlike some versions of pandas' own parser
    if str(column.name).startswith(TRUE):
        is_missing = column.isna() | column.astype(str).str.strip().str.lower().isin(["", "nan", "<na>"])
        numbers = np.where(is_missing, UNKNOWN, numbers)
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
