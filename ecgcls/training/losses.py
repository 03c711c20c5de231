"""Losses over logits ``(batch, class)`` and multi-hot targets ``(batch, class)``.

A target below 0, or nan, is unknown: nobody has annotated it. It takes no part; a loss is the mean over what is known.
A target between 0 and 1 is that of two records that were mixed.

References
----------
.. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the inception architecture for computer
       vision", CVPR 2016, arXiv:1512.00567 (label smoothing).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgcls.errors import ConfigError


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
    label_smoothing
        From 0 to below 1: the loss becomes ``(1 - label_smoothing)`` of itself and `label_smoothing` of the unweighted
        binary cross entropy with 1/2, which without weights is that of targets moved so far towards 1/2 [1]_. In
        training alone: the loss of a validation set stays comparable.
    """

    masks_unknown: ClassVar[bool] = True
    """Whether unknown targets take no part; a loss without this attribute is given none."""

    def __init__(self, pos_weight: Tensor, *, max_pos_weight: float = 20.0, label_smoothing: float = 0.0) -> None:
        super().__init__(reduction="none", pos_weight=pos_weight.clamp(max=max_pos_weight))
        self.label_smoothing = _check_smoothing(label_smoothing)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the known targets; 0 if there is none."""
        known = is_known(target)
        loss = super().forward(input, torch.where(known, target, 0.0))
        if self.label_smoothing and self.training:
            towards_half = functional.binary_cross_entropy_with_logits(
                input, torch.full_like(input, 0.5), reduction="none"
            )
            loss = torch.lerp(loss, towards_half, self.label_smoothing)
        return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)


class BCE(WeightedBCE):
    """Plain binary cross entropy: every entry weighs 1, whatever `pos_weight`; probabilities stay frequencies."""

    def __init__(self, pos_weight: Tensor, *, label_smoothing: float = 0.0) -> None:
        super().__init__(pos_weight.new_ones(pos_weight.shape), label_smoothing=label_smoothing)


class Squared(nn.Module):
    r"""Squared error of logits, the second-order expansion of `BCE` around 0: what a ridge classifier minimizes.

    .. math:: \frac{1}{8 N} \sum_{nc} (z_{nc} - 4\, y_{nc} + 2)^2

    over the :math:`N` known targets. A positive's logit is drawn to 2, a negative's to -2, and not beyond. The
    probabilities are as rough as that; the recalibration on the validation part makes them frequencies.
    """

    masks_unknown: ClassVar[bool] = True

    def __init__(self, pos_weight: Tensor) -> None:
        super().__init__()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the known targets; 0 if there is none."""
        known = is_known(target)
        error = torch.where(known, logits - 4 * target + 2, 0.0)
        return error.square().sum() / (8 * known.sum().clamp(min=1))


class CrossEntropy(nn.Module):
    r"""Cross entropy of classes that exclude each other, of which each record has exactly one.

    .. math:: -\sum_{nc} w_c\, y_{nc} \log \sigma(z_{nc}) / \sum_{nc} w_c\, y_{nc}

    with :math:`y` 1 for the record's class, or the shares of a mixed record's, and :math:`z` the log odds that
    `ecgcls.training.exclusive` makes of the net's scores: :math:`\sigma(z)` is then their softmax. A record without a
    known class takes no part.

    Parameters
    ----------
    class_weight
        ``(class,)``: what a record of each class weighs. Kept as a buffer.
    label_smoothing
        From 0 to below 1, as that of `torch.nn.CrossEntropyLoss`; in training alone.
    """

    masks_unknown: ClassVar[bool] = True
    class_weight: Tensor

    def __init__(self, class_weight: Tensor, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = _check_smoothing(label_smoothing)
        self.register_buffer("class_weight", class_weight)

    @property
    def pos_weight(self) -> Tensor:
        """The same, by the name under which a recalibration asks how a loss weighs."""
        return self.class_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted mean over the records."""
        weight = torch.where(target > 0, self.class_weight * target, 0.0)  # (batch, class)
        whole = weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        if self.label_smoothing and self.training:
            of_all = self.class_weight * (target > 0).any(dim=1, keepdim=True) / target.shape[1]
            weight = torch.lerp(weight, of_all, self.label_smoothing)
        return -(weight * functional.logsigmoid(logits)).sum() / whole


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
    return CrossEntropy(weight / weight.mean(), label_smoothing=loss.label_smoothing)


def _check_smoothing(label_smoothing: float) -> float:
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"loss.label_smoothing must be at least 0 and below 1, got {label_smoothing}")
    return label_smoothing
