"""Forest plots: one estimate with its interval per row: subgroups, held-out sites, differences of two models."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ecgcls.evaluation.comparison import VERDICTS
from ecgcls.evaluation.metrics import METRICS, OVERALL
from ecgcls.figures.style import COLORS, add_grid, finish_figure, new_figure


def draw_forest(
    columns: Mapping[str, pd.DataFrame], *, title: str, colors: Mapping[str, str], reference: float | None = None
) -> Figure:
    """Draw estimates and intervals, one line per row, in columns side by side.

    Parameters
    ----------
    columns
        By the label of the x axis, with its unit: tables of the same rows with `value`, `low`, `high` and `kind`; a
        value that is nan leaves the row empty.
    colors
        By kind; the legend lists those that occur.
    reference
        Where a vertical line marks no difference; None: nowhere.
    """
    names = next(iter(columns.values())).index
    at = np.arange(len(names))
    figure = new_figure(3.0 + 3.3 * len(columns), 1.5 + 0.24 * max(len(names), 3))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    found: set[str] = set()
    for axes, (label, table) in zip(panels, columns.items(), strict=True):
        if reference is not None:
            axes.axvline(reference, color="0.5", linewidth=1, linestyle=":", zorder=1)
        is_defined = table["value"].notna()
        found |= set(table["kind"][is_defined])
        for kind in table["kind"].unique():
            held = (is_defined & (table["kind"] == kind)).to_numpy()
            axes.hlines(at[held], table["low"][held], table["high"][held], color=colors[kind], linewidth=1.6)
            axes.plot(table["value"][held], at[held], "o", markersize=4.5, color=colors[kind])
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="y", length=0)
        add_grid(axes, axis="x")
    panels[0].set_yticks(at, names, fontsize=8, parse_math=False)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    handles = [
        Line2D([], [], color=color, marker="o", markersize=4.5, linewidth=1.6, label=kind)
        for kind, color in colors.items()
        if kind in found
    ]
    if reference is not None:
        handles.append(Line2D([], [], color="0.5", linewidth=1, linestyle=":", label="no difference"))
    return finish_figure(figure, title, handles=handles)


def draw_subgroups(table: pd.DataFrame, worst: pd.Series, *, title: str) -> Figure:
    """Draw each subgroup's macro ROC-AUC and PR-AUC, the worst one in another color.

    Groups keep the order of the table, that of `ecgcls.evaluation.subgroups.score_subgroups`; those that are too small
    are left out. `worst` is the row of the worst subgroup.
    """
    overall = table[(table["class"] == OVERALL) & ~table["is_too_small"].astype(bool)]
    names = [f"{row.grouping}: {row.group} (n = {row.n_records})" for row in overall.itertuples()]
    is_worst = (overall["grouping"] == worst["grouping"]) & (overall["group"] == worst["group"])
    rows = overall.assign(kind=np.where(is_worst, "lowest ROC-AUC", "subgroup")).set_axis(names)
    columns = {f"Macro {METRICS[key].label} (0 to 1)": rows[rows["metric"] == key] for key in ("roc_auc", "pr_auc")}
    colors = {"subgroup": COLORS[0], "lowest ROC-AUC": COLORS[1]}
    return draw_forest(columns, title=f"{title}, subgroups with intervals", colors=colors)


def draw_sites(measured: pd.DataFrame, summary: pd.DataFrame, *, title: str, level: float) -> Figure:
    """Draw each held-out site's macro ROC-AUC and PR-AUC, their mean, and what is to be expected at a new site.

    `measured` is the table of `ecgcls.evaluation.sites.measure_sites` with a column `is_site`: whether the records are
    of one site, and so part of the summary; `summary` that of `summarize_sites`. A prediction interval has no value.
    """
    kinds = ("a site", "several small sites, not in the mean", "mean of the sites", "a new site")
    columns = {}
    for key in ("roc_auc", "pr_auc"):
        sites = measured[(measured["class"] == OVERALL) & (measured["metric"] == key)]
        names = [f"{row.site} (n = {row.n_records})" for row in sites.itertuples()]
        rows = sites.assign(kind=np.where(sites["is_site"], *kinds[:2])).set_axis(names)
        found = summary.loc[[(OVERALL, key)]].to_dict("records")[0]
        expected = [[found[name] for name in ("mean", f"{which}low", f"{which}high")] for which in ("", "new_")]
        more = pd.DataFrame(expected, columns=["value", "low", "high"], index=kinds[2:]).assign(kind=kinds[2:])
        both = pd.concat([rows[["value", "low", "high", "kind"]], more])
        columns[f"Macro {METRICS[key].label} (0 to 1)"] = both
    colors = dict(zip(kinds, (COLORS[0], "0.45", COLORS[1], COLORS[2]), strict=True))
    return draw_forest(columns, title=f"{title}\n{100 * level:g}% intervals; a new site: prediction", colors=colors)


def draw_differences(by_class: pd.DataFrame, *, a: str, b: str, level: float) -> Figure:
    """Draw the differences in PR-AUC and ROC-AUC between two models, class by class, with their intervals.

    The table is that of `ecgcls.evaluation.comparison.compare`; `level` is that of the intervals, in (0, 1).
    """
    names = ["macro", *[name for name in by_class.index.get_level_values("class").unique() if name != OVERALL]]
    rows = by_class.rename(columns={"difference": "value", "verdict": "kind"}, index={OVERALL: "macro"})
    columns = {}
    for key in ("pr_auc", "roc_auc"):
        of_metric = rows[rows.index.get_level_values("metric") == key].droplevel("metric")
        columns[f"Difference in {METRICS[key].label} (a \N{MINUS SIGN} b)"] = of_metric.loc[names]
    colors = dict(zip(VERDICTS, (COLORS[0], COLORS[1], "0.45"), strict=True))
    title = f"a: {a}\nb: {b}\n{100 * level:g}% intervals from resampling patients"
    return draw_forest(columns, title=title, colors=colors, reference=0.0)
