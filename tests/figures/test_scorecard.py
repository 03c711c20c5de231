import numpy as np
import pytest

from ecgcls.errors import DataError
from ecgcls.figures.scorecard import draw_scorecard


def make_scores(**changed):
    curve = {"share": [0, 0.5, 1], "probability": [0.9, 0.2, 0.1], "random": [0.9, 0.6, 0.1], "passes": True}
    scores = {
        "randomization": {"layers": ["head", "conv"], "similarity": [0.7, None], "limit": 0.5, "passes": False},
        "deletion": curve,
        "insertion": curve | {"probability": [0.1, None, 0.9], "random": [0.1, 0.3, 0.9], "passes": False},
        "completeness": None,
    }
    return scores | changed


def find_panels(figure):
    """Return a scorecard's panels by the first word of their titles."""
    return {axes.get_title().split(":")[0].lower(): axes for axes in figure.axes if axes.get_title()}


def test_a_scorecard_shows_the_results():
    completeness = {"relative_error": [0.04, None, 0.01], "limit": 0.05, "passes": True}
    methods = {"grad_cam": make_scores(), "integrated_gradients": make_scores(completeness=completeness)}
    figure = draw_scorecard({"methods": methods}, title="t")
    panels = find_panels(figure)
    first, second, limit = panels["randomization"].lines
    np.testing.assert_array_equal(first.get_ydata(), [0.7, np.nan])
    assert first.get_color() != second.get_color()
    assert (limit.get_ydata()[0], limit.get_linestyle()) == (0.5, "--")
    assert [text.get_text() for text in panels["randomization"].get_xticklabels()] == ["head", "conv"]
    assert "0 of 2 pass" in panels["randomization"].get_title()
    for kind, of_map, of_chance in (
        ("deletion", [0.9, 0.2, 0.1], [0.9, 0.6, 0.1]),
        ("insertion", [0.1, np.nan, 0.9], [0.1, 0.3, 0.9]),
    ):
        by_map, by_chance, *_ = panels[kind].lines
        np.testing.assert_allclose(by_map.get_xdata(), [0, 50, 100])  # percent
        np.testing.assert_array_equal(by_map.get_ydata(), of_map)
        np.testing.assert_array_equal(by_chance.get_ydata(), of_chance)
        assert (by_map.get_linestyle(), by_chance.get_linestyle()) == ("-", ":")
        assert by_map.get_color() == by_chance.get_color() == first.get_color()
    points, limit = panels["completeness"].lines
    np.testing.assert_allclose(points.get_ydata(), [4.0, np.nan, 1.0])
    assert points.get_color() == second.get_color()
    assert limit.get_ydata()[0] == pytest.approx(5.0)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["grad_cam", "integrated_gradients", "in the order of the attribution", "in random order", "limit"]


def test_a_scorecard_names_missing_results():
    undefined = {"layers": ["head"], "similarity": [None], "limit": 0.5, "passes": False}
    figure = draw_scorecard({"methods": {"grad_cam": make_scores(randomization=undefined, deletion=None)}}, title="t")
    panels = find_panels(figure)
    texts = {name: " ".join(text.get_text() for text in axes.texts) for name, axes in panels.items()}
    assert "was not among the methods" in texts["completeness"]
    assert "no rank correlation is defined" in texts["randomization"]
    assert "no deletion was measured" in texts["deletion"]
    assert not texts["insertion"]
    with pytest.raises(DataError, match="no method"):
        draw_scorecard({"methods": {}}, title="t")


def test_eight_methods_are_distinguishable():
    methods = {f"method_{number}_": make_scores() for number in range(8)}
    lines_ = find_panels(draw_scorecard({"methods": methods}, title="t"))["randomization"].lines[:8]
    assert len({line.get_color() for line in lines_}) == len({line.get_marker() for line in lines_}) == 8
