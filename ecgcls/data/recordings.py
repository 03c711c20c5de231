"""A 12-lead recording from any device, checked and converted to what a net takes.

A net takes standard leads in one order, one sampling rate and one length, in mV. What differs is repaired if that
needs no guess, and every repair is reported:

- leads are matched by name and put in order, other signals are left out;
- missing limb leads are derived: of I, II and III any two give the third (Einthoven), and aVR = -(I + II) / 2,
  aVL = I - II / 2, aVF = II - I / 2 (Goldberger [1]_);
- another sampling rate is resampled by a polyphase filter, which prevents aliasing;
- a longer recording is cut into windows; the last one ends with the recording, so that no sample is left out.

Anything else is an error: a missing precordial lead, missing samples, a recording that is too short.

References
----------
.. [1] Kligfield et al. Recommendations for the standardization and interpretation of the electrocardiogram, part I.
   Circulation 115 (2007) 1306-1324. doi:10.1161/CIRCULATIONAHA.106.180200 (how the limb leads are related)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.signals import LEADS, read_leads, strip_extension, to_millivolt
from ecgcls.errors import DataError

MIN_SAMPLING_RATE_HZ = 50.0
"""Below this a QRS complex can no longer be resolved."""
MAX_AMPLITUDE_MV = 32.767
"""As for the signals of a data set; larger values cannot be mV."""

_NAME = re.compile(r"(?:mdc[ _])?(?:ecg[ _-]*)?(?:lead[ _-]*)?(d?i{1,3}|av[rlf]|[vc][1-6])", re.IGNORECASE)
_STANDARD = {lead.casefold(): lead for lead in LEADS} | {
    **{f"d{lead.casefold()}": lead for lead in ("I", "II", "III")},  # as in Romance languages
    **{f"c{number}": f"V{number}" for number in range(1, 7)},  # as in IEC 60601: the chest electrodes
}
_WEIGHTS = {
    ("I", "II"): {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)},
    ("I", "III"): {"II": (1.0, 1.0)},
    ("II", "III"): {"I": (1.0, -1.0)},
}  # of two limb leads, in those that follow from them


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording as found in a file."""

    signal_mv: NDArray[np.floating]
    """``(lead, sample)``."""
    sampling_rate_hz: float
    lead_names: tuple[str, ...]
    """The name of each row, as in the file."""
    left_out: tuple[str, ...] = ()
    """Names of further signals in the file that were not read."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A recording in the form that a net takes."""

    windows_mv: NDArray[np.float32]
    """``(window, lead, sample)``."""
    starts_s: tuple[float, ...]
    """When each window starts."""
    repairs: tuple[str, ...]
    """What was changed, in plain language and in order; empty if nothing was."""


def read_recording(path: Path) -> Recording:
    """Read the standard leads of a WFDB record (a path with or without an extension); units come from the header.

    Raises
    ------
    DataError
        If a file is missing, truncated or damaged, a lead's unit is not a voltage, or a sample is missing.
    """
    given: tuple[str, ...] = ()

    def choose(names: Sequence[str]) -> list[int]:
        nonlocal given
        given = tuple(names)
        return [number for number, name in enumerate(_standardize_names(given)) if name]

    record = read_leads(strip_extension(path), choose)
    standard = _standardize_names(given)
    return Recording(
        signal_mv=to_millivolt(record.signal_uv),
        sampling_rate_hz=record.sampling_rate_hz,
        lead_names=tuple(name for name, known in zip(given, standard, strict=True) if known),
        left_out=tuple(name for name, known in zip(given, standard, strict=True) if not known),
    )


def prepare(recording: Recording, *, lead_names: Sequence[str], sampling_rate_hz: float, n_samples: int) -> Prepared:
    """Check a recording and convert it to what a net takes: these leads, this sampling rate and number of samples.

    Raises
    ------
    DataError
        If a lead is missing and cannot be derived, or is given twice; if a sample is missing or not plausible in mV;
        if all leads are flat; if the sampling rate is invalid; if the recording is too short.
    """
    signal = np.asarray(recording.signal_mv)
    if signal.ndim != 2 or len(signal) != len(recording.lead_names):
        raise DataError(
            f"the signal must be (lead, sample) with a name for each lead, got {signal.shape} and "
            f"{len(recording.lead_names)} names"
        )
    rate_hz = float(recording.sampling_rate_hz)
    if not np.isfinite(rate_hz) or rate_hz < MIN_SAMPLING_RATE_HZ:
        raise DataError(f"the sampling rate must be at least {MIN_SAMPLING_RATE_HZ:g} Hz, got {rate_hz:g}")
    signal, repairs = _put_leads_in_order(signal, recording, lead_names)
    repairs += _check_values(signal, lead_names)
    if rate_hz != sampling_rate_hz:
        signal = _resample(signal, rate_hz, sampling_rate_hz)
        repairs.append(f"resampled from {rate_hz:g} to {sampling_rate_hz:g} Hz")
    if signal.shape[1] < n_samples:
        raise DataError(
            f"too short: {signal.shape[1] / sampling_rate_hz:g} s, the net needs {n_samples / sampling_rate_hz:g} s"
        )
    last = signal.shape[1] - n_samples
    starts = [*range(0, last, n_samples), last]
    if len(starts) > 1:
        repairs.append(
            f"cut into {len(starts)} windows of {n_samples / sampling_rate_hz:g} s, whose probabilities are averaged"
        )
    windows = np.stack([signal[:, start : start + n_samples].astype(np.float32) for start in starts])
    return Prepared(windows, tuple(start / sampling_rate_hz for start in starts), tuple(repairs))


@lru_cache(maxsize=1024)  # the headers of a folder have the same few lists of names
def _standardize_names(names: tuple[str, ...]) -> tuple[str | None, ...]:
    """Return the standard name of each lead, None for other signals."""
    found = [_NAME.fullmatch(name.strip()) for name in names]
    return tuple(_STANDARD[match[1].casefold()] if match else None for match in found)


def _put_leads_in_order(
    signal: NDArray[np.floating], recording: Recording, wanted: Sequence[str]
) -> tuple[NDArray[np.floating], list[str]]:
    """Return the wanted leads, ``(lead, sample)``, and what was changed."""
    names = _standardize_names(tuple(recording.lead_names))
    if names == tuple(wanted) and not recording.left_out:
        return signal, []
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise DataError(f"the lead {twice[0]} is given twice, among {', '.join(recording.lead_names)}")
    rows = {name: row for name, row in zip(names, signal, strict=True) if name is not None}
    there = [name for name in names if name in wanted]
    derived = [name for name in wanted if name not in rows]
    if derived:
        rows = _derive_limb_leads({name: row.astype(np.float64) for name, row in rows.items()}) | rows
    absent = [name for name in wanted if name not in rows]
    if absent:
        raise DataError(
            f"the lead {', '.join(absent)} is missing, got {', '.join(recording.lead_names) or 'no standard lead'} "
            "(limb leads can be derived from two of I, II, III; others cannot)"
        )
    repairs = []
    unwanted = [given for given, name in zip(recording.lead_names, names, strict=True) if name not in wanted]
    if left_out := [*recording.left_out, *unwanted]:
        repairs.append(f"left out {', '.join(left_out)}")
    if there != [name for name in wanted if name in there]:
        repairs.append("leads put in order")
    if derived:
        sources = " and ".join([name for name in ("I", "II", "III") if name in there][:2])
        repairs.append(f"derived {', '.join(derived)} from {sources}")
    return np.stack([rows[name] for name in wanted]), repairs


def _derive_limb_leads(rows: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return all leads that follow from those that are given, and these."""
    found = dict(rows)
    for pair in (("I", "III"), ("II", "III"), ("I", "II")):
        if pair[0] in found and pair[1] in found:
            weights = _WEIGHTS[pair].items()
            found = {name: a * found[pair[0]] + b * found[pair[1]] for name, (a, b) in weights} | found
    return found


def _check_values(signal: NDArray[np.floating], lead_names: Sequence[str]) -> list[str]:
    """Reject what cannot be an ECG; return notes on flat leads."""
    if not signal.shape[1]:
        raise DataError("the recording has no sample")
    low, high = signal.min(axis=1), signal.max(axis=1)
    if not np.isfinite([low, high]).all():
        missing = (~np.isfinite(signal)).sum(axis=1)
        leads = ", ".join(f"{name} ({count})" for name, count in zip(lead_names, missing, strict=True) if count)
        raise DataError(f"missing samples (NaN or infinite) in {leads}")
    largest = max(float(high.max()), -float(low.min()))
    if largest > MAX_AMPLITUDE_MV:
        raise DataError(
            f"a sample of {largest:.1f} mV; an ECG stays within {MAX_AMPLITUDE_MV} mV: are the values microvolts?"
        )
    is_flat = low == high
    if is_flat.all():
        raise DataError("a flat line in all leads")
    return [f"lead {name} is flat" for name, flat in zip(lead_names, is_flat, strict=True) if flat]


def _resample(signal: NDArray[np.floating], from_hz: float, to_hz: float) -> NDArray[np.float64]:
    from scipy.signal import resample_poly  # takes half a second, and ECGs at the net's own rate do not need it

    ratio = (Fraction(str(to_hz)) / Fraction(str(from_hz))).limit_denominator(2000)  # off by one sample in hours
    return resample_poly(signal.astype(np.float64), ratio.numerator, ratio.denominator, axis=1, padtype="line")
