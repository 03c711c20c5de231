"""The LightningModule: a net, its preprocessing, its loss, its optimizer and its metrics."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection

from ecgcls.errors import ConfigError
from ecgcls.files import CLASS_NAMES, INPUT_FORM, STANDARDIZED_ON
from ecgcls.training.gathering import average
from ecgcls.training.standardizer import Standardizer


class ECGClassifier(pl.LightningModule):
    """Trains a net on raw ECGs in mV.

    The state dict holds the net, the standardizer's mean and standard deviation and the loss's ``pos_weight``, so a
    checkpoint carries its own preprocessing.

    Parameters
    ----------
    net
        Takes ``(batch, lead, sample)``, standardized, and returns logits ``(batch, class)``.
    class_names
        The classes, in the order of the logits. Stored in every checkpoint and checked when one is loaded.
    mean_mv, sd_mv
        ``(lead,)``: each lead's mean and standard deviation over the training part.
    standardized_on
        `ecgcls.files.hash_records` of the records that these were computed from; stored in every checkpoint.
    loss
        Takes logits and targets ``(batch, class)``.
    optimizer, scheduler
        Make the optimizer from the net's parameters, and from it the scheduler, which steps once per epoch.
    metrics
        By the name they are logged under (``pr_auc``); each takes probabilities and targets.
    input_form
        ``lead_names``, ``sampling_rate_hz`` and ``n_samples`` of what the net takes; stored in every checkpoint.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        class_names: Sequence[str],
        mean_mv: Tensor,
        sd_mv: Tensor,
        standardized_on: str,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler],
        metrics: dict[str, Metric],
        input_form: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.class_names = tuple(class_names)
        self.standardized_on = standardized_on
        self.input_form = dict(input_form or {})
        self.standardizer = Standardizer(mean_mv, sd_mv)
        self.loss = loss
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self.val_metrics = MetricCollection(dict(metrics), compute_groups=False, prefix="val/")
        self._losses: list[Tensor] = []  # of an epoch's batches, each times its number of records
        self._n_trained = 0
        self._kept: list[tuple[Tensor, Tensor]] = []  # logits and targets of the validation batches

    def forward(self, signal_mv: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)`` in mV into logits ``(batch, class)``."""
        logits: Tensor = self.net(self.standardizer(signal_mv))
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch; the epoch's mean is logged once, with the last batch."""
        loss: Tensor = self.loss(self(batch["signal"]), batch["target"])
        self._losses.append(loss.detach() * len(batch["target"]))
        self._n_trained += len(batch["target"])
        if self.trainer.is_last_batch:
            mean = torch.stack(self._losses).sum() / self._n_trained
            self.log("train/loss", average(mean, self._n_trained), on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_start(self) -> None:
        """Begin a new mean."""
        self._losses.clear()
        self._n_trained = 0

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Keep the logits of a batch of the validation set."""
        self._kept.append((self(batch["signal"]), batch["target"]))

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the metrics of the validation set, each computed once over all of its records."""
        logits, target = (torch.cat(tensors) for tensors in zip(*self._kept, strict=True))
        self._kept.clear()
        loss = average(self.loss(logits, target), len(target))
        self.log("val/loss", loss, prog_bar=True, batch_size=len(target))
        self.val_metrics.update(logits.sigmoid(), target.int())
        for name, metric in self.val_metrics.items():
            self.log(name, metric, prog_bar=name.endswith("/pr_auc"))

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Return row numbers ``(batch,)`` and probabilities ``(batch, class)``."""
        return {"record": batch["record"], "y_prob": self(batch["signal"]).sigmoid()}

    def configure_optimizers(self) -> Any:
        """Build the optimizer and its scheduler, which steps with an epoch's last batch.

        Lightning steps an epoch's scheduler only after the epoch's checkpoint is written, and a resumed run would
        then lack one step.
        """
        optimizer = self._make_optimizer(self.net.parameters())
        scheduler = self._make_scheduler(optimizer)
        _ = self.trainer.estimated_stepping_batches  # makes Lightning count the batches
        n_batches = int(self.trainer.num_training_batches)
        return [optimizer], [{"scheduler": scheduler, "interval": "step", "frequency": n_batches}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the class list, what the standardizer was fitted on and what the net takes into the checkpoint."""
        checkpoint[CLASS_NAMES] = list(self.class_names)
        checkpoint[STANDARDIZED_ON] = self.standardized_on
        checkpoint[INPUT_FORM] = self.input_form

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another class list."""
        stored = checkpoint.get(CLASS_NAMES)
        if stored != list(self.class_names):
            raise ConfigError(
                f"the checkpoint was trained for the classes {stored}, this run has {list(self.class_names)}: "
                "retrain with overwrite=true, or under another experiment=NAME"
            )
