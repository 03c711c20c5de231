"""An epoch of ``ecgcls.run`` with two threads, alone and beside a process that keeps a core busy."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.findings import Finding, Setting
from benchmarks.interleave import Turns, median_ratio

_N_TRAIN = 1600  # records of a turn
_BUSY = "import time\nend = time.monotonic() + 3600\nwhile time.monotonic() < end: pass"
_ENVIRONMENTS: dict[str, dict[str, str]] = {
    "own": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},
}  # libgomp's default, and so no choice of ours


def measure(setting: Setting) -> list[Finding]:
    """Let two runs train in turn, alone and crowded: threads that wait as ecgcls has them, and as OpenMP does."""
    n_train = min(_N_TRAIN, setting.n_records // 2)
    commands: dict[str, list[str]] = {}
    env: dict[str, dict[str, str]] = {}
    for name, more in _ENVIRONMENTS.items():
        commands[name] = [
            sys.executable, "-m", "ecgcls.run", *setting.overrides, f"experiment={name}", "n_threads=2",
            "trainer.accelerator=cpu", f"trainer.max_epochs={2 * setting.rounds + 3}",
            f"+trainer.limit_train_batches={n_train // 16}", "+trainer.limit_val_batches=1",
            "+callbacks.pace._target_=benchmarks.training.Pace",
        ]  # fmt: skip
        env[name] = dict(os.environ, PYTHONPATH=str(Path(__file__).parent.parent), **more)
    alone: dict[str, list[float]] = {name: [] for name in commands}
    crowded: dict[str, list[float]] = {name: [] for name in commands}
    with Turns(commands, log=setting.folder / "crowded.log", env=env) as turns:
        turns.take(1)  # to warm up
        for _ in range(setting.rounds):
            for name, seconds in turns.take(1).items():
                alone[name] += seconds
            busy = subprocess.Popen([sys.executable, "-c", _BUSY])
            try:
                for name, seconds in turns.take(1).items():
                    crowded[name] += seconds
            finally:
                busy.kill()
                busy.wait()
    to_spinning = median_ratio(alone["own"], alone["spinning"])
    return [
        Finding("an epoch's time over that of an epoch alone", median_ratio(crowded["own"], alone["own"]), "<= 2.2"),
        Finding("the same with threads that spin", median_ratio(crowded["spinning"], alone["spinning"])),
        Finding("an epoch's time alone over that with threads that spin", to_spinning, "<= 1.03"),
    ]
