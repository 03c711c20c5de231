"""A figure as SVG that can stand in an HTML page beside others."""

import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure

from ecgcls.errors import ConfigError


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
