"""Forest plots: one estimate with its interval per row, for subgroups and for the differences between two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ecgcls.evaluation.comparison import VERDICTS
from ecgcls.evaluation.metrics import METRICS, OVERALL
from ecgcls.figures.style import COLORS, add_grid, finish_figure, new_figure


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
        ``(row,)``; the legend lists those that occur.
    reference
        Where a vertical line marks no difference; None: nowhere.
    """

    label: str
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    kinds: Sequence[str]
    reference: float | None = None


def draw_forest(rows: Sequence[str], columns: Sequence[Forest], *, title: str, colors: Mapping[str, str]) -> Figure:
    """Draw estimates and intervals, one line per labeled row, in columns side by side; each kind has its color."""
    figure = new_figure(3.0 + 3.3 * len(columns), 1.5 + 0.24 * max(len(rows), 3))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    at = np.arange(len(rows))
    found: set[str] = set()
    for axes, column in zip(panels, columns, strict=True):
        if column.reference is not None:
            axes.axvline(column.reference, color="0.5", linewidth=1, linestyle=":", zorder=1)
        for kind in dict.fromkeys(column.kinds):
            held = np.array([one == kind for one in column.kinds]) & np.isfinite(column.value)
            if held.any():
                found.add(kind)
            axes.hlines(at[held], column.low[held], column.high[held], color=colors[kind], linewidth=1.6)
            axes.plot(column.value[held], at[held], "o", markersize=4.5, color=colors[kind])
        axes.set_xlabel(column.label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="y", length=0)
        add_grid(axes, axis="x")
    panels[0].set_yticks(at, rows, fontsize=8, parse_math=False)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    handles = [
        Line2D([], [], color=color, marker="o", markersize=4.5, linewidth=1.6, label=kind)
        for kind, color in colors.items()
        if kind in found
    ]
    if any(column.reference is not None for column in columns):
        handles.append(Line2D([], [], color="0.5", linewidth=1, linestyle=":", label="no difference"))
    return finish_figure(figure, title, handles=handles)


def draw_subgroups(table: pd.DataFrame, worst: pd.Series, *, title: str) -> Figure:
    """Draw each subgroup's macro ROC-AUC and PR-AUC, the worst one in another color.

    Groups keep the order of the table, that of `ecgcls.evaluation.subgroups.score_subgroups`; those that are too small
    are left out. `worst` is the row of the worst subgroup.
    """
    overall = table[(table["class"] == OVERALL) & ~table["is_too_small"].astype(bool)]
    cells = overall.pivot(index=["grouping", "group"], columns="metric", values=["value", "low", "high"])
    cells = cells.reindex(pd.MultiIndex.from_frame(overall[["grouping", "group"]].drop_duplicates()))
    sizes = overall.drop_duplicates(["grouping", "group"]).set_index(["grouping", "group"])["n_records"]
    kinds = ["lowest ROC-AUC" if key == (worst["grouping"], worst["group"]) else "subgroup" for key in cells.index]
    columns = []
    for metric in ("roc_auc", "pr_auc"):
        value, low, high = (cells[key, metric].to_numpy() for key in ("value", "low", "high"))
        columns.append(Forest(f"Macro {METRICS[metric].label} (0 to 1)", value, low, high, kinds))
    names = [f"{grouping}: {group} (n = {sizes[grouping, group]})" for grouping, group in cells.index]
    colors = {"subgroup": COLORS[0], "lowest ROC-AUC": COLORS[1]}
    return draw_forest(names, columns, title=f"{title}, subgroups with intervals", colors=colors)


def draw_differences(by_class: pd.DataFrame, *, a: str, b: str, level: float) -> Figure:
    """Draw the differences in PR-AUC and ROC-AUC between two models, class by class, with their intervals.

    The table is that of `ecgcls.evaluation.comparison.compare`; `level` is that of the intervals, in (0, 1).
    """
    names = ["macro", *[name for name in by_class.index.get_level_values("class").unique() if name != OVERALL]]
    columns = []
    for metric in ("pr_auc", "roc_auc"):
        rows = by_class.xs(metric, level="metric").rename(index={OVERALL: "macro"}).loc[names]
        value, low, high = (rows[key].to_numpy(dtype=float) for key in ("difference", "low", "high"))
        label = f"Difference in {METRICS[metric].label} (a \N{MINUS SIGN} b)"
        columns.append(Forest(label, value, low, high, kinds=[*map(str, rows["verdict"])], reference=0.0))
    colors = dict(zip(VERDICTS, (COLORS[0], COLORS[1], "0.45"), strict=True))
    title = f"a: {a}\nb: {b}\n{100 * level:g}% intervals from resampling patients"
    return draw_forest(names, columns, title=title, colors=colors)
