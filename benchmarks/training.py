"""An epoch of ``ecgcls.run`` against a bare PyTorch loop over tensors in memory."""

import sys
import time

import pytorch_lightning as pl

from benchmarks.interleave import say


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
