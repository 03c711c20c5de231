"""Files that others wrote, opened safely: regular files only, of a size that is known before a byte is read.

A named pipe or a device in place of a file would hang a reader, or never end.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ecgcls.errors import DataError

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def measure_file(path: str, what: str) -> int:
    """Return the size of a regular file (or of one that a link leads to) in bytes.

    Raises
    ------
    DataError
        If there is none, named as `what`, such as "header".
    """
    try:
        found = os.stat(path)  # noqa: PTH116 (a text: twice as fast)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte, or text that no file name can hold
        raise _refuse(path, what, error) from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a device or a socket"
        raise DataError(f"{path}: the {what} must be a regular file, got {kind}")
    return found.st_size


def read_file(path: str, what: str, check: Callable[[int], None]) -> bytes:
    """Read a regular file, faster than `Path.read_bytes`, which counts for tens of thousands of small files.

    Raises
    ------
    DataError
        If it cannot be read, named as `what`. `check` gets its size in bytes, before it is read, and may refuse it.
    """
    size = measure_file(path, what)
    check(size)
    try:
        file = os.open(path, _FLAGS)
        try:
            data = os.read(file, size)
            while len(data) < size and (more := os.read(file, size - len(data))):
                data += more
        finally:
            os.close(file)
    except OSError as error:
        raise _refuse(path, what, error) from error
    return data


def walk_visible(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder at or below a folder, and the names of its files; what is hidden does not count."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        yield folder, [name for name in names if name[0] != "."]


def _refuse(path: str, what: str, error: OSError | ValueError) -> DataError:
    reason = (isinstance(error, OSError) and error.strerror) or "not a file name"
    shown = path.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return DataError(f"{shown}: the {what} cannot be read ({reason})")
