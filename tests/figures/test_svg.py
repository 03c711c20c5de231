import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from ecgcls.errors import ConfigError
from ecgcls.figures.style import to_svg
from tests.figures.examples import draw, lines


def test_svg_is_small_whole_and_refers_to_nothing_outside(signal_mv):
    svg = to_svg(draw(signal_mv, attribution=signal_mv, label="x (logit)", title="<b> & co"), prefix="one")
    assert svg == to_svg(draw(signal_mv, attribution=signal_mv, label="x (logit)", title="<b> & co"), prefix="one")
    ElementTree.fromstring(svg)
    assert len(svg) < 250_000
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("one-") for name in ids)
    targets = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    assert targets <= set(ids)
    assert {text for text in re.findall(r'href="([^"]{5})', svg) if not text.startswith("#")} <= {"data:"}
    assert ">I</text>" in svg  # text stays text
    assert "<style" not in svg  # would hold for the whole page
    assert "<?xml" not in svg and "<!DOCTYPE" not in svg and "<metadata" not in svg


def test_pictures_in_one_page_share_no_id(signal_mv):
    ids = [
        set(re.findall(r'\bid="([^"]+)"', to_svg(draw(signal_mv, attribution=signal_mv, label="x"), prefix=prefix)))
        for prefix in ("one", "two")
    ]
    assert min(map(len, ids)) > 20
    assert not ids[0] & ids[1]
    for prefix in ("", "1a", "a b", 'a"'):
        with pytest.raises(ConfigError, match="prefix must be a letter"):
            to_svg(draw(signal_mv), prefix=prefix)


def test_svg_keeps_the_lines_within_a_hundredth_of_a_point(signal_mv):
    figure = draw(signal_mv)
    root = ElementTree.fromstring(to_svg(figure, prefix="p"))
    assert float(root.get("width").removesuffix("pt")) == pytest.approx(276 / 25.4 * 72)
    (trace,) = [group for group in root.iter() if group.get("id") == "p-calibration-105"]
    d = next(node.get("d") for node in trace.iter() if node.get("d"))
    found = np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", d), dtype=float)
    points = figure.axes[0].transData.transform(np.column_stack(lines(figure)["calibration-105"].get_data()))
    expected = points / figure.dpi * 72
    expected[:, 1] = figure.get_figheight() * 72 - expected[:, 1]
    np.testing.assert_allclose(found, expected, atol=0.011)
