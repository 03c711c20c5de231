"""Forest plots: an estimate and its interval per row, for subgroups and for the differences of two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecgcls.evaluation.comparison import VERDICTS
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.figures.style import COLORS, fix_layout, new_figure

_SHOWN = {"pr_auc": "PR-AUC", "roc_auc": "ROC-AUC"}


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
    colors = {"subgroup": COLORS[0], "lowest ROC-AUC": COLORS[1]}
    return draw_forest(names, columns, title=f"{title}, subgroups with intervals", colors=colors)


def draw_differences(by_class: pd.DataFrame, *, a: str, b: str, level: float) -> Figure:
    """Draw the differences of PR-AUC and ROC-AUC, class by class, with their intervals."""
    names = ["macro", *[name for name in by_class.index.get_level_values("class").unique() if name != OVERALL]]
    columns = []
    for metric in ("pr_auc", "roc_auc"):
        rows = by_class.xs(metric, level="metric").rename(index={OVERALL: "macro"}).loc[names]
        value, low, high = (rows[key].to_numpy(dtype=float) for key in ("difference", "low", "high"))
        label = f"Difference of {_SHOWN[metric]}, a - b"
        columns.append(Forest(label, value, low, high, kinds=[*map(str, rows["verdict"])], reference=0.0))
    colors = dict(zip(VERDICTS, (COLORS[0], COLORS[1], "0.45"), strict=True))
    title = f"a: {a}\nb: {b}\n{100 * level:g} % intervals from drawing patients"
    return draw_forest(names, columns, title=title, colors=colors)
