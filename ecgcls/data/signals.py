"""One ECG record from its WFDB files, as twelve leads in microvolt.

Conventions: arrays are ``(lead, sample)``, leads are in the order of `LEADS` whatever their order and spelling in the
file, the unit is microvolt as int16 (PTB-XL's own resolution: 1000 steps per millivolt).

Every header is parsed by `ecgcls.data.wfdb_header`, so that one rule holds for all formats. The plain layout (one
segment, format 16, one signal file), which all of PTB-XL has, is read in one go here; any other one, and what is long,
block by block. Checksums in the header are verified.

References
----------
.. [1] WFDB header format, https://physionet.org/physiotools/wag/header-5.htm
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.regular_files import read_file
from ecgcls.data.wfdb_gain import Scale
from ecgcls.data.wfdb_header import Header
from ecgcls.data.wfdb_record import Choose, OpenRecord, get_folder, load_header, open_record, read_header
from ecgcls.data.wfdb_samples import check_size, list_files
from ecgcls.data.wfdb_voltage import compare_checksums, iter_microvolt, to_microvolt
from ecgcls.errors import DataError

__all__ = [
    "LEADS",
    "Record",
    "iter_leads",
    "read_header",
    "read_leads",
    "read_record",
    "strip_extension",
    "to_millivolt",
]

_PTBXL_CODING = (16, 1, 0)  # format, samples per frame, skew
_PTBXL_SCALE = Scale(1000.0, 0.0, "mV", "")  # a sample is a microvolt
_MISSING = -32768  # the mark of format 16
_MAX_PLAIN_SAMPLES = 2**24  # what is read in one go


class Record(NamedTuple):
    """One ECG as read from its files."""

    signal_uv: NDArray[np.int16]
    """``(lead, sample)``, microvolt, leads in the order of `LEADS`."""
    sampling_rate_hz: float
    has_checksums: bool
    """Whether the header carried checksums; if so, they have been verified."""
    notes: tuple[str, ...] = ()
    """What had to be assumed or changed, in plain language; empty if nothing was."""
    guesses: tuple[str, ...] = ()
    """Those of the notes that stand for a sampling rate or a gain that the header does not say."""


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


def read_leads(path: Path, choose: Choose) -> Record:
    """Read some leads of one WFDB record, as `read_record`, and verify the checksums of all.

    `choose` gets the names of the leads in the file and returns which to read, counted from 0, in the order wanted; the
    units and samples of the others are not checked.
    """
    header = load_header(str(path))
    if (plain := _read_plain(path, header, choose)) is not None:
        return plain
    record = open_record(path, header, choose)
    signal_uv = np.empty((len(record.parts[0].order), record.n_samples), np.int16)
    start = 0
    for piece in _iter_pieces(record):
        signal_uv[:, start : start + piece.shape[1]] = piece
        start += piece.shape[1]
    return _make(signal_uv, record)


def iter_leads(path: Path, choose: Choose, *, block_s: float = 600.0) -> Iterator[Record]:
    """Read as `read_leads`, but yield consecutive blocks of `block_s` seconds, the last one shorter.

    The memory that it takes does not grow with the length of the recording.

    Raises
    ------
    DataError
        As `read_leads`; for a checksum, in place of the last block.
    """
    header = load_header(str(path))
    if header.n_samples <= block_s * header.sampling_rate_hz:
        plain = None
        with suppress(DataError):  # of several that hold, the one that is told is found below
            plain = _read_plain(path, header, choose)
        if plain is not None:
            yield plain
            return
    record = open_record(path, header, choose)
    n_block = max(1, round(min(block_s * record.sampling_rate_hz, record.n_samples)))
    held: list[NDArray[np.int16]] = []
    n_held = 0
    for piece in _iter_pieces(record):
        held.append(piece)
        n_held += piece.shape[1]
        if n_held > n_block:
            joined = np.concatenate(held, axis=1)
            n_whole = (n_held - 1) // n_block * n_block  # the last block waits for the checksums
            for start in range(0, n_whole, n_block):
                yield _make(joined[:, start : start + n_block], record)
            held, n_held = [joined[:, n_whole:]], n_held - n_whole
    yield _make(np.concatenate(held, axis=1), record)


def _make(signal_uv: NDArray[np.int16], record: OpenRecord) -> Record:
    return Record(signal_uv, record.sampling_rate_hz, record.has_checksums, record.notes, record.guesses)


def _iter_pieces(record: OpenRecord) -> Iterator[NDArray[np.int16]]:
    for part in record.parts:
        yield from iter_microvolt(part)


def _read_plain(path: Path, header: Header, choose: Choose) -> Record | None:
    """Read a record like those of PTB-XL: microvolts in format 16, one file, checksums; None if it is another."""
    file_names, codings, scales, _, checksums, block_sizes, names = header.columns
    n_leads, n_samples = len(names), header.n_samples
    if not n_leads or not n_samples or n_samples * n_leads > _MAX_PLAIN_SAMPLES:
        return None
    is_alike = file_names.count(file_names[0]) == codings.count(codings[0]) == scales.count(scales[0]) == n_leads
    if not is_alike or any(block_sizes) or None in checksums or not any(checksums):
        return None
    if codings[0][:3] != _PTBXL_CODING or scales[0] != _PTBXL_SCALE:
        return None
    offset = codings[0].offset
    order = list(choose(names))

    def check(size: int) -> None:
        if size != offset + 2 * n_leads * n_samples:
            check_size(list_files(get_folder(path), header.signals, str(path))[0], n_samples)

    is_named_alike = file_names[0] == f"{path.name}.dat"  # as always in PTB-XL: this spares taking a path apart
    dat_path = f"{path}.dat" if is_named_alike else f"{get_folder(path)}{file_names[0]}"
    data = read_file(dat_path, "signal file", check)
    samples = np.ascontiguousarray(np.frombuffer(data, "<i2", offset=offset).reshape(-1, n_leads).T)  # (lead, sample)
    del data  # its memory is used again
    compare_checksums(samples.sum(axis=1, dtype=np.int64).tolist(), checksums, str(path))
    chosen = samples[order]
    if chosen.min(initial=0) == _MISSING:
        to_microvolt([*chosen[:, None, :]], [header.signals[number] for number in order], str(path))  # refuses
    return Record(chosen, header.sampling_rate_hz, has_checksums=True)


@lru_cache
def _find_order(names: tuple[str, ...]) -> list[int] | None:
    """Return the position in a file of each lead of `LEADS`, matched by name, ignoring case."""
    folded = [name.casefold() for name in names]
    wanted = [lead.casefold() for lead in LEADS]
    return [folded.index(lead) for lead in wanted] if sorted(folded) == sorted(wanted) else None
