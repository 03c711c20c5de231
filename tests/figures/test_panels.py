import numpy as np
import pandas as pd
import pytest

from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.thresholds import decision_curves
from ecgcls.figures.panels import draw_calibration, draw_decision_curves, draw_likelihoods


@pytest.fixture(scope="module", params=[1, 5, 71])
def said(request):
    generator = np.random.default_rng(0)
    ids = np.arange(60)
    names = tuple(f"C{number}_" for number in range(request.param))
    y_true = generator.integers(0, 2, (60, request.param))
    y_prob = generator.random(y_true.shape)
    return Predictions(ids, ids, ids, np.full(60, "test"), y_true, y_prob, names)


def test_decision_curves_draw_what_the_table_holds(said):
    curves = decision_curves(said.y_true, said.y_prob, said.class_names)
    figure = draw_decision_curves(curves, title="t")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == list(said.class_names)
    drawn = panels[-1].lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, curves[curves["class"] == said.class_names[-1]]["net_benefit"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "acting on the model", "acting on all", "acting on none",
    ]  # fmt: skip
    assert "record" in figure.get_supylabel()


def test_calibration_is_drawn_before_and_after(said):
    figure = draw_calibration(said, said.decide(0.3), title="t")
    bins = reliability_curve(said.y_true, said.y_prob, said.class_names)
    first = bins[bins["class"] == said.class_names[0]]
    for line in figure.axes[0].lines[:2]:
        np.testing.assert_array_equal(line.get_ydata(), first["share_positive"])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["before", "after recalibration", "perfect calibration"]


def test_likelihoods_are_counted_in_bars():
    table = pd.DataFrame({0.0: [5, 40], 100.0: [30, 2]}, index=["diagnostic", "rhythm"])
    figure = draw_likelihoods(table)
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == [40, 2]
    assert figure.get_supxlabel() == "Likelihood (%)"
