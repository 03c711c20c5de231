"""The signals of a whole data set in one memory-mapped array, read from the WFDB files once.

A store is a folder ``signals_<rate>hz-<fingerprint>/`` with

- ``signals.npy``: ``(record, lead, sample)`` int16, microvolt, leads in the order of `ecgcls.data.signals.LEADS`;
- ``records.npz``: the ecg_ids, and the exact sum and sum of squares of every record and lead;
- ``manifest.json``: what it was built from.

The fingerprint covers the name, size, modification and change time of every file in the records' folders, so that a
changed, added or replaced file leads to another store, never to stale signals. A store is built under a lock in a
temporary folder, which is then renamed: it exists as a whole or not at all, and all processes map the same pages.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from platformdirs import user_cache_path
from tqdm import tqdm

from ecgcls.data.record_files import describe_folders
from ecgcls.data.signals import LEADS, read_record, to_millivolt
from ecgcls.errors import DataError
from ecgcls.files import lock

log = logging.getLogger(__name__)

_LAYOUT_VERSION = 2
_CHUNK = 128  # records read, then written, at a time
_RECORDS_PER_PROCESS = 1000  # with fewer, another process costs more time than it saves


@dataclass(frozen=True)
class SignalStore:
    """The signals of a data set, memory-mapped."""

    signals_uv: NDArray[np.int16]
    """``(record, lead, sample)``, microvolt, mapped read-only."""
    ecg_ids: NDArray[np.int64]
    """``(record,)``: which record a row holds."""
    sums_uv: NDArray[np.int64]
    """``(record, lead)``: the exact sum of the samples."""
    squares_uv: NDArray[np.int64]
    """``(record, lead)``: the exact sum of their squares."""
    manifest: dict[str, Any]
    """What the store was built from; ``content_sha256`` identifies the signals wherever they are stored."""

    @property
    def n_samples(self) -> int:
        """Samples of each lead."""
        return self.signals_uv.shape[2]

    def find_rows(self, ecg_ids: Iterable[int]) -> NDArray[np.int64]:
        """Return the rows that hold these records."""
        return pd.Series(np.arange(len(self.ecg_ids)), index=self.ecg_ids).loc[list(ecg_ids)].to_numpy()

    def read_mv(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the signals of these rows, ``(record, lead, sample)`` in mV, as `ecgcls.data.signals.to_millivolt`."""
        return to_millivolt(self.signals_uv[rows])

    def mean_sd_mv(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each lead's mean and standard deviation over all samples of these records, ``(lead,)`` in mV.

        Computed from exact integer sums, so the order of the records does not matter. The standard deviation is the
        population's (``ddof=0``).
        """
        n_values = len(rows) * self.n_samples
        mean = self.sums_uv[rows].sum(axis=0) / n_values
        variance = self.squares_uv[rows].sum(axis=0) / n_values - mean**2
        return mean / 1e3, np.sqrt(variance.clip(min=0)) / 1e3

    def find_flat_leads(self) -> dict[int, list[str]]:
        """Return the flat leads of each record that has one, by ecg_id."""
        energy = _energy(self.sums_uv, self.squares_uv, self.n_samples)
        return {
            int(self.ecg_ids[row]): [LEADS[lead] for lead in np.flatnonzero(energy[row] == 0)]
            for row in np.flatnonzero((energy == 0).any(axis=1))
        }


def open_store(
    root: Path, filenames: pd.Series, *, sampling_rate_hz: int, store_dir: Path | None = None
) -> SignalStore:
    """Open the store of these records; build it first if there is none, or if the files have changed.

    Parameters
    ----------
    root, filenames
        The data set's folder, and each record's path below it without an extension, indexed by ecg_id.
    sampling_rate_hz
        The sampling rate that the records must have.
    store_dir
        Where stores are written; by default ``.ecgcls`` in `root`, or the user's cache folder if that is read-only.

    Raises
    ------
    DataError
        If a record cannot be read, is damaged, lacks samples, is flat in all leads, or has another sampling rate or
        length than expected; if there is no space; if the files change while they are read.
    """
    fingerprint = _fingerprint(root, filenames, sampling_rate_hz)
    own = f"{root.resolve().name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]}"
    folders = [store_dir / own] if store_dir else [root / ".ecgcls", user_cache_path("ecgcls") / own]
    stem = f"signals_{sampling_rate_hz}hz"
    name = f"{stem}-{fingerprint[:16]}"
    for folder in folders:
        if store := _load(folder / name, fingerprint):
            return store
    folder = _first_writable(folders)
    with lock(folder / f"{stem}.lock", busy="Another process is building the signal store"):
        if store := _load(folder / name, fingerprint):  # another process built it while this one waited
            return store
        for leftover in folder.glob(f"{stem}-*.building"):
            shutil.rmtree(leftover)  # of a process that was killed: this one has the lock
        try:
            _build(folder / name, root, filenames, sampling_rate_hz, fingerprint)
        except OSError as error:
            size_mb = len(filenames) * len(LEADS) * sampling_rate_hz * 10 * 2 / 1e6  # ten seconds of int16
            raise DataError(
                f"{folder}: the signal store cannot be written ({error.strerror}); it takes {size_mb:,.0f} MB: make "
                "room or set data.store_dir=PATH"
            ) from error
        for outdated in folder.glob(f"{stem}-*"):
            if outdated.name != name:
                shutil.rmtree(outdated, ignore_errors=True)
        store = _load(folder / name, fingerprint)
    if store is None:
        raise DataError(f"{folder / name}: the signal store was written but cannot be read back")
    return store


def _build(folder: Path, root: Path, filenames: pd.Series, sampling_rate_hz: int, fingerprint: str) -> None:
    """Read every record into a store that appears as a whole or not at all."""
    building = folder.with_name(f"{folder.name}.building")
    try:
        building.mkdir(parents=True)
        log.info("Reading %d records from %s into %s", len(filenames), root, folder.parent)
        content = _write_signals(building, [root / name for name in filenames], sampling_rate_hz)
        ecg_ids = filenames.index.to_numpy(dtype=np.int64)
        np.savez(building / "records.npz", ecg_ids=ecg_ids, sums_uv=content.sums_uv, squares_uv=content.squares_uv)
        manifest = {
            "layout_version": _LAYOUT_VERSION,
            "fingerprint": fingerprint,
            "content_sha256": hashlib.sha256(content.sha256 + ecg_ids.tobytes()).hexdigest(),
            "sampling_rate_hz": sampling_rate_hz,
            "lead_names": list(LEADS),
            "n_without_checksum": content.n_without_checksum,
            "signals_file": _stamp(building / "signals.npy"),
        }
        (building / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        if _fingerprint(root, filenames, sampling_rate_hz) != fingerprint:
            raise DataError(f"{root}: files changed while they were read; run the command again")
        if folder.exists():
            shutil.rmtree(folder)  # incomplete or damaged: else it would have been loaded
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    if content.n_without_checksum:
        log.warning("%d records carry no checksum: they could not be verified", content.n_without_checksum)


class _Content(NamedTuple):
    """What is known about records that are in ``signals.npy``."""

    sums_uv: NDArray[np.int64]
    squares_uv: NDArray[np.int64]
    n_without_checksum: int
    sha256: bytes  # one for every `_CHUNK` records


def _write_signals(folder: Path, paths: list[Path], sampling_rate_hz: int) -> _Content:
    """Read every record and write ``signals.npy``."""
    n_samples = read_record(paths[0]).signal_uv.shape[1]  # all others must have as many
    shape = (len(paths), len(LEADS), n_samples)
    with (folder / "signals.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
        n_header = file.tell()
    starts = range(0, len(paths), _CHUNK)
    chunks = [paths[start : start + _CHUNK] for start in starts]
    offsets = [n_header + start * len(LEADS) * n_samples * 2 for start in starts]  # bytes
    write_chunk = partial(_write_chunk, folder / "signals.npy", sampling_rate_hz, n_samples, paths[0])
    n_processes = 1  # where processes cannot be forked
    if sys.platform == "linux":
        n_processes = min(len(os.sched_getaffinity(0)), 8, len(paths) // _RECORDS_PER_PROCESS)
    with (
        ProcessPoolExecutor(n_processes, get_context("fork")) if n_processes > 1 else nullcontext() as pool,
        tqdm(total=len(paths), desc="Reading ECGs", unit=" records", disable=None) as progress,  # none in a log file
    ):
        written = []
        for one in (pool.map if pool else map)(write_chunk, offsets, chunks):
            written.append(one)
            progress.update(len(one.sums_uv))
    with (folder / "signals.npy").open("rb+") as file:
        os.fsync(file.fileno())
    sums_uv, squares_uv, n_without_checksum, sha256 = zip(*written, strict=True)
    return _Content(np.concatenate(sums_uv), np.concatenate(squares_uv), sum(n_without_checksum), b"".join(sha256))


def _write_chunk(
    signals_path: Path, sampling_rate_hz: int, n_samples: int, first: Path, offset: int, paths: list[Path]
) -> _Content:
    """Read some records and write their signals into a file, starting at an offset in bytes."""
    records = [read_record(path) for path in paths]
    for path, (signal_uv, rate_hz, *_) in zip(paths, records, strict=True):
        if rate_hz != sampling_rate_hz:
            raise DataError(f"{path}: sampled at {rate_hz:g} Hz, data.sampling_rate_hz asks for {sampling_rate_hz}")
        if signal_uv.shape[1] != n_samples:
            raise DataError(
                f"{path}: {signal_uv.shape[1]} samples, {n_samples} expected as in {first}: all records must have one "
                "length"
            )
    signals_uv = np.stack([record.signal_uv for record in records], dtype="<i2")
    sums_uv = signals_uv.sum(axis=2, dtype=np.int64)
    # Integers below 2**53 are exact in float64, which is faster in NumPy than int64.
    squares_uv = np.einsum("rls,rls->rl", signals_uv, signals_uv, dtype=np.float64).astype(np.int64)
    flat = (_energy(sums_uv, squares_uv, n_samples) == 0).all(axis=1)
    if flat.any():
        raise DataError(f"{paths[flat.argmax()]}: a flat line in all leads; take its row out of the CSV")
    with signals_path.open("rb+") as file:
        file.seek(offset)
        file.write(signals_uv.data)
    n_without_checksum = sum(not record.has_checksums for record in records)
    return _Content(sums_uv, squares_uv, n_without_checksum, hashlib.sha256(signals_uv.data).digest())


def _energy(sums_uv: NDArray[np.int64], squares_uv: NDArray[np.int64], n_samples: int) -> NDArray[np.int64]:
    """Return the variance times `n_samples` squared, exactly: 0 where a lead is flat."""
    return squares_uv * n_samples - sums_uv**2


def _load(folder: Path, fingerprint: str) -> SignalStore | None:
    """Map a finished store; None if there is none, or if it is incomplete or damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        found = manifest["fingerprint"], manifest["layout_version"], manifest["signals_file"]
        if found != (fingerprint, _LAYOUT_VERSION, _stamp(folder / "signals.npy")):
            return None
        with np.load(folder / "records.npz") as records:
            arrays = {name: records[name] for name in ("ecg_ids", "sums_uv", "squares_uv")}
        signals_uv = np.asarray(np.load(folder / "signals.npy", mmap_mode="r"))  # still mapped, a plain ndarray
        return SignalStore(signals_uv, manifest=manifest, **arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        log.debug("No usable signal store in %s (%s)", folder, error)
        return None


def _stamp(path: Path) -> list[int]:
    """Return a file's size and modification time (ns): a store that was modified is built again."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _fingerprint(root: Path, filenames: pd.Series, sampling_rate_hz: int) -> str:
    """Hash which records are wanted, and the state of every file in their folders."""
    content = hashlib.sha256(json.dumps([_LAYOUT_VERSION, sampling_rate_hz]).encode())
    content.update(json.dumps([filenames.index.tolist(), filenames.tolist()]).encode())
    for text in describe_folders(root, filenames):
        content.update(text.encode())
    return content.hexdigest()


def _first_writable(folders: list[Path]) -> Path:
    """Return the first of these folders in which a file can be created."""
    reasons = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            reasons.append(f"{folder} ({error.strerror})")
    raise DataError(
        f"no place for the signal store: {' and '.join(reasons)} cannot be written; set data.store_dir=PATH"
    )
