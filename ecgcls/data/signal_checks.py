"""What no recording of an ECG can have: rates, values and ranges that are refused before anything is repaired."""

from collections.abc import Collection, Sequence, Set

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import DataError

MIN_SAMPLING_RATE_HZ = 50.0
"""Below this a QRS complex can no longer be resolved."""
MAX_SAMPLING_RATE_HZ = 10_000.0
"""No ECG is recorded faster; a header that says so is wrong."""
MAX_AMPLITUDE_MV = 32.767
"""As for the signals of a data set; larger values cannot be mV."""
MIN_RANGE_MV = 0.02
"""Below this nothing is left of an ECG at a resolution of a microvolt; an ECG in volts stays below."""


def check_rate(sampling_rate_hz: float) -> float:
    """Return a sampling rate as a float; DataError if no ECG has it."""
    try:
        rate_hz = float(sampling_rate_hz)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"the sampling rate must be a number of Hz, got {sampling_rate_hz!r}") from error
    if not MIN_SAMPLING_RATE_HZ <= rate_hz <= MAX_SAMPLING_RATE_HZ:
        raise DataError(
            f"the sampling rate must be at least {MIN_SAMPLING_RATE_HZ:g} Hz and at most {MAX_SAMPLING_RATE_HZ:g} Hz, "
            f"got {rate_hz:g}"
        )
    return rate_hz


def as_signal(signal_mv: ArrayLike, lead_names: Sequence[str]) -> NDArray[np.floating]:
    """Return a signal ``(lead, sample)`` as plain numbers, a masked sample as NaN; DataError if it is none."""
    if isinstance(signal_mv, list | tuple) and any(np.ma.isMaskedArray(row) for row in signal_mv):
        signal_mv = np.ma.array(signal_mv)  # numpy.asarray would drop the rows' masks
    if np.ma.isMaskedArray(signal_mv) and np.ma.getmaskarray(signal_mv).any():
        masked = np.ma.asarray(signal_mv)
        if masked.dtype.kind in "iuf":
            signal_mv = np.where(np.ma.getmaskarray(masked), np.nan, masked.data)
    try:
        signal = np.asarray(signal_mv)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"the signal must be an array (lead, sample) in mV ({str(error).splitlines()[0]})") from error
    if signal.dtype.kind not in "iuf":
        raise DataError(f"the signal must be real numbers in mV, got an array of {signal.dtype}")
    is_list = isinstance(lead_names, Collection) and not isinstance(lead_names, str | Set)  # a set has no order
    if not is_list or not all(isinstance(name, str) for name in lead_names):
        raise DataError(f"the lead names must be a list of texts, one a row, got {lead_names!r}")
    if signal.ndim != 2 or len(signal) != len(lead_names):
        raise DataError(
            f"the signal must be (lead, sample) with a name for each lead, got {signal.shape} and "
            f"{len(lead_names)} names"
        )
    return signal


def check_values(signal: NDArray[np.floating], lead_names: Sequence[str]) -> float:
    """Reject what cannot be an ECG, and return the largest range of a lead, mV."""
    if not signal.shape[1]:
        raise DataError("the recording has no sample")
    low, high = signal.min(axis=1).astype(np.float64), signal.max(axis=1).astype(np.float64)
    if not np.isfinite([low, high]).all():
        missing = (~np.isfinite(signal)).sum(axis=1)
        leads = ", ".join(f"{name} ({count})" for name, count in zip(lead_names, missing, strict=True) if count)
        raise DataError(f"missing samples (NaN or infinite) in {leads}")
    largest = max(float(high.max()), -float(low.min()))
    if largest > MAX_AMPLITUDE_MV:
        raise DataError(
            f"a sample of {largest:.6g} mV; an ECG stays within {MAX_AMPLITUDE_MV} mV: are the values microvolts?"
        )
    return float((high - low).max())


def check_range(range_mv: float) -> None:
    """Reject a recording whose lead of the largest range has nothing of an ECG."""
    if not range_mv:
        raise DataError("a flat line in all leads")
    if range_mv < MIN_RANGE_MV:
        raise DataError(
            f"all values lie within {range_mv:.2g} mV; an ECG has at least {MIN_RANGE_MV:g} mV: are they volts?"
        )
