"""One ECG record from its WFDB files, as twelve leads in microvolt.

Conventions: arrays are ``(lead, sample)``, leads stand in the order of `LEADS` whatever their order and spelling
in the file, the unit is microvolt as int16 (PTB-XL's own resolution: 1000 steps a millivolt).

The plain layout (one segment, format 16, one ``.dat``, checksums in the header), which all of PTB-XL has, is parsed
here; whatever else WFDB knows is left to the `wfdb` package. Both ways verify the header's checksums.

References
----------
.. [1] WFDB header format, https://physionet.org/physiotools/wag/header-5.htm
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgcls.errors import DataError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve standard leads, in the order in which every array of the project has them."""

_MICROVOLT_PER_UNIT = {"uv": 1.0, "µv": 1.0, "mv": 1e3, "v": 1e6}
_LEADS_FOLDED_SORTED = sorted(lead.casefold() for lead in LEADS)
_INT16_MISSING = -32768  # WFDB's mark of a missing sample in format 16

_RECORD_LINE = re.compile(r"(\S+) (\d+) (\d+(?:\.\d+)?) (\d+)(?: .*)?")
# file, format 16, gain(baseline)/units, resolution, zero, initial value, checksum, block size, description
_SIGNAL_LINE = re.compile(r"(\S+) 16 (\d+(?:\.\d+)?)(?:\((-?\d+)\))?/(\S+) \d+ (-?\d+) -?\d+ (-?\d+) 0 (\S.*?)\s*")


class Record(NamedTuple):
    """One ECG as its files give it."""

    signal_uv: NDArray[np.int16]
    """``(lead, sample)``, microvolt, leads in the order of `LEADS`."""
    sampling_rate_hz: float
    has_checksums: bool
    """Whether the header carried checksums; if so, they have been verified."""


def read_record(path: Path) -> Record:
    """Read one WFDB record and verify its checksums.

    Parameters
    ----------
    path
        The record's path without an extension, as in ``records100/00000/00001_lr``.

    Raises
    ------
    DataError
        If a file is missing, truncated or damaged, if the twelve leads are not those of a standard ECG, or if a
        sample is missing (NaN) or beyond what int16 microvolts hold (32.767 mV).
    """
    return read_leads(path, lambda names: _lead_order(names, path))


def read_leads(path: Path, choose: Callable[[Sequence[str]], Sequence[int]]) -> Record:
    """Read some leads of one WFDB record and verify the checksums of all.

    Parameters
    ----------
    path
        The record's path without an extension.
    choose
        Takes the names of the leads in the file and returns which to read, counted from 0, in the order wanted.

    Raises
    ------
    DataError
        As `read_record`; the unit and the samples of a lead that is not chosen do not matter.
    """
    header_path = path.with_name(path.name + ".hea")
    try:
        lines = [line for line in header_path.read_text().splitlines() if line and line[0] != "#"]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{header_path}: the header cannot be read ({error})") from error
    record_line = _RECORD_LINE.fullmatch(lines[0]) if lines else None
    signal_lines = [_SIGNAL_LINE.fullmatch(line) for line in lines[1:]]
    if record_line is None or not signal_lines or not all(signal_lines) or len(signal_lines) != int(record_line[2]):
        return _read_with_wfdb(path, choose)
    dat_names, gains, baselines, units, zeros, checksums, names = map(
        list, zip(*(line.groups() for line in signal_lines if line), strict=True)
    )
    if len(set(dat_names)) > 1:
        return _read_with_wfdb(path, choose)

    order = list(choose(names))
    samples = _read_dat(path.parent / dat_names[0], n_samples=int(record_line[4]), n_leads=len(names))
    _verify_checksums(samples, [int(checksum) for checksum in checksums], path)
    chosen = samples.T[order]  # (lead, sample)
    missing = chosen == _INT16_MISSING
    names, units, gains = ([values[number] for number in order] for values in (names, units, gains))
    baselines = [zeros[number] if baselines[number] is None else baselines[number] for number in order]
    if set(gains) <= {"1000", "1000.0"} and set(units) <= {"mV"} and set(baselines) <= {"0"}:
        if missing.any():
            raise _missing_samples(path, names, missing)
        signal_uv = chosen
    else:
        if not all(float(gain) for gain in gains):
            raise DataError(f"{path}: a gain of 0 in the header: the signals are not calibrated")
        physical = (chosen - np.array(baselines, dtype=float)[:, None]) / np.array(gains, dtype=float)[:, None]
        physical[missing] = np.nan
        signal_uv = _to_microvolt(physical, names, units, path)
    return Record(signal_uv, float(record_line[3]), has_checksums=True)


def _read_dat(dat_path: Path, *, n_samples: int, n_leads: int) -> NDArray[np.int16]:
    """Read a format 16 file: little-endian int16, ``(sample, lead)``."""
    try:
        values = np.fromfile(dat_path, dtype="<i2")
    except OSError as error:
        raise DataError(f"{dat_path}: the signal file cannot be read ({error.strerror})") from error
    n_bytes = dat_path.stat().st_size
    if n_bytes != 2 * n_samples * n_leads or not n_bytes:
        raise DataError(
            f"{dat_path}: truncated or damaged: the header announces {n_samples} samples of {n_leads} leads "
            f"({2 * n_samples * n_leads} bytes), the file has {n_bytes} bytes; fetch it again"
        )
    return values.reshape(n_samples, n_leads)


def _read_with_wfdb(path: Path, choose: Callable[[Sequence[str]], Sequence[int]]) -> Record:
    """Read whatever layout the `wfdb` package knows."""
    import wfdb  # takes a third of a second, and PTB-XL never comes here

    try:
        record = wfdb.rdrecord(str(path), physical=False, m2s=False)
        segments = [record]
        if isinstance(record, wfdb.MultiRecord):  # wfdb would give the joined record checksums of its own making
            segments = [segment for segment in record.segments if segment is not None and segment.sig_len]
            record = record.multi_to_single(physical=False)
        checksums = [(segment.calc_checksum(), segment.checksum) for segment in segments if segment.checksum]
        physical = record.dac()
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise DataError(f"{path}: not a WFDB record that wfdb can read ({_first_line(error)})") from error
    has_checksums = len(checksums) == len(segments) and not any(None in expected for _, expected in checksums)
    for computed, expected in checksums:
        if None not in expected:
            _compare_checksums(computed, expected, path)
    names = [name or "(no name)" for name in record.sig_name]
    order = list(choose(names))
    units = [record.units[number] for number in order]
    signal_uv = _to_microvolt(physical.T[order], [names[number] for number in order], units, path)
    return Record(signal_uv, float(record.fs), has_checksums)


def _verify_checksums(samples: NDArray[np.int16], expected: list[int], path: Path) -> None:
    """Compare each lead's sum of samples, modulo 2**16, with the header's."""
    _compare_checksums(samples.sum(axis=0, dtype=np.int64).tolist(), expected, path)


def _compare_checksums(computed: list[int], expected: list[int], path: Path) -> None:
    if any((got - want) % 65536 for got, want in zip(computed, expected, strict=True)):
        raise DataError(
            f"{path}: damaged: the samples' checksums are {[int(c) % 65536 for c in computed]}, "
            f"the header says {[int(e) % 65536 for e in expected]}; fetch the record again"
        )


def _to_microvolt(
    physical: NDArray[np.float64], names: Sequence[str], units: Sequence[str], path: Path
) -> NDArray[np.int16]:
    """Turn ``(lead, sample)`` physical values into int16 microvolts, rounded to the nearest."""
    unknown = sorted({unit for unit in units if unit.lower() not in _MICROVOLT_PER_UNIT})
    if unknown:
        raise DataError(f"{path}: the leads' unit must be mV, uV or V, got {', '.join(unknown)}")
    missing = np.isnan(physical)
    if missing.any():
        raise _missing_samples(path, names, missing)
    microvolt = np.rint(physical * np.array([[_MICROVOLT_PER_UNIT[unit.lower()]] for unit in units]))
    if np.abs(microvolt).max(initial=0) > 32767:
        raise DataError(
            f"{path}: a sample of {np.abs(microvolt).max() / 1000:.1f} mV; an ECG stays within 32.767 mV: "
            "check the gain in the header"
        )
    return microvolt.astype(np.int16)


def _lead_order(names: Sequence[str], path: Path) -> list[int]:
    """Say where each lead of `LEADS` stands in a file, matched by name whatever the case."""
    folded = [name.casefold() for name in names]
    if sorted(folded) != _LEADS_FOLDED_SORTED:
        raise DataError(f"{path}: the leads must be {', '.join(LEADS)} (in any order), got {', '.join(names)}")
    return [folded.index(lead.casefold()) for lead in LEADS]


def _missing_samples(path: Path, names: Sequence[str], missing: NDArray[np.bool_]) -> DataError:
    counts = missing.sum(axis=1)  # (lead,)
    leads = ", ".join(f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count)
    return DataError(f"{path}: missing samples (NaN) in {leads}; repair the record or take its row out of the CSV")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
