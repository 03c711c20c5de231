"""Tables in CSV files: read, or refused in one line that says what is wrong with them and which column may be meant."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

from ecgcls.errors import DataError

_CUTOFF = 0.7  # of `difflib`: how near a name must be to be a likely mistake


def read_csv(path: Path, *, required: Sequence[str], text: Sequence[str] = (), absent: str) -> pd.DataFrame:
    """Read a CSV file in UTF-8 whose columns are separated by commas.

    Parameters
    ----------
    required
        Columns that it must have.
    text
        Columns that are kept as text.
    absent
        What to do where there is no such file.

    Raises
    ------
    DataError
        If it is missing, no CSV file or has no rows, or lacks a column, of which near matches are named.
    """
    table = _parse(path, absent, low_memory=False, dtype=dict.fromkeys(text, str))
    if missing := [column for column in required if column not in table]:
        raise DataError(f"{path}: the column {', '.join(missing)} is missing; {hint_at(missing, table, path)}")
    if table.empty:
        raise DataError(f"{path}: no rows")
    return table


def read_cells(path: Path, *, absent: str) -> pd.DataFrame:
    """Read all cells of a CSV file as they are written, an empty one as an empty text; DataError as by `read_csv`."""
    cells = _parse(path, absent, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    header, rows = [name.strip() for name in cells.iloc[0]], cells.iloc[1:].reset_index(drop=True)
    if rows.empty:
        raise DataError(f"{path}: no rows below the header")
    return rows.fillna("").set_axis(header, axis="columns")


def _parse(path: Path, absent: str, **form: Any) -> pd.DataFrame:
    try:
        return pd.read_csv(path, **form)
    except FileNotFoundError:
        raise DataError(f"{path}: not found; {absent}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a readable CSV file: not in UTF-8 ({error.reason}); save it as UTF-8") from error
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        reason = find_separator(path) or str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable CSV file ({reason})") from error


def find_separator(path: Path) -> str:
    """Say that a file's columns are separated by another mark than a comma; empty if they are not."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            header = file.readline(10_000)
    except OSError:
        return ""
    mark = next((mark for mark in ";\t|" if header.count(mark) > header.count(",")), None)
    return f"its columns are separated by {mark!r}, expected commas" if mark else ""


def hint_at(absent: Sequence[str], table: pd.DataFrame, path: Path) -> str:
    """Say which columns were found, and which of them may be meant."""
    names = [str(name) for name in table]
    if len(names) == 1 and (separator := find_separator(path)):
        return separator
    folded = {name.strip().casefold(): name for name in names}
    near = {name: get_close_matches(name.casefold(), folded, n=1, cutoff=_CUTOFF) for name in absent}
    meant = [f"{folded[found[0]]!r} for {name}" for name, found in near.items() if found]
    return f"found {', '.join(names)}" + (f"; is it {', '.join(meant)}?" if meant else "")
