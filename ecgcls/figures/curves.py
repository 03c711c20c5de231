"""Curves: training, precision-recall, ROC and reliability, one curve per class in one pair of axes.

Classes keep the order of `Predictions.class_names`. An undefined class (no positive or no negative record) is named in
the legend and never drawn. The records of several folds are drawn ranked together; the legend has the areas of these
curves, the title says which is their macro mean and which the mean over the folds.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from ecgcls.errors import DataError
from ecgcls.evaluation.calibration import format_line, measure_calibration, reliability_curve
from ecgcls.evaluation.metrics import Scores, score_predictions
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.smooth_calibration import smooth_curves
from ecgcls.figures.style import DASHES, FEW_CLASSES, add_grid, finish_figure, new_figure, show_verbatim, style_class

_HISTOGRAM_EDGES = np.linspace(0.0, 1.0, 21)
_METRICS = {
    "val/pr_auc": "PR-AUC (macro)",
    "val/roc_auc": "ROC-AUC (macro)",
    "val/f1_macro": "F1 (macro)",
    "val/f1_micro": "F1 (micro)",
}
_LOSSES = {"train/loss": "training", "val/loss": "validation"}


def draw_training_curves(history: pd.DataFrame, *, best_epoch: int | None, title: str) -> Figure:
    """Draw the losses and the validation metrics over the epochs.

    A row of the history has an `epoch` and any of `train/loss`, `val/loss`, `val/pr_auc`, `val/roc_auc`, `val/f1_macro`
    and `val/f1_micro`; a nan leaves a gap. The epoch of the best checkpoint is marked, if there is one. The table
    and `best_epoch` count from 0, the figure from 1, as the screen does.
    """
    _check_history(history, best_epoch)
    history = history.sort_values("epoch")
    figure = new_figure(10.0, 4.8)
    losses, metrics = figure.subplots(1, 2)
    _draw_columns(losses, history, _LOSSES, best_epoch)
    _draw_columns(metrics, history, _METRICS, best_epoch)
    losses.set_ylabel("Loss (mean over records and classes)")
    metrics.set_ylabel("Validation metric (0 to 1)")
    highest = history.reindex(columns=list(_LOSSES)).max().max()  # nan where no loss was recorded
    if np.isfinite(highest) and highest > 0:
        losses.set_ylim(0.0, 1.08 * highest)
    return finish_figure(figure, title)


def draw_pr_curves(predictions: Predictions, *, title: str) -> Figure:
    """Draw a precision-recall curve for each class.

    The curve is the step function whose area is the average precision. A class's prevalence, the precision of an
    uninformative model, is the faint dotted line of the same color.
    """
    scores = score_predictions(predictions.merge_folds())
    figure, axes = _new_curve_figure(len(predictions.class_names), is_pooled=predictions.fold is not None)
    handles: list[Line2D] = []
    for _, name, row, style in _list_classes(scores, handles):
        known = predictions.annotated(name)
        precision, recall, _ = precision_recall_curve(known.y_true[:, 0], known.y_score[:, 0], drop_intermediate=True)
        label = f"{name}  AP {row.pr_auc:.2f} (n+ = {row.n_positive:.0f})"
        faint = {"linestyle": ":", "linewidth": 0.9, "alpha": 0.5 * style["alpha"], "zorder": 1}
        axes.axhline(row.prevalence, color=style["color"], **faint)
        handles += axes.plot(recall, precision, drawstyle="steps-post", label=label, **style)
    axes.set(xlabel="Recall (sensitivity)", ylabel="Precision (positive predictive value)")
    axes.set_title(f"{title}\n{_format_macro('average precision', 'pr_auc', scores, predictions)}", parse_math=False)
    handles.append(Line2D([], [], color="0.4", linestyle=":", linewidth=0.8, label="prevalence, in the class's color"))
    _add_legend(figure, axes, handles)
    return figure


def draw_roc_curves(predictions: Predictions, *, title: str) -> Figure:
    """Draw a ROC curve for each class, and the diagonal of an uninformative model."""
    scores = score_predictions(predictions.merge_folds())
    figure, axes = _new_curve_figure(len(predictions.class_names), is_pooled=predictions.fold is not None)
    handles: list[Line2D] = []
    for _, name, row, style in _list_classes(scores, handles):
        known = predictions.annotated(name)
        fpr, tpr, _ = roc_curve(known.y_true[:, 0], known.y_score[:, 0])
        label = f"{name}  AUC {row.roc_auc:.2f} (n+ = {row.n_positive:.0f})"
        handles += axes.plot(fpr, tpr, label=label, **style)
    chance = axes.plot([0, 1], [0, 1], color="0.4", linestyle=":", linewidth=1.0, label="chance", zorder=1)
    axes.set(xlabel="False positive rate (1 \N{MINUS SIGN} specificity)", ylabel="True positive rate (sensitivity)")
    axes.set_title(f"{title}\n{_format_macro('ROC-AUC', 'roc_auc', scores, predictions)}", parse_math=False)
    _add_legend(figure, axes, [*handles, *chance])
    return figure


def draw_reliability_curves(predictions: Predictions, *, title: str, level: float = 0.95) -> Figure:
    """Draw for each class how often it is true against its predicted probability.

    Points are the equal-mass bins of `calibration.reliability_curve`, with the 95% Wilson interval of their fraction of
    positive records as a faint vertical line. The curve is that of `smooth_calibration`, its band holds the whole curve
    with the confidence `level`; where a class has none, and for more than 12 classes, the curve joins the bins, without
    intervals. The lower panel counts the records by predicted probability in twenty bins of equal width; its scale is
    linear from 0 to 1 and logarithmic above.
    """
    names = predictions.class_names
    scores = score_predictions(predictions.merge_folds())
    bins = reliability_curve(predictions.y_true, predictions.y_prob, names)
    few = len(names) <= FEW_CLASSES
    arrays: dict[str, Any] = {"y_logit": predictions.y_logit, "level": level}
    of_all = predictions.y_true, predictions.y_prob
    smooth = smooth_curves(*of_all, predictions.patient_id, names, **arrays) if few else pd.DataFrame({"class": []})
    measured = measure_calibration(*of_all, names, patient_id=predictions.patient_id, **arrays) if few else None
    figure, axes = _new_curve_figure(len(names), below=1.3)
    histogram = _add_lower_panel(figure, axes, height_inch=1.1)
    marker: dict[str, Any] = {"marker": "o", "markersize": 4.0 if few else 2.0}
    handles: list[Any] = []
    for _, name, row, style in _list_classes(scores, handles):
        curve = bins[bins["class"] == name]
        label = f"{name}  (n+ = {row.n_positive:.0f})"
        if measured is not None:
            label = f"{label}  {format_line(measured.loc[name], ', ')}"
        of_class = smooth[smooth["class"] == name]
        joined = style if of_class.empty else {**style, "linestyle": "none"}
        axes.plot(curve["mean_prob"], curve["share_positive"], label=label, **marker, **joined)
        handles.append(Line2D([], [], label=label, **marker, **style))
        if few:
            axes.plot(of_class["prob"], of_class["share_positive"], **style)
            band = of_class["low_everywhere"], of_class["high_everywhere"]
            axes.fill_between(of_class["prob"], *band, color=style["color"], alpha=0.1, linewidth=0, zorder=0)
            faint = {"color": style["color"], "linewidth": 1.0, "alpha": 0.35, "zorder": 1}
            axes.vlines(curve["mean_prob"], curve["share_low"], curve["share_high"], **faint)
        counts, _ = np.histogram(predictions.annotated(name).y_prob, _HISTOGRAM_EDGES)
        style["linewidth"] *= 0.7
        histogram.stairs(counts, _HISTOGRAM_EDGES, baseline=None, **style)
    handles += axes.plot([0, 1], [0, 1], color="0.4", linestyle=":", label="perfect calibration", zorder=1)
    bar: dict[str, Any] = {"color": "0.4", "alpha": 0.5, "marker": "|", "markersize": 12} if few else {}
    what = "a bin's 95% Wilson interval" if few else f"no intervals (more than {FEW_CLASSES} classes)"
    handles.append(Line2D([], [], linestyle="none", label=what, **bar))
    if few:
        handles.append(Patch(color="0.4", alpha=0.25, linewidth=0, label=f"{100 * level:g}% band of the whole curve"))
    axes.set(ylabel="Fraction of positive records")
    histogram.set_ylim(bottom=-0.15)
    n_most = bins.groupby("class")["bin"].count().max()
    axes.set_title(f"{title}\n{len(predictions)} records; at most {n_most} equal-mass bins per class", parse_math=False)
    _add_legend(figure, axes, handles)
    return figure


def _new_curve_figure(n_classes: int, *, below: float = 0.0, is_pooled: bool = False) -> tuple[Figure, Axes]:
    """Create a figure with square axes, and so many free inches below them; pooled folds need a line more above."""
    side = 4.8 if n_classes <= FEW_CLASSES else 6.0 if n_classes <= 30 else 7.2
    left, bottom, top = 0.7, 0.6 + below, 0.9 if is_pooled else 0.65  # inch
    width, height = left + side + 0.15, bottom + side + top
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    add_grid(axes)
    return figure, axes


def _add_lower_panel(figure: Figure, axes: Axes, *, height_inch: float) -> Axes:
    """Add axes at the bottom of the figure that count records over the same x."""
    box, height = axes.get_position(), figure.get_figheight()
    panel = figure.add_axes((box.x0, 0.55 / height, box.width, height_inch / height), sharex=axes)
    panel.set(xlabel="Predicted probability", ylabel="Records (log scale)")
    panel.tick_params(axis="y", labelsize=8)
    panel.set_yscale("symlog", linthresh=1.0)
    panel.yaxis.set_major_formatter(lambda count, _: f"{count / 1000:g}k" if count >= 1000 else f"{count:g}")
    axes.tick_params(labelbottom=False)
    add_grid(panel)
    return panel


def _list_classes(scores: Scores, handles: list[Line2D]) -> Iterator[tuple[int, str, pd.Series, dict[str, Any]]]:
    """Yield number, name, row and style of each defined class; the others go straight to the legend's handles."""
    for number, (name, row) in enumerate(scores.by_class.iterrows()):
        if str(name) in scores.undefined:
            label = f"{name}  undefined: {scores.undefined[str(name)]}"
            handles.append(Line2D([], [], linestyle="none", label=label))
        else:
            yield number, str(name), row, style_class(number, len(scores.by_class))


def _add_legend(figure: Figure, axes: Axes, handles: Sequence[Artist]) -> None:
    """Put the legend to the right of the axes and widen the figure by its width; the axes keep their size."""
    width, height = figure.get_size_inches()
    side = axes.get_position().height * height
    legend = axes.legend(
        handles=list(handles),
        title="n+: number of positive records",
        title_fontsize=9,
        alignment="left",
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        ncols=math.ceil(len(handles) / (5.2 * side - 1)),  # an entry is 0.19 inch high
        fontsize=9,
        frameon=False,
        handlelength=3.4,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
    show_verbatim(legend)
    wider = legend.get_window_extent().x1 / figure.dpi + 0.1
    figure.set_size_inches(wider, height)
    for each in figure.axes:
        box = each.get_position()
        each.set_position((box.x0 * width / wider, box.y0, box.width * width / wider, box.height))


def _format_macro(what: str, key: str, drawn: Scores, predictions: Predictions) -> str:
    """Return the title's macro mean; of several folds the mean over these, and below it that of the drawn curves."""
    overall = score_predictions(predictions).overall
    n_defined, n_classes = overall["n_defined_classes"], overall["n_classes"]
    if not n_defined:
        return f"macro {what} undefined for all {n_classes} classes"
    text = f"macro {what} {overall[key]:.3f} over {n_defined} of {n_classes} classes"
    if predictions.fold is None:
        return text
    return f"{text}, mean of folds\ndrawn: all folds ranked together, macro {what} {drawn.overall[key]:.3f}"


def _check_history(history: pd.DataFrame, best_epoch: int | None) -> None:
    if "epoch" not in history.columns:
        raise DataError(f"the history must have a column 'epoch', got {', '.join(map(str, history.columns))}")
    epochs = history["epoch"]
    if epochs.empty:
        raise DataError("the history has no epoch to draw")
    if epochs.isna().any() or epochs.duplicated().any():
        raise DataError(f"the history must have one row per epoch, got epochs {epochs.tolist()}")
    if not {*_LOSSES, *_METRICS} & set(history.columns):
        raise DataError(f"the history has nothing to draw, expected any of {', '.join([*_LOSSES, *_METRICS])}")
    if best_epoch is not None and best_epoch not in set(epochs):
        raise DataError(f"best_epoch must be in {epochs.min():g}..{epochs.max():g}, got {best_epoch}")


def _draw_columns(axes: Axes, history: pd.DataFrame, names: dict[str, str], best_epoch: int | None) -> None:
    for number, (column, label) in enumerate(names.items()):
        if column in history.columns:
            style = {**style_class(number, len(names)), "linestyle": DASHES[number]}
            axes.plot(history["epoch"] + 1, history[column], marker="o", markersize=3.5, label=label, **style)
    if not axes.lines:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color="0.4")
    if best_epoch is not None:
        style = {"color": "0.4", "linestyle": ":", "linewidth": 1.2}
        axes.axvline(best_epoch + 1, label=f"best checkpoint (epoch {best_epoch + 1})", **style)
    axes.set_xlabel("Epoch")
    axes.set_xlim(history["epoch"].min() + 0.5, history["epoch"].max() + 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    add_grid(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13))
