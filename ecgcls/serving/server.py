"""The server's process: its socket, its silence, and its end."""

import errno
import logging
import socket
import warnings

import uvicorn
from starlette.types import ASGIApp

from ecgcls.errors import ConfigError

_GRACE_S = 20  # for requests that are being answered when the server is told to stop


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens; ConfigError if it cannot."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"port must be from 0 (any that is free) to 65535, got {port}")
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
    except OSError as error:
        raise ConfigError(f"host={host}: no address of this machine ({error.strerror})") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(_explain(error, host, port)) from error
    return listener


def run(app: ASGIApp, listener: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM; what is being answered then is still answered."""
    _be_silent()
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_GRACE_S,
    )
    try:
        uvicorn.Server(settings).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn repeats the signal once it has stopped
        pass
    finally:
        listener.close()


def _be_silent() -> None:
    """Let nothing of what is sent reach the screen: the readers of files name them, and quote what is wrong in them."""
    warnings.simplefilter("ignore")
    root = logging.getLogger()
    root.handlers = [logging.NullHandler()]
    own = logging.getLogger("ecgcls.serving")
    own.handlers, own.propagate = [logging.StreamHandler()], False


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port={port} is taken by another program on {host}: choose another one, or port=0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port={port} may not be used by you: choose one from 1024 on"
    return f"host={host} port={port} cannot be used ({error.strerror})"
