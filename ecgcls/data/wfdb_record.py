"""A WFDB record, of one piece or of segments: which of its signals are where, and whether its files are whole."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ecgcls.data.wfdb_gain import describe_gains
from ecgcls.data.wfdb_header import Header, Signal, parse_header, read_bytes
from ecgcls.data.wfdb_samples import SignalFile, check_size, list_files, measure_frames
from ecgcls.errors import DataError

Choose = Callable[[Sequence[str]], Sequence[int]]
"""Gets the names of a file's signals, returns which to read, counted from 0, in the order wanted."""

MICROVOLT = {"nv": 1e-3, "uv": 1.0, "\u03bcv": 1.0, "mv": 1e3, "v": 1e6} | {
    f"{unit}{plural}": factor
    for unit, factor in {"nanovolt": 1e-3, "microvolt": 1.0, "millivolt": 1e3, "volt": 1e6}.items()
    for plural in ("", "s")
}
"""Microvolts of a unit, case-folded, which makes both micro signs (U+00B5, U+03BC) the second one."""
_MAX_FILLED = 0.05  # of a record: the longest end that a late signal may lack


class Part(NamedTuple):
    """A part of a record: all of it, or a segment."""

    path: str
    header: Header
    signals: tuple[Signal, ...]
    """All that the header describes."""
    n_samples: int
    files: list[SignalFile]
    order: list[int]
    """The chosen signals, by their numbers in the header."""

    @property
    def chosen(self) -> list[Signal]:
        """The signals that were asked for, in the order wanted."""
        return [self.signals[number] for number in self.order]

    @property
    def skew(self) -> int:
        """The latest of the chosen signals."""
        return max([signal.coding.skew for signal in self.chosen], default=0)

    @property
    def is_filled(self) -> bool:
        """Whether the ends that late signals lack are short enough to be filled with their last values."""
        return self.skew <= _MAX_FILLED * self.n_samples


class OpenRecord(NamedTuple):
    """A record whose files have been found to be as long as its header says."""

    parts: list[Part]
    n_samples: int
    sampling_rate_hz: float
    has_checksums: bool
    notes: tuple[str, ...]
    guesses: tuple[str, ...]
    """Those of the notes that stand for a sampling rate or a gain that the header does not say."""


def load_header(path: str) -> Header:
    """Parse the header of a record given by its path without ``.hea``; for segments, without their signals."""
    name = f"{path}.hea"
    return parse_header(read_bytes(name), name)


def read_header(path: Path) -> Header:
    """Read the header of a WFDB record, given by its path without an extension, but no sample.

    Returns
    -------
    Header
        With the signals of the layout or of the first segment where the record has segments, with the number of samples
        by the files' size where the header does not say it, and with notes on all gains.

    Raises
    ------
    DataError
        If it is not a header, or a file that it needs is missing.
    """
    header = _add_signals(load_header(str(path)), path)
    if not header.n_samples:
        n_samples = _measure(list_files(get_folder(path), header.signals, str(path)), str(path))
        header = header._replace(n_samples=n_samples, notes=(*header.notes, _describe_length(n_samples, header)))
    return header._replace(
        notes=(*header.notes, *_describe_gains(header.signals), *_describe_gains(header.signals, other=True))
    )


def list_named_files(path: Path) -> list[str]:
    """Return the names of the files that a record's header names: its signal files, or its segments' headers."""
    header = load_header(str(path))
    named = {*header.columns[0]} | {f"{segment.name}.hea" for segment in header.segments}
    return sorted(named - {"~", "~.hea"})


def open_record(path: Path, header: Header, choose: Choose) -> OpenRecord:
    """Find the signals of a loaded header that `choose` wants, and compare the size of every file with its header.

    Raises
    ------
    DataError
        If a file is missing, or is not as long as its header says; if a chosen signal has no voltage, or is not there
        throughout the record.
    """
    whole = _add_signals(header, path) if header.segments else header
    if not whole.signal_names:
        raise DataError(f"{path}: the header announces no signals")
    order = list(choose(whole.signal_names))
    if header.segments:
        parts = _open_segments(path, whole, order)
    else:
        parts = [_open_part(str(path), get_folder(path), header, order)]
    notes = [*header.notes, *_describe(parts)]
    n_samples = sum(part.n_samples for part in parts)
    if skew := parts[-1].skew:
        late = ", ".join(f"{each.name} by {each.coding.skew}" for each in parts[-1].chosen if each.coding.skew)
        if parts[-1].is_filled:
            notes.append(f"the file has {late} samples late: moved, and the end that it lacks is its last value")
        elif (n_samples := n_samples - skew) > 0:
            notes.append(f"cut to {n_samples} samples, in which all leads are there: the file has {late} samples late")
        else:
            raise DataError(f"{path}: signals late by {skew} samples in a record of {skew + n_samples}: none is left")
    has_checksums = all(None not in list_checksums(part.signals) for part in parts)
    guesses = [*header.notes, *(note for part in parts for note in _describe_gains(part.chosen))]
    told, guessed = tuple(dict.fromkeys(notes)), tuple(dict.fromkeys(guesses))
    return OpenRecord(parts, n_samples, header.sampling_rate_hz, has_checksums, told, guessed)


def get_folder(path: Path) -> str:
    """Return the folder of a record, with a separator at its end where it has one."""
    text = str(path)
    return text[: len(text) - len(path.name)]


def _add_signals(header: Header, path: Path) -> Header:
    """Fill in the signals of a record of segments from its layout, or else from its first segment."""
    if not header.segments:
        return header
    first = next((segment for segment in header.segments if segment.name != "~"), None)
    if first is None:
        raise DataError(f"{path}: no segment but gaps")
    return header._replace(columns=load_header(f"{get_folder(path)}{first.name}").columns)


def _measure(files: list[SignalFile], path: str) -> int:
    """Return the number of frames by the files' size."""
    if not files:
        raise DataError(f"{path}: the header names no signal file")
    return min(measure_frames(file) for file in files)


def _describe_length(n_samples: int, header: Header) -> str:
    return f"no length in the header: {n_samples} samples by the size of the file{header.other_length}"


def _open_part(path: str, folder: str, header: Header, order: list[int]) -> Part:
    signals = header.signals
    files = list_files(folder, signals, path)
    if not files:
        raise DataError(f"{path}: the header names no signal file")
    n_samples = header.n_samples or _measure(files, path)
    for file in files:
        check_size(file, n_samples)
    part = Part(path, header, signals, n_samples, files, order)
    for signal in part.chosen:
        if signal.coding.format == 0:
            raise DataError(f"{path}: missing samples: no signal file has {signal.name}")
        if signal.scale.unit.casefold() not in MICROVOLT:
            units = {each.scale.unit for each in part.chosen if each.scale.unit.casefold() not in MICROVOLT}
            raise DataError(f"{path}: the leads' unit must be mV, uV or V, got {', '.join(sorted(units))}")
    return part


def _open_segments(path: Path, whole: Header, order: list[int]) -> list[Part]:
    """Open the segments, all of which must have the chosen signals."""
    names = [whole.signal_names[number] for number in order]
    seen: set[str] = set()
    parts: list[Part] = []
    start = 0
    for segment in whole.segments:
        rate_hz = whole.sampling_rate_hz
        where = f"from {start / rate_hz:g} to {(start + segment.n_samples) / rate_hz:g} s"
        if not segment.n_samples:
            continue  # the layout
        if segment.name == "~":
            raise DataError(f"{path}: missing samples: a gap {where}; take out a part without gaps")
        if segment.name in seen:
            raise DataError(f"{path}: the segment {segment.name} is named twice")
        seen.add(segment.name)
        folder = get_folder(path)
        header = load_header(f"{folder}{segment.name}")
        if header.segments or header.n_samples not in (0, segment.n_samples):
            raise DataError(
                f"{path}: the segment {segment.name} must have {segment.n_samples} samples and no segments, "
                f"its header says {header.n_samples} samples, {len(header.segments)} segments"
            )
        if header.sampling_rate_hz != rate_hz and not header.notes:  # a note: it does not say
            raise DataError(f"{path}: {rate_hz:g} Hz, its segment {segment.name} {header.sampling_rate_hz:g} Hz")
        found = order
        if header.signal_names != whole.signal_names:
            lost = [name for name in names if header.signal_names.count(name) != 1]
            if lost:
                raise DataError(f"{path}: missing samples: no {', '.join(lost)} {where} (segment {segment.name})")
            found = [header.signal_names.index(name) for name in names]
        header = header._replace(n_samples=segment.n_samples)
        parts.append(_open_part(f"{folder}{segment.name}", folder, header, found))
        start += segment.n_samples
    if not parts:
        raise DataError(f"{path}: the segments have no samples")
    if any(part.skew for part in parts) and len(parts) > 1:
        raise DataError(f"{path}: missing samples: signals that come late (a skew) in a record of segments")
    return parts


def _describe_gains(signals: Sequence[Signal], *, other: bool = False) -> list[str]:
    return describe_gains([signal.name for signal in signals], [signal.scale for signal in signals], other=other)


def _describe(parts: list[Part]) -> list[str]:
    """Return the notes on what had to be assumed for the chosen signals, or changed."""
    notes = []
    for part in parts:
        notes += [*_describe_gains(part.chosen), *_describe_gains(part.chosen, other=True)]
        if not part.header.n_samples:
            notes.append(_describe_length(part.n_samples, part.header))
        checksums = [signal.checksum for signal in part.signals]
        if not any(checksums) and None not in checksums:
            notes.append("the checksums in the header are all 0: taken as not given")
        for n in sorted({signal.coding.samples_per_frame for signal in part.chosen} - {1}):
            names = [signal.name for signal in part.chosen if signal.coding.samples_per_frame == n]
            rate_hz = part.header.sampling_rate_hz
            notes.append(f"{', '.join(names)}: averaged from {n * rate_hz:g} to {rate_hz:g} Hz, the header's own rate")
    return notes


def list_checksums(signals: Sequence[Signal]) -> list[int | None]:
    """Return the checksums that a header gives; when all are 0, its writer did not compute them."""
    given = [signal.checksum for signal in signals if signal.coding.format]
    return given if any(given) else [None] * len(given)
