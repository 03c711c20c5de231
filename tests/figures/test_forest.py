import numpy as np
import pandas as pd

from ecgcls.figures.forest import draw_differences, draw_forest, draw_subgroups


def read_legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_each_row_has_its_value_and_interval_in_the_color_of_its_kind():
    table = pd.DataFrame({"value": [0.5, np.nan, 0.7], "low": [0.4, np.nan, 0.6], "high": [0.6, np.nan, 0.9]})
    table = table.assign(kind=["one", "two", "three"]).set_axis(["r0", "r1", "r2"])
    figure = draw_forest({"x": table}, title="t", colors={"one": "C0", "two": "C1", "three": "C2"})
    (axes,) = figure.axes
    points = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines]
    assert points == [([0.5], [0]), ([], []), ([0.7], [2])]
    ends = [segment.tolist() for bars in axes.collections for segment in bars.get_segments()]
    assert ends == [[[0.4, 0], [0.6, 0]], [[0.6, 2], [0.9, 2]]]
    assert read_legend(figure) == ["one", "three"]  # an empty row is not listed


def test_values_of_unreliable_intervals_are_hollow_and_the_legend_says_so():
    table = pd.DataFrame({"value": [0.5, np.nan, 0.7], "low": 0.4, "high": 0.9, "is_hollow": [False, True, True]})
    figure = draw_forest({"x": table.assign(kind="one")}, title="t", colors={"one": "C0"})
    assert figure.axes[0].lines[-1].get_xydata().tolist() == [[0.7, 2]]
    assert read_legend(figure) == ["one", "hollow: too few patients for a reliable interval"]


def test_subgroups_mark_what_can_be_told_from_the_rest_and_leave_out_small_ones():
    table = pd.DataFrame(
        [
            ("sex", "female", 60, False, 0.8, 0.7, 0.9, 0.2, -0.01, 0.41),
            ("sex", "male", 50, False, 0.6, 0.5, 0.7, -0.2, -0.3, -0.1),
            ("sex", "unknown", 40, False, 0.7, 0.6, 0.8, np.nan, np.nan, np.nan),
            ("age", "90", 3, True, *[np.nan] * 6),
        ],
        columns=[
            "grouping", "group", "n_records", "is_too_small", "value", "low", "high", "gap", "gap_low", "gap_high",
        ],
    ).assign(**{"class": "overall", "metric": "roc_auc"})  # fmt: skip
    figure = draw_subgroups(table, title="t")
    areas, gaps = figure.axes
    assert [text.get_text() for text in areas.get_yticklabels()] == [
        "sex: female (n = 60)", "sex: male (n = 50)", "sex: unknown (n = 40)",
    ]  # fmt: skip
    untold, worse = areas.lines
    assert (list(untold.get_xdata()), list(worse.get_xdata())) == ([0.8, 0.7], [0.6])
    assert untold.get_color() != worse.get_color()
    line, *points = gaps.lines
    assert [list(each.get_xdata()) for each in (line, *points)] == [[0, 0], [0.2], [-0.2]]  # no limits, no gap
    assert read_legend(figure) == ["worse than the rest", "cannot be told from the rest", "no difference"]


def test_differences_are_drawn_by_class_with_their_verdicts():
    index = pd.MultiIndex.from_product([["overall", "MI"], ["pr_auc", "roc_auc", "f1"]], names=["class", "metric"])
    by_class = pd.DataFrame({"difference": 0.1, "low": -0.1, "high": 0.2, "verdict": "a better"}, index=index)
    by_class["is_supported"] = [True] * 3 + [False] * 3
    by_class.loc["MI", ["low", "high"]] = [-1, 1]  # of too few patients
    figure = draw_differences(by_class, a="cnn1d", b="cnn2d", level=0.9)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["macro", "MI"]
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == [f"Difference in {name} (a \N{MINUS SIGN} b)" for name in ("PR-AUC", "ROC-AUC")]
    assert figure.get_suptitle() == "a: cnn1d\nb: cnn2d\n90% intervals from resampling patients"
    assert read_legend(figure) == ["a better", "no difference"]
    low, high = figure.axes[0].get_xlim()
    assert -0.2 < low < -0.1 and 0.2 < high < 0.3


def test_a_margin_is_a_band_and_the_kinds_are_its_verdicts():
    index = pd.MultiIndex.from_product([["overall", "MI", "HYP"], ["pr_auc", "roc_auc"]], names=["class", "metric"])
    by_class = pd.DataFrame({"difference": 0.0, "low": -0.01, "high": 0.01, "is_supported": True}, index=index)
    by_class["verdict"] = ["cannot be told"] * 4 + ["b better"] * 2
    by_class["margin_verdict"] = ["equivalent"] * 2 + ["cannot be told"] * 4
    figure = draw_differences(by_class, a="cnn1d", b="cnn2d", level=0.95, margin=0.02)
    assert read_legend(figure) == [
        "b better", "equivalent", "cannot be told", "no difference", "within the margin of 0.02",
    ]  # fmt: skip
    for axes in figure.axes:
        (band,) = axes.patches
        assert (band.get_x(), band.get_width()) == (-0.02, 0.04)
