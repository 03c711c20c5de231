"""What all figures share: colors, line styles, layout, legends, and how a figure is saved.

Every drawing function returns a new `matplotlib.figure.Figure` and leaves no global state behind: pyplot is not used,
so figures may be drawn in any thread and on a machine without a display. A class is identified by color and line
style together, from a palette that colorblind readers can tell apart (Okabe & Ito, 2008, https://jfly.uni-koeln.de/color/,
without its yellow, plus two of P. Tol's muted colors); the combinations repeat after 72 classes.
"""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox

from ecgcls.errors import ConfigError
from ecgcls.files import write_atomically

DPI = 150
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255", "#999933",
)  # fmt: skip
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "solid", (0, (5, 1.6)), (0, (5, 1.3, 1, 1.3)), (0, (2.2, 1.2)), (0, (10, 2)),
    (0, (5, 1.2, 1, 1.2, 1, 1.2)), (0, (9, 1.5, 2.5, 1.5)), (0, (2.5, 1, 2.5, 1, 1, 1)),
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
INK = "#1a1a1a"  # ECG traces
FEW_CLASSES = 12  # up to this many curves are drawn bold


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Create a figure without pyplot; sizes in inch; where the layout is None, the caller places the axes."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def finish_figure(
    figure: Figure, title: str, *, handles: Sequence[Artist] = (), place: Literal["below", "right"] = "below"
) -> Figure:
    """Add the title and a legend outside of all axes, then lay the figure out once and for all.

    Left to itself, a constrained layout shifts a little with every drawing, and equal figures would not be equal files.
    A title's line that is too long is broken; without handles there is no legend.
    """
    if handles:
        style: dict[str, Any] = {"loc": "outside right center"}  # in a corner a long title would cross it
        if place == "below":
            style = {"loc": "outside lower center", "ncols": min(len(handles), 6)}
        show_verbatim(figure.legend(handles=handles, fontsize=9, frameon=False, **style))
    n_letters = int(72 * figure.get_figwidth() / (0.62 * 12))
    lines = [textwrap.fill(line, n_letters) for line in title.split("\n")]
    figure.suptitle("\n".join(lines), fontsize=12, parse_math=False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    _center_labels(figure)
    return figure


def _center_labels(figure: Figure) -> None:
    """Move the labels that all panels share to the middle of these, not of the whole figure."""
    boxes = [axes.get_position() for axes in figure.axes if axes.get_label() != "<colorbar>"]
    if boxes:
        middle = Bbox.union(boxes)
        for text in figure.texts:
            if text.get_text() == figure.get_supxlabel() != "":
                text.set_x((middle.x0 + middle.x1) / 2)
            elif text.get_text() == figure.get_supylabel() != "":
                text.set_y((middle.y0 + middle.y1) / 2)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG at 150 dpi, whole or not at all; equal figures give equal bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    write_atomically(path, content.getvalue())


def to_svg(figure: Figure, *, prefix: str) -> str:
    """Return a figure as an SVG element to embed in an HTML page.

    Text stays text, images are embedded, coordinates are rounded to 0.01 pt (4 micrometers), and no style affects the
    rest of the page. Equal figures and prefixes give equal text. The prefix starts every id, so that one page can hold
    several figures: a letter, then letters, digits, '_' and '-'.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", prefix, re.ASCII):
        raise ConfigError(f"prefix must be a letter, then letters, digits, '_' and '-', got {prefix!r}")
    content = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix, "image.composite_image": False}):
        figure.savefig(content, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = content.getvalue()
    text = text[text.index("<svg") :].strip()
    # Matplotlib's style sheet would apply to the whole page; on the element itself, its content inherits the same.
    text = re.sub(r"\s*<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = text.replace("<svg", '<svg style="stroke-linejoin: round; stroke-linecap: butt; white-space: pre"', 1)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    return re.sub(r'\bd="([^"]*)"', _round_path, text)


def _round_path(path: re.Match[str]) -> str:
    numbers = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), path[1])
    return f'd="{" ".join(numbers.split())}"'


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


def show_verbatim(legend: Legend) -> None:
    """Show texts as they are: a class name may have dollar signs, which would start a formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def choose_grid(n_panels: int) -> tuple[int, int]:
    """Return the rows and columns of a grid a little wider than high, with as few empty cells as possible."""
    if n_panels <= 5:
        return 1, n_panels
    root = math.sqrt(n_panels)
    columns = range(int(root), math.ceil(1.3 * root) + 1)
    n_columns = min(columns, key=lambda count: (-n_panels % count, -count))
    return math.ceil(n_panels / n_columns), n_columns
