"""How long a signal store of device files takes, against their parser alone: ``python -m benchmarks.device_files``.

Simulated ECGs of ten seconds at 500 Hz are written as GE MUSE XML (eight leads) and HL7 aECG (twelve), half of each;
the store brings them to 100 Hz. The parser is `ecgdatakit`, which does nothing but parse, in one process and in as many
as the store takes.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from benchmarks.findings import describe_machine, replace_table
from benchmarks.interleave import median_ratio, take_turns
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.signals import read_record, to_millivolt
from ecgcls.data.store import SignalStore, open_store
from ecgcls.data.synthetic import write_synthetic
from tests.data.device_files import INDEPENDENT, write_aecg, write_muse

_RESULTS = Path(__file__).parent / "device_files.json"
_README = Path(__file__).parent / "README.md"
_RATE_HZ: Literal[100, 500] = 500
_STORE_HZ = 100
_TOGETHER = 32  # files that a process of the bare parser takes at a time


def write_files(folder: Path, n_records: int) -> pd.Series:
    """Write the files, unless they are there, and return their paths below the folder by record."""
    names = [f"{number:05d}.{'muse' if number % 2 else 'aecg'}.xml" for number in range(n_records)]
    if not all((folder / "files" / name).exists() for name in names):
        write_synthetic(folder / "simulated", n_records=max(n_records, 50), seed=0, sampling_rate_hz=_RATE_HZ)
        (folder / "files").mkdir(exist_ok=True)
        headers = sorted((folder / "simulated").glob("records500/*/*.hea"))
        rows = [LEADS.index(name) for name in INDEPENDENT]
        for name, header in zip(names, headers, strict=False):
            signal_mv = to_millivolt(read_record(header.with_suffix("")).signal_uv)
            if ".muse" in name:
                write_muse(folder / "files" / name, signal_mv[rows], INDEPENDENT, _RATE_HZ, uv_per_bit=4.88)
            else:
                write_aecg(folder / "files" / name, signal_mv, LEADS, _RATE_HZ)
    return pd.Series([f"files/{name}" for name in names], index=[f"r{number}" for number in range(n_records)])


def parse(paths: list[Path]) -> int:
    """Parse files and keep nothing; return how many leads they have."""
    from ecgdatakit import FileParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sum(len(FileParser().parse(path).leads) for path in paths)


def measure(folder: Path, n_records: int, rounds: int) -> dict[str, Any]:
    """Time the candidates in turn, s."""
    filenames = write_files(folder, n_records)
    paths = [folder / name for name in filenames]
    parts = [paths[start : start + _TOGETHER] for start in range(0, len(paths), _TOGETHER)]
    n_processes = len(os.sched_getaffinity(0))
    parse(paths[:4])

    def parse_together() -> None:
        with ProcessPoolExecutor(n_processes, get_context("fork")) as pool:
            list(pool.map(parse, parts))

    resumed: list[float] = []
    candidates: dict[str, Callable[[], Any]] = {
        "parser, 1 process": lambda: parse(paths),
        "parser": parse_together,
        "store": lambda: _build(folder, filenames),
        "killed": lambda: resumed.append(_resume(folder, filenames)),
    }
    seconds = take_turns(candidates, rounds)
    del seconds["killed"]
    seconds["store, the rest after a kill"] = resumed
    return {
        "machine": describe_machine(),
        "n_records": n_records,
        "n_processes": n_processes,
        "seconds": seconds,
        "store_over_parser": median_ratio(seconds["store"], seconds["parser"]),
        "rest_over_store": median_ratio(resumed, seconds["store"]),
    }


def _open(folder: Path, filenames: pd.Series, store_dir: Path) -> SignalStore:
    return open_store(folder, filenames, sampling_rate_hz=_STORE_HZ, store_dir=store_dir)


def _build(folder: Path, filenames: pd.Series) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        assert _open(folder, filenames, Path(place)).bad_records.empty


def _resume(folder: Path, filenames: pd.Series) -> float:
    """Kill a build when half of the records are written; return how long the next one takes for the rest, s."""
    place = folder / "killed"
    shutil.rmtree(place, ignore_errors=True)
    code = (
        "import sys; from pathlib import Path; from benchmarks.device_files import _open, write_files\n"
        "folder = Path(sys.argv[1]); _open(folder, write_files(folder, int(sys.argv[2])), folder / 'killed')"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder), str(len(filenames))])
    while child.poll() is None and _count_written(place) < len(filenames) / 2:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    start = time.perf_counter()
    _open(folder, filenames, place)
    return time.perf_counter() - start


def _count_written(place: Path) -> int:
    for path in place.glob("*/*.building/journal.jsonl"):
        first, *units = path.read_text().splitlines() or ["{}"]
        return len(units) * int(json.loads(first).get("unit", 0))
    return 0


def tabulate(content: dict[str, Any]) -> str:
    """Return the rows of benchmarks/README.md."""
    seconds = {name: statistics.median(each) for name, each in content["seconds"].items()}
    n, processes = content["n_records"], f"{content['n_processes']} processes"
    rows = [
        ("the parser alone, 1 process", f"{seconds['parser, 1 process']:.2f} s"),
        (f"the parser alone, {processes}", f"{seconds['parser']:.2f} s"),
        (f"the store, {processes}", f"{seconds['store']:.2f} s ({n / seconds['store']:,.0f} files/s)"),
        ("the store over the parser, same processes", f"{content['store_over_parser']:.2f}"),
        ("killed halfway: the rest over a whole build", f"{content['rest_over_store']:.2f}"),
    ]
    return "\n".join([f"| {n:,} files |  |", "|---|---:|", *(f"| {what} | {value} |" for what, value in rows)])


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device_files", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("outputs/.benchmarks/device_files"))
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=_RESULTS)
    parser.add_argument("--readme", action="store_true", help="put the table into benchmarks/README.md")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    content = measure(arguments.folder.resolve(), arguments.records, arguments.rounds)
    arguments.results.write_text(json.dumps(content, indent=1) + "\n")
    print(tabulate(content))
    if arguments.readme:
        replace_table(_README, tabulate(content), mark="device_files")


if __name__ == "__main__":
    main()
