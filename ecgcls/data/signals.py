"""One ECG record from its WFDB files, as twelve leads in microvolt.

Conventions: arrays are ``(lead, sample)``, leads are in the order of `LEADS` whatever their order and spelling in the
file, the unit is microvolt as int16 (PTB-XL's own resolution: 1000 steps per millivolt).

The plain layout (one segment, format 16, one ``.dat``, checksums in the header), which all of PTB-XL has, is parsed
here; any other WFDB layout is read by the `wfdb` package. Both verify the header's checksums.

References
----------
.. [1] WFDB header format, https://physionet.org/physiotools/wag/header-5.htm
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgcls.errors import DataError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve standard leads, in the order of every array in this project."""

_MICROVOLT_PER_UNIT = {"uv": 1.0, "µv": 1.0, "mv": 1e3, "v": 1e6}
_INT16_MISSING = -32768  # WFDB's mark of a missing sample in format 16

_RECORD_LINE = re.compile(r"(\S+) (\d+) (\d+(?:\.\d+)?) (\d+)(?: .*)?")
_GAIN = re.compile(r"(\d+(?:\.\d+)?)(?:\((-?\d+)\))?/(\S+)")  # gain(baseline)/units

_Choose = Callable[[Sequence[str]], Sequence[int]]


class Record(NamedTuple):
    """One ECG as read from its files."""

    signal_uv: NDArray[np.int16]
    """``(lead, sample)``, microvolt, leads in the order of `LEADS`."""
    sampling_rate_hz: float
    has_checksums: bool
    """Whether the header carried checksums; if so, they have been verified."""


def to_millivolt(signal_uv: NDArray[np.int16]) -> NDArray[np.float32]:
    """Convert microvolt to mV, in memory aligned to 64 bytes as PyTorch's own.

    NumPy aligns to 16 bytes, and sums over an array may differ in the last digit with its alignment: with one alignment
    the same signal always gets the same prediction.
    """
    n_bytes = 4 * signal_uv.size
    buffer = np.empty(n_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    signal_mv = buffer[start : start + n_bytes].view(np.float32).reshape(signal_uv.shape)
    signal_mv[...] = signal_uv
    signal_mv *= np.float32(1e-3)
    return signal_mv


def strip_extension(path: Path) -> Path:
    """Return a record's path without ``.hea`` or ``.dat``."""
    return path.with_suffix("") if path.suffix in (".hea", ".dat") else path


def read_record(path: Path) -> Record:
    """Read one WFDB record, given by its path without an extension, and verify its checksums.

    Raises
    ------
    DataError
        If a file is missing, truncated or damaged, if the twelve leads are not those of a standard ECG, or if a
        sample is missing (NaN) or exceeds the range of int16 microvolts (32.767 mV).
    """

    def choose(names: Sequence[str]) -> Sequence[int]:
        order = _find_order(tuple(names))
        if order is None:
            raise DataError(f"{path}: the leads must be {', '.join(LEADS)} (in any order), got {', '.join(names)}")
        return order

    return read_leads(path, choose)


def read_leads(path: Path, choose: _Choose) -> Record:
    """Read some leads of one WFDB record, as `read_record`, and verify the checksums of all.

    `choose` gets the names of the leads in the file and returns which to read, counted from 0, in the order wanted; the
    units and samples of the others are not checked.
    """
    try:
        text = read_file(f"{path}.hea").decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}.hea: the header cannot be read ({error})") from error
    if (header := _parse_plain(text)) is None:
        return _read_with_wfdb(path, choose)
    order = list(choose(header.names))
    is_named_alike = header.dat_name == f"{path.name}.dat"  # as always in PTB-XL: this spares taking a path apart
    dat_path = f"{path}.dat" if is_named_alike else str(path.parent / header.dat_name)
    samples = _read_dat(dat_path, n_samples=header.n_samples, n_leads=len(header.names))
    _compare_checksums(samples.sum(axis=1, dtype=np.int64).tolist(), header.checksums, path)
    chosen = samples[order]  # (lead, sample)
    names, scales = [header.names[number] for number in order], [header.scales[number] for number in order]
    if {*scales} <= {_PTBXL_SCALE} and chosen.min(initial=0) != _INT16_MISSING:
        return Record(chosen, header.sampling_rate_hz, has_checksums=True)
    gains, baselines, units = zip(*scales, strict=True)
    if 0 in gains:
        raise DataError(f"{path}: a gain of 0 in the header: the signals are not calibrated")
    physical = (chosen - np.array(baselines)[:, None]) / np.array(gains)[:, None]
    physical[chosen == _INT16_MISSING] = np.nan
    return Record(_to_microvolt(physical, names, units, path), header.sampling_rate_hz, has_checksums=True)


_Scale = tuple[float, float, str]  # gain, baseline, unit of a lead: its voltage is (sample - baseline) / gain
_PTBXL_SCALE: _Scale = (1000, 0, "mV")  # a sample is a microvolt


class _Header(NamedTuple):
    """A header of the plain layout."""

    dat_name: str
    n_samples: int
    sampling_rate_hz: float
    names: tuple[str, ...]
    scales: list[_Scale]
    checksums: list[int]


def _parse_plain(text: str) -> _Header | None:
    """Parse a header; None if its layout is not the plain one."""
    if "#" in text or text[:1].isspace():  # comments
        text = "\n".join(line for line in text.splitlines() if line and line[0] != "#")
    first_line, _, signal_lines = text.partition("\n")
    record_line = _RECORD_LINE.fullmatch(first_line.rstrip("\r"))
    if record_line is None:
        return None
    # file, format, gain(baseline)/units, resolution, zero, initial value, checksum, block size, description
    tokens = signal_lines.split()
    if len(tokens) == 9 * int(record_line[2]):  # if not nine per line, formats will not match below
        columns = [tokens[number::9] for number in range(9)]
    else:  # descriptions of several words
        fields = [line.split(maxsplit=8) for line in signal_lines.splitlines() if line]
        if len(fields) != int(record_line[2]) or {*map(len, fields)} != {9}:
            return None
        columns = [*map(list, zip(*fields, strict=True))]
    dat_names, formats, gains, _, zeros, _, checksums, block_sizes, names = columns
    if {*formats} != {"16"} or {*block_sizes} != {"0"} or len({*dat_names}) > 1:
        return None
    try:
        scales, expected = [*map(_parse_scale, gains, zeros)], [*map(int, checksums)]
    except ValueError:
        return None
    stripped = tuple(map(str.strip, names))
    return _Header(dat_names[0], int(record_line[4]), float(record_line[3]), stripped, scales, expected)


@lru_cache
def _parse_scale(gain: str, zero: str) -> _Scale:
    """Parse ``1000.0(0)/mV``; without a baseline, the field `zero` is the baseline. ValueError if not of this form."""
    found = _GAIN.fullmatch(gain)
    if found is None:
        raise ValueError(gain)
    return float(found[1]), float(int(zero) if found[2] is None else found[2]), found[3]


def read_file(path: str) -> bytes:
    """Do as `Path.read_bytes`, a third faster: that dominates the time for tens of thousands of small files."""
    with FileIO(path) as file:
        return file.readall()


def _read_dat(dat_path: str, *, n_samples: int, n_leads: int) -> NDArray[np.int16]:
    """Read a format 16 file, little-endian int16 sample by sample, as ``(lead, sample)``."""
    try:
        data = read_file(dat_path)
    except OSError as error:
        raise DataError(f"{dat_path}: the signal file cannot be read ({error.strerror})") from error
    if len(data) != 2 * n_samples * n_leads or not data:
        raise DataError(
            f"{dat_path}: truncated or damaged: the header announces {n_samples} samples of {n_leads} leads "
            f"({2 * n_samples * n_leads} bytes), the file has {len(data)} bytes; fetch it again"
        )
    return np.ascontiguousarray(np.frombuffer(data, dtype="<i2").reshape(n_samples, n_leads).T)


def _read_with_wfdb(path: Path, choose: _Choose) -> Record:
    """Read any layout that the `wfdb` package supports."""
    import wfdb  # takes a third of a second, and PTB-XL does not need it

    try:
        record = wfdb.rdrecord(str(path), physical=False, m2s=False)
        segments = [record]
        if isinstance(record, wfdb.MultiRecord):  # wfdb would compute the joined record's checksums itself
            segments = [segment for segment in record.segments if segment is not None and segment.sig_len]
            record = record.multi_to_single(physical=False)
        checksums = [(segment.calc_checksum(), segment.checksum) for segment in segments if segment.checksum]
        physical = record.dac()
    except Exception as error:  # its parser raises errors of many types
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{path}: not a WFDB record that wfdb can read ({reason})") from error
    has_checksums = len(checksums) == len(segments) and not any(None in expected for _, expected in checksums)
    for computed, expected in checksums:
        if None not in expected:
            _compare_checksums(computed, expected, path)
    names = [name or "(no name)" for name in record.sig_name]
    order = list(choose(names))
    units = [record.units[number] for number in order]
    signal_uv = _to_microvolt(physical.T[order], [names[number] for number in order], units, path)
    return Record(signal_uv, float(record.fs), has_checksums)


def _compare_checksums(computed: list[int], expected: list[int], path: Path) -> None:
    if [sum_ % 65536 for sum_ in computed] != [sum_ % 65536 for sum_ in expected]:
        raise DataError(
            f"{path}: damaged: the samples' checksums are {[int(c) % 65536 for c in computed]}, "
            f"the header says {[int(e) % 65536 for e in expected]}; fetch the record again"
        )


def _to_microvolt(
    physical: NDArray[np.float64], names: Sequence[str], units: Sequence[str], path: Path
) -> NDArray[np.int16]:
    """Convert ``(lead, sample)`` physical values to int16 microvolts, rounded to the nearest."""
    unknown = sorted({unit for unit in units if unit.lower() not in _MICROVOLT_PER_UNIT})
    if unknown:
        raise DataError(f"{path}: the leads' unit must be mV, uV or V, got {', '.join(unknown)}")
    n_missing = np.isnan(physical).sum(axis=1)  # (lead,)
    if n_missing.any():
        leads = ", ".join(f"{name} ({count})" for name, count in zip(names, n_missing, strict=True) if count)
        raise DataError(f"{path}: missing samples (NaN) in {leads}; repair the record or take its row out of the CSV")
    microvolt = np.rint(physical * np.array([_MICROVOLT_PER_UNIT[unit.lower()] for unit in units])[:, None])
    if np.abs(microvolt).max(initial=0) > 32767:
        raise DataError(
            f"{path}: a sample of {np.abs(microvolt).max() / 1000:.1f} mV; an ECG stays within 32.767 mV: "
            "check the gain in the header"
        )
    return microvolt.astype(np.int16)


@lru_cache
def _find_order(names: tuple[str, ...]) -> list[int] | None:
    """Return the position in a file of each lead of `LEADS`, matched by name, ignoring case."""
    folded = [name.casefold() for name in names]
    wanted = [lead.casefold() for lead in LEADS]
    return [folded.index(lead) for lead in wanted] if sorted(folded) == sorted(wanted) else None


def iter_leads(path: Path, choose: _Choose, *, block_s: float = 600.0) -> Iterator[Record]:
    """Read as `read_leads`, in consecutive blocks."""
    record = read_leads(path, choose)
    n_block = max(round(block_s * record.sampling_rate_hz), 1)
    for start in range(0, max(record.signal_uv.shape[1], 1), n_block):
        yield record._replace(signal_uv=record.signal_uv[:, start : start + n_block])
