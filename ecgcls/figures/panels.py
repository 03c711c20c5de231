"""Figures with one panel per class, per kind of statement, or per searched setting."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from ecgcls.evaluation.calibration import format_line, measure_calibration, reliability_curve
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.smooth_calibration import smooth_curves
from ecgcls.figures.style import COLORS, add_grid, choose_grid, finish_figure, new_figure

_MODEL, _OTHER, _NEUTRAL = COLORS[0], COLORS[1], "0.35"


def draw_decision_curves(curves: pd.DataFrame, *, title: str) -> Figure:
    """Draw the table of `ecgcls.evaluation.thresholds.decision_curves`: net benefit against the threshold, by class."""
    names = list(dict.fromkeys(curves["class"]))
    figure, panels = _new_panels(names, height_inch=2.3)
    for axes, name in zip(panels, names, strict=True):
        of_class = curves[curves["class"] == name]
        at = of_class["threshold"]
        axes.plot(at, of_class["net_benefit"], color=_MODEL, linewidth=1.7, label="treat as the model predicts")
        axes.plot(at, of_class["treat_all"], color=_OTHER, linewidth=1.2, linestyle="--", label="treat all")
        axes.axhline(0, color=_NEUTRAL, linewidth=1.2, linestyle=":", label="treat none")
        highest = max(of_class["net_benefit"].max(), of_class["treat_all"].max(), 0.01)
        axes.set(xlim=(0, 1), ylim=(-0.15 * highest, 1.1 * highest))
    figure.supxlabel("Threshold probability", fontsize=10)
    figure.supylabel("Net benefit (true positives per record)", fontsize=10)
    return finish_figure(figure, title, handles=panels[0].get_legend_handles_labels()[0], place="right")


def draw_calibration(before: Predictions, after: Predictions, *, title: str, level: float = 0.95) -> Figure:
    """Draw each class's reliability before and after recalibration.

    Points are bins with equal numbers of records, their vertical lines 95% Wilson intervals; curves those of
    `smooth_calibration`, with the band that holds the whole curve after recalibration with the confidence `level`. A
    class without such a curve has its bins joined. Slope and O:E, in the corner, are of after. The diagonal is perfect
    calibration.
    """
    names = after.class_names
    figure, panels = _new_panels(names, height_inch=2.35)
    styles: tuple[dict[str, Any], ...] = (
        {"label": "before recalibration", "color": _OTHER, "marker": "s", "linestyle": "--"},
        {"label": "after recalibration", "color": _MODEL, "marker": "o", "linestyle": "-"},
    )
    for predictions, style in zip((before, after), styles, strict=True):
        arrays: dict[str, Any] = {"y_logit": predictions.y_logit, "level": level}
        smooth = smooth_curves(predictions.y_true, predictions.y_prob, predictions.patient_id, names, **arrays)
        bins = reliability_curve(predictions.y_true, predictions.y_prob, names)
        for axes, name in zip(panels, names, strict=True):
            curve, of_class = bins[bins["class"] == name], smooth[smooth["class"] == name]
            at = curve["mean_prob"]
            linestyle = style["linestyle"] if of_class.empty else "none"
            axes.plot(at, curve["share_positive"], markersize=3.5, **{**style, "label": None, "linestyle": linestyle})
            axes.vlines(at, curve["share_low"], curve["share_high"], color=style["color"], linewidth=1, alpha=0.45)
            axes.plot(of_class["prob"], of_class["share_positive"], **{**style, "label": None, "marker": ""})
            if predictions is after:
                band = of_class["low_everywhere"], of_class["high_everywhere"]
                axes.fill_between(of_class["prob"], *band, color=_MODEL, alpha=0.15, linewidth=0, zorder=0)
    arrays = {"y_logit": after.y_logit, "patient_id": after.patient_id, "level": level}
    measured = measure_calibration(after.y_true, after.y_prob, names, **arrays)
    for style in styles:
        panels[0].plot([], [], markersize=3.5, **style)
    for axes, name in zip(panels, names, strict=True):
        axes.plot([0, 1], [0, 1], color="0.4", linestyle=":", linewidth=1, label="perfect calibration", zorder=1)
        axes.vlines([], [], [], color="0.4", linewidth=1, alpha=0.6, label="a bin's 95% Wilson interval")
        axes.fill_between([], [], [], color=_MODEL, alpha=0.15, label=f"{100 * level:g}% band of the whole curve")
        text = format_line(measured.loc[name], "\n")
        axes.text(0.03, 0.97, text, fontsize=6.5, va="top", transform=axes.transAxes)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    figure.supxlabel("Mean predicted probability", fontsize=10)
    figure.supylabel("Fraction of positive records", fontsize=10)
    return finish_figure(figure, title, handles=panels[0].get_legend_handles_labels()[0], place="right")


def draw_likelihoods(likelihoods: pd.DataFrame) -> Figure:
    """Draw how often each likelihood is given: counts, one row per kind of statement, one column per percentage."""
    figure, panels = _new_panels([f"{kind} statements" for kind in likelihoods.index], height_inch=2.8)
    at = np.arange(likelihoods.shape[1])
    for axes, (_, row) in zip(panels, likelihoods.iterrows(), strict=True):
        bars = axes.bar(at, row, color=["0.6" if value == 0 else _MODEL for value in likelihoods.columns])
        axes.bar_label(bars, fontsize=7)
        axes.margins(y=0.1)
        axes.set_xticks(at, [f"{value:g}" for value in likelihoods.columns])
    figure.supxlabel("Likelihood (%)", fontsize=10)
    figure.supylabel("Number of statements", fontsize=10)
    handles = [Patch(color="0.6", label="0: unknown"), Patch(color=_MODEL, label="stated")]
    return finish_figure(figure, "Likelihoods of the statements", handles=handles, place="right")


def draw_search(trials: pd.DataFrame, searched: Sequence[str], *, objective: str) -> Figure:
    """Draw the objective by trial, with the best so far, and against each searched setting.

    A row of `trials` has the columns ``trial``, those `searched`, and the objective: the validation set's macro PR-AUC,
    nan where the trial failed.
    """
    done = trials.dropna(subset=[objective])
    figure = new_figure(3.6 * (1 + len(searched)), 3.9)
    panels = figure.subplots(1, 1 + len(searched), sharey=True, squeeze=False)[0]
    best = done.iloc[int(done[objective].to_numpy().argmax())]
    for panel, column in zip(panels, ("trial", *searched), strict=True):
        panel.scatter(done[column], done[objective], s=22, color=COLORS[0], label="trial")
        star = {"s": 110, "marker": "*", "color": COLORS[1], "zorder": 3}
        panel.scatter([best[column]], [best[objective]], label="best trial", **star)
        panel.set_xlabel(column.capitalize() if column == "trial" else column)
        panel.tick_params(labelsize=8)
        add_grid(panel)
        _scale_setting(panel, done[column])
    best_so_far = np.maximum.accumulate(done[objective])
    panels[0].step(done["trial"], best_so_far, where="post", color=COLORS[2], label="best so far")
    panels[0].set_ylabel("Validation PR-AUC (macro, 0 to 1; optimistic)")
    title = f"Search over {', '.join(searched)}: {len(done)} of {len(trials)} trials finished"
    return finish_figure(figure, title, handles=panels[0].get_legend_handles_labels()[0])


def _scale_setting(axes: Axes, values: pd.Series) -> None:
    """Scale the x axis, logarithmically where a setting spans a decade, with ticks whose labels do not overlap."""
    if not pd.api.types.is_numeric_dtype(values):
        axes.margins(x=0.3)
        return
    low, high = values.min(), values.max()
    if pd.api.types.is_integer_dtype(values) and values.nunique() <= 5:
        axes.set_xticks(sorted(values.unique()))
    elif values.name != "trial" and 0 < 10 * low <= high:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high < 300 * low else (1.0,), numticks=7))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=pd.api.types.is_integer_dtype(values)))


def _new_panels(titles: Sequence[str], *, height_inch: float) -> tuple[Figure, list[Axes]]:
    """Create a figure with a grid of panels, one per title."""
    n_rows, n_columns = choose_grid(len(titles))
    width_inch = 2.3
    if len(titles) == 1:  # there is room
        width_inch = height_inch = 3.8
    figure = new_figure(max(6.0, width_inch * n_columns + 2.4), height_inch * n_rows + 0.9)
    grid = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes in grid[len(titles) :]:
        axes.set_axis_off()
    panels = grid[: len(titles)]
    for axes, title in zip(panels, titles, strict=True):
        add_grid(axes)
        axes.tick_params(labelsize=8)
        axes.set_title(title, fontsize=10, parse_math=False)
    return figure, panels
