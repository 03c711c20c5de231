"""The files in which scores are kept: `metrics.json`, `metrics_by_class.csv` and the figures.

They are computed from predictions alone, so a run can be scored again without a net, a GPU or the signals.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike

from ecgcls.evaluation.figures import (
    draw_confusion_matrices,
    draw_pr_curves,
    draw_roc_curves,
    save_figure,
)
from ecgcls.evaluation.files import write_atomically
from ecgcls.evaluation.metrics import Scores, score
from ecgcls.evaluation.predictions import SPLITS, Predictions

THRESHOLD = 0.5
"""A class is predicted where its probability is at least this."""


def write_results(
    folder: Path,
    predictions: Predictions,
    *,
    title: str,
    pos_weight: ArrayLike | None = None,
    more: Mapping[str, Any] | None = None,
) -> Scores:
    """Score predictions split by split and write the results.

    Parameters
    ----------
    folder
        Gets ``metrics.json`` and ``metrics_by_class.csv`` with every split, and ``figures/`` of the test split.
    predictions
        Of one or both splits; there must be a test split.
    title
        Stands in the figures.
    pos_weight
        ``(class,)``: the weights of the training loss, for the metric ``loss``.
    more
        Further content of ``metrics.json``.

    Returns
    -------
    Scores
        Those of the test split.
    """
    scores = {
        split: score_split(predictions.select(split), pos_weight=pos_weight)
        for split in SPLITS
        if split in predictions.split
    }
    write_json(folder / "metrics.json", {name: found.to_dict() for name, found in scores.items()} | dict(more or {}))
    by_class = pd.concat({name: found.by_class for name, found in scores.items()}, names=["split", "class"])
    write_atomically(folder / "metrics_by_class.csv", by_class.to_csv().encode())
    test = predictions.select("test")
    for name, figure in (
        ("pr_curves", draw_pr_curves(test, title=title)),
        ("roc_curves", draw_roc_curves(test, title=title)),
        ("confusion_matrices", draw_confusion_matrices(test, threshold=THRESHOLD, title=title)),
    ):
        save_figure(figure, folder / "figures" / f"{name}.png")
    return scores["test"]


def score_split(predictions: Predictions, *, pos_weight: ArrayLike | None = None) -> Scores:
    """Score the records of one split at the threshold that every run uses."""
    return score(
        predictions.y_true,
        predictions.y_prob,
        predictions.class_names,
        threshold=THRESHOLD,
        pos_weight=pos_weight,
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON (no NaN) that others see whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())
