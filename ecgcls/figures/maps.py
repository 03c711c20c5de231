"""Attributions over many records: the share of each lead, and the mean around the R peak."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from ecgcls.errors import DataError
from ecgcls.explanation.beats import PHASES_S
from ecgcls.figures.overlay import Overlay, check_attribution
from ecgcls.figures.style import INK, finish_figure, new_figure, show_verbatim


def draw_lead_shares(shares: pd.DataFrame, *, title: str, label: str) -> Figure:
    """Draw each lead's share of the attribution, one row per class.

    Parameters
    ----------
    shares
        ``(class, lead)``, 0 to 1; each row sums to 1.
    title
        Goes above the figure.
    label
        Of the color bar.

    Raises
    ------
    DataError
        There is no class or no lead, or a share is not within 0..1.
    """
    if shares.empty:
        raise DataError("shares has no class to draw")
    values = shares.to_numpy(dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        row, column = np.argwhere(~((values >= 0) & (values <= 1)))[0]
        raise DataError(
            f"shares must be within 0..1, got {values[row, column]:g} for {shares.index[row]}, {shares.columns[column]}"
        )
    n_classes, n_leads = values.shape
    figure = new_figure(2.4 + 0.55 * n_leads, max(2.6, 1.6 + 0.36 * n_classes))
    axes = figure.add_subplot()
    top = max(float(values.max()), 2 / n_leads)
    image = axes.imshow(values, cmap="Purples", vmin=0, vmax=top, aspect="auto")
    axes.set_xticks(range(n_leads), [str(name) for name in shares.columns])
    axes.set_yticks(range(n_classes), [str(name) for name in shares.index])
    show_verbatim([*axes.get_xticklabels(), *axes.get_yticklabels()])
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
    lead_names
        ``(lead,)``.
    title
        Goes above the figure.
    label
        Of the color bar, with the unit.
    is_signed
        As in `draw_ecg`.

    Raises
    ------
    DataError
        The shapes differ, there are fewer than two samples, or a value is not finite.
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
    overlay = Overlay.of(check_attribution(attribution, signal.shape), is_signed=is_signed, label=label)
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
