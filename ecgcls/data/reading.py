"""One record of a data set, as the signal store holds it: in the form of all others, repaired as `predict` would.

Of a record in PTB-XL's own form (the twelve leads in order, the store's sampling rate and length) the leads wanted are
taken as they are, which is fast. Any other goes through the steps of `ecgcls.data.recordings.prepare`: leads are found
by any known name, limb leads derived, other signals left out, another sampling rate resampled; of a longer recording
the first part is kept. A shorter one cannot be used.
"""

import math
import os
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.recordings import Recording, iter_recording, prepare
from ecgcls.data.signals import read_leads
from ecgcls.errors import DataError

_N_MEASURED = 1000  # records that are measured for their common length: enough, and a fraction of a second
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
    """Whether the header carried checksums; if so, they have been verified."""


def read_repaired(path: Path, *, sampling_rate_hz: int, n_samples: int, lead_names: Sequence[str] = LEADS) -> Reading:
    """Read these leads of a WFDB record, given by its path without an extension, in the form of the store.

    Raises
    ------
    DataError
        If the record cannot be read, is damaged or too short, or lacks a lead that cannot be derived.
    """
    if plain := _read_plain(path, sampling_rate_hz, n_samples, lead_names):
        return plain
    recording = next(iter_recording(path))  # ten minutes at most
    n_resampled = _count_samples(recording, sampling_rate_hz)
    if n_resampled < n_samples:
        found_s, needed_s = n_resampled / sampling_rate_hz, n_samples / sampling_rate_hz
        raise DataError(f"too short: {found_s:g} s, data.duration_s takes {needed_s:g} s")
    prepared = prepare(recording, lead_names=lead_names, sampling_rate_hz=sampling_rate_hz, n_samples=n_samples)
    # The store looks itself at the scale and content of what it keeps, which is one window.
    repairs = [note for note in prepared.repairs if note not in prepared.doubts and not note.startswith("cut into ")]
    if n_resampled > n_samples:
        repairs.append(f"cut to the first {n_samples / sampling_rate_hz:g} s")
    signal_uv = np.rint(prepared.windows_mv[0] * np.float32(1e3))
    if (largest := np.abs(signal_uv).max()) > np.iinfo(np.int16).max:
        raise DataError(f"a sample of {largest / 1e3:.1f} mV after resampling; an ECG stays within 32.767 mV")
    return Reading(signal_uv.astype(np.int16), tuple(repairs), recording.guesses, recording.has_checksums)


class _OtherLeads(Exception):
    """The signals of a record are not the standard leads in order."""


def _read_plain(path: Path, sampling_rate_hz: int, n_samples: int, lead_names: Sequence[str]) -> Reading | None:
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
    return Reading(record.signal_uv, repairs, record.guesses, record.has_checksums)


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

    Of a large data set, a thousand records are measured, evenly spread over it; those that cannot be read do not count.
    """
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _N_MEASURED)).astype(int))
    counts = Counter(_measure(paths[number], sampling_rate_hz) for number in chosen)
    counts.pop(0, None)
    if not counts:
        return round(_DEFAULT_DURATION_S * sampling_rate_hz)
    return min(counts, key=lambda n_samples: (-counts[n_samples], n_samples))


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
