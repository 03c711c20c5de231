"""Lists of ECGs, as data sets, spreadsheets and people write them.

A list is PhysioNet's ``RECORDS`` (a record or a folder in each line), a table with a column of paths, or one column
with or without a header; separated by commas, semicolons, tabs or bars, in UTF-8, UTF-16 or Latin-1, with any line
ends. Names may be quoted, have the extension of a header or a signal file, and be written as on Windows. A file of
another format than WFDB is named with its extension.
"""

import csv
import difflib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ecgcls.data.formats import SUFFIXES, recognize
from ecgcls.data.signals import strip_extension
from ecgcls.errors import ConfigError

log = logging.getLogger(__name__)

_SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".list")
_SEPARATORS = ",;\t|"
_MAX_BYTES = 200_000_000
_COLUMNS = ("path", "record")
_HEADER = re.compile(  # of a single column: a word for a record, and no number
    r"(?=\D*$)(.*[ _-])?(path|record|file|filename|filepath|name|signal|ecg|id|study|wfdb)s?([ _-].*)?", re.IGNORECASE
)
_NO_ROW = re.compile(r"#|sep=.\s*$", re.IGNORECASE)  # a comment, or what tells Excel the separator
_MAX_PLACES = 50  # folders beside a list in which its records are looked for
_MAX_TOLD = 3


def is_list(path: Path) -> bool:
    """Whether a file is a list of records, by its name."""
    return path.suffix.lower() in _SUFFIXES or path.name.startswith("RECORDS")


def read_list(path: Path, *, sampling_rate_hz: float, list_folder: Callable[[Path], list[Path]]) -> list[Path]:
    """Return the ECGs of a list, in its order and each once; WFDB records without extensions.

    Parameters
    ----------
    path
        The list. What it names is looked for in its folder, in the folders that lie there, and in the current one; what
        is nowhere is returned as if it lay beside the list, so that reading it tells.
    sampling_rate_hz
        Of the net: selects one of the two columns of PTB-XL's own table.
    list_folder
        Lists the records below a folder that the list names.

    Raises
    ------
    ConfigError
        If it is not a text, or has several columns of which none is known to hold paths.
    """
    ptbxl = "filename_lr" if sampling_rate_hz <= 100 else "filename_hr"
    find = _Finder(path.parent)
    names, n_empty = _read_names(path, (*_COLUMNS, ptbxl), find)
    if n_empty:
        log.warning("%s: rows without a path are skipped (%d)", path, n_empty)
    found: list[Path] = []
    for name in names:
        record = find(name)
        if record is None and (folder := find.folder(name)):
            found += list_folder(folder)
        else:
            found.append(record or strip_extension(path.parent / _to_posix(name)))
    unique = list(dict.fromkeys(found))
    if len(unique) < len(found):
        twice = [str(record) for record, count in Counter(found).items() if count > 1]
        examples = f"{', '.join(twice[:_MAX_TOLD])}{', ...' if len(twice) > _MAX_TOLD else ''}"
        log.warning(
            "%s: %d of its records repeat another (%s); each is used once", path, len(found) - len(unique), examples
        )
    return unique


class _Finder:
    """Finds what a list names: a record (without its extension), or a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: list[Path] | None = None

    def __call__(self, name: str) -> Path | None:
        for path in self._locate(name):
            if record := find_ecg(path):
                return record
        return None

    def folder(self, name: str) -> Path | None:
        try:
            return next((path for path in self._locate(name) if path.is_dir()), None) if name.strip("./\\") else None
        except (OSError, ValueError):  # as in `find_record`
            return None

    def _locate(self, name: str) -> Iterator[Path]:
        """Yield where a name may be found, likely places first."""
        spellings = list(dict.fromkeys([name, _to_posix(name), _to_posix(name).lstrip("/")]))
        yield from (self._folder / spelling for spelling in spellings)
        if self._places is None:
            inside = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
            folders = [path for path in inside if path.is_dir() and path.name[0] != "."]
            self._places = [*folders[:_MAX_PLACES], Path()]
        yield from (place / spellings[-1] for place in self._places)


def find_record(path: Path) -> Path | None:
    """Return the record, without an extension, that a path with or without one names; None if there is no header."""
    try:
        if path.name and path.with_name(f"{path.name}.hea").is_file():
            return path
        if path.suffix and path.with_suffix(".hea").is_file():
            return path.with_suffix("")
    except (OSError, ValueError):  # a name that no file can have
        pass
    return None


def find_ecg(path: Path) -> Path | None:
    """Return the WFDB record that a path names (as `find_record`), or the path itself if its file is in another format.

    None if it is neither. A file whose extension stands for ECGs is one whatever it holds: reading it tells.
    """
    record = find_record(path)
    try:
        if path.suffix == ".hea" or not path.is_file():
            return record
    except (OSError, ValueError):
        return record
    is_other = recognize(path) is not None or (record is None and path.suffix.lower() in SUFFIXES)
    return path if is_other and path.name != "DICOMDIR" else record


def _to_posix(name: str) -> str:
    """Spell a name as here, whatever system wrote it, without its ``./``."""
    return re.sub(r"^(\./+)+", "", name.replace("\\", "/"))


def _read_names(path: Path, columns: Sequence[str], find: _Finder) -> tuple[list[str], int]:
    """Return the names in a list, and how many rows have none."""
    lines = [line for line in _read_text(path).splitlines() if line.strip() and not _NO_ROW.match(line)]
    if not lines:
        return [], 0
    first = lines[0].strip()
    if find(first) or not any(separator in first for separator in _SEPARATORS):
        rows = [[line.strip().strip("\"'").strip()] for line in lines]
    else:
        try:
            rows = _split(lines, columns)
        except csv.Error as error:
            raise ConfigError(f"input={path}: not a readable table ({error})") from error
    header = [cell.strip().casefold() for cell in rows[0]]
    known = [header.index(column) for column in columns if column in header]
    if known:
        column, rows = known[0], rows[1:]
    elif len(header) == 1:
        column = 0
        if _HEADER.fullmatch(rows[0][0]) and not find(rows[0][0]):
            log.warning("%s: %r is taken as the name of the column", path, rows[0][0])
            rows = rows[1:]
    else:
        there = [number for number, cell in enumerate(rows[0]) if cell.strip() and find(cell.strip())]
        if not there:
            raise ConfigError(_describe_columns(path, rows[0], columns))
        column = there[0]  # a table without a header
    names = [row[column].strip() if column < len(row) else "" for row in rows]
    return [name for name in names if name], names.count("")


def _split(lines: Sequence[str], columns: Sequence[str]) -> list[list[str]]:
    """Split lines at the separator that gives the first one a known column, or the most columns."""

    def rate(separator: str) -> tuple[bool, int]:
        cells = [cell.strip().casefold() for cell in next(csv.reader([lines[0]], delimiter=separator))]
        return not {*columns}.isdisjoint(cells), len(cells)

    best = max(_SEPARATORS, key=rate)
    return list(csv.reader(lines, delimiter=best, skipinitialspace=True))


def _describe_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> str:
    wanted = (*columns, "filename", "filepath", "file")
    near = [name for name in header if difflib.get_close_matches(name.strip().casefold(), wanted, cutoff=0.6)]
    hint = f"; did you mean {' or '.join(near)}? Rename it to path" if near else ""
    return (
        f"input={path}: expected a column path (or {', '.join(columns[1:])}, or only one column), got "
        f"{', '.join(header[:20])}{', ...' if len(header) > 20 else ''}{hint}"
    )


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"input={path}: {path.stat().st_size / 1e6:.0f} MB are too much for a list of records")
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"input={path}: the list cannot be read ({error.strerror})") from error
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "latin-1")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ConfigError(f"input={path}: not a list of records, for it is not a text")
