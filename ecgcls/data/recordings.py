"""Anybody's 12-lead recording, checked and brought into the form that a net takes.

A net takes standard leads in one order, one sampling rate and one length, in mV. A recording may come with others;
what can be repaired without guessing is repaired, and each repair is said in words:

- leads are matched by name, put in order, and others left out;
- missing limb leads are derived: of I, II and III any two give the third (Einthoven), and aVR = -(I + II) / 2,
  aVL = I - II / 2, aVF = II - I / 2 (Goldberger [1]_);
- another sampling rate is resampled by a polyphase filter that keeps out what would alias;
- a longer recording is cut into windows, of which the last ends with the recording, so that no sample is left out.

Whatever else is amiss is refused: a precordial lead missing, missing samples, a recording that is too short.

References
----------
.. [1] Kligfield et al. Recommendations for the standardization and interpretation of the electrocardiogram, part I.
   Circulation 115 (2007) 1306-1324. doi:10.1161/CIRCULATIONAHA.106.180200 (how the limb leads hang together)
"""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from io import FileIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.signals import LEADS, read_leads, to_millivolt
from ecgcls.errors import ConfigError, DataError

MIN_SAMPLING_RATE_HZ = 50.0
"""Below this a QRS complex is no longer told apart."""
MAX_AMPLITUDE_MV = 32.767
"""As for the signals of a data set; what is larger was not given in mV."""

_NAME = re.compile(r"(?:mdc[ _])?(?:ecg[ _-]*)?(?:lead[ _-]*)?(i|ii|iii|avr|avl|avf|v[1-6])", re.IGNORECASE)
_MULTI_SEGMENT = re.compile(rb"(?:(?:#[^\n]*|[^\S\n]*)\n)*\S+/\d+\s")  # record/segments, after comments
_STANDARD = {lead.casefold(): lead for lead in LEADS}
_FROM_TWO = {
    ("I", "II"): {"III": (-1.0, 1.0)},
    ("I", "III"): {"II": (1.0, 1.0)},
    ("II", "III"): {"I": (1.0, -1.0)},
}  # of two limb leads the third
_AUGMENTED = {"aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}  # shares of I and II


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording as somebody has it.

    Attributes
    ----------
    signal_mv
        ``(lead, sample)``, mV.
    sampling_rate_hz
        Its sampling rate.
    lead_names
        The name of each row, as in the file.
    left_out
        Names of further signals in the file that were not read.
    has_checksums
        Whether the header carried checksums; if so, they have been verified.
    """

    signal_mv: NDArray[np.floating]
    sampling_rate_hz: float
    lead_names: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    has_checksums: bool = False


@dataclass(frozen=True, eq=False)
class Prepared:
    """A recording as a net takes it.

    Attributes
    ----------
    windows_mv
        ``(window, lead, sample)``, mV.
    starts_s
        Where each window begins, s.
    repairs
        What was changed, in words and in the order in which it was done; empty if nothing.
    """

    windows_mv: NDArray[np.float32]
    starts_s: tuple[float, ...]
    repairs: tuple[str, ...]


def read_recording(path: Path) -> Recording:
    """Read the standard leads of a WFDB record; units come from the header.

    Parameters
    ----------
    path
        The record's path, with or without an extension.

    Raises
    ------
    DataError
        If a file is missing, truncated or damaged, a lead's unit is no voltage, or a sample is missing.
    """
    path = path.with_suffix("") if path.suffix in (".hea", ".dat") else path
    found: list[tuple[str, ...]] = []

    def choose(names: Sequence[str]) -> list[int]:
        found.append(tuple(names))
        return [number for number, name in enumerate(_standardise(found[0])) if name]

    record = read_leads(path, choose)
    named = [*zip(found[0], _standardise(found[0]), strict=True)]
    return Recording(
        signal_mv=to_millivolt(record.signal_uv),
        sampling_rate_hz=record.sampling_rate_hz,
        lead_names=tuple(name for name, standard in named if standard),
        left_out=tuple(name for name, standard in named if not standard),
        has_checksums=record.has_checksums,
    )


def prepare(recording: Recording, *, lead_names: Sequence[str], sampling_rate_hz: float, n_samples: int) -> Prepared:
    """Check a recording, and repair it into what a net takes.

    Parameters
    ----------
    recording
        Any recording.
    lead_names, sampling_rate_hz, n_samples
        What the net takes: which leads in which order, how sampled, and how many samples of each.

    Raises
    ------
    DataError
        If a lead is missing that cannot be derived, or is there twice; if a sample is missing or not plausible in mV;
        if no lead ever changes; if the sampling rate is no rate; if the recording is too short.
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
    starts = list(range(0, signal.shape[1] - n_samples + 1, n_samples))
    if starts[-1] + n_samples < signal.shape[1]:
        starts.append(signal.shape[1] - n_samples)
    if len(starts) > 1:
        repairs.append(
            f"cut into {len(starts)} windows of {n_samples / sampling_rate_hz:g} s, whose probabilities are averaged"
        )
    windows = np.empty((len(starts), len(signal), n_samples), np.float32)
    for window, start in zip(windows, starts, strict=True):
        window[:] = signal[:, start : start + n_samples]
    return Prepared(
        windows_mv=windows,
        starts_s=tuple(start / sampling_rate_hz for start in starts),
        repairs=tuple(repairs),
    )


def find_recordings(source: str, *, sampling_rate_hz: float) -> list[Path]:
    """Find the WFDB records that a user names.

    Parameters
    ----------
    source
        A record (with or without its extension); a folder, of which every header below it counts; a glob such as
        ``ecgs/**/*_hr.hea``; or a CSV file with a column ``path`` or ``record``, with a single column, or in the
        layout of PTB-XL's own table. Paths in a CSV file are relative to its folder.
    sampling_rate_hz
        Of the net: which of PTB-XL's two files of a record is meant.

    Returns
    -------
    list
        Paths without an extension, each once: sorted, or in the order of the CSV file. A record that a CSV file lists
        may not exist; reading it will say so.

    Raises
    ------
    ConfigError
        If nothing is there.
    """
    path = Path(source)
    if path.is_dir():
        found = _list_headers(path)
        what = "a folder without a WFDB header (.hea)"
    elif path.suffix.lower() == ".csv":
        found = _read_list(path, sampling_rate_hz)
        what = "a list without a record"
    elif _has_header(path):
        return [_strip(path)]
    else:
        names = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (pathlib's begins at a folder)
        matched = [Path(name) for name in names]
        found = [_strip(name) for name in matched if name.is_file() and _has_header(name)]
        found += [record for name in matched if name.is_dir() for record in _list_headers(name)]
        what = "no WFDB record, folder or CSV file, and no glob that matches a record's header (.hea)"
    if not found:
        raise ConfigError(f"input={source}: {what}")
    return list(dict.fromkeys(found))


@lru_cache(maxsize=1024)  # the records of a folder have the same few headers
def _standardise(names: tuple[str, ...]) -> tuple[str | None, ...]:
    """Return the standard name of each lead, or None for anything else."""
    found = [_NAME.fullmatch(name.strip()) for name in names]
    return tuple(_STANDARD[match[1].casefold()] if match else None for match in found)


def _put_leads_in_order(
    signal: NDArray[np.floating], recording: Recording, wanted: Sequence[str]
) -> tuple[NDArray[np.floating], list[str]]:
    """Return the wanted leads, ``(lead, sample)``, and what had to be done."""
    names = _standardise(tuple(recording.lead_names))
    if names == tuple(wanted) and not recording.left_out:
        return signal, []
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise DataError(f"the lead {twice[0]} is there twice, among {', '.join(recording.lead_names)}")
    rows: dict[str, NDArray[np.floating]] = {
        name: row for name, row in zip(names, signal, strict=True) if name is not None
    }
    there = [name for name in names if name in wanted]
    derived = [name for name in wanted if name not in rows]
    rows |= _derive_limb_leads({name: row.astype(np.float64) for name, row in rows.items()}) if derived else {}
    absent = [name for name in wanted if name not in rows]
    if absent:
        raise DataError(
            f"the lead {', '.join(absent)} is missing, got {', '.join(recording.lead_names) or 'no standard lead'} "
            "(limb leads can be derived from two of I, II, III; others cannot)"
        )
    repairs = []
    left_out = [*recording.left_out, *(
        given for given, name in zip(recording.lead_names, names, strict=True) if name not in wanted
    )]  # fmt: skip
    if left_out:
        repairs.append(f"left out {', '.join(left_out)}")
    if there != [name for name in wanted if name in there]:
        repairs.append("leads put in order")
    if derived:
        sources = " and ".join([name for name in ("I", "II", "III") if name in there][:2])
        repairs.append(f"derived {', '.join(derived)} from {sources}")
    return np.stack([rows[name] for name in wanted]), repairs


def _derive_limb_leads(rows: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return the limb leads that the given ones determine and that are not among them."""
    found: dict[str, NDArray[np.float64]] = {}
    for (first, second), thirds in _FROM_TWO.items():
        if first in rows and second in rows:
            for third, (a, b) in thirds.items():
                found[third] = a * rows[first] + b * rows[second]
    limbs = found | rows
    if "I" in limbs and "II" in limbs:
        found |= {name: a * limbs["I"] + b * limbs["II"] for name, (a, b) in _AUGMENTED.items()}
    return {name: row for name, row in found.items() if name not in rows}


def _check_values(signal: NDArray[np.floating], lead_names: Sequence[str]) -> list[str]:
    """Refuse what cannot be an ECG; return notes on flat leads."""
    if not signal.shape[1]:
        raise DataError("the recording has no sample")
    low, high = signal.min(axis=1), signal.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
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
    from scipy.signal import resample_poly  # takes half a second, and ECGs at the net's own rate never come here

    ratio = (Fraction(str(to_hz)) / Fraction(str(from_hz))).limit_denominator(2000)  # off by a sample in hours
    resampled: NDArray[np.float64] = resample_poly(
        signal.astype(np.float64), ratio.numerator, ratio.denominator, axis=1, padtype="line"
    )
    return resampled


def _strip(path: Path) -> Path:
    return path.with_suffix("") if path.suffix in (".hea", ".dat") else path


def _has_header(path: Path) -> bool:
    stripped = _strip(path)
    return stripped.with_name(f"{stripped.name}.hea").is_file()


def _list_headers(folder: Path) -> list[Path]:
    """List the records below a folder, without the segments of those that have several."""
    headers = [
        f"{where}{os.sep}{name}" for where, _, names in os.walk(folder) for name in names if name.endswith(".hea")
    ]
    segments = {segment for header in headers for segment in _list_segments(header)}
    return sorted(Path(record) for header in headers if (record := header.removesuffix(".hea")) not in segments)


def _list_segments(header: str) -> list[str]:
    """List the segments that a multi-segment header names; none for any other header."""
    try:
        with FileIO(header) as file:
            text = file.readall()
    except OSError:
        return []  # reading the record will say what is wrong
    if not _MULTI_SEGMENT.match(text):
        return []
    lines = [line for line in text.decode(errors="replace").splitlines() if line.strip() and line[0] != "#"]
    return [os.path.join(os.path.dirname(header), line.split()[0]) for line in lines[1:]]  # noqa: PTH118, PTH120


def _read_list(path: Path, sampling_rate_hz: float) -> list[Path]:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"input={path}: not a readable CSV file ({str(error).splitlines()[0]})") from error
    ptbxl = "filename_lr" if sampling_rate_hz <= 100 else "filename_hr"
    known = [name for name in ("path", "record", ptbxl) if name in table]
    if not known and table.shape[1] != 1:
        raise ConfigError(
            f"input={path}: expected a column path (or only one column), got {', '.join(map(str, table.columns))}"
        )
    names = table[known[0] if known else table.columns[0]].str.strip()
    if (names == "").any():
        raise ConfigError(f"input={path}: no path in row {int((names == '').to_numpy().argmax()) + 1}")
    return [_strip(path.parent / name) for name in names]
