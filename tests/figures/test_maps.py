import numpy as np
import pandas as pd
import pytest

from ecgcls.data.signals import LEADS
from ecgcls.errors import DataError
from ecgcls.figures.maps import draw_beat, draw_lead_shares


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
