"""The data set as a source of records, which writes itself on first use, under a lock, and never over other data."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ecgcls.data.ptbxl import DATABASE_CSV, PTBXL, STATEMENTS_CSV
from ecgcls.data.source import SIMULATED, SYNTHETIC_NOTE, Publication
from ecgcls.data.synthetic.leads import LEADS
from ecgcls.data.synthetic.plan import plan_records
from ecgcls.data.synthetic.signal import simulate_ecg
from ecgcls.data.synthetic.spec import DURATION_S
from ecgcls.data.synthetic.tables import STATEMENTS_PATH, format_database, name_record
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import lock, write_atomically

log = logging.getLogger(__name__)

GENERATOR_VERSION = 1  # increase it whenever the same seed would write other files
MIN_RECORDS, MAX_RECORDS = 50, 21_799

# The note comes first: it marks whatever a kill leaves behind as synthetic.
_TEXTS = (SYNTHETIC_NOTE, "README.txt", STATEMENTS_CSV, DATABASE_CSV)
_DATA = (DATABASE_CSV, STATEMENTS_CSV, "records100", "records500")
_README = """\
These are simulated ECGs, written by ecgcls (data=synthetic) in the layout of PTB-XL. They are not from
patients, and nothing measured on them says anything about medicine: they are there to try out and to test the
software. SYNTHETIC.json says how many records were asked for and from which seed; delete this folder to write
others.
"""


@dataclass(frozen=True, kw_only=True)
class Synthetic(PTBXL):
    """Simulated ECGs in PTB-XL's layout, written on first use: a source of records (`ecgcls.data.source.Source`).

    Parameters
    ----------
    root
        The folder they are written to, unless they are there already. It must hold no other data set.
    n_records
        How many ECGs to simulate, 50 to 21,799.
    synthetic_seed
        Seed of the simulation; not the seed of the training.
    sampling_rate_hz, missing_records
        As for `ecgcls.data.ptbxl.PTBXL`.
    """

    n_records: int = 1000
    synthetic_seed: int = 0
    is_synthetic: ClassVar[bool] = True
    publication: ClassVar[Publication] = SIMULATED

    def prepare(self) -> None:
        """Write the data set, or what is missing of it, as `write_synthetic`."""
        write_synthetic(
            self.root, n_records=self.n_records, seed=self.synthetic_seed, sampling_rate_hz=self.sampling_rate_hz
        )
        log.warning("data=synthetic: simulated ECGs, not patients'; no number from them says anything about patients")


def write_synthetic(
    root: Path, *, n_records: int, seed: int, sampling_rate_hz: Literal[100, 500], show_progress: bool = True
) -> None:
    """Write a data set of simulated ECGs in PTB-XL's layout into `root`, or what is missing of it.

    The same arguments always write the same bytes, and 100 and 500 Hz show the same ECGs. Each file and folder appears
    as a whole or not at all; existing ones are kept. With 50 to 21,799 records, every superclass has one in any seven
    of the ten strat_folds.

    Raises
    ------
    ConfigError
        If an argument is out of range, or `root` holds another data set, synthetic or not.
    DataError
        If the files cannot be written, for instance because the disk is full.
    """
    if not MIN_RECORDS <= n_records <= MAX_RECORDS:
        raise ConfigError(f"data.n_records must be in {MIN_RECORDS}..{MAX_RECORDS}, got {n_records}")
    if seed < 0:
        raise ConfigError(f"the seed of synthetic ECGs must be 0 or more, got {seed}")
    if sampling_rate_hz not in (100, 500):
        raise ConfigError(f"sampling_rate_hz must be 100 or 500, got {sampling_rate_hz}")
    root = Path(root).resolve()
    wanted = {"n_records": n_records, "seed": seed, "generator_version": GENERATOR_VERSION}
    if _is_complete(root, wanted, sampling_rate_hz):
        return
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with lock(root.parent / f".{root.name}.lock", busy=f"Another process is writing {root}"):
            if not _is_complete(root, wanted, sampling_rate_hz):
                _write_missing(root, wanted, sampling_rate_hz, show_progress)
    except OSError as error:
        size_mb = n_records * DURATION_S * sampling_rate_hz * 2 * len(LEADS) / 1e6
        raise DataError(
            f"cannot write {n_records} synthetic ECGs ({size_mb:.0f} MB at {sampling_rate_hz} Hz) to {root}: "
            f"{error.strerror or error}; make room there or choose another folder"
        ) from error


def _is_complete(root: Path, wanted: dict[str, int], sampling_rate_hz: int) -> bool:
    """Whether all that is wanted is there; ConfigError if something else is."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file, expected a folder for synthetic ECGs: choose another")
    note = root / SYNTHETIC_NOTE
    if not note.exists():
        present = [name for name in _DATA if (root / name).exists()]
        if present:
            raise ConfigError(
                f"{root} holds {present[0]} but no {SYNTHETIC_NOTE}, so ecgcls did not write it and will "
                f"not touch it: choose another folder for synthetic ECGs, or read this one with data=ptbxl"
            )
        return False
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if found != wanted:
        was = _format(found) if isinstance(found, dict) else "something unreadable"
        raise ConfigError(
            f"{root} holds synthetic ECGs with {was}, expected {_format(wanted)}: delete it or choose another folder"
        )
    return all((root / name).exists() for name in (*_TEXTS, f"records{sampling_rate_hz}"))


def _format(note: dict[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in note.items())


def _write_missing(
    root: Path, wanted: dict[str, int], sampling_rate_hz: Literal[100, 500], show_progress: bool
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for leftover in root.glob(".*.tmp"):  # of a process that was killed: this one has the lock
        _remove(leftover)
    seed = wanted["seed"]
    records = plan_records(wanted["n_records"], seed)
    texts = {
        SYNTHETIC_NOTE: json.dumps(wanted, indent=2) + "\n",
        "README.txt": _README,
        STATEMENTS_CSV: STATEMENTS_PATH.read_text(encoding="utf-8"),
        DATABASE_CSV: format_database(records, seed),
    }
    for name in _TEXTS:
        if not (root / name).exists():
            write_atomically(root / name, texts[name].encode())
    folder = root / f"records{sampling_rate_hz}"
    if folder.exists():
        return
    log.info("Simulating %d ECGs at %d Hz into %s", len(records), sampling_rate_hz, root)
    temporary = root / f".{folder.name}.tmp"
    try:
        is_hidden = None if show_progress else True  # None: where stderr is no terminal
        for record in tqdm(records, desc="Writing synthetic ECGs", unit=" records", disable=is_hidden):
            # Without 'records100/': the folder still has its temporary name.
            stem = temporary / name_record(record.spec.ecg_id, sampling_rate_hz).split("/", 1)[1]
            ecg_uv = simulate_ecg(record.spec, seed=seed, sampling_rate_hz=sampling_rate_hz)
            _write_wfdb(stem, ecg_uv, sampling_rate_hz)
        temporary.replace(folder)
    except BaseException:
        _remove(temporary)
        raise


def _write_wfdb(stem: Path, ecg_uv: NDArray[np.int16], sampling_rate_hz: int) -> None:
    """Write ``stem.dat`` (format 16, sample by sample) and ``stem.hea``; wfdb.wrsamp is ten times slower."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    file = f"{stem.name}.dat"
    checksums = (ecg_uv.sum(axis=0, dtype=np.int64) % 65536).tolist()
    lines = [f"{stem.name} {len(LEADS)} {sampling_rate_hz} {len(ecg_uv)}"]
    for lead, first, checksum in zip(LEADS, ecg_uv[0].tolist(), checksums, strict=True):
        lines.append(f"{file} 16 1000.0(0)/mV 16 0 {first} {checksum} 0 {lead}")
    stem.with_name(file).write_bytes(ecg_uv.astype("<i2").tobytes())
    stem.with_name(f"{stem.name}.hea").write_text("\n".join(lines) + "\n", encoding="ascii")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
