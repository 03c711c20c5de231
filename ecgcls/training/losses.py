"""Losses over logits ``(batch, class)`` and multi-hot targets ``(batch, class)``.

A target below 0, or nan, is unknown: nobody has annotated it. It takes no part; a loss is the mean over what is known.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


def is_known(target: Tensor) -> Tensor:
    """Return which targets somebody has annotated; the others are negative or nan."""
    return target >= 0


class WeightedBCE(nn.BCEWithLogitsLoss):
    r"""Binary cross entropy in which a class's positives weigh as much as its negatives.

    .. math:: -\frac{1}{N} \sum_{nc} w_c\, y_{nc} \log \sigma(z_{nc}) + (1 - y_{nc}) \log(1 - \sigma(z_{nc}))

    over the :math:`N` known targets, with :math:`w_c` the class's negatives over positives in the training part, at
    most `max_pos_weight`. It shifts the probabilities of rare classes upwards: they rank records, they are not
    frequencies.

    Parameters
    ----------
    pos_weight
        ``(class,)``, negatives over positives. Kept as a buffer.
    max_pos_weight
        Cap on the weights, so that a single positive of a very rare class does not outweigh the rest of its batch.
    """

    masks_unknown: ClassVar[bool] = True
    """Whether unknown targets take no part; a loss without this attribute is given none."""

    def __init__(self, pos_weight: Tensor, *, max_pos_weight: float = 20.0) -> None:
        super().__init__(reduction="none", pos_weight=pos_weight.clamp(max=max_pos_weight))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the known targets; 0 if there is none."""
        known = is_known(target)
        loss = super().forward(input, torch.where(known, target, 0.0))
        return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)


class BCE(WeightedBCE):
    """Plain binary cross entropy: every entry weighs 1, whatever `pos_weight`; probabilities stay frequencies."""

    def __init__(self, pos_weight: Tensor) -> None:
        super().__init__(pos_weight.new_ones(pos_weight.shape))


class CrossEntropy(nn.Module):
    r"""Cross entropy of classes that exclude each other, of which each record has exactly one.

    .. math:: -\sum_n w_{c(n)} \log \sigma(z_{n c(n)}) / \sum_n w_{c(n)}

    with :math:`c(n)` the record's class and :math:`z` the log odds that `ecgcls.training.exclusive` makes of the net's
    scores: :math:`\sigma(z)` is then their softmax. A record without a known class takes no part.

    Parameters
    ----------
    class_weight
        ``(class,)``: what a record of each class weighs. Kept as a buffer.
    """

    masks_unknown: ClassVar[bool] = True
    class_weight: Tensor

    def __init__(self, class_weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("class_weight", class_weight)

    @property
    def pos_weight(self) -> Tensor:
        """The same, by the name under which a recalibration asks how a loss weighs."""
        return self.class_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted mean over the records."""
        weight = torch.where(target > 0, self.class_weight, 0.0)  # (batch, class)
        loss = -(weight * functional.logsigmoid(logits)).sum()
        return loss / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def make_exclusive(loss: nn.Module) -> CrossEntropy | None:
    """Return the cross entropy that takes the place of a binary one where classes exclude each other.

    Of `WeightedBCE` it is one in which all classes together weigh the same, up to its own cap, of `BCE` an unweighted
    one; any other loss has no counterpart here, and None is returned.
    """
    if not isinstance(loss, WeightedBCE):
        return None
    weight = loss.get_buffer("pos_weight")
    if not isinstance(loss, BCE):
        weight = 1 + weight  # 1 + negatives / positives = records / records of the class
    return CrossEntropy(weight / weight.mean())
