"""What a net learns from another one's answers, beside the labels.

References
----------
.. [1] G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015, arXiv:1503.02531.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ecgcls.errors import ConfigError


class Distillation:
    r"""A loss that is drawn towards the probabilities :math:`q` of a teacher, which has seen the whole record [1]_.

    .. math:: (1 - w)\, L - \frac{w}{N} \sum_{nc} q_{nc} \log \sigma(z_{nc}) + (1 - q_{nc}) \log(1 - \sigma(z_{nc}))

    with :math:`L` the loss of the labels, over all entries, also those of labels that are not known; of classes that
    exclude each other, the mean over the records of :math:`-\sum_c q_c \log \sigma(z_c)`. The teacher's part is not
    weighted by class.

    Parameters
    ----------
    weight
        The share :math:`w` of the teacher; above 0, at most 1.
    is_exclusive
        Whether classes exclude each other.
    """

    def __init__(self, weight: float, *, is_exclusive: bool = False) -> None:
        if not 0 < weight <= 1:
            raise ConfigError(f"distill.weight must be above 0 and at most 1, got {weight}")
        self.weight, self.is_exclusive = weight, is_exclusive
        self.y_prob: Tensor | None = None
        """``(record, class)``, by row number of the cohort: the teacher's probabilities; needed in training alone."""

    def take(self, record: Tensor) -> Tensor:
        """Return the teacher's probabilities ``(batch, class)`` of records ``(batch,)``, on their device."""
        assert self.y_prob is not None, "the teacher has not answered yet"
        self.y_prob = self.y_prob.to(record.device)
        return self.y_prob[record]

    def add(self, loss: Tensor, logits: Tensor, y_prob: Tensor) -> Tensor:
        """Return the loss of labels and teacher together."""
        logits = logits.float()
        if self.is_exclusive:
            of_teacher = -(y_prob * functional.logsigmoid(logits)).sum(dim=1).mean()
        else:
            of_teacher = functional.binary_cross_entropy_with_logits(logits, y_prob)
        return torch.lerp(loss, of_teacher, self.weight)
