"""The search for copies: which of many ECGs are one, however it was processed.

`find_pairs` takes the candidates of `ecgcls.data.candidates`, finds the best shift of each pair, and decides by the
rules of `ecgcls.data.alignment`. It finds ECGs that were resampled, scaled lead by lead, filtered, clipped, inverted,
given noise or drift, cut out up to 2.5 s later, or that lost leads, and two of these at once; not those reversed in
time.
``benchmarks/copies.py`` measures how many.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.alignment import align, find_same
from ecgcls.data.candidates import find_candidates, level, map_chunks
from ecgcls.data.lead_sets import LEADS


class Pair(NamedTuple):
    """Two rows of signals that are one ECG."""

    first: int
    second: int
    """After `first` among the rows that were searched."""
    correlation: float
    """As of `ecgcls.data.alignment.correlate`; 1 if the samples are equal."""
    is_exact: bool
    """Whether every sample is the same."""


class _Form(TypedDict):
    sampling_rate_hz: float
    lead_names: Sequence[str]


def find_pairs(
    signals_uv: NDArray[np.int16],
    rows: NDArray[np.int64],
    *,
    sampling_rate_hz: float,
    lead_names: Sequence[str] = LEADS,
) -> list[Pair]:
    """Find the pairs of these rows of ``(record, lead, sample)`` that are one ECG.

    Of rows whose samples are equal each is paired with the first of them, which stands for all of them elsewhere.
    19,601 records of ten seconds take about 25 s of CPU time, in threads, and 0.6 GB.
    """
    first_of = _find_first_equal(signals_uv, rows)
    is_first = first_of == np.arange(len(rows))
    found = [
        Pair(int(rows[first]), int(row), 1.0, is_exact=True)
        for row, first in zip(rows[~is_first], first_of[~is_first], strict=True)
    ]
    unequal = rows[is_first]
    if len(unequal) < 2:
        return sorted(found)
    how: _Form = {"sampling_rate_hz": sampling_rate_hz, "lead_names": lead_names}
    leveled = level(signals_uv, unequal, **how)
    pairs = find_candidates(leveled)
    aligned = align(leveled, pairs)
    same = find_same(signals_uv, unequal[pairs], aligned, **how)
    for number in np.flatnonzero(~np.isnan(same)):
        first, second = unequal[pairs[number]].tolist()
        found.append(Pair(first, second, float(same[number]), is_exact=False))
    return sorted(found)


def match(
    one: NDArray[np.int16],
    other: NDArray[np.int16],
    *,
    sampling_rate_hz: float,
    lead_names: Sequence[str] = LEADS,
) -> float | None:
    """Return the correlation of two signals ``(lead, sample)`` if they are one ECG, else None."""
    both = np.stack([one, other])
    found = find_pairs(both, np.arange(2), sampling_rate_hz=sampling_rate_hz, lead_names=lead_names)
    return found[0].correlation if found else None


def _find_first_equal(signals_uv: NDArray[np.int16], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of the first row with the same samples, ``(row,)``."""

    def hash_some(chunk: slice) -> list[bytes]:
        return [hashlib.sha256(signals_uv[row].tobytes()).digest() for row in rows[chunk]]

    first: dict[bytes, int] = {}
    digests = (digest for part in map_chunks(hash_some, len(rows)) for digest in part)
    return np.array([first.setdefault(digest, number) for number, digest in enumerate(digests)], dtype=np.int64)
