"""The charts of a report: Plotly figures of vector traces only, one colour and dash a model in all of them.

Each trace carries `meta`: which model it belongs to (-1: none), and which class (-1: all); the page shows and hides
by these. Colours of text and grid are set by the page, light or dark.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from ecgcls.reporting.curves import Curves
from ecgcls.runs.configuration import Configuration

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C76DA2", "#B87A00", "#2C8EC9", "#767676", "#AA4499", "#8B8B2B")
"""Of the models in order: those of `ecgcls.figures.style`, the light ones darkened and the black one lightened
until each stands out from a light and a dark ground by 3 to 1 (WCAG 2.2, 1.4.11)."""
DASHES = ("solid", "7px,3px", "2px,2px", "8px,3px,2px,3px", "12px,4px")
"""Of the models in order; with the colours, they tell 45 models apart."""


def style(number: int) -> dict[str, str]:
    """Return colour and dash of a model.

    Examples
    --------
    >>> style(0), style(9)
    ({'color': '#0072B2', 'dash': 'solid'}, {'color': '#0072B2', 'dash': '12px,4px'})
    """
    return {"color": COLOURS[number % len(COLOURS)], "dash": DASHES[number % len(DASHES)]}


def draw_pr(
    curves: Mapping[tuple[str, int], Curves], configurations: Sequence[Configuration], class_names: Sequence[str]
) -> go.Figure:
    """Precision-recall curves of every class and model; dotted, the prevalence.

    Parameters
    ----------
    curves
        By class and number of the configuration, wherever the class is defined.
    configurations
        In the order of their numbers.
    class_names
        In the order of their numbers.
    """
    figure = _new_figure("Recall (sensitivity)", "Precision (PPV)")
    for (name, number), found in curves.items():
        row = configurations[number].scores.by_class.loc[name]
        column = class_names.index(name)
        label = f"{configurations[number].name}: AP {row.pr_auc:.3f}"
        point = "recall %{x:.2f}, precision %{y:.2f}"
        _add_line(figure, found.recall, found.precision, number, column, label, point, shape="hv")
    for column, name in enumerate(class_names):
        drawn = [number for known, number in curves if known == name]
        if drawn:
            prevalence = float(configurations[drawn[0]].scores.by_class["prevalence"][name])
            _add_reference(figure, [0, 1], [prevalence, prevalence], column, "prevalence")
    return figure


def draw_roc(
    curves: Mapping[tuple[str, int], Curves], configurations: Sequence[Configuration], class_names: Sequence[str]
) -> go.Figure:
    """ROC curves of every class and model; dotted, chance. The parameters are those of `draw_pr`."""
    figure = _new_figure("1 - specificity", "Sensitivity")
    for (name, number), found in curves.items():
        row = configurations[number].scores.by_class.loc[name]
        label = f"{configurations[number].name}: AUC {row.roc_auc:.3f}"
        point = "1 - specificity %{x:.2f}, sensitivity %{y:.2f}"
        _add_line(figure, found.fpr, found.tpr, number, class_names.index(name), label, point)
    _add_reference(figure, [0, 1], [0, 1], -1, "chance")
    return figure


def draw_reliability(
    curves: Mapping[tuple[str, int], Curves], configurations: Sequence[Configuration], class_names: Sequence[str]
) -> go.Figure:
    """Reliability curves of every class and model, with 95 % Wilson intervals; dotted, perfect calibration.

    The parameters are those of `draw_pr`.
    """
    figure = _new_figure("Predicted probability", "Share of positive records")
    for (name, number), found in curves.items():
        bins = found.bins.astype({"mean_prob": "float32", "share_positive": "float32"})
        label = configurations[number].name
        figure.add_trace(
            go.Scatter(
                x=bins["mean_prob"],
                y=bins["share_positive"],
                error_y={
                    "array": (bins["share_high"] - bins["share_positive"]).astype("float32"),
                    "arrayminus": (bins["share_positive"] - bins["share_low"]).astype("float32"),
                    "thickness": 0.8,
                    "width": 0,
                },
                mode="lines+markers",
                line=style(number) | {"width": 2},
                marker={"size": 5},
                meta={"model": number, "class": class_names.index(name)},
                name=_escape(label),
                customdata=bins["n_records"],
                hovertemplate=f"{_escape(label)}<br>predicted %{{x:.2f}}, observed %{{y:.2f}} "
                "(%{customdata} records)<extra></extra>",
            )
        )
    _add_reference(figure, [0, 1], [0, 1], -1, "perfect calibration")
    return figure


def draw_training(configurations: Sequence[Configuration], column: str, label: str) -> go.Figure:
    """Draw what each epoch brought: the mean over folds bold, each fold faint.

    Parameters
    ----------
    configurations
        In the order of their numbers.
    column
        Of the tables of epochs, such as ``val/pr_auc``.
    label
        Of the y axis.
    """
    figure = _new_figure("Epoch", label, is_unit=False)
    for number, one in enumerate(configurations):
        drawn = [table[["epoch", column]].dropna() for table in one.histories if column in table]
        for table in drawn if len(drawn) > 1 else []:
            figure.add_trace(
                go.Scatter(
                    x=table["epoch"], y=table[column].astype("float32"), mode="lines", opacity=0.3, hoverinfo="skip",
                    line=style(number) | {"width": 1}, meta={"model": number, "class": -1}, name=_escape(one.name),
                )
            )  # fmt: skip
        if drawn:
            mean = pd.concat(drawn).groupby("epoch")[column].mean().astype("float32")
            _add_line(figure, mean.index.to_numpy(), mean.to_numpy(), number, -1, one.name, "epoch %{x}: %{y:.3f}")
    return figure


def _new_figure(x_title: str, y_title: str, *, is_unit: bool = True) -> go.Figure:
    figure = go.Figure()
    axis = {"zeroline": False, "showline": True, "ticks": "outside", "ticklen": 4, "fixedrange": True}
    if is_unit:
        axis |= {"range": [-0.02, 1.02], "dtick": 0.2}
    figure.update_layout(
        template="none",
        showlegend=False,
        margin={"l": 52, "r": 8, "t": 8, "b": 44},
        dragmode=False,
        hovermode="closest",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis=axis | {"title": {"text": x_title, "standoff": 8}},
        yaxis=axis | {"title": {"text": y_title, "standoff": 8}},
    )
    return figure


def _add_line(
    figure: go.Figure,
    x: NDArray,
    y: NDArray,
    number: int,
    column: int,
    label: str,
    point: str,
    *,
    shape: str = "linear",
) -> None:
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines", line=style(number) | {"width": 2, "shape": shape}, name=_escape(label),
            meta={"model": number, "class": column},
            hovertemplate=f"{_escape(label)}<br>{point}<extra></extra>",
        )
    )  # fmt: skip


def _add_reference(figure: go.Figure, x: list[float], y: list[float], column: int, label: str) -> None:
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines", line={"color": "#808080", "dash": "dot", "width": 1}, name=label,
            meta={"model": -1, "class": column}, hovertemplate=f"{label}<extra></extra>",
        )
    )  # fmt: skip


def _escape(text: str) -> str:
    """Plotly reads a hover text as markup, and %{...} as a place for a value."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")
