"""Turns what is reStructuredText in the docstrings into Markdown, for the pages of the API.

The docstrings are numpy style; what of them is not plain text for a Markdown reader is: a title with an indented block
below it, formulas, references, and lists that begin without an empty line.
"""

import re
from textwrap import dedent, indent
from typing import Any

import griffe

_REFERENCE = re.compile(r"^\.\. \[(\d+)\] ", flags=re.MULTILINE)
_SECTION = re.compile(r"^\w+\n-{3,}$", flags=re.MULTILINE)  # of numpy style: Parameters, ...
_TITLED = re.compile(r"^([A-Z][\w ]+)\n((?: {4}.*\n?|\n(?= {4}))+)", flags=re.MULTILINE)  # Task, Conventions
_FORMULA = re.compile(r"^( *)\.\. math:: (.*)$", flags=re.MULTILINE)


class Markdown(griffe.Extension):
    """A griffe extension that rewrites every docstring before it is parsed."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite the docstrings of a package and of all that is in it."""
        _rewrite_all(pkg)


def to_markdown(text: str) -> str:
    """Return a docstring without reStructuredText that is not Markdown too."""
    section = _SECTION.search(text)
    start = section.start() if section else len(text)
    text = _TITLED.sub(lambda found: f"**{found[1]}**\n\n{dedent(found[2])}", text[:start]) + text[start:]
    text = _REFERENCE.sub(r"- \\[\1\\] ", text)
    text = re.sub(r" ?\[(\d+)\]_", r" \\[\1\\]", text)
    text = _FORMULA.sub(lambda found: indent(f"\n```text\n{found[2]}\n```\n", found[1]), text)
    text = re.sub(r":math:`([^`]+)`", r"`\1`", text)
    return _separate_lists(text)


def _separate_lists(text: str) -> str:
    """Put an empty line before a list, where Markdown needs one."""
    lines: list[str] = []
    is_in_list = False
    for line in text.split("\n"):
        is_item = line.lstrip().startswith("- ")
        if is_item and not is_in_list and lines and lines[-1].strip():
            lines.append("")
        is_in_list = bool(line.strip()) and (is_in_list or is_item)
        lines.append(line)
    return "\n".join(lines)


def _rewrite_all(node: griffe.Object) -> None:
    if node.docstring is not None:
        node.docstring.value = to_markdown(node.docstring.value)
    for member in node.members.values():
        if not member.is_alias:
            _rewrite_all(member)
