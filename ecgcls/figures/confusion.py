"""Confusion matrices, 2 x 2 per class: rows are the truth, columns the prediction."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ecgcls.errors import ConfigError
from ecgcls.evaluation.metrics import Scores, score
from ecgcls.evaluation.predictions import Predictions
from ecgcls.figures.style import choose_grid, fix_layout, new_figure


def draw_confusion_matrices(
    predictions: Predictions, *, threshold: float | Sequence[float] | None = None, title: str
) -> Figure:
    """Draw a 2 x 2 confusion matrix for each class: rows are the truth, columns the prediction.

    Each cell gives the count and its share of the row, so the diagonal reads specificity and sensitivity; the
    colour is that share. A row without a record has no share.

    Parameters
    ----------
    predictions
        The records of one split.
    threshold
        In [0, 1], one for all or one a class; a record is predicted positive where `y_prob >= threshold`. None: where
        `y_pred` says so.
    title
        Stands above the grid.
    """
    scores = _score(predictions, threshold)
    n_classes = len(scores.by_class)
    thresholds = scores.threshold_by_class
    same = len(set(thresholds.values())) <= 1
    n_rows, n_columns = choose_grid(n_classes)
    figure = new_figure(1.45 * n_columns + 1.4, (1.6 if same else 1.75) * n_rows + 0.9)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes in grid.flat[n_classes:]:
        axes.set_axis_off()
    drawn = grid.flat[:n_classes]
    for number, (axes, (name, row)) in enumerate(zip(drawn, scores.by_class.iterrows(), strict=True)):
        counts = np.array([[row.tn, row.fp], [row.fn, row.tp]], dtype=np.int64)  # (truth, prediction)
        _draw_matrix(axes, counts)
        heading = str(name) if same else f"{name}\n(threshold {thresholds[str(name)]:.3g})"
        axes.set_title(heading, fontsize=9, parse_math=False)
        axes.set_yticks([0, 1], ["no", "yes"] if number % n_columns == 0 else ["", ""], fontsize=8)
        lowest = number + n_columns >= n_classes
        axes.set_xticks([0, 1], ["no", "yes"] if lowest else ["", ""], fontsize=8)
    _add_share_bar(figure, grid, shrink=min(1, 3 / n_rows))
    least = f"{next(iter(thresholds.values())):g}" if same and thresholds else "the threshold"
    of_fold = "" if thresholds else " of its fold"
    figure.supxlabel(f"Predicted (probability at least {least}{of_fold})", fontsize=10)
    figure.supylabel("True", fontsize=10)
    figure.suptitle(title, fontsize=12, parse_math=False)
    fix_layout(figure)
    return figure


def draw_confusion_matrix(
    predictions: Predictions, class_name: str, *, threshold: float | None = None, title: str
) -> Figure:
    """Draw the 2 x 2 confusion matrix of one class, and below it what follows from its counts.

    The matrix is that of `draw_confusion_matrices`, larger. Below it stand sensitivity, specificity and the positive
    and negative predictive value (PPV, NPV); one whose denominator is 0 is called undefined.

    Parameters
    ----------
    predictions
        The records of one split.
    class_name
        One of `predictions.class_names`.
    threshold
        In [0, 1]; a record is predicted positive where `y_prob >= threshold`. None: where `y_pred` says so.
    title
        Stands above the matrix, after the class.

    Raises
    ------
    ConfigError
        There is no such class, or `threshold` is out of its range.
    """
    if class_name not in predictions.class_names:
        raise ConfigError(f"class_name must be one of {', '.join(predictions.class_names)}, got {class_name!r}")
    column = [predictions.class_names.index(class_name)]
    y_true, y_prob = predictions.y_true[:, column], predictions.y_prob[:, column]
    if threshold is None:
        scores = score(y_true, y_prob, [class_name], y_pred=predictions.y_pred[:, column])
    else:
        scores = score(y_true, y_prob, [class_name], threshold=threshold)
    row = scores.by_class.loc[class_name].to_dict()
    heading = f"{class_name}\n{textwrap.fill(title, 55)}"
    figure = new_figure(5.0, 4.4 + 0.2 * heading.count("\n"))
    axes = figure.subplots()
    _draw_matrix(axes, np.array([[row["tn"], row["fp"]], [row["fn"], row["tp"]]], dtype=np.int64), fontsize=13)
    axes.set_xticks([0, 1], ["no", "yes"], fontsize=11)
    axes.set_yticks([0, 1], ["no", "yes"], fontsize=11)
    least = "the threshold of its fold" if threshold is None else f"{threshold:.3g}"
    axes.set_xlabel(f"Predicted (probability at least {least})", fontsize=11)
    axes.set_ylabel("True", fontsize=11)
    _add_share_bar(figure, axes, shrink=0.75)
    labels = {"sensitivity": "sensitivity", "specificity": "specificity", "precision": "PPV", "npv": "NPV"}
    rates = "   ".join(f"{label} {_say_rate(row[name])}" for name, label in labels.items())
    figure.supxlabel(rates, fontsize=10)
    figure.suptitle(heading, fontsize=11, parse_math=False)
    fix_layout(figure)
    return figure


def _score(predictions: Predictions, threshold: float | Sequence[float] | None) -> Scores:
    names = predictions.class_names
    if threshold is None:
        return score(predictions.y_true, predictions.y_prob, names, y_pred=predictions.y_pred)
    return score(predictions.y_true, predictions.y_prob, names, threshold=threshold)


def _draw_matrix(axes: Axes, counts: np.ndarray, *, fontsize: float = 8) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full((2, 2), np.nan), where=totals > 0)
    axes.imshow(shares, cmap=colormaps["Blues"].with_extremes(bad="0.93"), vmin=0.0, vmax=1.0)
    axes.axhline(0.5, color="white", linewidth=1.5)
    axes.axvline(0.5, color="white", linewidth=1.5)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        text = f"{count}\n{share:.1%}" if np.isfinite(share) else f"{count}\nno share"
        axes.text(column, row, text, ha="center", va="center", fontsize=fontsize, color=_text_color(share))
    axes.tick_params(length=0)


def _add_share_bar(figure: Figure, axes: Axes | np.ndarray, *, shrink: float) -> None:
    shading = ScalarMappable(cmap="Blues")
    shading.set_clim(0.0, 1.0)
    bar = figure.colorbar(shading, ax=axes, format=PercentFormatter(1.0), pad=0.01, aspect=25, shrink=shrink)
    bar.set_label("Share of the row", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _say_rate(rate: float) -> str:
    return f"{rate:.3f}" if np.isfinite(rate) else "undefined"


def _text_color(share: float) -> str:
    return "white" if share > 0.55 else "black"
