"""The labels and subgroups of a manifest: from its cells to statements, parts and groups.

A class's column holds 1 (the record has it), 0 (it has not) or nothing: nobody has said. A column of names holds those
that a record has; what is not named it has not, and where nothing is named, nobody has said anything.
"""

import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.folds import assign_strat_folds
from ecgcls.data.manifest import Columns, Manifest, read_binary
from ecgcls.errors import DataError

log = logging.getLogger(__name__)

PRESENT, UNSAID = 100.0, math.nan
"""The likelihoods of a label, in percent."""
PART_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What a column of parts may say, and which part that is."""
GIVEN = {"train": 1, "val": 9, "test": 10}
"""The strat_fold of each part where the manifest itself says which record is in which, as ``folds=given`` reads it."""
_ANSWERS = {"y", "n", "yes", "no", "-1", "0", "1", "true", "false", "pos", "neg", "positive", "negative"}
_RESERVED = ("all", "overall", "overall, supported classes", "macro", "micro", "records", "with a class")
_N_CATEGORIES = 10  # different numbers up to which a column is one of categories
_SEXES = {"0": 0, "m": 0, "male": 0, "man": 0, "1": 1, "f": 1, "female": 1, "woman": 1}
_UNKNOWN_SEXES = ("", "u", "unknown", "o", "other", "x", "-")


def read_labels(manifest: Manifest, columns: Columns, *, empty_is_negative: bool) -> tuple[list[str], list[dict]]:
    """Return the classes, and of each record a dict from label to likelihood, as a source's ``scp_codes``.

    Raises
    ------
    DataError
        If a class's cell is neither 0, 1 nor empty, or names are so many that they are free text.
    """
    cells = manifest.cells
    if columns.holds_names:
        classes, named = _read_names(manifest, columns, empty_is_negative=empty_is_negative)
        _refuse_reserved(manifest, classes)
        return classes, named
    _refuse_reserved(manifest, columns.labels)
    codes: list[dict[str, float]] = [{} for _ in range(len(cells))]
    hint = "; data.label_columns=[...] says which columns are labels" * ("labels" in columns.guessed)
    for name in columns.labels:
        for row, text in enumerate(cells[name]):
            value = read_binary(text) if text else None
            if text and value is None:
                where = manifest.say_where(row)
                raise DataError(
                    f"{manifest.path}: {where}, column {name}: a label is 0, 1 or empty (unknown), got {text!r}{hint}"
                )
            if value == 1:
                codes[row][name] = PRESENT
            elif value is None and not empty_is_negative:
                codes[row][name] = UNSAID
    return list(columns.labels), codes


def _refuse_reserved(manifest: Manifest, classes: Sequence[str]) -> None:
    """Refuse classes that are called as rows or columns of the tables that tell of classes."""
    if taken := [name for name in classes if name.casefold() in _RESERVED]:
        raise DataError(
            f"{manifest.path}: {taken[0]!r} cannot be a label: tables of results call something else so; rename it"
        )


def _read_names(manifest: Manifest, columns: Columns, *, empty_is_negative: bool) -> tuple[list[str], list[dict]]:
    column, mark = manifest.cells[columns.labels[0]], columns.separator
    named = [[each.strip() for each in (text.split(mark) if mark else [text]) if each.strip()] for text in column]
    classes = sorted({each for names in named for each in names})
    if not classes:
        raise DataError(f"{manifest.path}: the column {columns.labels[0]} holds no label at all")
    if {each.casefold() for each in classes} <= _ANSWERS:
        raise DataError(
            f"{manifest.path}: the column {columns.labels[0]} holds {', '.join(classes)}, expected 1 (the record "
            "has it), 0 (it has not) or nothing (unknown), or names"
        )
    if len(classes) > max(10, len(named) / 2):
        raise DataError(
            f"{manifest.path}: the column {columns.labels[0]} has {len(classes)} different labels in {len(named)} rows "
            f"({', '.join(classes[:3])}, ...): is it free text? Set data.label_columns, or data.label_separator"
        )
    unsaid = {} if empty_is_negative else dict.fromkeys(classes, UNSAID)
    return classes, [dict.fromkeys(names, PRESENT) if names else dict(unsaid) for names in named]


def read_folds(manifest: Manifest, column: str, patient: pd.Series, codes: pd.Series) -> pd.Series:
    """Return each record's strat_fold, by row; parts that the column names are those of `GIVEN`.

    Where it names no validation part, a ninth of the training patients is that.

    Raises
    ------
    DataError
        If it says neither 1 to 10 nor train, val and test, or a patient is in two of them.
    """
    texts = manifest.cells[column]
    said = texts.str.casefold().map(PART_WORDS)
    numbers = pd.to_numeric(texts, errors="coerce")
    if said.notna().any():
        folds, wrong = said.map(GIVEN), said.isna()
    else:
        folds, wrong = numbers, ~numbers.isin(range(1, 11))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DataError(
            f"{manifest.path}: {manifest.say_where(row)}, column {column}: a fold is one of 1 to 10, or train, val and "
            f"test, got {texts[row]!r}{_count_others(numbers)}; data.fold_column=none draws ten by patient"
        )
    _refuse_torn(manifest, column, patient)
    folds = folds.astype("int64")
    if said.notna().any() and not (said == "val").any():
        is_train = said == "train"
        drawn = assign_strat_folds(patient[is_train], codes[is_train], n_folds=9)
        text = "%s: the column %s names no validation part: a ninth of the training patients is that"
        log.info(text, manifest.path, column)
        folds[is_train] = np.where(drawn == 9, GIVEN["val"], GIVEN["train"])
    return folds


def _count_others(numbers: pd.Series) -> str:
    """Say which numbers a column of other folds has."""
    if numbers.isna().any():
        return ""
    return f" (the column has {numbers.min():g} to {numbers.max():g})"


def _refuse_torn(manifest: Manifest, column: str, patient: pd.Series) -> None:
    """Refuse a patient whose records are in two folds."""
    texts = manifest.cells[column]
    first = patient.map(texts.groupby(patient.to_numpy()).first())
    if (is_torn := first != texts).any():
        row = int(is_torn.to_numpy().argmax())
        who, n_torn = patient.iloc[row], patient[is_torn].nunique()
        raise DataError(
            f"{manifest.path}: patient {who} is in {column} {first.iloc[row]} and, in {manifest.say_where(row)}, in "
            f"{texts.iloc[row]}; all records of a patient must be in one fold ({n_torn} such patients)"
        )


def read_sex(manifest: Manifest, column: str) -> pd.Series:
    """Return 0 for male, 1 for female, nan where it is not known; DataError names another word."""
    texts = manifest.cells[column].str.casefold()
    sexes = texts.map(_SEXES)
    _refuse(
        manifest, column, sexes.isna() & ~texts.isin(_UNKNOWN_SEXES), "sex is M, F, male, female, 0 (male), 1 (female)"
    )
    return sexes


def read_age(manifest: Manifest, column: str) -> pd.Series:
    """Return ages in years, nan where it is not known; DataError names what is no number."""
    texts = manifest.cells[column]
    ages = pd.to_numeric(texts, errors="coerce")
    _refuse(manifest, column, ~np.isfinite(ages) & (texts != "") | (ages < 0), "an age is a number of years")
    return ages


def _refuse(manifest: Manifest, column: str, wrong: pd.Series, expected: str) -> None:
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DataError(
            f"{manifest.path}: {manifest.say_where(row)}, column {column}: {expected} or empty, got "
            f"{manifest.cells[column][row]!r}"
        )


def name_cells(texts: pd.Series) -> pd.Series:
    """Return the subgroup of each cell: its text, or the quartile of a number if there are many; unknown if empty.

    Examples
    --------
    >>> name_cells(pd.Series(["A", "", "B  2"])).tolist()
    ['A', 'unknown', 'B 2']
    >>> name_cells(pd.Series(list(map(str, range(60, 81))))).unique().tolist()
    ['65 or less', '65 to 70', '70 to 75', 'above 75']
    """
    numbers = pd.to_numeric(texts, errors="coerce")
    filled = numbers[texts != ""]
    if filled.isna().any() or filled.nunique() <= _N_CATEGORIES:
        return texts.map(lambda text: " ".join(text.split()) or "unknown")
    edges = np.unique(np.quantile(filled, [0.25, 0.5, 0.75]))
    return pd.Series([_name_bin(value, edges) for value in numbers], texts.index)


def _name_bin(value: float, edges: NDArray[np.float64]) -> str:
    """Name the part between two edges that a number is in; the upper edge belongs to it."""
    if math.isnan(value):
        return "unknown"
    position = int(np.searchsorted(edges, value))
    if position == 0:
        return f"{edges[0]:g} or less"
    return f"above {edges[-1]:g}" if position == len(edges) else f"{edges[position - 1]:g} to {edges[position]:g}"


def count_labels(codes: pd.Series, classes: Sequence[str]) -> pd.DataFrame:
    """Count by class the records that have it, that do not, and of which nobody has said it."""
    rows: Mapping[str, list[float]] = {name: [each.get(name, 0.0) for each in codes] for name in classes}
    table = pd.DataFrame(rows)
    return pd.DataFrame(
        {"positive": (table > 0).sum(), "negative": (table == 0).sum(), "unknown": table.isna().sum()}
    ).rename_axis("class")
