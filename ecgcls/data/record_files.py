"""Which records are on disk: those that a data set's table lists, and those that a user names."""

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ecgcls.data.formats import READ, identify
from ecgcls.data.record_lists import find_ecg, is_list, read_list
from ecgcls.data.regular_files import walk_visible
from ecgcls.data.wfdb_record import list_named_files, load_header
from ecgcls.errors import ConfigError, DataError

log = logging.getLogger(__name__)

_MAX_TOLD = 5


def find_missing(root: Path, filenames: pd.Series) -> pd.Series:
    """Return those of the records (path below `root` or absolute, by ecg_id) of which a file is missing.

    A record is a file, or the header and signal file of a WFDB record, whose path has no extension.
    """
    folders = list(_scan_folders(root, filenames))
    files = {prefix + name for prefix, entries in folders for name, entry in entries.items() if entry.is_file()}
    n_files = Counter(name.rpartition(".")[0] for name in files)

    def is_there(name: str) -> bool:
        return name in files or (n_files[name] >= 2 and f"{name}.hea" in files) or _has_named_files(root / name)

    return filenames[[not is_there(name) for name in filenames]]


def _has_named_files(path: Path) -> bool:
    """Whether a record's header can be read, and every file that it names is there."""
    try:
        names = list_named_files(path)
    except DataError:
        return False
    return bool(names) and all((path.parent / name).is_file() for name in names)


def describe_folders(root: Path, filenames: pd.Series) -> Iterator[str]:
    """Yield name, size, modification and change time (ns) of the files, as a text for each folder of the records.

    A WFDB header may name any file beside it, so that of a folder with a WFDB record all files count. Where every
    record is a file, these alone do: what else is in the folder may change.
    """
    own: dict[str, list[str]] = {}
    for name in filenames:
        folder, _, last = name.rpartition("/")
        own.setdefault(folder, []).append(last)
    for prefix, entries in _scan_folders(root, filenames):
        names = own[prefix.rstrip("/")]
        files = {name: entry for name, entry in entries.items() if entry.is_file()}
        if all(name in files for name in names):
            files = {name: files[name] for name in names}
        stats = sorted((name, entry.stat()) for name, entry in files.items())
        lines = [f"{name}/{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}" for name, stat in stats]
        yield "\n".join([prefix, *lines, ""])


def find_recordings(source: str, *, sampling_rate_hz: float, shown: str | None = None) -> list[Path]:
    """Find the ECGs that a user asks for: WFDB records, as paths without an extension, and files of other formats.

    Parameters
    ----------
    source
        A record (with or without the extension of its header or signal file) or a file of `ecgcls.data.formats`; a
        folder, all ECGs below which count; a glob such as ``ecgs/**/*_hr.hea``; or a list of records (`record_lists`),
        whose order is kept. What a list names and is missing is reported when it is read. Hidden files and folders are
        ignored; other files that are no ECGs are named in the log.
    sampling_rate_hz
        Of the net: selects one of PTB-XL's two files per record.
    shown
        What the log calls the source, such as the ZIP file that was unpacked there.

    Raises
    ------
    ConfigError
        If there is none.
    """
    path = Path(source)
    if path.is_dir():
        found = _list_folder(path, shown)
        what = "a folder without a WFDB header (.hea) or another file of an ECG"
    elif record := find_ecg(path):
        return [record]
    elif path.is_file() and is_list(path):
        found = read_list(path, sampling_rate_hz=sampling_rate_hz, list_folder=_list_folder)
        log.info("%s: read as a list of records (%d)", path, len(found))
        what = "a list without a record"
    else:
        names = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (pathlib's starts at a folder)
        matched = [Path(name) for name in names]
        files = {name: find_ecg(name) for name in matched if name.is_file()}
        found = [record for record in files.values() if record]
        _tell_passed_over(source, [name for name, record in files.items() if not record and name != path])
        found += [record for name in matched if name.is_dir() for record in _list_folder(name)]
        why = identify(path).reason if path.is_file() else "no such file"
        what = f"{why}; expected an ECG ({READ}), a folder, a list (.csv, .txt, RECORDS), a ZIP file or a glob of them"
    if not found:
        raise ConfigError(f"input={source}: {what}")
    return list(dict.fromkeys(found))


def _scan_folders(root: Path, filenames: pd.Series) -> Iterator[tuple[str, dict[str, os.DirEntry[str]]]]:
    """Yield the prefix of the paths of each folder of the records, and its entries by name."""
    for folder in sorted({name.rpartition("/")[0] for name in filenames}):
        try:
            with os.scandir(root / folder) as entries:
                yield folder and f"{folder}/", {entry.name: entry for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            continue  # all of this folder's records are missing


def _list_folder(folder: Path, shown: str | None = None) -> list[Path]:
    found, others = list_folder(folder)
    _tell_passed_over(shown or folder, others)
    return found


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the ECGs below a folder, but not the segments of multi-segment records; and the files that belong to none.

    What is hidden does not count.
    """
    files = [f"{where}{os.sep}{name}" for where, names in walk_visible(folder) for name in names]
    named = {name.removesuffix(".hea"): _list_named(name) for name in files if name.endswith(".hea")}
    # Segments have none themselves: a record that names itself, or its own whole, is read, which reports it.
    parts = {part for segments, _ in named.values() for part in segments if not named.get(part, ([], []))[0]}
    samples = {name for _, samples in named.values() for name in samples}
    others = [Path(name) for name in files if not name.endswith(".hea") and name not in samples]
    ecgs = {path for path in others if find_ecg(path) == path}
    # Annotations lie beside the record whose name they have.
    passed_over = [path for path in others if path not in ecgs and str(path.with_suffix("")) not in named]
    return sorted([*(Path(record) for record in named if record not in parts), *ecgs]), passed_over


def _list_named(header: str) -> tuple[list[str], list[str]]:
    """List the segments that a header names, without extensions, and its signal files."""
    try:
        found = load_header(header.removesuffix(".hea"))
    except DataError:
        return [], []  # reading the record reports what is wrong
    folder = header[: len(header) - len(os.path.basename(header))]  # noqa: PTH119
    return [folder + segment.name for segment in found.segments], [folder + name for name in found.columns[0]]


def _tell_passed_over(where: str | Path, paths: list[Path]) -> None:
    if paths:
        examples = (
            f"{', '.join(sorted(path.name for path in paths)[:_MAX_TOLD])}{', ...' if len(paths) > _MAX_TOLD else ''}"
        )
        what = (
            "no ECGs, or signal files without a header (.hea),"
            if any(path.suffix == ".dat" for path in paths)
            else "no ECGs"
        )
        log.warning("%s: files that are %s are passed over (%d): %s", where, what, len(paths), examples)
