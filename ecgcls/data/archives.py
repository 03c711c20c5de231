"""Records in a ZIP file, unpacked for as long as they are needed."""

import lzma
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ecgcls.errors import ConfigError, DataError

MAX_BYTES = 20_000_000_000
"""What the files in an archive may take when unpacked."""
MAX_FILES = 500_000
MAX_RATIO = 200
"""How many times the size of an archive its files may take, if they are large: samples shrink to a half, zeros to a
thousandth."""
_LARGE = 1_000_000_000
_CHUNK = 1 << 20
_DAMAGES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError, OSError)


@contextmanager
def unpacked(source: str) -> Iterator[str]:
    """Give a ZIP file's content as a temporary folder, which is removed at the end; anything else as it is.

    Hidden files and those that macOS adds are left out.

    Raises
    ------
    ConfigError
        If the file is damaged, encrypted or too large, or a name in it leads out of the folder.
    """
    path = Path(source)
    if path.suffix.lower() != ".zip" or not path.is_file():
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="ecgcls-") as folder:
        try:
            unpack(path, Path(folder))
        except DataError as error:
            raise ConfigError(f"input={error}") from error
        yield folder


def unpack(path: Path, folder: Path, *, max_bytes: int | None = None, max_files: int | None = None) -> None:
    """Unpack a ZIP file into a folder, without hidden files and those that macOS adds.

    None: at most `MAX_BYTES` and `MAX_FILES`.

    Raises
    ------
    DataError
        If the file is damaged, encrypted or too large, or a name in it leads out of the folder.
    """
    try:
        _unpack(path, folder, MAX_BYTES if max_bytes is None else max_bytes, max_files or MAX_FILES)
    except _DAMAGES as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: the ZIP file cannot be unpacked ({reason})") from error


def _unpack(path: Path, folder: Path, max_bytes: int, max_files: int) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            parts = PurePosixPath(member.filename).parts
            if member.filename.startswith("/") or ".." in parts or re.search(r"[\0\\:]", member.filename):
                raise DataError(f"{path}: the name {member.filename!r} in it leads out of its folder; refused")
        wanted = [member for member in members if not _is_hidden(member.filename)]
        n_bytes = sum(member.file_size for member in wanted)
        if len(members) > max_files or n_bytes > max_bytes:
            raise DataError(
                f"{path}: {len(members)} files of {n_bytes / 1e9:.1f} GB unpacked, at most {max_files} files of "
                f"{max_bytes / 1e9:g} GB are taken; unpack it yourself"
            )
        if n_bytes > max(_LARGE, MAX_RATIO * path.stat().st_size):
            raise DataError(
                f"{path}: {n_bytes / 1e9:.1f} GB unpacked, more than {MAX_RATIO} times its size: no archive of "
                "ECGs; unpack it yourself if it is one"
            )
        if n_bytes > shutil.disk_usage(folder).free:
            raise DataError(f"{path}: {n_bytes / 1e9:.1f} GB unpacked do not fit on the disk of {folder.parent}")
        for member in wanted:
            target = folder / member.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, target.open("xb") as file:  # never more than its announced size
                shutil.copyfileobj(packed, file, _CHUNK)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
