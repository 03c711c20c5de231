"""Losses over logits ``(batch, class)`` and multi-hot targets ``(batch, class)``."""

from torch import Tensor, nn


class WeightedBCE(nn.BCEWithLogitsLoss):
    r"""Binary cross entropy in which a class's positives weigh as much as its negatives.

    .. math:: -\frac{1}{NC} \sum_{nc} w_c\, y_{nc} \log \sigma(z_{nc}) + (1 - y_{nc}) \log(1 - \sigma(z_{nc}))

    with :math:`w_c` the class's negatives over positives in the training part, at most `max_pos_weight`. It shifts
    the probabilities of rare classes upwards: they rank records, they are not frequencies.

    Parameters
    ----------
    pos_weight
        ``(class,)``, negatives over positives. Kept as a buffer.
    max_pos_weight
        Cap on the weights, so that a single positive of a very rare class does not outweigh the rest of its batch.
    """

    def __init__(self, pos_weight: Tensor, *, max_pos_weight: float = 20.0) -> None:
        super().__init__(pos_weight=pos_weight.clamp(max=max_pos_weight))


class BCE(nn.BCEWithLogitsLoss):
    """Plain binary cross entropy: every entry weighs 1, whatever `pos_weight`; probabilities stay frequencies."""

    def __init__(self, pos_weight: Tensor) -> None:
        super().__init__(pos_weight=pos_weight.new_ones(pos_weight.shape))
