"""An epoch of ``ecgcls.run`` against a bare PyTorch loop over tensors in memory."""

import os
import statistics
import sys
import time
from pathlib import Path

import pytorch_lightning as pl

from benchmarks.findings import Finding, Setting
from benchmarks.interleave import Turns, median_ratio, say

_N_TRAIN, _N_VAL = 1600, 640  # records of a turn
_HERE = Path(__file__).parent.parent


class Pace(pl.Callback):
    """Lets a run train an epoch only when it is its turn, and says how long the epoch took."""

    def __init__(self) -> None:
        self._start = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Be ready."""
        say("ready")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch before, with its validation and its checkpoint, and wait for a turn."""
        if self._start:
            say(time.perf_counter() - self._start)
        if not sys.stdin.readline():
            trainer.should_stop = True
        self._start = time.perf_counter()


def measure(setting: Setting) -> list[Finding]:
    """Let two bare loops and a run train in turn, everything of the run included."""
    n_train, n_val = min(_N_TRAIN, setting.n_records // 2), min(_N_VAL, setting.n_records // 8)
    command = [
        sys.executable, "-m", "ecgcls.run", *setting.overrides, f"trainer.max_epochs={setting.rounds + 3}",
        f"+trainer.limit_train_batches={n_train // 16}", f"+trainer.limit_val_batches={n_val // 16}",
        "+callbacks.pace._target_=benchmarks.training.Pace",
    ]  # fmt: skip
    commands = {
        kind: [sys.executable, "-m", "benchmarks.bare", kind, str(n_train), str(n_val)] for kind in ("classic", "own")
    }
    env = dict(os.environ, PYTHONPATH=str(_HERE))
    candidates = {**commands, "run": command}
    with Turns(candidates, log=setting.folder / "training.log", env=dict.fromkeys(candidates, env)) as turns:
        turns.take(1)  # to warm up
        seconds = turns.take(setting.rounds)
    rates = [n_train / each for each in seconds["run"]]
    return [
        Finding("records/s of a run's epoch, cnn1d, batch 16", statistics.median(rates), "", rates),
        Finding("its time over the bare eager loop's", median_ratio(seconds["run"], seconds["classic"]), "<= 1.05"),
        Finding(
            "times as fast as the bare eager loop: our net and optimizer in a bare loop",
            median_ratio(seconds["classic"], seconds["own"]),
            ">= 1.3",
        ),
        Finding("its time over our own net's in a bare loop", median_ratio(seconds["run"], seconds["own"])),
    ]
