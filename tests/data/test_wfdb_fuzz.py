"""Headers with something wrong, thousands of them: each is a record or one line, whatever it says."""

import os
import random
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ecgcls.data.recordings import read_recording
from ecgcls.data.signals import iter_leads, read_header, read_record
from ecgcls.errors import DataError

NAMES = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
WORDS = """
0 1 -1 2 12 13 50 99 255 65536 2147483648 1e9 1e400 -1e400 1e-320 nan inf -inf 999999999999999
16 24 80 212 8 310 311 160 61 32 508 516 524 17 16x2 16x0 16x999999 16:3 16:99999 16+24 16+9999999999 212x3:1+1
0/mV -200(0)/mV 1000(32767)/uV 1(99999999)/V nan/mV inf(0)/mV 200(0)/mmHg 200/ /mV µV 200/µV 200/\u03bcV
~ . .. /dev/zero ../r.dat a\\b r.dat a b r pipe folder r/0 r/2 r/999999 /2 # #x I V6
05-May-2020 10:11:12 2006 100/1(0) 100/ -100 0x10 1_000 \u0663 ½ \x1b[31m
"""
TOKENS = [*WORDS.split(), "\x85", "\u2028", "\0", "", "two words", "9" * 5000]  # put in place of others


def describe(coding: str, *, gain: str = "1000(0)/mV", name: str = "r.dat", record_line: str = "r 12 100 50") -> bytes:
    lines = [f"{name} {coding} {gain} 16 0 0 0 0 {lead}" for lead in NAMES]
    return "\n".join([record_line, *lines, "#Age: 56", ""]).encode()


HEADERS = [
    describe("16"),
    describe("16+24", name="r.mat", record_line="r.mat 12 500/500(0) 50 05-May-2020 10:11:12"),
    describe("16", gain="200", record_line="r 12 100"),
    describe("212"),
    describe("16x2", name="two.dat"),
    describe("16:3"),
    describe("24", name="wide.dat", gain="0/µV"),
    describe("8"),
    describe("310", gain="-20/uV"),
    b"r 2 100 50\nr.flac 516+1 1000/mV 16 0 0 0 0 V1\nr.flac 516+1 1000/mV 16 0 0 0 0 V2\n",
    b"r/3 12 100 100\na 50\n~ 0\nb 50\n",
    b"r/3 12 100 100\na 50\nb 20\n~ 30\n",
]


@pytest.fixture
def folder(tmp_path) -> Path:
    """The signal files and segments that the headers name, and other things that they may come to name."""
    rng = np.random.default_rng(0)
    for name, n_bytes in {"r.dat": 1200, "r.mat": 1224, "two.dat": 2400, "wide.dat": 1800, "empty": 0}.items():
        (tmp_path / name).write_bytes(rng.integers(0, 7, n_bytes, np.uint8).tobytes())
    soundfile.write(tmp_path / "r.flac", rng.integers(-9, 9, (51, 2), np.int16), 96000, subtype="PCM_16")
    for name in ("a", "b"):
        (tmp_path / f"{name}.hea").write_bytes(describe("16", record_line=f"{name} 12 100 50"))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def mutate(header: bytes, rng: random.Random) -> bytes:
    """Change one to three things: bytes, words, numbers, lines."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        kind = rng.choice([0, 1, 2, 2, 3, 3, 3, 4, 5])
        if kind == 0:
            data = bytearray(header)
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            header = bytes(data)
        elif kind == 1:
            start, n = rng.randrange(len(header)), rng.choice([1, 2, 9, 40])
            header = header[:start] + rng.choice([b"", rng.randbytes(n)]) + header[start + n :]
        else:
            lines = [line.split(b" ") for line in header.split(b"\n")]
            row = rng.choice([0, *range(len(lines))])
            words = lines[row]
            column = rng.randrange(len(words))
            if kind == 2:  # of all lines, so that they stay alike
                token = rng.choice(TOKENS).encode()
                for line in lines[1:] if row else lines[:1]:
                    line[column : column + 1] = [token]
            elif kind == 3:
                words[column] = rng.choice(TOKENS).encode()
            elif kind == 4:
                words[:] = rng.choice([words[:column], words[column:], words + words, rng.choice(lines)])
            else:
                lines[row : row + 1] = rng.choice([[], [words, words], [[b""], words]])
            header = b"\n".join(map(b" ".join, lines)) or b"r"
    return header


def read_all(path: Path) -> None:
    header = read_header(path)
    assert header.sampling_rate_hz > 0
    read_recording(path)
    blocks = [record.signal_uv for record in iter_leads(path, lambda names: range(len(names)), block_s=0.1)]
    assert sum(block.shape[1] for block in blocks) <= header.n_samples and len({len(block) for block in blocks}) == 1
    read_record(path)


def test_every_one_of_2000_mutated_headers_is_read_or_refused_in_one_line(folder):
    rng = random.Random(0)
    outcomes = Counter[str]()
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2000):
            header = mutate(rng.choice(HEADERS), rng)
            for name in ("r.hea", "r.dat"):  # a file written anew over an old one is flushed to the disk
                (folder / name).unlink(missing_ok=True)
            (folder / "r.hea").write_bytes(header)
            n_bytes = rng.choice([1200] * 20 + [0, 1, 900, 1199, 1201])
            (folder / "r.dat").write_bytes(bytes(n_bytes) if rng.randrange(20) else rng.randbytes(n_bytes))
            try:
                read_all(folder / "r")
                outcomes["read"] += 1
            except DataError as error:
                assert len(str(error).splitlines()) == 1 and str(error).isprintable(), header
                outcomes["refused"] += 1
    assert time.process_time() - began < 20  # seconds; none of them makes it wait
    assert outcomes["read"] > 100 and outcomes["refused"] > 1000, outcomes
