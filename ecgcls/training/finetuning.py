"""Fine-tuning: which layers of a net are trained, from when on, and at which rate.

References
----------
J. Howard, S. Ruder, "Universal language model fine-tuning for text classification", ACL 2018, doi:10.18653/v1/P18-1031
(gradual unfreezing and learning rates by layer).
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from ecgcls.errors import ConfigError
from ecgcls.training.layers import split_layers

log = logging.getLogger(__name__)

LR_SCALE = "lr_scale"
"""Key of an optimizer's parameter group: its learning rate in parts of the head's."""


@dataclass(frozen=True)
class FineTuning:
    """How a net that has been trained before is trained further.

    Attributes
    ----------
    freeze
        ``backbone``: only the head is trained, a linear probe; see `ecgcls.training.layers` for what it is.
    unfreeze_every
        After so many epochs the layer before those that are trained is trained as well, and so on; None: never.
    lr_decay
        Learning rate of a layer, in parts of that of the next one towards the head.
    """

    freeze: Literal["none", "backbone"] = "none"
    unfreeze_every: int | None = None
    lr_decay: float = 1.0

    def count_trained(self, n_layers: int, epoch: int) -> int:
        """Return how many layers, counted from the head, are trained in an epoch.

        Examples
        --------
        >>> gradual = FineTuning(freeze="backbone", unfreeze_every=2)
        >>> [gradual.count_trained(3, epoch) for epoch in range(7)]
        [1, 1, 2, 2, 3, 3, 3]
        """
        if self.freeze == "none":
            return n_layers
        return 1 if self.unfreeze_every is None else min(n_layers, 1 + epoch // self.unfreeze_every)


class FineTuner:
    """Freezes the layers of a net, and lets them learn when their time has come.

    What is frozen is as a finished net is: no gradient, batch normalization by the stored mean and variance, which stay
    as they are, and no dropout. What was without gradients before stays so.
    """

    def __init__(self, net: nn.Module, settings: FineTuning) -> None:
        self.settings = settings
        self.layers = split_layers(net)
        self._learning = {each for each in net.parameters() if each.requires_grad}
        self._n_trained = 0

    def set_epoch(self, epoch: int) -> None:
        """Freeze what an epoch does not train; to be called after whatever has set the net's mode."""
        n_trained = self.settings.count_trained(len(self.layers), epoch)
        first = len(self.layers) - n_trained
        for number, layer in enumerate(self.layers):
            for module in layer.modules:
                module.train(number >= first)
            for parameter in layer.parameters:
                parameter.requires_grad_(number >= first and parameter in self._learning)
        if n_trained != self._n_trained and self.settings.freeze != "none":
            names = ", ".join(layer.name for layer in self.layers[first:])
            log.info("Epoch %d trains %d of %d layers: %s", epoch + 1, n_trained, len(self.layers), names)
        self._n_trained = n_trained

    def group_parameters(self, make: Callable[[Iterable[Any]], Optimizer]) -> list[dict[str, Any]] | None:
        """Return the parameter groups of an optimizer, the head's first; None where all have one learning rate."""
        if self.settings.lr_decay == 1:
            return None
        rate = make([nn.Parameter(torch.zeros(1))]).defaults.get("lr")
        if rate is None:
            raise ConfigError("init.lr_decay: this optimizer has no learning rate lr to be scaled by layer")
        scales = [self.settings.lr_decay**depth for depth in range(len(self.layers))]
        return [
            {"params": list(layer.parameters), "lr": float(rate) * scale, LR_SCALE: scale}
            for layer, scale in zip(reversed(self.layers), scales, strict=True)
            if layer.parameters
        ]
