"""Prepares the docstrings for the pages of the API: reStructuredText becomes Markdown, types come from signatures.

The docstrings are numpy style; what of them is not plain text for a Markdown reader is: a title with an indented block
below it, formulas, references, and lists that begin without an empty line. Several parameters may share an entry
(``n_noisy, seed``), of which griffe would give all the type and the default of the first.
"""

import re
from functools import cached_property
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


class Signed(griffe.Docstring):
    """A docstring whose parameters and attributes have the types and defaults of the code."""

    @cached_property
    def parsed(self) -> list[griffe.DocstringSection]:
        """The sections, each parameter and attribute with what its own signature or annotation says."""
        sections = self.parse()
        for section in sections:
            if isinstance(section, griffe.DocstringSectionParameters):
                for parameter in section.value:
                    _sign(parameter, self._find_parameter(parameter.name))
            elif isinstance(section, griffe.DocstringSectionAttributes):
                section.value = [each for shared in section.value for each in self._split(shared)]
        return sections

    def _find_parameter(self, name: str) -> griffe.Parameter | None:
        parameters = getattr(self.parent, "parameters", None)
        return parameters[name] if parameters is not None and name in parameters else None

    def _split(self, shared: griffe.DocstringAttribute) -> list[griffe.DocstringAttribute]:
        names = shared.name.split(", ")
        members = getattr(self.parent, "members", {})
        found = [griffe.DocstringAttribute(name, annotation=None, description=shared.description) for name in names]
        for each in found:
            each.annotation = getattr(members.get(each.name), "annotation", None)
        return found


def _sign(documented: griffe.DocstringParameter, parameter: griffe.Parameter | None) -> None:
    if parameter is not None:
        documented.annotation, documented.value = parameter.annotation, parameter.default


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
        own = node.docstring
        lines = {"lineno": own.lineno, "endlineno": own.endlineno}
        node.docstring = Signed(to_markdown(own.value), parent=node, parser=own.parser, **lines)
    for member in node.members.values():
        if not member.is_alias:
            _rewrite_all(member)
