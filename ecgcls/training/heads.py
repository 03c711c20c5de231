"""A net of fixed features, whose linear head is fitted as a whole, with the penalty that validates best.

Such a net is told by its method ``fit_features``. Its features of all records are computed once and kept in half
precision (2 bytes a feature: 15,000 records of 9,996 features take 0.3 GB), the head is fitted to them with L-BFGS for
one penalty after another, the strongest first, each from the solution of the one before it. What is written is the
``best.ckpt`` of any net.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from ecgcls.data.module import ECGDataModule
from ecgcls.errors import DataError
from ecgcls.training.checkpoints import AtomicCheckpointIO, read_checkpoint
from ecgcls.training.exclusive import against_the_rest
from ecgcls.training.fitters import NetFitter
from ecgcls.training.losses import CrossEntropy, is_known
from ecgcls.training.metrics import UNKNOWN, as_double, spread_logits

log = logging.getLogger(__name__)

_BLOCK = 64  # records at a time in float32, which a core's cache holds
_PATIENCE = 2  # penalties in a row that validate no better


@runtime_checkable
class FixedFeatureNet(Protocol):
    """What a net has whose head is fitted here, beside what any net has: ``head(standardized features)`` are logits."""

    head: nn.Linear
    mean: Tensor
    sd: Tensor
    penalties: Sequence[float]
    n_bias_records: int

    def fit_features(self, signal: Tensor, generator: torch.Generator) -> None:
        """Fit what the features depend on to ``(record, lead, sample)`` of the training part."""

    def compute_features(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)`` into ``(batch, feature)``, before they are standardized."""

    def standardize(self, features: Tensor) -> Tensor:
        """Turn features into what the head takes, with ``mean`` and ``sd`` of the training part."""


class FeatureTable:
    """Standardized features ``(record, feature)`` in half precision, which a linear layer is applied to in float32."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def apply(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return ``(record, class)`` of a linear layer."""
        return torch.cat([block.float() @ weight.T for block in self._values.split(_BLOCK)]) + bias

    def pull_back(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Turn a gradient with respect to what `apply` returns into those of its weight and its bias."""
        of_weight = slope.new_zeros(slope.shape[1], self._values.shape[1])
        for block, own in zip(self._values.split(_BLOCK), slope.split(_BLOCK), strict=True):
            of_weight += own.T @ block.float()
        return of_weight, slope.sum(dim=0)


def fit_head(
    head: nn.Linear, features: FeatureTable, measure: Callable[[Tensor], Tensor], *, penalty: float, n_steps: int = 100
) -> float:
    r"""Minimize a loss of the logits plus :math:`\frac{\lambda}{2} \lVert W \rVert^2`, from where the head is now.

    Parameters
    ----------
    measure
        Turns logits ``(record, class)`` into the loss.
    penalty
        :math:`\lambda`. The bias is not penalized.

    Returns
    -------
    float
        The loss, without the penalty.
    """
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=n_steps, history_size=10, line_search_fn="strong_wolfe", tolerance_change=1e-6
    )
    losses = [0.0]

    def evaluate() -> Tensor:
        weight, bias = head.weight.detach(), head.bias.detach()
        logits = features.apply(weight, bias).requires_grad_()
        loss = measure(logits)
        of_weight, of_bias = features.pull_back(*torch.autograd.grad(loss, logits))
        head.weight.grad, head.bias.grad = of_weight + penalty * weight, of_bias
        losses[0] = loss.item()
        return loss.detach() + penalty / 2 * weight.square().sum()

    optimizer.step(evaluate)
    return losses[0]


class HeadFitter(NetFitter):
    """Fits the features of a net to the training part and its head for each penalty; keeps the best as ``best.ckpt``.

    The best is the one that the callback ``checkpoint`` would choose among epochs: penalties take their place.
    """

    @property
    def net(self) -> Any:
        """The net, a `FixedFeatureNet`."""
        return self.classifier.net

    def is_trained(self, folder: Path) -> bool:
        """Whether a fit in the folder has ended."""
        return (folder / "history.csv").is_file() and read_checkpoint(folder / "best.ckpt") is not None

    def fit(self, data: ECGDataModule, folder: Path, *, resume: bool) -> pd.DataFrame:
        """Fit anew, whatever is in the folder; the history has a row per penalty, numbered as an epoch."""
        self.classifier.eval().to(self.trainer.strategy.root_device)
        (train, y_train), (val, y_val) = self._compute_features(data)
        self._start_at_prevalence(y_train)
        rows: list[dict[str, float]] = []
        best, since = -1, 0
        penalties = sorted(self.net.penalties, reverse=True)
        for number, penalty in enumerate(penalties):
            start = time.perf_counter()
            loss = fit_head(self.net.head, train, lambda logits: self._measure(logits, y_train), penalty=penalty)
            row = {"epoch": number, "penalty": penalty, "train/loss": loss}
            rows.append(row | self._score(val, y_val))
            for logger in self.trainer.loggers:
                logger.log_metrics(rows[-1], step=number)
            is_better = best < 0 or self._is_better(rows[-1], rows[best])
            best, since = (number, 0) if is_better else (best, since + 1)
            if is_better:
                self._save(folder / "best.ckpt", number)
            shown = ", ".join(f"{key} {rows[-1][key]:.3f}" for key in ("train/loss", "val/loss", "val/pr_auc"))
            place = f"{number + 1} of {len(penalties)}"
            log.info("Penalty %g, %s: %s, %.1f s", penalty, place, shown, time.perf_counter() - start)
            if since == _PATIENCE:
                log.info("The weaker penalties are not tried: %d in a row were no better", _PATIENCE)
                break
        return pd.DataFrame(rows)

    @torch.inference_mode()
    def _compute_features(self, data: ECGDataModule) -> list[tuple[FeatureTable, Tensor]]:
        """Fit the features, and return those of the training and the validation part with the targets."""
        start, device = time.perf_counter(), self.trainer.strategy.root_device
        first: list[Tensor] = []
        for batch in data.train_dataloader():  # shuffled: any beginning is a random sample
            first.append(self.classifier.standardizer(batch["signal"].to(device)))
            if sum(map(len, first)) >= self.net.n_bias_records:
                break
        chosen = torch.cat(first)[: self.net.n_bias_records]
        self.net.fit_features(chosen, torch.Generator().manual_seed(torch.initial_seed()))
        parts = [self._read(loader, device) for loader in (data.train_dataloader(), data.val_dataloader())]
        columns = [block.float() for block in parts[0][0].split(_BLOCK, dim=1)]
        mean, sd = torch.cat([each.mean(dim=0) for each in columns]), torch.cat([each.std(dim=0) for each in columns])
        self.net.mean.copy_(mean)
        self.net.sd.copy_(torch.where(sd > 0, sd, 1.0))
        for values, _ in parts:
            for block in values.split(_BLOCK):
                block.copy_(self.net.standardize(block.float()))
        n_records, seconds = sum(len(target) for _, target in parts), time.perf_counter() - start
        log.info("%d features of %d records: %.1f s", len(mean), n_records, seconds)
        return [(FeatureTable(values), target) for values, target in parts]

    def _read(self, loader: Any, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the features in half precision and the targets of all batches of a loader."""
        n_records, n_features = len(loader.dataset), len(self.net.mean)
        values = torch.empty((n_records, n_features), dtype=torch.float16, device=device)
        targets, n_read = [], 0
        for batch in loader:
            signal = self.classifier.standardizer(batch["signal"].to(device))
            values[n_read : n_read + len(signal)] = self.net.compute_features(signal)
            targets.append(batch["target"].to(device))
            n_read += len(signal)
        return values, torch.cat(targets)

    def _start_at_prevalence(self, target: Tensor) -> None:
        """Begin with no weight on any feature, and each class's log odds in the training part as the bias."""
        known = is_known(target)
        n_positive = (known & (target > 0)).sum(dim=0) + 0.5
        nn.init.zeros_(self.net.head.weight)
        self.net.head.bias.data.copy_((n_positive / (known.sum(dim=0) + 1 - n_positive)).log())

    def _measure(self, logits: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = self.classifier.loss(self._finish(logits), target)
        return loss

    def _finish(self, logits: Tensor) -> Tensor:
        """Return what the whole net makes of its head's logits."""
        return against_the_rest(logits) if isinstance(self.classifier.loss, CrossEntropy) else logits

    @torch.inference_mode()
    def _score(self, features: FeatureTable, target: Tensor) -> dict[str, float]:
        """Return the loss and the metrics of the validation part."""
        logits = features.apply(self.net.head.weight, self.net.head.bias)
        found = {"val/loss": self._measure(logits, target).item()}
        if not torch.isfinite(logits).all():
            raise DataError("the head's logits of the validation set are not finite; a stronger model.penalties?")
        logits = self._finish(logits)
        shown = as_double(logits).sigmoid(), spread_logits(logits)
        labels = torch.where(is_known(target), target, float(UNKNOWN)).int()
        for name, metric in self.classifier.val_metrics.items():
            metric.update(shown[getattr(metric, "ranks", False)].to(logits.device), labels)
            found[name] = float(metric.compute())
            metric.reset()
        return found

    def _is_better(self, row: dict[str, float], other: dict[str, float]) -> bool:
        callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        chooser = next(each for each in callbacks if isinstance(each, ModelCheckpoint))
        new, old = row[str(chooser.monitor)], other[str(chooser.monitor)]
        return new > old if chooser.mode == "max" else new < old

    def _save(self, path: Path, number: int) -> None:
        """Write the classifier as Lightning would after an epoch."""
        checkpoint: dict[str, Any] = {
            "epoch": number,
            "global_step": 0,
            "pytorch-lightning_version": pl.__version__,
            "state_dict": self.classifier.state_dict(),
            "callbacks": {},
        }
        self.classifier.on_save_checkpoint(checkpoint)
        AtomicCheckpointIO().save_checkpoint(checkpoint, path)
