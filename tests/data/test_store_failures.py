import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ecgcls.data import store, store_writer
from ecgcls.errors import DataError
from tests.data.five_records import (
    ECG_IDS,
    FILENAMES,
    N_READS,
    N_SAMPLES,
    damage_sample,
    open_100hz,
    stores,
    swap_samples,
)

# --- errors


def test_records_that_cannot_be_used_are_listed_and_the_others_kept(root, signals_uv, write_record, monkeypatch):
    write_record(root / FILENAMES[3], 0 * signals_uv[1].T + np.arange(12))
    (root / f"{FILENAMES[11]}.dat").unlink()
    write_record(root / FILENAMES[5], signals_uv[4].T[:-1])
    damage_sample(root)
    opened = open_100hz(root)
    assert opened.bad_records.to_numpy().tolist() == [
        [3, FILENAMES[3], "a flat line in all leads"],
        [11, FILENAMES[11], f"{FILENAMES[11]}.dat: the signal file cannot be read (No such file or directory)"],
        [20, FILENAMES[20], opened.bad_records["reason"][2]],
        [5, FILENAMES[5], "too short: 1.19 s, data.duration_s takes 1.2 s"],
    ]
    assert opened.bad_records["reason"][2].startswith(f"{FILENAMES[20]}: damaged: the samples' checksums")
    assert np.array_equal(opened.signals_uv[0], signals_uv[0]) and not opened.signals_uv[1:].any()
    assert opened.find_flat_leads() == {}
    with pytest.raises(KeyError):
        opened.find_rows([7, 3])


def test_volts_cannot_be_used_as_in_predict(root, signals_uv, write_record):
    write_record(root / FILENAMES[3], np.arange(120)[:, None] % 20 + np.zeros(12, int))
    opened = open_100hz(root)
    reason = "all values lie within 0.019 mV; an ECG has at least 0.02 mV: are they volts?"
    assert opened.bad_records.to_numpy().tolist() == [[3, FILENAMES[3], reason]]
    assert not opened.signals_uv[1].any() and 3 not in opened.repairs["ecg_id"].tolist()


def test_an_unexpected_exception_is_the_reason_of_one_record(root, signals_uv, monkeypatch):
    read = store_writer.read_repaired

    def read_badly(path: Path, **how):
        return read(path, **how) if path.name != "00011_lr" else [][0]

    monkeypatch.setattr(store_writer, "read_repaired", read_badly)
    opened = open_100hz(root)
    assert opened.bad_records.to_numpy().tolist() == [[11, FILENAMES[11], "IndexError: list index out of range"]]
    assert np.array_equal(opened.signals_uv[[0, 1, 3, 4]], signals_uv[[0, 1, 3, 4]])


def test_several_processes_write_the_same_store(root, signals_uv, reads, monkeypatch, tmp_path):
    alone = open_100hz(root)
    n_reads = len(reads)
    monkeypatch.setattr(store_writer, "CHUNK", 2)
    monkeypatch.setattr(store_writer, "count_processes", lambda *_: min(2, len(os.sched_getaffinity(0))))
    together = open_100hz(root, store_dir=tmp_path / "other")
    if len(os.sched_getaffinity(0)) > 1:
        assert len(reads) == n_reads  # by other processes
    assert np.array_equal(together.signals_uv, signals_uv)
    assert np.array_equal(together.sums_uv, alone.sums_uv) and np.array_equal(together.squares_uv, alone.squares_uv)
    damage_sample(root)
    assert open_100hz(root).bad_records["ecg_id"].tolist() == [20]


@pytest.mark.parametrize("file", ["signals.npy", "records.npz", "bad_records.csv"])
def test_flipped_bits_are_found_when_another_process_opens_a_store(root, signals_uv, caplog, monkeypatch, file):
    folder = open_100hz(root).folder
    content, stat = bytearray((folder / file).read_bytes()), (folder / file).stat()
    content[-7] ^= 16
    (folder / file).write_bytes(content)
    os.utime(folder / file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    monkeypatch.setattr(store, "_VERIFIED", set())  # as in another process
    opened = open_100hz(root)
    assert f"{folder}: the signal store is damaged" in caplog.text and "built again" in caplog.text
    assert np.array_equal(opened.signals_uv, signals_uv) and opened.bad_records.empty


def test_files_that_change_while_they_are_read_are_refused(root, monkeypatch):
    read = store_writer.read_repaired

    def read_and_touch(path: Path, **how):
        os.utime(root / f"{FILENAMES[7]}.hea", ns=(0, 10**18))
        return read(path, **how)

    monkeypatch.setattr(store_writer, "read_repaired", read_and_touch)
    with pytest.raises(DataError, match=r"ecgs: files changed while they were read; run the command again"):
        open_100hz(root)
    assert stores(root / ".ecgcls") == []


# --- other processes

CHILD = """
import json, logging, resource, sys
from pathlib import Path
import pandas as pd
from ecgcls import files
from ecgcls.data import store, store_writer

root, filenames, stop_at_first, max_bytes = json.loads(sys.argv[1])
n_read, read_repaired = 0, store_writer.read_repaired

def read(path, **how):
    global n_read
    n_read += 1
    if n_read == 1 and stop_at_first:
        print("reading", flush=True)
        sys.stdin.readline()
    return read_repaired(path, **how)

class Report(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("Another process is building the signal store; waiting for it"):
            print("waiting", flush=True)

store_writer.read_repaired = read
files.log.setLevel(logging.INFO)
files.log.addHandler(Report())
if max_bytes:
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
series = pd.Series(list(filenames.values()), index=[int(ecg_id) for ecg_id in filenames])
opened = store.open_store(Path(root), series, sampling_rate_hz=100)
print(json.dumps([n_read, opened.signals_uv.tolist()]))
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a process that opens the store; with `stop_at_first` it prints a line and waits for one first."""
    processes = []

    def start_process(root: Path, *, stop_at_first: bool = False, max_bytes: int | None = None) -> subprocess.Popen:
        arguments = json.dumps([str(root), FILENAMES.to_dict(), stop_at_first, max_bytes])
        command = [sys.executable, "-c", CHILD, arguments]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return processes[-1]

    yield start_process
    for process in processes:
        process.kill()
        process.communicate()


def test_of_two_processes_at_once_one_builds_and_both_open_it(root, start, signals_uv):
    builder = start(root, stop_at_first=True)
    assert builder.stdout.readline() == "reading\n"
    waiter = start(root)
    assert waiter.stdout.readline() == "waiting\n"  # the builder holds the lock, and has read nothing yet
    answers = [json.loads(process.communicate("\n", timeout=60)[0]) for process in (builder, waiter)]
    assert answers == [[N_READS, signals_uv.tolist()], [0, signals_uv.tolist()]]


@pytest.mark.parametrize("data_change", [False, True])
def test_the_next_process_cleans_up_after_a_killed_one(root, start, signals_uv, data_change):
    builder = start(root, stop_at_first=True)
    assert builder.stdout.readline() == "reading\n"
    builder.kill()
    builder.wait()
    assert [name.endswith(".building") for name in stores(root / ".ecgcls")] == [True]
    if data_change:
        swap_samples(root / f"{FILENAMES[11]}.dat")  # the next one builds into another folder
    (root / ".ecgcls" / "signals_500hz-0123456789abcdef.building").mkdir()  # under another lock: not ours to remove
    assert np.array_equal(open_100hz(root).signals_uv[0], signals_uv[0])
    leftover = [name for name in stores(root / ".ecgcls") if name.endswith(".building")]
    assert leftover == ["signals_500hz-0123456789abcdef.building"]


@pytest.mark.parametrize("max_bytes", [1000, len(ECG_IDS) * 12 * N_SAMPLES * 2])  # the header comes on top
def test_a_full_disk_is_one_line_and_leaves_nothing(root, start, signals_uv, max_bytes):
    output, errors = start(root, max_bytes=max_bytes).communicate(timeout=60)
    assert output == ""
    last = errors.strip().splitlines()[-1]
    assert last.startswith("ecgcls.errors.DataError: ")
    assert "the signal store cannot be written (File too large); it takes 0 MB: make room or set data.store_dir" in last
    assert stores(root / ".ecgcls") == []
    assert np.array_equal(open_100hz(root).signals_uv, signals_uv)
