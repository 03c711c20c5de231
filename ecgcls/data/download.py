"""Get a data set in PTB-XL's layout from a server or out of a zip archive, each file checked against its SHA-256.

The list of files is the data set's own ``SHA256SUMS.txt``, a line ``<sha256> <path>`` a file. A file is written under a
temporary name and renamed, so that whatever stops a download leaves only whole files; the next one fetches what is
missing or damaged.

References
----------
.. [1] The data set: https://doi.org/10.13026/kfzx-aw45
"""

import hashlib
import re
import shutil
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote, urlsplit

import urllib3
from filelock import FileLock, Timeout
from tqdm import tqdm
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import Retry

from ecgcls import __version__
from ecgcls.data.ptbxl import DATABASE_CSV, STATEMENTS_CSV
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import write_atomically

SOURCES = {
    "physionet": "https://physionet.org/files/ptb-xl/1.0.3/",
    "bucket": "https://physionet-open.s3.amazonaws.com/ptb-xl/1.0.3/",
}
"""Where PTB-XL 1.0.3 is published, by name: PhysioNet's own server, and its open-data bucket."""

MAX_CONNECTIONS = 16
LICENCE = """\
PTB-XL is published under the Creative Commons Attribution 4.0 International licence (see LICENSE.txt). Cite:
  Wagner, Strodthoff, Bousseljot, Samek, Schaeffter. PTB-XL, a large publicly available electrocardiography dataset
    (version 1.0.3). PhysioNet (2022). doi:10.13026/kfzx-aw45
  Wagner, Strodthoff, Bousseljot, Kreiseler, Lunze, Samek, Schaeffter. PTB-XL, a large publicly available
    electrocardiography dataset. Scientific Data 7, 154 (2020). doi:10.1038/s41597-020-0495-6
  Goldberger et al. PhysioBank, PhysioToolkit, and PhysioNet. Circulation 101, e215-e220 (2000).
    doi:10.1161/01.CIR.101.23.e215"""

_SUMS = "SHA256SUMS.txt"
_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S.*)")
_FOLDERS = {100: "records100/", 500: "records500/"}
_RECORD_S, _BYTES_A_SECOND = 10, 12 * 2  # of a record of PTB-XL: twelve leads of int16, times the sampling rate
_BLOCK = 4096  # bytes that a small file takes on a disk
_TABLES_BYTES = 20_000_000  # the tables and the list of files, generously
_MAX_FAILED = 10  # files that may fail before the rest is not tried
_TRIES = 6
_LONGEST_WAIT_S = 300
_SLOWEST = 1000  # bytes a second of a file that has taken longer than the time-out


class Source(Protocol):
    """What holds the files of a data set."""

    def read(self, path: str, sha256: str | None = None) -> bytes:
        """Return a file's bytes.

        Raises
        ------
        DataError
            If there is no such file, it cannot be had, or its SHA-256 is another.
        """


@dataclass(frozen=True)
class Summary:
    """What a download did.

    Attributes
    ----------
    n_files, n_bytes
        All that is in the folder now, and was verified.
    n_fetched, n_bytes_fetched
        What of it was missing or damaged before.
    """

    n_files: int
    n_bytes: int
    n_fetched: int
    n_bytes_fetched: int


def download(
    source: Source, root: Path, *, sampling_rates_hz: Sequence[int], n_connections: int = 8, with_store: bool = True
) -> Summary:
    """Fetch what is missing or damaged of a data set, its tables first.

    Parameters
    ----------
    source
        Where the files come from.
    root
        The data set's folder, made if absent.
    sampling_rates_hz
        Which of the records: 100, 500 or both.
    n_connections
        Files fetched at a time, 1 to 16.
    with_store
        Whether the space on the disk must be enough for a signal store in `root`, too.

    Raises
    ------
    ConfigError
        If `root` holds something else, or another process is downloading into it.
    DataError
        If the list of files is not to be trusted, there is no space, or a file cannot be had: all others are fetched
        first, unless many fail.
    """
    if not 1 <= n_connections <= MAX_CONNECTIONS:
        raise ConfigError(f"connections must be in 1..{MAX_CONNECTIONS}, got {n_connections}")
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise ConfigError(f"root: {root} is a file, expected a folder: choose another")
    if (root / "SYNTHETIC.json").exists():
        raise ConfigError(f"root: {root} holds simulated ECGs: choose another folder for PTB-XL")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".download.lock", timeout=0):
            return _download(source, root, sampling_rates_hz, n_connections, with_store)
    except Timeout:
        raise ConfigError(f"root: another process is downloading into {root}; let it end") from None
    except OSError as error:
        raise DataError(
            f"{root} cannot be written ({error.strerror or error}): make room or choose another root; what is there "
            "is whole, and the same command goes on"
        ) from error


def parse_sums(text: str, *, source: str = _SUMS) -> dict[str, str]:
    """Read a list of files as ``sha256sum`` writes it.

    Parameters
    ----------
    text
        A line ``<sha256> <path>`` a file.
    source
        What to call the list in an error.

    Returns
    -------
    dict
        The SHA-256 by path.

    Raises
    ------
    DataError
        If a line is malformed, or a path leads out of the folder.

    Examples
    --------
    >>> parse_sums("a" * 64 + "  records100/00000/00001_lr.dat")["records100/00000/00001_lr.dat"][:4]
    'aaaa'
    """
    sums = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if not found:
            raise DataError(f"{source}, line {number}: expected '<sha256> <path>', got {line[:80]!r}")
        sums[_check_path(found[2].removeprefix("./"), source)] = found[1].lower()
    return sums


def _check_path(path: str, source: str) -> str:
    """Refuse a path that leads, on any system, out of the folder that it is relative to."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or re.search(r"[\\:\x00-\x1f]", path):
        raise DataError(
            f"{source}: the path {path!r} leads out of the data set's folder; this source is not to be used"
        )
    return path


class WebSource:
    """The files of a server, by HTTP or HTTPS.

    What a server or a network gets wrong for a moment (429, 5xx, a time-out, a connection that is cut, a wrong byte) is
    tried again, later and later; all connections wait while the server asks for it. Proxies are taken from the
    environment.

    Parameters
    ----------
    url
        The address of the folder that holds ``SHA256SUMS.txt``.
    timeout_s
        For how long a server may say nothing; a file that takes longer must come with 1 kB/s at least.
    backoff_s
        The wait before the second try; it doubles with every further one.
    """

    def __init__(self, url: str, *, timeout_s: float = 60, backoff_s: float = 1) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigError(
                f"source must be {' or '.join(SOURCES)} or an address that begins with https://, got {url!r}; for a "
                "zip that you have, archive=FILE.zip"
            )
        self._url = url.rstrip("/") + "/"
        self._timeout_s = timeout_s
        self._retries = Retry(
            _TRIES - 1, backoff_factor=backoff_s, backoff_max=60, backoff_jitter=backoff_s / 2, status_forcelist=[429]
        )
        self._pool = _open_pool(self._url, timeout_s)
        self._quiet_until = 0.0
        self._is_closed = threading.Event()

    def close(self) -> None:
        """Let what waits for another try give up."""
        self._is_closed.set()

    def read(self, path: str, sha256: str | None = None) -> bytes:
        """Return a file's bytes, however often it takes."""
        url = self._url + quote(path)
        retries = self._retries
        while True:
            self._is_closed.wait(max(0.0, self._quiet_until - time.monotonic()))
            if self._is_closed.is_set():
                raise DataError(f"{url}: given up")
            response: urllib3.BaseHTTPResponse | None = None
            try:
                response = self._pool.request(
                    "GET", url, preload_content=False, retries=Retry(0, redirect=5, raise_on_status=False)
                )
                if response.status == 200:
                    content = self._receive(response)
                    _check_sum(content, sha256, url)
                    return content
                problem: Exception = _Refused(response.status, response.reason)
            except (HTTPError, DataError) as error:
                problem = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            finally:
                if response is not None:
                    response.close()
            if isinstance(problem, _Refused) and not problem.is_passing:
                raise DataError(_say_problem(url, problem))
            try:
                retries = retries.increment("GET", url, error=HTTPError(str(problem)))
            except HTTPError:
                raise DataError(_say_problem(url, problem)) from problem
            self._wait(retries, response, url)

    def _wait(self, retries: Retry, response: urllib3.BaseHTTPResponse | None, url: str) -> None:
        """Wait for the next try; where the server says for how long, let all connections wait."""
        asked = retries.get_retry_after(response) if response is not None else None
        if asked:
            if asked > _LONGEST_WAIT_S:
                raise DataError(f"{url}: the server asks to come back in {asked:,.0f} s; run the command again then")
            self._quiet_until = max(self._quiet_until, time.monotonic() + asked)
        else:
            self._is_closed.wait(retries.get_backoff_time() or self._retries.backoff_factor)

    def _receive(self, response: urllib3.BaseHTTPResponse) -> bytes:
        start, content = time.monotonic(), bytearray()
        while piece := response.read1(1 << 16):
            content += piece
            elapsed = time.monotonic() - start
            if elapsed > self._timeout_s and len(content) < _SLOWEST * elapsed:
                raise HTTPError(f"only {len(content):,} bytes came in {elapsed:.0f} s")
        return bytes(content)


class ZipSource:
    """The files of a zip archive, such as PhysioNet's.

    Parameters
    ----------
    path
        The archive. The data set may lie in a folder of it.

    Raises
    ------
    DataError
        If it is no zip archive, lacks ``SHA256SUMS.txt``, or one of its paths leads out of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise DataError(f"archive: there is no file {path}") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"archive: {path} is no zip archive ({error})") from error
        names = [_check_path(name.rstrip("/"), str(path)) for name in self._archive.namelist()]
        lists = sorted((name for name in names if PurePosixPath(name).name == _SUMS), key=lambda name: name.count("/"))
        if not lists:
            raise DataError(f"archive: {path} holds no {_SUMS}; expected the zip of PTB-XL from PhysioNet")
        self._folder = lists[0].removesuffix(_SUMS)

    def read(self, path: str, sha256: str | None = None) -> bytes:
        """Return a file's bytes."""
        where = f"{self._path}: {self._folder}{path}"
        try:
            content = self._archive.read(self._folder + path)
        except KeyError:
            raise DataError(f"{where}: there is no such file in the archive") from None
        except (zipfile.BadZipFile, zipfile.zlib.error, EOFError, RuntimeError, NotImplementedError) as error:  # type: ignore[attr-defined]
            raise DataError(f"{where}: the archive is damaged here ({error})") from error
        _check_sum(content, sha256, where)
        return content


class _Refused(Exception):
    """An answer of a server that is not the file."""

    def __init__(self, status: int, reason: str | None) -> None:
        super().__init__(f"the server says {status} {reason or ''}".strip())
        self.is_passing = status == 429 or status >= 500


def _download(
    source: Source, root: Path, sampling_rates_hz: Sequence[int], n_connections: int, with_store: bool
) -> Summary:
    for leftover in root.rglob(".*.tmp"):
        leftover.unlink()  # of a process that was killed: the lock is ours
    listed = source.read(_SUMS)
    there = root / _SUMS
    if there.is_file() and there.read_bytes() != listed:
        raise ConfigError(
            f"root: {root} was downloaded from a source with another {_SUMS}, maybe another version: choose another "
            f"folder, or delete {there} to bring this one to the new version"
        )
    sums = parse_sums(listed.decode(errors="replace"))
    if DATABASE_CSV not in sums:
        raise DataError(f"{_SUMS} lists no {DATABASE_CSV}: this source is not a mirror of PTB-XL")
    tables = [path for path in (DATABASE_CSV, STATEMENTS_CSV, "LICENSE.txt") if path in sums]
    folders = [_FOLDERS[rate] for rate in sampling_rates_hz]
    records = sorted(path for path in sums if path.startswith(tuple(folders)))
    for folder in folders:
        if not any(path.startswith(folder) for path in records):
            raise DataError(f"{_SUMS} lists nothing in {folder}: this source has no records of that sampling rate")
    _check_space(root, records, with_store=with_store)
    write_atomically(there, listed)
    done = _fetch_all(source, root, {path: sums[path] for path in tables}, 1)
    done += _fetch_all(source, root, {path: sums[path] for path in records}, n_connections)
    fetched = [n_bytes for n_bytes, is_new in done if is_new]
    return Summary(len(done), sum(n_bytes for n_bytes, _ in done), len(fetched), sum(fetched))


def _check_space(root: Path, records: Iterable[str], *, with_store: bool) -> None:
    """Refuse a disk on which what is missing will not fit."""
    needed = _TABLES_BYTES
    for path in records:
        rate = 500 if path.startswith(_FOLDERS[500]) else 100
        is_signal = path.endswith(".dat")
        n_bytes = rate * _RECORD_S * _BYTES_A_SECOND if is_signal else 0
        needed += 0 if (root / path).exists() else n_bytes + _BLOCK
        needed += n_bytes if with_store else 0
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"root: {root} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed for the files that are "
            "missing and the signal store: make room or choose another root"
        )


def _fetch_all(source: Source, root: Path, sums: dict[str, str], n_connections: int) -> list[tuple[int, bool]]:
    """Bring some files up to their SHA-256; return each one's size in bytes, and whether it was fetched.

    Raises
    ------
    DataError
        If a file cannot be had, once the others are there or many have failed.
    """
    done: list[tuple[int, bool]] = []
    failed: list[DataError] = []
    n_new = 0
    pool = ThreadPoolExecutor(n_connections)
    futures = [pool.submit(partial(_fetch, source, root / path, path, sha256)) for path, sha256 in sums.items()]
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
        if isinstance(source, WebSource) and len(done) + len(failed) < len(futures):
            source.close()
        pool.shutdown(cancel_futures=True)
    if failed:
        left = len(sums) - len(done)
        more = f"; {left:,} of {len(sums):,} files are missing" if left > 1 else ""
        raise DataError(f"{failed[0]}{more}. What is there is whole; the same command fetches the rest")
    return done


def _fetch(source: Source, path: Path, name: str, sha256: str) -> tuple[int, bool]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() == sha256:
        return len(content), False
    content = source.read(name, sha256)
    write_atomically(path, content)
    return len(content), True


def _check_sum(content: bytes, sha256: str | None, where: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(
            f"{where}: damaged: {len(content):,} bytes with SHA-256 {found[:12]}..., {_SUMS} says {sha256[:12]}..."
        )


def _say_problem(url: str, problem: Exception) -> str:
    if isinstance(problem, DataError):
        return f"{problem}; it came so {_TRIES} times"
    text = str(problem)
    if isinstance(problem, HTTPError) and ": " in text and "object at 0x" in text:
        text = text.partition(": ")[2]  # without the connection's address in memory
    hint = "; is source= the folder that holds it?" if "404" in text and url.endswith(_SUMS) else ""
    return f"{url}: {text}{hint}"


def _open_pool(url: str, timeout_s: float) -> urllib3.PoolManager:
    """Open connections to a server, by the proxy that the environment names for it."""
    parts = urlsplit(url)
    timeout, agent = urllib3.Timeout(timeout_s), {"User-Agent": f"ecgcls/{__version__}", "Accept-Encoding": "identity"}
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, headers=agent, timeout=timeout, maxsize=MAX_CONNECTIONS)
    return urllib3.PoolManager(headers=agent, timeout=timeout, maxsize=MAX_CONNECTIONS)
