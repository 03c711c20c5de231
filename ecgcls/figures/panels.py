"""A panel per class or setting: decision curves, calibration before and after, likelihoods, a search's trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.evaluation.predictions import Predictions
from ecgcls.figures.style import COLORS, finish_panels, fix_layout, new_figure, new_panels

_MODEL, _ALL, _NONE = COLORS[0], COLORS[1], "0.35"


def draw_decision_curves(curves: pd.DataFrame, *, title: str) -> Figure:
    """Draw the net benefit of each class against the probability from which one would act.

    Parameters
    ----------
    curves
        What `ecgcls.evaluation.thresholds.decision_curves` gives.
    title
        Stands above the panels.
    """
    names = list(dict.fromkeys(curves["class"]))
    figure, panels = new_panels(len(names), height_inch=2.3)
    for axes, name in zip(panels, names, strict=False):
        of_class = curves[curves["class"] == name]
        at = of_class["threshold"]
        axes.plot(at, of_class["net_benefit"], color=_MODEL, linewidth=1.7, label="acting on the model")
        axes.plot(at, of_class["treat_all"], color=_ALL, linewidth=1.2, linestyle="--", label="acting on all")
        axes.axhline(0, color=_NONE, linewidth=1.2, linestyle=":", label="acting on none")
        highest = max(of_class["net_benefit"].max(), of_class["treat_all"].max(), 0.01)
        axes.set(xlim=(0, 1), ylim=(-0.15 * highest, 1.1 * highest))
        axes.set_title(str(name), fontsize=10, parse_math=False)
    figure.supxlabel("Probability from which one would act", fontsize=10)
    figure.supylabel("Net benefit (true positives a record)", fontsize=10)
    return finish_panels(figure, panels[0], title)


def draw_calibration(before: Predictions, after: Predictions, *, title: str) -> Figure:
    """Draw the reliability of each class before and after recalibration, in bins of equal mass.

    Upright lines are 95 % Wilson intervals; the diagonal is perfect calibration.

    Parameters
    ----------
    before, after
        The same records of one split.
    title
        Stands above the panels.
    """
    figure, panels = new_panels(len(after.class_names), height_inch=2.6)
    styles = ((before, "before", _ALL, "s", "--"), (after, "after recalibration", _MODEL, "o", "-"))
    for predictions, label, color, marker, line in styles:
        bins = reliability_curve(predictions.y_true, predictions.y_prob, predictions.class_names)
        for axes, name in zip(panels, predictions.class_names, strict=False):
            curve = bins[bins["class"] == name]
            at = curve["mean_prob"]
            axes.vlines(at, curve["share_low"], curve["share_high"], color=color, linewidth=1, alpha=0.45)
            axes.plot(
                at, curve["share_positive"], color=color, marker=marker, markersize=3.5, linestyle=line, label=label
            )
            axes.set_title(str(name), fontsize=10, parse_math=False)
    for axes in panels[: len(after.class_names)]:
        axes.plot([0, 1], [0, 1], color="0.4", linestyle=":", linewidth=1, label="perfect calibration", zorder=1)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    figure.supxlabel("Mean predicted probability", fontsize=10)
    figure.supylabel("Share of positive records", fontsize=10)
    return finish_panels(figure, panels[0], title)


def draw_likelihoods(likelihoods: pd.DataFrame) -> Figure:
    """Draw how often each likelihood is given, a panel a kind of statement.

    Parameters
    ----------
    likelihoods
        A row a kind, a column a likelihood in percent.
    """
    figure, panels = new_panels(len(likelihoods), height_inch=2.8)
    at = np.arange(likelihoods.shape[1])
    for axes, (kind, row) in zip(panels, likelihoods.iterrows(), strict=False):
        colors = ["0.6" if value == 0 else _MODEL for value in likelihoods.columns]
        bars = axes.bar(at, row, color=colors)
        axes.bar_label(bars, fontsize=7)
        axes.set_xticks(at, [f"{value:g}" for value in likelihoods.columns])
        axes.set_title(f"{kind} statements", fontsize=10)
    for color, label in (("0.6", "0: unknown"), (_MODEL, "stated")):
        panels[0].bar([0], [0], color=color, label=label)
    figure.supxlabel("Likelihood (%)", fontsize=10)
    figure.supylabel("Statements", fontsize=10)
    return finish_panels(figure, panels[0], "Likelihoods of the statements")


def draw_search(trials: pd.DataFrame, searched: Sequence[str], *, objective: str) -> Figure:
    """Draw the objective by trial, with the best so far, and against each searched setting.

    Parameters
    ----------
    trials
        A row a trial: ``trial``, the searched settings and the objective, nan where it failed.
    searched
        The columns of the settings.
    objective
        The column of the score.
    """
    done = trials.dropna(subset=[objective])
    figure = new_figure(3.6 * (1 + len(searched)), 3.9)
    panels = figure.subplots(1, 1 + len(searched), sharey=True, squeeze=False)[0]
    best = done.iloc[int(done[objective].to_numpy().argmax())]
    for panel, column in zip(panels, ("trial", *searched), strict=True):
        panel.scatter(done[column], done[objective], s=22, color=COLORS[0], label="a trial")
        panel.scatter([best[column]], [best[objective]], s=110, marker="*", color=COLORS[1], label="the best", zorder=3)
        panel.set_xlabel(column)
        panel.grid(alpha=0.25)
        values = done[column]
        if pd.api.types.is_numeric_dtype(values) and column != "trial" and 0 < 10 * values.min() <= values.max():
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            panel.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            panel.xaxis.set_minor_formatter(NullFormatter())
    panels[0].step(
        done["trial"], np.maximum.accumulate(done[objective]), where="post", color=COLORS[2], label="best so far"
    )
    panels[0].set_ylabel("Validation PR-AUC (macro, 0 to 1)")
    panels[0].legend(fontsize=8)
    figure.suptitle(f"Search of {', '.join(searched)}: {len(done)} of {len(trials)} trials finished", fontsize=11)
    fix_layout(figure)
    return figure
