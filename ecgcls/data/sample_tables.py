"""A table of samples as CSV: the header names the leads, and a column of times, or a comment, tells the sampling rate.

Columns are separated by commas, semicolons, tabs or bars. A lead's name may be followed by its unit, such as
``II (uV)`` or ``V1_mV``; without one it is mV. The column of times is ``time``, ``time_s`` or ``time_ms``; without one
the file begins with a line such as ``# sampling_rate_hz=500``. Nothing else tells a rate, and none is guessed.
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.lead_names import standardize_names
from ecgcls.data.recordings import Recording
from ecgcls.errors import DataError

_SEPARATORS = ",;\t|"
_MILLIVOLT = {"mv": 1.0, "uv": 1e-3, "\u03bcv": 1e-3, "nv": 1e-6, "v": 1e3}  # by case-folded unit
_SECOND = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3}
_UNIT = "|".join((*_MILLIVOLT, *_SECOND))
_CELL = re.compile(rf"(.+?)(?:\s*[(\[/]\s*({_UNIT})\s*[)\]]?|[ _]({_UNIT}))?")
_TIME = re.compile(rf"(?:elapsed[ _]?)?time|t|({'|'.join(_SECOND)})")
_RATE = re.compile(r"#\s*(?:sampling_rate_hz|sampling_rate|fs)\s*[=:]\s*(\S+)", re.IGNORECASE)
_MAX_DRIFT = 0.6  # of a step, between a sample's time and that of even steps; rounded times stay within 0.5


class Header(NamedTuple):
    """How a table of samples is to be read."""

    names: tuple[str, ...]
    """Of all columns, without units."""
    units: tuple[str, ...]
    """Of all columns, case-folded; empty: none is given."""
    separator: str
    decimal: str
    encoding: str
    n_lines: int
    """Above the first row of samples."""
    rate: str
    """What a comment says of the sampling rate; empty: nothing."""

    @property
    def leads(self) -> list[int]:
        """The columns that are standard leads."""
        return [number for number, name in enumerate(standardize_names(self.names)) if name]

    @property
    def time(self) -> int | None:
        """The column of times, if there is one."""
        found = [number for number, name in enumerate(self.names) if _TIME.fullmatch(name.casefold())]
        return found[0] if found else None


def has_leads(head: bytes) -> bool:
    """Whether a file, of which this is the beginning, is a table of samples: named leads above numbers."""
    return _parse_header(head) is not None


def read_table(path: Path) -> Recording:
    """Read the leads of a table of samples.

    Raises
    ------
    DataError
        If no sampling rate is given, the times are not evenly spaced, or a cell is no number.
    """
    with path.open("rb") as file:
        header = _parse_header(file.read(65_536))
    if header is None:
        raise DataError(f"{path}: no table of samples: expected a header that names leads, and numbers below it")
    columns = [*header.leads, *([] if header.time is None else [header.time])]
    values = _read_columns(path, header, columns)
    if header.time is not None:
        rate_hz = _measure_rate(path, values[-1] * _SECOND[_choose_unit(header, header.time)])
    else:
        rate_hz = _parse_rate(path, header.rate)
    factors = [_MILLIVOLT.get(header.units[number] or "mv", np.nan) for number in header.leads]
    if np.isnan(factors).any():
        lead = header.names[header.leads[int(np.isnan(factors).argmax())]]
        raise DataError(f"{path}: the unit of {lead} must be mV, uV, nV or V")
    others = [name for number, name in enumerate(header.names) if number not in columns and name]
    return Recording(
        signal_mv=(values[: len(factors)] * np.array(factors)[:, None]).astype(np.float32),
        sampling_rate_hz=rate_hz,
        lead_names=tuple(header.names[number] for number in header.leads),
        left_out=tuple(others),
    )


def _parse_header(head: bytes) -> Header | None:
    """Return how to read a table by its beginning; None if it is no table of samples."""
    encoding = _find_encoding(head)
    lines = head.decode(encoding, "replace").splitlines() if encoding else []
    rate = ""
    for number, line in enumerate(lines[:-1]):
        if found := _RATE.match(line.strip()):
            rate = found[1]
        if not line.strip() or re.match(r"\s*#|sep=.\s*$", line):
            continue
        separator = max(_SEPARATORS, key=line.count)
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
        parts = [_CELL.fullmatch(cell.casefold().replace("\xb5", "\u03bc")) for cell in cells]
        names = tuple(cell[: found.end(1)].strip() if found else "" for cell, found in zip(cells, parts, strict=True))
        units = tuple((found[2] or found[3] or "") if found else "" for found in parts)
        first = next(csv.reader([lines[number + 1]], delimiter=separator), [])
        decimal = "," if separator != "," and "," in lines[number + 1] else "."
        header = Header(names, units, separator, decimal, encoding, number + 1, rate)
        n_leads = len(header.leads) + (header.time is not None)
        is_table = n_leads > 1 and len(first) == len(cells) and bool(header.leads)
        return header if is_table and all(_is_number(first[column], decimal) for column in header.leads) else None
    return None


def _find_encoding(head: bytes) -> str:
    """Return the encoding of a text; empty if it is none."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in head:
        return ""
    try:
        head[: len(head) - 4].decode("utf-8-sig")  # the last character may be cut
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def _is_number(cell: str, decimal: str) -> bool:
    try:
        float(cell.replace(decimal, ".") or "nan")
    except ValueError:
        return False
    return True


def _choose_unit(header: Header, column: int) -> str:
    """Return the unit of a column of times: that of its name, else seconds."""
    found = _TIME.fullmatch(header.names[column].casefold())
    return header.units[column] or (found and found[1]) or "s"


def _read_columns(path: Path, header: Header, columns: list[int]) -> NDArray[np.float64]:
    """Return some columns as ``(column, sample)``."""
    import pandas as pd

    try:
        table = pd.read_csv(
            path,
            sep=header.separator,
            decimal=header.decimal,
            encoding=header.encoding,
            skiprows=header.n_lines,
            header=None,
            names=range(len(header.names)),  # without usecols, with which pandas drops what a row has too many
            dtype=dict.fromkeys(columns, float),
            comment="#",
            skipinitialspace=True,
        )
    except (ValueError, UnicodeError, OverflowError) as error:  # pandas' ParserError is a ValueError
        raise DataError(f"{path}: no table of numbers ({str(error).splitlines()[0]})") from error
    return table[columns].to_numpy(dtype=np.float64).T


def _parse_rate(path: Path, text: str) -> float:
    if not text:
        raise DataError(
            f"{path}: no sampling rate: expected a column time_s (or time_ms), or a first line such as "
            "# sampling_rate_hz=500"
        )
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{path}: sampling_rate_hz must be a number of Hz, got {text!r}") from error


def _measure_rate(path: Path, times_s: NDArray[np.float64]) -> float:
    """Return the sampling rate of evenly spaced times; a whole number of Hz if they follow it."""
    n = len(times_s)
    step_s = (times_s[-1] - times_s[0]) / (n - 1) if n > 1 else np.nan
    if not step_s > 0:  # also nan
        raise DataError(f"{path}: the times must rise from row to row, got {n} from {times_s[:1]} to {times_s[-1:]} s")
    numbers = np.arange(n)

    def drift(step_s: float) -> NDArray[np.float64]:
        return np.abs(times_s - times_s[0] - numbers * step_s) / step_s

    if not (off := drift(step_s)).max() <= _MAX_DRIFT:
        row = int(np.argmax(~(off <= _MAX_DRIFT)))
        raise DataError(
            f"{path}: missing samples: the times are not evenly spaced (about {1 / step_s:.4g} Hz; row {row + 1} of "
            f"{n} is {times_s[row]:g} s)"
        )
    whole_hz = round(1 / step_s)
    return float(whole_hz) if whole_hz and drift(1 / whole_hz).max() <= _MAX_DRIFT else float(1 / step_s)
