import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ecgcls.data.signals import LEADS
from ecgcls.errors import DataError
from ecgcls.evaluation.figures import save_figure
from ecgcls.explanation.figures import draw_beat, draw_ecg, draw_lead_shares, draw_scorecard, to_svg

RATE_HZ = 100


@pytest.fixture
def signal_mv():
    """Ten seconds in which every lead has a level and a slope of its own."""
    times_s = np.arange(1000) / RATE_HZ
    return np.array([0.05 * lead * np.sin(times_s + lead) for lead in range(1, 13)])


def draw(signal_mv, **changed):
    told = {"sampling_rate_hz": RATE_HZ, "lead_names": LEADS, "title": "ecg_id 7"}
    return draw_ecg(signal_mv, **(told | changed))


def lines(figure):
    """Return the named lines of the paper: calibration pulses and traces."""
    return {line.get_gid(): line for line in figure.axes[0].lines if line.get_gid()}


def measure_mm(figure, x, y):
    """Turn points of the paper into mm on the printed page."""
    FigureCanvasAgg(figure).draw()
    pixels = figure.axes[0].transData.transform(np.column_stack([x, y]))
    return pixels / figure.dpi * 25.4


@pytest.mark.parametrize(("rate_hz", "n_samples"), [(100, 1000), (500, 5000), (100, 500)])
def test_a_second_is_25_mm_and_a_millivolt_10_mm(rate_hz, n_samples):
    signal_mv = np.zeros((12, n_samples))
    signal_mv[1, rate_hz] = 1.0  # lead II, after one second
    figure = draw(signal_mv, sampling_rate_hz=rate_hz)
    rhythm = lines(figure)[f"II-0-{n_samples}"]
    points = measure_mm(figure, *rhythm.get_data())
    assert points[rate_hz, 0] - points[0, 0] == pytest.approx(25, abs=0.01)
    assert points[rate_hz, 1] - points[0, 1] == pytest.approx(10, abs=0.01)
    pulse = measure_mm(figure, *next(line for gid, line in lines(figure).items() if "calibration" in gid).get_data())
    assert np.ptp(pulse[:, 1]) == pytest.approx(10, abs=0.01)  # 1 mV
    assert pulse[3, 0] - pulse[2, 0] == pytest.approx(5, abs=0.01)  # 0.2 s


def test_each_column_shows_its_quarter_of_its_leads(signal_mv):
    figure = draw(signal_mv)
    columns = [("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6")]
    centred = signal_mv - np.median(signal_mv, axis=1, keepdims=True)
    for quarter, names in enumerate(columns):
        start, stop = 250 * quarter, 250 * (quarter + 1)
        for name in names:
            x, y = lines(figure)[f"{name}-{start}-{stop}"].get_data()
            expected = centred[LEADS.index(name), start:stop]
            np.testing.assert_allclose((y - y[0]) / 10, expected - expected[0], atol=1e-9)
            assert x[0] == pytest.approx(10 + 62.5 * quarter)
    assert "II-0-1000" in lines(figure)
    assert len(lines(figure)) == 12 + 1 + 4


def test_rows_grow_with_the_voltage_and_nothing_is_cut_off(signal_mv):
    calm, wild = draw(signal_mv), draw(30 * signal_mv)
    assert wild.get_figheight() > calm.get_figheight()
    top = wild.axes[0].get_ylim()[1]
    for line in lines(wild).values():
        y = np.asarray(line.get_ydata())
        assert y.min() >= 0
        assert y.max() <= top


def test_leads_are_found_by_name_in_any_order(signal_mv):
    there = lines(draw(signal_mv))
    shuffled = lines(draw(signal_mv[::-1], lead_names=[name.upper() for name in reversed(LEADS)]))
    for gid, line in there.items():
        np.testing.assert_array_equal(line.get_ydata(), shuffled[gid].get_ydata())


def test_the_foot_note_says_how_much_the_layout_hides(signal_mv):
    """All of the attribution lies in lead I: three quarters of it in the first quarter, which is shown."""
    attribution = np.zeros_like(signal_mv)
    attribution[0, 100], attribution[0, 900] = -3.0, 1.0
    figure = draw(signal_mv, attribution=attribution, label="x (logit)")
    assert "shows 75% of the attribution's magnitude" in " ".join(text.get_text() for text in figure.texts)


def test_colours_are_symmetric_where_the_sign_counts(signal_mv):
    attribution = np.where(np.arange(1000) < 500, -2.0, 1.0) * np.ones((12, 1))
    signed = draw(signal_mv, attribution=attribution, label="x (logit)").axes[0].images
    assert {image.norm.vmin for image in signed} == {-2.0}
    assert {image.norm.vmax for image in signed} == {2.0}
    unsigned = draw(signal_mv, attribution=attribution, label="x", is_signed=False).axes[0].images
    assert {(image.norm.vmin, image.norm.vmax) for image in unsigned} == {(0.0, 2.0)}
    assert unsigned[0].get_array().min() == 2.0  # lead I's first quarter, of which the magnitude is drawn
    assert len(signed) == 13


def test_an_attribution_of_nothing_can_be_drawn(signal_mv, tmp_path):
    save_figure(draw(signal_mv, attribution=np.zeros_like(signal_mv), label="x"), tmp_path / "a.png")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lead_names": (*LEADS[:11], "V7")}, "needs the twelve standard leads; V6 is not among"),
        ({"attribution": np.zeros((12, 999))}, r"must have the signal's shape \(12, 1000\), got \(12, 999\)"),
        ({"attribution": np.full((12, 1000), np.nan)}, "the attribution has a value that is not finite"),
    ],
)
def test_what_cannot_be_drawn_is_told(signal_mv, changed, message):
    with pytest.raises(DataError, match=message):
        draw(signal_mv, **changed)


def test_a_missing_sample_is_told(signal_mv):
    signal_mv[3, 5] = np.nan
    with pytest.raises(DataError, match="not finite"):
        draw(signal_mv)


def test_the_same_picture_has_the_same_bytes(signal_mv, tmp_path):
    for name in ("a", "b"):
        save_figure(draw(signal_mv, attribution=signal_mv, label="x"), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


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


def test_lead_shares_are_written_as_percentages():
    shares = pd.DataFrame([[0.25, 0.75], [0.5, 0.5]], index=["MI", "CD"], columns=["I", "V1"])
    texts = [text.get_text() for text in draw_lead_shares(shares, title="t", label="x").axes[0].texts]
    assert texts == ["25%", "75%", "50%", "50%"]
    with pytest.raises(DataError, match="no class"):
        draw_lead_shares(shares.iloc[:0], title="t", label="x")


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
    assert panels["aVR"].lines[0].get_ydata().max() == pytest.approx(4.0)
    with pytest.raises(DataError, match="signal_mv must be"):
        draw_beat(times_s[1:], signal_mv, signal_mv, lead_names=LEADS, title="t", label="x", is_signed=True)


def test_a_scorecard_draws_what_was_found_and_says_what_was_not():
    curve = {"share": [0, 0.5, 1], "probability": [0.9, 0.2, 0.1], "random": [0.9, 0.6, 0.1]}
    scores = {
        "randomisation": {"layers": ["head", "conv"], "similarity": [0.7, None], "limit": 0.5},
        "deletion": curve,
        "insertion": curve,
        "completeness": None,
    }
    without = draw_scorecard({"methods": {"grad_cam": scores}}, title="t")
    assert "was not among the methods" in " ".join(text.get_text() for axes in without.axes for text in axes.texts)
    complete = scores | {"completeness": {"relative_error": [0.04, 0.01], "limit": 0.05}}
    figure = draw_scorecard({"methods": {"grad_cam": scores, "integrated_gradients": complete}}, title="t")
    np.testing.assert_allclose(figure.axes[2].lines[0].get_ydata(), [1.0, 4.0])
    np.testing.assert_allclose(figure.axes[1].lines[0].get_xdata(), [0, 50, 100])
