import itertools

import numpy as np
import pandas as pd
import pytest

from ecgcls.evaluation.calibration import format_line, measure_calibration, reliability_curve
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.smooth_calibration import smooth_curves
from ecgcls.evaluation.thresholds import decision_curves
from ecgcls.figures.panels import draw_calibration, draw_decision_curves, draw_likelihoods, draw_search


@pytest.fixture(scope="module", params=[1, 5, pytest.param(71, marks=pytest.mark.slow)])
def predictions(request):
    generator = np.random.default_rng(0)
    ids = np.arange(60)
    names = tuple(f"C{number}_" for number in range(request.param))
    y_true = generator.integers(0, 2, (60, request.param))
    y_prob = generator.random(y_true.shape)
    return Predictions(ids, ids, ids, np.full(60, "test"), y_true, y_prob, names)


def test_decision_curves_draw_what_the_table_holds(predictions):
    curves = decision_curves(predictions.y_true, predictions.y_prob, predictions.class_names)
    figure = draw_decision_curves(curves, title="t")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == list(predictions.class_names)
    drawn = panels[-1].lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, curves[curves["class"] == predictions.class_names[-1]]["net_benefit"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "treat as the model predicts", "treat all", "treat none",
    ]  # fmt: skip
    assert "record" in figure.get_supylabel()
    title, legend = figure._suptitle.get_window_extent(), figure.legends[0].get_window_extent()
    assert not title.overlaps(legend)
    if len(panels) == 1:
        (at_x, _), (_, at_y) = figure._supxlabel.get_position(), figure._supylabel.get_position()
        middle = figure.axes[0].get_position()
        assert at_x == pytest.approx((middle.x0 + middle.x1) / 2)
        assert at_y == pytest.approx((middle.y0 + middle.y1) / 2)


def test_calibration_is_drawn_before_and_after(predictions):
    figure = draw_calibration(predictions, predictions.decide(0.3), title="t")
    bins = reliability_curve(predictions.y_true, predictions.y_prob, predictions.class_names)
    first = bins[bins["class"] == predictions.class_names[0]]
    smooth = smooth_curves(predictions.y_true, predictions.y_prob, predictions.patient_id, predictions.class_names)
    of_class = smooth[smooth["class"] == predictions.class_names[0]]
    for line, table in zip(figure.axes[0].lines[:4], (first, of_class) * 2, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), table["share_positive"])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    kinds = ["before recalibration", "after recalibration", "perfect calibration"]
    assert labels == [*kinds, "a bin's 95% Wilson interval", "95% band of the whole curve"]
    measured = measure_calibration(predictions.y_true, predictions.y_prob, predictions.class_names)
    assert figure.axes[0].texts[0].get_text() == format_line(measured.iloc[0], "\n")


def test_likelihoods_are_counted_in_bars():
    table = pd.DataFrame({0.0: [5, 40], 100.0: [30, 2]}, index=["diagnostic", "rhythm"])
    figure = draw_likelihoods(table)
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == [40, 2]
    assert figure.get_supxlabel() == "Likelihood (%)"


@pytest.mark.parametrize("decades", [1, 2, 4, 6])
def test_a_search_shows_finished_trials_and_its_ticks_do_not_overlap(decades):
    rates = np.geomspace(3e-6, 3e-6 * 10**decades, 6)
    trials = pd.DataFrame({"trial": range(6), "optimizer.lr": rates, "model.width": [8, 16, 32, 64, 8, 16]})
    trials["model.image"] = ["resize", "spectrogram"] * 3
    trials["score"] = [0.5, 0.7, np.nan, 0.6, 0.8, 0.1]
    figure = draw_search(trials, ["optimizer.lr", "model.width", "model.image"], objective="score")
    assert [axes.get_xlabel() for axes in figure.axes] == ["Trial", "optimizer.lr", "model.width", "model.image"]
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log", "linear", "linear"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [0.5, 0.7, 0.7, 0.8, 0.8])
    (best,) = figure.axes[1].collections[1].get_offsets()
    assert list(best) == pytest.approx([rates[4], 0.8])
    figure.canvas.draw()
    for axes in figure.axes:
        low, high = sorted(axes.get_xlim())
        shown = [
            tick.label1.get_window_extent()
            for tick in axes.xaxis.get_major_ticks()
            if low <= tick.get_loc() <= high and tick.label1.get_text()
        ]
        assert len(shown) >= 2
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(shown))
