"""The signals of a whole data set in one memory-mapped array, read from the WFDB files once.

A store is a folder ``signals_<rate>hz-<fingerprint>/`` with

- ``signals.npy``: ``(record, lead, sample)`` int16, microvolt, leads in the order of `ecgcls.data.signals.LEADS`;
- ``records.npz``: the ecg_ids, and the exact sum and sum of squares of every record and lead;
- ``manifest.json``: what it was built from.

The fingerprint covers the name, size, modification and change time of every file beside the records, so a changed,
added or replaced file leads to another store, never to stale signals. A store is built under a lock into a temporary
folder, which is then renamed: it is there as a whole or not at all, and every process maps the same pages.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from filelock import AcquireReturnProxy, FileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_path
from tqdm import tqdm

from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import DataError

log = logging.getLogger(__name__)

_LAYOUT_VERSION = 1


@dataclass(frozen=True)
class SignalStore:
    """The signals of a data set, memory-mapped.

    Attributes
    ----------
    signals_uv
        ``(record, lead, sample)`` int16, microvolt, mapped read-only.
    ecg_ids
        ``(record,)``: which record a row holds.
    sums_uv, squares_uv
        ``(record, lead)`` int64: the exact sum and sum of squares of the samples.
    manifest
        What the store was built from; ``content_sha256`` identifies the signals wherever they lie.
    """

    signals_uv: NDArray[np.int16]
    ecg_ids: NDArray[np.int64]
    sums_uv: NDArray[np.int64]
    squares_uv: NDArray[np.int64]
    manifest: dict[str, Any]

    @property
    def n_samples(self) -> int:
        """Samples of each lead."""
        return self.signals_uv.shape[2]

    @cached_property
    def _row_of(self) -> pd.Series:
        return pd.Series(np.arange(len(self.ecg_ids)), index=self.ecg_ids)

    def find_rows(self, ecg_ids: Iterable[int]) -> NDArray[np.int64]:
        """Return the rows that hold these records."""
        return self._row_of.loc[list(ecg_ids)].to_numpy()

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
        """Return the leads that never change, by ecg_id."""
        energy = self.squares_uv * self.n_samples - self.sums_uv**2  # the variance times n_samples squared
        return {
            int(self.ecg_ids[row]): [LEADS[lead] for lead in np.flatnonzero(energy[row] == 0)]
            for row in np.flatnonzero((energy == 0).any(axis=1))
        }


def find_missing(root: Path, filenames: pd.Series) -> pd.Series:
    """Return those of the records (path below `root`, by ecg_id) that lack their header or a signal file."""
    files = _list_files(root, filenames)
    n_files = pd.Series([name.rpartition(".")[0] for name in files], dtype=str).value_counts()
    complete = filenames.map(n_files).fillna(0).ge(2) & (filenames + ".hea").isin(list(files))
    doubtful = filenames[~complete]
    return doubtful[[not _has_named_files(root / filename) for filename in doubtful]]


def _has_named_files(path: Path) -> bool:
    """Whether a header is there and every signal file that it names, whatever those are called."""
    try:
        lines = path.with_name(path.name + ".hea").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    names = [line.split()[0] for line in lines if line.strip() and line[0] != "#"][1:]
    return bool(names) and all((path.parent / name).is_file() for name in names)


def open_store(
    root: Path, filenames: pd.Series, *, sampling_rate_hz: int, store_dir: Path | None = None
) -> SignalStore:
    """Open the store of these records, building it first where there is none or the files have changed.

    Parameters
    ----------
    root
        The data set's folder.
    filenames
        Each record's path below `root` without an extension, indexed by ecg_id.
    sampling_rate_hz
        What the records must have been sampled at.
    store_dir
        Where stores lie; by default ``.ecgcls`` in `root`, or the user's cache folder if that cannot be written.

    Raises
    ------
    DataError
        If a record cannot be read, is damaged, lacks samples, is flat in all leads, or has another sampling rate or
        length than asked; if there is no space; if the files change while they are read.
    """
    fingerprint = _fingerprint(root, filenames, sampling_rate_hz)
    own = f"{root.resolve().name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]}"
    folders = [store_dir / own] if store_dir else [root / ".ecgcls", user_cache_path("ecgcls") / own]
    name = f"signals_{sampling_rate_hz}hz-{fingerprint[:16]}"
    for folder in folders:
        if (folder / name / "manifest.json").is_file():
            store = _load(folder / name, fingerprint)
            if store:
                return store
    folder = _first_writable(folders)
    with _locked(folder / f"signals_{sampling_rate_hz}hz.lock"):
        store = _load(folder / name, fingerprint)
        if store:  # another process has built it while this one waited
            return store
        for leftover in folder.glob(f"signals_{sampling_rate_hz}hz-*.building"):
            shutil.rmtree(leftover)  # of a process that was killed: the lock is ours
        building = folder / f"{name}.building"
        try:
            _build(building, root, filenames, sampling_rate_hz, fingerprint)
            if _fingerprint(root, filenames, sampling_rate_hz) != fingerprint:
                raise DataError(f"{root}: files changed while they were read; run the command again")
            if (folder / name).exists():
                shutil.rmtree(folder / name)  # incomplete or damaged, else it had been loaded
            building.rename(folder / name)
        except OSError as error:
            raise DataError(
                f"{folder}: the signal store cannot be written ({error.strerror}); it takes "
                f"{_expected_bytes(len(filenames), sampling_rate_hz) / 1e6:,.0f} MB: make room or set "
                "data.store_dir=PATH"
            ) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        for outdated in folder.glob(f"signals_{sampling_rate_hz}hz-*"):
            if outdated.name != name:
                shutil.rmtree(outdated, ignore_errors=True)
        store = _load(folder / name, fingerprint)
        if store is None:
            raise DataError(f"{folder / name}: the signal store was written but cannot be read back")
        return store


def _build(folder: Path, root: Path, filenames: pd.Series, sampling_rate_hz: int, fingerprint: str) -> None:
    """Read every record once and write a store into `folder`."""
    folder.mkdir(parents=True)
    sums = np.zeros((len(filenames), len(LEADS)), dtype=np.int64)
    squares = np.zeros_like(sums)
    content = hashlib.sha256()
    n_samples, n_without_checksum = 0, 0
    log.info("Reading %d records from %s into %s", len(filenames), root, folder.parent)
    with (folder / "signals.npy").open("wb") as file:
        progress = tqdm(filenames, desc="Reading ECGs", unit=" records", disable=None)  # none in a log file
        for row, filename in enumerate(progress):
            record = read_record(root / filename)
            if record.sampling_rate_hz != sampling_rate_hz:
                raise DataError(
                    f"{root / filename}: sampled at {record.sampling_rate_hz:g} Hz, "
                    f"data.sampling_rate_hz asks for {sampling_rate_hz}"
                )
            if row == 0:
                n_samples = record.signal_uv.shape[1]
                np.lib.format.write_array_header_1_0(
                    file, {"descr": "<i2", "fortran_order": False, "shape": (len(filenames), len(LEADS), n_samples)}
                )
            elif record.signal_uv.shape[1] != n_samples:
                raise DataError(
                    f"{root / filename}: {record.signal_uv.shape[1]} samples, {n_samples} expected as in "
                    f"{filenames.iloc[0]}: all records must have one length"
                )
            if not np.ptp(record.signal_uv, axis=1).any():
                raise DataError(f"{root / filename}: a flat line in all leads; take its row out of the CSV")
            wide = record.signal_uv.astype(np.int64)
            sums[row], squares[row] = wide.sum(axis=1), np.einsum("ls,ls->l", wide, wide)
            n_without_checksum += not record.has_checksums
            data = np.ascontiguousarray(record.signal_uv, dtype="<i2").tobytes()
            content.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    ecg_ids = filenames.index.to_numpy(dtype=np.int64)
    np.savez(folder / "records.npz", ecg_ids=ecg_ids, sums_uv=sums, squares_uv=squares)
    content.update(ecg_ids.tobytes())
    manifest = {
        "layout_version": _LAYOUT_VERSION,
        "fingerprint": fingerprint,
        "content_sha256": content.hexdigest(),
        "sampling_rate_hz": sampling_rate_hz,
        "shape": [len(filenames), len(LEADS), n_samples],
        "lead_names": list(LEADS),
        "n_without_checksum": n_without_checksum,
        "signals_file": _stamp(folder / "signals.npy"),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    if n_without_checksum:
        log.warning("%d records carry no checksum: they could not be verified", n_without_checksum)


def _load(folder: Path, fingerprint: str) -> SignalStore | None:
    """Map a finished store, or return None where there is none, or not a whole one."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        whole = (
            manifest["fingerprint"] == fingerprint
            and manifest["layout_version"] == _LAYOUT_VERSION
            and manifest["signals_file"] == _stamp(folder / "signals.npy")
        )
        if not whole:
            return None
        with np.load(folder / "records.npz") as records:
            arrays = {name: records[name] for name in ("ecg_ids", "sums_uv", "squares_uv")}
        signals_uv = np.asarray(np.load(folder / "signals.npy", mmap_mode="r"))  # still mapped, a plain ndarray
        return SignalStore(signals_uv, manifest=manifest, **arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        log.debug("No usable signal store in %s (%s)", folder, error)
        return None


def _stamp(path: Path) -> list[int]:
    """Return a file's size and modification time (ns): a store that somebody touched is built anew."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _list_files(root: Path, filenames: pd.Series) -> dict[str, tuple[int, int, int]]:
    """Return size, modification and change time (ns) of every file in the records' folders, by path below `root`."""
    found = {}
    for folder in sorted({str(Path(name).parent) for name in filenames}):
        prefix = "" if folder == "." else folder + "/"
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.is_file():
                        stat = entry.stat()
                        found[prefix + entry.name] = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        except (FileNotFoundError, NotADirectoryError):
            continue  # all of this folder's records are missing
    return found


def _fingerprint(root: Path, filenames: pd.Series, sampling_rate_hz: int) -> str:
    files = sorted(_list_files(root, filenames).items())
    records = list(zip(filenames.index.tolist(), filenames.tolist(), strict=True))
    content = json.dumps([_LAYOUT_VERSION, sampling_rate_hz, records, files])
    return hashlib.sha256(content.encode()).hexdigest()


def _first_writable(folders: list[Path]) -> Path:
    """Return the first of these folders in which a file can be made."""
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


def _locked(path: Path) -> AcquireReturnProxy:
    """Take the lock, saying so if another process has it."""
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        log.info("Another process is building the signal store; waiting for it (%s)", path)
        return lock.acquire()


def _expected_bytes(n_records: int, sampling_rate_hz: int) -> int:
    return n_records * len(LEADS) * sampling_rate_hz * 10 * 2  # ten seconds of int16
