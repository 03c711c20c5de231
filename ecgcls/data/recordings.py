"""A recording from any device, checked and converted to what a net takes.

A net takes standard leads in one order, one sampling rate and one length, in mV. What differs is repaired if that
needs no guess, and every repair is reported:

- leads are matched by name and put in order, other signals are left out;
- missing limb leads are derived (`limb_leads`);
- another sampling rate is resampled by a polyphase filter, which prevents aliasing;
- a longer recording is cut into windows; the last one ends with the recording, so that no sample is left out.

What is doubtful in a recording's scale or content (`content`) is reported, too, or refused where that is asked.
Anything else is an error: a missing lead that the net needs, missing samples, a recording that is too short.

A recording may come in consecutive blocks, so that one of a day needs no more memory than one of some minutes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.content import LOST, inspect_content
from ecgcls.data.lead_names import find_available, find_needed, list_names, put_leads_in_order, standardize_names
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.resampling import cut_blocks, resample_blocks
from ecgcls.data.signal_checks import MIN_RANGE_MV, as_signal, check_range, check_rate, check_values
from ecgcls.data.signals import Record, iter_leads, read_leads, strip_extension, to_millivolt
from ecgcls.errors import ConfigError, DataError

MIN_RECORDED_S = 1.0
"""Of a record that is padded: below it there may be no beat."""
_MIN_BLOCK_S = 5.0  # the end of a recording says too little by itself

Repairs = Literal["note", "refuse_doubtful", "refuse"]
"""What happens to a recording that is repaired or doubtful.

``refuse_doubtful`` refuses one of doubtful scale or content, ``refuse`` also one whose samples are not those that were
recorded."""
AS_RECORDED = re.compile(r"leads put in order$|left out |cut (into|to the first|off the (first|last)) |without ")
"""Repairs that leave the samples that are used as they were recorded: these are always just noted."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording as found in a file, or a block of one."""

    signal_mv: NDArray[np.floating]
    """``(lead, sample)``."""
    sampling_rate_hz: float
    lead_names: tuple[str, ...]
    """The name of each row, as in the file."""
    left_out: tuple[str, ...] = ()
    """Names of further signals in the file that were not read."""
    notes: tuple[str, ...] = ()
    """What had to be assumed to read it, in words."""
    guesses: tuple[str, ...] = ()
    """Those of the notes that are guesses, such as a gain that the file does not say, or doubts about the file."""
    has_checksums: bool = False
    """Whether the file carried checksums, which have been verified."""
    patient: Mapping[str, float] = field(default_factory=dict)
    """What the file itself says of the patient: ``age`` in years, ``sex`` (0 is male, 1 female), if known."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A recording in the form that a net takes, or a part of one."""

    windows_mv: NDArray[np.float32]
    """``(window, lead, sample)``; a lead that the recording lacks is nan."""
    starts_s: tuple[float, ...]
    """When each window starts."""
    repairs: tuple[str, ...]
    """What was changed or is doubtful, in plain language and in order; empty if nothing is."""
    doubts: tuple[str, ...] = ()
    """Those of the repairs that are doubts about scale or content."""
    lost: tuple[str, ...] = ()
    """Those of the doubts that say that a part of the ECG is not there: flat, constant or saturated."""


def read_recording(path: Path, *, lead_names: Sequence[str] = LEADS) -> Recording:
    """Read the standard leads of a WFDB record (a path with or without an extension) or of a file of `data.formats`.

    Of a WFDB record only those are read, and checked, that are wanted, or from which these may be derived.

    Raises
    ------
    DataError
        If a file is missing, truncated or damaged, a lead's unit is not a voltage, or a sample is missing.
    """
    if (other := _read_other(path)) is not None:
        return other
    named = _Named(lead_names)
    return named.make(read_leads(strip_extension(path), named.choose))


def iter_recording(path: Path, *, block_s: float = 600.0, lead_names: Sequence[str] = LEADS) -> Iterator[Recording]:
    """Read a record as `read_recording`, in consecutive blocks; a checksum that is wrong is told by the last step.

    Only a WFDB record is never in memory as a whole.
    """
    if (other := _read_other(path)) is not None:
        yield from _cut(other, block_s)
        return
    named = _Named(lead_names)
    for record in iter_leads(strip_extension(path), named.choose, block_s=block_s):
        yield named.make(record)


def _read_other(path: Path) -> Recording | None:
    """Read a file that is no WFDB record; None if it is one."""
    from ecgcls.data import formats  # which makes recordings

    return None if formats.is_wfdb(path) else formats.read_file(path)


def _cut(recording: Recording, block_s: float) -> Iterator[Recording]:
    """Yield a recording in consecutive blocks."""
    n, size = recording.signal_mv.shape[1], max(1, round(block_s * check_rate(recording.sampling_rate_hz)))
    for start in range(0, max(n, 1), size):
        yield replace(recording, signal_mv=recording.signal_mv[:, start : start + size])


class _Named:
    """Chooses the signals of a WFDB record that are to be read, and keeps their names."""

    def __init__(self, lead_names: Sequence[str]) -> None:
        self._wanted = lead_names
        self._read: tuple[str, ...] = ()
        self._left_out: tuple[str, ...] = ()

    def choose(self, given: Sequence[str]) -> list[int]:
        """Return which signals to read."""
        standard = standardize_names(tuple(given))
        if not any(standard):
            raise DataError(f"no standard lead ({LEADS[0]}, {LEADS[1]}, ... {LEADS[-1]}), got {list_names(given)}")
        needed = find_needed(standard, self._wanted)
        numbers = [number for number, name in enumerate(standard) if name in needed]
        self._read = tuple(given[number] for number in numbers)
        self._left_out = tuple(name for name, known in zip(given, standard, strict=True) if not known)
        return numbers

    def make(self, record: Record) -> Recording:
        """Return what was read as a recording."""
        return Recording(
            signal_mv=to_millivolt(record.signal_uv),
            sampling_rate_hz=record.sampling_rate_hz,
            lead_names=self._read,
            left_out=self._left_out,
            notes=record.notes,
            guesses=record.guesses,
            has_checksums=record.has_checksums,
        )


def prepare(
    recording: Recording,
    *,
    lead_names: Sequence[str],
    sampling_rate_hz: float,
    n_samples: int,
    repairs: Repairs = "note",
    may_lack: bool = False,
    pads: bool = False,
) -> Prepared:
    """Check a recording and convert it to what a net takes: these leads, this sampling rate and number of samples.

    With `may_lack` a recording without some of the leads can be used, whose rows are then nan; with `pads` a shorter
    one, which is filled up with the mean of each lead.

    Raises
    ------
    DataError
        If a lead is missing and cannot be derived, or is given twice; if a sample is missing or not plausible in mV;
        if all leads are flat; if the sampling rate is invalid; if the recording is too short; and if it is doubtful or
        repaired, where `repairs` refuses that.
    """
    parts = list(
        prepare_blocks(
            [recording],
            lead_names=lead_names,
            sampling_rate_hz=sampling_rate_hz,
            n_samples=n_samples,
            repairs=repairs,
            may_lack=may_lack,
            pads=pads,
        )
    )
    windows = [part.windows_mv for part in parts if len(part.windows_mv)]
    return Prepared(
        windows[0] if len(windows) == 1 else np.concatenate(windows),
        tuple(start for part in parts for start in part.starts_s),
        tuple(repair for part in parts for repair in part.repairs),
        tuple(doubt for part in parts for doubt in part.doubts),
        tuple(doubt for part in parts for doubt in part.lost),
    )


def prepare_blocks(
    blocks: Iterable[Recording],
    *,
    lead_names: Sequence[str],
    sampling_rate_hz: float,
    n_samples: int,
    repairs: Repairs = "note",
    may_lack: bool = False,
    pads: bool = False,
) -> Iterator[Prepared]:
    """Do as `prepare` for a recording in consecutive blocks; its windows come as soon as they are complete.

    The last part has no window, but the repairs of the whole recording.
    """
    checked = _Checked(blocks, lead_names, repairs, may_lack=may_lack)
    signals: Iterable[NDArray[Any]] = checked
    rate_hz = checked.rate_hz
    if rate_hz != sampling_rate_hz:
        signals = resample_blocks(checked, from_hz=rate_hz, to_hz=sampling_rate_hz)
    n_windows, short = 0, _Short(signals, n_samples)
    for firsts, windows_mv in cut_blocks(short, n_samples):
        n_windows += len(firsts)
        yield Prepared(windows_mv, tuple(first / sampling_rate_hz for first in firsts), ())
    told, doubts, lost = checked.conclude()
    duration_s, found_s = n_samples / sampling_rate_hz, checked.n_samples / rate_hz
    is_padded = not n_windows and pads and found_s >= min(MIN_RECORDED_S, duration_s)
    if is_padded:
        yield Prepared(short.pad(), (0.0,), ())
    elif not n_windows:
        raise DataError(f"too short: {found_s:g} s, the net needs {duration_s:g} s")
    if rate_hz != sampling_rate_hz:
        told.append(f"resampled from {rate_hz:g} to {sampling_rate_hz:g} Hz")
    if is_padded:
        told.append(f"padded from {found_s:g} to {duration_s:g} s with the mean of each lead")
    if n_windows > 1:
        told.append(f"cut into {n_windows} windows of {duration_s:g} s, whose probabilities are averaged")
    if repairs == "refuse" and (changed := [note for note in told if not AS_RECORDED.match(note)]):
        raise DataError(f"refused, as repairs=refuse asks: {changed[0]}")
    yield Prepared(np.empty((0, len(lead_names), n_samples), np.float32), (), tuple(told), doubts, lost)


class _Short:
    """Blocks ``(lead, sample)``, which are kept as long as they do not fill a window, to be padded."""

    def __init__(self, blocks: Iterable[NDArray[Any]], n_samples: int) -> None:
        self._blocks, self._n_samples, self._kept = blocks, n_samples, np.empty((0, 0))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        n_seen = 0
        for block in self._blocks:
            n_seen += block.shape[1]
            if n_seen < self._n_samples:
                self._kept = np.concatenate([self._kept, block], axis=1) if self._kept.size else block.copy()
            yield block

    def pad(self) -> NDArray[np.float32]:
        """Return one window ``(1, lead, sample)``, filled up with the mean of each lead, as in the store."""
        n_missing = self._n_samples - self._kept.shape[1]
        filling = np.repeat(self._kept.mean(axis=1, dtype=np.float64)[:, None], n_missing, axis=1)
        return np.concatenate([self._kept, filling], axis=1)[None].astype(np.float32)


class _Checked:
    """The leads of a recording's blocks, ``(lead, sample)``, in the order wanted, checked; and what is to be told."""

    def __init__(
        self, blocks: Iterable[Recording], lead_names: Sequence[str], repairs: Repairs, *, may_lack: bool
    ) -> None:
        if repairs not in get_args(Repairs):
            raise ConfigError(f"repairs must be {' or '.join(get_args(Repairs))}, got {repairs!r}")
        self._blocks = iter(blocks)
        self._lead_names, self._repairs, self._may_lack = lead_names, repairs, may_lack
        self._first = next(self._blocks, None)
        if self._first is None:
            raise DataError("the recording has no sample")
        self.rate_hz = check_rate(self._first.sampling_rate_hz)
        self.n_samples = 0
        self._range_mv = 0.0
        self._changes: list[str] = []
        self._doubts: dict[str, list[str]] = {}  # by check, a note for each block
        self._n_blocks = 0

    def __iter__(self) -> Iterator[NDArray[np.floating]]:
        block = self._first
        while block is not None:
            wanted = self._lead_names
            if self._may_lack:
                wanted = find_available(block.lead_names, wanted) or wanted
            signal, changes = put_leads_in_order(
                as_signal(block.signal_mv, block.lead_names), block.lead_names, wanted, block.left_out
            )
            if absent := [name for name in self._lead_names if name not in wanted]:
                changes.append(f"without {', '.join(absent)}, as the net has learned to do")
            changes = [*(note for note in block.notes if note not in block.guesses), *changes]
            self._changes = list(dict.fromkeys([*self._changes, *changes]))
            for guess in block.guesses:
                self._doubts.setdefault(guess, [guess])
            self._inspect(signal, wanted)
            yield _spread(signal, wanted, self._lead_names)
            block = next(self._blocks, None)

    def _inspect(self, signal: NDArray[np.floating], lead_names: Sequence[str]) -> None:
        self._range_mv = max(self._range_mv, check_values(signal, lead_names))
        if not self._n_blocks or signal.shape[1] >= _MIN_BLOCK_S * self.rate_hz:
            doubts = inspect_content(signal, lead_names, self.rate_hz, start_s=self.n_samples / self.rate_hz)
            for check, note in doubts.items():
                self._doubts.setdefault(check, []).append(note)
        if self._range_mv >= MIN_RANGE_MV:  # else `conclude` has more to say
            self._refuse()
        self.n_samples += signal.shape[1]
        self._n_blocks += 1

    def _refuse(self) -> None:
        if self._repairs != "note" and self._doubts:
            note = next(iter(self._doubts.values()))[0]
            raise DataError(f"refused, as repairs={self._repairs} asks: {note}")

    def conclude(self) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
        """Refuse what has no ECG at all; return what is to be told, what of it is doubt, and what of that is loss."""
        check_range(self._range_mv)
        self._refuse()
        doubts, lost = [], []
        for check, notes in self._doubts.items():
            more = f" (and alike in {len(notes) - 1} of {self._n_blocks - 1} other parts)" if len(notes) > 1 else ""
            doubts.append(notes[0] + more)
            lost += doubts[-1:] if check in LOST else []
        return [*self._changes, *doubts], tuple(doubts), tuple(lost)


def _spread(signal: NDArray[np.floating], lead_names: Sequence[str], wanted: Sequence[str]) -> NDArray[np.floating]:
    """Give leads that are not there a row of nan."""
    if len(lead_names) == len(wanted):
        return signal
    whole = np.full((len(wanted), signal.shape[1]), np.nan, np.result_type(signal.dtype, np.float32))
    whole[[wanted.index(name) for name in lead_names]] = signal
    return whole
