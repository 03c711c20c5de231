"""How a bundle's server bears many requests at once: ``python -m benchmarks.server BUNDLE ECG [ECG ...]``.

The files of one ECG are sent over loopback, by as many clients as are asked for, from one process beside the server's.
A *burst* is one request of each client at the same time; the *flow* that follows lasts some seconds, in which each
client asks again as soon as it is answered.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

_BOUNDARY = "ecgcls-benchmark"
_PATIENCE_S = 120.0


class Answer(NamedTuple):
    """One request."""

    status: int
    began_s: float
    took_s: float


def make_request(paths: Sequence[Path], fields: dict[str, str], host: str) -> bytes:
    """Return a request with files, and fields, as one text of HTTP."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for path in paths:
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
        parts.append(head.encode() + path.read_bytes() + b"\r\n")
    body = b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()
    head = (
        f"POST /api/predict HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n\r\n"
    )
    return head.encode() + body


async def ask(address: str, request: bytes) -> Answer:
    """Send a request by a connection of its own, and read the whole answer; status 0: there was none."""
    parts = urlsplit(address)
    began_s = time.monotonic()
    status = 0
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(request)
            answer = await reader.read()
            status = int(answer.split(b" ", 2)[1])
            writer.close()
    except (OSError, TimeoutError, IndexError, ValueError):
        pass
    return Answer(status, began_s, time.monotonic() - began_s)


async def measure(address: str, request: bytes, n_clients: int, flow_s: float) -> dict[str, list[Answer]]:
    """Return the answers of the burst, and of the flow."""
    for _ in range(3):  # to warm up
        await ask(address, request)
    burst = await asyncio.gather(*[ask(address, request) for _ in range(n_clients)])
    end_s = time.monotonic() + flow_s

    async def go_on() -> list[Answer]:
        answers = []
        while time.monotonic() < end_s:
            answers.append(await ask(address, request))
            if answers[-1].status != 200:
                await asyncio.sleep(0.1)
        return answers

    flow = await asyncio.gather(*[go_on() for _ in range(n_clients)]) if flow_s > 0 else []
    return {"burst": list(burst), "flow": [answer for answers in flow for answer in answers]}


def summarize(answers: Sequence[Answer]) -> dict[str, object]:
    """Return how many were answered with which status, how many a second, and how long the answered ones took."""
    took_s = [answer.took_s for answer in answers if answer.status == 200]
    began_s = min(answer.began_s for answer in answers)
    lasted_s = max(answer.began_s + answer.took_s for answer in answers) - began_s
    median_s, p99_s = np.percentile(took_s, [50, 99]) if took_s else (np.nan, np.nan)
    return {
        "statuses": dict(sorted(Counter(answer.status for answer in answers).items())),
        "answered_per_s": round(len(took_s) / lasted_s, 1),
        "median_ms": round(1e3 * median_s, 1),
        "p99_ms": round(1e3 * p99_s, 1),
    }


def main() -> None:
    """Start a server, measure it, print the result as JSON, and stop it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("files", type=Path, nargs="+", help="of one ECG, such as a .hea and a .dat")
    parser.add_argument("--clients", type=int, default=200, help="at the same time (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the flow (default: %(default)s)")
    parser.add_argument("--draw", action="store_true", help="with the signal in the answers, as the page asks for it")
    parser.add_argument("--setting", action="append", default=[], help="of the server, such as max_waiting=100")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "ecgcls.serve", f"bundle={arguments.bundle}", "port=0", *arguments.setting]
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parent.parent))
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if "http://" not in line:
            raise SystemExit("the server did not start")
        address = line[line.index("http://") :].split()[0]
        request = make_request(arguments.files, {"draw": str(arguments.draw).lower()}, urlsplit(address).netloc)
        found = asyncio.run(measure(address, request, arguments.clients, arguments.seconds))
        print(json.dumps({name: summarize(answers) for name, answers in found.items() if answers}, indent=1))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


if __name__ == "__main__":
    main()
