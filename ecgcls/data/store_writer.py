"""The signals of many records written into one file, by several processes; what is wrong with a record is noted.

No record ends the work on the others: one that cannot be used keeps its place, filled with zeros, and its reason. A
unit of records that is done is noted in a journal (`store_journal`).
"""

import hashlib
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.content import check_content
from ecgcls.data.content_screen import find_suspects
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.reading import Reading, Shorter, read_repaired
from ecgcls.data.shared_reading import Progress, count_processes, share_out, time_records
from ecgcls.data.signal_checks import check_range
from ecgcls.data.signals import to_millivolt
from ecgcls.data.store_journal import Journal, Note, Written, sum_signals
from ecgcls.errors import DataError

log = logging.getLogger(__name__)

CHUNK = 128
"""Records that have one SHA-256, and at most are one unit."""
_S_PER_UNIT = 2.0  # at most, which is what a kill may lose
_UNITS_PER_PROCESS = 16  # at least, so that all processes end at about the same time
_MAX_UNIT_BYTES = 64_000_000


class Form(NamedTuple):
    """How records are to be in the file."""

    sampling_rate_hz: int
    n_samples: int
    lead_names: tuple[str, ...] = LEADS
    shorter: Shorter = "refuse"

    def read(self, path: Path) -> Reading:
        """Read a record as `ecgcls.data.reading.read_repaired`."""
        return read_repaired(path, **self._asdict())


class _Target(NamedTuple):
    """The file that records are written into."""

    path: Path
    n_header: int
    form: Form


def write_signals(path: Path, records: Sequence[Path], form: Form, *, fingerprint: str = "") -> Written:
    """Read every record and write all into a NumPy file, ``(record, lead, sample)`` int16.

    What an earlier call with the same form and `fingerprint` has written before it was killed is kept.
    """
    shape = (len(records), len(form.lead_names), form.n_samples)
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<i2", "fortran_order": False, "shape": shape})
    header = buffer.getvalue()
    journal = Journal(path.with_name("journal.jsonl"), {"fingerprint": fingerprint, "header": header.hex()})
    seconds = time_records(records, form.read)
    n_processes = count_processes(len(records), seconds)
    done: dict[int, Written] = {}
    n_done = 0
    if path.exists() and (unit := journal.read_unit()):
        done = journal.read_done(path, n_header=len(header), shape=shape)
        n_done = sum(len(one.sums_uv) for one in done.values())
        log.info("Goes on with a build that was stopped: %d of %d records are read", n_done, len(records))
    else:
        unit = _choose_unit(shape, seconds, n_processes)
        path.write_bytes(header)
        journal.begin(unit)
    starts = [start for start in range(0, len(records), unit) if start not in done]
    write_unit = partial(_write_unit, _Target(path, len(header), form))
    units = [records[start : start + unit] for start in starts]
    with share_out(min(n_processes, len(starts))) as each, Progress(len(records), n_done) as progress:
        try:
            for start, one in zip(starts, each(write_unit, starts, units), strict=True):
                done[start] = one
                journal.add(start, one)
                progress.add(len(one.sums_uv))
        except BrokenProcessPool as error:
            raise DataError(f"{path}: a process that read records was killed, perhaps for want of memory") from error
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return _join([done[start] for start in sorted(done)], path, unit)


def _join(written: Sequence[Written], path: Path, unit: int) -> Written:
    """Return what is known about all records, the SHA-256 by chunk."""
    sha256 = b"".join(one.sha256 for one in written)
    return Written(
        np.concatenate([one.sums_uv for one in written]),
        np.concatenate([one.squares_uv for one in written]),
        sum(one.n_without_checksum for one in written),
        sha256 if unit == CHUNK else hash_chunks(np.load(path, mmap_mode="r")),
        [note for one in written for note in one.notes],
        {row: reason for one in written for row, reason in one.bad.items()},
    )


def hash_chunks(signals_uv: NDArray[np.int16]) -> bytes:
    """Return the SHA-256 of every `CHUNK` records, one after another; in threads, for hashing lets others run."""

    def hash_chunk(start: int) -> bytes:
        return hashlib.sha256(signals_uv[start : start + CHUNK].data).digest()

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
        return b"".join(pool.map(hash_chunk, range(0, len(signals_uv), CHUNK)))


def _choose_unit(shape: tuple[int, int, int], seconds: float, n_processes: int) -> int:
    """Return how many records are one unit: a power of two, so that every chunk is whole units."""
    n_records, n_leads, n_samples = shape
    bounds = [CHUNK, _MAX_UNIT_BYTES // (2 * n_leads * n_samples)]
    bounds += [int(_S_PER_UNIT / seconds)] if seconds else []
    bounds += [n_records // (_UNITS_PER_PROCESS * n_processes)] if n_processes > 1 else []
    return 1 << max(min(bounds), 1).bit_length() - 1


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


def _write_unit(target: _Target, start: int, records: Sequence[Path]) -> Written:
    """Read some records and write their signals into a file; the first of them is number `start` there."""
    path, n_header, form = target
    shape = (len(records), len(form.lead_names), form.n_samples)
    signals_uv = np.zeros(shape, dtype="<i2")
    n_recorded = np.full(len(records), form.n_samples)
    notes, bad, n_without_checksum = [], {}, 0
    for number, record in enumerate(records):
        try:
            reading = form.read(record)
        except Exception as error:
            bad[start + number] = _explain(error)
            continue
        signals_uv[number], n_recorded[number] = reading.signal_uv, reading.n_recorded
        notes += [Note(start + number, what, False) for what in reading.repairs]
        notes += [Note(start + number, what, True) for what in reading.guesses]
        n_without_checksum += not reading.has_checksums
    sums_uv, squares_uv = sum_signals(signals_uv)
    rate_hz, lead_names = form.sampling_rate_hz, form.lead_names
    suspects = find_suspects(signals_uv, sums_uv, squares_uv, sampling_rate_hz=rate_hz, lead_names=lead_names)
    for number in np.flatnonzero(suspects | (n_recorded < form.n_samples)).tolist():
        signal_mv = to_millivolt(signals_uv[number])
        try:
            check_range(float(np.ptp(signal_mv, axis=1).max()))
        except DataError as error:
            bad.setdefault(start + number, str(error))
            for values in (signals_uv, sums_uv, squares_uv):
                values[number] = 0
            continue
        recorded_mv = signal_mv[:, : n_recorded[number]]  # of padding there is nothing to doubt
        notes += [Note(start + number, what, True) for what in check_content(recorded_mv, lead_names, rate_hz)]
    with path.open("rb+") as file:
        file.seek(n_header + start * shape[1] * shape[2] * signals_uv.itemsize)
        file.write(signals_uv.data)
    kept = sorted(note for note in notes if note.row not in bad)
    return Written(sums_uv, squares_uv, n_without_checksum, hashlib.sha256(signals_uv.data).digest(), kept, bad)


def _explain(error: Exception) -> str:
    """Say in one line why a record cannot be used."""
    text = " ".join(str(error).split())
    return text if isinstance(error, DataError) else f"{type(error).__name__}: {text}".removesuffix(": ")
