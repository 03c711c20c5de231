"""The scorecard of attribution methods: which of them pass the checks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ecgcls.errors import DataError
from ecgcls.figures.style import COLORS, MARKERS, add_grid, finish_figure, new_figure, show_verbatim


def draw_scorecard(card: Mapping[str, Any], *, title: str) -> Figure:
    """Draw the results of the checks of attribution methods, and how many methods pass each.

    Parameters
    ----------
    card
        ``{"methods": {name: result of explanation.scorecard.score_method}}``; an undefined value is None and leaves a
        gap.
    title
        Goes above the panels.

    Raises
    ------
    DataError
        There is no method.
    """
    methods: Mapping[str, Any] = card["methods"]
    if not methods:
        raise DataError("the scorecard has no method to draw")
    figure = new_figure(13.0, 6.0)
    grid = figure.add_gridspec(2, 3, width_ratios=(1.1, 1.1, 0.85))
    randomization, completeness = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[:, 2])
    deletion = figure.add_subplot(grid[0, 1])
    insertion = figure.add_subplot(grid[1, 1], sharex=deletion)
    styles: dict[str, dict[str, Any]] = {
        name: {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)], "markersize": 4.5}
        for number, name in enumerate(methods)
    }
    _draw_randomization(randomization, methods, styles)
    _draw_curves(deletion, methods, styles, kind="deletion")
    _draw_curves(insertion, methods, styles, kind="insertion")
    deletion.tick_params(labelbottom=False)
    insertion.set_xlabel("Share of the record deleted or inserted (%)", fontsize=9)
    _draw_completeness(completeness, methods, styles)
    handles = [Line2D([], [], linewidth=2, label=name, **style) for name, style in styles.items()]
    handles += [
        Line2D([], [], color="0.3", linewidth=1.6, label="in the order of the attribution"),
        Line2D([], [], color="0.3", linewidth=1.2, linestyle=":", label="in random order"),
        Line2D([], [], color="0.3", linewidth=1.0, linestyle="--", label="limit"),
    ]
    return finish_figure(figure, title, handles=handles)


def _to_floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _draw_randomization(axes: Axes, methods: Mapping[str, Any], styles: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw how similar each attribution stays while the net's weights are shuffled."""
    found = {name: scores["randomization"] for name, scores in methods.items() if scores.get("randomization")}
    _head_panel(axes, "Randomization: do the weights matter?", list(found.values()), "must end below the limit")
    drawn = {name: _to_floats(check["similarity"]) for name, check in found.items()}
    if not any(np.isfinite(values).any() for values in drawn.values()):
        _write_empty(axes, "no rank correlation is defined")
        return
    layers: list[str] = []
    for name, values in drawn.items():
        layers = max(layers, [str(layer) for layer in found[name]["layers"]], key=len)
        axes.plot(range(len(values)), values, linewidth=1.6, **styles[name])
    for limit in sorted({check["limit"] for check in found.values()}):
        axes.axhline(limit, color="0.3", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right", fontsize=7.5)
    show_verbatim(axes.get_xticklabels())
    lowest = min(float(np.nanmin(values)) for values in drawn.values() if np.isfinite(values).any())
    axes.set_ylim(min(-0.05, lowest - 0.05), 1.05)
    axes.set_ylabel("Rank correlation with the trained net (\N{MINUS SIGN}1 to 1)", fontsize=9)
    axes.set_xlabel("Layers shuffled so far, from the output down", fontsize=9)


def _draw_curves(axes: Axes, methods: Mapping[str, Any], styles: Mapping[str, Mapping[str, Any]], *, kind: str) -> None:
    """Draw the probability while a record is deleted or inserted, in the order of each attribution and at random."""
    found = {name: scores[kind] for name, scores in methods.items() if scores.get(kind)}
    change = "fall" if kind == "deletion" else "rise"
    aim = f"must {change} sooner than in random order"
    _head_panel(axes, f"{kind.capitalize()}: do the highest-ranked samples matter?", list(found.values()), aim)
    if not found:
        _write_empty(axes, f"no {kind} was measured")
        return
    for name, check in found.items():
        share = 100 * _to_floats(check["share"])
        solid = {**styles[name], "markersize": 2.5}
        axes.plot(share, _to_floats(check["probability"]), linewidth=1.6, **solid)
        axes.plot(share, _to_floats(check["random"]), color=styles[name]["color"], linewidth=1.2, linestyle=":")
    axes.set(xlim=(-1, 101), ylim=(-0.02, 1.02))
    axes.set_ylabel("Mean probability (0 to 1)", fontsize=9)


def _draw_completeness(axes: Axes, methods: Mapping[str, Any], styles: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the completeness error of integrated gradients, one point per record."""
    found = {name: scores["completeness"] for name, scores in methods.items() if scores.get("completeness")}
    aim = "the median must be below the limit"
    _head_panel(axes, "Completeness: do the values add up?", list(found.values()), aim)
    if not found:
        _write_empty(axes, "integrated gradients\nwas not among the methods")
        return
    for name, check in found.items():
        error = 100 * _to_floats(check["relative_error"])
        axes.plot(np.arange(1, len(error) + 1), error, linestyle="none", **styles[name])
    limits = sorted({100 * check["limit"] for check in found.values()})
    for limit in limits:
        axes.axhline(limit, color="0.3", linestyle="--", linewidth=1)
    axes.set_xlabel("Record (number in the scorecard)", fontsize=9)
    axes.set_ylabel("Relative completeness error (%)", fontsize=9)
    top = max(axes.dataLim.ymax, *limits)
    axes.set_ylim(-0.02 * top, 1.1 * top)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _head_panel(axes: Axes, question: str, checks: Sequence[Mapping[str, Any]], aim: str) -> None:
    """Write the question of a panel, its criterion, and how many methods pass."""
    n_passed = sum(bool(check["passes"]) for check in checks)
    score = f"; {n_passed} of {len(checks)} pass" if checks else ""
    axes.set_title(f"{question}\n{aim}{score}", fontsize=9)
    axes.tick_params(labelsize=8)
    add_grid(axes)


def _write_empty(axes: Axes, what: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, what, ha="center", va="center", color="0.4", fontsize=9, transform=axes.transAxes)
