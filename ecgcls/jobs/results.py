"""The files in which scores are kept: JSON and CSV tables, and figures.

They are computed from predictions alone, so a run can be scored again without a net, a GPU or the signals.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ecgcls.data.groupings import order_groups
from ecgcls.evaluation.checks import UNKNOWN, check_threshold
from ecgcls.evaluation.exclusive import are_exclusive, count_confusions, summarize_confusions
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.label_noise import score_readings
from ecgcls.evaluation.metrics import OVERALL, Scores, overall_metrics, score_predictions
from ecgcls.evaluation.predictions import SPLITS, Predictions
from ecgcls.evaluation.settings import Bootstrap, EvaluationSettings
from ecgcls.evaluation.subgroups import describe_worst, score_subgroups
from ecgcls.evaluation.thresholds import decision_curves, restate_predictive_values
from ecgcls.figures.confusion import draw_confusion_matrices, draw_confusion_matrix, draw_confusions
from ecgcls.figures.curves import draw_pr_curves, draw_reliability_curves, draw_roc_curves
from ecgcls.figures.forest import draw_subgroups
from ecgcls.figures.panels import draw_decision_curves
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, name_files, printable, restore, write_atomically, write_json
from ecgcls.jobs.calibration_files import write_calibration

log = logging.getLogger(__name__)

OPTIMISTIC = "optimistic: validation records choose the epoch, the calibrator and the thresholds"
"""What is said beside validation scores."""
_OPTIONAL = (
    "intervals.csv", "subgroups.csv", "label_noise.csv", "confusion_matrix.csv", "figures/calibration.png",
    "figures/subgroups.png", "figures/confusion_matrix.png",
)  # fmt: skip


def write_results(
    folder: Path,
    predictions: Predictions,
    *,
    title: str,
    settings: EvaluationSettings,
    draw: str = "test",
    threshold: float | Sequence[float] | None = None,
    uncalibrated: Predictions | None = None,
    pos_weight: ArrayLike | None = None,
    groups: pd.DataFrame | None = None,
    likelihoods: pd.DataFrame | None = None,
    more: Mapping[str, Any] | None = None,
) -> Scores:
    """Score predictions split by split, write the results, and return the scores of the split that is drawn.

    Predictions of several folds are scored within folds; the scores of their records ranked together stand beside these
    as ``pooled``.

    Parameters
    ----------
    folder
        Gets ``metrics.json`` and ``metrics_by_class.csv`` with every split, and ``intervals.csv``, ``reliability.csv``,
        ``calibration.csv``, ``calibration_curves.csv``, ``decision_curves.csv``, ``subgroups.csv`` and ``figures/`` of
        the split `draw`; where the classes exclude each other, ``confusion_matrix.csv`` of all of them.
    predictions, uncalibrated
        Of one or both splits; the same before recalibration, or None where there was none.
    settings
        Intervals, prevalence and subgroups; with fewer than two patients there are no intervals.
    threshold
        In [0, 1], one for all or one per class; None: a class is predicted where `predictions.y_pred` says so.
    pos_weight
        ``(class,)``: the weights of the training loss, for the metric ``loss`` (before recalibration).
    groups
        By ecg_id, a column of text per grouping; None, or no column: no ``subgroups.csv``.
    likelihoods
        Of positive labels, see `ecgcls.evaluation.label_noise`: where a stricter reading leaves some out, there is
        ``label_noise.csv``, and ``label_noise`` in ``metrics.json``.
    more
        Further content of ``metrics.json``.
    """
    if threshold is not None:
        predictions = predictions.decide(check_threshold(threshold, predictions.class_names))
    drawn = predictions.select(draw)
    pooled_title = title if drawn.fold is None else f"{title}, pooled"  # all figures but that of subgroups
    scores = {
        split: score_predictions(
            predictions.select(split),
            threshold=threshold,
            pos_weight=pos_weight,
            uncalibrated=None if uncalibrated is None else uncalibrated.select(split),
        )
        for split in SPLITS
        if split in predictions.split
    }
    for optional in _OPTIONAL:
        (folder / optional).unlink(missing_ok=True)
    written = {name: found.to_dict() for name, found in scores.items()}
    if "val" in written:
        written["val"]["note"] = OPTIMISTIC
    if predictions.fold is not None:
        pooled = {name: score_predictions(predictions.select(name).merge_folds()) for name in scores}
        written["pooled"] = {name: found.to_dict() for name, found in pooled.items()}
    if are_exclusive(drawn.y_true, drawn.y_prob):
        written[draw]["exclusive"] = _write_confusions(folder, drawn, title=pooled_title)
    intervals = _write_intervals(folder / "intervals.csv", drawn, settings.intervals)
    if intervals is not None:
        written[draw]["supported"] = _nest_supported(intervals)
    readings = None if likelihoods is None else score_readings(drawn, likelihoods)
    if readings is not None:
        write_atomically(folder / "label_noise.csv", encode_csv(readings))
        written[draw]["label_noise"] = nest(readings)
    write_json(folder / "metrics.json", written | dict(more or {}))
    stated = settings.prevalence_by_class(predictions.class_names)
    by_class = pd.concat(
        {name: _add_restated(found, stated) for name, found in scores.items()}, names=["split", "class"]
    )
    write_atomically(folder / "metrics_by_class.csv", encode_csv(by_class))
    if groups is not None and len(groups.columns):
        averaged = title if drawn.fold is None else f"{title}, means over the folds"
        _write_subgroups(folder, drawn, groups, settings=settings, title=averaged)
    before = None if uncalibrated is None else uncalibrated.select(draw)
    write_calibration(folder, drawn, before, settings=settings.intervals, title=pooled_title)
    curves = decision_curves(drawn.y_true, drawn.y_prob, drawn.class_names)
    write_atomically(folder / "decision_curves.csv", encode_csv(curves, index=False))
    for name, figure in (
        ("pr_curves", draw_pr_curves(drawn, title=pooled_title)),
        ("roc_curves", draw_roc_curves(drawn, title=pooled_title)),
        ("reliability_curves", draw_reliability_curves(drawn, title=pooled_title, level=settings.intervals.level)),
        ("decision_curves", draw_decision_curves(curves, title=pooled_title)),
        ("confusion_matrices", draw_confusion_matrices(drawn, threshold=threshold, title=pooled_title)),
    ):
        save_figure(figure, folder / "figures" / f"{name}.png")
    if undefined := [f"{printable(name)} ({why})" for name, why in scores[draw].undefined.items()]:
        log.warning("Not scored in %s: %s", draw, ", ".join(undefined))
    _warn_of_unknown(drawn)
    _warn_of_ties(drawn)
    return scores[draw]


def read_intervals(folder: Path) -> pd.DataFrame | None:
    """Read ``intervals.csv``, indexed by class and metric; None where there is none."""
    path = folder / "intervals.csv"
    if not path.is_file():
        return None
    table = pd.read_csv(path, keep_default_na=False, na_values=[""], converters={"class": restore})
    return table.set_index(["class", "metric"])


def bound_headline(predictions: Predictions, settings: Bootstrap) -> pd.DataFrame | None:
    """Return the table of `ecgcls.evaluation.intervals.bootstrap`, quickly; None where all records are of one patient.

    Patients are drawn only if a metric of short tables needs it, as none does with the score method and most classes:
    other metrics then have no interval.
    """
    if len(set(predictions.patient_id.tolist())) < 2:
        return None
    shown, always = (
        {metric.key for metric in overall_metrics(names, headline=True)} for names in (predictions.class_names, ())
    )
    more = {name: getattr(predictions, name) for name in ("y_pred", "y_logit", "fold")}
    arrays = predictions.y_true, predictions.y_prob, predictions.patient_id
    is_resampled = settings.method != "score" or not shown <= always
    return bootstrap(*arrays, predictions.class_names, **more, settings=settings, is_resampled=is_resampled)


def nest(table: pd.DataFrame) -> dict[str, Any]:
    """Return a table by class and metric as nested plain values for JSON, nan as None."""
    plain = table.astype(object).where(table.notna(), None)
    return {str(name): rows.droplevel(0).to_dict("index") for name, rows in plain.groupby(level=0, sort=False)}


def _add_restated(scores: Scores, stated: Mapping[str, float]) -> pd.DataFrame:
    """Add the predictive values at a stated prevalence to the table of classes."""
    table = scores.by_class
    if not stated:
        return table
    at = np.array([stated.get(str(name), np.nan) for name in table.index])
    ppv, npv = restate_predictive_values(table["sensitivity"], table["specificity"], at)
    return table.assign(stated_prevalence=at, precision_at_stated=ppv, npv_at_stated=npv)


def _write_confusions(folder: Path, predictions: Predictions, *, title: str) -> dict[str, float]:
    """Write which class is taken for which, and return accuracy, balanced accuracy and kappa."""
    counts = count_confusions(predictions)
    write_atomically(folder / "confusion_matrix.csv", encode_csv(counts))
    save_figure(draw_confusions(counts, title=title), folder / "figures" / "confusion_matrix.png")
    return {name: value for name, value in summarize_confusions(counts).items() if value == value}


def _warn_of_unknown(predictions: Predictions) -> None:
    """Say how many labels were left out because nobody annotated them."""
    counts = dict(zip(predictions.class_names, predictions.n_unknown.tolist(), strict=True))
    if found := [f"{printable(name)} {count}" for name, count in counts.items() if count]:
        n_records = len(predictions)
        log.warning("Not annotated, left out of their class's numbers: %s of %d records", ", ".join(found), n_records)


def _warn_of_ties(predictions: Predictions) -> None:
    """Name the classes whose records are all ranked alike, or half of them because their probability rounded to 1."""
    found = []
    for name, truth, score in zip(predictions.class_names, predictions.y_true.T, predictions.y_score.T, strict=True):
        known = score[truth != UNKNOWN]
        is_rounded = predictions.y_logit is None and 2 * (known == 1).sum() >= len(known)
        if len(known) > 1 and (np.ptp(known) == 0 or is_rounded):
            found.append(printable(name))
    if found:
        log.warning(
            "Nothing ranks the records of %s: the probabilities of all are the same number, or of half of them 1. A "
            "constant baseline is so by design; of a net, keep the logits (columns y_logit_<CLASS>, values=logits)",
            ", ".join(found),
        )


def _write_subgroups(
    folder: Path, predictions: Predictions, groups: pd.DataFrame, *, settings: EvaluationSettings, title: str
) -> None:
    """Score each subgroup, say which is worse than the rest, and draw those that are large enough."""
    log.info("Subgroups: %s", ", ".join(map(str, groups.columns)))
    table = score_subgroups(predictions, groups, settings=settings.subgroups, intervals=settings.intervals)
    cells = [(column, name) for column in groups for name in order_groups(groups[column])]
    order = {cell: n for n, cell in enumerate(cells)}
    of_rows = pd.MultiIndex.from_frame(table[["grouping", "group"]])
    table = table.iloc[np.argsort([order[cell] for cell in of_rows], kind="stable")]
    write_atomically(folder / "subgroups.csv", encode_csv(table, index=False))
    if text := describe_worst(table, {}, settings.intervals):
        log.info("Subgroups: %s", text)
    drawn = table.loc[(table["class"] == OVERALL) & (table["metric"] == "roc_auc"), "value"]
    if text and drawn.notna().any():
        save_figure(draw_subgroups(table, title=title), folder / "figures" / "subgroups.png")


def _write_intervals(path: Path, predictions: Predictions, settings: Bootstrap) -> pd.DataFrame | None:
    """Write and return the interval of every metric; None where there is but one patient."""
    n_patients = len(set(predictions.patient_id.tolist()))
    if n_patients < 2:
        log.warning("No intervals: all records are of one patient")
        return None
    log.info("Intervals (%s, %d resamples) of %d patients", settings.method, settings.n_resamples, n_patients)
    arrays = predictions.y_true, predictions.y_prob, predictions.patient_id
    more = {name: getattr(predictions, name) for name in ("y_pred", "y_logit", "fold")}
    table = bootstrap(*arrays, predictions.class_names, **more, settings=settings)
    outside = table.index[~table["contains_value"] & table["low"].notna()]
    if len(outside):
        log.warning("Intervals that do not contain their own value: %s", ", ".join(map(" ".join, outside)))
    if predictions.fold is not None:
        pooled = score_predictions(predictions.merge_folds())
        rows: dict[Any, dict[Any, float]] = {OVERALL: pooled.overall, **pooled.by_class.to_dict("index")}
        table["pooled"] = [rows[name][key] for name, key in table.index]
    write_atomically(path, encode_csv(table.assign(**settings.describe())))
    return table


def _nest_supported(intervals: pd.DataFrame) -> dict[str, Any]:
    """Return the macro means over the classes with enough patients, by metric."""
    columns = {"supported_value": "value", "supported_low": "low", "supported_high": "high", "n_supported": "n_classes"}
    macros = intervals[intervals["n_supported"].notna()][list(columns)].rename(columns=columns)
    of_class = intervals.xs("pr_auc", level="metric").drop(index=OVERALL)
    n_positive = int(of_class.loc[of_class["is_supported"], "n_positive"].sum())
    return nest(macros.astype({"n_classes": int}).assign(n_positive=n_positive)).get(OVERALL, {})


def write_confusion_matrices(
    folder: Path, predictions: Predictions, *, threshold: float | Sequence[float] | None = None, title: str
) -> dict[str, Path]:
    """Draw each class into ``confusion_matrix_<CLASS>.png``, named as by `ecgcls.files.name_files`."""
    thresholds = score_predictions(predictions, threshold=threshold).threshold_by_class
    names = name_files(predictions.class_names).items()
    paths = {class_name: folder / f"confusion_matrix_{name}.png" for class_name, name in names}
    for name, path in paths.items():
        save_figure(draw_confusion_matrix(predictions, name, threshold=thresholds.get(name), title=title), path)
    return paths
