"""What holds over many attributions: the share of each lead, the mean around the R peak, and the scorecard."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ecgcls.errors import DataError
from ecgcls.explanation.beats import PHASES_S
from ecgcls.figures.ecg_paper import Overlay, check_attribution
from ecgcls.figures.style import COLORS, INK, MARKERS, add_grid, finish_figure, new_figure

ByMethod = Mapping[str, Any]


def draw_lead_shares(shares: pd.DataFrame, *, title: str, label: str) -> Figure:
    """Draw each lead's share of the attribution, ``(class, lead)``; the label is that of the color bar."""
    if shares.empty:
        raise DataError("shares has no class to draw")
    values = shares.to_numpy(dtype=np.float64)
    wrong = np.argwhere(~((values >= 0) & (values <= 1)))
    if len(wrong):
        row, column = wrong[0]
        where = f"{shares.index[row]}, {shares.columns[column]}"
        raise DataError(f"shares must be within 0..1, got {values[row, column]:g} for {where}")
    n_classes, n_leads = values.shape
    figure = new_figure(2.4 + 0.55 * n_leads, max(2.6, 1.6 + 0.36 * n_classes))
    axes = figure.add_subplot()
    top = max(float(values.max()), 2 / n_leads)
    image = axes.imshow(values, cmap="Purples", vmin=0, vmax=top, aspect="auto")
    axes.set_xticks(range(n_leads), shares.columns.astype(str), parse_math=False)
    axes.set_yticks(range(n_classes), shares.index.astype(str), parse_math=False)
    axes.tick_params(length=0)
    axes.set(xlabel="Lead", ylabel="Class")
    for (row, column), share in np.ndenumerate(values):
        color = "white" if share > 0.6 * top else "black"
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=8, color=color)
    bar = figure.colorbar(image, ax=axes, format=lambda value, _: f"{value:.0%}", pad=0.01, aspect=12)
    bar.set_label(f"{label}\n(all leads equal: {1 / n_leads:.1%})", fontsize=8, parse_math=False)
    return finish_figure(figure, title)


def draw_beat(
    times_s: ArrayLike,
    attribution: ArrayLike,
    signal_mv: ArrayLike,
    *,
    lead_names: Sequence[str],
    title: str,
    label: str,
    is_signed: bool,
) -> Figure:
    """Draw each lead's mean beat on the mean attribution around the R peak.

    Parameters
    ----------
    times_s
        ``(sample,)``, s from the R peak, evenly spaced.
    attribution, signal_mv
        ``(lead, sample)``: means over beats.
    label, is_signed
        As in `ecgcls.figures.ecg_paper.draw_ecg`.
    """
    times, signal = np.asarray(times_s, dtype=np.float64), np.asarray(signal_mv, dtype=np.float64)
    if signal.shape != (len(lead_names), len(times)) or len(times) < 2 or not len(lead_names):
        raise DataError(
            f"signal_mv must be (lead, sample), here ({len(lead_names)}, {len(times)}) with two samples or more, "
            f"got {signal.shape}"
        )
    if not np.isfinite(signal).all():
        raise DataError("signal_mv has a value that is not finite")
    step_s = float(times[-1] - times[0]) / (len(times) - 1)
    overlay = Overlay(check_attribution(attribution, signal.shape), is_signed=is_signed, label=label)
    n_rows = math.ceil(len(signal) / 4)
    figure = new_figure(10.0, 1.4 + 1.75 * n_rows)
    grid = figure.subplots(n_rows, 4, sharex=True, sharey=True, squeeze=False)
    pad = 0.08 * float(np.ptp(signal)) or 0.1
    low, high = float(signal.min()) - 2.4 * pad, float(signal.max()) + 2.4 * pad
    extent = (float(times[0]) - step_s / 2, float(times[-1]) + step_s / 2, low, high)
    panels = list(grid.T.flat)  # down the columns, like the leads on paper
    for axes in panels[len(signal) :]:
        axes.set_axis_off()
    for axes, name, trace, values in zip(panels, lead_names, signal, overlay.values, strict=False):
        overlay.draw(axes, values[None], extent)
        axes.plot(times, trace, color=INK, linewidth=1.1)
        axes.text(0.02, 0.95, name, transform=axes.transAxes, fontweight="bold", fontsize=9, va="top", parse_math=False)
        _mark_phases(axes, (float(times[0]), float(times[-1])), low + 0.3 * pad)
        axes.set(xlim=(times[0], times[-1]), ylim=(low, high))
        axes.tick_params(labelsize=7)
    for axes in grid[-1]:
        axes.set_xlabel("Time from the R peak (s)", fontsize=8)
    figure.supylabel("Mean beat (mV)", fontsize=9)
    bar = figure.colorbar(overlay.mappable, ax=grid, extend=overlay.extend, pad=0.01, aspect=40)
    bar.set_label(overlay.label, fontsize=8, parse_math=False)
    bar.ax.tick_params(labelsize=7)
    handles = [
        Line2D([], [], color=INK, linewidth=1.1, label="mean beat"),
        Line2D([], [], color="0.5", linewidth=0.7, linestyle=":", label="nominal windows of P, QRS and ST-T"),
    ]
    return finish_figure(figure, title, handles=handles)


def _mark_phases(axes: Axes, shown_s: tuple[float, float], y: float) -> None:
    """Mark the windows of the waves as far as they are shown, and name them at height `y`."""
    for border in sorted({border for window in PHASES_S.values() for border in window}):
        if shown_s[0] < border < shown_s[1]:
            axes.axvline(border, color="0.5", linewidth=0.7, linestyle=":")
    for phase, (start, stop) in PHASES_S.items():
        middle = (max(start, shown_s[0]) + min(stop, shown_s[1])) / 2
        if shown_s[0] < middle < shown_s[1]:
            axes.text(middle, y, phase, ha="center", fontsize=6.5, color="0.25")


def draw_scorecard(card: ByMethod, *, title: str) -> Figure:
    """Draw the results of the checks of attribution methods, and how many methods pass each.

    The card is ``{"methods": {name: result of explanation.scorecard.score_method}}``; an undefined value is None, as
    an array nan, and leaves a gap.
    """
    methods: ByMethod = card["methods"]
    if not methods:
        raise DataError("the scorecard has no method to draw")
    figure = new_figure(13.0, 6.0)
    grid = figure.add_gridspec(2, 3, width_ratios=(1.1, 1.1, 0.85))
    randomization, completeness = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[:, 2])
    deletion = figure.add_subplot(grid[0, 1])
    insertion = figure.add_subplot(grid[1, 1], sharex=deletion)
    styles: ByMethod = {
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


def _draw_randomization(axes: Axes, methods: ByMethod, styles: ByMethod) -> None:
    """Draw how similar each attribution stays while the net's weights are shuffled."""
    aim = "must end below the limit"
    found = _head_panel(axes, methods, "randomization", question="do the weights matter?", aim=aim)
    drawn = {name: np.array(check["similarity"], float) for name, check in found.items()}
    if not any(np.isfinite(values).any() for values in drawn.values()):
        _write_empty(axes, "no rank correlation is defined")
        return
    for name, values in drawn.items():
        axes.plot(range(len(values)), values, linewidth=1.6, **styles[name])
    for limit in sorted({check["limit"] for check in found.values()}):
        axes.axhline(limit, color="0.3", linestyle="--", linewidth=1)
    layers = max((check["layers"] for check in found.values()), key=len)
    axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right", fontsize=7.5, parse_math=False)
    lowest = min(float(np.nanmin(values)) for values in drawn.values() if np.isfinite(values).any())
    axes.set_ylim(min(-0.05, lowest - 0.05), 1.05)
    axes.set_ylabel("Rank correlation with the trained net (\N{MINUS SIGN}1 to 1)", fontsize=9)
    axes.set_xlabel("Layers shuffled so far, from the output down", fontsize=9)


def _draw_curves(axes: Axes, methods: ByMethod, styles: ByMethod, *, kind: str) -> None:
    """Draw the probability while a record is deleted or inserted, in the order of each attribution and at random."""
    aim = f"must {'fall' if kind == 'deletion' else 'rise'} sooner than in random order"
    found = _head_panel(axes, methods, kind, question="do the highest-ranked samples matter?", aim=aim)
    if not found:
        _write_empty(axes, f"no {kind} was measured")
        return
    for name, check in found.items():
        share, by_map, by_chance = (np.array(check[key], float) for key in ("share", "probability", "random"))
        axes.plot(100 * share, by_map, linewidth=1.6, **styles[name] | {"markersize": 2.5})
        axes.plot(100 * share, by_chance, color=styles[name]["color"], linewidth=1.2, linestyle=":")
    axes.set(xlim=(-1, 101), ylim=(-0.02, 1.02))
    axes.set_ylabel("Mean probability (0 to 1)", fontsize=9)


def _draw_completeness(axes: Axes, methods: ByMethod, styles: ByMethod) -> None:
    """Draw the completeness error of integrated gradients, one point per record."""
    aim = "the median must be below the limit"
    found = _head_panel(axes, methods, "completeness", question="do the values add up?", aim=aim)
    if not found:
        _write_empty(axes, "integrated gradients\nwas not among the methods")
        return
    for name, check in found.items():
        error = 100 * np.array(check["relative_error"], float)
        axes.plot(np.arange(1, len(error) + 1), error, linestyle="none", **styles[name])
    limits = sorted({100 * check["limit"] for check in found.values()})
    for limit in limits:
        axes.axhline(limit, color="0.3", linestyle="--", linewidth=1)
    axes.set_xlabel("Record (number in the scorecard)", fontsize=9)
    axes.set_ylabel("Relative completeness error (%)", fontsize=9)
    top = max(axes.dataLim.ymax, *limits)
    axes.set_ylim(-0.02 * top, 1.1 * top)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _head_panel(axes: Axes, methods: ByMethod, kind: str, *, question: str, aim: str) -> ByMethod:
    """Write a check's question, its criterion and how many methods pass; return the results by method."""
    found = {name: scores[kind] for name, scores in methods.items() if scores.get(kind)}
    score = f"; {sum(check['passes'] for check in found.values())} of {len(found)} pass" if found else ""
    axes.set_title(f"{kind.capitalize()}: {question}\n{aim}{score}", fontsize=9)
    axes.tick_params(labelsize=8)
    add_grid(axes)
    return found


def _write_empty(axes: Axes, what: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, what, ha="center", va="center", color="0.4", fontsize=9, transform=axes.transAxes)
