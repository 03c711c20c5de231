"""torchmetrics for training: macro averages over the classes that can be scored.

torchmetrics gives a class without a positive or without a negative record an arbitrary number (a ROC-AUC of 0, say);
here such a class is left out of the average. Without any scorable class a metric is nan. A target of -1 is unknown and
takes no part. All metrics take numbers in [0, 1], never logits: torchmetrics would guess, batch by batch, which of the
two it has. They are probabilities, except for a metric that only ranks (`ranks`): it takes `spread_logits`.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MultilabelAUROC, MultilabelAveragePrecision, MultilabelF1Score
from torchmetrics.functional.classification import multilabel_auroc, multilabel_average_precision
from torchmetrics.utilities import dim_zero_cat

UNKNOWN = -1
"""The target of a class that nobody has annotated."""


class MacroAveragePrecision(MultilabelAveragePrecision):
    """PR-AUC as average precision, macro over the scorable classes."""

    ranks: ClassVar[bool] = True

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels=num_labels, average="none", ignore_index=UNKNOWN, validate_args=False)

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the macro average precision of all batches since the last reset."""
        return _score_scorable(self, multilabel_average_precision)


class MacroAUROC(MultilabelAUROC):
    """ROC-AUC, macro over the scorable classes."""

    ranks: ClassVar[bool] = True

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels=num_labels, average="none", ignore_index=UNKNOWN, validate_args=False)

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the macro ROC-AUC of all batches since the last reset."""
        return _score_scorable(self, multilabel_auroc)


class MacroF1(MultilabelF1Score):
    """F1 at a threshold, macro over the scorable classes; at the threshold itself a class is predicted."""

    def __init__(self, num_labels: int, threshold: float = 0.5) -> None:
        arguments: dict[str, Any] = {"ignore_index": UNKNOWN, "validate_args": False}
        super().__init__(num_labels=num_labels, threshold=threshold, average="none", **arguments)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count the decisions of a batch; torchmetrics itself would decide above the threshold only."""
        super().update((preds >= self.threshold).int(), target)

    def compute(self) -> Tensor:
        """Return the macro F1 of all batches since the last reset."""
        tp, fp, tn, fn = self._final_state()
        scorable = (tp + fn > 0) & (fp + tn > 0)
        return super().compute()[scorable].mean()


class MicroF1(MultilabelF1Score):
    """F1 at a threshold, from the counts of all classes together; at the threshold itself a class is predicted."""

    def __init__(self, num_labels: int, threshold: float = 0.5) -> None:
        arguments: dict[str, Any] = {"ignore_index": UNKNOWN, "validate_args": False}
        super().__init__(num_labels=num_labels, threshold=threshold, average="micro", **arguments)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count the decisions of a batch."""
        super().update((preds >= self.threshold).int(), target)


def spread_logits(logits: Tensor) -> Tensor:
    """Map float32 logits into (0, 1) so that two that differ never tie, which probabilities do from about 17 on.

    The bits of a float, read as a whole number, are in the order of the floats; float64 holds each such number. The
    map is the same in every process.
    """
    bits = logits.float().contiguous().view(torch.int32).to(torch.int64)
    rank = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # the sign is a bit of its own: -0.0 is 0.0
    return as_double(rank) / 2**32 + 0.5


def as_double(values: Tensor) -> Tensor:
    """Return values as float64, on the CPU where the device has none (Apple's)."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def takes_unknown(metric: Metric) -> bool:
    """Whether a metric leaves out targets of -1."""
    return getattr(metric, "ignore_index", None) == UNKNOWN


def _score_scorable(metric: Any, function: Any) -> Tensor:
    """Apply a torchmetrics function to the classes that have a positive and a negative, and average it."""
    y_score, y_true = dim_zero_cat(metric.preds), dim_zero_cat(metric.target)
    scorable = (y_true == 1).any(dim=0) & (y_true == 0).any(dim=0)
    if not scorable.any():
        return torch.tensor(float("nan"), device=y_score.device)
    chosen = y_score[:, scorable], y_true[:, scorable]
    more: dict[str, Any] = {"average": "none", "ignore_index": UNKNOWN}
    scores: Tensor = function(*chosen, num_labels=chosen[1].shape[1], validate_args=False, **more)
    return scores.mean()
