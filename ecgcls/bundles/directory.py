"""The folder of a bundle, read as data: names and sizes are bounded, hashes verified, and nothing in it is run.

A bundle may come from anybody. What does not fit is a `DataError` of one line.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgcls.bundles.metadata import NAME, BundleInfo
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import check_arrays, printable
from ecgcls.runs.saved import CURE, parse_json

SUMS, CARD = "SHA256SUMS.txt", "README.md"
"""The list of all other files, as sha256sum writes it, and the model card, which is not listed: people fill it in."""
GRAPH, WEIGHTS, NETS = "model.onnx", "model.safetensors", "config.json"
READER = Path(__file__).with_name("predict.py")
"""A script that is copied into each bundle: it predicts with numpy and onnxruntime alone."""
LICENSE = Path(__file__).with_name("LICENSE.txt")
"""Of code and weights, as a bundle carries it."""

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_][A-Za-z0-9._-]{0,100})")
_MAX_FILES = 1000
_MAX_BYTES = {"": 100_000_000, ".json": 10_000_000, ".txt": 200_000} | dict.fromkeys(
    (".onnx", ".safetensors", ".pt"), 2_000_000_000
)
"""Of a file, by its ending."""
_MAX_VALUES = 300_000
"""In ``metadata.json``; the most are those of isotonic calibrators."""
_MAX_ARRAYS_BYTES = 500_000_000
"""Of all npz files; a run's waveforms are 0.3 kB a record."""
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))


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
        """Return where a file is, held against its hash; the arrays of an npz file are checked as well."""
        with _open_listed(self.path, name, self.sums) as file:
            _compare(self.path / name, hashlib.file_digest(file, "sha256").hexdigest(), self.sums[name])
            if name.endswith(".npz"):
                with _damaged(self.path / name):
                    check_arrays(file)
        return self.path / name

    def read_arrays(self, name: str) -> dict[str, NDArray]:
        """Return the arrays of an npz file; what is no array of numbers, or larger than the file, is refused."""
        file = io.BytesIO(self.read(name))
        with _damaged(self.path / name):
            check_arrays(file)
            with np.load(file, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}


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
    sizes = [(path / name).lstat().st_size for name in sums if name.endswith(".npz") and (path / name).exists()]
    if sum(sizes) > _MAX_ARRAYS_BYTES:
        raise DataError(f"{path}: {sum(sizes):,} bytes of npz files, expected at most {_MAX_ARRAYS_BYTES:,}; {_CURE}")
    with _explained():
        content = parse_json(_read(path, NAME, sums), where=str(path / NAME), max_values=_MAX_VALUES)
        return BundleDirectory(path, sums, BundleInfo(content, str(path / NAME)))


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do about a bundle, where the reader of a run's files would advise to train it again."""
    try:
        yield
    except DataError as error:
        text = str(error)
        raise DataError(f"{text.removesuffix(CURE)}{_CURE}" if text.endswith(CURE) else text) from error


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Say of whatever a damaged archive makes zipfile and numpy stumble over that it is damaged."""
    try:
        yield
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: damaged ({printable(why)}); {_CURE}") from error


def _read_sums(path: Path) -> dict[str, str]:
    try:
        with _open_regular(path / SUMS) as file:
            lines = file.read(_MAX_BYTES[".txt"]).decode("ascii").splitlines()
    except UnicodeDecodeError:
        lines = []
    found = [match for line in lines if (match := _LINE.fullmatch(line))]
    sums = {match[2]: match[1] for match in found}
    if not lines or not len(lines) == len(sums) <= _MAX_FILES or SUMS in sums:
        raise DataError(
            f"{path / SUMS}: expected up to {_MAX_FILES} lines of a SHA-256, two spaces and the name of another file "
            f"in the folder, each once; {_CURE}"
        )
    return sums


def _read(path: Path, name: str, sums: Mapping[str, str]) -> bytes:
    """Read a file once: what is verified is what is used."""
    with _open_listed(path, name, sums) as file:
        content = file.read(os.fstat(file.fileno()).st_size)  # what is added meanwhile does not count
    _compare(path / name, hashlib.sha256(content).hexdigest(), sums[name])
    return content


def _open_listed(path: Path, name: str, sums: Mapping[str, str]) -> BufferedReader:
    if name not in sums:
        raise DataError(f"{path}: {name} is not listed in {SUMS}; {_CURE}")
    return _open_regular(path / name)


def _open_regular(path: Path) -> BufferedReader:
    """Open a file that is no link, pipe or device, and of a bounded size, without waiting for it."""
    try:
        if path.is_symlink():
            raise DataError(f"{path}: a link, expected a file; cp -RL copies a folder with what its links lead to")
        number = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise DataError(f"{path}: this file of the bundle is missing; {_CURE}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); {_CURE}") from error
    status = os.fstat(number)
    is_file = stat.S_ISREG(status.st_mode)
    if not is_file or status.st_size > _limit(path.name):
        os.close(number)
        got = f"{status.st_size:,} bytes" if is_file else "a folder, a pipe or a device"
        raise DataError(f"{path}: expected a file of at most {_limit(path.name):,} bytes, got {got}")
    return os.fdopen(number, "rb")


def _limit(name: str) -> int:
    return _MAX_BYTES.get(Path(name).suffix, _MAX_BYTES[""])


def _compare(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise DataError(
            f"{path}: not the file that the bundle was made with (SHA-256 {found[:12]}, expected {expected[:12]} by "
            f"{SUMS}); {_CURE}"
        )
