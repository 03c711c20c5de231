"""The files of the page: nothing of them is inline or comes from elsewhere, so that the strictest policy holds."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import ecgcls

STATIC = Path(ecgcls.__file__).parent / "serving" / "static"
FILES = sorted(STATIC.iterdir())


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def tags():
    page = Page()
    page.feed((STATIC / "index.html").read_text())
    return page.tags


def test_no_script_or_style_is_inline(tags):
    assert [tag for tag, attributes in tags if tag == "style" or (tag == "script" and "src" not in attributes)] == []
    names = [name for _, attributes in tags for name in attributes]
    assert len(names) > 100
    assert [name for name in names if name == "style" or name.startswith("on")] == []


def test_what_the_page_names_is_there(tags):
    named = {attributes[key] for _, attributes in tags for key in ("src", "href") if key in attributes}
    files = {name.removeprefix("static/") for name in named if name.startswith("static/")}
    assert named - {f"static/{name}" for name in files} == {"#main", "#batch-heading", "docs"}
    imported = {
        name for path in FILES if path.suffix == ".js" for name in re.findall(r'from "\./([^"]+)"', path.read_text())
    }
    assert files | imported == {path.name for path in FILES} - {"index.html"}


def test_ids_are_unique_and_what_refers_to_them_finds_them(tags):
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len({*ids}) > 30
    for _, attributes in tags:
        for key in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
            assert {*attributes.get(key, "").split()} <= {*ids}
    for path in FILES:
        if path.suffix == ".js":
            assert {*re.findall(r'\bfind\("([^"]+)"\)', path.read_text())} <= {*ids}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_asks_nobody_and_makes_no_markup_of_text(path):
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(
        r"https?:|//\w+\.|url\(|@import|innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(", text
    )
    assert len(text.splitlines()) <= 340
