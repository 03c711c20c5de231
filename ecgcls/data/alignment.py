"""Whether two ECGs are one: their leads at the best shift, and how much better it is than the next best.

Two numbers tell. The *correlation* is that of the three strongest components of all leads at the best shift: noise,
which differs from lead to lead, is mostly in the others. It is taken of the leads compressed, not compressed, and
clipped to the range that both have (one withstands drift best, one noise, one clipping), and the largest counts. Each
lead may have either sign, and the two that fit worst do not count: one that is wrong or exchanged makes no other ECG.

Two ECGs of a regular rhythm, above all of a pacemaker, may correlate as well as copies. What tells them apart:

- The *contrast*, the part of the leveled leads that stays unexplained at the next best shift over that at the best. Two
  such ECGs fit as well a beat later. A copy does not: no heart is regular to the last detail.
- The *repetition* of what is left of one when the other is taken from it: its autocorrelation, the largest beyond
  0.3 s. The beats of two hearts differ at each beat alike. Noise and drift, which make the correlation of copies low,
  do not repeat.

The rules, from the most similar pairs of different ECGs among PTB-XL's 19,601 records of strat_folds 1 to 9, 5,400
altered ones and some thousand simulated ones, regular to the last detail. Of different ECGs the correlation reaches
0.992 (one patient with a pacemaker); with a contrast of 1.3, 0.972; the least repetition of those with a correlation of
0.96 is 0.34, with 0.94, 0.22. Noise of 50 microvolt repeats by 0.05 to 0.2.

Two ECGs with five independent leads or fewer in common, as records of fewer leads are, are more easily alike: different
ones reach a correlation of 0.992 (one lead: 0.994), and one of 0.98 with a contrast of 1.5, with little repetition.
They are copies only by the first rule, or by `FEW_LEADS`; by these no two of the 19,601 records are, looked at by I, by
V2, by I and II, by I, II and V2, and by V1 to V3 or V4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from ecgcls.data.candidates import Leveled, map_chunks, sum_overlap
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.waveforms import RATE_HZ, level_leads

MIN_CORRELATION = 0.94
"""No two ECGs with a smaller correlation count as copies."""
SURE_CORRELATION = 0.995
"""With this one they are copies, whatever else."""
MIN_CONTRAST = (0.985, 1.3)
"""With this correlation and this contrast they are copies;"""
MAX_REPETITION = ((0.965, MIN_CONTRAST[1], 0.3), (MIN_CORRELATION, 0.0, 0.18))
"""or with this correlation, this contrast, and no more than this repetition, by one of these rules."""
FEW_LEADS = (5, 0.98, 2.0)
"""With so few leads in common, but two, they are copies with this correlation and this contrast."""
_MIN_DURATION_S = 5.0  # shorter records have too few beats to tell contrast and repetition: only the first rule counts
_MIN_MEAN = 0.75  # of the leads' absolute correlations: below it nothing is looked at more closely
_MIN_MEAN_ALIKE = 0.82  # the same where the contrast is small
_N_COMPONENTS = 3
_N_WORST = 2  # leads that do not count, if
_MIN_KEPT = 3  # others are left
_FINE = 4  # shifts per time of the leveled leads
_APART_S = 0.2  # from the best shift to the next best, at least
_REPEATED_S = (0.3, 2.5)  # after this time a heart beats again


@dataclass(frozen=True, eq=False)
class Alignment:
    """How pairs of ECGs fit at the best shift, all ``(pair,)``."""

    shift: NDArray[np.int64]
    """How much later the first begins than the second, in times of the leveled leads over `_FINE`."""
    mean: NDArray[np.float32]
    """Of the leads' absolute correlations."""
    contrast: NDArray[np.float32]
    n_leads: NDArray[np.int64]
    """That are flat in neither."""


def align(leveled: Leveled, pairs: NDArray[np.int64]) -> Alignment:
    """Find the best shift of each pair ``(pair, 2)`` of records."""
    reach = _FINE * leveled.max_shift
    fine = np.arange(-reach, reach + 1)
    coarse = np.rint(fine / _FINE).astype(np.int64)

    def sum_before(records: NDArray[np.int64]) -> NDArray[np.float32]:
        energy = leveled.leads[records].astype(np.float32) ** 2
        return np.concatenate([np.zeros((*energy.shape[:2], 1), np.float32), energy.cumsum(axis=-1)], axis=-1)

    def align_some(chunk: slice) -> tuple[NDArray, ...]:
        first, second = pairs[chunk].T
        product = leveled.spectra[first] * leveled.spectra[second].conj()
        products = np.abs(irfft(product, _FINE * leveled.n_padded)[..., fine] * _FINE)  # (pair, lead, shift)
        energies = sum_overlap(sum_before(first), coarse) * sum_overlap(sum_before(second), -coarse)
        is_there = leveled.is_there[first] & leveled.is_there[second]
        correlation = products / np.sqrt(energies.clip(min=0.01))
        mean = np.where(is_there[..., None], correlation, 0).sum(axis=1) / is_there.sum(axis=1)[:, None].clip(min=1)
        best = mean.argmax(axis=1)
        largest = mean.max(axis=1).clip(max=1 - 1e-4)
        is_apart = np.abs(fine - fine[best, None]) >= _APART_S * RATE_HZ * _FINE
        following = np.where(is_apart, mean, 0).max(axis=1).clip(max=1 - 1e-4)
        return fine[best], largest, (1 - following) / (1 - largest), is_there.sum(axis=1)

    empty = np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    parts = [empty, *map_chunks(align_some, len(pairs))]
    return Alignment(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def find_same(
    signals_uv: NDArray[np.int16],
    pairs: NDArray[np.int64],
    aligned: Alignment,
    *,
    sampling_rate_hz: float,
    lead_names: Sequence[str] = LEADS,
) -> NDArray[np.float64]:
    """Return the correlation of each pair that is one ECG, nan for the others, ``(pair,)``.

    Parameters
    ----------
    signals_uv, pairs
        ``(record, lead, sample)``, and the rows of each pair, ``(pair, 2)``.
    """
    found = np.full(len(pairs), np.nan)
    n_long = _MIN_DURATION_S * sampling_rate_hz
    is_close = aligned.mean >= np.where(aligned.contrast >= MIN_CONTRAST[1], _MIN_MEAN, _MIN_MEAN_ALIKE)
    for number in np.flatnonzero(is_close).tolist():
        one, other = signals_uv[pairs[number]]
        how: dict[str, Any] = {
            "shift": int(aligned.shift[number]),
            "sampling_rate_hz": sampling_rate_hz,
            "lead_names": lead_names,
        }
        value = correlate(one, other, **how)
        is_same = value >= SURE_CORRELATION
        is_long = min(_count_recorded(one), _count_recorded(other)) >= n_long
        if (n_leads := int(aligned.n_leads[number])) <= FEW_LEADS[0]:
            is_same |= is_long and n_leads > 1 and value >= FEW_LEADS[1] and aligned.contrast[number] >= FEW_LEADS[2]
        elif is_long and MIN_CORRELATION <= value < SURE_CORRELATION:
            is_same = value >= MIN_CONTRAST[0] and bool(aligned.contrast[number] >= MIN_CONTRAST[1])
            if not is_same:
                repetition = measure_repetition(one, other, **how)
                contrast = float(aligned.contrast[number])
                is_same = any(value >= r and contrast >= c and repetition <= most for r, c, most in MAX_REPETITION)
        found[number] = value if is_same else np.nan
    return found


def _count_recorded(signal_uv: NDArray[np.int16]) -> int:
    """Return how many samples ``(lead, sample)`` has before all leads are constant to the end, as padding is."""
    return int(np.flatnonzero((signal_uv != signal_uv[:, -1:]).any(axis=0)).max(initial=-1)) + 1


def correlate(
    one: NDArray[np.int16],
    other: NDArray[np.int16],
    *,
    shift: int,
    sampling_rate_hz: float,
    lead_names: Sequence[str] = LEADS,
) -> float:
    """Return the correlation of two ECGs ``(lead, sample)`` at a shift of `Alignment`, as this module defines it."""
    both = np.stack([one, other])
    clipped = both.clip(both.min(axis=2, keepdims=True).max(axis=0), both.max(axis=2, keepdims=True).min(axis=0))
    leveled = (
        level_leads(signals_uv, sampling_rate_hz=sampling_rate_hz, is_compressed=is_compressed, lead_names=lead_names)
        for signals_uv, is_compressed in ((both, True), (both, False), (clipped, False))
    )
    return max(_correlate_components(*_overlap(leads, shift)) for leads in leveled)


def measure_repetition(
    one: NDArray[np.int16],
    other: NDArray[np.int16],
    *,
    shift: int,
    sampling_rate_hz: float,
    lead_names: Sequence[str] = LEADS,
) -> float:
    """Return how much the difference of two ECGs ``(lead, sample)`` at a shift repeats itself: 0 to about 1."""
    leveled = level_leads(np.stack([one, other]), sampling_rate_hz=sampling_rate_hz, lead_names=lead_names)
    first, second = _overlap(leveled, shift)
    gain = (first * second).sum(axis=1) / (first**2).sum(axis=1).clip(min=1e-9)
    left = second - gain[:, None] * first
    n_times = left.shape[1]
    power = (np.abs(rfft(left, 2 * n_times)) ** 2).sum(axis=0)
    repeated = irfft(power)[:n_times] / (1 - np.arange(n_times) / n_times)
    lags = slice(*(min(round(seconds * RATE_HZ * _FINE), n_times // 2) for seconds in _REPEATED_S))
    return float(repeated[lags].max(initial=0) / max(repeated[0], 1e-9))


def _overlap(leads: NDArray[np.float32], shift: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the parts of two records ``(record, lead, time)`` that overlap, without leads that are flat in either."""
    leads = leads[:, leads.any(axis=-1).all(axis=0)]
    n_times = _FINE * leads.shape[-1]
    one, other = irfft(rfft(leads), n_times)
    return one[:, max(shift, 0) : n_times + shift], other[:, max(-shift, 0) : n_times - shift]


def _correlate_components(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the correlation of the strongest components of two ECGs ``(lead, time)``."""
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True).clip(min=1e-9) for each in (one, other))
    by_lead = (one * other).sum(axis=1)
    kept = np.argsort(-np.abs(by_lead))[: max(_MIN_KEPT, len(by_lead) - _N_WORST)]
    one, other = one[kept] * np.sign(by_lead[kept, None]), other[kept]
    _, components = np.linalg.eigh(one @ one.T + other @ other.T)
    one, other = (components[:, -_N_COMPONENTS:].T @ each for each in (one, other))
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()).clip(min=1e-9))
