"""The charts of a report: Plotly figures of vector traces only, one color and dash per model in all of them.

Each trace carries `meta`: which model it belongs to (-1: none), and which class (-1: all); the page shows and hides
by these. Colors of text and grid are set by the page, light or dark.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ecgcls.reporting.curves import AllCurves
from ecgcls.runs.configuration import Configuration

COLORS = ("#0072B2", "#D55E00", "#009E73", "#C76DA2", "#B87A00", "#2C8EC9", "#767676", "#AA4499", "#8B8B2B")
"""Of the models in order: those of `ecgcls.figures.style`, the light ones darkened and the black one lightened
until each stands out from a light and a dark ground by 3 to 1 (WCAG 2.2, 1.4.11)."""
DASHES = ("solid", "7px,3px", "2px,2px", "8px,3px,2px,3px", "12px,4px")
"""Of the models in order; with the colors, they tell 45 models apart."""
_REFERENCE = {"color": "#808080", "dash": "dot", "width": 1}


def style(number: int) -> dict[str, str]:
    """Return color and dash of a model.

    Examples
    --------
    >>> style(0), style(9)
    ({'color': '#0072B2', 'dash': 'solid'}, {'color': '#0072B2', 'dash': '12px,4px'})
    """
    return {"color": COLORS[number % len(COLORS)], "dash": DASHES[number % len(DASHES)]}


def draw_pr(curves: AllCurves, configurations: Sequence[Configuration], class_names: Sequence[str]) -> go.Figure:
    """Precision-recall curves of every class and model; dotted, the prevalence."""
    figure = new_figure("Recall (sensitivity)", "Precision (PPV)")
    point = "recall %{x:.2f}, precision %{y:.2f}"
    prevalences: dict[int, float] = {}
    for (name, number), found in curves.items():
        one, column = configurations[number], class_names.index(name)
        row = one.pooled_scores.by_class.loc[name]
        prevalences.setdefault(column, float(one.scores.by_class["prevalence"][name]))
        line = style(number) | {"width": 2, "shape": "hv"}
        label = f"{one.name}: AP {row.pr_auc:.3f}"
        add_trace(figure, found.recall, found.precision, label, point, model=number, column=column, line=line)
    for column, prevalence in prevalences.items():
        add_trace(figure, [0, 1], [prevalence, prevalence], "prevalence", column=column)
    return figure


def draw_roc(curves: AllCurves, configurations: Sequence[Configuration], class_names: Sequence[str]) -> go.Figure:
    """ROC curves of every class and model; dotted, chance."""
    figure = new_figure("1 - specificity", "Sensitivity")
    point = "1 - specificity %{x:.2f}, sensitivity %{y:.2f}"
    for (name, number), found in curves.items():
        one = configurations[number]
        label = f"{one.name}: AUC {one.pooled_scores.by_class.loc[name].roc_auc:.3f}"
        line = style(number) | {"width": 2, "shape": "linear"}
        add_trace(figure, found.fpr, found.tpr, label, point, model=number, column=class_names.index(name), line=line)
    add_trace(figure, [0, 1], [0, 1], "chance")
    return figure


def draw_reliability(
    curves: AllCurves, configurations: Sequence[Configuration], class_names: Sequence[str]
) -> go.Figure:
    """Smooth reliability curves of every class and model, with 95% bands, and bins; dotted, perfect calibration."""
    figure = new_figure("Predicted probability", "Share of positive records")
    point = "predicted %{x:.2f}, observed %{y:.2f} (%{customdata} records)"
    for (name, number), found in curves.items():
        bins = found.bins.astype({"mean_prob": "float32", "share_positive": "float32"})
        own: dict[str, Any] = {"model": number, "column": class_names.index(name)}
        one, color = configurations[number].name, style(number)["color"]
        add_trace(
            figure, bins["mean_prob"], bins["share_positive"], one, point,
            mode="markers", marker={"size": 5, "color": color}, customdata=bins["n_records"], **own,
        )  # fmt: skip
        if len(found.smooth):
            smooth = found.smooth.drop(columns="class").astype("float32")
            border = pd.concat([smooth["low"], smooth["high"][::-1]])
            at = pd.concat([smooth["prob"], smooth["prob"][::-1]])
            filled: dict[str, Any] = {"fill": "toself", "fillcolor": color, "opacity": 0.15, "hovertemplate": None}
            add_trace(figure, at, border, one, line={"width": 0}, hoverinfo="skip", **filled, **own)
            seen = "predicted %{x:.2f}, observed %{y:.2f}"
            add_trace(
                figure, smooth["prob"], smooth["share_positive"], one, seen, line=style(number) | {"width": 2}, **own
            )
    add_trace(figure, [0, 1], [0, 1], "perfect calibration")
    return figure


def draw_training(configurations: Sequence[Configuration], column: str, label: str) -> go.Figure:
    """Draw a column of the tables of epochs, such as ``val/pr_auc``: the mean over folds bold, each faint; from 1."""
    figure = new_figure("Epoch", label, is_unit=False)
    for number, one in enumerate(configurations):
        drawn = [table[["epoch", column]].dropna() for table in one.histories if column in table]
        for table in drawn if len(drawn) > 1 else []:
            faint: dict[str, Any] = {"opacity": 0.3, "hoverinfo": "skip", "hovertemplate": None}
            thin, y = style(number) | {"width": 1}, table[column].astype("float32")
            add_trace(figure, table["epoch"] + 1, y, one.name, model=number, line=thin, **faint)
        if drawn:
            mean = pd.concat(drawn).groupby("epoch")[column].mean().astype("float32")
            line = style(number) | {"width": 2, "shape": "linear"}
            add_trace(figure, mean.index + 1, mean, one.name, "epoch %{x}: %{y:.3f}", model=number, line=line)
    return figure


def new_figure(x_title: str, y_title: str, *, is_unit: bool = True) -> go.Figure:
    """Return an empty chart; `is_unit` says that both axes go from 0 to 1."""
    axis = {"zeroline": False, "showline": True, "ticks": "outside", "ticklen": 4, "fixedrange": True}
    if is_unit:
        axis |= {"range": [-0.02, 1.02], "dtick": 0.2}
    return go.Figure(
        layout={
            "template": "none",
            "showlegend": False,
            "margin": {"l": 52, "r": 8, "t": 8, "b": 44},
            "dragmode": False,
            "hovermode": "closest",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis | {"title": {"text": x_title, "standoff": 8}},
            "yaxis": axis | {"title": {"text": y_title, "standoff": 8}},
        }
    )


def add_trace(
    figure: go.Figure, x: Any, y: Any, label: str, point: str = "", *,
    model: int = -1, column: int = -1, line: Mapping[str, Any] = _REFERENCE, **settings: Any,
) -> None:  # fmt: skip
    """Add a trace; the text `point` is shown for each of its points."""
    # Plotly reads a hover text as markup, and %{...} as a place for a value.
    name = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")
    text = f"{'<br>'.join(filter(None, (name, point)))}<extra></extra>"
    meta = {"model": model, "class": column}
    figure.add_scatter(x=x, y=y, name=name, line=line, meta=meta, **{"mode": "lines", "hovertemplate": text} | settings)
