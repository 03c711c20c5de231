"""The header of a WFDB record: one parser for every layout, after header(5) [1]_.

What a header leaves open is taken as the standard says, and told in a note: a sampling rate of 250 Hz, and 200 units of
the converter per millivolt where a gain is 0 or missing ("uncalibrated"). A guess that could be wrong is an error: a
number that is not one, a file outside the record's folder. A negative gain is legal, the signal is inverted.

Real headers are taken as they are: a record line that names ``REC.mat``, base time and date in any spelling and order
(nothing here uses them), UTF-8 or Latin-1 text, a byte order mark, any line ends, fields left out before a description.

References
----------
.. [1] WFDB header format, https://physionet.org/physiotools/wag/header-5.htm
"""

import math
import re
from functools import lru_cache
from typing import NamedTuple

from ecgcls.data.regular_files import read_file
from ecgcls.data.wfdb_gain import GAIN, GAIN_FORM, NUMBER, Scale, parse_gain, show, take_per_volt
from ecgcls.data.wfdb_package import (
    add_other_reading,
    describe_other_length,
    describe_record_line,
    describe_signal_line,
)
from ecgcls.errors import DataError

MAX_SAMPLING_RATE_HZ = 1e6

_MAX_BYTES = 4_000_000  # more than a recording of months in a hundred thousand segments needs
_DEFAULT_RATE_HZ = 250.0
_RATE = re.compile(  # rate/counter_frequency(base_counter)
    rf"({NUMBER})(?:/[+-]?{NUMBER})?(?:\([+-]?{NUMBER}\))?", re.ASCII
)
_COUNT = re.compile(r"\d{1,15}", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,15}", re.ASCII)
_FORMAT = re.compile(r"(\d{1,4})(?:x0*([0-9]{1,6}))?(?::(\d{1,15}))?(?:\+(\d{1,15}))?", re.ASCII)
_TIME_OR_DATE = re.compile(r"\d+:\d+(?::\d+)?(?:\.\d+)?|\d{1,4}[-/.]\w{1,9}[-/.]\d{1,4}", re.ASCII)
_MAX_LINE = 1000
_NO_COLUMNS: tuple[tuple, ...] = ((),) * 7
_NO_NUMBER = re.compile(r"(nan|inf(inity)?)(\W.*)?", re.IGNORECASE)  # after which a gain was meant, not a name
_SPACES = bytes(c if (c >= 32 and c != 127) or c in b"\n\r" else 32 for c in range(256))  # for control characters


class Coding(NamedTuple):
    """How the samples of a signal lie in its file."""

    format: int
    samples_per_frame: int
    skew: int
    """The signal comes late by this number of frames: its first ones are older than those of the others."""
    offset: int
    """Bytes before the first sample (in FLAC formats: samples)."""


class Signal(NamedTuple):
    """A signal line of a header."""

    file_name: str
    """Of the samples, in the record's own folder; ``~`` if there are none."""
    coding: Coding
    scale: Scale
    initial_value: int
    checksum: int | None
    block_size: int
    name: str


class Segment(NamedTuple):
    """A segment line of a header."""

    name: str
    """Of the record that is this part, in the same folder; ``~`` for a gap."""
    n_samples: int


class Header(NamedTuple):
    """What a header says."""

    n_samples: int
    """Per signal, in frames; 0 if the header does not say, as in the standard."""
    sampling_rate_hz: float
    columns: tuple[tuple, ...]
    """The signals' file names, codings, and so on: the fields of `Signal`, each over all signals. Rows take longer."""
    segments: tuple[Segment, ...]
    """Empty if the record is of one piece."""
    notes: tuple[str, ...]
    """What had to be taken from the standard because the header leaves it out."""
    other_length: str = ""
    """If the header says no number of samples: which one the wfdb package reads all the same, to end a note with."""

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signal lines."""
        return tuple(map(Signal, *self.columns))

    @property
    def signal_names(self) -> tuple[str, ...]:
        """The names in the file's order."""
        return self.columns[-1]


def read_bytes(name: str) -> bytes:
    """Return the content of a header file; DataError if it cannot be read, or is too large for a header."""

    def check(size: int) -> None:
        if size > _MAX_BYTES:
            raise DataError(f"{name}: not a WFDB header: {size} bytes, expected at most {_MAX_BYTES}")

    return read_file(name, "header", check)


def parse_header(data: bytes, path: str) -> Header:
    """Parse a header; `path` names it in errors. The signals of a record of segments are left to the caller.

    Raises
    ------
    DataError
        If it is not a header, or says something that cannot be.
    """
    if b"\0" in data:
        raise DataError(f"{path}: not a WFDB header (a binary file?)")
    lines = [line for each in _decode(data).split("\n") if (line := each.strip()) and line[0] != "#"]
    if not lines or (len(data) > _MAX_LINE and max(map(len, lines)) > _MAX_LINE):
        raise DataError(f"{path}: not a WFDB header ({'a line of many characters' if lines else 'no record line'})")
    line, read_as_wfdb = lines[0], describe_record_line
    try:
        n_segments, n_signals, rate_hz, n_samples, notes = _parse_record_line(line)
        n_lines = n_signals if n_segments is None else n_segments
        if n_lines != len(lines) - 1:
            what = "signals" if n_segments is None else "segments"
            reason = f"{n_lines} {what} are announced, {len(lines) - 1} lines describe some"
            raise DataError(f"{path}: not a WFDB header: {reason}, in the line {show(line, 60)}")
        if n_segments is None:
            read_as_wfdb = describe_signal_line
            columns = _parse_alike_lines(lines[1:])
            if columns is None:
                rows = []
                for line in lines[1:]:
                    rows.append(_parse_signal_line(line))
                columns = tuple(zip(*rows, strict=True)) or _NO_COLUMNS
            codings, scales = columns[1:3]
            columns = (columns[0], codings, take_per_volt(scales, [coding.format for coding in codings]), *columns[3:])
            other_length = "" if n_samples else describe_other_length(lines[0])
            return Header(n_samples, rate_hz, columns, (), notes, other_length)
        segments = []
        for line in lines[1:]:
            segments.append(_parse_segment_line(line))
    except DataError:
        raise
    except ValueError as error:
        other = read_as_wfdb(line) if line is lines[0] or read_as_wfdb is describe_signal_line else ""
        raise DataError(f"{path}: not a WFDB header: {error}, in the line {show(line, 60)}{other}") from error
    n_in_segments = sum(segment.n_samples for segment in segments)
    if n_samples not in (0, n_in_segments):
        raise DataError(f"{path}: {n_samples} samples are announced, the segments have {n_in_segments}")
    return Header(n_in_segments, rate_hz, _NO_COLUMNS, tuple(segments), notes)


def _decode(data: bytes) -> str:
    """Decode UTF-8, line by line Latin-1 where it is not, with plain line ends and without control characters."""
    if data[:3] == b"\xef\xbb\xbf":
        data = data[3:]
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data = data.translate(_SPACES)
    if data.isascii():
        return data.decode("ascii")
    lines = []
    for line in data.split(b"\n"):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            lines.append(line.decode("latin-1"))
    text = "\n".join(lines)
    return "".join([character if character.isprintable() or character == "\n" else " " for character in text])


def _parse_record_line(line: str) -> tuple[int | None, int, float, int, tuple[str, ...]]:
    """Return the numbers of segments and signals, the sampling rate, the number of samples, and notes."""
    name, *rest = line.split(None, 1)
    if not rest:
        raise ValueError("a record line has a name and a number of signals")
    _, slash, segments = name.rpartition("/")
    n_segments = _parse_count(segments, "the number of segments") if slash else None
    n_signals, rate_hz, n_samples, notes = _parse_lengths(rest[0])
    return n_segments, n_signals, rate_hz, n_samples, notes


@lru_cache
def _parse_lengths(text: str) -> tuple[int, float, int, tuple[str, ...]]:
    fields = text.split(None, 3)  # what follows, base time and date, is not used
    n_signals = _parse_count(fields[0], "the number of signals")
    notes = []
    if len(fields) < 2:
        rate_hz = _DEFAULT_RATE_HZ
        notes.append(f"no sampling rate in the header: taken as {rate_hz:g} Hz")
    else:
        found = _RATE.fullmatch(fields[1])
        rate_hz = float(found[1]) if found else math.nan
        if not 0 < rate_hz <= MAX_SAMPLING_RATE_HZ:
            raise ValueError(
                f"the sampling rate must be a number above 0 and at most {MAX_SAMPLING_RATE_HZ:.0f} Hz, "
                f"got {show(fields[1])}"
            )
    n_samples = 0
    if len(fields) > 2 and not _TIME_OR_DATE.fullmatch(fields[2]):
        n_samples = _parse_count(fields[2], "the number of samples")
    return n_signals, rate_hz, n_samples, tuple(notes)


def _parse_alike_lines(lines: list[str]) -> tuple[tuple, ...] | None:
    """Parse all signal lines at once if each has its nine fields of one word, as most headers; else None."""
    fields = " ".join(lines).split()
    if not fields or len(fields) != 9 * len(lines):
        return None
    file_names, formats, gains, resolutions, zeros, initial, checksums, blocks, names = [fields[n::9] for n in range(9)]
    if not all(map(str.startswith, lines, file_names)):
        return None
    try:
        for name in {*file_names}:
            _check_file_name(name)
        codings, scales, block_sizes = _parse_alike(*map(tuple, (formats, gains, resolutions, zeros, blocks)))
        first_values, sums = tuple(map(int, initial)), tuple(map(int, checksums))
    except ValueError:
        return None
    return tuple(file_names), codings, scales, first_values, sums, block_sizes, tuple(names)


def _parse_signal_line(line: str) -> Signal:
    # file, format, gain, resolution, zero, initial value, checksum, block size, description
    fields = line.split(None, 8)
    _check_file_name(fields[0])
    try:  # all nine, as nearly every line has
        file_name, format_, gain, resolution, zero, initial, checksum, block, name = fields
        (coding,), (scale,), (block_size,) = _parse_alike((format_,), (gain,), (resolution,), (zero,), (block,))
        return Signal(file_name, coding, scale, int(initial), int(checksum), block_size, name)
    except ValueError:
        pass  # fields are left out, or something is wrong
    if len(fields) < 2:
        raise ValueError("a signal line has a file and a format")
    coding = _parse_format(fields[1])
    gains, numbers, names = _split_short(line, fields)
    padded: list[int | None] = [*numbers, *(None,) * (5 - len(numbers))]
    n_bits, adc_zero, initial_value, sum_, size = padded
    if (n_bits or 0) < 0:
        raise ValueError(f"the resolution must be 0 bits or more, got {n_bits}")
    given = " ".join([*gains, *fields[3 : 3 + len(numbers[:2])]])
    scale = _parse_scale("".join(gains), adc_zero or 0, given)
    return Signal(fields[0], coding, scale, initial_value or 0, sum_, size or 0, names[0] if names else "(no name)")


@lru_cache
def _parse_alike(
    formats: tuple[str, ...],
    gains: tuple[str, ...],
    resolutions: tuple[str, ...],
    zeros: tuple[str, ...],
    block_sizes: tuple[str, ...],
) -> tuple[tuple[Coding, ...], tuple[Scale, ...], tuple[int, ...]]:
    """Parse, signal by signal, what the records of a data set mostly have in common."""
    if not all(map(_INTEGER.fullmatch, (*resolutions, *zeros, *block_sizes))) or min(map(int, resolutions)) < 0:
        raise ValueError("a field is left out, or wrong")
    codings = tuple(map(_parse_format, formats))
    scales = [
        _parse_scale(gain, int(zero), f"{gain} {resolution} {zero}")
        for gain, resolution, zero in zip(gains, resolutions, zeros, strict=True)
    ]
    return codings, tuple(scales), tuple(map(int, block_sizes))


def _parse_scale(gain: str, zero: int, fields: str) -> Scale:
    return add_other_reading(parse_gain(gain, zero), fields)


def _split_short(line: str, fields: list[str]) -> tuple[list[str], list[int], list[str]]:
    """Return gain, the integers and the description of a signal line with fields left out."""
    for position, field in enumerate(fields[2:8], start=2):
        if _starts_description(field, GAIN if position == 2 else _INTEGER):
            return fields[2:position][:1], [*map(int, fields[3:position])], [line.split(None, position)[position]]
    return fields[2:3], [*map(int, fields[3:8])], fields[8:]


def _starts_description(field: str, pattern: re.Pattern[str]) -> bool:
    """Whether a field is a word of a description; ValueError if it is a number gone wrong."""
    if pattern.fullmatch(field):
        return False
    if not (field[0].isalpha() or field[0] == "_") or _NO_NUMBER.fullmatch(field):
        expected = f"the gain must be {GAIN_FORM}" if pattern is GAIN else "expected a whole number"
        raise ValueError(f"{expected}, got {show(field)}")
    return True


def _check_file_name(name: str) -> None:
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError(f"a file must lie in the record's own folder, got {show(name)}")


def _parse_format(field: str) -> Coding:
    """Parse ``16x2:30+24``: format, samples per frame, skew, offset."""
    found = _FORMAT.fullmatch(field)
    if found is None or found[2] == "0":
        raise ValueError(f"the format must be like 16, 16x2 or 16+24, got {show(field)}")
    return Coding(int(found[1]), int(found[2] or 1), int(found[3] or 0), int(found[4] or 0))


def _parse_segment_line(line: str) -> Segment:
    fields = line.split()
    if len(fields) != 2:
        raise ValueError("a segment line has a name and a number of samples")
    _check_file_name(fields[0])
    return Segment(fields[0], _parse_count(fields[1], "the number of samples"))


def _parse_count(field: str, what: str) -> int:
    if not _COUNT.fullmatch(field):
        raise ValueError(f"{what} must be a whole number, got {show(field)}")
    return int(field)
