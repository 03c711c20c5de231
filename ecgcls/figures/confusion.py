"""Confusion matrices: rows are the actual class, columns the prediction.

One 2 x 2 matrix per class, and one of all classes where they exclude each other.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ecgcls.errors import ConfigError
from ecgcls.evaluation.exclusive import summarize_confusions
from ecgcls.evaluation.metrics import score
from ecgcls.evaluation.predictions import Predictions
from ecgcls.figures.style import choose_grid, finish_figure, new_figure

_SIDES = ("negative", "positive")
_RATES = {"sensitivity": "sensitivity", "specificity": "specificity", "precision": "PPV", "npv": "NPV"}


def draw_confusion_matrices(
    predictions: Predictions, *, threshold: float | Sequence[float] | None = None, title: str
) -> Figure:
    """Draw the confusion matrix of each class.

    Each cell gives the count and its percentage of the row, so the diagonal reads specificity and sensitivity; the
    color is that percentage. A row without a record has none.

    Parameters
    ----------
    threshold
        In [0, 1], one for all classes or one per class; a record is predicted positive where `y_prob >= threshold`.
        None: where `y_pred` is 1.
    """
    decided = {"y_pred": predictions.y_pred} if threshold is None else {"threshold": threshold}
    scores = score(predictions.y_true, predictions.y_prob, predictions.class_names, **decided)
    n_classes = len(scores.by_class)
    thresholds = scores.threshold_by_class
    same = len(set(thresholds.values())) <= 1
    n_rows, n_columns = choose_grid(n_classes)
    side, fontsize = (3.4, 13) if n_classes == 1 else (1.45, 8)  # inch of a panel, points
    figure = new_figure(side * n_columns + 1.4, (side + (0.15 if same else 0.3)) * n_rows + 0.9)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes in grid.flat[n_classes:]:
        axes.set_axis_off()
    for number, (axes, (name, row)) in enumerate(zip(grid.flat, scores.by_class.iterrows(), strict=False)):
        _draw_matrix(axes, row, fontsize=fontsize)
        heading = str(name) if same else f"{name}\n(threshold {thresholds[str(name)]:.3g})"
        axes.set_title(heading, fontsize=9, parse_math=False)
        is_leftmost, is_lowest = number % n_columns == 0, number + n_columns >= n_classes
        axes.set_yticks([0, 1], _SIDES if is_leftmost else ["", ""], fontsize=8, rotation=90, va="center")
        axes.set_xticks([0, 1], _SIDES if is_lowest else ["", ""], fontsize=8)
    _add_share_bar(figure, grid, shrink=0.75 if n_classes == 1 else min(1, 3 / n_rows))
    rule = "the threshold" if thresholds else "its fold's threshold"
    if thresholds and same:
        rule = f"{next(iter(thresholds.values())):g}"
    n_letters = int(72 * (side * n_columns + 0.4) / (0.55 * 10))
    label = textwrap.fill(f"Predicted (positive: probability at least {rule})", n_letters)
    figure.supxlabel(label, fontsize=10)
    figure.supylabel("Actual", fontsize=10)
    return finish_figure(figure, title)


def draw_confusion_matrix(
    predictions: Predictions, class_name: str, *, threshold: float | None = None, title: str
) -> Figure:
    """Draw the confusion matrix of one class, with the rates that follow from its counts.

    The matrix is that of `draw_confusion_matrices`, larger. Below it are sensitivity, specificity and the positive and
    negative predictive value (PPV, NPV); a rate whose denominator is 0 is undefined.
    """
    if class_name not in predictions.class_names:
        raise ConfigError(f"class_name must be one of {', '.join(predictions.class_names)}, got {class_name!r}")
    column = [predictions.class_names.index(class_name)]
    decided = {"y_pred": predictions.y_pred[:, column]} if threshold is None else {"threshold": threshold}
    scores = score(predictions.y_true[:, column], predictions.y_prob[:, column], [class_name], **decided)
    row = scores.by_class.iloc[0]
    figure = new_figure(5.0, 4.6)
    axes = figure.subplots()
    _draw_matrix(axes, row, fontsize=13)
    axes.set_xticks([0, 1], _SIDES, fontsize=11)
    axes.set_yticks([0, 1], _SIDES, fontsize=11, rotation=90, va="center")
    rule = "its fold's threshold" if threshold is None else f"{threshold:.3g}"
    axes.set_xlabel(f"Predicted (positive: probability at least {rule})", fontsize=11)
    axes.set_ylabel("Actual", fontsize=11)
    _add_share_bar(figure, axes, shrink=0.75)
    rates = [
        f"{label} {row[name]:.3f}" if np.isfinite(row[name]) else f"{label} undefined" for name, label in _RATES.items()
    ]
    figure.supxlabel("   ".join(rates), fontsize=10)
    return finish_figure(figure, f"{class_name}\n{title}")


def draw_confusions(counts: pd.DataFrame, *, title: str) -> Figure:
    """Draw the matrix of classes that exclude each other, as `ecgcls.evaluation.exclusive.count_confusions` gives it.

    Each cell gives the count, its color the percentage of its row.
    """
    n_classes = len(counts)
    matrix = counts.to_numpy()
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    side = 1.6 + 0.55 * n_classes
    figure = new_figure(side + 1.2, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap=colormaps["Blues"].with_extremes(bad="0.93"), vmin=0.0, vmax=1.0)
    for (i, j), count in np.ndenumerate(matrix):
        color = "white" if shares[i, j] > 0.55 else "black"
        axes.text(j, i, str(count), ha="center", va="center", fontsize=8 if n_classes < 30 else 5, color=color)
    names = [str(name) for name in counts.index]
    axes.set_xticks(range(n_classes), names, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(n_classes), names, fontsize=8, parse_math=False)
    axes.tick_params(length=0)
    axes.set(xlabel="Predicted (the highest probability)", ylabel="Actual")
    _add_share_bar(figure, axes, shrink=0.75)
    scores = summarize_confusions(counts)
    labels = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "kappa": "kappa"}
    figure.supxlabel("   ".join(f"{label} {scores[key]:.3f}" for key, label in labels.items()), fontsize=10)
    return finish_figure(figure, title)


def _draw_matrix(axes: Axes, row: pd.Series, *, fontsize: float) -> None:
    counts = np.array([[row["tn"], row["fp"]], [row["fn"], row["tp"]]], dtype=np.int64)  # (actual, predicted)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full((2, 2), np.nan), where=totals > 0)
    axes.imshow(shares, cmap=colormaps["Blues"].with_extremes(bad="0.93"), vmin=0.0, vmax=1.0)
    axes.axhline(0.5, color="white", linewidth=1.5)
    axes.axvline(0.5, color="white", linewidth=1.5)
    for (i, j), count in np.ndenumerate(counts):
        text = f"{count}\n{shares[i, j]:.1%}" if np.isfinite(shares[i, j]) else f"{count}\nno records"
        color = "white" if shares[i, j] > 0.55 else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize=fontsize, color=color)
    axes.tick_params(length=0)


def _add_share_bar(figure: Figure, axes: Axes | np.ndarray, *, shrink: float) -> None:
    shading = ScalarMappable(cmap="Blues")
    shading.set_clim(0.0, 1.0)
    bar = figure.colorbar(shading, ax=axes, format=PercentFormatter(1.0), pad=0.01, aspect=25, shrink=shrink)
    bar.set_label("Percentage of the row", fontsize=9)
    bar.ax.tick_params(labelsize=8)
