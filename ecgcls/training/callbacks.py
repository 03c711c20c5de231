"""Lightning callbacks that make a run repeatable and remember how it went."""

import logging
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping

log = logging.getLogger(__name__)

_SHOWN = ("train/loss", "val/loss", "val/pr_auc")  # in a line per epoch


class OwnSigterm(pl.Callback):
    """Keeps the handler of SIGTERM that was there before Lightning's.

    Where several processes train one net, Lightning's handler communicates: it may wait for a process that is in the
    middle of another exchange, and neither ever ends. A handler that raises, as that of the commands does, ends each.
    """

    def __init__(self) -> None:
        self._handler: Any = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remember the handler, before Lightning has one of its own."""
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the handler, after Lightning has set its own; one that is not of Python is left to Lightning."""
        if callable(self._handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)

    on_train_start = on_predict_start = on_sanity_check_start


class EpochSeed(pl.Callback):
    """Seeds torch at the start of every training epoch from the run's seed and the epoch's number.

    An epoch's dropout then does not depend on what was drawn before it, so a run that was killed and resumed continues
    exactly as one that was not. Where several processes train one net, each drops out other units.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the generators of all devices before an epoch's first batch, when all loaders are open."""
        if batch_idx == 0:
            torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch + trainer.global_rank * 2**48) % 2**63)


class History(pl.Callback):
    """Keeps the metrics of every epoch; its state travels in the checkpoint, so that resuming loses none."""

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []
        self._is_validated = False

    @property
    def table(self) -> pd.DataFrame:
        """One row per epoch: ``epoch``, ``train/loss``, ``val/loss``, ``val/pr_auc``, ..."""
        return pd.DataFrame(self._epochs)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for this epoch's validation."""
        self._is_validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the validation metrics are this epoch's."""
        self._is_validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember this epoch; Lightning saves checkpoints after this. What was not measured is left out."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not self._is_validated:
            metrics = {name: value for name, value in metrics.items() if not name.startswith("val/")}
        self._epochs.append({"epoch": trainer.current_epoch, **metrics})

    def state_dict(self) -> dict[str, Any]:
        """Return the epochs so far."""
        return {"epochs": self._epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint's epochs."""
        self._epochs = list(state_dict["epochs"])


class LastEpoch(Checkpoint):
    """Writes ``last.ckpt`` at the end of every epoch, then logs a line that begins with `title`.

    To Lightning it is a checkpoint, and the last of them: whoever reads the line of an epoch finds that epoch on disk.
    Without a title there is no line, as beside a bar.
    """

    def __init__(self, folder: Path, *, title: str = "") -> None:
        self._path = folder / "last.ckpt"
        self._title = title
        self._start_s = 0.0

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Have the best epoch so far known where it is now; of a folder that was moved, Lightning would forget it."""
        folder = self._path.parent.expanduser().resolve()
        best = str(folder / "best.ckpt")
        for state in checkpoint["callbacks"].values():
            if state.get("best_k_models"):
                state["best_k_models"] = dict.fromkeys([best], *state["best_k_models"].values())
                state |= {"dirpath": str(folder), "best_model_path": best, "kth_best_model_path": best}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train nothing more where the last epoch was the one that early stopping had stopped at."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and 0 < callback.stopped_epoch == trainer.current_epoch - 1:
                trainer.should_stop = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start_s = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch; log its losses, the validation PR-AUC and the time that it took."""
        seconds = time.perf_counter() - self._start_s
        trainer.save_checkpoint(self._path)
        if not self._title:
            return
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        shown = ", ".join(f"{name} {found[name]:.3f}" for name in found if name in _SHOWN)
        epoch = trainer.current_epoch + 1
        log.info("%s: epoch %d of %d, %s, %.1f s", self._title, epoch, trainer.max_epochs, shown, seconds)
