"""One recording out of any file: what a file is, by its content, and who reads it.

WFDB records are read by our own code (`wfdb_record`), files of devices through `ecgdatakit` (`device_files`), tables of
samples by `sample_tables`. Names and extensions say nothing: one extension, ``.xml``, stands for three formats, and
DICOM files often have none.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from ecgcls.data.device_files import read_device_file
from ecgcls.data.recordings import Recording
from ecgcls.data.regular_files import measure_file
from ecgcls.data.sample_tables import has_leads, read_table
from ecgcls.data.xml_documents import declare_encoding
from ecgcls.errors import DataError

_HEAD_BYTES = 65_536  # read to find out what a file is
_ROOT_BYTES = 4096  # of these, in which the root element of XML stands
_MUSE, _SIERRA, _AECG = "GE MUSE XML", "Philips Sierra XML", "HL7 aECG"
_SCP, _DICOM, _EDF, _ISHNE, _CSV = "SCP-ECG", "DICOM", "EDF", "ISHNE", "CSV"
_ROOTS = {"restingecg": _MUSE, "restingecgdata": _SIERRA, "annotatedecg": _AECG}
_MAX_BYTES = {_SIERRA: 8_000_000, _MUSE: 64_000_000, _AECG: 64_000_000}  # XML needs a multiple of its size as memory
_MAX_OTHER_BYTES = 512_000_000
FORMATS = (_MUSE, _SIERRA, _AECG, _SCP, _DICOM, _EDF, _ISHNE, _CSV)
"""What is read beside WFDB."""
READ = f"WFDB, {', '.join(FORMATS[:-1])}, and CSV with the leads as columns"
"""The same as words of a message."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"  # a transfer syntax of DICOM, of which a small file may become gigabytes
_OTHERS = {
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"PK\x03\x04": "a ZIP file: unpack it first",
    b"%PDF": "a PDF document: export the ECG as data",
    b"\x89PNG": "a picture: export the ECG as data",
    b"\xff\xd8\xff": "a picture: export the ECG as data",
    b"\xffBIOSEMI": "BDF, the 24-bit form of EDF, which is not read",
    b"MATLAB": "a MATLAB file; a WFDB record would have a header (.hea) beside it",
}


SUFFIXES = (".xml", ".dcm", ".dicom", ".scp", ".edf", ".ecg", ".bdf", ".gz")
"""Of files that are taken for ECGs, and refused by name if they are none."""
_HEADER = ".hea"


class Content(NamedTuple):
    """What a file is."""

    format: str | None
    """One of `FORMATS`; None: none of them."""
    reason: str = ""
    """Why none, in words."""


def recognize(path: Path) -> str | None:
    """Return which of `FORMATS` a file is, by its content; None for any other, and for what is no regular file."""
    try:
        return identify(path).format
    except DataError:
        return None


def is_wfdb(path: Path) -> bool:
    """Whether a path names a WFDB record, with or without an extension, rather than a file that is read here.

    A file beside a header of its name belongs to the record only if it is in none of `FORMATS`.
    """
    text = str(path)
    if not os.path.exists(text):  # noqa: PTH110 (a text: records without an extension are many, and this is fast)
        return path.suffix.lower() not in SUFFIXES or os.path.exists(text + _HEADER)  # noqa: PTH110
    if path.suffix == _HEADER:
        return True
    headers = (text + _HEADER, f"{text.removesuffix(path.suffix)}{_HEADER}")
    return any(map(os.path.exists, headers)) and recognize(path) is None


def identify(path: Path) -> Content:
    """Look what a file is, by at most its first 64 KiB; DataError if it cannot be read or is no regular file."""
    if not measure_file(str(path), "file"):
        return Content(None, "an empty file")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror})") from error
    return _identify(head)


def read_file(path: Path) -> Recording:
    """Read one recording out of a file in one of `FORMATS`.

    Raises
    ------
    DataError
        If the file is none of them, is too large, damaged or truncated, the library that reads it is not installed, or
        what it holds is no ECG.
    """
    content = identify(path)
    if content.format is None:
        raise DataError(f"{path}: no ECG in a known format: {content.reason}; read are {READ}")
    limit = _MAX_BYTES.get(content.format, _MAX_OTHER_BYTES)
    if (size := measure_file(str(path), "file")) > limit:
        raise DataError(f"{path}: {content.format} of {size / 1e6:.0f} MB, at most {limit / 1e6:.0f} MB are read")
    return read_table(path) if content.format == _CSV else read_device_file(path, content.format)


def _identify(head: bytes) -> Content:
    if head[128:132] == b"DICM":
        return (
            Content(None, "DICOM as a deflated stream: store it again uncompressed")
            if _DEFLATED in head
            else Content(_DICOM)
        )
    if head[:8] == b"ISHNE1.0":
        return Content(_ISHNE)
    if head[:8] == b"0       " and head[236:256].isascii() and head[252:256].strip().isdigit():
        return Content(_EDF)
    if _is_scp(head):
        return Content(_SCP)
    for start, what in _OTHERS.items():
        if head.startswith(start):
            return Content(None, what)
    if re.match(rb"(\xef\xbb\xbf)?\s*<|\xff\xfe\s*<|(\xfe\xff)?(\0\s)*\0<", head):
        return _identify_xml(head)
    return Content(_CSV) if has_leads(head) else Content(None, "its content is unknown")


def _is_scp(head: bytes) -> bool:
    """Whether the first pointer of section 0 names section 0 itself, at byte 7 (EN 1064)."""
    return len(head) >= 32 and head[8:10] == b"\0\0" == head[22:24] and head[28:32] == b"\x07\0\0\0"


class _Stop(Exception):
    """The parser has seen enough."""


def _identify_xml(head: bytes) -> Content:
    """Name the root element; a document that declares entities is refused before any of them is expanded."""
    found: list[str] = []
    parser = expat.ParserCreate()

    def start(name: str, _: dict[str, str]) -> None:
        found.append(name)
        raise _Stop

    def declare(*_: object) -> None:
        raise _Stop

    parser.StartElementHandler = start
    parser.EntityDeclHandler = declare
    try:
        document = declare_encoding(head)
        parser.Parse(document[:_ROOT_BYTES], False)  # which is nearly always enough
        parser.Parse(document[_ROOT_BYTES:], False)
    except _Stop:
        if not found:
            return Content(None, "XML that declares entities, which may be harmful, and which no device writes")
    except expat.ExpatError as error:
        # An encoding that is declared wrongly, as some exports do: the library tries others.
        found += re.findall(r"<(?:\w+:)?(\w+)[\s>]", head.replace(b"\0", b"").decode("latin-1"))[:1]
        if not found:
            return Content(None, f"damaged XML ({error})")
    root = found[0].rpartition(":")[2] if found else ""
    format = _ROOTS.get(root.casefold())
    return Content(format, "" if format else f"XML whose root element is {root or 'not to be found'}")
