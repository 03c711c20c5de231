"""How a window of an ECG looks in numbers, and whether it is an ECG at all.

Every number is computed of the windows that a net takes, so it needs neither the net nor the recording:

- *amplitude*: the log standard deviation of each lead;
- *spectrum*: the log share of each lead's power in six bands from 0.5 to 49 Hz;
- *shape*: the log kurtosis of each lead's slope over 40 ms, high where short steep beats stand out of a quiet rest
  [1]_, and the asymmetry of its seconds about their mean, which tells beats that point up from those that point down;
- *leads*: the correlations of the independent leads, eight of twelve, as Fisher's z;
- *rhythm*: height and place of the highest peak of the autocorrelation of the mean absolute slope, from 0.25 to 2 s,
  and how much that slope varies.

Two bounds hold for any source. Among 19,601 records of PTB-XL the number in brackets is the extreme, so none is found:

- *no beats*: the median lead's slope has a kurtosis below 3.3 (at least 3.5). Noise has 3, a sine 1.5;
- *noise*: the median lead has above 25 Hz more than 0.3 of its power up to 49 Hz (at most 0.21).

Conventions: windows are ``(window, lead, sample)`` in mV, the leads `lead_names` in standard order.

References
----------
.. [1] Q. Li, R. G. Mark, G. D. Clifford, "Robust heart rate estimation from multiple asynchronous noisy sources using
       signal quality indices and a Kalman filter", Physiological Measurement 29(1), 2008,
       doi:10.1088/0967-3334/29/1/002.
"""

from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ecgcls.data.lead_sets import LEADS, find_independent

Features = dict[str, NDArray[np.float64]]
"""By group of features: ``(window, feature)``."""

MIN_KURTOSIS = 3.3
"""Of the median lead's slope."""
MAX_NOISE_SHARE = 0.3
"""Of the median lead's power up to 49 Hz, above 25 Hz."""
KINDS = {
    "noise": f"more than {MAX_NOISE_SHARE:.0%} of the power of most leads is above 25 Hz",
    "no beats": "no beats stand out in most leads",
}
"""What is wrong with a window that is no ECG in any source."""
_EDGES_HZ = (0.5, 3, 8, 15, 25, 35, 49)
_N_NOISY = 2  # bands above 25 Hz
_SLOPE_S, _SMOOTHED_S, _RHYTHM_S = 0.04, 0.1, (0.25, 2.0)
_TINY = 1e-3  # mV: nothing below is told apart
_N_AT_ONCE = 16  # windows, which fit a processor's cache


def describe_windows(
    windows_mv: NDArray[np.floating], sampling_rate_hz: float, lead_names: Sequence[str] = LEADS
) -> Features:
    """Return the features of windows ``(window, lead, sample)``, by group."""
    parts = [
        _describe(np.asarray(windows_mv[start : start + _N_AT_ONCE], dtype=np.float32), sampling_rate_hz, lead_names)
        for start in range(0, max(len(windows_mv), 1), _N_AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}


def find_noise(features: Features) -> NDArray[np.bool_]:
    """Return ``(window, kind)``: which windows are no ECG in any source, by what is wrong as in `KINDS`."""
    n_leads = features["amplitude"].shape[1]
    kurtosis = np.exp(np.median(features["shape"][:, :n_leads], axis=1))
    shares = np.exp(features["spectrum"]).reshape(len(kurtosis), n_leads, len(_EDGES_HZ) - 1)
    noise = np.median(shares[:, :, -_N_NOISY:].sum(axis=2), axis=1)
    is_noise = noise > MAX_NOISE_SHARE
    return np.column_stack([is_noise, (kurtosis < MIN_KURTOSIS) & ~is_noise])


def _describe(mv: NDArray[np.float32], rate_hz: float, lead_names: Sequence[str]) -> Features:
    centered = mv - mv.mean(axis=-1, keepdims=True)
    room = np.empty_like(centered)  # for what is needed once: asking for memory takes longer than these sums
    sd = _find_sd(centered, room)
    lag = min(max(round(_SLOPE_S * rate_hz), 1), mv.shape[-1] - 1)
    slope = centered[..., lag:] - centered[..., :-lag]
    squares = np.multiply(slope, slope, out=room[..., lag:])
    fourth = np.einsum("...i,...i->...", squares, squares) / squares.shape[-1]
    kurtosis = fourth / (np.sqrt(squares.mean(axis=-1)) + _TINY) ** 4
    independent = find_independent(lead_names)
    return {
        "amplitude": np.log(sd + _TINY),
        "leads": _correlate(centered[:, independent], sd[:, independent]),
        "spectrum": _share_power(centered, rate_hz, room),
        "shape": np.column_stack([np.log(kurtosis + 1e-2), _find_asymmetry(mv, rate_hz)]),
        "rhythm": _find_rhythm(np.abs(slope, out=slope).mean(axis=1), rate_hz),
    }


def _find_sd(centered: NDArray[np.float32], room: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the standard deviation of each lead, as NumPy's, in `room`."""
    rest = np.subtract(centered, centered.mean(axis=-1, keepdims=True), out=room)
    sd: NDArray[np.float32] = np.sqrt(np.multiply(rest, rest, out=room).mean(axis=-1))
    return sd


def _share_power(centered: NDArray[np.float32], rate_hz: float, room: NDArray[np.float32]) -> NDArray[np.float32]:
    n_samples = centered.shape[-1]
    places = np.searchsorted(np.fft.rfftfreq(n_samples, 1 / rate_hz), _EDGES_HZ)
    taper = np.hanning(n_samples).astype(np.float32)
    spectrum = scipy.fft.rfft(np.multiply(centered, taper, out=room), axis=-1, overwrite_x=True)[..., : places[-1]]
    power = spectrum.real**2
    power += spectrum.imag**2
    power *= 2
    power /= n_samples * max(float((taper**2).sum()), _TINY)  # mV^2
    total = np.cumsum(power, axis=-1)
    up_to = np.where(places > 0, total[..., places - 1], 0)
    bands = np.diff(up_to, axis=-1).clip(min=0) + _TINY**2
    shares: NDArray[np.float32] = np.log(bands / bands.sum(axis=-1, keepdims=True))
    return shares.reshape(len(centered), centered.shape[1] * (len(_EDGES_HZ) - 1))


def _find_asymmetry(mv: NDArray[np.float32], rate_hz: float) -> NDArray[np.float32]:
    length = min(max(round(rate_hz), 1), mv.shape[-1])
    n_seconds = mv.shape[-1] // length
    seconds = mv[..., : n_seconds * length].reshape(*mv.shape[:2], n_seconds, length)
    high, low, middle = seconds.max(axis=-1), seconds.min(axis=-1), seconds.mean(axis=-1)
    asymmetry: NDArray[np.float32] = np.median((high + low - 2 * middle) / (high - low + 20 * _TINY), axis=-1)
    return asymmetry


def _correlate(centered: NDArray[np.float32], sd: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled = centered / (sd[:, :, None] + _TINY)
    first, second = np.triu_indices(scaled.shape[1], 1)
    correlations = scaled @ scaled.transpose(0, 2, 1) / scaled.shape[-1]
    z: NDArray[np.float32] = np.arctanh(correlations[:, first, second].clip(-0.99, 0.99))
    return z


def _find_rhythm(activity: NDArray[np.float32], rate_hz: float) -> NDArray[np.float32]:
    n_samples, length = activity.shape[1], max(round(_SMOOTHED_S * rate_hz), 1)
    total = np.cumsum(np.pad(activity, ((0, 0), (length, 0))), axis=1)
    smooth = (total[:, length:] - total[:, :-length]) / length
    mean = smooth.mean(axis=1)
    smooth = smooth - mean[:, None]
    spectrum = scipy.fft.rfft(smooth, 2 * n_samples, axis=1)
    correlation = scipy.fft.irfft(spectrum.real**2 + spectrum.imag**2, axis=1)[:, :n_samples]
    first, last = (min(round(lag_s * rate_hz), n_samples - 1) for lag_s in _RHYTHM_S)
    searched = correlation[:, first : last + 1] / (correlation[:, :1] + 1e-9)
    lags_s = (searched.argmax(axis=1) + first + 1) / rate_hz
    variation = smooth.std(axis=1) / (mean + _TINY)
    return np.column_stack([searched.max(axis=1), np.log(lags_s), np.log(variation + 0.05)])
