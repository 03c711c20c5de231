import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ecgcls.data import store_writer
from tests.data.five_records import FILENAMES, N_READS, damage_sample, open_100hz, stores, swap_samples


@pytest.fixture
def stop_at(monkeypatch):
    """Let the build be stopped, as by Ctrl-C, when it comes to a record; units are of two records."""
    monkeypatch.setattr(store_writer, "CHUNK", 2)
    read = store_writer.read_repaired

    def set_stop(root: Path, ecg_id: int) -> None:
        def read_until(path: Path, **how):
            if path == root / FILENAMES[ecg_id]:
                raise KeyboardInterrupt
            return read(path, **how)

        monkeypatch.setattr(store_writer, "read_repaired", read_until)
        with pytest.raises(KeyboardInterrupt):
            open_100hz(root)
        monkeypatch.setattr(store_writer, "read_repaired", read)

    return set_stop


@pytest.fixture
def building(root) -> Path:
    def find() -> Path:
        (name,) = stores(root / ".ecgcls")
        assert name.endswith(".building")
        return root / ".ecgcls" / name

    return find


def count_reads(monkeypatch) -> list[str]:
    names, read = [], store_writer.read_repaired
    monkeypatch.setattr(store_writer, "read_repaired", lambda path, **how: names.append(path.name) or read(path, **how))
    return names


def test_a_stopped_build_goes_on_after_the_last_whole_unit(root, signals_uv, stop_at, monkeypatch, caplog):
    damage_sample(root)  # of record 20, the fourth
    expected = open_100hz(root, store_dir=root / "elsewhere")
    stop_at(root, 5)  # the fifth
    assert [name.endswith(".building") for name in stores(root / ".ecgcls")] == [True]
    names = count_reads(monkeypatch)
    with caplog.at_level("INFO"):
        opened = open_100hz(root)
    assert names == ["00005_lr"]
    assert "Goes on with a build that was stopped: 4 of 5 records are read" in caplog.text
    assert np.array_equal(opened.signals_uv, expected.signals_uv) and np.array_equal(
        opened.signals_uv[4], signals_uv[4]
    )
    assert np.array_equal(opened.sums_uv, expected.sums_uv)
    assert np.array_equal(opened.squares_uv, expected.squares_uv)
    assert opened.repairs.equals(expected.repairs) and len(opened.repairs)
    assert opened.bad_records.equals(expected.bad_records) and opened.bad_records["ecg_id"].tolist() == [20]
    assert opened.manifest["content_sha256"] == expected.manifest["content_sha256"]
    assert sorted(path.name for path in opened.folder.iterdir()) == sorted(
        path.name for path in expected.folder.iterdir()
    )


def test_a_file_that_changed_in_between_leaves_no_stale_samples(root, signals_uv, stop_at, monkeypatch):
    stop_at(root, 5)
    swap_samples(root / f"{FILENAMES[7]}.dat")  # which was read already
    names = count_reads(monkeypatch)
    opened = open_100hz(root)
    assert len(names) == N_READS
    assert np.array_equal(opened.signals_uv[0, :, :2], signals_uv[0, :, [1, 0]].T)
    assert stores(root / ".ecgcls") == [opened.folder.name]


def test_samples_that_were_lost_and_half_a_line_are_read_again(root, signals_uv, stop_at, building, monkeypatch):
    stop_at(root, 5)
    content = bytearray((building() / "signals.npy").read_bytes())
    content[-1] ^= 1  # of record 20: a disk that lost its power
    (building() / "signals.npy").write_bytes(content)
    with (building() / "journal.jsonl").open("a") as journal:
        journal.write('\n{"start": 4, "sha2')
    names = count_reads(monkeypatch)
    assert np.array_equal(open_100hz(root).signals_uv, signals_uv)
    assert names == ["00011_lr", "00020_lr", "00005_lr"]


def test_what_could_not_be_read_for_a_moment_is_read_again(root, signals_uv, stop_at, building):
    stop_at(root, 5)
    lines = (building() / "journal.jsonl").read_text().splitlines()
    first = json.loads(lines[1]) | {"bad": {"0": "x.dat: the signal file cannot be read (Input/output error)"}}
    (building() / "journal.jsonl").write_text("\n".join([lines[0], json.dumps(first), *lines[2:]]))
    opened = open_100hz(root)
    assert opened.bad_records.empty and np.array_equal(opened.signals_uv, signals_uv)


@pytest.mark.parametrize(
    ("n_records", "seconds", "n_processes", "unit"),
    [(100, 0.0001, 1, 128), (300, 0.02, 2, 8), (20_000, 0.0001, 2, 128), (2000, 0.005, 2, 32), (50, 3.0, 2, 1)],
)
def test_few_slow_files_are_shared_out_as_are_many_fast_ones(monkeypatch, n_records, seconds, n_processes, unit):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert store_writer.count_processes(n_records, seconds) == n_processes
    assert store_writer._choose_unit((n_records, 12, 1000), seconds, n_processes) == unit


CHILD = """
import sys, time
from pathlib import Path
import pandas as pd
from ecgcls.data import store, store_writer

store_writer.CHUNK = 1
store_writer.count_processes = lambda *_: 2
read = store_writer.read_repaired

def read_slowly(path, **how):
    time.sleep(0.2 if path.name != "00005_lr" else 60)
    return read(path, **how)

store_writer.read_repaired = read_slowly
root, *names = sys.argv[1:]
store.open_store(Path(root), pd.Series(names, index=[int(Path(name).name[:5]) for name in names]), sampling_rate_hz=100)
"""


@pytest.mark.slow
def test_a_build_of_two_processes_that_is_killed_goes_on(root, signals_uv, building, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(root), *FILENAMES])
    journal = root / ".ecgcls"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not [
        path for path in journal.glob("*/journal.jsonl") if len(path.read_text().splitlines()) == N_READS
    ]:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert building()
    monkeypatch.setattr(store_writer, "CHUNK", 1)
    names = count_reads(monkeypatch)
    opened = open_100hz(root)  # its readers end with it, and with them the lock
    assert names == ["00005_lr"] and np.array_equal(opened.signals_uv, signals_uv)
