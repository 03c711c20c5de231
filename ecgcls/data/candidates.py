"""Pairs of ECGs that may be one: few enough to be compared lead by lead, with every copy among them.

Two searches, each of which finds what the other cannot, over leads as `ecgcls.data.waveforms.level_leads` returns them:

- the signatures of `ecgcls.data.waveforms`, for copies that start at the same moment;
- the autocorrelation, its mean over the leads, which hardly changes when an ECG is cut out a moment later, inverted,
  filtered or loses leads. It is reduced to decorrelated components, and each record's nearest ones are taken: a radius
  would take too many where ECGs are alike, and none where they are not.

What is left are about 15 pairs a record, of which those stay that correlate at some shift.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.waveforms import HIGHEST_HZ, RATE_HZ, compare_signatures, level_leads, normalize_signatures, sign_leads

MAX_SHIFT_S = 2.5
"""Copies are looked for at shifts up to this, and up to a quarter of their duration."""
_MIN_SIMILARITY = 0.5  # of signatures: each lead as it is,
_MIN_SIMILARITY_BY_LEAD = 0.7  # or of either sign
_N_NEAREST = 16
_N_GROUPED = 16  # records whose distances are reduced to the smallest before the nearest are looked for
_SMALLEST = 1e-3  # of the largest variance: components of autocorrelations below it are noise
_MIN_CORRELATION = 0.75  # at the best shift, all leads together
_CHUNK = 500  # records, or pairs


@dataclass(frozen=True, eq=False)
class Leveled:
    """The leads of some records, leveled for comparison."""

    leads: NDArray[np.float16]
    """``(record, lead, time)`` at `RATE_HZ`."""
    spectra: NDArray[np.complex64]
    """``(record, lead, frequency)``: of the leads, padded by zeros to `n_padded` times, up to the highest frequency."""
    is_there: NDArray[np.bool_]
    """``(record, lead)``: False where a lead is flat."""
    signature: NDArray[np.int8]
    """As of `ecgcls.data.waveforms.Waveforms`."""

    @property
    def max_shift(self) -> int:
        """In times: at most a quarter of the duration."""
        return min(round(MAX_SHIFT_S * RATE_HZ), self.leads.shape[-1] // 4)

    @property
    def n_padded(self) -> int:
        """Times of the padded leads: enough for a shift that meets nothing from the other end."""
        return _pad(self.leads.shape[-1])


def level(
    signals_uv: NDArray[np.int16],
    rows: NDArray[np.int64],
    *,
    sampling_rate_hz: float,
    lead_names: Sequence[str] = LEADS,
) -> Leveled:
    """Level the leads of rows (at least one) of ``(record, lead, sample)``; they take 23 kB a record of ten seconds."""

    def level_some(chunk: slice) -> tuple[Any, ...]:
        leads = level_leads(signals_uv[rows[chunk]], sampling_rate_hz=sampling_rate_hz, lead_names=lead_names)
        n_padded = _pad(leads.shape[-1])
        n_kept = int(HIGHEST_HZ / RATE_HZ * n_padded) + 2
        return leads.astype(np.float16), rfft(leads, n_padded)[..., :n_kept], leads.any(axis=-1), sign_leads(leads)

    parts = map_chunks(level_some, len(rows))
    return Leveled(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def find_candidates(leveled: Leveled) -> NDArray[np.int64]:
    """Return the pairs ``(pair, 2)`` that are worth a closer look, the first row of each below the second."""
    pairs = _keep_correlated(leveled, np.unique(_find_near(leveled), axis=0))
    return np.unique(np.concatenate([pairs, _find_similar(leveled)]), axis=0)


def map_chunks(function: Callable[[slice], Any], n_items: int) -> list[Any]:
    """Return what a function returns for consecutive chunks of items, in threads: NumPy lets others run."""
    with ThreadPoolExecutor(min(cpu_count() or 1, 4)) as pool:
        return list(pool.map(function, (slice(start, start + _CHUNK) for start in range(0, n_items, _CHUNK))))


def _pad(n_times: int) -> int:
    return int(next_fast_len(n_times + n_times // 4 + 1, real=True))


def _find_similar(leveled: Leveled) -> NDArray[np.int64]:
    """Find the pairs of similar signatures."""

    signatures = normalize_signatures(leveled.signature)

    leads = signatures.vectors.reshape(leveled.signature.shape)

    def find(chunk: slice) -> NDArray[np.int64]:
        similarity = compare_signatures(signatures.take(chunk), signatures.take(slice(chunk.start, None)))
        pairs = _sort_pairs(np.argwhere(similarity >= _MIN_SIMILARITY) + chunk.start)
        first, second = pairs.T
        by_lead = np.abs((leads[first] * leads[second]).sum(axis=-1)).sum(axis=-1)
        n_leads = (leveled.is_there[first] & leveled.is_there[second]).sum(axis=-1)
        return pairs[by_lead >= _MIN_SIMILARITY_BY_LEAD * n_leads]

    return _join(map_chunks(find, len(leveled.signature)))


def _find_near(leveled: Leveled) -> NDArray[np.int64]:
    """Find each record's nearest ones by autocorrelation."""
    described = _describe(leveled)
    n_nearest = min(_N_NEAREST, len(described) - 1)
    # The nearest has the largest product minus half its square; one more component takes that square.
    halves = (described**2).sum(axis=1, keepdims=True) / 2
    others = np.concatenate([described, -halves], axis=1).T
    ones = np.ones((len(described), 1), np.float32)
    asking = np.concatenate([described, ones], axis=1)

    def find(chunk: slice) -> NDArray[np.int64]:
        nearness = asking[chunk] @ others
        own = np.arange(len(nearness))
        nearness[own, own + chunk.start] = -np.inf
        bound = _find_bound(nearness, n_nearest)
        found = np.argwhere(nearness >= bound)
        found[:, 0] += chunk.start
        return _sort_pairs(found)

    return _join(map_chunks(find, len(described)))


def _find_bound(values: NDArray[np.float32], n_largest: int) -> NDArray[np.float32]:
    """Return what hardly more than so many values of each row reach, ``(row, 1)``: groups of values are sorted."""
    n_groups = values.shape[1] // _N_GROUPED
    if n_groups <= n_largest:
        return np.partition(values, -n_largest, axis=1)[:, -n_largest, None]
    grouped = values[:, : n_groups * _N_GROUPED].reshape(len(values), _N_GROUPED, n_groups).max(axis=1)
    return np.partition(grouped, -n_largest, axis=1)[:, -n_largest, None]


def _describe(leveled: Leveled) -> NDArray[np.float32]:
    """Return decorrelated components of the autocorrelations, ``(record, component)``."""

    def describe(chunk: slice) -> NDArray[np.float32]:
        power = (np.abs(leveled.spectra[chunk]) ** 2).sum(axis=1)
        power /= leveled.is_there[chunk].sum(axis=1, keepdims=True).clip(min=1)
        return irfft(power, leveled.n_padded)[:, 1 : leveled.max_shift + 1]

    described = np.concatenate(map_chunks(describe, len(leveled.spectra))).astype(np.float32)
    described -= described.mean(axis=0)
    variance, components = np.linalg.eigh(described.T @ described / len(described))
    large = variance > max(variance[-1] * _SMALLEST, 1e-12)
    return described @ (components[:, large] / np.sqrt(variance[large] + 3 * _SMALLEST * variance[-1]))


def _keep_correlated(leveled: Leveled, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keep the pairs whose leads correlate at some shift, all together."""
    shifts = np.arange(-leveled.max_shift, leveled.max_shift + 1)
    energy = (leveled.leads.astype(np.float32) ** 2).sum(axis=1)
    before = np.concatenate([np.zeros((len(energy), 1), np.float32), energy.cumsum(axis=1)], axis=1)

    def is_correlated(chunk: slice) -> NDArray[np.bool_]:
        first, second = pairs[chunk].T
        product = np.einsum("plf,plf->pf", leveled.spectra[first], leveled.spectra[second].conj())
        overlap = np.sqrt(sum_overlap(before[first], shifts) * sum_overlap(before[second], -shifts))
        correlation = np.abs(irfft(product, leveled.n_padded)[:, shifts]) / overlap.clip(min=0.5)
        return correlation.max(axis=1, initial=0) >= _MIN_CORRELATION

    return pairs[np.concatenate([np.zeros(0, bool), *map_chunks(is_correlated, len(pairs))])]


def sum_overlap(before: NDArray[np.float32], shifts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the sum over times s to n + s for each shift s, from the sums before each of n + 1 times (last axis)."""
    n_times = before.shape[-1] - 1
    return before[..., (n_times + shifts).clip(max=n_times)] - before[..., shifts.clip(min=0)]


def _sort_pairs(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put the smaller number of each pair first; drop a record's pair with itself."""
    return np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)


def _join(parts: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros((0, 2), np.int64), *parts])
