"""The moving average of a net's weights: what is validated, kept as the best epoch and predicted with.

References
----------
.. [1] B. T. Polyak, A. B. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30
       (1992) 838-855, doi:10.1137/0330046.
"""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from ecgcls.errors import ConfigError


class EMA(WeightAveraging):
    r"""Exponential moving average of the weights over the steps of the optimizer, by Lightning's own averaging.

    After step :math:`t` (from 1) the average moves by :math:`1 - \min(d, t / (9 + t))` of the way to the weights, with
    the decay :math:`d`: in a short training the first weights are forgotten too. The means and variances that batch
    normalization keeps are averaged as the weights are; a whole number, such as a count of batches, is copied.

    Parameters
    ----------
    decay
        Above 0 and below 1; the average is over about the last :math:`1 / (1 - d)` steps.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise ConfigError(f"callbacks.ema.decay must be above 0 and below 1, got {decay}")
        self.decay = decay
        super().__init__(multi_avg_fn=self._average)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the net to its device, which Lightning has made the copy without."""
        assert self._average_model is not None
        self._average_model.to(pl_module.device)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from both kinds of weights; to predict, Lightning has loaded the averaged ones, and no other is put."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _average(self, averaged: list[Tensor], current: list[Tensor], n_averaged: Tensor) -> None:
        """Move averages of one type towards the weights; where both are the same, they stay so to the last digit."""
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        step = int(n_averaged) + 1
        torch._foreach_lerp_(averaged, current, 1 - min(self.decay, step / (9 + step)))
