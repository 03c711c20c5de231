"""What all figures share: colors, line styles, sizes, layout, and how a figure is written.

Every drawing function returns a new `matplotlib.figure.Figure` and leaves no global state behind: pyplot is not used,
so figures may be drawn in any thread and on a machine without a display. A class is told by color and line style
together, from a palette that colorblind readers can tell apart (Okabe & Ito, 2008, https://jfly.uni-koeln.de/color/,
without its yellow, plus two of P. Tol's muted colors); the combinations repeat after 72 classes.
"""

from __future__ import annotations

import io
import math
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ecgcls.files import write_atomically

DPI = 150
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255", "#999933",
)  # fmt: skip
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "solid",
    (0, (5, 1.6)),
    (0, (5, 1.3, 1, 1.3)),
    (0, (2.2, 1.2)),
    (0, (10, 2)),
    (0, (5, 1.2, 1, 1.2, 1, 1.2)),
    (0, (9, 1.5, 2.5, 1.5)),
    (0, (2.5, 1, 2.5, 1, 1, 1)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
INK = "#1a1a1a"  # of traces and what is written on paper
FEW_CLASSES = 12  # up to this many curves are drawn bold


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG at 150 dpi; equal figures give equal bytes, the file appears whole or not at all.

    Parameters
    ----------
    figure
        Any figure.
    path
        The PNG file; its folder is made, an older file is replaced.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    write_atomically(path, content.getvalue())


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """Make a figure with a constrained layout, without pyplot."""
    figure = Figure(figsize=(width_inch, height_inch), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def fix_layout(figure: Figure) -> None:
    """Lay the figure out once: left to itself, the layout shifts a little with every drawing."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def style_class(number: int, n_classes: int) -> dict[str, Any]:
    """Return color, dashes, width and opacity of a class's curve."""
    few = n_classes <= FEW_CLASSES
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": DASHES[number // len(COLORS) % len(DASHES)],
        "linewidth": 1.8 if few else 1.1,
        "alpha": 1.0 if few else 0.8,
    }


def choose_grid(n_panels: int) -> tuple[int, int]:
    """Rows and columns of a grid a little wider than high, with as few empty places as can be."""
    if n_panels <= 5:
        return 1, n_panels
    root = math.sqrt(n_panels)
    columns = range(int(root), math.ceil(1.3 * root) + 1)
    n_columns = min(columns, key=lambda count: (-n_panels % count, -count))
    return math.ceil(n_panels / n_columns), n_columns


def new_panels(n_panels: int, *, height_inch: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with a grid of panels, and switch off those that are not needed."""
    n_rows, n_columns = choose_grid(n_panels)
    figure = new_figure(max(6.0, 2.3 * n_columns + 2.4), height_inch * n_rows + 0.9)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes in grid.flat[n_panels:]:
        axes.set_axis_off()
    for axes in grid.flat[:n_panels]:
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
    return figure, list(grid.flat)


def finish_panels(figure: Figure, first: Axes, title: str) -> Figure:
    """Add the legend, taken from one panel, and the title, and fix the layout."""
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=9, frameon=False)
    figure.suptitle(title, fontsize=12, parse_math=False)
    fix_layout(figure)
    return figure


def wrap_title(text: str, figure: Figure, fontsize: float) -> str:
    """Break a title into lines that fit a figure's width."""
    return "\n".join(textwrap.wrap(text, int(72 * figure.get_figwidth() / (0.62 * fontsize))))
