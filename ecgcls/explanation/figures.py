"""Figures of explanations: an ECG on clinical paper with what a net looked at, and the summaries of many.

Task: show a reader of ECGs where an attribution lies, on the paper that such a reader knows, and show what holds over
many records and whether the method may be believed.

Conventions: arrays are ``(lead, sample)``, voltages in mV, times in s. Every function returns a new matplotlib
`Figure`; pyplot is not used. ECG paper has its true scale, 25 mm/s and 10 mm/mV, when printed at 100 %. Attributions
that have a sign run from blue (speaks against the class) over transparent to orange (speaks for it); those that have
none, from transparent to purple. The scale ends at the 99.5th percentile of the magnitudes that are drawn, and arrows
at the ends of the colour bar say that values lie beyond it.
"""

import io
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ecgcls.data.signals import LEADS
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.figures import COLORS, DPI
from ecgcls.explanation.beats import PHASES_S

MM_PER_S, MM_PER_MV = 25.0, 10.0
LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
"""Rows and columns of the paper; column k shows the k-th quarter of its leads."""
RHYTHM = "II"
"""The lead that is shown whole, below the others."""

_MARGIN, _PULSE_ZONE = 8.0, 10.0  # mm: around the paper; left of the traces
_ABOVE, _BELOW = 14.0, 14.0  # mm: least room of a row above and below its line, which makes rows of 30 mm
_MIN_WIDTH = 120.0  # mm: room for what is written; the paper of a short record ends in blank squares
_BAND = 4.0  # mm: the colour band reaches so far above and below the line of its row
_BAND_S = 0.04  # s: a column of the band, 1 mm of paper, over which the attribution is averaged
_MAP, _MAP_ROW = 51.0, 3.0  # mm: the map of all leads with its axis; one of its rows
_BAR = 10.0  # mm: the colour bar with its label
_PAPER, _FINE, _HEAVY, _INK = "#fffaf9", "#dc504838", "#d8443c78", "#1a1a1a"
_SIGNED = LinearSegmentedColormap.from_list(
    "against_for", [(0.0, (0.13, 0.42, 0.72, 0.9)), (0.5, (0.97, 0.97, 0.97, 0)), (1.0, (0.90, 0.49, 0.05, 0.9))]
)
_UNSIGNED = LinearSegmentedColormap.from_list("magnitude", [(0.98, 0.97, 1.0, 0.0), (0.40, 0.22, 0.60, 0.9)])
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_DISCLAIMER = "Research software, not a medical device."


def draw_ecg(
    signal_mv: ArrayLike,
    *,
    sampling_rate_hz: float,
    lead_names: Sequence[str],
    title: str,
    subtitle: str = "",
    attribution: ArrayLike | None = None,
    label: str = "",
    is_signed: bool = True,
) -> Figure:
    """Draw a 12-lead ECG on paper, 25 mm/s and 10 mm/mV, with an attribution as a band behind each trace.

    The layout is the standard one of 3 x 4 leads, a quarter of the time each, with a rhythm strip of lead II. Each
    lead's median lies on the line of its row. Rows are 30 mm high, and higher where a trace needs it. Since the layout
    shows a quarter of most leads, the whole attribution stands below as a map of leads and time. Its colours, there and
    in the bands, are means over 40 ms, one small square of the paper: single samples, whose signs often alternate, are
    narrower than the trace.

    Parameters
    ----------
    signal_mv
        ``(lead, sample)``, mV.
    sampling_rate_hz
        Of the signal.
    lead_names
        The twelve standard leads in any order and case.
    title, subtitle
        Stand above the paper.
    attribution
        ``(lead, sample)``; None draws the ECG alone.
    label
        Of the colour bar, with the unit.
    is_signed
        Whether the attribution's sign means for and against; otherwise its magnitude is drawn.

    Raises
    ------
    DataError
        The leads are not the twelve standard ones, the shapes differ, or a value is not finite.
    ConfigError
        The sampling rate is not positive.
    """
    signal = _check_ecg(signal_mv, lead_names, sampling_rate_hz)  # leads in the order of LEADS
    signal = signal - np.median(signal, axis=1, keepdims=True)
    rows = [_Row(names, signal, sampling_rate_hz) for names in (*LAYOUT, (RHYTHM,))]
    notes = [_DISCLAIMER, "Each lead's median lies on the line of its row."]
    layer = None
    if attribution is not None:
        values = _check_attribution(attribution, np.shape(signal_mv))[_order(lead_names)]
        n_averaged = max(1, round(_BAND_S * sampling_rate_hz))
        layer = _Layer.of(values, is_signed=is_signed, label=label, n_averaged=n_averaged)
        notes.append(_say_shown(values, rows[:-1], n_averaged / sampling_rate_hz))
    width = max(_PULSE_ZONE + 5 * math.ceil(signal.shape[1] / sampling_rate_hz * MM_PER_S / 5), _MIN_WIDTH)
    height = sum(row.height for row in rows)
    scale = f"25 mm/s   10 mm/mV   {sampling_rate_hz:g} Hz"
    page = _Page.of(width, height, title, subtitle, scale, notes, below=0.0 if layer is None else _MAP + _BAR)
    paper = _add_paper(page, width, height)
    top = float(height)
    for row in rows:
        _draw_row(paper, row, top - row.above)
        if layer is not None:
            _draw_band(paper, row, top - row.above, layer)
        top -= row.height
    if layer is not None:
        _draw_map(page, rows[:-1], layer)
        _draw_colour_bar(page, layer)
    return page.figure


class _Row:
    """One row of the paper: which samples of which leads, one after another, and how much room they need."""

    def __init__(self, names: Sequence[str], signal: NDArray[np.float64], rate_hz: float) -> None:
        edges = np.linspace(0, signal.shape[1], len(names) + 1).round().astype(int).tolist()
        self.rate_hz = rate_hz
        self.pieces = [(name, LEADS.index(name), *edges[k : k + 2]) for k, name in enumerate(names)]
        self.traces_mm = [MM_PER_MV * signal[lead, start:stop] for _, lead, start, stop in self.pieces]
        self.labels_mm = [
            _place_label(trace[: math.ceil((2 + 2.2 * len(name)) / MM_PER_S * rate_hz)])
            for name, trace in zip(names, self.traces_mm, strict=True)
        ]
        highest = max(*(float(trace.max()) for trace in self.traces_mm), *(y + 3 for y in self.labels_mm), _ABOVE)
        lowest = min(*(float(trace.min()) for trace in self.traces_mm), *self.labels_mm, -_BELOW)
        self.above = 5 * math.ceil((highest + 1) / 5)  # mm; the line of the row lies on the grid
        self.height = self.above + 5 * math.ceil((1 - lowest) / 5)

    def x_mm(self, sample: ArrayLike) -> Any:
        return _PULSE_ZONE + MM_PER_S * np.asarray(sample) / self.rate_hz


def _place_label(trace_mm: NDArray[np.float64]) -> float:
    """Find where a lead's name is clear of the beginning of its trace: mm from the line of the row to its foot."""
    above = max(8.0, float(trace_mm.max()) + 1)
    is_free_below = float(trace_mm.min()) > -8
    return -12.0 if above > _ABOVE - 3 and is_free_below else above


@dataclass(frozen=True)
class _Page:
    """A figure that is laid out in mm, from its lower left corner."""

    figure: Figure
    width: float
    height: float
    paper_bottom: float
    foot: float  # height of the notes

    @classmethod
    def of(
        cls,
        width: float,
        height: float,
        title: str,
        subtitle: str,
        scale: str,
        notes: Sequence[str],
        *,
        below: float,
    ) -> "_Page":
        """Make the page for a paper of this size, with what is written above and below it."""
        titles = textwrap.wrap(title, int(width / 2.75))
        subtitles = textwrap.wrap(subtitle, int((width - 50) / 1.75))
        feet = textwrap.wrap(" ".join(notes), int(width / 1.4))
        head = 5 + 5.5 * len(titles) + 4.2 * max(1, len(subtitles))
        foot = 4.5 + 3.2 * len(feet)
        size = (width + 2 * _MARGIN, head + height + below + foot)
        figure = Figure(figsize=(size[0] / 25.4, size[1] / 25.4), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        page = cls(figure, *size, paper_bottom=foot + below, foot=foot)
        y = size[1] - 3.0
        for line in titles:
            y -= 5.5
            page.write(_MARGIN, y + 1.2, line, fontsize=11, fontweight="bold")
        page.write(size[0] - _MARGIN, y - 3.6, scale, fontsize=8.5, color="0.3", ha="right")
        for line in subtitles:
            y -= 4.2
            page.write(_MARGIN, y + 0.6, line, fontsize=8.5, color="0.3")
        for number, line in enumerate(reversed(feet)):
            page.write(_MARGIN, 3.0 + 3.2 * number, line, fontsize=6.5, color="0.35")
        return page

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        self.figure.text(x / self.width, y / self.height, text, parse_math=False, **style)

    def add_axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        place = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(place)


@dataclass(frozen=True)
class _Layer:
    """An attribution as it is drawn, and what its colours mean."""

    values: NDArray[np.float64]  # (lead, sample): means over columns; magnitudes where the sign means nothing
    norm: Normalize
    colours: LinearSegmentedColormap
    extend: str  # at which ends of the scale values lie beyond it
    label: str

    @classmethod
    def of(cls, values: NDArray[np.float64], *, is_signed: bool, label: str, n_averaged: int = 1) -> "_Layer":
        """Average the samples over columns of `n_averaged` and find the scale."""
        shown = _average(values if is_signed else np.abs(values), n_averaged)
        magnitude = np.abs(shown)
        top = float(np.percentile(magnitude, 99.5)) or float(magnitude.max()) or 1.0
        low, colours = (-top, _SIGNED) if is_signed else (0.0, _UNSIGNED)
        ends = (bool(shown.min() < low), bool(shown.max() > top))
        extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[ends]
        meaning = "blue: against the class, orange: for it" if is_signed else "magnitude"
        return cls(shown, Normalize(low, top), colours, extend, f"{label}; {meaning}")

    @property
    def key(self) -> ScalarMappable:
        """What a colour bar shows."""
        return ScalarMappable(self.norm, self.colours)

    def draw(
        self, axes: Axes, values: NDArray[np.float64], extent: tuple[float, float, float, float], **style: Any
    ) -> None:
        """Draw some of the values."""
        style = {"aspect": "auto", "interpolation": "none", **style}
        axes.imshow(values, norm=self.norm, cmap=self.colours, extent=extent, **style)


def _average(values: NDArray[np.float64], n_averaged: int) -> NDArray[np.float64]:
    """Give each sample the mean of its column of `n_averaged` samples; the last column may be narrower."""
    starts = np.arange(0, values.shape[1], n_averaged)
    widths = np.diff(starts, append=values.shape[1])
    return np.repeat(np.add.reduceat(values, starts, axis=1) / widths, widths, axis=1)


def _order(lead_names: Sequence[str]) -> list[int]:
    """Say where each of `LEADS` stands."""
    folded = [name.casefold() for name in lead_names]
    return [folded.index(lead.casefold()) for lead in LEADS]


def _check_ecg(signal_mv: ArrayLike, lead_names: Sequence[str], sampling_rate_hz: float) -> NDArray[np.float64]:
    signal = np.asarray(signal_mv, dtype=np.float64)
    if sorted(name.casefold() for name in lead_names) != sorted(lead.casefold() for lead in LEADS):
        raise DataError(
            f"ECG paper needs the twelve standard leads, {', '.join(LEADS)} (in any order), got {', '.join(lead_names)}"
        )
    if signal.ndim != 2 or len(signal) != len(LEADS) or signal.shape[1] < 8:
        raise DataError(f"signal_mv must be (lead, sample) with 12 leads and 8 samples or more, got {signal.shape}")
    if not np.isfinite(signal).all():
        lead, sample = np.argwhere(~np.isfinite(signal))[0]
        raise DataError(f"signal_mv is not finite in lead {lead_names[lead]}, sample {sample}")
    if not (math.isfinite(sampling_rate_hz) and sampling_rate_hz > 0):
        raise ConfigError(f"sampling_rate_hz must be positive, got {sampling_rate_hz}")
    return signal[_order(lead_names)]


def _check_attribution(attribution: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    values = np.asarray(attribution, dtype=np.float64)
    if values.shape != shape:
        raise DataError(f"the attribution must have the signal's shape {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise DataError("the attribution has a value that is not finite")
    return values


def _add_paper(page: _Page, width: float, height: float) -> Axes:
    """Add the pink paper, an axes in mm whose origin is the paper's lower left corner."""
    axes = page.add_axes(_MARGIN, page.paper_bottom, width, height)
    axes.set(xlim=(0, width), ylim=(0, height), facecolor=_PAPER, xticks=[], yticks=[], autoscale_on=False)
    for spine in axes.spines.values():
        spine.set(color=_HEAVY, linewidth=0.6)
    for step, colour, line_width in ((1, _FINE, 0.3), (5, _HEAVY, 0.55)):
        vertices: list[tuple[float, float]] = []
        for x in range(step, int(width), step):
            vertices += [(x, 0.0), (x, height)]
        for y in range(step, int(height), step):
            vertices += [(0.0, y), (width, y)]
        codes = [Path.MOVETO, Path.LINETO] * (len(vertices) // 2)
        grid = PathPatch(Path(vertices, codes), fill=False, edgecolor=colour, linewidth=line_width, zorder=1.8)
        grid.set_gid(f"grid-{step}-mm")
        axes.add_patch(grid)
    return axes


def _draw_row(axes: Axes, row: _Row, base: float) -> None:
    """Draw the calibration pulse, the traces, their names and the marks between them."""
    pulse_x = np.array([1, 2, 2, 7, 7, 8])
    pulse_y = base + MM_PER_MV * np.array([0, 0, 1, 1, 0, 0])
    axes.plot(pulse_x, pulse_y, color=_INK, linewidth=0.8, solid_joinstyle="miter", gid=f"calibration-{base:g}")
    for (name, _, start, stop), trace, label in zip(row.pieces, row.traces_mm, row.labels_mm, strict=True):
        x = row.x_mm(np.arange(start, stop))
        axes.plot(
            x, base + trace, color=_INK, linewidth=0.8, solid_joinstyle="round", zorder=3, gid=f"{name}-{start}-{stop}"
        )
        left = float(row.x_mm(start))
        if start:
            marks = [base - 5, base - 3, np.nan, base + 3, base + 5]
            axes.plot([left] * 5, marks, color=_INK, linewidth=0.8, zorder=2)
        axes.text(left + 1, base + label, name, fontsize=8, fontweight="bold", zorder=4)


def _draw_band(axes: Axes, row: _Row, base: float, layer: _Layer) -> None:
    for _, lead, start, stop in row.pieces:
        left, right = row.x_mm(np.array([start, stop]) - 0.5)
        extent = (float(left), float(right), base - _BAND, base + _BAND)
        layer.draw(axes, layer.values[lead : lead + 1, start:stop], extent, zorder=1.5)


def _draw_map(page: _Page, rows: Sequence[_Row], layer: _Layer) -> None:
    """Draw the whole attribution, a row a lead, on the time scale of the paper above, and frame what that shows."""
    rate_hz = rows[0].rate_hz
    duration_s, half_s = layer.values.shape[1] / rate_hz, 0.5 / rate_hz
    left, bottom, height = _MARGIN + _PULSE_ZONE, page.foot + _BAR + 8, _MAP_ROW * len(LEADS)
    axes = page.add_axes(left, bottom, duration_s * MM_PER_S, height)
    layer.draw(axes, layer.values, (-half_s, duration_s - half_s, len(LEADS), 0))
    axes.set_xlim(0, duration_s)
    axes.set_yticks(np.arange(len(LEADS)) + 0.5, LEADS)
    axes.tick_params(length=0, labelsize=6.5)
    axes.set_xlabel("Time (s)", fontsize=7, labelpad=1)
    for pieces in zip(*(row.pieces for row in rows), strict=True):
        leads, (_, _, start, stop) = [lead for _, lead, _, _ in pieces], pieces[0]
        corner, size = (start / rate_hz, min(leads)), ((stop - start) / rate_hz, len(leads))
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="0.45", linewidth=0.6))
    for line in range(1, len(LEADS)):
        axes.axhline(line, color="0.9", linewidth=0.3, zorder=0.5)
    for spine in axes.spines.values():
        spine.set(color="0.7", linewidth=0.5)
    page.write(
        left, bottom + height + 1.2, "All leads over the whole time; framed: what the rows above show", fontsize=7
    )


def _draw_colour_bar(page: _Page, layer: _Layer) -> None:
    axes = page.add_axes(page.width - _MARGIN - 70, page.foot + 3.5, 70, 2.2)
    bar = page.figure.colorbar(layer.key, cax=axes, orientation="horizontal", extend=layer.extend)
    bar.locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    bar.update_ticks()
    bar.ax.tick_params(labelsize=6, length=2, pad=1)
    bar.ax.xaxis.get_offset_text().set_fontsize(6)
    bar.outline.set_linewidth(0.5)
    page.write(page.width - _MARGIN, page.foot + 7, layer.label, fontsize=6.5, ha="right")


def _say_shown(values: NDArray[np.float64], rows: Sequence[_Row], column_s: float) -> str:
    """Say what share of the attribution's magnitude the quarters of the 3 x 4 layout show, and what is averaged."""
    magnitude = np.abs(values)
    if not magnitude.any():
        return "The attribution is 0 everywhere."
    shown = sum(float(magnitude[lead, start:stop].sum()) for row in rows for _, lead, start, stop in row.pieces)
    return (
        f"The 3 x 4 layout shows {shown / magnitude.sum():.0%} of the attribution's magnitude. "
        f"Colours: means over {1000 * column_s:.3g} ms."
    )


def draw_lead_shares(shares: pd.DataFrame, *, title: str, label: str) -> Figure:
    """Draw which share of the attribution lies in which lead, a row a class.

    Parameters
    ----------
    shares
        Classes by leads, 0 to 1; each row sums to 1.
    title
        Stands above.
    label
        Of the colour bar.

    Raises
    ------
    DataError
        There is no class or no lead, or a share is not within 0..1.
    """
    if shares.empty:
        raise DataError("there is no class whose shares could be drawn")
    values = shares.to_numpy(dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        row, column = np.argwhere(~((values >= 0) & (values <= 1)))[0]
        raise DataError(
            f"shares must be within 0..1, got {values[row, column]:g} for {shares.index[row]}, {shares.columns[column]}"
        )
    n_classes, n_leads = values.shape
    figure = Figure(figsize=(2.4 + 0.55 * n_leads, max(2.6, 1.6 + 0.36 * n_classes)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    top = max(float(values.max()), 2 / n_leads)
    image = axes.imshow(values, cmap="Purples", vmin=0, vmax=top, aspect="auto")
    axes.set_xticks(range(n_leads), [str(name) for name in shares.columns])
    axes.set_yticks(range(n_classes), [str(name) for name in shares.index])
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)
    axes.tick_params(length=0)
    axes.set(xlabel="Lead", ylabel="Class")
    axes.set_title(_wrap(title, figure, 11), fontsize=11, parse_math=False)
    for (row, column), share in np.ndenumerate(values):
        colour = "white" if share > 0.6 * top else "black"
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=8, color=colour)
    bar = figure.colorbar(image, ax=axes, format=lambda value, _: f"{value:.0%}", pad=0.01, aspect=12)
    bar.set_label(f"{label}\n(even: {1 / n_leads:.1%} each)", fontsize=8, parse_math=False)
    return figure


def _wrap(text: str, figure: Figure, fontsize: float) -> str:
    """Break a title into lines that fit a figure's width."""
    return "\n".join(textwrap.wrap(text, int(72 * figure.get_figwidth() / (0.62 * fontsize))))


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
    """Draw the mean beat of each lead over the mean attribution around the R peak.

    Parameters
    ----------
    times_s
        ``(sample,)``, s from the R peak, evenly spaced.
    attribution, signal_mv
        ``(lead, sample)``: means over beats.
    lead_names
        One a row.
    title
        Stands above.
    label
        Of the colour bar, with the unit.
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
    layer = _Layer.of(_check_attribution(attribution, signal.shape), is_signed=is_signed, label=label)
    n_rows = math.ceil(len(signal) / 4)
    figure = Figure(figsize=(10.0, 1.4 + 1.75 * n_rows), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, 4, sharex=True, sharey=True, squeeze=False)
    pad = 0.08 * float(np.ptp(signal)) or 0.1
    low, high = float(signal.min()) - 2.4 * pad, float(signal.max()) + 2.4 * pad
    extent = (float(times[0]) - step_s / 2, float(times[-1]) + step_s / 2, low, high)
    panels = list(grid.T.flat)  # down the columns, as the leads of the paper
    for axes in panels[len(signal) :]:
        axes.set_axis_off()
    for axes, name, trace, values in zip(panels, lead_names, signal, layer.values, strict=False):
        layer.draw(axes, values[None], extent)
        axes.plot(times, trace, color=_INK, linewidth=1.1)
        axes.text(0.02, 0.95, name, transform=axes.transAxes, fontweight="bold", fontsize=9, va="top", parse_math=False)
        _mark_phases(axes, (float(times[0]), float(times[-1])), low + 0.3 * pad)
        axes.set(xlim=(times[0], times[-1]), ylim=(low, high))
        axes.tick_params(labelsize=7)
    for axes in grid[-1]:
        axes.set_xlabel("Time from the R peak (s)", fontsize=8)
    figure.supylabel("Mean beat (mV)", fontsize=9)
    figure.suptitle(_wrap(title, figure, 11), fontsize=11, parse_math=False)
    bar = figure.colorbar(layer.key, ax=grid, extend=layer.extend, pad=0.01, aspect=40)
    bar.set_label(layer.label, fontsize=8, parse_math=False)
    bar.ax.tick_params(labelsize=7)
    handles = [
        Line2D([], [], color=_INK, linewidth=1.1, label="mean beat"),
        Line2D([], [], color="0.5", linewidth=0.7, linestyle=":", label="limits of P, QRS and ST-T: nominal windows"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _mark_phases(axes: Axes, shown_s: tuple[float, float], y: float) -> None:
    """Mark the windows of the waves, as far as they are shown, and name them at a height of `y`."""
    for border in sorted({border for window in PHASES_S.values() for border in window}):
        if shown_s[0] < border < shown_s[1]:
            axes.axvline(border, color="0.5", linewidth=0.7, linestyle=":")
    for phase, (start, stop) in PHASES_S.items():
        middle = (max(start, shown_s[0]) + min(stop, shown_s[1])) / 2
        if shown_s[0] < middle < shown_s[1]:
            axes.text(middle, y, phase, ha="center", fontsize=6.5, color="0.25")


def draw_scorecard(card: Mapping[str, Any], *, title: str) -> Figure:
    """Draw whether attribution methods can be believed: what `scorecard.score_method` found of each.

    Parameters
    ----------
    card
        ``{"methods": {name: what score_method returned}}``; a value may be None where it is undefined, which leaves a
        gap.
    title
        Stands above.

    Raises
    ------
    DataError
        There is no method.
    """
    methods: Mapping[str, Any] = card["methods"]
    if not methods:
        raise DataError("the scorecard has no method that could be drawn")
    figure = Figure(figsize=(13.0, 6.0), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, width_ratios=(1.1, 1.1, 0.85))
    randomisation, completeness = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[:, 2])
    deletion = figure.add_subplot(grid[0, 1])
    insertion = figure.add_subplot(grid[1, 1], sharex=deletion)
    styles: dict[str, dict[str, Any]] = {
        name: {"color": COLORS[number % len(COLORS)], "marker": _MARKERS[number % len(_MARKERS)], "markersize": 4.5}
        for number, name in enumerate(methods)
    }
    _draw_randomisation(randomisation, methods, styles)
    _draw_curves(deletion, methods, styles, kind="deletion")
    _draw_curves(insertion, methods, styles, kind="insertion")
    deletion.tick_params(labelbottom=False)
    insertion.set_xlabel("Share of the record that is deleted or inserted (%)", fontsize=9)
    _draw_completeness(completeness, methods, styles)
    figure.suptitle(_wrap(title, figure, 12), fontsize=12, parse_math=False)
    handles = [Line2D([], [], linewidth=2, label=name, **style) for name, style in styles.items()]
    handles += [
        Line2D([], [], color="0.3", linewidth=1.6, label="in the map's order"),
        Line2D([], [], color="0.3", linewidth=1.2, linestyle=":", label="in random order"),
        Line2D([], [], color="0.3", linewidth=1.0, linestyle="--", label="limit"),
    ]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=8.5)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _to_floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _draw_randomisation(axes: Axes, methods: Mapping[str, Any], styles: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw how like itself each map stays while the net's weights are shuffled."""
    found = {name: scores["randomization"] for name, scores in methods.items() if scores.get("randomization")}
    _head_panel(axes, "Does the map change with the weights?", list(found.values()), "must fall below the limit")
    drawn = {name: _to_floats(check["similarity"]) for name, check in found.items()}
    if not any(np.isfinite(values).any() for values in drawn.values()):
        _say_empty(axes, "no rank correlation is defined")
        return
    layers: list[str] = []
    for name, values in drawn.items():
        layers = max(layers, [str(layer) for layer in found[name]["layers"]], key=len)
        axes.plot(range(len(values)), values, linewidth=1.6, **styles[name])
    for limit in sorted({check["limit"] for check in found.values()}):
        axes.axhline(limit, color="0.3", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right", fontsize=7.5)
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    lowest = min(float(np.nanmin(values)) for values in drawn.values() if np.isfinite(values).any())
    axes.set_ylim(min(-0.05, lowest - 0.05), 1.05)
    axes.set_ylabel("Rank correlation with the trained net's map", fontsize=9)
    axes.set_xlabel("Layers shuffled so far, from the output down", fontsize=9)


def _draw_curves(axes: Axes, methods: Mapping[str, Any], styles: Mapping[str, Mapping[str, Any]], *, kind: str) -> None:
    """Draw the probability while the record is deleted or inserted, by each map and in random order."""
    found = {name: scores[kind] for name, scores in methods.items() if scores.get(kind)}
    aim = {"deletion": "must fall sooner than in random order", "insertion": "must rise sooner than in random order"}[
        kind
    ]
    _head_panel(axes, f"{kind.capitalize()}: do the samples that it names matter?", list(found.values()), aim)
    if not found:
        _say_empty(axes, f"no {kind} was measured")
        return
    for name, check in found.items():
        share = 100 * _to_floats(check["share"])
        solid = {**styles[name], "markersize": 2.5}
        axes.plot(share, _to_floats(check["probability"]), linewidth=1.6, **solid)
        axes.plot(share, _to_floats(check["random"]), color=styles[name]["color"], linewidth=1.2, linestyle=":")
    axes.set(xlim=(-1, 101), ylim=(-0.02, 1.02))
    axes.set_ylabel("Probability (mean)", fontsize=9)


def _draw_completeness(axes: Axes, methods: Mapping[str, Any], styles: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw how far integrated gradients are from summing to what they explain, a point a record."""
    found = {name: scores["completeness"] for name, scores in methods.items() if scores.get("completeness")}
    aim = "median must be within the limit"
    _head_panel(axes, "Do integrated gradients add up?", list(found.values()), aim)
    if not found:
        _say_empty(axes, "integrated gradients\nwas not among the methods")
        return
    for name, check in found.items():
        error = 100 * _to_floats(check["relative_error"])
        axes.plot(np.arange(1, len(error) + 1), error, linestyle="none", **styles[name])
    limits = sorted({100 * check["limit"] for check in found.values()})
    for limit in limits:
        axes.axhline(limit, color="0.3", linestyle="--", linewidth=1)
    axes.set_xlabel("Record, in the scorecard's order", fontsize=9)
    axes.set_ylabel("Relative completeness error (%)", fontsize=9)
    top = max(axes.dataLim.ymax, *limits)
    axes.set_ylim(-0.02 * top, 1.1 * top)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _head_panel(axes: Axes, question: str, checks: Sequence[Mapping[str, Any]], aim: str) -> None:
    """Write a panel's question, and how many methods pass."""
    n_passed = sum(bool(check["passes"]) for check in checks)
    score = f"; {n_passed} of {len(checks)} pass" if checks else ""
    axes.set_title(f"{question}\n{aim}{score}", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)


def _say_empty(axes: Axes, what: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, what, ha="center", va="center", color="0.4", fontsize=9, transform=axes.transAxes)


def to_svg(figure: Figure, *, prefix: str) -> str:
    """Return a figure as an SVG element that can stand in an HTML page.

    Text stays text, pictures are embedded, coordinates are rounded to 0.01 pt (4 micrometres), and no style leaves
    the element. Equal figures and prefixes give equal text.

    Parameters
    ----------
    figure
        Any figure.
    prefix
        Begins every id, so that several pictures can stand in one page: a letter, then letters, digits, '_' and '-'.

    Raises
    ------
    ConfigError
        The prefix is none.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", prefix, re.ASCII):
        raise ConfigError(f"prefix must be a letter, then letters, digits, '_' and '-', got {prefix!r}")
    content = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix, "image.composite_image": False}):
        figure.savefig(content, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = content.getvalue()
    text = text[text.index("<svg") :].strip()
    # Matplotlib's style sheet would hold for the whole page; the element itself hands the same on to its content.
    text = re.sub(r"\s*<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = text.replace("<svg", '<svg style="stroke-linejoin: round; stroke-linecap: butt; white-space: pre"', 1)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    return re.sub(r'\bd="([^"]*)"', _round_path, text)


def _round_path(path: re.Match[str]) -> str:
    numbers = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), path[1])
    return f'd="{" ".join(numbers.split())}"'
