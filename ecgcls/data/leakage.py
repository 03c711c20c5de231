"""The same waveform in two of train, val and test: an ECG that is trained on and, under another ecg_id, tested.

`find_copies` compares every record of one set with every record of the others in two steps. The first uses a signature
that costs nothing: the variance of each lead, up to a common factor, which the signal store already has. It is nearly
unchanged when an ECG is scaled, gets an offset or a little noise, or is cut out a moment later. The second compares the
signals of the few pairs whose signatures are close: all leads together, at the best shift of at most 2.5 s.

A copy that was filtered (say, to remove baseline wander) may have another signature, and is then not found. Different
ECGs are not mistaken for copies: of the 63,000 pairs among 356 records of PTB-XL all but three have a correlation below
0.67, and those three are copies, each of one patient, with a correlation above 0.9999.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.spatial import cKDTree

from ecgcls.data.folds import PARTS
from ecgcls.data.store import SignalStore

MIN_CORRELATION = 0.9
"""Two signals with at least this correlation count as copies."""
_RADIUS = 0.1  # of signatures: Euclidean distance of log variances
_MAX_SHIFT_S = 2.5


@dataclass(frozen=True)
class Copy:
    """Two records with the same waveform; `part`, where the first is, comes before `other_part` in train, val, test."""

    ecg_id: int
    other_id: int
    part: str
    other_part: str
    correlation: float
    """Of the signals, all leads together; 1 if they are identical."""
    is_exact: bool
    """Whether every sample is the same."""

    def __str__(self) -> str:
        how = "every sample equal" if self.is_exact else f"correlation {self.correlation:.3f}"
        return f"ecg_id {self.ecg_id} ({self.part}) and ecg_id {self.other_id} ({self.other_part}), {how}"


def find_copies(
    store: SignalStore, rows: NDArray[np.int64], part: NDArray[np.str_], *, sampling_rate_hz: float
) -> list[Copy]:
    """Find the waveforms that are in two of train, val and test, in the order of the records.

    Parameters
    ----------
    store, rows
        The signals, and the store's row of each record, ``(record,)``.
    part
        ``(record,)``: train, val or test.
    """
    found = []
    for first, second in _find_candidates(_sign(store, rows), part):
        one, other = store.signals_uv[rows[first]], store.signals_uv[rows[second]]
        correlation, is_exact = compare(one, other, sampling_rate_hz=sampling_rate_hz)
        if correlation >= MIN_CORRELATION:
            ids = int(store.ecg_ids[rows[first]]), int(store.ecg_ids[rows[second]])
            found.append(Copy(*ids, str(part[first]), str(part[second]), correlation, is_exact))
    return found


def find_duplicates(
    store: SignalStore, records: pd.DataFrame, known: Mapping[int, int], *, sampling_rate_hz: float
) -> dict[int, int]:
    """Find the known duplicates that are to be left out; return which record each repeats.

    They are those pairs whose signals are copies, if one of these pairs is in two strat_folds: then the data set is a
    version that still has them, and left out everywhere they give the records of the version that does not. Pairs in
    one strat_fold alone, as in a part of the data set, are never in two of train, val and test, and stay.

    Parameters
    ----------
    records
        Of a source, all in the store.
    known
        Which record to leave out of each pair, and which to keep.
    """
    present = {*records.index}
    found = {}
    for ecg_id, kept in known.items():
        if {ecg_id, kept} <= present:
            one, other = store.signals_uv[store.find_rows([ecg_id, kept])]
            if compare(one, other, sampling_rate_hz=sampling_rate_hz)[0] >= MIN_CORRELATION:
                found[ecg_id] = kept
    if "strat_fold" in records and all(records["strat_fold"][a] == records["strat_fold"][b] for a, b in found.items()):
        return {}
    return found


def compare(one: NDArray[np.int16], other: NDArray[np.int16], *, sampling_rate_hz: float) -> tuple[float, bool]:
    """Return the correlation of two signals ``(lead, sample)`` at the best shift, and whether every sample is equal."""
    if np.array_equal(one, other):
        return 1.0, True
    return correlate(one, other, max_shift=round(_MAX_SHIFT_S * sampling_rate_hz)), False


def correlate(one: NDArray[np.int16], other: NDArray[np.int16], *, max_shift: int) -> float:
    """Return the correlation of two signals ``(lead, sample)``, all leads together, at the best shift.

    Each lead's mean is subtracted first. A shifted pair is compared where the two overlap.
    """
    n_samples = one.shape[1]
    signals = [each - each.mean(axis=1, keepdims=True) for each in (one.astype(float), other.astype(float))]
    spectra = [rfft(each, 2 * n_samples, axis=1) for each in signals]
    product = irfft((spectra[0] * spectra[1].conj()).sum(axis=0), 2 * n_samples)
    shifts = np.arange(-max_shift, max_shift + 1)  # at shift s sample t + s of the first meets sample t of the second
    scale = np.sqrt(_overlap_energy(signals[0], shifts) * _overlap_energy(signals[1], -shifts))
    return float(np.divide(product[shifts], scale, out=np.zeros(len(shifts)), where=scale > 0).max())


def _overlap_energy(signal: NDArray[np.float64], shifts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of squares of samples s to n + s of a signal ``(lead, n)`` for each shift s, ``(shift,)``."""
    before = np.concatenate([[0.0], (signal**2).sum(axis=0).cumsum()])
    n_samples = signal.shape[1]
    return before[(n_samples + shifts).clip(max=n_samples)] - before[shifts.clip(min=0)]


def _sign(store: SignalStore, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the signature of each record, ``(record, lead)``: its leads' log variances minus their mean."""
    variance = store.squares_uv[rows] / store.n_samples - (store.sums_uv[rows] / store.n_samples) ** 2
    logs = np.log(variance.clip(min=0) + 1.0)  # a flat lead counts as 1 microvolt
    return logs - logs.mean(axis=1, keepdims=True)


def _find_candidates(signatures: NDArray[np.float64], part: NDArray[np.str_]) -> list[tuple[int, int]]:
    """List pairs of records with close signatures; the first is from an earlier one of train, val, test."""
    pairs = []
    for earlier, later in combinations(PARTS, 2):
        rows, other_rows = np.flatnonzero(part == earlier), np.flatnonzero(part == later)
        near = cKDTree(signatures[rows]).query_ball_tree(cKDTree(signatures[other_rows]), _RADIUS)
        pairs += [(int(row), int(other_rows[k])) for row, found in zip(rows, near, strict=True) for k in found]
    return sorted(pairs)
