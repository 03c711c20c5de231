"""Copies of a data set as its publisher would serve them, and a server of one that fails on request."""

import gzip
import hashlib
import threading
import zipfile
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SUMS = "SHA256SUMS.txt"


def write_mirror(folder: Path, root: Path) -> Path:
    """Copy a simulated data set into a folder, without what marks it as one, and list the files' SHA-256."""
    for name in sorted(list_files(root) - {"SYNTHETIC.json"}):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((root / name).read_bytes())
    (folder / SUMS).write_text("".join(f"{hash_file(folder / name)} {name}\n" for name in sorted(list_files(folder))))
    return folder


def write_zip(path: Path, mirror: Path, folder: str = "") -> Path:
    """Pack a mirror, in a folder of the archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(list_files(mirror)):
            archive.write(mirror / name, folder + name)
    return path


def list_files(folder: Path) -> set[str]:
    """Return the files of a data set, without what is hidden."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if not any(part.startswith(".") for part in path.parts)}


def hash_file(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class MirrorServer(ThreadingHTTPServer):
    """Serves the files of a folder; `faults` lists by path what the next requests get instead."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.requested = folder, Counter()
        self.faults: dict[str, list[str]] = {}
        self.delay_s = 0.0
        self.at_once = self.most_at_once = 0
        self.counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: MirrorServer

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        with self.server.counting:
            self.server.requested[name] += 1
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.at_once, self.server.most_at_once)
            fault = self.server.faults[name].pop(0) if self.server.faults.get(name) else ""
        threading.Event().wait(self.server.delay_s)
        with self.server.counting:
            self.server.at_once -= 1  # before the client can ask for more
        with suppress(BrokenPipeError, ConnectionResetError):  # the client gave up
            self._answer(name, fault)

    def _answer(self, name: str, fault: str) -> None:
        path = self.server.folder / name
        kind, _, value = fault.partition(" ")
        if kind in ("location", "retry"):
            self.send_response(302 if kind == "location" else 503)
            self.send_header({"location": "Location", "retry": "Retry-After"}[kind], value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        while kind == "continue":  # instead of an answer
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            threading.Event().wait(0.01)
        if kind == "endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"0" * (1 << 20))
        if fault.isdigit() or not path.is_file() or "Range" in self.headers:
            status = int(fault) if fault.isdigit() else 416 if "Range" in self.headers else 404
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        if kind == "gzip":
            content = gzip.compress(content)
        elif kind == "bom":
            content = b"\xef\xbb\xbf" + content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if kind == "gzip":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if fault == "cut":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif fault == "wrong":
            self.wfile.write(bytes([content[0] ^ 1]) + content[1:])
        elif fault == "trickle":
            for byte in content[:40]:
                self.wfile.write(bytes([byte]))
                threading.Event().wait(0.05)
        else:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass
