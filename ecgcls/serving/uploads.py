"""A form with files, received: nothing of it is believed, and none of it is on disk."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ecgcls.files import printable
from ecgcls.serving.limits import Limits, Place, Refused

_FILE = "file"
_MAX_FIELDS = 50
_MAX_FIELD_BYTES = 65_536
_MAX_NAME_BYTES = 200
_MAX_FOLDERS = 8


@dataclass(frozen=True, eq=False)
class Upload:
    """What a form holds."""

    files: dict[str, bytes]
    """By name, which may have folders and leads out of none."""
    fields: dict[str, list[str]]


class _Parser(MultiPartParser):
    """Keeps files in memory, which their number and size allow, and knows whether the end of the form was reached."""

    is_complete = False

    def on_end(self) -> None:
        self.is_complete = True


async def receive(request: Request, limits: Limits, place: Place) -> Upload:
    """Receive a request's form; its size is bounded while it comes, whatever its header announces.

    Raises
    ------
    Refused
        If it is no form, too large, too slow, damaged or cut off, or has no file, or files of impossible names.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise Refused(415, "expected a form, multipart/form-data, with the recording as its field file")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limits.max_bytes:
        raise _too_large(limits)
    parser = _Parser(
        request.headers,
        _limit(request, limits, place),
        max_files=limits.max_files,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    parser.spool_max_size = limits.max_bytes + 1
    try:
        async with asyncio.timeout(10 * limits.patience_s):
            form = await parser.parse()
    except TimeoutError as error:
        raise Refused(408, f"the request took longer than {10 * limits.patience_s:g} s") from error
    except MultiPartException as error:
        raise Refused(400, f"the form cannot be read: {printable(error.message)[:200]}") from error
    if not parser.is_complete:
        await form.close()
        raise Refused(400, "the form is cut off: its last boundary is missing")
    return await _collect(form.multi_items())


async def _limit(request: Request, limits: Limits, place: Place) -> AsyncGenerator[bytes, None]:
    """Yield the parts of a request as they come, up to a size and as long as they come in time."""
    stream = request.stream()
    n_bytes = 0
    while True:
        try:
            async with asyncio.timeout(limits.patience_s):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise Refused(408, f"nothing came for {limits.patience_s:g} s") from error
        if chunk is None:
            return
        n_bytes += len(chunk)
        if n_bytes > limits.max_bytes:
            raise _too_large(limits)
        place.take(len(chunk))
        yield chunk


async def _collect(items: list[tuple[str, Any]]) -> Upload:
    files: dict[str, bytes] = {}
    fields: dict[str, list[str]] = {}
    for key, value in items:
        if isinstance(value, UploadFile):
            if key != _FILE:
                raise Refused(400, f"a file must be the field {_FILE}, got {printable(key)[:100]!r}")
            name = check_name(value.filename or "")
            if name in files:
                raise Refused(400, f"two files are called {printable(name)}: send them one by one, or with folders")
            files[name] = await value.read()
            await value.close()
        elif key == _FILE:
            raise Refused(400, f"the field {_FILE} must be a file with a name, got a text")
        else:
            fields.setdefault(key, []).append(value)
    if not files:
        raise Refused(400, f"no file: expected at least one as the field {_FILE}")
    return Upload(files, fields)


def check_name(name: str) -> str:
    """Return a file's name, ``folder/file`` at most, in its plain spelling.

    Raises
    ------
    Refused
        If it is absolute, leads out of its folder, or is no name that a file can have everywhere.
    """
    parts = PurePosixPath(name).parts
    is_plain = name.isprintable() and not any(character in name for character in '\\:*?"<>|')
    is_inside = parts and not name.startswith("/") and ".." not in parts and len(parts) <= _MAX_FOLDERS
    try:
        is_short = all(len(part.encode()) <= _MAX_NAME_BYTES for part in parts)
    except UnicodeEncodeError:  # half a character
        is_short = False
    if not (is_plain and is_inside and is_short):
        raise Refused(400, f"not a name for a file: {printable(name)[:100]!r}")
    return "/".join(parts)


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"too large: at most {limits.max_upload_mb:g} MB are taken in one request (max_upload_mb)")
