"""Five folds side by side against one after another."""

import os
import statistics
import subprocess
import sys

from joblib import cpu_count

from benchmarks.findings import Finding, Setting
from benchmarks.interleave import Turns, median_ratio, take_turns

_N_RECORDS, _EPOCHS = 1000, 5


def measure(setting: Setting) -> list[Finding]:
    """Time whole commands, interpreter starts and reports included; then the training alone."""
    shared = [
        sys.executable, "-m", "ecgcls.run", "-m", "fold=0,1,2,3,4", "data=synthetic",
        f"data.root={setting.folder / f'sweep_{_N_RECORDS}'}", f"data.n_records={_N_RECORDS}",
        f"trainer.max_epochs={_EPOCHS}",
        f"output_dir={setting.folder / 'outputs'}", "overwrite=true",
    ]  # fmt: skip
    whole = take_turns(
        {
            "one by one": lambda: subprocess.run([*shared, "hydra/launcher=basic"], check=True, capture_output=True),
            "side by side": lambda: subprocess.run(shared, check=True, capture_output=True),
        },
        setting.rounds,
    )
    steady = _measure_steady(setting)
    return [
        Finding(
            f"five folds of {_N_RECORDS} records, {_EPOCHS} epochs, side by side, s",
            statistics.median(whole["side by side"]),
            "",
            whole["side by side"],
        ),
        Finding(
            "times as fast as one after another, whole command",
            median_ratio(whole["one by one"], whole["side by side"]),
            ">= 1.25",
        ),
        Finding("times the training throughput, a process a core against one with all threads", steady, ">= 1.25"),
    ]


def _measure_steady(setting: Setting) -> float:
    """Return the throughput of a process a core with one thread each over that of one process with all threads."""
    n_cores = cpu_count()
    loop = [sys.executable, "-m", "benchmarks.bare", "own", "1600", "320"]
    names = ["all", *(f"core {number}" for number in range(n_cores))]
    threads = {name: str(n_cores) if name == "all" else "1" for name in names}
    env = {name: dict(os.environ, OMP_NUM_THREADS=threads[name]) for name in names}
    with Turns(dict.fromkeys(names, loop), log=setting.folder / "sweep.log", env=env) as turns:
        turns.take_together(["all"])
        ratios = [
            n_cores * turns.take_together(["all"]) / turns.take_together(names[1:]) for _ in range(setting.rounds)
        ]
    return statistics.median(ratios)
