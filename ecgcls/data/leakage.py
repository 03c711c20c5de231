"""The same waveform in two of train, val and test: an ECG that is trained on and, under another ecg_id, tested.

`find_copies` compares every record of one set with every record of the others in two steps. The first uses a signature
that costs nothing: the variance of each lead, up to a common factor, which the signal store already has. It is nearly
unchanged when an ECG is scaled, gets an offset or a little noise, or is cut out a moment later. The second compares the
signals of the few pairs whose signatures are close: all leads together, at the best shift of at most 2.5 s.

A copy that was filtered (say, to remove baseline wander) may have another signature, and is then not found. Different
ECGs are not mistaken for copies: of the 63,000 pairs among 356 records of PTB-XL all but three have a correlation below
0.67, and those three are copies, each of one patient, with a correlation above 0.9999.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
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
    """Two records with the same waveform, in different ones of train, val and test.

    Attributes
    ----------
    ecg_id, other_id
        The records.
    part, other_part
        Where they are; `part` comes first in train, val, test.
    correlation
        Of the signals, all leads together; 1 if they are identical.
    is_exact
        Whether every sample is the same.
    """

    ecg_id: int
    other_id: int
    part: str
    other_part: str
    correlation: float
    is_exact: bool

    def __str__(self) -> str:
        """Describe the pair."""
        how = "every sample equal" if self.is_exact else f"correlation {self.correlation:.3f}"
        return f"ecg_id {self.ecg_id} ({self.part}) and ecg_id {self.other_id} ({self.other_part}), {how}"


def find_copies(
    store: SignalStore, rows: NDArray[np.int64], part: NDArray[np.str_], *, sampling_rate_hz: float
) -> list[Copy]:
    """Find the waveforms that are in two of train, val and test.

    Parameters
    ----------
    store
        The signals.
    rows
        ``(record,)``: the store's row of each record.
    part
        ``(record,)``: train, val or test.
    sampling_rate_hz
        Of the signals.

    Returns
    -------
    list
        In the order of the records.
    """
    profile = _profile(store, rows)
    max_shift = round(_MAX_SHIFT_S * sampling_rate_hz)
    found = []
    for first, second in sorted(_find_candidates(profile, part)):
        one, other = store.signals_uv[rows[first]], store.signals_uv[rows[second]]
        is_exact = bool(np.array_equal(one, other))
        correlation = 1.0 if is_exact else correlate(one, other, max_shift=max_shift)
        if correlation >= MIN_CORRELATION:
            ids = int(store.ecg_ids[rows[first]]), int(store.ecg_ids[rows[second]])
            found.append(Copy(*ids, str(part[first]), str(part[second]), correlation, is_exact))
    return found


def correlate(one: NDArray[np.int16], other: NDArray[np.int16], *, max_shift: int) -> float:
    """Return the correlation of two signals ``(lead, sample)``, all leads together, at the best shift.

    Each lead's mean is subtracted first. A shifted pair is compared where the two overlap.
    """
    n_samples = one.shape[1]
    length = 2 * n_samples
    signals = [each - each.mean(axis=1, keepdims=True) for each in (one.astype(float), other.astype(float))]
    spectra = [rfft(each, length, axis=1) for each in signals]
    product = irfft((spectra[0] * spectra[1].conj()).sum(axis=0), length)
    shifts = np.arange(-max_shift, max_shift + 1)
    energy = [np.concatenate([[0.0], (each**2).sum(axis=0).cumsum()]) for each in signals]
    # At shift s sample t + s of the first meets sample t of the second.
    of_one = np.where(
        shifts >= 0, energy[0][-1] - energy[0][shifts.clip(min=0)], energy[0][n_samples + shifts.clip(max=0)]
    )
    of_other = np.where(
        shifts >= 0, energy[1][n_samples - shifts.clip(min=0)], energy[1][-1] - energy[1][-shifts.clip(max=0)]
    )
    scale = np.sqrt(of_one * of_other)
    found = np.divide(product[shifts], scale, out=np.zeros(len(shifts)), where=scale > 0)
    return float(found.max())


def _profile(store: SignalStore, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the signature of each record, ``(record, lead)``: its leads' log variances minus their mean."""
    n_samples = store.n_samples
    variance = store.squares_uv[rows] / n_samples - (store.sums_uv[rows] / n_samples) ** 2
    logs = np.log(variance.clip(min=0) + 1.0)  # a flat lead counts as 1 microvolt
    centered: NDArray[np.float64] = logs - logs.mean(axis=1, keepdims=True)
    return centered


def _find_candidates(profile: NDArray[np.float64], part: NDArray[np.str_]) -> Iterator[tuple[int, int]]:
    """Yield pairs of records with close signatures; the first is from an earlier one of train, val, test."""
    members = {name: np.flatnonzero(part == name) for name in PARTS}
    trees = {name: cKDTree(profile[rows]) for name, rows in members.items() if len(rows)}
    names = list(trees)
    for position, name in enumerate(names):
        for other in names[position + 1 :]:
            for first, near in enumerate(trees[name].query_ball_tree(trees[other], _RADIUS)):
                for second in near:
                    yield int(members[name][first]), int(members[other][second])
