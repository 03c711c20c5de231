"""The types and defaults on the pages of the API are those of the signatures."""

import ast
import functools
import importlib
import inspect
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location

import griffe
import pytest

from tests.commands import REPOSITORY

PAGES = sorted((REPOSITORY / "docs" / "api").glob("*.md"))


@pytest.fixture(scope="module")
def package():
    """The package as the pages show it."""
    spec = spec_from_file_location("docstrings", REPOSITORY / "docs" / "docstrings.py")
    extension = module_from_spec(spec)
    spec.loader.exec_module(extension)
    loaded = griffe.load(
        "ecgcls",
        search_paths=[REPOSITORY],
        extensions=griffe.load_extensions(extension.Markdown()),
        docstring_parser="numpy",
    )
    return loaded, extension


def walk(node):
    """Yield what a page shows of a module or a class."""
    yield node
    for name, member in node.members.items():
        if not name.startswith("_") and not member.is_alias:
            yield from walk(member)


def read(text, module):
    """Evaluate the source of a default or a type where it was written; text that cannot be is text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        try:
            return eval(text, vars(sys.modules[module]))
        except (NameError, TypeError):
            return text


def describe(value):
    return re.sub(r"\s|['\"]", "", value if isinstance(value, str) else inspect.formatannotation(value))


def test_every_documented_parameter_has_its_own_type_and_default(package):
    loaded, extension = package
    names = [name for page in PAGES for name in re.findall(r"^::: ecgcls\.?([\w.]*)", page.read_text(), re.MULTILINE)]
    shown = [each for name in names for each in walk(loaded[name])]
    n_checked = 0
    for node in shown:
        if node.docstring is None or not (node.is_function or node.is_class):
            continue
        assert isinstance(node.docstring, extension.Signed)
        sections = [one for one in node.docstring.parsed if isinstance(one, griffe.DocstringSectionParameters)]
        for documented in (each for section in sections for each in section.value):
            module = importlib.import_module(node.module.path)
            target = functools.reduce(getattr, node.path.removeprefix(f"{module.__name__}.").split("."), module)
            parameter = inspect.signature(target).parameters[documented.name.lstrip("*")]
            where = f"{node.path}({documented.name})"
            if parameter.default is inspect.Parameter.empty:
                assert documented.default is None, where
            elif not repr(parameter.default).startswith("<"):  # a dataclass's factory
                assert read(str(documented.default), module.__name__) == parameter.default, where
            if parameter.annotation is not inspect.Parameter.empty:
                text = str(documented.annotation)
                found = text if isinstance(parameter.annotation, str) else read(text, module.__name__)
                assert describe(found) == describe(parameter.annotation), where
            n_checked += 1
    assert n_checked > 150


def test_the_settings_of_an_explanation_have_the_defaults_that_were_confused(package):
    loaded, _ = package
    (section,) = [
        one
        for one in loaded["explanation.method.MethodSettings"].docstring.parsed
        if isinstance(one, griffe.DocstringSectionParameters)
    ]
    found = {each.name: (str(each.annotation), str(each.default)) for each in section.value}
    assert found["stride_s"] == ("float", "0.1") and found["window_s"] == ("float", "0.2")
    assert found["n_noisy"] == ("int", "25") and found["max_steps"] == ("int", "1024")


def test_attributes_that_share_an_entry_have_their_own_types(package):
    loaded, _ = package
    attributes = next(
        one
        for one in loaded["explanation.summary.ClassSummary"].docstring.parsed
        if isinstance(one, griffe.DocstringSectionAttributes)
    )
    found = {each.name: str(each.annotation) for each in attributes.value}
    assert found["n_beats"] == "int" and found["phase_times"] == "dict[str, float]"
