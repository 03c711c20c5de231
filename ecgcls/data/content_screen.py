"""Which of many signals `ecgcls.data.content.check_content` may have something to say about.

That check takes longer than reading a record. Here all records of a chunk are looked at together, in whole numbers, by
conditions that are a little stricter than its bounds: what passes them all has nothing to be noted, the few others are
checked one by one.

Conventions: signals are ``(record, lead, sample)`` int16 microvolt, the leads `lead_names` in
standard order.
"""

from collections.abc import Sequence
from itertools import combinations
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.lead_sets import LEADS

_LARGE_UV = 8000  # below it, sums and differences of a few leads do not overflow
_SPAN_UV = 4500  # of half the leads
_ONE_SECOND_SPAN_UV = 301
_TALL = ("II", "V2", "V4")  # one of them is tall enough in most ECGs
_RESIDUAL_UV = 14  # of a relation between limb leads
_COPY_UV = 2.5
_SATURATED = 0.0199
_N_STEPPED = 8  # leads in which a calibration pulse is looked for
_RELATIONS: tuple[tuple[dict[str, int], int], ...] = (
    ({"III": 1, "II": -1, "I": 1}, 1),
    ({"aVR": 1, "aVL": 1, "aVF": 1}, 1),
    ({"aVR": 2, "I": 1, "II": 1}, 2),
    ({"aVL": 2, "I": -1, "III": 1}, 2),
    ({"aVF": 2, "II": -1, "III": -1}, 2),
)  # of `ecgcls.data.limb_leads` in whole numbers: what must be about 0, and the factor by which it is too large


def find_suspects(
    signals_uv: NDArray[np.int16],
    sums_uv: NDArray[np.int64],
    squares_uv: NDArray[np.int64],
    *,
    sampling_rate_hz: float,
    lead_names: Sequence[str] = LEADS,
) -> NDArray[np.bool_]:
    """Return ``(record,)``: whether a signal must be checked; `sums_uv` and `squares_uv` are ``(record, lead)``."""
    n_samples, second = signals_uv.shape[2], max(round(sampling_rate_hz), 1)
    lows, highs = signals_uv.min(axis=2).astype(int), signals_uv.max(axis=2).astype(int)
    mean = sums_uv / n_samples
    rms = np.sqrt(squares_uv / n_samples)
    sd = np.sqrt((squares_uv / n_samples - mean**2).clip(min=0))
    span = highs - lows
    is_suspect = (span == 0).any(axis=1) | ((span > _SPAN_UV).sum(axis=1) > (len(lead_names) - 1) // 2)
    is_suspect |= np.maximum(highs, -lows).max(axis=1) >= _LARGE_UV
    is_suspect |= _may_be_normalized(mean, sd, rms, lows, highs)
    tall = [number for number, name in enumerate(lead_names) if name in _TALL] or list(range(len(lead_names)))
    is_suspect |= _may_be_small(signals_uv[:, tall], second) | _may_be_constant(signals_uv, second)
    is_suspect |= _may_contradict(signals_uv, list(lead_names)) | _may_have_copies(signals_uv, rms)
    is_suspect |= _may_be_saturated(signals_uv, lows, highs, second) | _may_have_pulse(signals_uv, sampling_rate_hz)
    return is_suspect


def _may_be_normalized(
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    rms: NDArray[np.float64],
    lows: NDArray[np.int64],
    highs: NDArray[np.int64],
) -> NDArray[np.bool_]:
    are_standard = ((abs(mean) < 11) & (abs(sd - 1000) < 11)).sum(axis=1) > 1
    span = highs - lows
    are_alike = sd.shape[1] > 2  # two leads may be alike
    are_alike &= (sd.max(axis=1) < 1.06 * sd.min(axis=1)) | (span.max(axis=1) < 1.06 * span.min(axis=1))
    low, high = lows.min(axis=1), highs.max(axis=1)
    is_unit = (abs(high - 1000) <= 1) & ((abs(low) <= 1) | (abs(low + 1000) <= 1))
    whole_mean = mean.mean(axis=1)
    whole_sd = np.sqrt(((rms**2).mean(axis=1) - whole_mean**2).clip(min=0))
    return are_standard | are_alike | is_unit | ((abs(whole_mean) < 2) & (abs(whole_sd - 1000) < 2))


def _may_be_small(tall_uv: NDArray[np.int16], second: int) -> NDArray[np.bool_]:
    n_records, n_tall, n_samples = tall_uv.shape
    n_seconds = n_samples // second
    if not n_seconds:
        return np.ones(n_records, dtype=bool)
    tall = tall_uv[:, :, : n_seconds * second].reshape(n_records, n_tall, n_seconds, second)
    low = tall.max(axis=3).astype(int) - tall.min(axis=3) < _ONE_SECOND_SPAN_UV
    return (low.sum(axis=2) > (n_seconds - 1) // 2).all(axis=1)  # else a median is above


def _may_be_constant(signals_uv: NDArray[np.int16], second: int) -> NDArray[np.bool_]:
    """Look at four samples a second: a lead that keeps its value for a second has four in a row that are equal."""
    few = signals_uv[:, :, :: max(second // 4, 1)]
    is_equal = few[:, :, 1:] == few[:, :, :-1]
    if is_equal.shape[2] < 3:
        return np.ones(len(signals_uv), dtype=bool)
    return (is_equal[:, :, :-2] & is_equal[:, :, 1:-1] & is_equal[:, :, 2:]).any(axis=(1, 2))


def _may_contradict(signals_uv: NDArray[np.int16], lead_names: list[str]) -> NDArray[np.bool_]:
    largest = np.zeros(len(signals_uv))
    for weights, factor in _RELATIONS:
        if weights.keys() <= {*lead_names}:
            terms = [np.int16(weight) * signals_uv[:, lead_names.index(name)] for name, weight in weights.items()]
            residual = sum(terms[1:], terms[0])
            largest = np.maximum(largest, np.maximum(residual.max(axis=1), -residual.min(axis=1)) / factor)
    return largest > _RESIDUAL_UV


def _may_have_copies(signals_uv: NDArray[np.int16], rms: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Compare a few samples of the leads that have nearly the same root mean square."""
    found = np.zeros(len(signals_uv), dtype=bool)
    one, other = np.array(list(combinations(range(rms.shape[1]), 2)), dtype=int).reshape(-1, 2).T
    rows, pairs = np.nonzero(abs(rms[:, one] - rms[:, other]) < _COPY_UV)
    few = signals_uv[:, :, :: max(signals_uv.shape[2] // 64, 1)].astype(float)
    squares = ((few[rows, one[pairs]] - few[rows, other[pairs]]) ** 2).sum(axis=1)
    found[rows[squares < _COPY_UV**2 * signals_uv.shape[2]]] = True
    return found


def _may_be_saturated(
    signals_uv: NDArray[np.int16], lows: NDArray[np.int64], highs: NDArray[np.int64], second: int
) -> NDArray[np.bool_]:
    """Look for leads whose extreme is there often, and more often than the value next to it."""
    is_extreme = signals_uv == lows[:, :, None].astype(np.int16)
    is_extreme |= signals_uv == highs[:, :, None].astype(np.int16)
    n_samples = signals_uv.shape[2]
    bound = min(_SATURATED * n_samples, max(5, n_samples / max(second // 2, 1) // 4))
    rows, leads = np.nonzero(np.bitwise_count(np.packbits(is_extreme, axis=2)).sum(axis=2) >= bound)
    signals = signals_uv[rows, leads].astype(np.int32)
    found = np.zeros(len(signals_uv), dtype=bool)
    for upward in (signals, -signals):
        highest = upward.max(axis=1, keepdims=True, initial=-40_000)
        is_highest = upward == highest
        next_to = np.where(is_highest, -40_000, upward).max(axis=1, keepdims=True, initial=-40_000)
        n_highest = is_highest.sum(axis=1)
        is_often = (n_highest >= bound) & (n_highest >= 3 * (upward == next_to).sum(axis=1))
        found[rows[is_often]] = True
    return found


def _may_have_pulse(signals_uv: NDArray[np.int16], sampling_rate_hz: float) -> NDArray[np.bool_]:
    """Look for a step of 1 mV in as many of the first eight leads as two thirds of all leads must have among them."""
    n_leads = signals_uv.shape[1]
    n_looked_at = min(n_leads, _N_STEPPED)
    n_least = max(ceil(n_leads * 2 / 3), 2) - (n_leads - n_looked_at)
    lag = max(round(0.02 * sampling_rate_hz), 1)
    steps = signals_uv[:, :n_looked_at, lag:] - signals_uv[:, :n_looked_at, :-lag]
    steps -= 799
    is_rise = (steps.view(np.uint16) < 403).view(np.uint8)  # 799 to 1201: negative ones are large as unsigned
    n_rising = is_rise[:, 0].copy()
    for lead in range(1, n_looked_at):
        n_rising += is_rise[:, lead]
    return np.asarray((n_rising >= n_least).any(axis=1))
