"""The folder of a bundle, read as data: names and sizes are bounded, hashes verified, and nothing in it is run.

A bundle may come from anybody. What does not fit is a `DataError` of one line.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgcls.bundles.metadata import NAME, BundleInfo
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import check_regular
from ecgcls.runs.saved import CURE, read_json

SUMS = "SHA256SUMS.txt"
"""Lists all other files, as sha256sum writes it."""
GRAPH = "model.onnx"

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._-]+)")
_MAX_FILES = 1000
_MAX_BYTES = {"": 100_000_000, ".json": 20_000_000, ".onnx": 2_000_000_000}
"""Of a file, by its ending."""


@dataclass(frozen=True, eq=False)
class BundleDirectory:
    """A bundle whose list of files and ``metadata.json`` have been read and verified.

    Attributes
    ----------
    path
        The folder.
    sums
        SHA-256 by file.
    info
        What the bundle says of itself.
    """

    path: Path
    sums: dict[str, str]
    info: BundleInfo

    def __contains__(self, name: str) -> bool:
        return name in self.sums

    def read(self, name: str) -> bytes:
        """Return the content of a file, held against its hash."""
        return _read(self.path, name, self.sums)

    def check(self, name: str) -> Path:
        """Return where a file is, held against its hash."""
        _read(self.path, name, self.sums)
        return self.path / name

    def read_arrays(self, name: str) -> dict[str, NDArray]:
        """Return the arrays of an npz file."""
        try:
            with np.load(io.BytesIO(self.read(name)), allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (ValueError, OSError, KeyError, EOFError) as error:
            raise DataError(f"{self.path / name}: damaged ({error}); {_CURE}") from error


_CURE = "get the bundle again from whoever made it"


def open_bundle(path: Path) -> BundleDirectory:
    """Open a bundle.

    Raises
    ------
    ConfigError
        If there is no such folder, or it is no bundle.
    DataError
        If a file is missing, damaged, too large or not the one that the bundle was made with.
    """
    if not path.is_dir():
        raise ConfigError(f"bundle: there is no folder {path}; python -m ecgcls.export writes a bundle")
    if not (path / NAME).exists():
        raise ConfigError(f"bundle: {path} has no {NAME}, so it is no bundle; python -m ecgcls.export writes one")
    sums = _read_sums(path)
    with _explained():
        _read(path, NAME, sums)
        content = read_json(path / NAME, max_bytes=_MAX_BYTES[".json"])
        return BundleDirectory(path, sums, BundleInfo(content, str(path / NAME)))


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do about a bundle, where the reader of a run's files would advise to train it again."""
    try:
        yield
    except DataError as error:
        if str(error).endswith(CURE):
            raise DataError(f"{str(error).removesuffix(CURE)}{_CURE}") from error
        raise


def _read_sums(path: Path) -> dict[str, str]:
    try:
        check_regular(path / SUMS, max_bytes=1000 * _MAX_FILES)
        lines = (path / SUMS).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: {SUMS} is missing, so that nothing can be verified; {_CURE}") from None
    except (UnicodeDecodeError, DataError) as error:
        raise DataError(f"{path / SUMS}: damaged ({error}); {_CURE}") from error
    found = [_LINE.fullmatch(line) for line in lines]
    if not lines or len(lines) > _MAX_FILES or not all(found):
        raise DataError(f"{path / SUMS}: expected lines of a SHA-256, two spaces and a name; {_CURE}")
    return {match[2]: match[1] for match in found if match}


def _read(path: Path, name: str, sums: dict[str, str]) -> bytes:
    if name not in sums:
        raise DataError(f"{path}: {name} is not listed in {SUMS}; {_CURE}")
    try:
        check_regular(path / name, max_bytes=_MAX_BYTES.get(Path(name).suffix, _MAX_BYTES[""]))
        content = (path / name).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: {name} is missing; {_CURE}") from None
    if (found := hashlib.sha256(content).hexdigest()) != sums[name]:
        raise DataError(
            f"{path / name}: not the file that the bundle was made with (SHA-256 {found[:12]}, expected "
            f"{sums[name][:12]} by {SUMS}); {_CURE}"
        )
    return content
