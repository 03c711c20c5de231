"""Figures with a panel a class, or a line a row: decision curves, calibration before and after, intervals in a forest.

Conventions are those of `figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.evaluation.figures import COLORS, choose_grid, fix_layout, new_figure
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.predictions import Predictions

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
    figure, panels = _new_panels(len(names), height_inch=2.3)
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
    return _finish(figure, panels[0], title)


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
    figure, panels = _new_panels(len(after.class_names), height_inch=2.6)
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
    return _finish(figure, panels[0], title)


@dataclass(frozen=True, eq=False)
class Forest:
    """One column of a forest plot.

    Attributes
    ----------
    label
        Of the x axis, with the unit.
    value, low, high
        ``(row,)``; nan leaves the row empty.
    kinds
        ``(row,)``: what each row is counted as; the legend names those that occur.
    reference
        Where an upright line stands; None: nowhere.
    """

    label: str
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    kinds: Sequence[str]
    reference: float | None = None


def draw_forest(
    rows: Sequence[str],
    columns: Sequence[Forest],
    *,
    title: str,
    colors: Mapping[str, str],
) -> Figure:
    """Draw estimates and intervals, a line a row, in one or more columns.

    Parameters
    ----------
    rows
        What each line is.
    columns
        What stands side by side.
    title
        Stands above all.
    colors
        Of each kind.
    """
    figure = new_figure(3.0 + 3.3 * len(columns), 1.5 + 0.24 * max(len(rows), 3))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    at = np.arange(len(rows))
    for axes, column in zip(panels, columns, strict=True):
        if column.reference is not None:
            axes.axvline(column.reference, color="0.5", linewidth=1, linestyle=":", zorder=1)
        for kind in dict.fromkeys(column.kinds):
            held = np.array([one == kind for one in column.kinds]) & np.isfinite(column.value)
            axes.hlines(at[held], column.low[held], column.high[held], color=colors[kind], linewidth=1.6)
            axes.plot(column.value[held], at[held], "o", markersize=4.5, color=colors[kind], label=kind)
        axes.set_xlabel(column.label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
    panels[0].set_yticks(at, rows, fontsize=8, parse_math=False)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    shown = [kind for kind in colors if kind in found]
    handles = [found[kind] for kind in shown]
    figure.legend(handles, shown, loc="outside lower center", ncols=len(shown), fontsize=9, frameon=False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    fix_layout(figure)
    return figure


def draw_subgroups(table: pd.DataFrame, worst: pd.Series, *, title: str) -> Figure:
    """Draw the macro ROC-AUC and PR-AUC of each subgroup, the worst one in another colour.

    Parameters
    ----------
    table
        What `ecgcls.evaluation.subgroups.score_subgroups` gives; groups stand in its order, those that are too small
        are left out.
    worst
        The row of the worst cell.
    title
        Stands above all.
    """
    overall = table[(table["class"] == OVERALL) & ~table["is_too_small"].astype(bool)]
    cells = overall.pivot(index=["grouping", "group"], columns="metric", values=["value", "low", "high"])
    cells = cells.reindex(pd.MultiIndex.from_frame(overall[["grouping", "group"]].drop_duplicates()))
    sizes = overall.drop_duplicates(["grouping", "group"]).set_index(["grouping", "group"])["n_records"]
    kinds = ["lowest ROC-AUC" if key == (worst["grouping"], worst["group"]) else "subgroup" for key in cells.index]
    columns = []
    for metric, label in (("roc_auc", "Macro ROC-AUC (0 to 1)"), ("pr_auc", "Macro PR-AUC (0 to 1)")):
        value, low, high = (cells[key, metric].to_numpy() for key in ("value", "low", "high"))
        columns.append(Forest(label, value, low, high, kinds))
    names = [f"{grouping}: {group} (n = {sizes[grouping, group]})" for grouping, group in cells.index]
    colors = {"subgroup": _MODEL, "lowest ROC-AUC": _ALL}
    return draw_forest(names, columns, title=f"{title}, subgroups with intervals", colors=colors)


def draw_likelihoods(likelihoods: pd.DataFrame) -> Figure:
    """Draw how often each likelihood is given, a panel a kind of statement.

    Parameters
    ----------
    likelihoods
        A row a kind, a column a likelihood in percent.
    """
    figure, panels = _new_panels(len(likelihoods), height_inch=2.8)
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
    return _finish(figure, panels[0], "Likelihoods of the statements")


def _new_panels(n_panels: int, *, height_inch: float) -> tuple[Figure, list[Axes]]:
    n_rows, n_columns = choose_grid(n_panels)
    figure = new_figure(max(6.0, 2.3 * n_columns + 2.4), height_inch * n_rows + 0.9)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes in grid.flat[n_panels:]:
        axes.set_axis_off()
    for axes in grid.flat[:n_panels]:
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
    return figure, list(grid.flat)


def _finish(figure: Figure, first: Axes, title: str) -> Figure:
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=9, frameon=False)
    figure.suptitle(title, fontsize=12, parse_math=False)
    fix_layout(figure)
    return figure
