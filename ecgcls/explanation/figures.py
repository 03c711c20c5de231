"""Figures of explanations: an ECG on clinical paper with what a net looked at, and the summaries of many.

Conventions: arrays are ``(lead, sample)``, voltages in mV, times in s. Every function returns a new matplotlib
`Figure`; pyplot is not used. ECG paper has its true scale, 25 mm/s and 10 mm/mV, when printed at 100 %. Attributions
that have a sign run from blue (speaks against the class) over transparent to orange (speaks for it); those that have
none, from transparent to purple. The scale ends at the 99.5th percentile of the magnitudes.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
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
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import DataError
from ecgcls.evaluation.figures import COLORS, DPI

MM_PER_S, MM_PER_MV = 25.0, 10.0
LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
"""Rows and columns of the paper; column k shows the k-th quarter of its leads."""
RHYTHM = "II"
"""The lead that is shown whole, below the others."""

_MARGIN, _PULSE_ZONE = 8.0, 10.0  # mm: around the paper; left of the traces
_HEAD, _FOOT = 16.0, 12.0  # mm: title above, notes below
_BAND = 4.0  # mm: height of the colour band under a row
_PAPER, _FINE, _HEAVY, _INK = "#fffaf9", "#f8d9d6", "#eea8a3", "#1a1a1a"
_SIGNED = LinearSegmentedColormap.from_list(
    "against_for", [(0.0, (0.10, 0.35, 0.65, 1)), (0.5, (0.97, 0.97, 0.97, 0)), (1.0, (0.85, 0.40, 0.0, 1))]
)
_UNSIGNED = LinearSegmentedColormap.from_list("magnitude", [(0.98, 0.97, 1.0, 0.0), (0.35, 0.15, 0.55, 1.0)])
_PHASES_S = {"P": (-0.20, -0.06), "QRS": (-0.06, 0.06), "ST-T": (0.06, 0.40)}
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
    """Draw a 12-lead ECG on paper, 25 mm/s and 10 mm/mV, with an attribution as a band under each row.

    The layout is the standard one of 3 x 4 leads, a quarter of the time each, with a rhythm strip of lead II. Each
    lead's median lies on the line of its row. Since the layout shows a quarter of most leads, the whole attribution
    stands below as a map of leads and time.

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
        If a lead is missing, the shapes differ, or a value is not finite.
    """
    signal, rows = _check_ecg(signal_mv, lead_names)
    values = None if attribution is None else _check_attribution(attribution, signal.shape)
    signal = signal - np.median(signal, axis=1, keepdims=True)
    duration_s = signal.shape[1] / sampling_rate_hz
    width = _PULSE_ZONE + 5 * math.ceil(duration_s * MM_PER_S / 5)
    strips = [_Strip.of_row(names, rows, signal, sampling_rate_hz) for names in (*LAYOUT, (RHYTHM,))]
    band = 0.0 if values is None else _BAND
    above = [5 * math.ceil((strip.above_mm + 1.5) / 5) for strip in strips]  # the lines of the rows lie on the grid
    below = [5 * math.ceil((strip.below_mm + 1 + band) / 5) for strip in strips]
    heights = [up + down for up, down in zip(above, below, strict=True)]
    map_height = 0.0 if values is None else 52.0
    page = (width + 2 * _MARGIN, _HEAD + sum(heights) + map_height + _FOOT)
    figure = Figure(figsize=(page[0] / 25.4, page[1] / 25.4), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    paper = _add_paper(figure, page, width, sum(heights))
    colours = None if values is None else _scale_colours(values, is_signed)
    top = float(sum(heights))
    for strip, up, height in zip(strips, above, heights, strict=True):
        _draw_strip(paper, strip, top - up)
        if values is not None and colours is not None:
            _draw_band(paper, strip, values, (top - height + 0.5, top - height + 0.5 + band), colours)
        top -= height
    _write_head(figure, page, title, subtitle, f"25 mm/s   10 mm/mV   {sampling_rate_hz:g} Hz")
    notes = f"{_DISCLAIMER} Each lead's median lies on the line of its row."
    if values is not None and colours is not None:
        _draw_map(figure, page, values, lead_names, duration_s, colours)
        _draw_colour_bar(figure, page, colours, label)
        notes += f" The 3 x 4 layout shows {_share_shown(values, strips[:-1]):.0%} of the attribution's magnitude."
    figure.text(_MARGIN / page[0], 3.0 / page[1], notes, fontsize=6.5, color="0.35")
    return figure


class _Strip:
    """One row of the paper: which samples of which leads, one after another."""

    def __init__(self, pieces: list[tuple[str, int, int, int]], signal: NDArray[np.float64], rate_hz: float) -> None:
        self.pieces = pieces  # name, row of the signal, first sample, end
        self.rate_hz = rate_hz
        self.values = [signal[row, start:stop] for _, row, start, stop in pieces]
        self.above_mm = max(12.0, MM_PER_MV * max(float(piece.max()) for piece in self.values))
        self.below_mm = max(6.0, -MM_PER_MV * min(float(piece.min()) for piece in self.values))

    @classmethod
    def of_row(
        cls, names: Sequence[str], rows: Mapping[str, int], signal: NDArray[np.float64], rate_hz: float
    ) -> "_Strip":
        edges = np.linspace(0, signal.shape[1], len(names) + 1).round().astype(int).tolist()
        pieces = [(name, rows[name], edges[k], edges[k + 1]) for k, name in enumerate(names)]
        return cls(pieces, signal, rate_hz)

    def x_mm(self, sample: float | NDArray) -> Any:
        return _PULSE_ZONE + MM_PER_S * np.asarray(sample) / self.rate_hz


def _check_ecg(signal_mv: ArrayLike, lead_names: Sequence[str]) -> tuple[NDArray[np.float64], dict[str, int]]:
    signal = np.asarray(signal_mv, dtype=np.float64)
    folded = [name.casefold() for name in lead_names]
    wanted = [name for row in LAYOUT for name in row]
    absent = [name for name in wanted if name.casefold() not in folded]
    if absent:
        raise DataError(f"ECG paper needs the twelve standard leads; {', '.join(absent)} is not among {lead_names}")
    if signal.ndim != 2 or len(signal) != len(lead_names) or not signal.size:
        raise DataError(f"signal_mv must be (lead, sample) with {len(lead_names)} leads, got {signal.shape}")
    if not np.isfinite(signal).all():
        raise DataError("signal_mv has a sample that is not finite")
    return signal, {name: folded.index(name.casefold()) for name in wanted}


def _check_attribution(attribution: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    values = np.asarray(attribution, dtype=np.float64)
    if values.shape != shape:
        raise DataError(f"the attribution must have the signal's shape {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise DataError("the attribution has a value that is not finite")
    return values


def _scale_colours(values: NDArray[np.float64], is_signed: bool) -> ScalarMappable:
    magnitude = np.abs(values)
    top = float(np.percentile(magnitude, 99.5)) or float(magnitude.max()) or 1.0
    low, colours = (-top, _SIGNED) if is_signed else (0.0, _UNSIGNED)
    return ScalarMappable(norm=Normalize(low, top), cmap=colours)


def _colour(values: NDArray[np.float64], colours: ScalarMappable) -> dict[str, Any]:
    """Arguments of `imshow` for values, or for their magnitude where the scale begins at 0."""
    shown = np.abs(values) if colours.norm.vmin == 0 else values
    return {"X": shown, "norm": colours.norm, "cmap": colours.cmap}


def _add_paper(figure: Figure, page: tuple[float, float], width: float, height: float) -> Axes:
    """Add the pink paper, an axes in mm whose origin is the paper's lower left corner."""
    bottom = page[1] - _HEAD - height
    axes = figure.add_axes((_MARGIN / page[0], bottom / page[1], width / page[0], height / page[1]))
    axes.set(xlim=(0, width), ylim=(0, height), facecolor=_PAPER, xticks=[], yticks=[], autoscale_on=False)
    for spine in axes.spines.values():
        spine.set(color=_HEAVY, linewidth=0.6)
    for step, colour, line_width in ((1, _FINE, 0.25), (5, _HEAVY, 0.5)):
        vertices: list[tuple[float, float]] = []
        for x in np.arange(step, width, step):
            vertices += [(float(x), 0.0), (float(x), height)]
        for y in np.arange(step, height, step):
            vertices += [(0.0, float(y)), (width, float(y))]
        codes = [Path.MOVETO, Path.LINETO] * (len(vertices) // 2)
        axes.add_patch(PathPatch(Path(vertices, codes), fill=False, edgecolor=colour, linewidth=line_width, zorder=0.5))
    return axes


def _draw_strip(axes: Axes, strip: _Strip, base: float) -> None:
    """Draw the calibration pulse, the traces, their names and the marks between them."""
    pulse_x = np.array([1, 2, 2, 7, 7, 8])
    pulse_y = base + MM_PER_MV * np.array([0, 0, 1, 1, 0, 0])
    axes.plot(pulse_x, pulse_y, color=_INK, linewidth=0.8, solid_joinstyle="miter", gid=f"calibration-{base:g}")
    for (name, _, start, stop), values in zip(strip.pieces, strip.values, strict=True):
        x = strip.x_mm(np.arange(start, stop))
        axes.plot(
            x,
            base + MM_PER_MV * values,
            color=_INK,
            linewidth=0.8,
            solid_joinstyle="round",
            zorder=3,
            gid=f"{name}-{start}-{stop}",
        )
        left = float(strip.x_mm(start))
        axes.plot([left, left], [base - 2, base + 2], color=_INK, linewidth=0.8, zorder=2)
        axes.text(
            left + 1, base + min(strip.above_mm, 12.0) - 1, name, fontsize=8, fontweight="bold", va="top", zorder=4,
            bbox={"facecolor": _PAPER, "edgecolor": "none", "alpha": 0.7, "pad": 0.6},
        )  # fmt: skip


def _draw_band(
    axes: Axes, strip: _Strip, values: NDArray[np.float64], y_mm: tuple[float, float], colours: ScalarMappable
) -> None:
    for y in y_mm:  # the track of the band, also where nothing counts
        axes.axhline(y, color="0.75", linewidth=0.3, zorder=1.4)
    for _, row, start, stop in strip.pieces:
        extent = (float(strip.x_mm(start)), float(strip.x_mm(stop)), *y_mm)
        axes.imshow(
            **_colour(values[row : row + 1, start:stop], colours),
            extent=extent, aspect="auto", interpolation="nearest", zorder=1.5,
        )  # fmt: skip


def _write_head(figure: Figure, page: tuple[float, float], title: str, subtitle: str, scale: str) -> None:
    left, right = _MARGIN / page[0], 1 - _MARGIN / page[0]
    figure.text(left, 1 - 6.5 / page[1], title, fontsize=11, fontweight="bold", parse_math=False)
    figure.text(left, 1 - 12.5 / page[1], subtitle, fontsize=8.5, color="0.3", parse_math=False)
    figure.text(right, 1 - 12.5 / page[1], scale, fontsize=8.5, color="0.3", ha="right")


def _draw_map(
    figure: Figure,
    page: tuple[float, float],
    values: NDArray[np.float64],
    lead_names: Sequence[str],
    duration_s: float,
    colours: ScalarMappable,
) -> None:
    """Draw the whole attribution, a row a lead, on the time scale of the paper above."""
    left, bottom = _MARGIN + _PULSE_ZONE, _FOOT + 10
    axes = figure.add_axes(
        (left / page[0], bottom / page[1], duration_s * MM_PER_S / page[0], 36 / page[1]), facecolor="white"
    )
    axes.imshow(
        **_colour(values, colours), extent=(0, duration_s, len(values), 0), aspect="auto", interpolation="nearest"
    )
    axes.set_yticks(np.arange(len(values)) + 0.5, list(lead_names), fontsize=6)
    axes.tick_params(length=0, labelsize=6.5)
    axes.set_xlabel("Time (s)", fontsize=7, labelpad=1)
    for line in range(1, len(values)):
        axes.axhline(line, color="0.9", linewidth=0.3)
    for spine in axes.spines.values():
        spine.set(color="0.7", linewidth=0.5)


def _draw_colour_bar(figure: Figure, page: tuple[float, float], colours: ScalarMappable, label: str) -> None:
    axes = figure.add_axes((1 - (_MARGIN + 62) / page[0], 7.5 / page[1], 60 / page[0], 2.2 / page[1]))
    bar = figure.colorbar(colours, cax=axes, orientation="horizontal", extend=_extend(colours))
    _label_bar(bar, label, colours)
    bar.ax.tick_params(labelsize=6, length=2, pad=1)
    bar.ax.set_title(bar.ax.get_xlabel(), fontsize=6.5, pad=2, loc="right", parse_math=False)
    bar.ax.set_xlabel("")


def _extend(colours: ScalarMappable) -> str:
    return "max" if colours.norm.vmin == 0 else "both"


def _label_bar(bar: Any, label: str, colours: ScalarMappable) -> None:
    meaning = "" if colours.norm.vmin == 0 else "; blue against, orange for the class"
    bar.set_label(f"{label}{meaning}", fontsize=7, parse_math=False)


def _share_shown(values: NDArray[np.float64], strips: Sequence[_Strip]) -> float:
    """Share of the attribution's magnitude that lies in the quarters that the 3 x 4 layout shows."""
    magnitude = np.abs(values)
    shown = sum(float(magnitude[row, start:stop].sum()) for strip in strips for _, row, start, stop in strip.pieces)
    return shown / max(float(magnitude.sum()), np.finfo(float).tiny)


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
        If there is no class.
    """
    if shares.empty:
        raise DataError("there is no class whose shares could be drawn")
    figure = Figure(figsize=(9.0, 1.5 + 0.36 * len(shares)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    top = max(float(shares.to_numpy().max()), 2 / shares.shape[1])
    image = axes.imshow(shares.to_numpy(), cmap="Purples", vmin=0, vmax=top, aspect="auto")
    axes.set_xticks(range(shares.shape[1]), [str(name) for name in shares.columns])
    axes.set_yticks(range(len(shares)), [str(name) for name in shares.index])
    axes.tick_params(length=0)
    axes.set(xlabel="Lead", ylabel="Class")
    axes.set_title(title, fontsize=11, parse_math=False)
    for (row, column), share in np.ndenumerate(shares.to_numpy()):
        colour = "white" if share > 0.6 * top else "black"
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=8, color=colour)
    bar = figure.colorbar(image, ax=axes, format=lambda value, _: f"{value:.0%}", pad=0.01)
    bar.set_label(f"{label}\n(1/{shares.shape[1]} each if even)", fontsize=8, parse_math=False)
    return figure


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
        ``(sample,)``, s from the R peak.
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
        If the shapes differ.
    """
    times, signal = np.asarray(times_s, dtype=np.float64), np.asarray(signal_mv, dtype=np.float64)
    values = _check_attribution(attribution, signal.shape)
    if signal.shape != (len(lead_names), len(times)):
        raise DataError(f"signal_mv must be ({len(lead_names)}, {len(times)}), got {signal.shape}")
    colours = _scale_colours(values, is_signed)
    n_columns = 4
    n_rows = math.ceil(len(signal) / n_columns)
    figure = Figure(figsize=(10.0, 1.2 + 1.75 * n_rows), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    pad = 0.08 * float(np.ptp(signal)) or 0.1
    low, high = float(signal.min()) - 2.2 * pad, float(signal.max()) + pad
    for axes in grid.flat[len(signal) :]:
        axes.set_axis_off()
    # As on the paper: leads run down the columns.
    panels = grid.T.flat if len(signal) == n_rows * n_columns else grid.flat
    half = float(np.diff(times).mean()) / 2
    for axes, name, row, of_lead in zip(panels, lead_names, signal, values, strict=False):
        extent = (float(times[0]) - half, float(times[-1]) + half, low, high)
        axes.imshow(**_colour(of_lead[None], colours), extent=extent, aspect="auto", interpolation="nearest")
        axes.plot(times, row, color=_INK, linewidth=1.2, label="mean beat")
        axes.text(0.02, 0.95, name, transform=axes.transAxes, fontweight="bold", fontsize=9, va="top")
        for phase, (start, stop) in _PHASES_S.items():
            axes.axvline(start, color="0.6", linewidth=0.5, linestyle=":")
            if stop < times[-1]:
                axes.axvline(stop, color="0.6", linewidth=0.5, linestyle=":")
            axes.text((start + stop) / 2, low + 0.25 * pad, phase, ha="center", fontsize=6.5, color="0.35")
        axes.set(xlim=(times[0], times[-1]), ylim=(low, high))
        axes.tick_params(labelsize=7)
    figure.supxlabel("Time from the R peak (s); P, QRS and ST-T are nominal windows", fontsize=9)
    figure.supylabel("Mean beat (mV)", fontsize=9)
    figure.suptitle(title, fontsize=11, parse_math=False)
    bar = figure.colorbar(colours, ax=grid, extend=_extend(colours), pad=0.01, aspect=40)
    _label_bar(bar, label, colours)
    bar.ax.tick_params(labelsize=7)
    return figure


def draw_scorecard(card: Mapping[str, Any], *, title: str) -> Figure:
    """Draw whether attribution methods can be believed: `scorecard.score_method` of each.

    Parameters
    ----------
    card
        ``{"methods": {name: what score_method returned}}``.
    title
        Stands above.
    """
    methods: Mapping[str, Any] = card["methods"]
    figure = Figure(figsize=(13.0, 5.6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    randomisation, curves, completeness = figure.subplots(1, 3, width_ratios=(1.15, 1.15, 0.7))
    colours = {name: COLORS[number % len(COLORS)] for number, name in enumerate(methods)}
    _draw_randomisation(randomisation, methods, colours)
    _draw_curves(curves, methods, colours)
    _draw_completeness(completeness, methods, colours)
    figure.suptitle(title, fontsize=12, parse_math=False)
    handles = [Line2D([], [], color=colour, linewidth=2, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw_randomisation(axes: Axes, methods: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    layers: list[str] = []
    for name, scores in methods.items():
        found = scores["randomisation"]
        layers = max(layers, list(found["layers"]), key=len)
        similarity = [np.nan if value is None else value for value in found["similarity"]]
        axes.plot(range(len(similarity)), similarity, color=colours[name], marker="o", markersize=4)
        axes.axhline(found["limit"], color="0.4", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right", fontsize=8)
    axes.set(ylim=(-0.25, 1.05), ylabel="Rank correlation with the trained net's map")
    axes.set_xlabel("Layers shuffled so far, from the output down", fontsize=9)
    axes.set_title("Does the map change with the weights?\n(dashed: what it must fall below)", fontsize=10)
    axes.grid(color="0.92")


def _draw_curves(axes: Axes, methods: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    for name, scores in methods.items():
        for kind, line_style in (("deletion", "-"), ("insertion", "--")):
            found = scores[kind]
            share = 100 * np.asarray(found["share"], dtype=float)
            axes.plot(share, found["probability"], color=colours[name], linestyle=line_style, linewidth=1.6)
            axes.plot(share, found["random"], color="0.55", linestyle=line_style, linewidth=0.9)
    axes.set(xlim=(0, 100), ylim=(0, 1), xlabel="Share of the record deleted or inserted (%)")
    axes.set_ylabel("Probability of the class (mean over records)")
    axes.set_title("Do the samples that it names matter?", fontsize=10)
    styles = [
        Line2D([], [], color="k", linestyle="-", label="deletion, most important first"),
        Line2D([], [], color="k", linestyle="--", label="insertion, most important first"),
        Line2D([], [], color="0.55", linestyle="-", label="in random order"),
    ]
    axes.legend(handles=styles, fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    axes.grid(color="0.92")


def _draw_completeness(axes: Axes, methods: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    axes.set_title("Do integrated gradients add up?", fontsize=10)
    measured = {name: scores["completeness"] for name, scores in methods.items() if scores.get("completeness")}
    if not measured:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "integrated gradients\nwas not among the methods", ha="center", color="0.4", fontsize=9)
        return
    for name, found in measured.items():
        error = 100 * np.sort(np.asarray(found["relative_error"], dtype=float))
        axes.plot(np.arange(1, len(error) + 1), error, "o", color=colours[name], markersize=5)
        axes.axhline(100 * found["limit"], color="0.4", linestyle="--", linewidth=1, label="limit")
    axes.set(xlabel="Record, by rising error", ylabel="Relative completeness error (%)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, frameon=False)
    axes.grid(color="0.92")


def to_svg(figure: Figure, *, prefix: str) -> str:
    """Return a figure as an SVG element that can stand in an HTML page.

    Parameters
    ----------
    figure
        Any figure.
    prefix
        Begins every id, so that several pictures can stand in one page; letters, digits and '-'.
    """
    content = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(content, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
