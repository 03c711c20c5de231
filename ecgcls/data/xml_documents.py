"""XML as devices and their exports write it, in a form that Python's parser takes.

An export may declare an encoding that is not its own (UTF-16, by programs that write the document into a text first),
or one that the parser does not know (GBK and others of several bytes). All of these have the characters of ASCII where
those of ASCII are, which is all that samples, ages and sexes need, so that the document is read as ISO-8859-1.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecgcls.errors import DataError

_DECLARATION = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^<>]*?\sencoding\s*=\s*["']([\w.:-]+)["'][^<>]*\?>""")
_KNOWN = (b"utf-8", b"iso-8859-1", b"us-ascii")
_LATIN = b'<?xml version="1.0" encoding="ISO-8859-1"?>'
_MAX_TAGS = 300_000  # with the attributes; each costs hundreds of bytes and microseconds, an ECG has some thousands
_MIN_TAG_BYTES = 4  # <a/>; an attribute has more: what is small cannot have so many


def declare_encoding(document: bytes) -> bytes:
    """Return a document, or its beginning, with an encoding that the parser takes."""
    found = _DECLARATION.match(document)
    if not found or found[1].lower() in _KNOWN:
        return document  # UTF-16 does not match
    return _LATIN + document[found.end() :]


@contextmanager
def open_document(path: Path) -> Iterator[Path]:
    """Yield the path of a document that the parser takes: the file itself, or a copy that is gone afterwards.

    Raises
    ------
    DataError
        If the file cannot be read, or has far more tags and attributes than an ECG.
    """
    try:
        document = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror})") from error
    is_small = len(document) < _MIN_TAG_BYTES * _MAX_TAGS
    if not is_small and (n_tags := document.count(b"<") + document.count(b"=")) > _MAX_TAGS:
        raise DataError(f"{path}: XML with {n_tags} tags and attributes, at most {_MAX_TAGS} are read")
    declared = declare_encoding(document)
    if declared is document:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ecgcls-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(declared)
        yield copy
