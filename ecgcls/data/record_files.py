"""Which WFDB records are on disk: those that a data set's table lists, and those that a user names."""

import glob
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ecgcls.data.record_lists import find_record, is_list, read_list
from ecgcls.data.wfdb_record import list_named_files, load_header
from ecgcls.errors import ConfigError, DataError


def find_missing(root: Path, filenames: pd.Series) -> pd.Series:
    """Return those of the records (path below `root`, by ecg_id) whose header or signal file is missing."""
    found = {prefix + entry.name for prefix, entries in _scan_folders(root, filenames) for entry in entries}
    n_files = Counter(name.rpartition(".")[0] for name in found)
    return filenames[
        [(n_files[name] < 2 or f"{name}.hea" not in found) and not _has_named_files(root / name) for name in filenames]
    ]


def _has_named_files(path: Path) -> bool:
    """Whether a record's header can be read, and every file that it names is there."""
    try:
        names = list_named_files(path)
    except DataError:
        return False
    return bool(names) and all((path.parent / name).is_file() for name in names)


def describe_folders(root: Path, filenames: pd.Series) -> Iterator[str]:
    """Yield name, size, modification and change time (ns) of every file, as a text for each folder of the records."""
    for prefix, entries in _scan_folders(root, filenames):
        stats = sorted((entry.name, entry.stat()) for entry in entries if entry.is_file())
        files = [f"{name}/{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}" for name, stat in stats]
        yield "\n".join([prefix, *files, ""])


def find_recordings(source: str, *, sampling_rate_hz: float) -> list[Path]:
    """Find the WFDB records that a user asks for, as paths without an extension; ConfigError if there is none.

    Parameters
    ----------
    source
        A record (with or without the extension of its header or signal file); a folder, all headers below which count;
        a glob such as ``ecgs/**/*_hr.hea``; or a list of records (`record_lists`), whose order is kept. What a list
        names and is missing is reported when it is read. Hidden files and folders are ignored.
    sampling_rate_hz
        Of the net: selects one of PTB-XL's two files per record.
    """
    path = Path(source)
    if path.is_dir():
        found = _list_headers(path)
        what = "a folder without a WFDB header (.hea)"
    elif record := find_record(path):
        return [record]
    elif path.is_file() and is_list(path):
        found = read_list(path, sampling_rate_hz=sampling_rate_hz, list_folder=_list_headers)
        what = "a list without a record"
    else:
        names = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (pathlib's starts at a folder)
        matched = [Path(name) for name in names]
        found = [record for name in matched if name.is_file() and (record := find_record(name))]
        found += [record for name in matched if name.is_dir() for record in _list_headers(name)]
        what = "no WFDB record, folder, list (.csv, .txt, RECORDS) or ZIP file, and no glob that matches headers"
    if not found:
        raise ConfigError(f"input={source}: {what}")
    return list(dict.fromkeys(found))


def _scan_folders(root: Path, filenames: pd.Series) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield the entries of each folder of the records, and the prefix of their paths below `root`."""
    for folder in sorted({name.rpartition("/")[0] for name in filenames}):
        try:
            with os.scandir(root / folder) as entries:
                yield folder and f"{folder}/", list(entries)
        except (FileNotFoundError, NotADirectoryError):
            continue  # all of this folder's records are missing


def _list_headers(folder: Path) -> list[Path]:
    """List the records below a folder, but not the segments of multi-segment records, nor what is hidden."""
    headers = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        headers += [f"{where}{os.sep}{name}" for name in names if name.endswith(".hea") and name[0] != "."]
    segments = {header.removesuffix(".hea"): _list_segments(header) for header in headers}
    # Segments have none themselves: a record that names itself, or its own whole, is read, which reports it.
    parts = {part for named in segments.values() for part in named if not segments.get(part)}
    return sorted(Path(record) for record in segments if record not in parts)


def _list_segments(header: str) -> list[str]:
    """List the segments that a header names; none if it is not a multi-segment header."""
    try:
        segments = load_header(header.removesuffix(".hea")).segments
    except DataError:
        return []  # reading the record reports what is wrong
    return [os.path.join(os.path.dirname(header), segment.name) for segment in segments]  # noqa: PTH118, PTH120
