"""What is known of a record beside its signal: numbers such as age and sex, from tables, headers and users.

A value that is not known is nan.
"""

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.wfdb_header import read_bytes
from ecgcls.errors import ConfigError, DataError

_OLDEST = 90.0  # PTB-XL writes 300 for patients older than 89
_IN_COMMENT = re.compile(  # "Age: 63", or "<age>: 63 <sex>: M" as older databases write it
    r"<?\b(age|sex|gender)\b>?\s*[:=]\s*<?([^\s<>,;]+)", re.IGNORECASE
)
_SEXES = {"m": 0.0, "male": 0.0, "f": 1.0, "female": 1.0}  # as in PTB-XL's table


def read_columns(records: pd.DataFrame, columns: Sequence[str], *, key: str) -> NDArray[np.float64]:
    """Return columns of a data set's table, ``(record, column)``; ages above 89, written as 300, count as 90.

    A column that is not there is a `DataError`, which names the setting `key` that asked for it.
    """
    absent = [column for column in columns if column not in records]
    if absent:
        known = ", ".join(map(str, records))
        raise DataError(f"{key}: the data set's table has no column {absent[0]}; it has {known}")
    values = records[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    return limit_ages(values, columns)


def refuse_empty(values: NDArray[np.float64], columns: Sequence[str], *, key: str) -> None:
    """Raise DataError if a column of the training set has nothing to learn from."""
    if (is_empty := np.isnan(values).all(axis=0)).any():
        raise DataError(f"{key}: {columns[int(is_empty.argmax())]} holds no number in the training set")


def limit_ages(values: NDArray[np.float64], columns: Sequence[str]) -> NDArray[np.float64]:
    """Return values ``(..., column)`` with infinite ones as not known, and ages above 89 as 90."""
    known = np.where(np.isfinite(values), values, np.nan)
    return np.minimum(known, [_OLDEST if column == "age" else np.inf for column in columns])


def take_values(given: Mapping[str, object] | None, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return what a user says of a record, ``(column,)``; what is left out, None or nan is not known.

    A name that is none of the columns, and a value that is no number, is a `ConfigError`.
    """
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ConfigError(f"metadata must be a dict such as {{'age': 63, 'sex': 1}}, got {given!r}")
    for name, value in given.items():
        if name not in columns:
            raise ConfigError(
                f"metadata: this run's net takes no {name}, only {' and '.join(['the signal', *columns])}"
            )
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (is_number and not math.isinf(float(value))):  # type: ignore[arg-type]
            raise ConfigError(f"metadata: {name} must be a finite number, or None if it is not known, got {value!r}")
    values = [given.get(column) for column in columns]
    return limit_ages(np.array([np.nan if value is None else value for value in values], dtype=float), columns)


def read_comments(path: Path, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return what the comments of a WFDB header say of age and sex, ``(column,)``: 0 is male, 1 female.

    `path` is a record's, without an extension. Other columns are not known, nor is what cannot be read: reading the
    signal says what is wrong with a header.
    """
    if not columns:
        return np.empty(0)
    try:
        content = read_bytes(f"{path}.hea")
    except DataError:
        return np.full(len(columns), np.nan)
    comments = list_comments(content)
    return limit_ages(np.array([find_value(comments, column) for column in columns], dtype=float), columns)


def read_patient(path: Path, patient: Mapping[str, float], columns: Sequence[str]) -> NDArray[np.float64]:
    """Return what is known of age and sex, ``(column,)``, from a `Recording.patient`, or else as `read_comments`."""
    if not patient:
        return read_comments(path, columns)
    return limit_ages(np.array([patient.get(column, math.nan) for column in columns], dtype=float), columns)


def describe_unknown(values: NDArray[np.float64], columns: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each value ``(column,)`` that is not known."""
    unknown = [column for column, value in zip(columns, values, strict=True) if np.isnan(value)]
    return tuple(f"{column} is not known: taken as the training set's median" for column in unknown)


def list_comments(header: bytes) -> list[str]:
    """Return the comments of a WFDB header."""
    return [line for each in header.decode("latin-1").splitlines() if (line := each.strip()).startswith("#")]


def find_value(comments: Sequence[str], column: str) -> float:
    """Return the first age or sex in the comments of a WFDB header, as there; nan if there is none that can be."""
    for comment in comments:
        for name, text in _IN_COMMENT.findall(comment):
            if column == "sex" and name.casefold() in ("sex", "gender"):
                return _SEXES.get(text.casefold(), math.nan)
            if column == "age" and name.casefold() == "age":
                found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)(?:y|yr|yrs|years)?", text, re.IGNORECASE)
                return float(found[1]) if found else math.nan
    return math.nan
