"""PTB-XL as a source of records, and its two tables.

Versions 1.0.1 to 1.0.3 have the same layout: ``ptbxl_database.csv`` (one row per record), ``scp_statements.csv`` (one
row per statement of the SCP-ECG standard), ``records100/`` and ``records500/``.

References
----------
.. [1] Wagner, Strodthoff, Bousseljot, Samek, Schaeffter. PTB-XL, a large publicly available electrocardiography
   dataset. Scientific Data 7, 154 (2020). doi:10.1038/s41597-020-0495-6
.. [2] The data set: https://doi.org/10.13026/kfzx-aw45
"""

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from ecgcls.errors import DataError

DATABASE_CSV = "ptbxl_database.csv"
STATEMENTS_CSV = "scp_statements.csv"

_FILENAME_COLUMN = {100: "filename_lr", 500: "filename_hr"}


@dataclass(frozen=True, kw_only=True)
class PTBXL:
    """PTB-XL, or a data set of the same layout: a source of records (`ecgcls.data.source.Source`).

    Parameters
    ----------
    root
        The folder with ``ptbxl_database.csv``.
    sampling_rate_hz
        Which signals: those of ``records100`` or ``records500``.
    missing_records
        What to do with a row whose signal file is missing: ``error`` refuses, ``drop`` leaves it out and counts it.
    """

    root: Path
    sampling_rate_hz: Literal[100, 500] = 100
    missing_records: Literal["error", "drop"] = "error"
    is_synthetic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))  # a configuration has it as text

    def prepare(self) -> None:
        """Do nothing: reading reports what is missing."""

    def read_records(self) -> pd.DataFrame:
        """Read ``ptbxl_database.csv`` with all its columns; DataError names a malformed row."""
        if not self.root.is_dir():
            raise DataError(
                f"data.root: there is no folder {self.root}; get PTB-XL with python -m ecgcls.download, pass "
                "data.root=PATH, or train on simulated ECGs with data=synthetic"
            )
        path = self.root / DATABASE_CSV
        filename_column = _FILENAME_COLUMN[self.sampling_rate_hz]
        table = _read_csv(path, required=["ecg_id", "patient_id", "scp_codes", filename_column], text=filename_column)
        for column in [name for name in ("ecg_id", "patient_id", "strat_fold") if name in table]:
            table[column] = _to_int(table[column], path)
        repeated = table["ecg_id"][table["ecg_id"].duplicated()]
        if len(repeated):
            raise DataError(f"{path}: ecg_id {repeated.iloc[0]} is in more than one row")
        table = table.set_index("ecg_id")
        if "strat_fold" in table:
            wrong = table["strat_fold"][~table["strat_fold"].between(1, 10)]
            if len(wrong):
                raise DataError(f"{path}: strat_fold must be in 1..10, got {wrong.iloc[0]} for ecg_id {wrong.index[0]}")
        unnamed = table.index[table[filename_column].isna()]
        if len(unnamed):
            raise DataError(f"{path}: {filename_column} is empty for ecg_id {unnamed[0]}")
        codes = {ecg_id: _parse_scp_codes(text, ecg_id, path) for ecg_id, text in table["scp_codes"].items()}
        return table.assign(scp_codes=pd.Series(codes, dtype=object), filename=table[filename_column])

    def read_statements(self) -> pd.DataFrame:
        """Read ``scp_statements.csv``."""
        path = self.root / STATEMENTS_CSV
        kinds, classes = ["diagnostic", "form", "rhythm"], ["diagnostic_class", "diagnostic_subclass"]
        table = _read_csv(path, required=[*kinds, *classes])
        table = table.set_index(table.columns[0])  # the first column has no name
        if table.index.hasnans or not table.index.is_unique:
            raise DataError(f"{path}: the first column must name each statement once")
        for kind in kinds:
            values = pd.to_numeric(table[kind], errors="coerce").mask(table[kind].isna(), 0)
            if not values.isin([0, 1]).all():
                row = table.index[~values.isin([0, 1])][0]
                raise DataError(f"{path}: {kind} must be 1 or empty, got {table.loc[row, kind]!r} for {row}")
            table[kind] = values == 1
        for column in classes:
            unclassed = table.index[table["diagnostic"] & table[column].isna()]
            if len(unclassed):
                raise DataError(f"{path}: the diagnostic statement {unclassed[0]} has no {column}")
        return table[[*kinds, *classes]]

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of both tables, by file name."""
        return {
            name: hashlib.sha256((self.root / name).read_bytes()).hexdigest() for name in (DATABASE_CSV, STATEMENTS_CSV)
        }


def _read_csv(path: Path, *, required: Sequence[str], text: str | None = None) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, low_memory=False, dtype={text: str} if text else None)
    except FileNotFoundError:
        raise DataError(f"{path}: not found; data.root must be a folder of PTB-XL, with {path.name}") from None
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{path}: not a readable CSV file ({str(error).splitlines()[0]})") from error
    absent = [column for column in required if column not in table]
    if absent:
        raise DataError(f"{path}: the column {', '.join(absent)} is missing; found {', '.join(map(str, table))}")
    if table.empty:
        raise DataError(f"{path}: no rows")
    return table


def _to_int(values: pd.Series, path: Path) -> pd.Series:
    """Convert a column such as 15709.0 to integers; name the first row that is not a whole number."""
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = numbers.isna() | (numbers % 1 != 0)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DataError(f"{path}: {values.name} must be a whole number, got {values.iloc[row]!r} in line {row + 2}")
    return numbers.astype("int64")


def _parse_scp_codes(text: object, ecg_id: object, path: Path) -> dict[str, float]:
    try:
        codes = _evaluate(str(text))
        if all(isinstance(name, str) and isinstance(likelihood, int | float) for name, likelihood in codes.items()):
            return codes
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        pass
    raise DataError(f"{path}: scp_codes of ecg_id {ecg_id} must read like {{'NORM': 100.0, 'SR': 0.0}}, got {text!r}")


_evaluate = lru_cache(maxsize=32768)(ast.literal_eval)  # many records have the same text
