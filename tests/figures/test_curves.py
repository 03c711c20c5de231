import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from matplotlib.collections import LineCollection

from ecgcls.errors import DataError
from ecgcls.evaluation.calibration import format_line, measure_calibration, reliability_curve
from ecgcls.evaluation.metrics import score
from ecgcls.evaluation.smooth_calibration import smooth_curves
from ecgcls.figures.curves import draw_pr_curves, draw_reliability_curves, draw_roc_curves, draw_training_curves
from tests.figures.examples import make, make_history

CURVES = [draw_pr_curves, draw_roc_curves]
ALL_CURVES = [*CURVES, draw_reliability_curves]


def legend_texts(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def curves(figure, predictions):
    """The drawn line of each class, by class name."""
    names = predictions.class_names
    return {
        name: line for name in names for line in figure.axes[0].lines if str(line.get_label()).startswith(f"{name} ")
    }


def test_the_area_under_each_pr_curve_is_the_average_precision():
    predictions = make()
    drawn = curves(draw_pr_curves(predictions, title=""), predictions)
    assert len(drawn) == 5
    for number, (name, line) in enumerate(drawn.items()):
        recall, precision = line.get_data()
        assert line.get_drawstyle() == "steps-post"
        area = float(np.sum(-np.diff(recall) * np.asarray(precision)[:-1]))
        truth, probability = predictions.y_true[:, number], predictions.y_prob[:, number]
        expected = sklearn.metrics.average_precision_score(truth, probability)
        assert area == pytest.approx(expected, abs=1e-12)
        assert line.get_label() == f"{name}  AP {expected:.2f} (n+ = {truth.sum()})"


def test_the_area_under_each_roc_curve_is_the_roc_auc():
    predictions = make()
    figure = draw_roc_curves(predictions, title="")
    drawn = curves(figure, predictions)
    assert len(drawn) == 5
    for number, (name, line) in enumerate(drawn.items()):
        fpr, tpr = line.get_data()
        truth, probability = predictions.y_true[:, number], predictions.y_prob[:, number]
        expected = sklearn.metrics.roc_auc_score(truth, probability)
        assert sklearn.metrics.auc(fpr, tpr) == pytest.approx(expected, abs=1e-12)
        assert line.get_label() == f"{name}  AUC {expected:.2f} (n+ = {truth.sum()})"
    (chance,) = [line for line in figure.axes[0].lines if line.get_label() == "chance"]
    assert np.array_equal(chance.get_data(), ([0, 1], [0, 1]))


def test_pr_curves_show_each_prevalence_in_the_color_of_its_class():
    predictions = make()
    figure = draw_pr_curves(predictions, title="")
    dotted = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == predictions.y_true.mean(axis=0).tolist()
    expected = [line.get_color() for line in curves(figure, predictions).values()]
    assert [line.get_color() for line in dotted] == expected


@pytest.mark.parametrize(("draw", "metric"), [(draw_pr_curves, "pr_auc"), (draw_roc_curves, "roc_auc")])
def test_undefined_classes_are_named_but_not_drawn(draw, metric):
    predictions = make(undefined=[1, 4])
    figure = draw(predictions, title="cnn1d")
    assert list(curves(figure, predictions)) == ["C0_", "C2_", "C3_"]
    texts = legend_texts(figure)
    assert texts[1] == "C1_  undefined: no positive record" and texts[4].startswith("C4_  undefined")
    macro = score(predictions.y_true, predictions.y_prob, predictions.class_names).overall[metric]
    heading, line = figure.axes[0].get_title().split("\n")
    assert heading == "cnn1d" and f"{macro:.3f} over 3 of 5 classes" in line


@pytest.mark.parametrize("draw", CURVES)
def test_the_title_says_when_no_class_is_defined(draw):
    predictions = make(2, undefined=[0, 1])
    figure = draw(predictions, title="t")
    assert "undefined for all 2 classes" in figure.axes[0].get_title()
    assert curves(figure, predictions) == {}


@pytest.mark.parametrize("draw", ALL_CURVES)
def test_every_one_of_71_classes_has_its_own_look(draw):
    predictions = make(71)
    figure = draw(predictions, title="")
    looks = {(line.get_color(), str(line._dash_pattern)) for line in curves(figure, predictions).values()}
    assert len(looks) == 71
    assert len(legend_texts(figure)) == 72 + (draw is draw_reliability_curves)


@pytest.mark.parametrize("draw", ALL_CURVES)
@pytest.mark.parametrize("n_classes", [1, 5, 23, 44, 71])
def test_the_legend_is_outside_the_axes_and_inside_the_figure(draw, n_classes):
    figure = draw(make(n_classes, 60, undefined=[n_classes - 1]), title="a run, fold 0, test")
    figure.canvas.draw()
    axes, *below = figure.axes
    inside, box = axes.get_window_extent(), axes.get_legend().get_window_extent()
    assert inside.x1 < box.x0 and box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    assert inside.width == pytest.approx(inside.height, rel=1e-6)
    for each in figure.axes:
        tight = each.get_tightbbox()  # the axis labels and the title as well
        assert figure.bbox.x0 <= tight.x0 and figure.bbox.y0 <= tight.y0 and tight.y1 <= figure.bbox.y1
    for panel in below:
        foot = panel.get_window_extent()
        assert (foot.x0, foot.x1) == pytest.approx((inside.x0, inside.x1)) and foot.y1 < inside.y0


def test_curve_axes_are_labeled():
    pr, roc = (draw(make(), title="").axes[0] for draw in CURVES)
    assert pr.get_xlabel() == "Recall (sensitivity)" and pr.get_ylabel() == "Precision (positive predictive value)"
    assert roc.get_xlabel() == "False positive rate (1 \N{MINUS SIGN} specificity)"
    assert roc.get_ylabel() == "True positive rate (sensitivity)"


def test_reliability_curves_show_the_bins_and_their_intervals():
    predictions = make(undefined=[1])
    figure = draw_reliability_curves(predictions, title="cnn1d")
    bins = reliability_curve(predictions.y_true, predictions.y_prob, predictions.class_names)
    drawn = curves(figure, predictions)
    assert list(drawn) == ["C0_", "C2_", "C3_", "C4_"]
    intervals = [each for each in figure.axes[0].collections if isinstance(each, LineCollection)]
    bands = [each for each in figure.axes[0].collections if not isinstance(each, LineCollection)]
    arrays = predictions.y_true, predictions.y_prob
    smooth = smooth_curves(*arrays, predictions.patient_id, predictions.class_names, level=0.95)
    measured = measure_calibration(*arrays, predictions.class_names, patient_id=predictions.patient_id)
    shapes = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("_")]
    for (name, line), bars, shape, band in zip(drawn.items(), intervals, shapes, bands, strict=True):
        of_class = smooth[smooth["class"] == name]
        np.testing.assert_array_equal(shape.get_xydata(), of_class[["prob", "share_positive"]])
        (box,) = band.get_paths()
        assert box.get_extents().ymax == of_class["high_everywhere"].max()
        expected = bins[bins["class"] == name]
        np.testing.assert_array_equal(line.get_xydata(), expected[["mean_prob", "share_positive"]])
        described = format_line(measured.loc[name], ", ")
        assert line.get_label() == f"{name}  (n+ = {expected['n_positive'].sum()})  {described}"
        ends = [(low, high) for (_, low), (_, high) in bars.get_segments()]
        np.testing.assert_array_equal(ends, expected[["share_low", "share_high"]])
    texts = legend_texts(figure)
    assert texts[1] == "C1_  undefined: no positive record"
    assert texts[-3:] == ["perfect calibration", "a bin's 95% Wilson interval", "95% band of the whole curve"]
    (diagonal,) = [line for line in figure.axes[0].lines if line.get_label() == "perfect calibration"]
    assert np.array_equal(diagonal.get_data(), ([0, 1], [0, 1]))
    most = bins["class"].value_counts().max()
    assert figure.axes[0].get_title() == f"cnn1d\n300 records; at most {most} equal-mass bins per class"


def test_the_panel_below_counts_every_record_of_a_drawn_class():
    predictions = make(undefined=[1])
    axes, panel = draw_reliability_curves(predictions, title="").axes
    assert axes.get_shared_x_axes().joined(axes, panel)
    assert panel.get_xlabel() == "Predicted probability" and panel.get_ylabel() == "Records (log scale)"
    assert axes.get_ylabel() == "Fraction of positive records"
    assert len(panel.patches) == 4
    for number, steps in zip([0, 2, 3, 4], panel.patches, strict=True):
        counts, borders, _ = steps.get_data()
        in_bin = [  # a probability on a border belongs to the bin above it, 1 to the last
            ((predictions.y_prob[:, number] >= low) & ((predictions.y_prob[:, number] < high) | (high == 1))).sum()
            for low, high in itertools.pairwise(borders)
        ]
        assert counts.tolist() == in_bin and counts.sum() == 300


def test_intervals_are_left_out_for_more_than_twelve_classes_and_the_legend_says_so():
    twelve, thirteen = (draw_reliability_curves(make(n_classes), title="") for n_classes in (12, 13))
    assert len(twelve.axes[0].collections) == 24 and legend_texts(twelve)[-1] == "95% band of the whole curve"
    assert len(thirteen.axes[0].collections) == 0
    assert legend_texts(thirteen)[-1] == "no intervals (more than 12 classes)"


def test_reliability_of_few_records_and_of_undefined_classes():
    predictions = make(2, n_records=12)
    line = curves(draw_reliability_curves(predictions, title=""), predictions)["C0_"]
    assert len(line.get_xdata()) == 1 and line.get_marker() == "o"  # a line of one point is invisible
    predictions = make(2, undefined=[0, 1])
    figure = draw_reliability_curves(predictions, title="")
    assert curves(figure, predictions) == {} and not figure.axes[1].patches
    assert [text[:3] for text in legend_texts(figure) if "no positive record" in text] == ["C0_", "C1_"]


def test_training_curves_draw_the_history_and_mark_the_best_epoch():
    history = make_history()
    figure = draw_training_curves(history.sample(frac=1, random_state=0), best_epoch=4, title="cnn1d")
    losses, metrics = figure.axes
    for axes, columns in ((losses, history.columns[1:3]), (metrics, history.columns[3:])):
        *lines, best = axes.lines
        assert len(lines) == len(columns)
        for line, column in zip(lines, columns, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), history["epoch"] + 1)  # people count from 1
            np.testing.assert_array_equal(line.get_ydata(), history[column])
        assert best.get_label() == "best checkpoint (epoch 5)" and list(best.get_xdata()) == [5, 5]
        assert axes.get_xlabel() == "Epoch"
    assert losses.get_ylabel() == "Loss (mean over records and classes)"
    assert [text.get_text() for text in metrics.get_legend().get_texts()][:2] == [
        "PR-AUC (macro)",
        "ROC-AUC (macro)",
    ]


def test_training_curves_of_some_columns():
    losses, metrics = draw_training_curves(make_history()[["epoch", "val/pr_auc"]], best_epoch=None, title="cnn1d").axes
    assert len(metrics.lines) == 1 and len(losses.lines) == 0
    assert [text.get_text() for text in losses.texts] == ["not recorded"]


def test_training_curves_of_one_epoch():
    losses, _ = draw_training_curves(make_history(1), best_epoch=0, title="cnn1d").axes
    assert losses.get_ylim()[0] == 0 and losses.get_ylim()[1] > 1.1
    shown = [tick for tick in losses.get_xticks() if losses.get_xlim()[0] <= tick <= losses.get_xlim()[1]]
    assert shown == [1]


@pytest.mark.parametrize(
    ("history", "best_epoch", "message"),
    [
        (make_history().drop(columns="epoch"), 0, "must have a column 'epoch', got train/loss"),
        (make_history().iloc[:0], None, "no epoch to draw"),
        (pd.concat([make_history(2)] * 2), 0, r"one row per epoch, got epochs \[0, 1, 0, 1\]"),
        (make_history()[["epoch"]], 0, "nothing to draw, expected any of train/loss, val/loss"),
        (make_history(), 6, r"best_epoch must be in 0\.\.5, got 6"),
    ],
)
def test_training_curves_refuse(history, best_epoch, message):
    with pytest.raises(DataError, match=message):
        draw_training_curves(history, best_epoch=best_epoch, title="cnn1d")


@pytest.mark.parametrize(("draw", "key"), [(draw_pr_curves, "pr_auc"), (draw_roc_curves, "roc_auc")])
def test_curves_of_several_folds_are_of_all_records_and_the_title_has_the_mean(draw, key):
    predictions = dataclasses.replace(make(n_classes=1), fold=np.arange(300) % 3)
    figure = draw(predictions, title="t")
    arrays = predictions.y_true, predictions.y_prob, predictions.class_names
    mean, pooled = score(*arrays, fold=predictions.fold).overall[key], score(*arrays).overall[key]
    _, of_folds, drawn = figure.axes[0].get_title().split("\n")
    assert f"{mean:.3f}" != f"{pooled:.3f}" and of_folds.endswith(f" {mean:.3f} over 1 of 1 classes, mean of folds")
    assert drawn.startswith("drawn: all folds ranked together, macro ") and drawn.endswith(f" {pooled:.3f}")
    tight = figure.axes[0].get_tightbbox()
    assert figure.bbox.x0 <= tight.x0 and tight.y1 <= figure.bbox.y1
    assert any(f" {pooled:.2f} (n+ = " in text for text in legend_texts(figure))
