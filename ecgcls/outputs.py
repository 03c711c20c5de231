"""Folders that a command writes its results into: it owns what it has written there, and nothing else.

A folder of results has a mark, ``.ecgcls-output.json``, that names the command and the files it wrote. The same command
replaces these files, other files in the folder stay; any other folder that is not empty is refused.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ecgcls.errors import ConfigError
from ecgcls.files import check_regular, write_json

MARK = ".ecgcls-output.json"
"""The name of the mark."""

_MAX_BYTES = 50_000_000


def name_output(source: str | Path) -> str:
    """Name a folder of results after a path that was typed; two paths never share one."""
    path = Path(source).absolute()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "input"
    return f"{stem[:60]}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def place_results(bundle: Path, output_dir: Path) -> Path:
    """Return the folder for what is computed with a bundle: not in it, as its files are listed with their hashes."""
    return output_dir / "bundles" / name_output(bundle)


@dataclass(frozen=True)
class Claim:
    """A folder that a command writes into, and the files in it that are somebody else's."""

    folder: Path
    command: str
    foreign: frozenset[str]

    def seal(self) -> None:
        """List what the command has written."""
        files = sorted(name for name in _list_files(self.folder) if name not in self.foreign)
        write_json(self.folder / MARK, {"command": self.command, "files": files})


@contextmanager
def claimed(folder: Path, command: str) -> Iterator[None]:
    """Claim a folder for a ``with`` block in which results are written, and list them at its end, however it ends."""
    claim = claim_folder(folder, command)
    try:
        yield
    finally:
        claim.seal()


def claim_folder(folder: Path, command: str) -> Claim:
    """Make a folder the results of a command: what the same command wrote there before is removed.

    A folder that is not empty and has another command's mark, or none, is a `ConfigError`, and so is one that cannot be
    written.
    """
    check_output(folder, command)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_listed(folder)
        claim = Claim(folder, command, frozenset(_list_files(folder)))
        claim.seal()
    except OSError as error:
        raise _unwritable(folder, error) from error
    return claim


def check_output(folder: Path, command: str) -> None:
    """Refuse a folder that `claim_folder` would refuse; nothing is changed."""
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"output: {folder} is a file, expected a folder for the results; name another")
        if folder.is_dir() and any(folder.iterdir()):
            _check_mark(folder, command)
        _check_writable(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error


def check_output_file(path: Path, *, begins_with: bytes) -> None:
    """Refuse to replace a folder, or a file in whose first kilobytes there is no `begins_with`."""
    try:
        if path.is_dir():
            raise ConfigError(f"output: {path} is a folder, expected the name of a file in it")
        if path.exists() and path.stat().st_size:
            check_regular(path, max_bytes=1_000_000_000)
            with path.open("rb") as file:
                if begins_with not in file.read(4096):
                    raise ConfigError(f"output: {path} is there and was not written by this command; name another file")
        _check_writable(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def _check_writable(folder: Path) -> None:
    """Refuse a folder that could not be made or written, before minutes are spent on what goes there."""
    above = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        why = "no permission, or a read-only file system" if above.is_dir() else "it is a file"
        raise ConfigError(f"output: {above} cannot be written ({why}); set output=PATH")


def _check_mark(folder: Path, command: str) -> None:
    mark = _read_mark(folder)
    if not mark:
        first = sorted(path.name for path in folder.iterdir())[0]
        what = "is the folder of a run" if (folder / "run.json").exists() else f"is not empty ({first} is in it)"
        raise ConfigError(f"output: {folder} {what}, and not one of {command}'s results; name a new folder")
    if mark["command"] != command:
        raise ConfigError(f"output: {folder} holds results of {mark['command']}; name another folder for {command}'s")


def _read_mark(folder: Path) -> dict[str, Any]:
    """Return the content of the mark; empty where there is none that can be read."""
    try:
        check_regular(folder / MARK, max_bytes=_MAX_BYTES)
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        files = mark["files"]
        is_whole = isinstance(mark["command"], str) and all(isinstance(name, str) for name in files)
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return mark if is_whole else {}


def _remove_listed(folder: Path) -> None:
    """Remove the files that the mark lists, and the folders that are empty then; links are not followed."""
    parents = set()
    for name in _read_mark(folder).get("files", []):
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or "\0" in name:
            continue
        path = folder / inside
        above = [folder / each for each in inside.parents if each.parts]
        if path.is_dir() or any(each.is_symlink() for each in above):
            continue
        path.unlink(missing_ok=True)
        parents |= set(above)
    for parent in sorted(parents, key=lambda each: -len(each.parts)):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()


def _list_files(folder: Path) -> list[str]:
    """List the files at any depth, relative to the folder; the mark is not one of them."""
    found = [Path(place, name).relative_to(folder).as_posix() for place, _, names in os.walk(folder) for name in names]
    return [name for name in found if name != MARK]


def _unwritable(path: Path, error: Exception) -> ConfigError:
    why = getattr(error, "strerror", None) or error
    return ConfigError(f"output: {getattr(error, 'filename', None) or path} cannot be written ({why}); set output=PATH")
