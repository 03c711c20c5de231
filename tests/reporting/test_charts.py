import json

import pytest
from sklearn.metrics import average_precision_score

from ecgcls.reporting import charts
from ecgcls.reporting.curves import trace_all
from ecgcls.reporting.experiment import collect


def luminance(color):
    """As WCAG 2.2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in bytes_of(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def bytes_of(color):
    return [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]


@pytest.mark.parametrize("ground", ["#ffffff", "#14171a"])
@pytest.mark.parametrize("color", charts.COLORS)
def test_lines_stand_out_from_light_and_dark_ground(color, ground):
    darker, lighter = sorted((luminance(color), luminance(ground)))
    assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_no_two_models_look_alike():
    styles = {tuple(charts.style(number).values()) for number in range(45)}
    assert len(styles) == 45


def test_the_charts_are_vector_graphics_that_name_each_models_score(experiment):
    found = collect(experiment)
    names = found.class_names
    curves = trace_all(found.configurations, names)
    for draw in (charts.draw_pr, charts.draw_roc, charts.draw_reliability):
        figure = json.loads(draw(curves, found.configurations, names).to_json())
        assert {trace["type"] for trace in figure["data"]} == {"scatter"}
        drawn = [(trace["meta"]["class"], trace["meta"]["model"]) for trace in figure["data"]]
        assert {pair for pair in drawn if pair[1] >= 0} == {(k, number) for k in range(3) for number in (0, 1)}
    tested = found.configurations[1].tested
    expected = average_precision_score(tested.y_true[:, 2], tested.y_prob[:, 2])
    (hover,) = [
        trace.hovertemplate
        for trace in charts.draw_pr(curves, found.configurations, names).data
        if trace.meta == {"model": 1, "class": 2}
    ]
    assert hover.startswith(f"cnn1d seed=1: AP {expected:.3f}<br>")


def test_a_training_chart_has_each_fold_and_their_mean(experiment):
    (best, other) = collect(experiment).configurations
    figure = charts.draw_training([best, other], "val/pr_auc", "PR-AUC")
    assert [trace.meta["model"] for trace in figure.data] == [0, 0, 0, 1, 1, 1, 1]
    assert figure.data[2].y.tolist() == pytest.approx([0.2, 0.7])
    assert figure.data[2].opacity is None
    assert figure.data[0].opacity < 1
