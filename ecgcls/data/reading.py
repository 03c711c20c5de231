"""One record of a data set, as the signal store holds it: in the form of all others, repaired as `predict` would.

Of a record in PTB-XL's own form (the twelve leads in order, the store's sampling rate and length) the leads wanted are
taken as they are, which is fast. Any other, in any format that `predict` reads, goes through the same steps as there:
leads are found by any known name, limb leads derived, other signals left out, another sampling rate resampled; of a
longer recording the first part is kept. A shorter one cannot be used, or is padded: each lead keeps the mean of what
was recorded to the end. The mean has no offset to the ECG, leaves the lead's mean as it is, and is linear, so that limb
leads go on to follow from one another.
"""

import math
import os
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.formats import is_wfdb
from ecgcls.data.lead_names import put_leads_in_order
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.recordings import MIN_RECORDED_S, Recording, iter_recording
from ecgcls.data.resampling import resample_beginning
from ecgcls.data.signal_checks import check_rate, check_values
from ecgcls.data.signals import read_leads
from ecgcls.errors import DataError

Shorter = Literal["refuse", "pad"]
"""What happens to a record that is shorter than the others."""

_N_MEASURED = 1000  # records that are measured for their common length: enough, and a fraction of a second
_N_MEASURED_OTHERS = 64  # if these are files of devices, which take up to a tenth of a second each
_DEFAULT_DURATION_S = 10.0  # of a standard ECG, and of a store of which no record can be read
_FOLDED = tuple(lead.casefold() for lead in LEADS)


class Reading(NamedTuple):
    """A record in the form of the store."""

    signal_uv: NDArray[np.int16]
    """``(lead, sample)``, microvolt, the leads that were asked for."""
    repairs: tuple[str, ...]
    """What was changed, in plain language; empty if nothing was."""
    guesses: tuple[str, ...]
    """A sampling rate or a gain that the file does not say, and what it was taken as."""
    has_checksums: bool
    """Whether the file carried checksums; if so, they have been verified."""
    n_recorded: int
    """Samples of each lead that were recorded; those after them are padding."""


def read_repaired(
    path: Path,
    *,
    sampling_rate_hz: int,
    n_samples: int,
    lead_names: Sequence[str] = LEADS,
    shorter: Shorter = "refuse",
) -> Reading:
    """Read these leads of a record, a path as `ecgcls.data.recordings.iter_recording` takes it, as the store has it.

    Raises
    ------
    DataError
        If the record cannot be read, is damaged or too short, or lacks a lead that cannot be derived.
    """
    if plain := read_plain(path, sampling_rate_hz, n_samples, lead_names):
        return plain
    recording = next(iter_recording(path, lead_names=lead_names))  # ten minutes at most
    rate_hz = check_rate(recording.sampling_rate_hz)
    n_resampled = _count_samples(recording, sampling_rate_hz)
    found_s, needed_s = n_resampled / sampling_rate_hz, n_samples / sampling_rate_hz
    if n_resampled < n_samples and (shorter == "refuse" or found_s < min(MIN_RECORDED_S, needed_s)):
        least_s = needed_s if shorter == "refuse" else MIN_RECORDED_S
        by = "data.duration_s takes" if shorter == "refuse" else "data.shorter=pad takes at least"
        raise DataError(f"too short: {found_s:g} s, {by} {least_s:g} s")
    signal, changes = put_leads_in_order(recording.signal_mv, recording.lead_names, lead_names, recording.left_out)
    check_values(signal, lead_names)
    repairs = [*(note for note in recording.notes if note not in recording.guesses), *changes]
    if rate_hz != sampling_rate_hz:
        signal = resample_beginning(signal, n_samples, from_hz=rate_hz, to_hz=sampling_rate_hz)
        repairs.append(f"resampled from {rate_hz:g} to {sampling_rate_hz:g} Hz")
    if n_resampled > n_samples:
        repairs.append(f"cut to the first {needed_s:g} s")
    signal_uv = np.rint(signal[:, :n_samples].astype(np.float32, copy=False) * np.float32(1e3))
    if (largest := np.abs(signal_uv).max()) > np.iinfo(np.int16).max:
        raise DataError(f"a sample of {largest / 1e3:.1f} mV after resampling; an ECG stays within 32.767 mV")
    n_recorded = signal_uv.shape[1]
    if n_recorded < n_samples:
        signal_uv = np.pad(signal_uv, ((0, 0), (0, n_samples - n_recorded)), constant_values=np.nan)
        signal_uv[:, n_recorded:] = np.rint(signal_uv[:, :n_recorded].mean(axis=1, dtype=np.float64))[:, None]
        repairs.append(f"padded from {found_s:g} to {needed_s:g} s with the mean of each lead")
    found = tuple(dict.fromkeys(repairs)), recording.guesses, recording.has_checksums
    return Reading(signal_uv.astype(np.int16), *found, n_recorded)


class _OtherLeads(Exception):
    """The signals of a record are not the standard leads in order."""


def read_plain(path: Path, sampling_rate_hz: float, n_samples: int, lead_names: Sequence[str]) -> Reading | None:
    """Read a record that has PTB-XL's form; None if it has another, which its size tells in most cases."""
    try:
        if os.stat(f"{path}.dat").st_size != 2 * len(LEADS) * n_samples:  # noqa: PTH116 (a text: twice as fast)
            return None
        record = read_leads(path, partial(_choose_plain, tuple(lead_names)))
    except (OSError, _OtherLeads):
        return None  # what is wrong, if anything, is told when it is read as any other
    if (record.sampling_rate_hz, record.signal_uv.shape[1]) != (sampling_rate_hz, n_samples):
        return None
    repairs = tuple(note for note in record.notes if note not in record.guesses)
    return Reading(record.signal_uv, repairs, record.guesses, record.has_checksums, n_samples)


def _choose_plain(wanted: tuple[str, ...], names: Sequence[str]) -> Sequence[int]:
    if not _are_in_order(tuple(names)):
        raise _OtherLeads
    return _find_standard(wanted)


@lru_cache
def _find_standard(wanted: tuple[str, ...]) -> list[int]:
    """Return the positions of leads among all twelve."""
    return [LEADS.index(name) for name in wanted]


def find_common_length(paths: Sequence[Path], *, sampling_rate_hz: int) -> int:
    """Return the number of samples that most records have at a sampling rate; of two equally frequent, the smaller.

    Of a large data set, a thousand records are measured, evenly spread over it, or 64 if as many of those are in other
    formats than WFDB; those that cannot be read do not count.
    """
    chosen = spread(paths, _N_MEASURED)
    if sum(not is_wfdb(path) for path in chosen) > _N_MEASURED_OTHERS:
        chosen = spread(paths, _N_MEASURED_OTHERS)
    counts = Counter(_measure(path, sampling_rate_hz) for path in chosen)
    counts.pop(0, None)
    if not counts:
        return round(_DEFAULT_DURATION_S * sampling_rate_hz)
    return min(counts, key=lambda n_samples: (-counts[n_samples], n_samples))


def spread(paths: Sequence[Path], n_most: int) -> list[Path]:
    """Return so many of some paths, evenly spread over them; all if there are no more."""
    return [paths[number] for number in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), n_most)).astype(int))]


def _measure(path: Path, sampling_rate_hz: int) -> int:
    """Return how many samples a record has at a sampling rate, 0 if it cannot be read."""
    try:
        return _count_samples(next(iter_recording(path)), sampling_rate_hz)
    except Exception:  # whatever is wrong with it is told when it is read
        return 0


def _count_samples(recording: Recording, sampling_rate_hz: float) -> int:
    """Return how many samples resampling gives."""
    return math.ceil(round(recording.signal_mv.shape[1] * sampling_rate_hz / recording.sampling_rate_hz, 6))


@lru_cache(maxsize=1024)
def _are_in_order(names: tuple[str, ...]) -> bool:
    """Whether these are the standard leads in the order of `LEADS`, whatever their case."""
    return tuple(name.casefold() for name in names) == _FOLDED
