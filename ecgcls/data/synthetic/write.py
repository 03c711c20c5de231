"""The whole data set: written under a lock, each file and folder whole or not at all, others' data untouched."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from ecgcls.data.synthetic.leads import LEADS
from ecgcls.data.synthetic.plan import plan_records
from ecgcls.data.synthetic.records import write_records
from ecgcls.data.synthetic.spec import DURATION_S
from ecgcls.data.synthetic.tables import format_database, format_statements
from ecgcls.errors import ConfigError, DataError

log = logging.getLogger(__name__)

GENERATOR_VERSION = 1  # raise it whenever the same seed would write other files
MIN_RECORDS, MAX_RECORDS = 50, 21_799

_NOTE = "SYNTHETIC.json"
# The note comes first: whatever a kill leaves behind is known to be ours.
_TEXTS = (_NOTE, "README.txt", "scp_statements.csv", "ptbxl_database.csv")
_DATA = ("ptbxl_database.csv", "scp_statements.csv", "records100", "records500")
_README = """\
These are simulated ECGs, written by ecgcls (data=synthetic) in the layout of PTB-XL. They are not from
patients, and nothing measured on them says anything about medicine: they are there to try out and to test the
software. SYNTHETIC.json says how many records were asked for and from which seed; delete this folder to write
others.
"""


def write_synthetic(
    root: Path, *, n_records: int, seed: int, sampling_rate_hz: Literal[100, 500], show_progress: bool = True
) -> None:
    """Write a PTB-XL shaped data set of simulated ECGs, or what is missing of it.

    The same arguments always write the same bytes, and 100 and 500 Hz show the same ECGs. What is there
    already is left alone; when nothing is missing the call returns at once. It works under a lock beside
    `root`, and each file and folder appears whole or not at all.

    Parameters
    ----------
    root
        Folder of the data set, made if absent. It must hold no other data set.
    n_records
        50..21799; every superclass has a record in any seven of the ten strat_folds.
    seed
        0 or more.
    sampling_rate_hz
        Which of `records100/` and `records500/` to write.
    show_progress
        Whether to draw a progress bar on stderr.

    Raises
    ------
    ConfigError
        An argument out of its range, or `root` holds another data set, synthetic or not.
    DataError
        The files cannot be written, for instance because the disk is full.
    """
    _check_arguments(n_records, seed, sampling_rate_hz)
    root = Path(root).resolve()
    asked = {"n_records": n_records, "seed": seed, "generator_version": GENERATOR_VERSION}
    if _is_complete(root, asked, sampling_rate_hz):
        return
    try:
        with _lock_beside(root):
            if not _is_complete(root, asked, sampling_rate_hz):
                _write_missing(root, asked, sampling_rate_hz, show_progress)
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


def _is_complete(root: Path, asked: dict[str, int], sampling_rate_hz: int) -> bool:
    """Whether all that was asked is there; ConfigError if something else is."""
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
        there = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        there = None
    if there != asked:
        was = _say(there) if isinstance(there, dict) else "something unreadable"
        raise ConfigError(
            f"{root} holds synthetic ECGs with {was}, asked for {_say(asked)}: delete it or choose another folder"
        )
    return all((root / name).exists() for name in (*_TEXTS, f"records{sampling_rate_hz}"))


def _say(values: dict[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


@contextmanager
def _lock_beside(root: Path) -> Iterator[None]:
    """Hold the lock of `root`; wait for whoever has it."""
    root.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root.parent / f".{root.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process that is writing %s", root)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write_missing(root: Path, asked: dict[str, int], sampling_rate_hz: Literal[100, 500], show_progress: bool) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for leftover in [root / f".{name}.tmp" for name in (*_TEXTS, "records100", "records500")]:
        _remove(leftover)  # of a run that was killed; no other is at work, we hold the lock
    records = plan_records(asked["n_records"], asked["seed"])
    make: dict[str, Callable[[], str]] = {
        _NOTE: lambda: json.dumps(asked, indent=2) + "\n",
        "README.txt": lambda: _README,
        "scp_statements.csv": format_statements,
        "ptbxl_database.csv": lambda: format_database(records, asked["seed"]),
    }
    for name in _TEXTS:
        if not (root / name).exists():
            _put(root / name, partial(Path.write_bytes, data=make[name]().encode()))
    folder = root / f"records{sampling_rate_hz}"
    if not folder.exists():
        log.info("Simulating %d ECGs at %d Hz into %s", len(records), sampling_rate_hz, root)
        write = partial(
            write_records,
            records=records,
            seed=asked["seed"],
            sampling_rate_hz=sampling_rate_hz,
            show_progress=show_progress,
        )
        _put(folder, write)


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make `path` under a temporary name beside it, then rename; a failure leaves nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
