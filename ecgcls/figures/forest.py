"""Forest plots: one estimate with its interval per row: subgroups, held-out sites, differences of two models."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ecgcls.evaluation.comparison import VERDICTS
from ecgcls.evaluation.differences import SUPPORTED
from ecgcls.evaluation.margins import MARGIN_VERDICTS
from ecgcls.evaluation.metrics import METRICS, OVERALL
from ecgcls.figures.style import COLORS, add_grid, finish_figure, new_figure


def draw_forest(
    columns: Mapping[str, pd.DataFrame],
    *,
    title: str,
    colors: Mapping[str, str],
    reference: float | None = None,
    referred: Collection[str] | None = None,
    margin: float | None = None,
) -> Figure:
    """Draw estimates and intervals, one line per row, in columns side by side.

    Parameters
    ----------
    columns
        By the label of the x axis, with its unit: tables of the same rows with `value`, `low`, `high` and `kind`; a
        value that is nan leaves the row empty. Where there is a column `is_framed`, only those intervals and all values
        are sure to lie in the frame; where there is a column `is_hollow`, those values are hollow circles: their
        intervals are of too few patients.
    colors
        By kind; the legend lists those that occur.
    reference
        Where a vertical line marks no difference; None: nowhere.
    referred
        The labels of the columns that have this line; None: all.
    margin
        How far a band reaches on both sides of it; None: there is no band.
    """
    names = next(iter(columns.values())).index
    at = np.arange(len(names))
    figure = new_figure(3.0 + 3.3 * len(columns), 1.5 + 0.24 * max(len(names), 3))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    found: set[str] = set()
    has_hollow = False
    for axes, (label, table) in zip(panels, columns.items(), strict=True):
        if reference is not None and (referred is None or label in referred):
            axes.axvline(reference, color="0.5", linewidth=1, linestyle=":", zorder=1)
            if margin is not None:
                axes.axvspan(reference - margin, reference + margin, color="0.88", linewidth=0, zorder=0)
        is_defined = table["value"].notna()
        found |= set(table["kind"][is_defined])
        for kind in table["kind"].unique():
            held = (is_defined & (table["kind"] == kind)).to_numpy()
            axes.hlines(at[held], table["low"][held], table["high"][held], color=colors[kind], linewidth=1.6)
            axes.plot(table["value"][held], at[held], "o", markersize=4.5, color=colors[kind])
        if "is_hollow" in table and (hollow := (is_defined & table["is_hollow"]).to_numpy()).any():
            axes.plot(table["value"][hollow], at[hollow], "o", markersize=2.7, color="white")
            has_hollow = True
        if "is_framed" in table and table["is_framed"].any():
            ends = pd.concat([table["value"], *(table.loc[table["is_framed"], end] for end in ("low", "high"))])
            reach = 0.05 * (ends.max() - ends.min()) or 0.05
            axes.set_xlim(ends.min() - reach, ends.max() + reach)
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="y", length=0)
        add_grid(axes, axis="x")
    panels[0].set_yticks(at, names, fontsize=8, parse_math=False)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    handles: list[Artist] = [
        Line2D([], [], color=color, marker="o", markersize=4.5, linewidth=1.6, label=kind)
        for kind, color in colors.items()
        if kind in found
    ]
    if has_hollow:
        label = "hollow: too few patients for a reliable interval"
        handles.append(Line2D([], [], color="0.3", marker="o", markersize=4.5, mfc="white", linestyle="", label=label))
    if reference is not None:
        handles.append(Line2D([], [], color="0.5", linewidth=1, linestyle=":", label="no difference"))
    if margin is not None:
        handles.append(Patch(color="0.88", linewidth=0, label=f"within the margin of {margin:g}"))
    return finish_figure(figure, title, handles=handles)


def draw_subgroups(table: pd.DataFrame, *, title: str) -> Figure:
    """Draw each subgroup's macro ROC-AUC, and its gap to the rest with limits that hold for all of them together.

    Groups keep the order of the table, that of `ecgcls.evaluation.subgroups.score_subgroups`; those that are too small
    are left out. A subgroup that can be told from the rest has another color.
    """
    rows = table[(table["class"] == OVERALL) & (table["metric"] == "roc_auc") & ~table["is_too_small"].astype(bool)]
    names = [f"{row.grouping}: {row.group} (n = {row.n_records})" for row in rows.itertuples()]
    kinds = "worse than the rest", "better than the rest", "cannot be told from the rest"
    kind = np.select([rows["gap_high"] < 0, rows["gap_low"] > 0], kinds[:2], kinds[2])
    rows = rows.assign(kind=kind).set_axis(names)
    has_limits = rows["gap_low"].notna()
    gaps = pd.DataFrame({"value": rows["gap"].where(has_limits), "low": rows["gap_low"], "high": rows["gap_high"]})
    label = "Gap to the rest in macro ROC-AUC"
    colors = dict(zip(kinds, (COLORS[1], COLORS[2], COLORS[0]), strict=True))
    return draw_forest(
        {"Macro ROC-AUC (0 to 1)": rows, label: gaps.assign(kind=kind)},
        title=f"{title}, subgroups\nGaps with limits that hold for all subgroups together",
        colors=colors,
        reference=0.0,
        referred=[label],
    )


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


def draw_differences(by_class: pd.DataFrame, *, a: str, b: str, level: float, margin: float | None = None) -> Figure:
    """Draw the differences in PR-AUC and ROC-AUC between two models, class by class, with their intervals.

    The table is that of `ecgcls.evaluation.comparison.compare`; `level` is that of the intervals, in (0, 1). With a
    margin, a row shows the verdict on it, unless b is better. Intervals of too few patients may leave the frame.
    """
    labels = {OVERALL: "macro", SUPPORTED: "macro, enough patients"}
    kind = by_class["verdict"]
    if margin is not None:
        kind = by_class["margin_verdict"].mask(
            (by_class["margin_verdict"] == MARGIN_VERDICTS[-1]) & (kind == VERDICTS[1]), kind
        )
    rows = by_class.assign(value=by_class["difference"], kind=kind, is_framed=by_class["is_supported"])
    columns = {}
    for key in ("pr_auc", "roc_auc"):
        of_metric = rows[rows.index.get_level_values("metric") == key].droplevel("metric")
        columns[f"Difference in {METRICS[key].label} (a \N{MINUS SIGN} b)"] = of_metric.rename(index=labels)
    kinds = dict.fromkeys((*VERDICTS[:2], *MARGIN_VERDICTS))
    colors = dict(zip(kinds, (*COLORS[: len(kinds) - 1], "0.45"), strict=True))
    title = f"a: {a}\nb: {b}\n{100 * level:g}% intervals from resampling patients"
    return draw_forest(columns, title=title, colors=colors, reference=0.0, margin=margin)
