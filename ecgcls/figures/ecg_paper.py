"""An ECG on clinical paper, with or without an attribution.

Conventions: arrays are ``(lead, sample)``, voltages in mV, times in s. The paper has its true scale, 25 mm/s and
10 mm/mV, when printed at 100%.

Attributions with a sign run from blue (evidence against the class) over transparent to orange (evidence for it), those
without one from transparent to purple. The scale ends at the 99.5th percentile of the magnitudes drawn; arrows at the
ends of the color bar mean that values lie beyond it.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ecgcls.data.lead_sets import LEADS
from ecgcls.errors import ConfigError, DataError
from ecgcls.figures.style import INK, new_figure

MM_PER_S, MM_PER_MV = 25.0, 10.0
LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
"""Rows and columns of the paper for twelve leads; column k shows the k-th quarter of its leads."""
RHYTHM = "II"
"""The lead of the rhythm strip, drawn in full below the others."""
_MARGIN, _PULSE_ZONE = 8.0, 10.0  # mm: around the paper; left of the traces
_ABOVE, _BELOW = 14.0, 14.0  # mm: least space of a row above and below its baseline; rows are 30 mm high
_MIN_WIDTH = 120.0  # mm: space for the texts; the paper of a short record ends in blank squares
_BAND = 4.0  # mm: how far the color band extends above and below the baseline
_BAND_S = 0.04  # s: a column of the band, 1 mm of paper, over which the attribution is averaged
_MAP_ROW, _MAP_AXIS = 3.0, 15.0  # mm: a row of the map of all leads; its axis and title
_BAR = 10.0  # mm: the color bar with its label, and the legend
_PAPER, _FINE, _HEAVY = "#fffaf9", "#dc504838", "#d8443c78"
_FRAME: dict[str, Any] = {"edgecolor": "0.45", "linewidth": 0.6}
_NOTES = (
    "Research software, not a medical device. Each lead's median lies on the baseline of its row. "
    "Calibration pulse: 1 mV, 0.2 s."
)
_SIGNED = LinearSegmentedColormap.from_list(
    "against_for", [(0.0, (0.13, 0.42, 0.72, 0.9)), (0.5, (0.97, 0.97, 0.97, 0)), (1.0, (0.90, 0.49, 0.05, 0.9))]
)
_UNSIGNED = LinearSegmentedColormap.from_list("magnitude", [(0.98, 0.97, 1.0, 0.0), (0.40, 0.22, 0.60, 0.9)])


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
    """Draw an ECG on paper, 25 mm/s and 10 mm/mV, with an attribution as a band behind each trace.

    The layout of twelve leads is the standard one of 3 x 4 leads, a quarter of the time each, with a rhythm strip of
    lead II; of fewer leads each has a row for itself. Each lead's median lies on the baseline of its row. Rows are
    30 mm high, and higher where a trace needs it. Since the layout shows only a quarter of most leads, the whole
    attribution is below it as a map of leads and time. Its colors, there and in the bands, are means over 40 ms, one
    small square of the paper: single samples, whose signs often alternate, are narrower than the trace.

    Parameters
    ----------
    signal_mv
        ``(lead, sample)``.
    lead_names
        Standard leads, all twelve or some of them, in any order and case.
    attribution
        ``(lead, sample)``; None draws the ECG alone.
    label
        Of the color bar, with the unit.
    is_signed
        Whether the sign of the attribution means for or against the class; if not, its magnitude is drawn.
    """
    leads, signal = _check_ecg(signal_mv, lead_names, sampling_rate_hz)  # in the order of LEADS
    signal = signal - np.median(signal, axis=1, keepdims=True)
    layout = LAYOUT if leads == LEADS else tuple((lead,) for lead in leads)
    rows = [_Row(names, leads, signal, sampling_rate_hz) for names in layout]
    strip = [_Row((RHYTHM,), leads, signal, sampling_rate_hz)] if leads == LEADS else []
    notes = _NOTES
    overlay = None
    if attribution is not None:
        values = check_attribution(attribution, np.shape(signal_mv))[_order(lead_names, leads)]
        n_averaged = max(1, round(_BAND_S * sampling_rate_hz))
        overlay = Overlay(values, is_signed=is_signed, label=label, n_averaged=n_averaged)
        notes = f"{notes} {_format_shown(values, rows, n_averaged / sampling_rate_hz)}"
    width = max(_PULSE_ZONE + 5 * math.ceil(signal.shape[1] / sampling_rate_hz * MM_PER_S / 5), _MIN_WIDTH)
    height = sum(row.height for row in (*rows, *strip))
    scale = f"25 mm/s   10 mm/mV   {sampling_rate_hz:g} Hz"
    below = 0.0 if overlay is None else _MAP_ROW * len(leads) + _MAP_AXIS + _BAR
    page = _Page(width, height, title=title, subtitle=subtitle, scale=scale, notes=notes, below=below)
    paper = _add_paper(page, width, height)
    top = float(height)
    for row in (*rows, *strip):
        base = top - row.above
        _draw_row(paper, row, base)
        if overlay is not None:
            for _, lead, start, stop in row.pieces:
                left, right = row.x_mm(np.array([start, stop]) - 0.5)
                band = overlay.values[lead : lead + 1, start:stop]
                overlay.draw(paper, band, (left, right, base - _BAND, base + _BAND), zorder=1.5)
        top -= row.height
    if overlay is not None:
        _draw_map(page, rows, overlay, leads)
        _add_legend(page, overlay)
    return page.figure


Extent = tuple[float, float, float, float]


class Overlay:
    """An attribution ``(lead, sample)`` as it is drawn: means over columns of `n_averaged` samples.

    Where the sign has no meaning, they are means of magnitudes. `mappable`, `label` and `extend` are for a color bar.
    """

    def __init__(self, values: NDArray[np.float64], *, is_signed: bool, label: str, n_averaged: int = 1) -> None:
        starts = np.arange(0, values.shape[1], n_averaged)
        widths = np.diff(starts, append=values.shape[1])  # the last column may be narrower
        sums = np.add.reduceat(values if is_signed else np.abs(values), starts, axis=1)
        self.values = np.repeat(sums / widths, widths, axis=1)
        magnitude = np.abs(self.values)
        top = float(np.percentile(magnitude, 99.5)) or float(magnitude.max()) or 1.0
        low, colors = (-top, _SIGNED) if is_signed else (0.0, _UNSIGNED)
        is_below, is_above = self.values.min() < low, self.values.max() > top
        self.extend = "both" if is_below and is_above else "min" if is_below else "max" if is_above else "neither"
        self.norm, self.colors = Normalize(low, top), colors
        self.mappable = ScalarMappable(self.norm, colors)
        self.label = f"{label}; {'blue: against the class, orange: for it' if is_signed else 'magnitude'}"

    def draw(self, axes: Axes, values: NDArray[np.float64], extent: Extent, **style: Any) -> None:
        """Draw some of the values."""
        style |= {"aspect": "auto", "interpolation": "none"}
        axes.imshow(values, norm=self.norm, cmap=self.colors, extent=extent, **style)


def check_attribution(attribution: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an attribution as an array after checking its shape and values."""
    values = np.asarray(attribution, dtype=np.float64)
    if values.shape != shape:
        raise DataError(f"the attribution must have the signal's shape {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise DataError("the attribution has a value that is not finite")
    return values


class _Row:
    """One row of the paper: which samples of which leads, side by side, and how much space they need."""

    def __init__(self, names: Sequence[str], leads: Sequence[str], signal: NDArray[np.float64], rate_hz: float) -> None:
        edges = np.linspace(0, signal.shape[1], len(names) + 1).round().astype(int).tolist()
        self.rate_hz = rate_hz
        self.pieces = [(name, leads.index(name), *edges[k : k + 2]) for k, name in enumerate(names)]
        self.traces_mm = [MM_PER_MV * signal[lead, start:stop] for _, lead, start, stop in self.pieces]
        self.labels_mm = [
            _place_label(trace[: math.ceil((2 + 2.2 * len(name)) / MM_PER_S * rate_hz)])
            for name, trace in zip(names, self.traces_mm, strict=True)
        ]
        highest = max(*(float(trace.max()) for trace in self.traces_mm), *(y + 3 for y in self.labels_mm), _ABOVE)
        lowest = min(*(float(trace.min()) for trace in self.traces_mm), *self.labels_mm, -_BELOW)
        self.above = 5 * math.ceil((highest + 1) / 5)  # mm; the baseline lies on the grid
        self.height = self.above + 5 * math.ceil((1 - lowest) / 5)

    def x_mm(self, sample: ArrayLike) -> Any:
        return _PULSE_ZONE + MM_PER_S * np.asarray(sample) / self.rate_hz


def _place_label(trace_mm: NDArray[np.float64]) -> float:
    """Find where a lead's name does not touch the start of its trace: mm from the baseline to the foot of the name."""
    above = max(8.0, float(trace_mm.max()) + 1)
    is_free_below = float(trace_mm.min()) > -8
    return -12.0 if above > _ABOVE - 3 and is_free_below else above


class _Page:
    """A figure laid out in mm from its lower left corner, with room for paper and the texts above and below it."""

    def __init__(
        self, width: float, height: float, *, title: str, subtitle: str, scale: str, notes: str, below: float
    ) -> None:
        titles = textwrap.wrap(title, int(width / 2.75))
        subtitles = textwrap.wrap(subtitle, int((width - 50) / 1.75))
        feet = textwrap.wrap(notes, int(width / 1.4))
        head = 5 + 5.5 * len(titles) + 4.2 * max(1, len(subtitles))
        self.foot = 4.5 + 3.2 * len(feet)  # height of the notes
        self.paper_bottom = self.foot + below
        self.width, self.height = width + 2 * _MARGIN, head + height + below + self.foot
        self.figure = new_figure(self.width / 25.4, self.height / 25.4, layout=None)
        y = self.height - 3.0
        for line in titles:
            y -= 5.5
            self.write(_MARGIN, y + 1.2, line, fontsize=11, fontweight="bold")
        self.write(self.width - _MARGIN, y - 3.6, scale, fontsize=8.5, color="0.3", ha="right")
        for line in subtitles:
            y -= 4.2
            self.write(_MARGIN, y + 0.6, line, fontsize=8.5, color="0.3")
        for number, line in enumerate(reversed(feet)):
            self.write(_MARGIN, 3.0 + 3.2 * number, line, fontsize=6.5, color="0.35")

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        self.figure.text(x / self.width, y / self.height, text, parse_math=False, **style)

    def add_axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))


def _order(lead_names: Sequence[str], leads: Sequence[str]) -> list[int]:
    """Return the position of each lead."""
    folded = [name.casefold() for name in lead_names]
    return [folded.index(lead.casefold()) for lead in leads]


def _check_ecg(
    signal_mv: ArrayLike, lead_names: Sequence[str], sampling_rate_hz: float
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    signal = np.asarray(signal_mv, dtype=np.float64)
    folded = [name.casefold() for name in lead_names]
    leads = tuple(lead for lead in LEADS if lead.casefold() in folded)
    if not leads or len(leads) != len(lead_names):
        raise DataError(
            f"ECG paper needs standard leads, each once, of {', '.join(LEADS)} (in any order), got "
            f"{', '.join(lead_names) or 'none'}"
        )
    if signal.ndim != 2 or len(signal) != len(leads) or signal.shape[1] < 8:
        raise DataError(
            f"signal_mv must be (lead, sample) with {len(leads)} leads and 8 samples or more, got {signal.shape}"
        )
    if not np.isfinite(signal).all():
        lead, sample = np.argwhere(~np.isfinite(signal))[0]
        raise DataError(f"signal_mv is not finite in lead {lead_names[lead]}, sample {sample}")
    if not (math.isfinite(sampling_rate_hz) and sampling_rate_hz > 0):
        raise ConfigError(f"sampling_rate_hz must be positive, got {sampling_rate_hz}")
    return leads, signal[_order(lead_names, leads)]


def _add_paper(page: _Page, width: float, height: float) -> Axes:
    """Add the pink paper: axes in mm with the origin at the lower left corner of the paper."""
    axes = page.add_axes(_MARGIN, page.paper_bottom, width, height)
    axes.set(xlim=(0, width), ylim=(0, height), facecolor=_PAPER, xticks=[], yticks=[], autoscale_on=False)
    for spine in axes.spines.values():
        spine.set(color=_HEAVY, linewidth=0.6)
    for step, color, line_width in ((1, _FINE, 0.3), (5, _HEAVY, 0.55)):
        vertices = [(float(x), y) for x in range(step, int(width), step) for y in (0.0, height)]
        vertices += [(x, float(y)) for y in range(step, int(height), step) for x in (0.0, width)]
        codes = [Path.MOVETO, Path.LINETO] * (len(vertices) // 2)
        grid = PathPatch(Path(vertices, codes), fill=False, edgecolor=color, linewidth=line_width, zorder=1.8)
        grid.set_gid(f"grid-{step}-mm")
        axes.add_patch(grid)
    return axes


def _draw_row(axes: Axes, row: _Row, base: float) -> None:
    """Draw the calibration pulse, the traces, their names and the separators between them."""
    ink: dict[str, Any] = {"color": INK, "linewidth": 0.8}
    pulse = base + MM_PER_MV * np.array([0, 0, 1, 1, 0, 0])
    axes.plot([1, 2, 2, 7, 7, 8], pulse, solid_joinstyle="miter", gid=f"calibration-{base:g}", **ink)
    for (name, _, start, stop), trace, label in zip(row.pieces, row.traces_mm, row.labels_mm, strict=True):
        x, gid = row.x_mm(np.arange(start, stop)), f"{name}-{start}-{stop}"
        axes.plot(x, base + trace, solid_joinstyle="round", zorder=3, gid=gid, **ink)
        left = float(row.x_mm(start))
        if start:
            axes.plot([left] * 5, [base - 5, base - 3, np.nan, base + 3, base + 5], zorder=2, **ink)
        axes.text(left + 1, base + label, name, fontsize=8, fontweight="bold", zorder=4)
    axes.text(4.5, base + MM_PER_MV + 0.8, "1 mV", fontsize=5.5, ha="center")


def _draw_map(page: _Page, rows: Sequence[_Row], overlay: Overlay, leads: Sequence[str]) -> None:
    """Draw the whole attribution, one row per lead, on the time scale of the paper, and frame what the paper shows."""
    rate_hz = rows[0].rate_hz
    duration_s, half_s = overlay.values.shape[1] / rate_hz, 0.5 / rate_hz
    left, bottom, height = _MARGIN + _PULSE_ZONE, page.foot + _BAR + 8, _MAP_ROW * len(leads)
    axes = page.add_axes(left, bottom, duration_s * MM_PER_S, height)
    overlay.draw(axes, overlay.values, (-half_s, duration_s - half_s, len(leads), 0))
    axes.set_xlim(0, duration_s)
    axes.set_yticks(np.arange(len(leads)) + 0.5, leads)
    axes.tick_params(length=0, labelsize=6.5)
    axes.set_xlabel("Time (s)", fontsize=7, labelpad=1)
    for pieces in zip(*(row.pieces for row in rows), strict=True):
        shown, (_, _, start, stop) = [lead for _, lead, _, _ in pieces], pieces[0]
        corner, size = (start / rate_hz, min(shown)), ((stop - start) / rate_hz, len(shown))
        axes.add_patch(Rectangle(corner, *size, fill=False, **_FRAME))
    for line in range(1, len(leads)):
        axes.axhline(line, color="0.9", linewidth=0.3, zorder=0.5)
    for spine in axes.spines.values():
        spine.set(color="0.7", linewidth=0.5)
    page.write(left, bottom + height + 1.2, "Attribution of all leads over the whole record", fontsize=7)


def _add_legend(page: _Page, overlay: Overlay) -> None:
    """Add the legend and, to its right, the color bar."""
    handles = [
        Line2D([], [], color=INK, linewidth=0.8, label="ECG"),
        Patch(fill=False, label="part drawn above", **_FRAME),
    ]
    corner = (_MARGIN / page.width, (page.foot + 1.5) / page.height)
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": corner, "borderaxespad": 0}
    page.figure.legend(handles=handles, fontsize=6.5, frameon=False, **place)
    axes = page.add_axes(page.width - _MARGIN - 70, page.foot + 3.5, 70, 2.2)
    bar = page.figure.colorbar(overlay.mappable, cax=axes, orientation="horizontal", extend=overlay.extend)
    bar.locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    bar.update_ticks()
    bar.ax.tick_params(labelsize=6, length=2, pad=1)
    bar.ax.xaxis.get_offset_text().set_fontsize(6)
    bar.outline.set_linewidth(0.5)
    page.write(page.width - _MARGIN, page.foot + 7, overlay.label, fontsize=6.5, ha="right")


def _format_shown(values: NDArray[np.float64], rows: Sequence[_Row], column_s: float) -> str:
    """Return which share of the attribution the quarters of the 3 x 4 layout show, and what is averaged."""
    magnitude = np.abs(values)
    if not magnitude.any():
        return "The attribution is 0 everywhere."
    shown = sum(float(magnitude[lead, start:stop].sum()) for row in rows for _, lead, start, stop in row.pieces)
    averaged = f"Colors are means over {1000 * column_s:.3g} ms."
    if len(rows) != len(LAYOUT) or len(rows[0].pieces) == 1:
        return averaged  # every lead is drawn in full
    return (
        f"The 3 \N{MULTIPLICATION SIGN} 4 layout shows {shown / magnitude.sum():.0%} of the attribution's magnitude. "
        f"{averaged}"
    )
