"""When a learning rate schedule takes a step: with every epoch, with every batch, or after a metric."""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from ecgcls.training.finetuning import LR_SCALE

log = logging.getLogger(__name__)

_BY_BATCH = (OneCycleLR, CyclicLR)  # these classes count steps of the optimizer


@dataclass(frozen=True)
class Schedule:
    """A scheduler that is not built yet.

    Attributes
    ----------
    make
        Makes it from the optimizer.
    interval
        Whether it takes a step with every epoch or with every batch (``step``); None: with every batch for
        ``OneCycleLR``, ``CyclicLR`` and a class that says so (``interval = "step"``), else with every epoch.
    monitor
        The metric that ``ReduceLROnPlateau`` follows at the end of each epoch.
    """

    make: Callable[..., LRScheduler]
    interval: Literal["epoch", "step"] | None = None
    monitor: str | None = None

    @property
    def follows_metric(self) -> bool:
        """Whether it is a ``ReduceLROnPlateau``."""
        return self._is_a(ReduceLROnPlateau)

    @property
    def mode(self) -> str:
        """Whether the metric that it follows is better when it is less (``min``) or more (``max``)."""
        return str(getattr(self.make, "keywords", {}).get("mode", "min"))

    def build(self, optimizer: Optimizer, *, n_steps: int) -> LRScheduler:
        """Build it for a training of so many steps of the optimizer.

        A cycle that is given no length has that of the training. A shorter one would end in an error of PyTorch, so it
        is lengthened, and told.
        """
        given = dict(getattr(self.make, "keywords", {}))
        rates = _scale_rates(optimizer, given)
        if not self._is_a(OneCycleLR):
            return self.make(optimizer, **rates)
        total = given.get("total_steps")
        if total is None and given.get("epochs") and given.get("steps_per_epoch"):
            total = given["epochs"] * given["steps_per_epoch"]
        if total is not None and total < n_steps:
            log.warning("scheduler: a cycle of %d steps is lengthened to the %d steps of this training", total, n_steps)
        elif total is not None and total > n_steps:
            log.warning("scheduler: this training ends after %d of the cycle's %d steps", n_steps, total)
        return self.make(optimizer, total_steps=max(n_steps, total or 0), epochs=None, steps_per_epoch=None, **rates)

    def steps_with_batch(self, scheduler: LRScheduler) -> bool:
        """Whether it takes a step with every batch."""
        own = self.interval or getattr(scheduler, "interval", None)
        return own == "step" if own else isinstance(scheduler, _BY_BATCH)

    def _is_a(self, kind: type) -> bool:
        made = self.make.func if isinstance(self.make, functools.partial) else self.make
        return inspect.isclass(made) and issubclass(made, kind)


def _scale_rates(optimizer: Optimizer, given: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the rates that a scheduler sets by itself, by parameter group, where these have rates of their own."""
    scales = [group.get(LR_SCALE) for group in optimizer.param_groups]
    if None in scales:
        return {}
    rates = {key: given[key] for key in ("max_lr", "base_lr") if isinstance(given.get(key), int | float)}
    return {key: [rate * scale for scale in scales] for key, rate in rates.items()}


def describe_schedule(schedule: Schedule, scheduler: LRScheduler, *, n_batches: int) -> dict[str, Any]:
    """Return what Lightning is told of a scheduler, so that a checkpoint of an epoch has all of its steps.

    Lightning steps an epoch's scheduler, and one that follows a metric, only after the epoch's checkpoint is written; a
    resumed run would lack that step. The former steps with the epoch's last batch instead, the latter in
    `ecgcls.training.classifier.ECGClassifier.on_train_epoch_end`.
    """
    if schedule.follows_metric:
        return {"scheduler": scheduler, "interval": "step", "frequency": 2**62, "monitor": schedule.monitor}
    frequency = 1 if schedule.steps_with_batch(scheduler) else n_batches
    return {"scheduler": scheduler, "interval": "step", "frequency": frequency}
