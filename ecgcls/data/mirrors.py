"""Where the files of a data set can be read from: a server or a zip archive, each file checked against its SHA-256.

The list of files is the data set's own ``SHA256SUMS.txt``, one line ``<sha256> <path>`` per file.

References
----------
.. [1] The data set: https://doi.org/10.13026/kfzx-aw45
"""

import hashlib
import logging
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from random import random
from urllib.parse import quote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError

from ecgcls.data.connections import open_pool
from ecgcls.errors import ConfigError, DataError

log = logging.getLogger(__name__)

MIRRORS = {
    "physionet": "https://physionet.org/files/ptb-xl/1.0.3/",
    "bucket": "https://physionet-open.s3.amazonaws.com/ptb-xl/1.0.3/",
}
"""Where PTB-XL 1.0.3 is published, by name: PhysioNet's own server, and its open-data bucket."""

SUMS = "SHA256SUMS.txt"
"""The list of files."""

OFFICIAL_SUMS = "b7224b92b341511ec3ceb13dc6652079b2c36a06504bcb49506f157f51dc695d"
"""SHA-256 of the list of files that PhysioNet publishes with PTB-XL 1.0.3."""

MAX_BYTES = 50_000_000
"""Of a file, where nothing smaller is said: several times PTB-XL's own list of files, its largest."""

_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S.*)")
_CONNECTION = re.compile(r"^(.*object at 0x.*?|_\w+\(host=.*?\)): ")  # in urllib3's words
_TRIES = 6
_MAX_WAIT_S = 300
_MIN_BYTES_PER_S = 1000  # of a file that takes longer than the timeout
_MAX_BODY_S = 3600  # of a file, however large
_MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}


class _Refused(DataError):
    """An answer that another attempt would not make better."""


class WebMirror:
    """The files of a server, by HTTP or HTTPS.

    Temporary failures (429, 5xx, a timeout, a broken connection, a damaged byte) are retried, at growing intervals;
    all connections wait as long as the server asks them to. Redirections are followed, but not from HTTPS to HTTP, and
    each other server is logged. Proxies are taken from the environment.

    Parameters
    ----------
    url
        The address of the folder that holds ``SHA256SUMS.txt``.
    timeout_s
        How long to wait for data, and for the whole head of an answer; a file that takes longer must arrive at 1 kB/s
        or more.
    backoff_s
        The wait before the second attempt; it doubles with each further one.
    """

    def __init__(self, url: str, *, timeout_s: float = 60, backoff_s: float = 1) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigError(
                f"source must be {' or '.join(MIRRORS)} or an address that begins with https://, got {url!r}; for a "
                "zip that you have, archive=FILE.zip"
            )
        self._url = url.rstrip("/") + "/"
        self._timeout_s, self._backoff_s = timeout_s, backoff_s
        self._pool = open_pool(self._url, timeout_s)
        self._quiet_until = 0.0
        self._is_closed = threading.Event()
        self._hosts = {urlsplit(self._url).netloc}  # that are known to the user
        self._open: set[urllib3.BaseHTTPResponse] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Make whatever waits for data, or for another attempt, give up."""
        self._is_closed.set()
        with self._lock:
            for response in self._open:
                _shut_down(response)

    def read(self, path: str, sha256: str | None = None, *, max_bytes: int = MAX_BYTES) -> bytes:
        """Return a file's bytes; DataError if there is none, it is too large or unreadable, or its SHA-256 differs."""
        url = self._url + quote(path)
        problem = ""
        for attempt in range(_TRIES):
            self._is_closed.wait(self._quiet_until - time.monotonic())
            if self._is_closed.is_set():
                raise DataError(f"{url}: given up")
            pause_s = None
            try:
                with self._request(url) as response:
                    if response.status == 200:
                        content = self._receive(response, url, max_bytes)
                        _check_sum(content, sha256, url)
                        return content
                    problem = f"{url}: the server answered {response.status} {response.reason or ''}".rstrip()
                    if response.status != 429 and response.status < 500:
                        break
                    pause_s = parse_pause(response.headers.get("Retry-After", ""))
            except _Refused:
                raise
            except DataError as error:
                problem = f"{error}; it arrived so {_TRIES} times"
            except (HTTPError, HTTPException, OSError) as error:
                text = str(error.reason if isinstance(error, MaxRetryError) and error.reason else error)
                problem = f"{url}: {_CONNECTION.sub('', text)}"
            if attempt + 1 < _TRIES:
                self._wait(pause_s, attempt, url)
        is_lost = " 404 " in f"{problem} " and url.endswith(SUMS)
        raise DataError(problem + ("; is source= the folder that holds it?" if is_lost else ""))

    @contextmanager
    def _request(self, url: str) -> Iterator[urllib3.BaseHTTPResponse]:
        """Ask for an address, or that to which it is redirected."""
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._pool.request(
                "GET", url, preload_content=False, decode_content=False, redirect=False, retries=False
            )
            with response:
                if response.status not in _REDIRECTS:
                    with self._lock:
                        self._open.add(response)
                    try:
                        yield response
                    finally:
                        with self._lock:
                            self._open.discard(response)
                    return
                url = self._follow(url, response.headers.get("Location", ""))
        raise _Refused(f"{url}: redirected more than {_MAX_REDIRECTS} times; choose another source")

    def _follow(self, url: str, location: str) -> str:
        """Return the address to which one is redirected; tell of a server that is not known yet."""
        try:
            target = urljoin(url, location)
            parts = urlsplit(target)
        except ValueError:
            target, parts = location, urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc or not location:
            raise _Refused(f"{url}: redirected to {target[:200]!r}, expected an address of the web")
        if urlsplit(url).scheme == "https" and parts.scheme == "http":
            raise _Refused(f"{url}: redirected to {target[:200]!r}, which is not encrypted: choose another source")
        with self._lock:
            if parts.netloc not in self._hosts:
                self._hosts.add(parts.netloc)
                log.warning("%s redirects to %s", urlsplit(url).netloc, parts.netloc)
        return target

    def _wait(self, pause_s: float | None, attempt: int, url: str) -> None:
        """Wait for the next attempt; if the server says how long, all connections wait."""
        if not pause_s:
            self._is_closed.wait(min(60, self._backoff_s * (2**attempt + random() / 2)))
        elif pause_s > _MAX_WAIT_S:
            raise DataError(f"{url}: the server asks to come back in {pause_s:,.0f} s; run the command again then")
        else:
            self._quiet_until = max(self._quiet_until, time.monotonic() + pause_s)

    def _receive(self, response: urllib3.BaseHTTPResponse, url: str, max_bytes: int) -> bytes:
        """Read an answer, at most this much of it; it was asked for uncompressed."""
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            raise _Refused(f"{url}: the server compresses it ({encoding[:40]}), which it was asked not to do")
        start, content = time.monotonic(), bytearray()
        limit_s = min(self._timeout_s + max_bytes / _MIN_BYTES_PER_S, _MAX_BODY_S)
        timer = threading.Timer(limit_s, _shut_down, [response])  # what is no content may have no end either
        timer.daemon = True
        timer.start()
        try:
            while piece := response.read1(1 << 16):
                content += piece
                if len(content) > max_bytes:
                    raise _Refused(f"{url}: larger than {max_bytes:,} bytes, the most that this file can be; given up")
                elapsed = time.monotonic() - start
                if elapsed > self._timeout_s and len(content) < _MIN_BYTES_PER_S * elapsed:
                    raise HTTPError(f"only {len(content):,} bytes arrived in {elapsed:.0f} s")
        finally:
            timer.cancel()
        if time.monotonic() - start > limit_s:
            raise _Refused(f"{url}: not all of it arrived in {limit_s:.0f} s; choose another source")
        return bytes(content)


def _shut_down(response: urllib3.BaseHTTPResponse) -> None:
    """Make whoever waits for more of an answer go on."""
    if hasattr(response, "shutdown"):  # urllib3 2.3
        with suppress(ValueError, RuntimeError, OSError):  # it has just ended
            response.shutdown()


def parse_pause(retry_after: str) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for, which may be a date; None where it asks for nothing.

    Examples
    --------
    >>> parse_pause("120"), parse_pause("Thu, 01 Jan 1970 00:00:00 GMT"), parse_pause("-5"), parse_pause("later")
    (120.0, None, None, None)
    """
    if re.fullmatch(r"[0-9]{1,12}", retry_after.strip()):
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None


class ZipMirror:
    """The files of a zip archive, such as PhysioNet's, in which the data set may be in a folder.

    Raises
    ------
    DataError
        If it is not a zip archive, has no ``SHA256SUMS.txt``, or one of its paths leads out of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise DataError(f"archive: there is no file {path}") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"archive: {path} is not a zip archive ({error})") from error
        names = [_check_path(name.rstrip("/"), str(path)) for name in self._archive.namelist()]
        lists = sorted((name for name in names if PurePosixPath(name).name == SUMS), key=lambda name: name.count("/"))
        if not lists:
            raise DataError(f"archive: {path} holds no {SUMS}; expected the zip of PTB-XL from PhysioNet")
        self._folder = lists[0].removesuffix(SUMS)

    def read(self, path: str, sha256: str | None = None, *, max_bytes: int = MAX_BYTES) -> bytes:
        """Return a file's bytes, as `WebMirror.read`."""
        where = f"{self._path}: {self._folder}{path}"
        try:
            with self._archive.open(self._folder + path) as file:
                content = file.read(max_bytes + 1)
        except KeyError:
            raise DataError(f"{where}: there is no such file in the archive") from None
        except (zipfile.BadZipFile, zipfile.zlib.error, EOFError, RuntimeError, NotImplementedError) as error:  # type: ignore[attr-defined]
            raise DataError(f"{where}: the archive is damaged here ({error})") from error
        if len(content) > max_bytes:
            raise DataError(f"{where}: larger than {max_bytes:,} bytes, the most that this file can be")
        _check_sum(content, sha256, where)
        return content


Mirror = WebMirror | ZipMirror
"""What holds the files of a data set."""


def parse_sums(text: str) -> dict[str, str]:
    """Parse a list of files as written by ``sha256sum``; return the SHA-256 by path.

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
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        found = _LINE.fullmatch(line.strip())
        if found:
            sums[_check_path(found[2].removeprefix("./"), SUMS)] = found[1].lower()
        elif line.strip():
            raise DataError(f"{SUMS}, line {number}: expected '<sha256> <path>', got {line[:80]!r}")
    return sums


def _check_path(path: str, source: str) -> str:
    """Reject a path that leads out of the folder that it is relative to, on any system."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or re.search(r"[\\:\x00-\x1f]", path):
        raise DataError(f"{source}: the path {path!r} leads out of the data set's folder; do not use this source")
    return path


def _check_sum(content: bytes, sha256: str | None, where: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(
            f"{where}: damaged: {len(content):,} bytes with SHA-256 {found[:12]}..., {SUMS} says {sha256[:12]}..."
        )
