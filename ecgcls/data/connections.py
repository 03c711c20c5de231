"""Connections to a server of files: through the environment's proxy, and none that waits for an answer for ever."""

import threading
import urllib.request
from contextlib import suppress
from socket import SHUT_RD
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from ecgcls import __version__

MAX_CONNECTIONS = 16


class _Bounded(HTTPConnection):
    """Gives up when the head of an answer is not whole within the timeout.

    A socket's own timeout is for silence: header after header, or ``100 Continue`` for ever, never reaches it.
    """

    def getresponse(self) -> Any:
        """Return the answer, whose body is not read yet."""
        is_cut = threading.Event()
        timer = threading.Timer(self.timeout or 0, self._cut, [is_cut])
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        except Exception as error:
            if is_cut.is_set():
                raise TimeoutError("timed out") from error
            raise
        finally:
            timer.cancel()
        if is_cut.is_set():  # what has come until then may look like a head
            raise TimeoutError("timed out")
        return response

    def _cut(self, is_cut: threading.Event) -> None:
        is_cut.set()
        with suppress(AttributeError, OSError):  # it has just ended
            self.sock.shutdown(SHUT_RD)


class _BoundedSecure(_Bounded, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Bounded


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _BoundedSecure


def open_pool(url: str, timeout_s: float) -> urllib3.PoolManager:
    """Open connections to a server, through the proxy that the environment names for it."""
    parts = urlsplit(url)
    agent = {"User-Agent": f"ecgcls/{__version__}", "Accept-Encoding": "identity"}
    settings: dict[str, Any] = {"headers": agent, "timeout": urllib3.Timeout(timeout_s), "maxsize": MAX_CONNECTIONS}
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        pool: urllib3.PoolManager = urllib3.ProxyManager(proxy, **settings)
    else:
        pool = urllib3.PoolManager(**settings)
    pool.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return pool
