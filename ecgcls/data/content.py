"""What is wrong with a recording's scale or content, as far as the signal itself tells.

Every check has a bound that real ECGs keep with room to spare; the numbers in brackets are the extremes of 19,601
records of PTB-XL. What a recording has in one second is the median over its seconds (those that are constant in all
leads left out), so that a short artifact decides nothing.

- *too small*: no lead's peak-to-peak value in one second reaches 0.3 mV (at least 0.53 mV): volts?
- *too large*: the median lead's peak-to-peak value in one second exceeds 4.5 mV (at most 4.0 mV): a gain? With fewer
  than nine leads these two bounds are wider (`SCALES_MV`).
- *normalized*: two thirds of the leads have mean 0 and standard deviation 1 (to 0.01 mV), or all leads have the same
  standard deviation or range (to 5 %; they differ by 34 % at least), or all values together have mean 0 and standard
  deviation 1 (to 0.001 mV), or they span exactly 0 to 1 or -1 to 1 (to 0.0005 mV).
- *limb leads*: the two sides of III = II - I, aVR = -(I + II) / 2, aVL = (I - III) / 2, aVF = (II + III) / 2 or
  aVR + aVL + aVF = 0 differ in one second by a root mean square above 0.02 mV and above 10 % of that of the limb leads
  [1]_ (0.0006 mV, but for six records; four are noted, for a pacemaker's spikes that do contradict one another).
- *copies*: two leads differ by less than 0.002 mV, root mean square (none).
- *constant*: a lead keeps one value for a second or longer (0.84 s, but for three records), or throughout.
- *saturated*: a lead's largest or smallest value is there in a quarter of its half seconds, at least five (in a fifth),
  or in 2 % of its samples (1.8 %), and three times as often as the value next to it; the former only at a resolution of
  0.006 mV or finer.
- *calibration*: two thirds of the leads rise at once by 1 mV (to 20 %), stay there for 0.1 s (in the median, to 0.3 mV)
  and fall again within 1 s (none).

Few leads are more easily alike: fewer than eight must have the same standard deviation or range to 0.2 %, fewer than
nine together mean 0 and standard deviation 1 to 0.0001 mV, and all of these a calibration pulse. So none of the records
is normalized or has a pulse by I and II, by I, II and V2, by V1 to V6 or by a single one of I and V2.

Nothing can be told of what keeps to all this: a reversal of electrodes (the leads obey the same relations), a gain that
is wrong by less, a lead that is inverted with all others.

References
----------
.. [1] Kligfield et al. Recommendations for the standardization and interpretation of the electrocardiogram, part I.
   Circulation 115 (2007) 1306-1324. doi:10.1161/CIRCULATIONAHA.106.180200
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgcls.data.lead_names import standardize_names
from ecgcls.data.limb_leads import describe_contradictions

LOST = ("flat", "constant", "saturated")
"""The checks that say that a part of the ECG is not in the signal."""
SCALES_MV = ((9, 0.3, 4.5), (5, 0.15, 6.5), (2, 0.15, 12.0), (1, 0.05, 12.0))
"""From how many leads on: the least peak-to-peak value in one second of the largest lead, the most of the median one.

Of PTB-XL's records the largest of I and II has 0.27 mV at least, a single lead 0.09 mV; the median precordial lead has
5.9 mV at most, a single one 10.8 mV.
"""
MAX_COPY_MV = 0.002
"""Root mean square of the difference of two leads that are one."""
MAX_CONSTANT_S = 1.0
"""A lead that keeps its value for as long is noted."""
MAX_SATURATED = 0.02
"""Share of a lead's samples at its largest, or at its smallest value, whatever the lead's resolution."""
_MAX_RESOLUTION_MV = 0.006  # of a lead whose every value is rare
_MANY, _ALIKE, _FEW_ALIKE = 8, 0.05, 0.002  # leads, and to what they have the same spread, so many or fewer
_MOST = 2 / 3  # of the leads: the others may have been derived from them


@dataclass(frozen=True, eq=False)
class _Signal:
    """A recording, and what several checks ask for."""

    mv: NDArray[np.float32]
    """``(lead, sample)``."""
    rate_hz: float
    names: tuple[str, ...]
    start_s: float
    is_flat: NDArray[np.bool_]
    """By lead."""
    seconds: NDArray[np.float32]
    """``(lead, second, sample)``: the whole seconds that are not constant in all leads."""
    span_mv: NDArray[np.float32]
    """``(lead,)``: peak to peak in one second."""

    def say_when(self, start: int, stop: int) -> str:
        return f"from {self.start_s + start / self.rate_hz:.2f} to {self.start_s + stop / self.rate_hz:.2f} s"

    def say_which(self, leads: Sequence[int]) -> str:
        """Name leads by number, with the verb."""
        if len(leads) == len(self.names) > 1:
            return "all leads are"
        return f"{', '.join(self.names[lead] for lead in leads)} {'is' if len(leads) == 1 else 'are'}"


def check_content(signal_mv: ArrayLike, lead_names: Sequence[str], sampling_rate_hz: float) -> list[str]:
    """Return what is doubtful in a recording ``(lead, sample)`` without missing samples: a note for each check."""
    return list(inspect_content(signal_mv, lead_names, sampling_rate_hz).values())


def inspect_content(
    signal_mv: ArrayLike, lead_names: Sequence[str], sampling_rate_hz: float, *, start_s: float = 0.0
) -> dict[str, str]:
    """Do as `check_content`, with the name of each check; `start_s` is when this part of a recording begins."""
    mv = np.ascontiguousarray(signal_mv, dtype=np.float32)
    lows, highs = mv.min(axis=1), mv.max(axis=1)
    is_flat = lows == highs
    seconds = _cut_seconds(mv, sampling_rate_hz)
    spans = seconds.max(axis=2) - seconds.min(axis=2)  # (lead, second)
    is_live = spans.any(axis=0)
    names = tuple(lead_names)
    standard = [known or name for known, name in zip(standardize_names(names), names, strict=True)]
    if is_flat.all() or not is_live.any():
        return {"flat": f"all leads are flat from {start_s:.2f} to {start_s + mv.shape[1] / sampling_rate_hz:.2f} s"}
    if not is_live.all():
        seconds, spans = seconds[:, is_live], spans[:, is_live]
    signal = _Signal(mv, sampling_rate_hz, names, start_s, is_flat, seconds, np.median(spans, axis=1))
    found = {
        "scale": _check_scale(signal),
        "normalized": _check_normalization(signal, lows, highs),
        "limb leads": describe_contradictions(dict(zip(standard, seconds, strict=True))),
        "copies": _check_copies(signal),
        "flat": _name_flat(signal),
        "constant": _check_constant(signal),
        "saturated": _check_saturation(signal, lows, highs),
        "calibration": _check_calibration(signal),
    }
    if found["normalized"]:
        del found["scale"]  # which the normalization explains
    if found["calibration"]:
        del found["saturated"]  # for a moment, all leads are at 1 mV
    return {check: note for check, note in found.items() if note}


def _cut_seconds(mv: NDArray[np.float32], rate_hz: float) -> NDArray[np.float32]:
    """Return ``(lead, second, sample)``; a recording below a second is one."""
    length = min(max(round(rate_hz), 1), mv.shape[1])
    n_seconds = mv.shape[1] // length
    return mv[:, : n_seconds * length].reshape(len(mv), n_seconds, length)


def _check_scale(signal: _Signal) -> str:
    largest = float(signal.span_mv.max())
    least, most = next(bounds for n_leads, *bounds in SCALES_MV if len(signal.names) >= n_leads)
    if largest < least:
        return (
            f"too small: {largest:.2g} mV from peak to peak in the largest lead, an ECG has at least "
            f"{least:g} mV: volts, or a wrong gain?"
        )
    median = float(np.median(signal.span_mv))
    if median > most:
        return (
            f"too large: {median:.1f} mV from peak to peak in the median lead, an ECG has at most {most:g} "
            "mV: a wrong gain?"
        )
    return ""


def _check_normalization(signal: _Signal, lows: NDArray[np.float32], highs: NDArray[np.float32]) -> str:
    live = ~signal.is_flat
    mean, sd = signal.mv.mean(axis=1), signal.mv.std(axis=1)
    n_standard = ((abs(mean) < 0.01) & (abs(sd - 1) < 0.01)).sum()
    if n_standard > 1 and n_standard >= _MOST * live.sum():
        return f"normalized: {n_standard} leads have mean 0 and standard deviation 1, so they are not mV"
    if live.sum() > 2:  # two leads may be alike
        for what, values in (("standard deviation", sd[live]), ("range", (highs - lows)[live])):
            bound = _ALIKE if live.sum() >= _MANY else _FEW_ALIKE
            if values.max() < (1 + bound) * values.min():
                how = f"({values.mean():.3g}, to {100 * bound:g} %)"
                return f"normalized: all leads have the same {what} {how}, so they are not mV"
    low, high = float(lows.min()), float(highs.max())
    if abs(high - 1) < 5e-4 and min(abs(low), abs(low + 1)) < 5e-4:
        return f"normalized: the values span exactly {round(low)} to 1, so they are not mV"
    whole_mean = float(mean.mean())
    whole_sd = float(np.sqrt((sd**2 + mean**2).mean() - whole_mean**2))
    bound = 1e-3 if len(mean) > _MANY else 1e-4
    if abs(whole_mean) < bound and abs(whole_sd - 1) < bound:
        return "normalized: all values together have mean 0 and standard deviation 1, so they are not mV"
    return ""


def _check_copies(signal: _Signal) -> str:
    numbers = np.flatnonzero(~signal.is_flat)
    live = signal.mv[numbers].astype(np.float64)
    products = live @ live.T
    power = products.diagonal()
    squares = power[:, None] + power - 2 * products
    bounds = np.minimum(MAX_COPY_MV**2 * live.shape[1], 1e-3 * power)  # in volts, all leads are alike
    pairs = [(i, j) for i, j in zip(*np.nonzero(squares < bounds), strict=True) if i < j]
    texts = [f"{signal.names[numbers[j]]} of {signal.names[numbers[i]]}" for i, j in pairs]
    return f"copies: {', '.join(texts[:3])}{', ...' if len(texts) > 3 else ''} to {MAX_COPY_MV:g} mV" if texts else ""


def _name_flat(signal: _Signal) -> str:
    flat = np.flatnonzero(signal.is_flat).tolist()
    return f"{'lead' if len(flat) == 1 else 'leads'} {signal.say_which(flat)} flat" if flat else ""


def _check_constant(signal: _Signal) -> str:
    n_leads, n_samples = signal.mv.shape
    bound = max(round(MAX_CONSTANT_S * signal.rate_hz), 2)
    changes = np.ones((n_leads, n_samples + 1), dtype=bool)  # before each sample; the ends count
    np.not_equal(signal.mv[:, 1:], signal.mv[:, :-1], out=changes[:, 1:-1])
    places = np.flatnonzero(changes)
    lengths = np.diff(places)
    if lengths.max() < bound:
        return ""
    runs: dict[int, tuple[int, int]] = {}  # by lead, its longest: first sample, and the one after the last
    for lead in np.flatnonzero(~signal.is_flat).tolist():
        first, last = np.searchsorted(places, [lead * (n_samples + 1), (lead + 1) * (n_samples + 1) - 1])
        run = int(first + lengths[first:last].argmax())
        if lengths[run] >= bound:
            start = int(places[run]) - lead * (n_samples + 1)
            runs[lead] = start, start + int(lengths[run])
    if not runs:
        return ""
    start, stop = max(run[0] for run in runs.values()), min(run[1] for run in runs.values())
    if len(runs) == (~signal.is_flat).sum() and stop - start >= bound:
        runs = dict.fromkeys(runs, (start, stop))  # where all of them are constant
    texts = []
    for start, stop in dict.fromkeys(runs.values()):
        leads = [lead for lead in runs if runs[lead] == (start, stop)]
        value = signal.mv[leads[0], start]
        texts.append(f"{signal.say_which(leads)} constant at {value:.3g} mV {signal.say_when(start, stop)}")
    return f"{'; '.join(texts[:3])}{'; ...' if len(texts) > 3 else ''}"


def _check_saturation(signal: _Signal, lows: NDArray[np.float32], highs: NDArray[np.float32]) -> str:
    length = max(round(signal.rate_hz / 2), 1)
    n_halves = signal.mv.shape[1] // length
    texts = []
    for extremes in (lows, highs):
        is_at = signal.mv == extremes[:, None]
        share = is_at.mean(axis=1)
        n_places = is_at[:, : n_halves * length].reshape(len(is_at), n_halves, length).any(axis=2).sum(axis=1)
        is_often = (share >= MAX_SATURATED) | (n_places >= max(5, n_halves / 4))
        for lead in np.flatnonzero(is_often & ~signal.is_flat).tolist():
            row, at = signal.mv[lead], is_at[lead]
            # A constant part is noted already; a coarse converter gives each of its values often.
            rest = row[~at]
            next_to = rest.min() if extremes is lows else rest.max()
            is_coarse = share[lead] < MAX_SATURATED and _find_resolution(row) > _MAX_RESOLUTION_MV
            if at.sum() >= max(5, 3 * (rest == next_to).sum()) and not is_coarse and _longest_run(at) < signal.rate_hz:
                texts.append(f"{signal.names[lead]} ({at.sum()} samples at {extremes[lead]:.3g} mV)")
    return f"saturated: {', '.join(texts)}" if texts else ""


def _find_resolution(row: NDArray[np.float32]) -> float:
    steps = abs(np.diff(row))
    return float(steps[steps > 0].min())


def _longest_run(is_in: NDArray[np.bool_]) -> int:
    outside = np.flatnonzero(np.concatenate([[True], ~is_in, [True]]))
    return int(np.diff(outside).max()) - 1


def _check_calibration(signal: _Signal) -> str:
    lag, top = max(round(0.02 * signal.rate_hz), 1), max(round(0.1 * signal.rate_hz), 1)
    if signal.mv.shape[1] <= lag + top or len(signal.mv) < 2:
        return ""
    steps = signal.mv[:, lag:] - signal.mv[:, :-lag]
    most = max((_MOST if len(signal.mv) > _MANY else 1) * len(signal.mv), 2)
    rises = np.flatnonzero((abs(steps - 1) < 0.2).sum(axis=0) >= most)
    if not len(rises):
        return ""
    falls = np.flatnonzero((abs(steps + 1) < 0.2).sum(axis=0) >= most)
    for rise in rises.tolist():
        after = falls[(falls >= rise + top) & (falls <= rise + lag + signal.rate_hz)].tolist()
        if after:
            height = np.median(signal.mv[:, rise + lag : after[0] + 1], axis=1) - signal.mv[:, rise]  # of beats as well
            if (abs(height - 1) < 0.3).sum() >= most:
                return f"a calibration pulse of 1 mV in all leads {signal.say_when(rise + 1, after[0] + lag)}"
    return ""
