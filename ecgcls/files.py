"""Files: written whole or not at all, read within bounds, locked, named safely; fingerprints of records and labels."""

import hashlib
import io
import json
import logging
import math
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

STANDARDIZED_ON = "ecgcls_standardized_on"
"""Key in a checkpoint: `hash_standardizer` of its standardizer, as it was fitted."""
CLASS_NAMES = "ecgcls_class_names"
"""Key in a checkpoint: the classes, in the order of the logits."""
INPUT_FORM = "ecgcls_input_form"
"""Key in a checkpoint: ``lead_names``, ``sampling_rate_hz`` and ``n_samples`` of what its net takes."""

_MAX_ARRAYS = 1000  # of an npz file
_MAX_NAME = 80  # bytes of a part of a file's name; the whole may have 255
_WHOLE_NUMBER = re.compile(r"-?[1-9]\d{0,17}|0")
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # what `write_atomically` calls a file that is not finished


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that others see whole or not at all; its folder is made, an older file is replaced."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # not the temporary one, and a write that fails on a full disk names none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Write an npz file as `write_atomically`."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed `write_atomically` has left in a folder; folders below it are not looked into."""
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        if _TEMPORARY.fullmatch(path.name) and stat.S_ISREG(path.lstat().st_mode):
            path.unlink()


def check_regular(path: Path, *, max_bytes: int) -> None:
    """Refuse what is no regular file (a named pipe would block whoever reads it), or a file that is too large."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: expected a file, got {'a folder' if path.is_dir() else 'a device or a pipe'}")
    if status.st_size > max_bytes:
        raise DataError(f"{path}: {status.st_size / 1e6:,.1f} MB, expected at most {max_bytes / 1e6:,.1f} MB")


def check_archive(path: Path) -> None:
    """Refuse a checkpoint that unpacks to more than it is: ``torch.save`` compresses nothing."""
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(entry.file_size for entry in archive.infolist())
    if n_bytes > path.stat().st_size:
        raise DataError(f"it unpacks to {n_bytes / 1e6:,.1f} MB, more than the file has")


def check_arrays(file: BinaryIO) -> None:
    """Refuse an npz file that holds anything but plain arrays, or arrays that say they are larger than they are."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        n_bytes, n_found = sum(entry.file_size for entry in entries), file.seek(0, os.SEEK_END)
        if n_bytes > n_found or len(entries) > _MAX_ARRAYS:
            raise DataError(f"{len(entries)} arrays that unpack to {n_bytes:,} bytes, of a file of {n_found:,}")
        for entry in entries:
            with archive.open(entry) as member:
                read = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}[read_magic(member)]
                shape, _, dtype = read(member)
                if dtype.kind not in "biufU" or math.prod(shape) * dtype.itemsize != entry.file_size - member.tell():
                    raise DataError(
                        f"{entry.filename} says that it is {shape} of {dtype}, in {entry.file_size:,} bytes"
                    )
    file.seek(0)


def lock(path: Path, *, busy: str) -> AcquireReturnProxy:
    """Take a lock and return a context manager that releases it; `busy` is logged before a wait."""
    file_lock = FileLock(path)
    try:
        return file_lock.acquire(timeout=0)
    except Timeout:
        log.info("%s; waiting for it (%s)", busy, path)
        return file_lock.acquire()


def name_file(text: str) -> str:
    """Make a name fit for a file on any system: what is not a letter, a digit or one of ``_.()+-`` becomes '-'.

    Different texts may get the same name.

    Examples
    --------
    >>> name_file("LAFB/LPFB"), name_file("PRC(S)"), name_file("../ISC_")
    ('LAFB-LPFB', 'PRC(S)', '..-ISC_')
    """
    return re.sub(r"[^\w.()+-]", "-", text)


def name_files(texts: Sequence[str]) -> dict[str, str]:
    """Give each text a file's name that no other has, on a system that ignores case as well; a long one is cut short.

    Examples
    --------
    >>> name_files(["a/b", "a:b", "A-B"])
    {'a/b': 'a-b', 'a:b': 'a-b-2', 'A-B': 'A-B-3'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        name = wanted = name_file(text).encode()[:_MAX_NAME].decode(errors="ignore")
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name.casefold())
        names[text] = name
    return names


def defuse(text: Any) -> Any:
    """Return text that no spreadsheet takes for a formula, with a ``'`` before its ``=``, ``+``, ``-`` or ``@``.

    What is no text stays as it is; `restore` takes the ``'`` away again.

    Examples
    --------
    >>> defuse("=1+1"), defuse("'=1+1"), defuse(-3), restore(defuse("@MI")), restore("'90s")
    ("'=1+1", "''=1+1", -3, '@MI', "'90s")
    """
    return f"'{text}" if isinstance(text, str) and re.match(r"'*[=+@\t\r-]", text) else text


def restore(text: str) -> str:
    """Return what `defuse` was given."""
    return text[1:] if re.match(r"'+[=+@\t\r-]", text) else text


def encode_csv(table: "pd.DataFrame", *, index: bool = True) -> bytes:
    """Return a table as the bytes of a CSV file, without anything that a spreadsheet takes for a formula."""
    whole = table.reset_index() if index else table.copy()
    text = whole.select_dtypes(exclude=["number", "bool"])
    whole[text.columns] = text.map(defuse)
    return whole.rename(columns=defuse).to_csv(index=False, lineterminator="\n").encode()


def printable(text: str) -> str:
    """Return text for a terminal or one line of a log: control characters are spelled out.

    Examples
    --------
    >>> print(printable("MI\x1b[2J É"))
    MI\\x1b[2J É
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def write_json(path: Path, content: Mapping[str, Any], *, rows: str | None = None) -> None:
    """Write strict JSON as `write_atomically`; see `format_json`."""
    write_atomically(path, format_json(content, rows=rows))


def format_json(content: Mapping[str, Any], *, rows: str | None = None) -> bytes:
    """Return strict JSON (no NaN); the items of the list at the key `rows` get a line each."""
    text = json.dumps({**content, rows: []} if rows else content, indent=2, ensure_ascii=False, allow_nan=False)
    if rows:
        lines = [f"\n    {json.dumps(item, ensure_ascii=False, allow_nan=False)}" for item in content[rows]]
        text = text.replace(f'\n  "{rows}": []', f'\n  "{rows}": [{",".join(lines)}\n  ]', 1)
    return (text + "\n").encode()


def hash_records(
    ecg_ids: Iterable[int | str], patient_ids: Iterable[int | str], y_true: ArrayLike, class_names: Sequence[str]
) -> str:
    """Return the SHA-256 of records with their patients and labels ``(record, class)``; their order does not matter.

    Examples
    --------
    >>> records = hash_records([3, 1], [7, 8], [[1, 0], [0, 1]], ["MI", "CD"])
    >>> records == hash_records([1, 3], [8, 7], [[0, 1], [1, 0]], ["MI", "CD"])
    True
    >>> records == hash_records([3, 1], [7, 8], [[1, 1], [0, 1]], ["MI", "CD"])  # another label
    False
    """
    labels = np.asarray(y_true).astype(np.int8)
    lines = sorted(
        f"{_spell(ecg_id)},{_spell(patient_id)},{row.tobytes().hex()}"
        for ecg_id, patient_id, row in zip(ecg_ids, patient_ids, labels, strict=True)
    )
    return hashlib.sha256("\n".join([json.dumps(list(map(str, class_names))), *lines]).encode()).hexdigest()


def as_ids(ecg_ids: Iterable[int | str]) -> NDArray:
    """Return ids as an array ``(record,)``: int64 where all are whole numbers, also as text, else text.

    Examples
    --------
    >>> as_ids(["7", "12"]), as_ids(["007", "12"])
    (array([ 7, 12]), array(['007', '12'], dtype='<U3'))
    """
    ids = ecg_ids.tolist() if isinstance(ecg_ids, np.ndarray) else list(ecg_ids)
    texts = [each for each in ids if isinstance(each, str)]
    if all(_WHOLE_NUMBER.fullmatch(each) for each in texts):
        return np.array(list(map(int, ids)), dtype=np.int64)
    return np.array(list(map(str, ids)), dtype=np.str_)


def type_ids(index: "pd.Index") -> NDArray:
    """Return the ids in the index of a source's table as an array ``(record,)``: int64 or text, as they are there.

    A part of named records may have names that all are numbers, and they stay names.
    """
    ids = np.asarray(index)
    return ids.astype(np.int64 if ids.dtype.kind in "iu" else np.str_)


def encode_ids(ids: NDArray) -> bytes:
    """Return ids as bytes to be hashed, in the order that they have."""
    plain = as_ids(ids)
    return "\n".join(plain.tolist()).encode() if plain.dtype.kind == "U" else plain.astype("<i8").tobytes()


def _spell(number: int | str) -> str:
    """Return an id as text, that of a whole number the same whatever its type."""
    return number if isinstance(number, str) else str(int(number))


def hash_signals(ecg_ids: Iterable[int | str], sha256: ArrayLike) -> str:
    """Return the SHA-256 of records with their signals, whose own hashes are ``(record, byte)``, in any order."""
    hashes = np.asarray(sha256, dtype=np.uint8)
    lines = sorted(f"{_spell(ecg_id)},{row.tobytes().hex()}" for ecg_id, row in zip(ecg_ids, hashes, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def hash_standardizer(signals_sha256: str, mean_mv: ArrayLike, sd_mv: ArrayLike) -> str:
    """Return the SHA-256 of a standardizer: the `hash_signals` of what it was fitted on, and its values by lead.

    A standard deviation of 0, by which nothing is divided, counts as 1.
    """
    mean, sd = (np.asarray(each, dtype="<f4").ravel() for each in (mean_mv, sd_mv))
    return hashlib.sha256(signals_sha256.encode() + mean.tobytes() + np.where(sd > 0, sd, 1).tobytes()).hexdigest()


def hash_labels(ecg_ids: Iterable[int | str], y_true: ArrayLike, class_names: Sequence[str]) -> str:
    """Return the SHA-256 of labels ``(record, class)``; the order of the records does not matter, that of classes does.

    Examples
    --------
    >>> hash_labels([3, 1], [[1, 0], [0, 1]], ["MI", "CD"]) == hash_labels([1, 3], [[0, 1], [1, 0]], ["MI", "CD"])
    True
    """
    ids = as_ids(ecg_ids)
    order = np.argsort(ids)
    content = hashlib.sha256("\n".join([*map(str, class_names), ""]).encode())
    content.update(encode_ids(ids[order]))
    content.update(np.asarray(y_true, dtype=np.uint8)[order].tobytes())
    return content.hexdigest()
