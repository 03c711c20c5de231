"""Download a data set in PTB-XL's layout, from a server or a zip archive.

A file is written under a temporary name and renamed, so that an interrupted download leaves only complete files; the
next one fetches what is missing or damaged.
"""

import hashlib
import logging
import re
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from ecgcls.data.connections import MAX_CONNECTIONS
from ecgcls.data.mirrors import MAX_BYTES, OFFICIAL_SUMS, SUMS, Mirror, WebMirror, parse_sums
from ecgcls.data.ptbxl import DATABASE_CSV, STATEMENTS_CSV
from ecgcls.data.source import is_simulated
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import write_atomically

log = logging.getLogger(__name__)

LICENSE = """\
PTB-XL is published under the Creative Commons Attribution 4.0 International license (see LICENSE.txt). Cite:
  Wagner, Strodthoff, Bousseljot, Samek, Schaeffter. PTB-XL, a large publicly available electrocardiography dataset
    (version 1.0.3). PhysioNet (2022). doi:10.13026/kfzx-aw45
  Wagner, Strodthoff, Bousseljot, Kreiseler, Lunze, Samek, Schaeffter. PTB-XL, a large publicly available
    electrocardiography dataset. Scientific Data 7, 154 (2020). doi:10.1038/s41597-020-0495-6
  Goldberger et al. PhysioBank, PhysioToolkit, and PhysioNet. Circulation 101, e215-e220 (2000).
    doi:10.1161/01.CIR.101.23.e215"""

_FOLDERS = {100: "records100/", 500: "records500/"}
_RECORD_S, _BYTES_PER_SAMPLE = 10, 12 * 2  # of a record of PTB-XL: twelve leads of int16
_HEADER_BYTES = 64_000  # of a record's header, at most
_MARGIN = 2  # how much larger than PTB-XL's own a signal file may be
_BLOCK = 4096  # bytes that a small file takes on disk
_TABLES_BYTES = 20_000_000  # the tables and the list of files, generously
_MAX_FAILED = 10  # files; after these the rest is not tried
_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")  # as `write_atomically` calls them


@dataclass(frozen=True)
class Summary:
    """What is in the folder after a download, all verified, and how much of it was missing or damaged before.

    It `is_official` if the list of files is PTB-XL 1.0.3's own; its SHA-256 is `sums_sha256`.
    """

    is_official: bool
    sums_sha256: str
    n_files: int
    n_bytes: int
    n_fetched: int
    n_bytes_fetched: int


def download(
    mirror: Mirror,
    root: Path,
    *,
    sampling_rates_hz: Sequence[int],
    n_connections: int = 8,
    with_store: bool = True,
    sums_sha256: str | None = None,
) -> Summary:
    """Fetch into `root` what is missing or damaged of a data set, its tables first.

    Parameters
    ----------
    sampling_rates_hz
        Which records: 100, 500 or both.
    n_connections
        How many files to fetch at a time, 1 to 16.
    with_store
        Whether the disk must also have room for a signal store in `root`.
    sums_sha256
        The SHA-256 that the list of files must have; None takes any.

    Raises
    ------
    ConfigError
        If `root` holds something else, or another process is downloading into it.
    DataError
        If the list of files cannot be trusted, the disk is full, or a file cannot be fetched: all others are fetched
        first, unless many fail.
    """
    if not 1 <= n_connections <= MAX_CONNECTIONS:
        raise ConfigError(f"connections must be in 1..{MAX_CONNECTIONS}, got {n_connections}")
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise ConfigError(f"root: {root} is a file, expected a folder: choose another")
    if is_simulated(root):
        raise ConfigError(f"root: {root} holds simulated ECGs: choose another folder for PTB-XL")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".download.lock", timeout=0):
            listed = _read_list(mirror, root, sums_sha256)
            return _download(mirror, root, listed, sampling_rates_hz, n_connections, with_store)
    except Timeout:
        raise ConfigError(f"root: another process is downloading into {root}; wait until it ends") from None
    except OSError as error:
        raise DataError(
            f"{root} cannot be written ({error.strerror or error}): make room or choose another root; what is there "
            "is complete, and the same command resumes"
        ) from error


def _read_list(mirror: Mirror, root: Path, sums_sha256: str | None) -> bytes:
    """Read the list of files, and check that it is the expected one, and the one of what is there."""
    listed = mirror.read(SUMS)
    found = hashlib.sha256(listed).hexdigest()
    if sums_sha256 is not None and found != sums_sha256.lower():
        raise DataError(
            f"{SUMS} of this source has the SHA-256 {found}, expected {sums_sha256}: do not use this source"
        )
    there = root / SUMS
    if there.is_file() and there.read_bytes() != listed:
        raise ConfigError(
            f"root: {root} was downloaded from a source with another {SUMS}, maybe another version: choose another "
            f"folder, or delete {there} to bring this one to the new version"
        )
    if found != OFFICIAL_SUMS:
        log.warning("This source is a mirror: its %s is not that of PTB-XL 1.0.3 (SHA-256 %s)", SUMS, found)
    return listed


def _download(
    mirror: Mirror, root: Path, listed: bytes, sampling_rates_hz: Sequence[int], n_connections: int, with_store: bool
) -> Summary:
    sums = parse_sums(listed.decode(errors="replace"))
    _remove_leftovers(root, sums)
    if DATABASE_CSV not in sums:
        raise DataError(f"{SUMS} lists no {DATABASE_CSV}: this source is not PTB-XL")
    tables = {path: sums[path] for path in (DATABASE_CSV, STATEMENTS_CSV, "LICENSE.txt") if path in sums}
    records: dict[str, str] = {}
    for rate in sampling_rates_hz:
        found = {path: sums[path] for path in sorted(sums) if path.startswith(_FOLDERS[rate])}
        if not found:
            raise DataError(
                f"{SUMS} lists nothing in {_FOLDERS[rate]}: this source has no records of that sampling rate"
            )
        records |= found
    _check_space(root, records, with_store=with_store)
    write_atomically(root / SUMS, listed)
    done = _fetch_all(mirror, root, tables, 1) + _fetch_all(mirror, root, records, n_connections)
    fetched = [n_bytes for n_bytes, is_new in done if is_new]
    digest = hashlib.sha256(listed).hexdigest()
    amounts = len(done), sum(n_bytes for n_bytes, _ in done), len(fetched), sum(fetched)
    return Summary(digest == OFFICIAL_SUMS, digest, *amounts)


def _remove_leftovers(root: Path, sums: Iterable[str]) -> None:
    """Remove what a process that was killed had begun to write: this one has the lock."""
    own = {root / path for path in (*sums, SUMS)}
    for folder in {path.parent for path in own}:
        for path in folder.glob(".*.tmp"):
            if (found := _TEMPORARY.fullmatch(path.name)) and path.with_name(found[1]) in own:
                path.unlink()


def _limit_bytes(path: str) -> int:
    """Return the size that a file of the list has at most."""
    rate = next((rate for rate, folder in _FOLDERS.items() if path.startswith(folder)), None)
    if rate is None:
        return MAX_BYTES
    return _HEADER_BYTES if path.endswith(".hea") else _MARGIN * rate * _RECORD_S * _BYTES_PER_SAMPLE


def _check_space(root: Path, records: Iterable[str], *, with_store: bool) -> None:
    """Check that the disk has room for what is missing."""
    needed = _TABLES_BYTES
    for path in records:
        rate = 500 if path.startswith(_FOLDERS[500]) else 100
        n_bytes = rate * _RECORD_S * _BYTES_PER_SAMPLE if path.endswith(".dat") else 0
        needed += 0 if (root / path).exists() else n_bytes + _BLOCK
        needed += n_bytes if with_store else 0
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"root: {root} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed for the missing "
            "files and the signal store: make room or choose another root"
        )


def _fetch_all(mirror: Mirror, root: Path, sums: dict[str, str], n_connections: int) -> list[tuple[int, bool]]:
    """Fetch the files that are missing or damaged; return the size in bytes of each, and whether it was fetched.

    A file that cannot be fetched is an error after the others were, or after many have failed.
    """
    done: list[tuple[int, bool]] = []
    failed: list[DataError] = []
    n_new = 0
    pool = ThreadPoolExecutor(n_connections)
    futures = [pool.submit(_fetch, mirror, root, path, sha256) for path, sha256 in sums.items()]
    try:
        with tqdm(total=len(sums), desc="Downloading", unit=" files", disable=None) as progress:
            for future in as_completed(futures):
                try:
                    done.append(future.result())
                    n_new += done[-1][0] if done[-1][1] else 0
                except DataError as error:
                    failed.append(error)
                    if len(failed) >= _MAX_FAILED:
                        break
                progress.set_postfix_str(f"{n_new / 1e6:,.1f} MB fetched", refresh=False)
                progress.update()
    finally:
        if isinstance(mirror, WebMirror) and len(done) + len(failed) < len(futures):
            mirror.close()
        pool.shutdown(cancel_futures=True)
    if failed:
        left = len(sums) - len(done)
        more = f"; {left:,} of {len(sums):,} files are missing" if left > 1 else ""
        raise DataError(f"{failed[0]}{more}. What is there is complete; the same command fetches the rest")
    return done


def _fetch(mirror: Mirror, root: Path, name: str, sha256: str) -> tuple[int, bool]:
    with suppress(FileNotFoundError):
        content = (root / name).read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            return len(content), False
    content = mirror.read(name, sha256, max_bytes=_limit_bytes(name))
    write_atomically(root / name, content)
    return len(content), True
