"""The files in which scores are kept: JSON and CSV tables, and figures.

They are computed from predictions alone, so a run can be scored again without a net, a GPU or the signals.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike

from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.evaluation.figures import (
    draw_confusion_matrices,
    draw_confusion_matrix,
    draw_pr_curves,
    draw_reliability_curves,
    draw_roc_curves,
    save_figure,
)
from ecgcls.evaluation.files import name_files, write_atomically, write_json
from ecgcls.evaluation.intervals import Bootstrap, bootstrap
from ecgcls.evaluation.metrics import Scores, score
from ecgcls.evaluation.predictions import SPLITS, THRESHOLD, Predictions

log = logging.getLogger(__name__)


def write_results(
    folder: Path,
    predictions: Predictions,
    *,
    title: str,
    draw: str = "test",
    threshold: float | Sequence[float] = THRESHOLD,
    pos_weight: ArrayLike | None = None,
    intervals: Bootstrap | None = None,
    more: Mapping[str, Any] | None = None,
) -> Scores:
    """Score predictions split by split and write the results.

    Parameters
    ----------
    folder
        Gets ``metrics.json`` and ``metrics_by_class.csv`` with every split, and ``intervals.csv``, ``reliability.csv``
        and ``figures/`` of one.
    predictions
        Of one or both splits.
    title
        Stands in the figures.
    draw
        The split of ``intervals.csv``, ``reliability.csv`` and the figures, 'test' or 'val'; there must be
        predictions of it.
    threshold
        In [0, 1], one for all or one a class: a class is predicted where its probability is at least this.
    pos_weight
        ``(class,)``: the weights of the training loss, for the metric ``loss``.
    intervals
        How to find the intervals; None, or fewer than two patients: none are written.
    more
        Further content of ``metrics.json``.

    Returns
    -------
    Scores
        Those of the split that is drawn.

    Raises
    ------
    ConfigError
        There is no such split, or a threshold is out of its range or not one a class.
    DataError
        No record is in the split that is to be drawn.
    """
    drawn = predictions.select(draw)
    scores = {
        split: score_split(predictions.select(split), threshold=threshold, pos_weight=pos_weight)
        for split in SPLITS
        if split in predictions.split
    }
    write_json(folder / "metrics.json", {name: found.to_dict() for name, found in scores.items()} | dict(more or {}))
    (folder / "intervals.csv").unlink(missing_ok=True)
    if intervals is not None:
        _write_intervals(folder / "intervals.csv", drawn, threshold, intervals)
    by_class = pd.concat({name: found.by_class for name, found in scores.items()}, names=["split", "class"])
    write_atomically(folder / "metrics_by_class.csv", by_class.to_csv().encode())
    reliability = reliability_curve(drawn.y_true, drawn.y_prob, drawn.class_names)
    write_atomically(folder / "reliability.csv", reliability.to_csv(index=False).encode())
    for name, figure in (
        ("pr_curves", draw_pr_curves(drawn, title=title)),
        ("roc_curves", draw_roc_curves(drawn, title=title)),
        ("reliability_curves", draw_reliability_curves(drawn, title=title)),
        ("confusion_matrices", draw_confusion_matrices(drawn, threshold=threshold, title=title)),
    ):
        save_figure(figure, folder / "figures" / f"{name}.png")
    return scores[draw]


def _write_intervals(
    path: Path, predictions: Predictions, threshold: float | Sequence[float], settings: Bootstrap
) -> None:
    """Write the interval of every metric, unless there is but one patient."""
    n_patients = len(set(predictions.patient_id.tolist()))
    if n_patients < 2:
        log.warning("No intervals: all records are of one patient")
        return
    log.info("Intervals from %d resamples of %d patients", settings.n_resamples, n_patients)
    table = bootstrap(
        predictions.y_true,
        predictions.y_prob,
        predictions.patient_id,
        predictions.class_names,
        threshold=threshold,
        settings=settings,
    )
    outside = table[~table["contains_value"] & table["value"].notna()]
    if len(outside):
        names = ", ".join(" ".join(key) for key in outside.index)
        log.warning("Intervals that do not contain their own value: %s", names)
    write_atomically(path, table.assign(**settings.describe()).to_csv().encode())


def write_confusion_matrices(
    folder: Path, predictions: Predictions, *, threshold: float | Sequence[float], title: str
) -> dict[str, Path]:
    """Draw the confusion matrix of each class into a file of its own, ``confusion_matrix_<CLASS>.png``.

    Parameters
    ----------
    folder
        Gets the files.
    predictions
        Of one split.
    threshold
        In [0, 1], one for all or one a class.
    title
        Stands in each figure, below the class.

    Returns
    -------
    dict
        For each class its file. A class name is written as `files.name_file` says; where two of them are then the
        same, or differ in upper and lower case only, the later one gets '-2', '-3', ....

    Raises
    ------
    ConfigError
        A threshold is out of its range, or they are not one a class.
    """
    scores = score_split(predictions, threshold=threshold)
    paths: dict[str, Path] = {}
    for class_name, name in name_files(predictions.class_names).items():
        at = scores.threshold_by_class[class_name]
        paths[class_name] = folder / f"confusion_matrix_{name}.png"
        save_figure(draw_confusion_matrix(predictions, class_name, threshold=at, title=title), paths[class_name])
    return paths


def score_split(
    predictions: Predictions,
    *,
    threshold: float | Sequence[float] = THRESHOLD,
    pos_weight: ArrayLike | None = None,
) -> Scores:
    """Score the records of one split, by default at the threshold that every run uses."""
    return score(
        predictions.y_true,
        predictions.y_prob,
        predictions.class_names,
        threshold=threshold,
        pos_weight=pos_weight,
    )
