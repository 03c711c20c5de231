"""The charts of a report: Plotly figures of vector traces only, one colour and dash a model in all of them.

Each trace carries `meta`: which model it belongs to, and which class (-1: all); the page shows and hides by these.
Colours of text and grid are set by the page, light or dark.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.reporting.collect import Configuration

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#AA4499", "#999933")
"""Of the models in order, apart for colour-blind readers and on light and dark ground (Okabe & Ito 2008; P. Tol)."""
DASHES = ("solid", "dash", "dot")

_MAX_POINTS = 300  # a curve


def style(number: int) -> dict[str, str]:
    """Return colour and dash of a model."""
    return {"color": COLOURS[number % len(COLOURS)], "dash": DASHES[number % len(DASHES)]}


def draw_pr(configurations: Sequence[Configuration], class_names: Sequence[str]) -> go.Figure:
    """Precision-recall curves of every model and class; dotted, the prevalence."""
    figure = _new_figure("Recall (sensitivity)", "Precision (positive predictive value)")
    for number, column, name, one in _each(configurations, class_names):
        precision, recall, _ = precision_recall_curve(*_of_class(one, name))
        row = one.scores.by_class.loc[name]
        x, y = _thin(recall, precision)
        label = f"{one.name}: AP {row.pr_auc:.3f}"
        _add_line(figure, x, y, number, column, label, "recall %{x:.2f}, precision %{y:.2f}", shape="hv")
        if number == 0:
            _add_reference(figure, [0, 1], [row.prevalence, row.prevalence], column, "prevalence")
    return figure


def draw_roc(configurations: Sequence[Configuration], class_names: Sequence[str]) -> go.Figure:
    """ROC curves of every model and class; dotted, chance."""
    figure = _new_figure("False positive rate (1 - specificity)", "True positive rate (sensitivity)")
    for number, column, name, one in _each(configurations, class_names):
        fpr, tpr, _ = roc_curve(*_of_class(one, name))
        row = one.scores.by_class.loc[name]
        x, y = _thin(fpr, tpr)
        label = f"{one.name}: AUC {row.roc_auc:.3f}"
        _add_line(figure, x, y, number, column, label, "FPR %{x:.2f}, TPR %{y:.2f}")
    _add_reference(figure, [0, 1], [0, 1], -1, "chance")
    return figure


def draw_reliability(configurations: Sequence[Configuration], class_names: Sequence[str]) -> go.Figure:
    """Reliability curves of every model and class, with 95 % Wilson intervals; dotted, perfect calibration."""
    figure = _new_figure("Predicted probability (mean of the bin)", "Share of positive records")
    for number, column, name, one in _each(configurations, class_names):
        y_true, y_prob = _of_class(one, name)
        bins = reliability_curve(y_true[:, None], y_prob[:, None], [name])
        figure.add_trace(
            go.Scatter(
                x=bins["mean_prob"],
                y=bins["share_positive"],
                error_y={
                    "array": bins["share_high"] - bins["share_positive"],
                    "arrayminus": bins["share_positive"] - bins["share_low"],
                    "thickness": 0.8,
                    "width": 0,
                },
                mode="lines+markers",
                line=style(number) | {"width": 2},
                marker={"size": 5},
                meta={"model": number, "class": column},
                name=one.name,
                customdata=bins["n_records"],
                hovertemplate=f"{_escape(one.name)}<br>said %{{x:.2f}}, was %{{y:.2f}} "
                "(%{customdata} records)<extra></extra>",
            )
        )
    _add_reference(figure, [0, 1], [0, 1], -1, "perfect calibration")
    return figure


def draw_training(configurations: Sequence[Configuration], column: str, label: str) -> go.Figure:
    """Draw what each epoch brought: the mean over folds bold, each fold faint."""
    figure = _new_figure("Epoch", label, is_unit=False)
    for number, one in enumerate(configurations):
        drawn = [table[["epoch", column]].dropna() for table in one.histories if column in table]
        for table in drawn if len(drawn) > 1 else []:
            figure.add_trace(
                go.Scatter(
                    x=table["epoch"], y=table[column], mode="lines", opacity=0.3, hoverinfo="skip",
                    line=style(number) | {"width": 1}, meta={"model": number, "class": -1}, name=one.name,
                )
            )  # fmt: skip
        if drawn:
            mean = pd.concat(drawn).groupby("epoch")[column].mean()
            _add_line(figure, mean.index.to_numpy(), mean.to_numpy(), number, -1, one.name, "epoch %{x}: %{y:.3f}")
    return figure


def _new_figure(x_title: str, y_title: str, *, is_unit: bool = True) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="none",
        showlegend=False,
        margin={"l": 56, "r": 10, "t": 10, "b": 48},
        height=360,
        dragmode=False,
        hovermode="closest",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={"title": {"text": x_title}, "zeroline": False},
        yaxis={"title": {"text": y_title}, "zeroline": False},
    )
    if is_unit:
        figure.update_xaxes(range=[-0.02, 1.02])
        figure.update_yaxes(range=[-0.02, 1.02])
    return figure


def _each(configurations: Sequence[Configuration], class_names: Sequence[str]) -> Any:
    """Yield number, column, class and configuration wherever the class is defined."""
    for column, name in enumerate(class_names):
        for number, one in enumerate(configurations):
            if name in one.pooled.class_names and name not in one.scores.undefined:
                yield number, column, name, one


def _of_class(one: Configuration, name: str) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    column = one.pooled.class_names.index(name)
    return one.pooled.y_true[:, column], one.pooled.y_prob[:, column]


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
            x=x, y=y, mode="lines", line=style(number) | {"width": 2, "shape": shape}, name=label,
            meta={"model": number, "class": column},
            hovertemplate=f"{_escape(label)}<br>{point}<extra></extra>",
        )
    )  # fmt: skip


def _add_reference(figure: go.Figure, x: list[float], y: list[float], column: int, label: str) -> None:
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines", line={"color": "#888888", "dash": "dot", "width": 1}, name=label,
            meta={"model": -1, "class": column}, hovertemplate=f"{label}<extra></extra>",
        )
    )  # fmt: skip


def _thin(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Keep at most some hundred points of a curve: evenly by their number, both ends among them."""
    if len(x) <= _MAX_POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, _MAX_POINTS).round().astype(int))
    return x[kept], y[kept]


def _escape(text: str) -> str:
    """Plotly reads a hover text as markup, and %{...} as a place for a value."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")
