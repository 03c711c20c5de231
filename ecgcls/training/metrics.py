"""torchmetrics for training: macro averages over the classes that can be scored.

torchmetrics gives a class without a positive or without a negative record an arbitrary number (a ROC-AUC of 0, say);
here such a class is left out of the average. Without any scorable class a metric is nan. All metrics take
probabilities, ``logits.sigmoid()``, never logits: torchmetrics would guess, batch by batch, which of the two it has.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MultilabelAUROC, MultilabelAveragePrecision, MultilabelF1Score
from torchmetrics.functional.classification import multilabel_auroc, multilabel_average_precision
from torchmetrics.utilities import dim_zero_cat


class MacroAveragePrecision(MultilabelAveragePrecision):
    """PR-AUC as average precision, macro over the scorable classes."""

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels=num_labels, average="none", validate_args=False)

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the macro average precision of all batches since the last reset."""
        return _score_scorable(self, multilabel_average_precision)


class MacroAUROC(MultilabelAUROC):
    """ROC-AUC, macro over the scorable classes."""

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels=num_labels, average="none", validate_args=False)

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the macro ROC-AUC of all batches since the last reset."""
        return _score_scorable(self, multilabel_auroc)


class MacroF1(MultilabelF1Score):
    """F1 at a threshold, macro over the scorable classes."""

    def __init__(self, num_labels: int, threshold: float = 0.5) -> None:
        super().__init__(num_labels=num_labels, threshold=threshold, average="none", validate_args=False)

    def compute(self) -> Tensor:
        """Return the macro F1 of all batches since the last reset."""
        tp, fp, tn, fn = self._final_state()
        scorable = (tp + fn > 0) & (fp + tn > 0)
        return super().compute()[scorable].mean()


class MicroF1(MultilabelF1Score):
    """F1 at a threshold, from the counts of all classes together."""

    def __init__(self, num_labels: int, threshold: float = 0.5) -> None:
        super().__init__(num_labels=num_labels, threshold=threshold, average="micro", validate_args=False)


def _score_scorable(metric: Any, function: Any) -> Tensor:
    """Apply a torchmetrics function to the classes that have a positive and a negative, and average it."""
    y_prob, y_true = dim_zero_cat(metric.preds), dim_zero_cat(metric.target)
    positive = y_true == 1
    scorable = positive.any(dim=0) & (~positive).any(dim=0)
    if not scorable.any():
        return torch.tensor(float("nan"), device=y_prob.device)
    scores: Tensor = function(y_prob[:, scorable], y_true[:, scorable], num_labels=int(scorable.sum()), average="none")
    return scores.mean()
