import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ecgcls.data import store
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


def remove_signal(root: Path, **_) -> None:
    (root / f"{FILENAMES[20]}.dat").unlink()


def change_rate(root: Path, signal_uv: np.ndarray, write: Callable) -> None:
    write(root / FILENAMES[20], signal_uv.T, fs=250)


def shorten(root: Path, signal_uv: np.ndarray, write: Callable) -> None:
    write(root / FILENAMES[20], signal_uv.T[:-1])


def flatten(root: Path, signal_uv: np.ndarray, write: Callable) -> None:
    write(root / FILENAMES[20], 0 * signal_uv.T + np.arange(12))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (damage_sample, r"00020_lr: damaged: the samples' checksums"),
        (remove_signal, r"00020_lr\.dat: the signal file cannot be read"),
        (change_rate, r"00020_lr: sampled at 250 Hz, data\.sampling_rate_hz asks for 100"),
        (shorten, r"00020_lr: 119 samples, 120 expected as in .*records100/00007_lr"),
        (flatten, r"00020_lr: a flat line in all leads"),
    ],
)
def test_a_record_that_is_refused_leaves_nothing_behind(root, signals_uv, write_record, spoil, match):
    spoil(root, signal_uv=signals_uv[3], write=write_record)
    with pytest.raises(DataError, match=match):
        open_100hz(root)
    assert stores(root / ".ecgcls") == []


def test_several_processes_write_the_same_store(root, signals_uv, reads, monkeypatch, tmp_path):
    alone = open_100hz(root)
    n_reads = len(reads)
    monkeypatch.setattr(store, "_CHUNK", 2)
    monkeypatch.setattr(store, "_RECORDS_PER_PROCESS", 2)
    together = open_100hz(root, store_dir=tmp_path / "other")
    if len(os.sched_getaffinity(0)) > 1:
        assert len(reads) == n_reads + 1  # all but the first were read by other processes
    assert np.array_equal(together.signals_uv, signals_uv)
    assert np.array_equal(together.sums_uv, alone.sums_uv) and np.array_equal(together.squares_uv, alone.squares_uv)
    damage_sample(root)
    with pytest.raises(DataError, match=r"00020_lr: damaged: the samples' checksums"):
        open_100hz(root)
    assert len(stores(root / ".ecgcls")) == 1  # the previous one


def test_a_record_that_is_refused_leaves_the_previous_store(root, tmp_path, reads):
    open_100hz(root)
    kept = shutil.copytree(root, tmp_path / "kept")
    damage_sample(root)
    with pytest.raises(DataError, match="damaged"):
        open_100hz(root)
    assert stores(root / ".ecgcls") == stores(kept / ".ecgcls")


def test_files_that_change_while_they_are_read_are_refused(root, monkeypatch):
    read_record = store.read_record

    def read_and_touch(path: Path):
        os.utime(root / f"{FILENAMES[7]}.hea", ns=(0, 10**18))
        return read_record(path)

    monkeypatch.setattr(store, "read_record", read_and_touch)
    with pytest.raises(DataError, match=r"ecgs: files changed while they were read; run the command again"):
        open_100hz(root)
    assert stores(root / ".ecgcls") == []


# --- other processes

CHILD = """
import json, logging, resource, sys
from pathlib import Path
import pandas as pd
from ecgcls import files
from ecgcls.data import store

root, filenames, stop_at_first, max_bytes = json.loads(sys.argv[1])
n_read, read_record = 0, store.read_record

def read(path):
    global n_read
    n_read += 1
    if n_read == 1 and stop_at_first:
        print("reading", flush=True)
        sys.stdin.readline()
    return read_record(path)

class Report(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("Another process is building the signal store; waiting for it"):
            print("waiting", flush=True)

store.read_record = read
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
