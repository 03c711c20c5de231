"""A figure as an SVG element of an HTML page that holds others as well."""

import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure

from ecgcls.errors import ConfigError


def to_svg(figure: Figure, *, prefix: str) -> str:
    """Return a figure as an SVG element to embed in an HTML page.

    Text stays text, images are embedded, coordinates are rounded to 0.01 pt (4 micrometers), and no style affects the
    rest of the page. Equal figures and prefixes give equal text.

    Parameters
    ----------
    figure
        Any figure.
    prefix
        Starts every id, so that one page can hold several figures: a letter, then letters, digits, '_' and '-'.

    Raises
    ------
    ConfigError
        The prefix has another form.
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
