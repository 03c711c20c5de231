import numpy as np
import pandas as pd
import pytest

from ecgcls.data.signals import LEADS
from ecgcls.errors import DataError
from ecgcls.figures.explanation import draw_beat, draw_lead_shares, draw_scorecard


def test_lead_shares_are_written_as_percentages():
    shares = pd.DataFrame([[0.25, 0.75], [0.5, 0.5]], index=["MI", "CD"], columns=["I", "V1"])
    texts = [text.get_text() for text in draw_lead_shares(shares, title="t", label="x").axes[0].texts]
    assert texts == ["25%", "75%", "50%", "50%"]
    with pytest.raises(DataError, match="no class"):
        draw_lead_shares(shares.iloc[:0], title="t", label="x")


@pytest.mark.parametrize("share", [np.nan, -0.1, 1.1])
def test_a_share_beyond_0_to_1_is_reported(share):
    shares = pd.DataFrame([[0.25, 0.75], [share, 0.5]], index=["MI", "CD"], columns=["I", "V1"])
    with pytest.raises(DataError, match=f"within 0..1, got {share:g} for CD, I"):
        draw_lead_shares(shares, title="t", label="x")


def test_beats_of_all_leads_share_their_scales():
    times_s = np.linspace(-0.3, 0.5, 81)
    signal_mv = np.arange(1, 13)[:, None] * np.exp(-((times_s / 0.02) ** 2))
    figure = draw_beat(
        times_s, 0.1 * signal_mv, signal_mv, lead_names=LEADS, title="t", label="x (logit)", is_signed=True
    )
    panels = {axes.texts[0].get_text(): axes for axes in figure.axes if axes.texts}
    assert set(panels) == set(LEADS)
    assert len({axes.get_ylim() for axes in panels.values()}) == 1
    assert len({axes.images[0].norm.vmax for axes in panels.values()}) == 1
    for name, axes in panels.items():
        row = LEADS.index(name)
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), signal_mv[row])
        np.testing.assert_allclose(axes.images[0].get_array()[0], 0.1 * signal_mv[row])
        assert axes.images[0].get_extent()[:2] == pytest.approx((-0.305, 0.505))
        borders = [line.get_xdata()[0] for line in axes.lines[1:]]
        assert borders == pytest.approx([-0.20, -0.06, 0.06, 0.40])
        assert [text.get_text() for text in axes.texts[1:]] == ["P", "QRS", "ST-T"]
    legend = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert "mean beat" in legend and "nominal windows" in legend


def test_beats_that_do_not_fit_together_are_reported():
    times_s, signal_mv = np.linspace(-0.3, 0.5, 81), np.zeros((12, 81))
    settings = {"lead_names": LEADS, "title": "t", "label": "x", "is_signed": True}
    with pytest.raises(DataError, match="signal_mv must be"):
        draw_beat(times_s[1:], signal_mv, signal_mv, **settings)
    with pytest.raises(DataError, match="signal_mv must be"):
        draw_beat(np.empty(0), np.empty((0, 0)), np.empty((0, 0)), **settings)
    with pytest.raises(DataError, match="the attribution must have the signal's shape"):
        draw_beat(times_s, signal_mv[:, 1:], signal_mv, **settings)
    with pytest.raises(DataError, match="signal_mv has a value that is not finite"):
        draw_beat(times_s, signal_mv, signal_mv * np.nan, **settings)


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
