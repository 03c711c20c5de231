"""Scores of predictions: `ecgcls.evaluation.metrics.score` applied to the records of one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from numpy.typing import ArrayLike

from ecgcls.evaluation.metrics import Scores, score
from ecgcls.evaluation.predictions import Predictions


def score_predictions(
    predictions: Predictions,
    *,
    threshold: float | Sequence[float] | None = None,
    pos_weight: ArrayLike | None = None,
    uncalibrated: Predictions | None = None,
) -> Scores:
    """Score the records of one split.

    Parameters
    ----------
    predictions
        Of one split.
    threshold
        In [0, 1], one for all or one a class; None: a class is predicted where `predictions.y_pred` says so.
    pos_weight
        ``(class,)``: the weights of the training loss, for the metric ``loss``.
    uncalibrated
        The same records before recalibration, which the metric ``loss`` is of.
    """
    names = predictions.class_names
    decided = {"y_pred": predictions.y_pred} if threshold is None else {"threshold": threshold}
    scores = score(predictions.y_true, predictions.y_prob, names, **decided)
    if pos_weight is None:
        return scores
    trained = uncalibrated or predictions
    loss = score(trained.y_true, trained.y_prob, names, pos_weight=pos_weight).overall["loss"]
    return replace(scores, overall={**scores.overall, "loss": loss})


def select_classes(predictions: Predictions, class_names: Sequence[str]) -> Predictions:
    """Return the predictions of some of the classes, in their order."""
    columns = [predictions.class_names.index(name) for name in class_names]
    return replace(
        predictions,
        y_true=predictions.y_true[:, columns],
        y_prob=predictions.y_prob[:, columns],
        y_pred=predictions.y_pred[:, columns],
        class_names=tuple(class_names),
    )
