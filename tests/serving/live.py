"""A server that listens on loopback, for browsers and other programs."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn

from ecgcls.serving.app import make_app


@contextmanager
def listen(predictor, **settings) -> Iterator[str]:
    """Serve a predictor as long as the block lasts; give the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(predictor, **settings), log_config=None, ws="none", lifespan="on"))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
