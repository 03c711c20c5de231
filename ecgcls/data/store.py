"""The signals of a whole data set in one memory-mapped array, read from the WFDB files once.

A store is a folder ``signals_<rate>hz-<fingerprint>/`` with

- ``signals.npy``: ``(record, lead, sample)`` int16, microvolt, leads in standard order: all twelve, or those wanted;
- ``records.npz``: the ecg_ids, and the exact sum and sum of squares of every record and lead;
- ``repairs.csv``: what was changed in a record, or is doubtful about it, one line each;
- ``bad_records.csv``: the records that cannot be used, each with its reason;
- ``manifest.json``: what it was built from, and the SHA-256 of all this.

The fingerprint covers the name, size, modification and change time of every file in the records' folders, so that a
changed, added or replaced file leads to another store, never to stale signals; of a folder in which every record is one
file of a device, it covers these alone. A store is built under a lock in a temporary folder, which is then renamed: it
exists as a whole or not at all, and all processes map the same pages. A build that was killed goes on where it was (see
`ecgcls.data.store_journal`). A process that opens a store reads it once and holds it against its SHA-256: a damaged one
is built again.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from platformdirs import user_cache_path

from ecgcls.data.lead_sets import LEADS, join_leads
from ecgcls.data.reading import Shorter, find_common_length
from ecgcls.data.record_files import describe_folders
from ecgcls.data.signals import to_millivolt
from ecgcls.data.store_lists import LISTS, read_list, tell_notes, write_lists
from ecgcls.data.store_writer import Form, compute_energy, hash_chunks, write_signals
from ecgcls.errors import DataError
from ecgcls.files import encode_ids, lock, type_ids

log = logging.getLogger(__name__)

_LAYOUT_VERSION = 3
_VERIFIED: set[tuple[str, ...]] = set()  # what this process has verified


@dataclass(frozen=True)
class SignalStore:
    """The signals of a data set, memory-mapped."""

    signals_uv: NDArray[np.int16]
    """``(record, lead, sample)``, microvolt, mapped read-only."""
    ecg_ids: NDArray
    """``(record,)``: which record a row holds, whole numbers or text."""
    sums_uv: NDArray[np.int64]
    """``(record, lead)``: the exact sum of the samples."""
    squares_uv: NDArray[np.int64]
    """``(record, lead)``: the exact sum of their squares."""
    manifest: dict[str, Any]
    """What the store was built from; ``content_sha256`` identifies the signals wherever they are stored."""
    repairs: pd.DataFrame
    """``ecg_id``, ``what`` was changed or is doubtful, and ``is_doubtful``: whether it is about scale or content."""
    bad_records: pd.DataFrame
    """``ecg_id``, ``file`` below the data set's folder, and ``reason``, of those that cannot be used."""
    folder: Path

    @property
    def n_samples(self) -> int:
        """Samples of each lead."""
        return self.signals_uv.shape[2]

    @property
    def lead_names(self) -> tuple[str, ...]:
        """The leads, in the order of the rows of each signal."""
        return tuple(self.manifest.get("lead_names", LEADS))

    def find_rows(self, ecg_ids: Iterable[int | str]) -> NDArray[np.int64]:
        """Return the rows that hold these records; KeyError for one that cannot be used."""
        rows = pd.Series(np.arange(len(self.ecg_ids)), index=self.ecg_ids).drop(self.bad_records["ecg_id"])
        return rows.loc[list(ecg_ids)].to_numpy()

    def read_mv(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the signals of these rows, ``(record, lead, sample)`` in mV, as `ecgcls.data.signals.to_millivolt`."""
        return to_millivolt(self.signals_uv[rows])

    def read_windows_mv(
        self, rows: NDArray[np.int64], starts: NDArray[np.int64], *, n_samples: int
    ) -> NDArray[np.float32]:
        """Return of each of these rows the `n_samples` from its own start on, ``(record, lead, sample)`` in mV."""
        places = zip(rows, starts, strict=True)
        return to_millivolt(np.stack([self.signals_uv[row, :, start : start + n_samples] for row, start in places]))

    def mean_sd_mv(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each lead's mean and standard deviation over all samples of these records, ``(lead,)`` in mV.

        Computed from exact integer sums, so the order of the records does not matter. The standard deviation is the
        population's (``ddof=0``).
        """
        n_values = len(rows) * self.n_samples
        mean = self.sums_uv[rows].sum(axis=0) / n_values
        variance = self.squares_uv[rows].sum(axis=0) / n_values - mean**2
        return mean / 1e3, np.sqrt(variance.clip(min=0)) / 1e3

    def find_flat_leads(self) -> dict[int | str, list[str]]:
        """Return the flat leads of each record that has one, by ecg_id."""
        energy = compute_energy(self.sums_uv, self.squares_uv, self.n_samples)
        return {
            self.ecg_ids[row].item(): [self.lead_names[lead] for lead in np.flatnonzero(energy[row] == 0)]
            for row in np.flatnonzero((energy == 0).any(axis=1) & (energy != 0).any(axis=1))  # not those left empty
        }


def open_store(
    root: Path,
    filenames: pd.Series,
    *,
    sampling_rate_hz: int,
    n_samples: int | None = None,
    lead_names: Sequence[str] = LEADS,
    shorter: Shorter = "refuse",
    store_dir: Path | None = None,
) -> SignalStore:
    """Open the store of these records; build it first if there is none, or if the files have changed.

    Records that cannot be used are listed in the store, and are no error here: see `ecgcls.data.usable`.

    Parameters
    ----------
    root, filenames
        The data set's folder, and each record's path, absolute or below it, indexed by ecg_id; that of a WFDB record
        has no extension.
    sampling_rate_hz
        To which all signals are brought.
    n_samples
        Samples of each lead; None: as most records have, see `ecgcls.data.reading.find_common_length`.
    lead_names
        In standard order. Each set of leads has a store of its own, for whether a record can be used, and what is
        doubtful about it, depends on the leads that are looked at.
    shorter
        What to do with a record of fewer samples: ``refuse`` makes it one that cannot be used, ``pad`` fills it up (see
        `ecgcls.data.reading`).
    store_dir
        Where stores are written; by default ``.ecgcls`` in `root`, or the user's cache folder if that is read-only.

    Raises
    ------
    DataError
        If there is no space; if the files change while they are read.
    """
    own = f"{root.resolve().name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]}"
    folders = [store_dir / own] if store_dir else [root / ".ecgcls", user_cache_path("ecgcls") / own]
    wanted = _Wanted(root, filenames, sampling_rate_hz, lead_names=tuple(lead_names), shorter=shorter)
    store = wanted.find(folders)
    if n_samples is not None and n_samples != (store.n_samples if store else wanted.common_length):
        wanted = replace(wanted, n_samples=n_samples)
        store = wanted.find(folders)
    if store:
        return store
    folder = _first_writable(folders)
    with lock(folder / f"{wanted.stem}.lock", busy="Another process is building the signal store"):
        if store := wanted.find([folder]):  # another process built it while this one waited
            return store
        for leftover in folder.glob(f"{wanted.stem}-*.building"):
            if leftover.stem != wanted.name:  # of other files, by a process that was killed: this one has the lock
                shutil.rmtree(leftover)
        try:
            _build(folder / wanted.name, wanted)
        except OSError as error:
            size_mb = len(filenames) * len(lead_names) * sampling_rate_hz * 10 * 2 / 1e6  # ten seconds of int16
            raise DataError(
                f"{folder}: the signal store cannot be written ({error.strerror}); it takes {size_mb:,.0f} MB: make "
                "room or set data.store_dir=PATH"
            ) from error
        for outdated in folder.glob(f"{wanted.stem}-*"):
            if outdated.name != wanted.name:
                shutil.rmtree(outdated, ignore_errors=True)
        store = wanted.find([folder])
    if store is None:
        raise DataError(f"{folder / wanted.name}: the signal store was written but cannot be read back")
    return store


@dataclass(frozen=True)
class _Wanted:
    """Which records are wanted, and in which form; `n_samples` is None for the length that most have."""

    root: Path
    filenames: pd.Series
    sampling_rate_hz: int
    n_samples: int | None = None
    lead_names: tuple[str, ...] = LEADS
    shorter: Shorter = "refuse"

    @cached_property
    def fingerprint(self) -> str:
        """As first computed: whether files have changed since is for `compute_fingerprint` to say."""
        return self.compute_fingerprint()

    def compute_fingerprint(self) -> str:
        """Hash what is wanted, and the state of every file in the records' folders."""
        form: list[Any] = [_LAYOUT_VERSION, self.sampling_rate_hz, self.n_samples]
        form += [] if self.lead_names == LEADS else [self.lead_names]
        form += [] if self.shorter == "refuse" else [self.shorter]
        content = hashlib.sha256(json.dumps(form).encode())
        content.update(json.dumps([self.filenames.index.tolist(), self.filenames.tolist()]).encode())
        for text in describe_folders(self.root, self.filenames):
            content.update(text.encode())
        return content.hexdigest()

    @property
    def paths(self) -> list[Path]:
        return [self.root / name for name in self.filenames]

    @property
    def stem(self) -> str:
        length = f"_{self.n_samples}" if self.n_samples else ""
        leads = "" if self.lead_names == LEADS else f"_{join_leads(self.lead_names)}"
        return f"signals_{self.sampling_rate_hz}hz{length}{leads}{'' if self.shorter == 'refuse' else '_padded'}"

    @property
    def name(self) -> str:
        return f"{self.stem}-{self.fingerprint[:16]}"

    @cached_property
    def common_length(self) -> int:
        """The number of samples that the records are to have."""
        return find_common_length(self.paths, sampling_rate_hz=self.sampling_rate_hz)

    def find(self, folders: Iterable[Path]) -> SignalStore | None:
        """Map the store of these records if one of the folders has it, undamaged."""
        return next(filter(None, (_load(folder / self.name, self.fingerprint) for folder in folders)), None)


class _FilesChanged(DataError):
    """What was read is not what is there."""


def _build(folder: Path, wanted: _Wanted) -> None:
    """Read every record into a store that appears as a whole or not at all."""
    building = folder.with_name(f"{folder.name}.building")
    try:
        building.mkdir(parents=True, exist_ok=True)
        log.info("Reading %d records from %s into %s", len(wanted.filenames), wanted.root, folder.parent)
        form = Form(
            wanted.sampling_rate_hz, wanted.n_samples or wanted.common_length, wanted.lead_names, wanted.shorter
        )
        written = write_signals(building / "signals.npy", wanted.paths, form, fingerprint=wanted.fingerprint)
        ecg_ids = type_ids(wanted.filenames.index)
        np.savez(building / "records.npz", ecg_ids=ecg_ids, sums_uv=written.sums_uv, squares_uv=written.squares_uv)
        write_lists(building, wanted.root, wanted.filenames, written)
        manifest = {
            "layout_version": _LAYOUT_VERSION,
            "fingerprint": wanted.fingerprint,
            "content_sha256": hashlib.sha256(written.sha256 + encode_ids(ecg_ids)).hexdigest(),
            "sampling_rate_hz": form.sampling_rate_hz,
            "lead_names": list(wanted.lead_names),
            "n_without_checksum": written.n_without_checksum,
            "signals_file": _stamp(building / "signals.npy"),
            "sha256": _hash_small_files(building),
        }
        (building / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        if wanted.compute_fingerprint() != wanted.fingerprint:
            raise _FilesChanged(f"{wanted.root}: files changed while they were read; run the command again")
        if folder.exists():
            shutil.rmtree(folder)  # incomplete or damaged: else it would have been loaded
        (building / "journal.jsonl").unlink()
        building.rename(folder)
    except (OSError, _FilesChanged):
        shutil.rmtree(building, ignore_errors=True)
        raise  # in any other case the next build goes on with what there is
    _VERIFIED.add(_key(folder, manifest))  # the bytes are those that were written
    if written.n_without_checksum:
        log.warning("%d records carry no checksum: they could not be verified", written.n_without_checksum)
    tell_notes(written.notes, len(wanted.filenames), folder / "repairs.csv")


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
        repairs, bad_records = (read_list(folder / f"{name}.csv", arrays["ecg_ids"]) for name in LISTS)
        if (key := _key(folder, manifest)) not in _VERIFIED:
            if _hash_content(signals_uv, arrays["ecg_ids"]) != manifest["content_sha256"]:
                raise ValueError("other signals than were written")
            if _hash_small_files(folder) != manifest["sha256"]:
                raise ValueError("other tables than were written")
            _VERIFIED.add(key)
        return SignalStore(
            signals_uv, manifest=manifest, repairs=repairs, bad_records=bad_records, folder=folder, **arrays
        )
    except FileNotFoundError as error:
        log.debug("No signal store in %s (%s)", folder, error)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        log.warning("%s: the signal store is damaged (%s): it is built again", folder, error)
    return None


def _key(folder: Path, manifest: dict[str, Any]) -> tuple[str, ...]:
    """Return what tells a store from one that was put in its place."""
    return str(folder.resolve()), json.dumps(manifest)


def _hash_content(signals_uv: NDArray[np.int16], ecg_ids: NDArray) -> str:
    """Hash all signals, chunk by chunk as they were written, and the ecg_ids."""
    return hashlib.sha256(hash_chunks(signals_uv) + encode_ids(ecg_ids)).hexdigest()


def _hash_small_files(folder: Path) -> dict[str, str]:
    names = ("records.npz", *(f"{name}.csv" for name in LISTS))
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def _stamp(path: Path) -> list[int]:
    """Return a file's size and modification time (ns): a store that was modified is built again."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


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
