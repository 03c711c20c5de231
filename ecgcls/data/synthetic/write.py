"""Writes the data set under a lock: each file and folder as a whole or not at all, never over other data."""

import json
import logging
import shutil
from pathlib import Path
from typing import Literal

from ecgcls.data.ptbxl import DATABASE_CSV, STATEMENTS_CSV
from ecgcls.data.synthetic.leads import LEADS
from ecgcls.data.synthetic.plan import plan_records
from ecgcls.data.synthetic.records import write_records
from ecgcls.data.synthetic.spec import DURATION_S
from ecgcls.data.synthetic.tables import format_database, format_statements
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import lock, write_atomically

log = logging.getLogger(__name__)

GENERATOR_VERSION = 1  # increase it whenever the same seed would write other files
MIN_RECORDS, MAX_RECORDS = 50, 21_799

_NOTE = "SYNTHETIC.json"
# The note comes first: it marks whatever a kill leaves behind as synthetic.
_TEXTS = (_NOTE, "README.txt", STATEMENTS_CSV, DATABASE_CSV)
_DATA = (DATABASE_CSV, STATEMENTS_CSV, "records100", "records500")
_README = """\
These are simulated ECGs, written by ecgcls (data=synthetic) in the layout of PTB-XL. They are not from
patients, and nothing measured on them says anything about medicine: they are there to try out and to test the
software. SYNTHETIC.json says how many records were asked for and from which seed; delete this folder to write
others.
"""


def write_synthetic(
    root: Path, *, n_records: int, seed: int, sampling_rate_hz: Literal[100, 500], show_progress: bool = True
) -> None:
    """Write a data set of simulated ECGs in PTB-XL's layout, or what is missing of it.

    The same arguments always write the same bytes, and 100 and 500 Hz show the same ECGs. Existing files are kept; if
    nothing is missing, the call returns at once. It holds a lock beside `root`, and each file and folder appears as a
    whole or not at all.

    Parameters
    ----------
    root
        Folder of the data set, created if needed. It must hold no other data set.
    n_records
        50..21,799; every superclass has a record in any seven of the ten strat_folds.
    seed
        0 or more.
    sampling_rate_hz
        Which of `records100/` and `records500/` to write.
    show_progress
        Whether to draw a progress bar on stderr.

    Raises
    ------
    ConfigError
        If an argument is out of range, or `root` holds another data set, synthetic or not.
    DataError
        If the files cannot be written, for instance because the disk is full.
    """
    _check_arguments(n_records, seed, sampling_rate_hz)
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


def _check_arguments(n_records: int, seed: int, sampling_rate_hz: int) -> None:
    if not MIN_RECORDS <= n_records <= MAX_RECORDS:
        raise ConfigError(f"data.n_records must be in {MIN_RECORDS}..{MAX_RECORDS}, got {n_records}")
    if seed < 0:
        raise ConfigError(f"the seed of synthetic ECGs must be 0 or more, got {seed}")
    if sampling_rate_hz not in (100, 500):
        raise ConfigError(f"sampling_rate_hz must be 100 or 500, got {sampling_rate_hz}")


def _is_complete(root: Path, wanted: dict[str, int], sampling_rate_hz: int) -> bool:
    """Whether all that is wanted is there; ConfigError if something else is."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file, expected a folder for synthetic ECGs: choose another")
    note = root / _NOTE
    if not note.exists():
        present = [name for name in _DATA if (root / name).exists()]
        if present:
            raise ConfigError(
                f"{root} holds {present[0]} but no {_NOTE}, so ecgcls did not write it and will "
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


def _format(values: dict[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _write_missing(
    root: Path, wanted: dict[str, int], sampling_rate_hz: Literal[100, 500], show_progress: bool
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for leftover in root.glob(".*.tmp"):  # of a process that was killed: this one has the lock
        _remove(leftover)
    records = plan_records(wanted["n_records"], wanted["seed"])
    texts = {
        _NOTE: json.dumps(wanted, indent=2) + "\n",
        "README.txt": _README,
        STATEMENTS_CSV: format_statements(),
        DATABASE_CSV: format_database(records, wanted["seed"]),
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
        write_records(
            temporary,
            records,
            seed=wanted["seed"],
            sampling_rate_hz=sampling_rate_hz,
            show_progress=show_progress,
        )
        temporary.replace(folder)
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
