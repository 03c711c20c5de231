import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import ConfigError, DataError
from ecgcls.figures.style import save_figure, to_svg
from tests.figures.examples import draw, lines


def read_texts(figure):
    """Return all texts of the page outside of its axes."""
    return " ".join(text.get_text() for text in figure.texts)


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
    centered = signal_mv - np.median(signal_mv, axis=1, keepdims=True)
    for quarter, names in enumerate(columns):
        start, stop = 250 * quarter, 250 * (quarter + 1)
        for name in names:
            x, y = lines(figure)[f"{name}-{start}-{stop}"].get_data()
            expected = centered[LEADS.index(name), start:stop]
            np.testing.assert_allclose((y - y[0]) / 10, expected - expected[0], atol=1e-9)
            assert x[0] == pytest.approx(10 + 62.5 * quarter)
    assert "II-0-1000" in lines(figure)
    assert len(lines(figure)) == 12 + 1 + 4


@pytest.mark.parametrize("size", [1, 30])
def test_rows_are_30_mm_or_higher_and_traces_neither_meet_nor_leave_the_paper(signal_mv, size):
    figure = draw(size * signal_mv)
    there = lines(figure)
    bases = [float(line.get_ydata()[0]) for gid, line in there.items() if gid.startswith("calibration")]
    assert (np.diff(bases) <= -30).all()
    assert (np.diff(bases) == -30).all() == (size == 1)
    rows = [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"], ["II-0-1000"]]
    spans = []
    for names in rows:
        drawn = [line.get_ydata() for gid, line in there.items() if gid in names or gid.split("-")[0] in names]
        if len(names) == 4:
            drawn = [y for y in drawn if len(y) == 250]
        spans.append((min(map(min, drawn)), max(map(max, drawn))))
    edges = [figure.axes[0].get_ylim()[1], *(edge for low, high in spans for edge in (high, low)), 0]
    assert (np.diff(edges) < 0).all()  # from the top of the paper to its bottom: each row ends before the next begins


def test_paper_is_ruled_in_small_and_large_squares(signal_mv):
    figure = draw(signal_mv)
    height = figure.axes[0].get_ylim()[1]
    for step, patch in zip((1, 5), figure.axes[0].patches, strict=True):
        vertices = patch.get_path().vertices.reshape(-1, 2, 2)  # (line, end, x and y)
        upright = vertices[vertices[:, 0, 0] == vertices[:, 1, 0]]
        level = vertices[vertices[:, 0, 1] == vertices[:, 1, 1]]
        np.testing.assert_allclose(upright[:, 0, 0], np.arange(step, 260, step))
        np.testing.assert_allclose(level[:, 0, 1], np.arange(step, height, step))
        assert (patch.get_linewidth() > 0.4) == (step == 5)
    for gid, line in lines(figure).items():
        if gid.startswith("calibration"):
            assert line.get_ydata()[0] % 5 == 0  # a row's line lies on a heavy line


def test_the_page_states_its_scale_and_a_disclaimer(signal_mv):
    written = read_texts(draw(signal_mv, subtitle="a $b$"))
    assert "25 mm/s   10 mm/mV   100 Hz" in written
    assert "Research software, not a medical device." in written
    assert "Each lead's median lies on the baseline of its row" in written
    assert "a $b$" in written
    assert "layout shows" not in written


def test_lead_names_do_not_touch_the_traces(signal_mv):
    signal_mv[0, 5:15] = 0.95  # lead I: a wave where its name would stand
    signal_mv[1, 7] = 3.0  # lead II: a peak that leaves no room above
    figure = draw(signal_mv)
    figure.canvas.draw()
    texts = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts[:4]}
    assert set(texts) == {"I", "aVR", "V1", "V4"}
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        for line in lines(figure).values():
            x, y = figure.axes[0].transData.transform(np.column_stack(line.get_data())).T
            between = np.linspace(max(box.x0, x[0]), min(box.x1, x[-1]), 200)
            trace = np.interp(between, x, y)
            met = (between > box.x0) & (between < box.x1) & (trace > box.y0) & (trace < box.y1)
            assert "calibration" in line.get_gid() or not met.any(), text.get_text()


def test_long_titles_and_narrow_pages_cut_nothing_off(signal_mv):
    long = "a title of many words " * 12
    figure = draw(signal_mv[:, :300], title=long, subtitle=long, attribution=signal_mv[:, :300], label="label (logit)")
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    boxes = [text.get_window_extent() for text in figure.texts]
    assert min(box.x0 for box in boxes) > 0 and max(box.x1 for box in boxes) < width
    assert min(box.y0 for box in boxes) > 0 and max(box.y1 for box in boxes) < height
    assert " ".join(read_texts(figure).split()).count("title of many words") == 24
    assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])


def test_leads_are_found_by_name_in_any_order(signal_mv):
    there = lines(draw(signal_mv))
    shuffled = lines(draw(signal_mv[::-1], lead_names=[name.upper() for name in reversed(LEADS)]))
    for gid, line in there.items():
        np.testing.assert_array_equal(line.get_ydata(), shuffled[gid].get_ydata())


def test_the_footnote_says_how_much_the_layout_shows(signal_mv):
    """Lead I is shown in the first quarter, V6 in the last: 3 + 2 of 3 + 1 + 2 + 4 are shown."""
    attribution = np.zeros_like(signal_mv)
    attribution[0, 249], attribution[0, 250] = -3.0, 1.0
    attribution[11, 750], attribution[11, 749] = 2.0, -4.0
    figure = draw(signal_mv, attribution=attribution, label="x (logit)")
    assert "shows 50% of the attribution's magnitude" in read_texts(figure)
    shuffled = draw(signal_mv[::-1], lead_names=LEADS[::-1], attribution=attribution[::-1], label="x (logit)")
    assert "shows 50% of the attribution's magnitude" in read_texts(shuffled)


@pytest.mark.parametrize(("rate_hz", "width"), [(100, 4), (500, 20), (20, 1)])
def test_colors_are_means_over_small_squares_of_the_paper(rate_hz, width):
    rng = np.random.default_rng(0)
    attribution = rng.normal(size=(12, 10 * rate_hz))
    figure = draw(np.zeros_like(attribution), sampling_rate_hz=rate_hz, attribution=attribution, label="x (logit)")
    expected = np.array([[part.mean() for part in np.split(lead, 10 * rate_hz // width)] for lead in attribution])
    (whole,) = [axes for axes in figure.axes if axes.get_xlabel() == "Time (s)"]
    drawn = np.asarray(whole.images[0].get_array())
    np.testing.assert_allclose(drawn, expected.repeat(width, axis=1), atol=1e-12)
    assert [label.get_text() for label in whole.get_yticklabels()] == list(LEADS)
    names = ["I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6"]
    bands = figure.axes[0].images
    for number, name in enumerate(names):
        quarter = slice(number % 4 * 10 * rate_hz // 4, (number % 4 + 1) * 10 * rate_hz // 4)
        np.testing.assert_array_equal(bands[number].get_array(), drawn[[LEADS.index(name)], quarter])
        left, right, low, high = bands[number].get_extent()
        line = lines(figure)[f"{name}-{quarter.start}-{quarter.stop}"]
        half = 12.5 / rate_hz
        assert (left, right) == pytest.approx((line.get_xdata()[0] - half, line.get_xdata()[-1] + half))
        assert low < line.get_ydata()[0] < high  # behind the trace
        assert bands[number].get_zorder() < line.get_zorder()
    assert f"means over {1000 * width / rate_hz:g} ms" in read_texts(figure)


def test_the_color_scale_of_a_signed_attribution_is_symmetric(signal_mv):
    attribution = np.where(np.arange(1000) < 500, -2.0, 1.0) * np.ones((12, 1))
    signed = draw(signal_mv, attribution=attribution, label="x (logit)").axes[0].images
    assert {image.norm.vmin for image in signed} == {-2.0}
    assert {image.norm.vmax for image in signed} == {2.0}
    unsigned = draw(signal_mv, attribution=attribution, label="x", is_signed=False).axes[0].images
    assert {(image.norm.vmin, image.norm.vmax) for image in unsigned} == {(0.0, 2.0)}
    assert unsigned[0].get_array().min() == 2.0  # lead I's first quarter, of which the magnitude is drawn
    assert len(signed) == 13
    against, nothing, speaks_for = signed[0].cmap(np.array([0.0, 0.5, 1.0]))
    assert against[2] > 0.6 > against[0]  # blue
    assert speaks_for[0] > 0.6 > speaks_for[2]  # orange
    assert nothing[3] < 0.01 and min(against[3], speaks_for[3]) > 0.5


@pytest.mark.parametrize(
    ("highest", "is_signed", "extend"),
    [(1.0, True, "neither"), (9.0, True, "max"), (-9.0, True, "min"), (-9.0, False, "max")],
)
def test_arrows_of_the_color_bar_mark_values_beyond_the_scale(signal_mv, highest, is_signed, extend):
    """Of 12 x 250 columns, 12 lie beyond the others: less than one in 200."""
    attribution = np.where(np.arange(1000) < 500, -1.0, 1.0) * np.ones((12, 1))
    attribution[:, :4] = highest
    figure = draw(signal_mv, attribution=attribution, label="x (logit)", is_signed=is_signed)
    (bar,) = [axes for axes in figure.axes if hasattr(axes, "_colorbar")]
    assert bar._colorbar.extend == extend
    assert bar._colorbar.vmax == 1.0
    assert "x (logit)" in read_texts(figure)


def test_fewer_leads_have_a_row_each_in_full(signal_mv):
    leads = ("V2", "I", "aVF")
    some = signal_mv[[LEADS.index(lead) for lead in leads]]
    figure = draw(some, lead_names=leads, attribution=np.ones_like(some), label="x")
    traces = [line for axes in figure.axes for line in axes.lines if (line.get_gid() or "").endswith("-0-1000")]
    assert [line.get_gid() for line in traces] == ["I-0-1000", "aVF-0-1000", "V2-0-1000"]
    heights = [line.get_ydata() for line in traces]
    assert np.allclose(np.ptp(heights, axis=1), 10 * np.ptp(some[[1, 2, 0]], axis=1))
    assert not any("layout shows" in text for text in read_texts(figure))


def test_an_attribution_of_zeros_can_be_drawn(signal_mv, tmp_path):
    figure = draw(signal_mv, attribution=np.zeros_like(signal_mv), label="x")
    save_figure(figure, tmp_path / "a.png")
    assert "The attribution is 0 everywhere." in read_texts(figure)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lead_names": (*LEADS[:11], "V7")}, "needs standard leads, each once, of I, II.* got I, II.*V5, V7"),
        ({"lead_names": (*LEADS, "V6")}, "needs standard leads, each once, of"),
        ({"lead_names": (*LEADS[:11], "V5")}, "needs standard leads, each once, of"),
        ({"attribution": np.zeros((12, 999))}, r"must have the signal's shape \(12, 1000\), got \(12, 999\)"),
        ({"attribution": np.full((12, 1000), np.nan)}, "the attribution has a value that is not finite"),
    ],
)
def test_wrong_input_is_reported(signal_mv, changed, message):
    with pytest.raises(DataError, match=message):
        draw(signal_mv, **changed)


def test_a_missing_sample_is_reported(signal_mv):
    signal_mv[3, 5] = np.nan
    with pytest.raises(DataError, match="not finite in lead aVR, sample 5"):
        draw(signal_mv)


def test_wrong_shapes_and_rates_are_reported(signal_mv):
    with pytest.raises(DataError, match=r"12 leads and 8 samples or more, got \(11, 1000\)"):
        draw(signal_mv[:11])
    with pytest.raises(DataError, match="8 samples or more"):
        draw(signal_mv[:, :7])
    for rate_hz in (0, -100, np.nan):
        with pytest.raises(ConfigError, match="sampling_rate_hz must be positive"):
            draw(signal_mv, sampling_rate_hz=rate_hz)


def test_the_same_picture_has_the_same_bytes(signal_mv, tmp_path):
    for name in ("a", "b"):
        save_figure(draw(signal_mv, attribution=signal_mv, label="x"), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    size = matplotlib.image.imread(tmp_path / "a.png").shape
    assert size[1] / 150 * 25.4 == pytest.approx(276, abs=0.2)  # mm: 10 s, the calibration pulse, the margins


def test_a_real_ecg_is_drawn_whole_and_small(ptbxl_root):
    """Record 421 has the largest deflection of the real ones at hand, 11 mV below the line."""
    record = read_record(next(ptbxl_root.glob("records100/*/00421_lr.hea")).with_suffix(""))
    signal_mv = record.signal_uv / 1000
    figure = draw(signal_mv, attribution=signal_mv, label="x (logit)")
    top = figure.axes[0].get_ylim()[1]
    for line in lines(figure).values():
        assert min(line.get_ydata()) > 0 and max(line.get_ydata()) < top
    assert len(to_svg(figure, prefix="p")) < 250_000
