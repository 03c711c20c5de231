"""Whether a training is still one: losses and logits that are finite, and logits that look like logits."""

import logging

import torch
from torch import Tensor

from ecgcls.errors import DataError

log = logging.getLogger(__name__)

CURE = "try a smaller optimizer.lr, or trainer.precision=32-true"


def check_losses(losses: dict[int, Tensor], *, epoch: int) -> None:
    """Raise DataError if the training loss of a batch, by number from 0, is not finite; epochs count from 0."""
    wrong = ~torch.isfinite(torch.stack(list(losses.values())))
    if wrong.any():
        number = list(losses)[int(wrong.nonzero()[0])]
        raise DataError(
            f"epoch {epoch + 1}, batch {number + 1}: the training loss is {float(losses[number])}: training diverged; "
            f"{CURE}"
        )


def check_validation(logits: list[Tensor], loss: Tensor, *, epoch: int) -> None:
    """Raise DataError if logits of a validation batch, or the loss over all of them, are not finite."""
    for number, batch in enumerate(logits):
        if not torch.isfinite(batch).all():
            raise DataError(
                f"epoch {epoch + 1}, validation batch {number + 1}: the net's logits are not finite: training "
                f"diverged; {CURE}"
            )
    if not torch.isfinite(loss):
        raise DataError(f"epoch {epoch + 1}: the validation loss is {float(loss)}, of finite logits; {CURE}")


def seem_probabilities(logits: Tensor) -> bool:
    """Whether values that should be logits all lie strictly between 0 and 1, and are not all the same."""
    return bool(((logits > 0) & (logits < 1)).all() and logits.min() < logits.max())
