"""Curves: training, precision-recall, ROC and reliability, a curve per class in one pair of axes.

Classes keep the order of `Predictions.class_names`. An undefined class (no positive or no negative record) is named in
the legend, and never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from ecgcls.errors import DataError
from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.evaluation.metrics import Scores, score
from ecgcls.evaluation.predictions import Predictions
from ecgcls.figures.style import DASHES, DPI, FEW_CLASSES, fix_layout, new_figure, style_class

_HISTOGRAM_BORDERS = np.linspace(0.0, 1.0, 21)
_METRICS = {
    "val/pr_auc": "PR-AUC (macro)",
    "val/roc_auc": "ROC-AUC (macro)",
    "val/f1_macro": "F1 (macro)",
    "val/f1_micro": "F1 (micro)",
}
_LOSSES = {"train/loss": "training", "val/loss": "validation"}


def draw_training_curves(history: pd.DataFrame, *, best_epoch: int | None, title: str) -> Figure:
    """Draw the losses and the validation metrics over the epochs.

    Parameters
    ----------
    history
        One row an epoch: `epoch`, and any of `train/loss`, `val/loss`, `val/pr_auc`, `val/roc_auc`,
        `val/f1_macro`, `val/f1_micro`; a nan leaves a gap.
    best_epoch
        The epoch of the best checkpoint, marked in both panels; None marks none.
    title
        Stands above both panels.

    Raises
    ------
    DataError
        There is no epoch, an epoch is twice there, nothing is there to draw, or `best_epoch` is not among the
        epochs.
    """
    _check_history(history, best_epoch)
    history = history.sort_values("epoch")
    figure = new_figure(10.0, 4.8)
    losses, metrics = figure.subplots(1, 2)
    _draw_columns(losses, history, _LOSSES, best_epoch)
    _draw_columns(metrics, history, _METRICS, best_epoch)
    losses.set(ylabel="Loss (mean over records and classes)")
    metrics.set(ylabel="Validation metric (0 to 1)")
    figure.suptitle(title, fontsize=12, parse_math=False)
    highest = history.reindex(columns=list(_LOSSES)).max().max()  # nan where no loss was recorded
    if np.isfinite(highest) and highest > 0:
        losses.set_ylim(0.0, 1.08 * highest)
    fix_layout(figure)
    return figure


def draw_pr_curves(predictions: Predictions, *, title: str) -> Figure:
    """Draw a precision-recall curve for each class.

    The curve is the step function whose area is the average precision. A class's prevalence, the precision of
    a model that knows nothing, is the faint dotted line of the same colour.

    Parameters
    ----------
    predictions
        The records of one split.
    title
        Stands above the axes, before the macro average precision.
    """
    scores = score(predictions.y_true, predictions.y_prob, predictions.class_names)
    figure, axes = _new_curve_figure(len(predictions.class_names))
    handles = []
    for number, (name, row) in enumerate(scores.by_class.iterrows()):
        if str(name) in scores.undefined:
            handles.append(_undefined_handle(str(name), scores.undefined[str(name)]))
            continue
        precision, recall, _ = precision_recall_curve(
            predictions.y_true[:, number], predictions.y_prob[:, number], drop_intermediate=True
        )
        style = style_class(number, len(scores.by_class))
        label = f"{name}  AP {row.pr_auc:.2f} (n+ = {row.n_positive:.0f})"
        faint = {"linestyle": ":", "linewidth": 0.9, "alpha": 0.5 * style["alpha"], "zorder": 1}
        axes.axhline(row.prevalence, color=style["color"], **faint)
        handles += axes.plot(recall, precision, drawstyle="steps-post", label=label, **style)
    axes.set(xlabel="Recall (sensitivity)", ylabel="Precision (positive predictive value)")
    axes.set_title(f"{title}\n{_say_macro('average precision', scores.overall['pr_auc'], scores)}", parse_math=False)
    prevalence = Line2D([], [], color="0.4", linestyle=":", linewidth=0.8, label="prevalence of the class")
    _add_legend(figure, axes, [*handles, prevalence])
    return figure


def draw_roc_curves(predictions: Predictions, *, title: str) -> Figure:
    """Draw a ROC curve for each class, and the diagonal of a model that knows nothing.

    Parameters
    ----------
    predictions
        The records of one split.
    title
        Stands above the axes, before the macro ROC-AUC.
    """
    scores = score(predictions.y_true, predictions.y_prob, predictions.class_names)
    figure, axes = _new_curve_figure(len(predictions.class_names))
    handles = []
    for number, (name, row) in enumerate(scores.by_class.iterrows()):
        if str(name) in scores.undefined:
            handles.append(_undefined_handle(str(name), scores.undefined[str(name)]))
            continue
        fpr, tpr, _ = roc_curve(predictions.y_true[:, number], predictions.y_prob[:, number])
        label = f"{name}  AUC {row.roc_auc:.2f} (n+ = {row.n_positive:.0f})"
        handles += axes.plot(fpr, tpr, label=label, **style_class(number, len(scores.by_class)))
    chance = axes.plot([0, 1], [0, 1], color="0.4", linestyle=":", linewidth=1.0, label="chance", zorder=1)
    axes.set(xlabel="False positive rate (1 - specificity)", ylabel="True positive rate (sensitivity)")
    axes.set_title(f"{title}\n{_say_macro('ROC-AUC', scores.overall['roc_auc'], scores)}", parse_math=False)
    _add_legend(figure, axes, [*handles, *chance])
    return figure


def draw_reliability_curves(predictions: Predictions, *, title: str) -> Figure:
    """Draw for each class how often it is true against the probability that it was given.

    The curve joins the bins of equal mass of `calibration.reliability_curve`: their mean probability and their
    share of positive records, with its 95 % Wilson interval as a faint upright line (left out for more than 12
    classes, which the legend says). The lower panel counts the records by predicted probability in twenty bins of
    equal width; from 1 on its scale is logarithmic, and 0 is its ground.

    Parameters
    ----------
    predictions
        The records of one split.
    title
        Stands above the axes, before the number of records.
    """
    names, n_records = predictions.class_names, len(predictions)
    scores = score(predictions.y_true, predictions.y_prob, names)
    bins = reliability_curve(predictions.y_true, predictions.y_prob, names)
    few = len(names) <= FEW_CLASSES
    figure, axes = _new_curve_figure(len(names), below=1.3)
    histogram = _add_lower_panel(figure, axes, height_inch=1.1)
    marker: dict[str, Any] = {"marker": "o", "markersize": 4.0 if few else 2.0}
    handles = []
    for number, (name, row) in enumerate(scores.by_class.iterrows()):
        if str(name) in scores.undefined:
            handles.append(_undefined_handle(str(name), scores.undefined[str(name)]))
            continue
        style = style_class(number, len(names))
        curve = bins[bins["class"] == name]
        label = f"{name}  (n+ = {row.n_positive:.0f})"
        handles += axes.plot(curve["mean_prob"], curve["share_positive"], label=label, **marker, **style)
        if few:
            faint = {"color": style["color"], "linewidth": 1.0, "alpha": 0.35, "zorder": 1}
            axes.vlines(curve["mean_prob"], curve["share_low"], curve["share_high"], **faint)
        counts, _ = np.histogram(predictions.y_prob[:, number], _HISTOGRAM_BORDERS)
        style["linewidth"] *= 0.7
        histogram.stairs(counts, _HISTOGRAM_BORDERS, baseline=None, **style)
    handles += axes.plot([0, 1], [0, 1], color="0.4", linestyle=":", label="perfect calibration", zorder=1)
    handles.append(_interval_handle(len(names)))
    axes.set(ylabel="Share of positive records")
    histogram.set_ylim(bottom=-0.15)
    n_most = bins.groupby("class")["bin"].count().max()
    axes.set_title(f"{title}\n{n_records} records; bins of equal mass, at most {n_most} a class", parse_math=False)
    _add_legend(figure, axes, handles)
    return figure


def _new_curve_figure(n_classes: int, *, below: float = 0.0) -> tuple[Figure, Axes]:
    """Make a figure with square axes, and below them as many free inches as are asked for."""
    figure = Figure(dpi=DPI)
    FigureCanvasAgg(figure)
    side = 4.8 if n_classes <= FEW_CLASSES else 6.0 if n_classes <= 30 else 7.2
    left, bottom, top = 0.7, 0.6 + below, 0.65  # inch
    figure.set_size_inches(left + side + 0.15, bottom + side + top)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _add_lower_panel(figure: Figure, axes: Axes, *, height_inch: float) -> Axes:
    """Add axes at the foot of the figure that count records over the same x; 0 to 1 is linear, beyond logarithmic."""
    box, height = axes.get_position(), figure.get_figheight()
    panel = figure.add_axes((box.x0, 0.55 / height, box.width, height_inch / height), sharex=axes)
    panel.set(xlabel="Predicted probability", ylabel="Records")
    panel.tick_params(axis="y", labelsize=8)
    panel.set_yscale("symlog", linthresh=1.0)
    panel.yaxis.set_major_formatter(lambda count, _: f"{count / 1000:g}k" if count >= 1000 else f"{count:g}")
    axes.tick_params(labelbottom=False)
    panel.grid(color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    return panel


def _undefined_handle(name: str, reason: str) -> Line2D:
    return Line2D([], [], linestyle="none", label=f"{name}  undefined: {reason}")


def _interval_handle(n_classes: int) -> Line2D:
    if n_classes > FEW_CLASSES:
        return Line2D([], [], linestyle="none", label=f"no intervals (more than {FEW_CLASSES} classes)")
    bar: dict[str, Any] = {"color": "0.4", "alpha": 0.5, "linestyle": "none", "marker": "|", "markersize": 12}
    return Line2D([], [], label="95 % Wilson interval", **bar)


def _add_legend(figure: Figure, axes: Axes, handles: Sequence[Line2D]) -> None:
    """Put the legend right of the axes and widen the figure by what it takes; no axes become wider."""
    width, height = figure.get_size_inches()
    side = axes.get_position().height * height
    legend = axes.legend(
        handles=list(handles),
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        ncols=math.ceil(len(handles) / (5.2 * side)),  # an entry is 0.19 inch high
        fontsize=9,
        frameon=False,
        handlelength=3.4,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    wider = legend.get_window_extent().x1 / figure.dpi + 0.1
    figure.set_size_inches(wider, height)
    for each in figure.axes:
        box = each.get_position()
        each.set_position((box.x0 * width / wider, box.y0, box.width * width / wider, box.height))


def _say_macro(what: str, value: float, scores: Scores) -> str:
    n_defined, n_classes = scores.overall["n_defined_classes"], scores.overall["n_classes"]
    if not n_defined:
        return f"macro {what} undefined for all {n_classes} classes"
    return f"macro {what} {value:.3f} over {n_defined} of {n_classes} classes"


def _check_history(history: pd.DataFrame, best_epoch: int | None) -> None:
    if "epoch" not in history.columns:
        raise DataError(f"the history must have a column 'epoch', got {', '.join(map(str, history.columns))}")
    if history.empty:
        raise DataError("the history has no epoch to draw")
    epochs = history["epoch"]
    if epochs.isna().any() or epochs.duplicated().any():
        raise DataError(f"the history must have one row an epoch, got epochs {epochs.tolist()}")
    if not {*_LOSSES, *_METRICS} & set(history.columns):
        wanted = ", ".join([*_LOSSES, *_METRICS])
        raise DataError(f"the history has nothing to draw, expected any of {wanted}")
    if best_epoch is not None and best_epoch not in set(epochs):
        raise DataError(f"best_epoch must be in {epochs.min():g}..{epochs.max():g}, got {best_epoch}")


def _draw_columns(axes: Axes, history: pd.DataFrame, names: dict[str, str], best_epoch: int | None) -> None:
    for number, (column, label) in enumerate(names.items()):
        if column in history.columns:
            style = {**style_class(number, len(names)), "linestyle": DASHES[number]}
            axes.plot(history["epoch"], history[column], marker="o", markersize=3.5, label=label, **style)
    if not axes.lines:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color="0.4")
    if best_epoch is not None:
        axes.axvline(
            best_epoch,
            color="0.4",
            linestyle=":",
            linewidth=1.2,
            label=f"best checkpoint (epoch {best_epoch})",
        )
    axes.set_xlabel("Epoch")
    axes.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13))
