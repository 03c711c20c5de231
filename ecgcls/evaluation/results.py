"""The files in which scores are kept: JSON and CSV tables, and figures.

They are computed from predictions alone, so a run can be scored again without a net, a GPU or the signals.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ecgcls.errors import ConfigError
from ecgcls.evaluation.calibration import measure_calibration, reliability_curve
from ecgcls.evaluation.checks import check_threshold
from ecgcls.evaluation.figures import (
    draw_confusion_matrices,
    draw_confusion_matrix,
    draw_pr_curves,
    draw_reliability_curves,
    draw_roc_curves,
    save_figure,
)
from ecgcls.evaluation.intervals import Bootstrap, bootstrap
from ecgcls.evaluation.metrics import Scores, score
from ecgcls.evaluation.panels import draw_calibration, draw_decision_curves, draw_subgroups
from ecgcls.evaluation.predictions import SPLITS, Predictions
from ecgcls.evaluation.subgroups import Subgroups, find_worst, format_worst, score_subgroups
from ecgcls.evaluation.thresholds import decision_curves, restate_predictive_values
from ecgcls.files import name_files, write_atomically, write_json

log = logging.getLogger(__name__)


def write_results(
    folder: Path,
    predictions: Predictions,
    *,
    title: str,
    draw: str = "test",
    threshold: float | Sequence[float] | None = None,
    uncalibrated: Predictions | None = None,
    pos_weight: ArrayLike | None = None,
    intervals: Bootstrap | None = None,
    prevalence: float | Mapping[str, float] | None = None,
    groups: pd.DataFrame | None = None,
    subgroups: Subgroups = Subgroups(),
    more: Mapping[str, Any] | None = None,
) -> Scores:
    """Score predictions split by split and write the results.

    Parameters
    ----------
    folder
        Gets ``metrics.json`` and ``metrics_by_class.csv`` with every split, and ``intervals.csv``, ``reliability.csv``,
        ``calibration.csv``, ``decision_curves.csv``, ``subgroups.csv`` and ``figures/`` of one.
    predictions
        Of one or both splits.
    title
        Stands in the figures.
    draw
        The split of all but the metrics, 'test' or 'val'; there must be predictions of it.
    threshold
        In [0, 1], one for all or one a class: a class is predicted where its probability is at least this. None: where
        `predictions.y_pred` says so.
    uncalibrated
        The same records before recalibration, for ``calibration.csv``; None: there was none.
    pos_weight
        ``(class,)``: the weights of the training loss, for the metric ``loss`` (before recalibration).
    intervals
        How to find the intervals; None, or fewer than two patients: none are written.
    prevalence
        In (0, 1), of all classes or by class: the predictive values are told for it too.
    groups
        By ecg_id, a column of text for each grouping; None: no ``subgroups.csv``.
    subgroups
        How the subgroups are scored.
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
    if threshold is not None:
        predictions = predictions.decide(check_threshold(threshold, predictions.class_names))
    drawn = predictions.select(draw)
    scores = {
        split: score_split(
            predictions.select(split),
            threshold=threshold,
            pos_weight=pos_weight,
            uncalibrated=None if uncalibrated is None else uncalibrated.select(split),
        )
        for split in SPLITS
        if split in predictions.split
    }
    write_json(folder / "metrics.json", {name: found.to_dict() for name, found in scores.items()} | dict(more or {}))
    by_class = pd.concat(
        {name: _add_restated(found, prevalence) for name, found in scores.items()}, names=["split", "class"]
    )
    write_atomically(folder / "metrics_by_class.csv", by_class.to_csv().encode())
    for optional in ("intervals.csv", "subgroups.csv", "figures/calibration.png", "figures/subgroups.png"):
        (folder / optional).unlink(missing_ok=True)
    if intervals is not None:
        _write_intervals(folder / "intervals.csv", drawn, intervals)
    if groups is not None:
        _write_subgroups(folder, drawn, groups, settings=subgroups, intervals=intervals or Bootstrap(), title=title)
    _write_calibration(folder, drawn, None if uncalibrated is None else uncalibrated.select(draw), title=title)
    curves = decision_curves(drawn.y_true, drawn.y_prob, drawn.class_names)
    write_atomically(folder / "decision_curves.csv", curves.to_csv(index=False).encode())
    for name, figure in (
        ("pr_curves", draw_pr_curves(drawn, title=title)),
        ("roc_curves", draw_roc_curves(drawn, title=title)),
        ("reliability_curves", draw_reliability_curves(drawn, title=title)),
        ("decision_curves", draw_decision_curves(curves, title=title)),
        ("confusion_matrices", draw_confusion_matrices(drawn, threshold=threshold, title=title)),
    ):
        save_figure(figure, folder / "figures" / f"{name}.png")
    return scores[draw]


def check_prevalence(prevalence: float | Mapping[str, float] | None, class_names: Sequence[str]) -> dict[str, float]:
    """Return the stated prevalence by class; empty where none is stated.

    Raises
    ------
    ConfigError
        If one is out of its range, or of a class that is not there.
    """
    if prevalence is None:
        return {}
    stated = dict(prevalence) if isinstance(prevalence, Mapping) else dict.fromkeys(class_names, prevalence)
    for name, value in stated.items():
        if name not in class_names:
            raise ConfigError(f"prevalence: there is no class {name}, expected one of {', '.join(class_names)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise ConfigError(f"prevalence of {name} must be between 0 and 1, got {value!r}")
    return {name: float(value) for name, value in stated.items()}


def _add_restated(scores: Scores, prevalence: float | Mapping[str, float] | None) -> pd.DataFrame:
    """Add the predictive values at a stated prevalence to the table of classes."""
    table = scores.by_class
    stated = check_prevalence(prevalence, [str(name) for name in table.index])
    if not stated:
        return table
    at = np.array([stated.get(str(name), np.nan) for name in table.index])
    ppv, npv = restate_predictive_values(table["sensitivity"], table["specificity"], at)
    return table.assign(stated_prevalence=at, precision_at_stated=ppv, npv_at_stated=npv)


def _write_calibration(folder: Path, after: Predictions, before: Predictions | None, *, title: str) -> None:
    """Write how far probabilities are from frequencies, before recalibration and after."""
    stages = {"after": after} if before is None else {"before": before, "after": after}
    names = after.class_names
    curves = {stage: reliability_curve(said.y_true, said.y_prob, names) for stage, said in stages.items()}
    reliability = pd.concat(curves, names=["recalibration"]).reset_index("recalibration").reset_index(drop=True)
    write_atomically(folder / "reliability.csv", reliability.to_csv(index=False).encode())
    measured = {stage: measure_calibration(said.y_true, said.y_prob, names) for stage, said in stages.items()}
    table = pd.concat(measured, names=["recalibration", "class"])
    write_atomically(folder / "calibration.csv", table.to_csv().encode())
    if before is not None:
        save_figure(draw_calibration(before, after, title=title), folder / "figures" / "calibration.png")


def _write_subgroups(
    folder: Path,
    predictions: Predictions,
    groups: pd.DataFrame,
    *,
    settings: Subgroups,
    intervals: Bootstrap,
    title: str,
) -> None:
    """Score each subgroup, name the worst one, and draw them."""
    log.info("Subgroups: %s", ", ".join(map(str, groups.columns)))
    table = score_subgroups(predictions, groups, settings=settings, intervals=intervals)
    write_atomically(folder / "subgroups.csv", table.to_csv(index=False).encode())
    worst = find_worst(table)
    if worst is None:
        return
    log.info("Worst subgroup: %s", format_worst(worst, str(worst["grouping"])))
    save_figure(draw_subgroups(table, worst, title=title), folder / "figures" / "subgroups.png")


def _write_intervals(path: Path, predictions: Predictions, settings: Bootstrap) -> None:
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
        y_pred=predictions.y_pred,
        settings=settings,
    )
    outside = table[~table["contains_value"] & table["value"].notna()]
    if len(outside):
        names = ", ".join(" ".join(key) for key in outside.index)
        log.warning("Intervals that do not contain their own value: %s", names)
    write_atomically(path, table.assign(**settings.describe()).to_csv().encode())


def write_confusion_matrices(
    folder: Path, predictions: Predictions, *, threshold: float | Sequence[float] | None = None, title: str
) -> dict[str, Path]:
    """Draw the confusion matrix of each class into a file of its own, ``confusion_matrix_<CLASS>.png``.

    Parameters
    ----------
    folder
        Gets the files.
    predictions
        Of one split.
    threshold
        In [0, 1], one for all or one a class; None: a class is predicted where `predictions.y_pred` says so.
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
        at = scores.threshold_by_class.get(class_name)
        paths[class_name] = folder / f"confusion_matrix_{name}.png"
        save_figure(draw_confusion_matrix(predictions, class_name, threshold=at, title=title), paths[class_name])
    return paths


def score_split(
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
