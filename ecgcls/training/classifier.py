"""The LightningModule: a net, its preprocessing, its loss, its optimizer and its metrics."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric, MetricCollection

from ecgcls.errors import ConfigError
from ecgcls.files import CLASS_NAMES, INPUT_FORM, STANDARDIZED_ON
from ecgcls.training.augmentation import Augmenter
from ecgcls.training.distillation import Distillation
from ecgcls.training.finetuning import FineTuner
from ecgcls.training.finite import check_losses, check_validation, seem_probabilities
from ecgcls.training.gathering import average
from ecgcls.training.losses import is_known
from ecgcls.training.metrics import UNKNOWN, as_double, spread_logits, takes_unknown
from ecgcls.training.schedules import Schedule, describe_schedule
from ecgcls.training.standardizer import Standardizer
from ecgcls.training.windows import Windows, apply_net

log = logging.getLogger(__name__)

_N_UNCHECKED = 50  # batches; asking a GPU after every one whether its loss is finite would keep it waiting


class ECGClassifier(pl.LightningModule):
    """Trains a net on raw ECGs in mV.

    The state dict holds the net, the standardizer's mean and standard deviation and the loss's ``pos_weight``, so a
    checkpoint carries its own preprocessing.

    Parameters
    ----------
    net
        Takes ``(batch, lead, sample)``, standardized, and returns logits ``(batch, class)``; where batches have
        metadata, takes them beside the signal. With `windows`, its samples are those of a window.
    class_names
        The classes, in the order of the logits. Stored in every checkpoint and checked when one is loaded.
    mean_mv, sd_mv
        ``(lead,)``: each lead's mean and standard deviation over the training part.
    standardized_on
        `ecgcls.files.hash_standardizer` of these and of the signals behind them; stored in every checkpoint.
    loss
        Takes logits and targets ``(batch, class)``, between 0 and 1 where records are mixed. Targets that are not known
        (negative or nan) reach it only if it has an attribute `masks_unknown` that is true.
    optimizer, scheduler
        Make the optimizer from the net's parameters, and from it the scheduler.
    metrics
        By the name they are logged under (``pr_auc``); each takes probabilities (see `ecgcls.training.metrics`) and
        targets.
    augment
        What is changed in the training records, after they are standardized; None: nothing.
    distillation
        What the net learns from another one's answers, which its `augment` changes with the targets; None: nothing.
    windows
        Those of a record that the net is asked about, one by one; None: about the whole record. Training batches hold
        one of each record already.
    input_form
        ``lead_names``, ``sampling_rate_hz``, ``n_samples`` and, where there are any, names of the ``metadata`` of what
        the net takes, and whether it ``may_lack_leads``; stored in every checkpoint.
    tuner
        Decides which layers of a net that was trained before are trained when, and at which rate.
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
        optimizer: Callable[[Iterable[Any]], Optimizer],
        scheduler: Schedule,
        metrics: dict[str, Metric],
        augment: Augmenter | None = None,
        distillation: Distillation | None = None,
        windows: Windows | None = None,
        input_form: Mapping[str, Any] | None = None,
        tuner: FineTuner | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.class_names = tuple(class_names)
        self.standardized_on = standardized_on
        self.input_form = dict(input_form or {})
        self.standardizer = Standardizer(mean_mv, sd_mv)
        self.loss = loss
        self.augment, self.windows, self.distillation = augment, windows, distillation
        self._make_optimizer, self._tuner = optimizer, tuner
        self.schedule = scheduler
        self.val_metrics = MetricCollection(dict(metrics), compute_groups=False, prefix="val/")
        self.n_batches_trained = 0
        """How many batches this process has trained on, in all epochs."""
        self._losses: dict[int, Tensor] = {}  # of an epoch's batches
        self._n_known: dict[int, Tensor] = {}  # targets of each of them
        self._kept: list[tuple[Tensor, Tensor]] = []  # logits and targets of the validation batches
        self._n_unknown = 0  # targets of the first epoch
        self._is_told = False  # that the net seems to return probabilities

    def forward(self, signal_mv: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Turn whole records ``(batch, lead, sample)`` in mV, and metadata ``(batch, column)``, into logits."""
        return apply_net(self.net, self.standardizer(signal_mv), metadata, self.windows)

    def on_before_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Refuse targets that are not known where the loss or a metric would take them for negatives; count them."""
        n_unknown = int((~is_known(batch["target"])).sum())
        if n_unknown and not getattr(self.loss, "masks_unknown", False):
            raise ConfigError(
                f"loss: {type(self.loss).__name__} does not say that it leaves out targets that nobody has annotated, "
                "which these data have: set its attribute masks_unknown, or choose loss=weighted_bce"
            )
        if n_unknown:
            for name, metric in self.val_metrics.items(keep_base=True):
                if not takes_unknown(metric):
                    raise ConfigError(
                        f"metrics.{name.removeprefix('val/')}: the data have targets that nobody has annotated; set "
                        f"metrics.{name.removeprefix('val/')}.ignore_index={UNKNOWN}, or leave the metric out"
                    )
        if self.trainer.training and self.current_epoch == 0:
            self._n_unknown += n_unknown
        return batch

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch; the epoch's mean is logged once, with the last batch."""
        loss, target = self._learn(batch, batch_idx)
        if batch_idx in self._losses:  # an optimizer that evaluates a batch several times, such as LBFGS
            return loss
        self._losses[batch_idx] = loss.detach()
        self._n_known[batch_idx] = is_known(target).sum()
        is_last = self.trainer.is_last_batch
        if loss.device.type == "cpu":
            check_losses({batch_idx: loss.detach()}, epoch=self.current_epoch)
        elif is_last or (batch_idx + 1) % _N_UNCHECKED == 0:
            check_losses(self._losses, epoch=self.current_epoch)
        if is_last:
            losses, weights = (torch.stack(list(each.values())) for each in (self._losses, self._n_known))
            mean = (losses * weights).sum() / weights.sum()
            self.log("train/loss", average(mean, weights.sum()), on_step=False, on_epoch=True)
        return loss

    def _learn(self, batch: dict[str, Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        """Return the loss of a training batch, and its targets ``(batch, class)`` as they were changed."""
        signal, target, teacher = batch["signal"], batch["target"], self.distillation
        if teacher is not None:  # beside the targets, so that both are mixed alike
            target = torch.cat([target, teacher.take(batch["record"])], dim=1)
        signal = self.standardizer(signal)
        if self.augment is not None:
            place = {"epoch": self.current_epoch, "batch": batch_idx, "process": self.global_rank}
            signal, target = self.augment.apply(signal, target, **place)
        logits = apply_net(self.net, signal, batch.get("metadata"))
        if teacher is None:
            return self._measure(logits, target), target
        target, of_teacher = target.tensor_split(2, dim=1)
        return teacher.add(self._measure(logits, target), logits, of_teacher), target

    def on_train_epoch_start(self) -> None:
        """Begin a new mean; freeze what this epoch does not train."""
        if self._tuner is not None:
            self._tuner.set_epoch(self.current_epoch)
        self._losses.clear()
        self._n_known.clear()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count."""
        self.n_batches_trained += 1

    def on_train_epoch_end(self) -> None:
        """Let a scheduler that follows a metric take its step, before the epoch's checkpoint is written."""
        if self._n_unknown:
            log.warning("%d targets of the training part are not annotated and take no part", self._n_unknown)
            self._n_unknown = 0
        if self.schedule.follows_metric and self.schedule.monitor in self.trainer.callback_metrics:
            scheduler: Any = self.lr_schedulers()
            scheduler.step(self.trainer.callback_metrics[self.schedule.monitor])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Keep the logits of a batch of the validation set."""
        self._kept.append((self._ask(batch).float(), batch["target"]))

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the metrics of the validation set, each computed once over all of its records."""
        batches = [batch for batch, _ in self._kept]
        logits, target = (torch.cat(tensors) for tensors in zip(*self._kept, strict=True))
        self._kept.clear()
        known = is_known(target)
        own = self._measure(logits, target)
        check_validation(batches, own, epoch=self.current_epoch)
        if not self._is_told and seem_probabilities(logits):
            self._is_told = True
            log.warning("model: what the net returns seems to be probabilities; the loss takes logits: no sigmoid")
        self.log("val/loss", average(own, known.sum()), prog_bar=True, batch_size=len(target))
        labels = torch.where(known, target, float(UNKNOWN)).int()
        shown = as_double(logits).sigmoid().to(logits.device), spread_logits(logits).to(logits.device)
        for name, metric in self.val_metrics.items():
            metric.update(shown[getattr(metric, "ranks", False)], labels)
            self.log(name, metric, prog_bar=name.endswith("/pr_auc"))

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Return row numbers ``(batch,)`` and logits ``(batch, class)``.

        Mixed precision is for the training: these are computed as the other commands compute them, and do not tie.
        """
        with torch.autocast(self.device.type, enabled=False):
            return {"record": batch["record"], "logits": self._ask(batch)}

    def configure_optimizers(self) -> Any:
        """Build the optimizer and its scheduler."""
        groups = None if self._tuner is None else self._tuner.group_parameters(self._make_optimizer)
        optimizer = self._make_optimizer(groups or self.net.parameters())
        n_steps = int(self.trainer.estimated_stepping_batches)  # makes Lightning count the batches
        scheduler = self.schedule.build(optimizer, n_steps=n_steps)
        n_batches = int(self.trainer.num_training_batches)
        return [optimizer], [describe_schedule(self.schedule, scheduler, n_batches=n_batches)]

    def _ask(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the logits of a batch."""
        logits = apply_net(self, batch["signal"], batch.get("metadata"))
        return logits

    def _measure(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss in float32, whatever the precision of the net."""
        loss: Tensor = self.loss(logits.float(), target.float())
        return loss

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
