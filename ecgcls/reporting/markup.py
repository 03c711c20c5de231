"""Text that users chose, such as the names of classes, written so that it stays text in Markdown and on a page."""

import re
from typing import Any

from markupsafe import Markup

_SPECIAL = re.compile(r"([\\`*_{}\[\]#~!])")


def clean(value: Any) -> Any:
    """Replace the control characters of a text, line breaks and tabs aside, by a mark; leave anything else.

    Examples
    --------
    >>> clean("a\\x07b\\u202ec\\n")
    'a\ufffdb\ufffdc\\n'
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(each if each.isprintable() or each in "\n\t" else _replace(each) for each in value)


def escape_markdown(text: Any) -> str:
    """Write a text on one line in which nothing is Markdown, HTML or the border of a table's cell.

    Examples
    --------
    >>> escape_markdown("a|b <i>[c](d)`\\n- e*")
    'a&#124;b &lt;i&gt;\\\\[c\\\\](d)\\\\` - e\\\\*'
    """
    line = " ".join(str(clean(str(text))).split())
    line = _SPECIAL.sub(r"\\\1", line).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return line.replace("|", "&#124;")


def quote_code(text: Any) -> str:
    """Write a text as a span of code, with as many backticks around it as it takes.

    Examples
    --------
    >>> quote_code("model=cnn1d"), quote_code("a`b")
    ('`model=cnn1d`', '``a`b``')
    """
    line = " ".join(str(clean(str(text))).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _replace(character: str) -> str:
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
