"""Many requests at once: first come, first served, and refused where too many wait."""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from benchmarks.server import make_request, measure, summarize
from ecgcls.serving.limits import Admission, Limits, Refused
from ecgcls.serving.turns import Gone, Turns
from tests.bundles.hand_made import write_bundle
from tests.serving.conftest import Stand, make_csv, make_stand
from tests.serving.live import listen


def test_first_come_first_served_and_who_leaves_is_left_out():
    done, may_go = [], threading.Event()

    class Leaving:
        async def receive(self):
            return {"type": "http.disconnect"}

    class Staying:
        async def receive(self):
            await asyncio.Event().wait()

    async def ask():
        turns = Turns()
        first = asyncio.ensure_future(turns.run(may_go.wait))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(turns.run_for(Staying(), lambda n=n: done.append(n))) for n in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Gone):
            await turns.run_for(Leaving(), lambda: done.append("left"))
        may_go.set()
        await asyncio.gather(first, *others)
        with pytest.raises(ZeroDivisionError):
            await turns.run_for(Staying(), lambda: 1 / 0)
        turns.close()

    asyncio.run(ask())
    assert done == list(range(5))


def test_requests_and_their_bytes_are_counted():
    admission = Admission(Limits(max_waiting=2, max_upload_mb=1))
    with admission.enter() as one, admission.enter():
        one.take(7_000_000)
        with pytest.raises(Refused, match="2 requests are waiting") as refused:
            admission.enter().__enter__()
        assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
        with pytest.raises(Refused, match="fill the memory"):
            one.take(2_000_000)
    assert (admission.n_waiting, admission.n_bytes) == (0, 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Slow(Stand):
    may_go: threading.Event

    def apply_nets(self, windows_mv, metadata=None):
        assert self.may_go.wait(20)
        return super().apply_nets(windows_mv, metadata)


def exchange(address, request):
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.connect()
    connection.sock.sendall(request)
    answer = http.client.HTTPResponse(connection.sock)
    answer.begin()
    return answer.status, answer.headers, json.loads(answer.read())


def get_health(address):
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request("GET", "/healthz")
    return json.loads(connection.getresponse().read())


def test_the_queue_is_bounded_and_the_server_answers_meanwhile(tmp_path):
    plain, may_go = vars(make_stand()), threading.Event()
    (tmp_path / "a.csv").write_bytes(make_csv())
    slow = Slow(**plain, may_go=may_go)
    with listen(slow, limits=Limits(max_waiting=3)) as address, ThreadPoolExecutor(3) as clients:
        request = make_request([tmp_path / "a.csv"], {"draw": "false"}, urlsplit(address).netloc)
        waiting = [clients.submit(exchange, address, request) for _ in range(3)]
        end = time.monotonic() + 20
        while get_health(address)["waiting"] < 3 and time.monotonic() < end:
            pass
        status, headers, body = exchange(address, request)
        assert (status, headers["retry-after"]) == (503, "5") and "3 requests are waiting" in body["error"]
        may_go.set()
        assert [each.result()[0] for each in waiting] == [200] * 3
        assert get_health(address) == {"status": "ok", "waiting": 0}


@pytest.mark.slow
def test_two_hundred_at_once_are_answered_or_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(make_csv())
    with listen(make_stand(), limits=Limits(max_waiting=120)) as address:
        request = make_request([tmp_path / "a.csv"], {"draw": "false"}, urlsplit(address).netloc)
        burst = asyncio.run(measure(address, request, 200, 0))["burst"]
    assert len(burst) == 200 and {answer.status for answer in burst} <= {200, 503}
    assert summarize(burst)["statuses"][200] >= 120


@pytest.mark.slow
def test_a_server_of_its_own_starts_refuses_and_ends(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    (tmp_path / "SECRET.csv").write_bytes(make_csv())
    code = (
        "import sys, runpy, atexit\n"
        "atexit.register(lambda: print(sorted({'torch', 'pytorch_lightning', 'matplotlib'} & {*sys.modules})))\n"
        "sys.argv[1:] = sys.argv[2:]; runpy.run_module('ecgcls.serve', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, "", f"bundle={bundle}", "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            line = server.stdout.readline()
            address = line[line.index("http://") :].split()[0]
            host = urlsplit(address)
            request = make_request([tmp_path / "SECRET.csv"], {}, host.netloc)
            status, _, body = exchange(address, request)
            assert status == 200 and [each["name"] for each in body["classes"]] == ["MI", "CD"]
            taken = subprocess.run([*command[:-1], f"port={host.port}"], capture_output=True, text=True, cwd=tmp_path)
            assert taken.returncode == 1 and f"error: port={host.port} is taken" in taken.stderr
            assert len(taken.stderr.splitlines()) == 1
            server.send_signal(signal.SIGTERM)
            stdout, stderr = server.communicate(timeout=60)
        finally:
            server.kill()
    assert (server.returncode, stdout, stderr) == (0, "stopped\n[]\n", "")
