"""The beats of a record: where they are, how an attribution looks around them, and which wave it falls on.

Task: ten seconds of attribution are hard to read; laid over one another at the R peaks they show whether a net looks
at P, QRS or ST-T.

The beats come from WFDB's detector XQRS, run on the root mean square over the leads, so that no lead has to be a good
one, and at 250 Hz: at 100 Hz, PTB-XL's lower rate, its matched filter has two humps and marks each beat 60 ms early.
On 300 simulated ECGs, whose beats are known, it finds 99.6% of the beats 0.3 s or more from the ends, and 0.1% of its
detections there are false (on lead II alone 98.2% and 1.2%; the detector GQRS finds less than 95% on either, since
it misses the first beats). On 356 real ECGs one RR interval in 260 is longer than 1.7 or shorter than 0.6 times the
record's median (on lead II alone one in 150).

Conventions: arrays are ``(lead, sample)``; times are in seconds from the R peak.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import wfdb.processing
from numpy.typing import ArrayLike, NDArray
from scipy.signal import resample_poly

from ecgcls.errors import ConfigError

PHASES_S: Mapping[str, tuple[float, float]] = {"P": (-0.20, -0.06), "QRS": (-0.06, 0.06), "ST-T": (0.06, 0.40)}
"""Nominal windows of a beat's waves, seconds from the R peak; a wide QRS or a long QT reaches beyond its own."""

_COMPUTED_LEADS = {"iii", "avr", "avl", "avf"}  # from I and II, which they would make count four times

_DETECTOR_HZ = 250
_SEARCH_S = 0.06  # how far from XQRS's mark the peak is searched for
_SHORTEST_S = 1.0  # a shorter signal is not searched for beats


def find_r_peaks(signal_mv: ArrayLike, *, sampling_rate_hz: float, lead_names: Sequence[str]) -> NDArray[np.int64]:
    """Find the beats of one record.

    Parameters
    ----------
    sampling_rate_hz
        At least 50, since QRS complexes lie between 5 and 20 Hz.
    lead_names
        ``(lead,)``, whatever the case. III, aVR, aVL and aVF are left out: they are computed from I and II.

    Returns
    -------
    numpy.ndarray
        Sample numbers in rising order, each the largest root mean square over the leads within 60 ms of the detector's
        mark; empty if no beat is found. A beat in the record's first 0.3 s is found in two of three cases.
    """
    signal = np.asarray(signal_mv, dtype=np.float64)
    if signal.ndim != 2 or len(signal) != len(lead_names) or not len(signal):
        raise ConfigError(f"signal_mv must be (lead, sample) with {len(lead_names)} leads, got {signal.shape}")
    if sampling_rate_hz < 50:
        raise ConfigError(f"sampling_rate_hz must be at least 50 to find beats, got {sampling_rate_hz:g}")
    n_samples = signal.shape[1]
    if n_samples < _SHORTEST_S * sampling_rate_hz:
        return np.empty(0, np.int64)
    independent = [name.casefold() not in _COMPUTED_LEADS for name in lead_names]
    leads = signal[independent] if any(independent) else signal
    size = np.sqrt(np.square(leads - np.median(leads, axis=1, keepdims=True)).mean(axis=0))  # (sample,)
    marks = np.rint(_detect(size, sampling_rate_hz) * sampling_rate_hz).astype(np.int64)
    reach = round(_SEARCH_S * sampling_rate_hz)
    around = np.clip(marks[:, None] + np.arange(-reach, reach + 1), 0, n_samples - 1)  # (beat, sample)
    best = size[around].argmax(axis=1)
    return np.unique(around[np.arange(len(marks)), best])


def align_beats(
    values: ArrayLike, peaks: ArrayLike, *, sampling_rate_hz: float, before_s: float = 0.3, after_s: float = 0.5
) -> tuple[NDArray[np.float64], NDArray]:
    """Cut a record, a signal or its attribution, into its beats; those that reach beyond either end are left out.

    The peaks are sample numbers. Return the times ``(sample,)``, 0 at the peak, and the beats ``(beat, lead, sample)``.

    Examples
    --------
    >>> times_s, beats = align_beats([range(100)], [1, 50], sampling_rate_hz=10, before_s=0.2, after_s=0.1)
    >>> times_s
    array([-0.2, -0.1,  0. ,  0.1])
    >>> beats[0]
    array([[48, 49, 50, 51]])
    """
    array, peak = np.asarray(values), np.asarray(peaks, dtype=np.int64)
    offsets = np.arange(-round(before_s * sampling_rate_hz), round(after_s * sampling_rate_hz) + 1)
    whole = (peak + offsets[0] >= 0) & (peak + offsets[-1] < array.shape[1])
    beats = array[:, peak[whole, None] + offsets]  # (lead, beat, sample)
    return offsets / sampling_rate_hz, beats.swapaxes(0, 1)


def phase_shares(values: ArrayLike, peaks: ArrayLike, *, sampling_rate_hz: float) -> dict[str, float]:
    """Measure which share of a record's attribution, in magnitude, falls on each phase of its beats.

    A share means little without the time that the phase takes: a map that is the same everywhere has half of itself in
    ST-T at a normal rate. ``phase_shares(numpy.ones_like(values), ...)`` gives those. The arguments are those of
    `align_beats`.

    Returns
    -------
    dict
        'P', 'QRS', 'ST-T' (`PHASES_S`) and 'rest', which sum to 1; nan, all of them, where the values are 0 everywhere.
        A sample in the windows of two beats goes to QRS before P before ST-T: at a fast rate the next P lies on T.

    Examples
    --------
    >>> shares = phase_shares([[0, 3, 0, 0, 0, 0, 0, 0, 1, 0]], [1], sampling_rate_hz=10)
    >>> shares["QRS"], shares["rest"]
    (0.75, 0.25)
    """
    magnitude = np.abs(np.asarray(values, dtype=np.float64)).sum(axis=0)
    total = magnitude.sum()
    offsets = np.arange(len(magnitude)) - np.asarray(peaks, dtype=np.int64)[:, None]  # (beat, sample)
    time_s = offsets / sampling_rate_hz
    phases = np.full(len(magnitude), "rest")
    for phase in ("ST-T", "P", "QRS"):  # the last one wins
        start_s, end_s = PHASES_S[phase]
        phases[((time_s >= start_s) & (time_s < end_s)).any(axis=0)] = phase
    with np.errstate(invalid="ignore"):
        return {phase: float(magnitude[phases == phase].sum() / total) for phase in (*PHASES_S, "rest")}


def _detect(size: NDArray[np.float64], sampling_rate_hz: float) -> NDArray[np.float64]:
    """Seconds at which XQRS marks a beat."""
    ratio = Fraction(_DETECTOR_HZ / sampling_rate_hz).limit_denominator(1000)
    signal = resample_poly(size, ratio.numerator, ratio.denominator, padtype="line")
    if np.ptp(signal) == 0:
        return np.empty(0)
    with np.errstate(all="ignore"):  # it divides by the size of stretches that may be flat
        marks = wfdb.processing.xqrs_detect(signal, fs=_DETECTOR_HZ, verbose=False)
    return np.asarray(marks, dtype=np.float64) / float(ratio) / sampling_rate_hz
