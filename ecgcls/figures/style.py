"""What all figures share: colors, line styles, layout, legends, and how a figure is saved.

Every drawing function returns a new `matplotlib.figure.Figure` and leaves no global state behind: pyplot is not used,
so figures may be drawn in any thread and on a machine without a display. A class is identified by color and line
style together, from a palette that colorblind readers can tell apart (Okabe & Ito, 2008, https://jfly.uni-koeln.de/color/,
without its yellow, plus two of P. Tol's muted colors); the combinations repeat after 72 classes.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

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
INK = "#1a1a1a"  # ECG traces
FEW_CLASSES = 12  # up to this many curves are drawn bold


def new_figure(
    width_inch: float, height_inch: float, *, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """Create a figure without pyplot; where the layout is None, the caller places the axes."""
    figure = Figure(figsize=(width_inch, height_inch), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def finish_figure(
    figure: Figure, title: str, *, handles: Sequence[Artist] = (), place: Literal["below", "right"] = "below"
) -> Figure:
    """Add the title and a legend outside of all axes, then lay the figure out once and for all.

    Left to itself, a constrained layout shifts a little with every drawing, and equal figures would not be equal files.

    Parameters
    ----------
    figure
        With constrained layout.
    title
        Goes above all axes; a line that is too long is broken.
    handles
        The entries of the legend, each with its label; empty: no legend.
    place
        Where the legend goes: in a row below the axes, or in a column to their right.
    """
    if handles:
        style: dict[str, Any] = {"loc": "outside right upper"}
        if place == "below":
            style = {"loc": "outside lower center", "ncols": min(len(handles), 6)}
        legend = figure.legend(handles=handles, fontsize=9, frameon=False, **style)
        show_verbatim(legend.get_texts())
    figure.suptitle(wrap_title(title, figure), fontsize=12, parse_math=False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG at 150 dpi; equal figures give equal bytes.

    Parameters
    ----------
    figure
        Any figure.
    path
        The PNG file. Its folder is created, an existing file is replaced; it appears whole or not at all.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    write_atomically(path, content.getvalue())


def style_class(number: int, n_classes: int) -> dict[str, Any]:
    """Return the color, dashes, width and opacity of the curve of one class."""
    few = n_classes <= FEW_CLASSES
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": DASHES[number // len(COLORS) % len(DASHES)],
        "linewidth": 1.8 if few else 1.1,
        "alpha": 1.0 if few else 0.8,
    }


def add_grid(axes: Axes, *, axis: Literal["both", "x"] = "both") -> None:
    """Add faint grid lines behind the data."""
    axes.grid(axis=axis, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def show_verbatim(texts: Iterable[Text]) -> None:
    """Show texts as they are: a class name may have dollar signs, which would start a formula."""
    for text in texts:
        text.set_parse_math(False)


def wrap_title(title: str, figure: Figure, *, fontsize: float = 12) -> str:
    """Break a title into lines that fit the figure's width."""
    n_letters = int(72 * figure.get_figwidth() / (0.62 * fontsize))
    return "\n".join(textwrap.fill(line, n_letters) for line in title.split("\n"))


def choose_grid(n_panels: int) -> tuple[int, int]:
    """Return the rows and columns of a grid a little wider than high, with as few empty cells as possible."""
    if n_panels <= 5:
        return 1, n_panels
    root = math.sqrt(n_panels)
    columns = range(int(root), math.ceil(1.3 * root) + 1)
    n_columns = min(columns, key=lambda count: (-n_panels % count, -count))
    return math.ceil(n_panels / n_columns), n_columns
