"""The calibration pulse that some devices store after the ECG, or before it: a rectangle of 1 mV in all leads alike.

No ECG has the same values in I, II and the precordial leads for long, and not at 1 mV. The four other limb leads are
not looked at: a device that computes them has other values there.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PULSE_MV, _TOLERANCE_MV = 1.0, 0.02
_MIN_PULSE_S = 0.04  # pulses last 0.1 to 0.5 s
_MIN_LEADS = 3
_COMPUTED = ("III", "aVR", "aVL", "aVF")
_LAST_S = 1.0  # what a device writes at once for its pulse


def find_pulse(
    signal_mv: NDArray[np.floating], lead_names: Sequence[str | None], sampling_rate_hz: float
) -> tuple[slice, str] | None:
    """Find a calibration pulse at the end or the beginning of a signal ``(lead, sample)`` in mV, of standard leads.

    Returns
    -------
    The samples without it, and what is to be told; None if there is no pulse. A pulse within the last (first) second
    takes all of that second with it, of which the rest is a filter that settles.
    """
    rows = [number for number, name in enumerate(lead_names) if name not in _COMPUTED]
    if len(rows) < _MIN_LEADS:
        return None
    n = signal_mv.shape[1]
    second = round(_LAST_S * sampling_rate_hz)
    if n_end := _measure_pulse(signal_mv[:, ::-1], rows, sampling_rate_hz):
        n_end = max(n_end, min(second, n))
        return slice(0, n - n_end), _tell("last", n_end / sampling_rate_hz)
    if n_start := _measure_pulse(signal_mv, rows, sampling_rate_hz):
        n_start = max(n_start, min(second, n))
        return slice(n_start, n), _tell("first", n_start / sampling_rate_hz)
    return None


def _measure_pulse(signal_mv: NDArray[np.floating], rows: list[int], sampling_rate_hz: float) -> int:
    """Return how many samples from the beginning are alike in all of these leads, if they are a pulse; else 0."""
    if (np.ptp(signal_mv[:, : int(_MIN_PULSE_S * sampling_rate_hz)][rows], axis=0) > _TOLERANCE_MV / 2).any():
        return 0  # as in nearly every ECG, of which no more is looked at
    leads = signal_mv[:, : round(10 * sampling_rate_hz)][rows]
    spread = np.ptp(leads, axis=0)
    differs = np.flatnonzero(~(spread <= _TOLERANCE_MV / 2))
    n_alike = int(differs[0]) if len(differs) else len(spread)
    values = leads[0, :n_alike]
    is_high = np.abs(values - _PULSE_MV) <= _TOLERANCE_MV
    is_low = np.abs(values) <= _TOLERANCE_MV
    n_high = int(is_high.sum())
    is_pulse = n_high >= _MIN_PULSE_S * sampling_rate_hz and n_high + int(is_low.sum()) >= 0.9 * n_alike
    return n_alike if is_pulse else 0


def _tell(which: str, duration_s: float) -> str:
    return f"cut off the {which} {duration_s:.4g} s: a calibration pulse of 1 mV in all leads"
