"""Uploaded files as recordings: placed in a folder that is gone at once, found, read and bounded.

The readers take paths. The folder is in memory where the system has a file system there (``/dev/shm``) with enough
room, else where temporary files are.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from ecgcls.data.archives import unpack
from ecgcls.data.record_files import list_folder
from ecgcls.data.recordings import Recording, iter_recording
from ecgcls.errors import DataError
from ecgcls.files import printable
from ecgcls.serving.limits import Limits, Refused

_IN_MEMORY = Path("/dev/shm")
_ZIP = b"PK\x03\x04"
_ZIP_ENTRY = b"PK\x01\x02"  # in its list of files: each takes hundreds of bytes of memory before the list can be judged
_SIGNALS = (".dat", ".mat")
_MAX_TEXT = 500
_BLOCK_S = 600.0
_PATH = re.compile(r"(?<![\w.])/(?:[^\s/:,;'\"]+/)+")


class Uploaded:
    """The files of a request, in a folder of their own until `close`."""

    def __init__(self, files: Mapping[str, bytes], limits: Limits) -> None:
        needed = limits.max_unpacked if any(map(_is_zip, files.values())) else sum(map(len, files.values()))
        self._folder = tempfile.TemporaryDirectory(prefix="ecgcls-", dir=_choose_place(2 * needed))
        self.folder = Path(self._folder.name)
        try:
            self._place(files, limits)
        except DataError as error:
            self.close()
            raise DataError(self.tell(error)) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the folder with everything in it."""
        self._folder.cleanup()

    def __enter__(self) -> "Uploaded":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place(self, files: Mapping[str, bytes], limits: Limits) -> None:
        n_left, n_bytes = limits.max_files, limits.max_unpacked
        for name, content in files.items():
            target = self.folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                if _is_zip(content):
                    if content.count(_ZIP_ENTRY) > limits.max_files:
                        raise DataError(f"{name}: more than {limits.max_files} files in it")
                    inside = target.with_name(f"{target.name}-unpacked")
                    inside.mkdir()
                    unpack(target, inside, max_bytes=n_bytes, max_files=n_left)
                    target.unlink()
                    found = [path for path in inside.rglob("*") if path.is_file()]
                    n_left -= len(found)
                    n_bytes -= sum(path.stat().st_size for path in found)
            except OSError as error:  # a file where another name has a folder, a name that is too long, no room
                raise DataError(f"{name}: the file cannot be used ({error.strerror})") from error

    def list_recordings(self) -> tuple[list[Path], list[Path]]:
        """Return the recordings, WFDB records without an extension, and the files that belong to none."""
        return list_folder(self.folder)

    def name(self, path: Path) -> str:
        """Name a file as it was sent."""
        inside = path.relative_to(self.folder).as_posix()
        return printable(inside.replace(".zip-unpacked/", ".zip/"))

    def tell(self, error: object) -> str:
        """Put an error into one line of bounded length, without any path of this machine."""
        text = printable(" ".join(str(error).replace(f"{self.folder}{os.sep}", "").split()))
        text = _PATH.sub("", text).replace(self.folder.name, "the request").replace("-unpacked/", "/")
        return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def refuse_others(uploaded: Uploaded, unused: list[Path]) -> Refused:
    """Say why none of the files of a request is a recording."""
    if not unused:
        return Refused(422, "no file in it: an empty or hidden folder")
    first = unused[0]
    if first.suffix in _SIGNALS:
        why = "the signals of a WFDB record, without its header: send the file .hea with it"
        return Refused(422, f"{uploaded.name(first)}: {why}")
    try:
        read(first, Limits(), lead_names=())
    except DataError as error:
        return Refused(422, uploaded.tell(error))
    return Refused(422, f"{uploaded.name(first)}: no ECG in a known format")


def read(path: Path, limits: Limits, *, lead_names: tuple[str, ...]) -> Recording:
    """Read a recording as `ecgcls.data.recordings.read_recording`, up to a duration.

    Raises
    ------
    DataError
        If it cannot be read, whatever a reader stumbles over, or is too long.
    """
    try:
        blocks = iter_recording(path, block_s=_BLOCK_S, lead_names=lead_names)
        first = next(blocks)
        parts, n_samples = [], 0
        for block in chain([first], blocks):
            n_samples += block.signal_mv.shape[1]
            if not n_samples <= limits.max_duration_s * block.sampling_rate_hz:
                raise DataError(
                    f"longer than {limits.max_duration_s:g} s, the most that is taken here; python -m ecgcls.predict "
                    "takes any length"
                )
            parts.append(block.signal_mv)
    except DataError as error:
        if lost := _find_missing(error):
            raise DataError(f"{lost} is missing: send it together with {path.name}.hea") from error
        raise
    except Exception as error:  # a file of strangers may raise whatever a reader stumbles over
        raise DataError(f"cannot be used ({type(error).__name__})") from error
    return first if len(parts) == 1 else replace(first, signal_mv=np.concatenate(parts, axis=1))


def _find_missing(error: BaseException) -> str:
    """Return the name of a file that an error comes from because it is not there; empty if it is something else."""
    cause = error.__cause__
    if isinstance(cause, FileNotFoundError):
        return Path(cause.filename or "").name
    return _find_missing(cause) if cause else ""


def _is_zip(content: bytes) -> bool:
    return content.startswith(_ZIP)


def _choose_place(n_bytes: int) -> str | None:
    """Return a file system in memory that has room for a multiple of so many bytes; None: the usual place."""
    try:
        free = shutil.disk_usage(_IN_MEMORY).free
    except OSError:
        return None
    return str(_IN_MEMORY) if os.access(_IN_MEMORY, os.W_OK) and free > n_bytes else None
