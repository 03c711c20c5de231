"""The signals of many records written into one file, by several processes; what is wrong with a record is noted.

No record ends the work on the others: one that cannot be used keeps its place, filled with zeros, and its reason.
"""

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ecgcls.data.content import check_content
from ecgcls.data.content_screen import find_suspects
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.reading import read_repaired
from ecgcls.data.signal_checks import check_range
from ecgcls.data.signals import to_millivolt
from ecgcls.errors import DataError

CHUNK = 128
"""Records that are read, then written, at a time; each chunk has a SHA-256 of its own."""
_RECORDS_PER_PROCESS = 1000  # with fewer, another process costs more time than it saves


class Note(NamedTuple):
    """What was changed in a record, or what is doubtful about its scale or content."""

    row: int
    what: str
    is_doubtful: bool


class Written(NamedTuple):
    """What is known about records that are in ``signals.npy``."""

    sums_uv: NDArray[np.int64]
    """``(record, lead)``: the sum of the samples."""
    squares_uv: NDArray[np.int64]
    """``(record, lead)``: the sum of their squares."""
    n_without_checksum: int
    sha256: bytes
    """One for every `CHUNK` records."""
    notes: list[Note]
    bad: dict[int, str]
    """Why a row cannot be used; it holds zeros."""


def write_signals(
    path: Path,
    records: Sequence[Path],
    *,
    sampling_rate_hz: int,
    n_samples: int,
    lead_names: Sequence[str] = LEADS,
) -> Written:
    """Read every record and write all into a new NumPy file, ``(record, lead, sample)`` int16."""
    shape = (len(records), len(lead_names), n_samples)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
        n_header = file.tell()
    starts = range(0, len(records), CHUNK)
    chunks = [records[start : start + CHUNK] for start in starts]
    write_chunk = partial(_write_chunk, path, n_header, sampling_rate_hz, n_samples, lead_names)
    n_processes = 1  # where processes cannot be forked
    if sys.platform == "linux":
        n_processes = min(len(os.sched_getaffinity(0)), 8, len(records) // _RECORDS_PER_PROCESS)
    written = []
    with (
        ProcessPoolExecutor(n_processes, get_context("fork")) if n_processes > 1 else nullcontext() as pool,
        tqdm(total=len(records), desc="Reading ECGs", unit=" records", disable=None) as progress,  # none in a log file
    ):
        try:
            for one in (pool.map if pool else map)(write_chunk, starts, chunks):
                written.append(one)
                progress.update(len(one.sums_uv))
        except BrokenProcessPool as error:
            raise DataError(f"{path}: a process that read records was killed, perhaps for want of memory") from error
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return Written(
        np.concatenate([one.sums_uv for one in written]),
        np.concatenate([one.squares_uv for one in written]),
        sum(one.n_without_checksum for one in written),
        b"".join(one.sha256 for one in written),
        [note for one in written for note in one.notes],
        {row: reason for one in written for row, reason in one.bad.items()},
    )


def compute_energy(sums_uv: NDArray[np.int64], squares_uv: NDArray[np.int64], n_samples: int) -> NDArray[np.int64]:
    """Return the variance times `n_samples` squared, exactly: 0 where a lead is flat."""
    return squares_uv * n_samples - sums_uv**2


def count_kinds(notes: Iterable[str], *, n_kinds: int = 12) -> list[tuple[str, int]]:
    """Count notes up to their first colon or semicolon, the most frequent first; of many, those alike but for numbers.

    Examples
    --------
    >>> count_kinds(["lead V1 is flat", "too large: 9 mV", "lead V1 is flat", "too large: 8 mV", "cut"])
    [('lead V1 is flat', 2), ('too large', 2), ('cut', 1)]
    >>> count_kinds(["resampled from 500 Hz", "resampled from 250 Hz"], n_kinds=1)
    [('resampled from ... Hz', 2)]
    """
    counts = Counter(re.split("[:;]", what, maxsplit=1)[0] for what in notes)
    if len(counts) > n_kinds:
        general = Counter[str]()
        for what, count in counts.items():
            general[re.sub(r"(?<!\w)-?\d+(\.\d+)?", "...", what)] += count
        counts = general
    rest = sum(count for _, count in counts.most_common()[n_kinds:])
    return counts.most_common(n_kinds) + ([("others", rest)] if rest else [])


def _write_chunk(
    path: Path,
    n_header: int,
    sampling_rate_hz: int,
    n_samples: int,
    lead_names: Sequence[str],
    start: int,
    records: Sequence[Path],
) -> Written:
    """Read some records and write their signals into a file whose first record is number 0."""
    signals_uv = np.zeros((len(records), len(lead_names), n_samples), dtype="<i2")
    notes, bad, n_without_checksum = [], {}, 0
    for number, record in enumerate(records):
        try:
            reading = read_repaired(
                record, sampling_rate_hz=sampling_rate_hz, n_samples=n_samples, lead_names=lead_names
            )
        except Exception as error:
            bad[start + number] = _explain(error)
            continue
        signals_uv[number] = reading.signal_uv
        notes += [Note(start + number, what, False) for what in reading.repairs]
        notes += [Note(start + number, what, True) for what in reading.guesses]
        n_without_checksum += not reading.has_checksums
    sums_uv = signals_uv.sum(axis=2, dtype=np.int64)
    # Integers below 2**53 are exact in float64, which is faster in NumPy than int64.
    squares_uv = np.einsum("rls,rls->rl", signals_uv, signals_uv, dtype=np.float64).astype(np.int64)
    suspects = find_suspects(signals_uv, sums_uv, squares_uv, sampling_rate_hz=sampling_rate_hz, lead_names=lead_names)
    for number in np.flatnonzero(suspects).tolist():
        signal_mv = to_millivolt(signals_uv[number])
        try:
            check_range(float(np.ptp(signal_mv, axis=1).max()))
        except DataError as error:
            bad.setdefault(start + number, str(error))
            for values in (signals_uv, sums_uv, squares_uv):
                values[number] = 0
            continue
        notes += [Note(start + number, what, True) for what in check_content(signal_mv, lead_names, sampling_rate_hz)]
    with path.open("rb+") as file:
        file.seek(n_header + start * len(lead_names) * n_samples * signals_uv.itemsize)
        file.write(signals_uv.data)
    kept = sorted(note for note in notes if note.row not in bad)
    return Written(sums_uv, squares_uv, n_without_checksum, hashlib.sha256(signals_uv.data).digest(), kept, bad)


def _explain(error: Exception) -> str:
    """Say in one line why a record cannot be used."""
    text = " ".join(str(error).split())
    return text if isinstance(error, DataError) else f"{type(error).__name__}: {text}".removesuffix(": ")
