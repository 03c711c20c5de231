import io
import itertools
import subprocess
import sys

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.evaluation.figures import (
    choose_grid,
    draw_confusion_matrices,
    draw_confusion_matrix,
    draw_pr_curves,
    draw_reliability_curves,
    draw_roc_curves,
    draw_training_curves,
    save_figure,
)
from ecgcls.evaluation.metrics import score
from ecgcls.evaluation.predictions import Predictions

CURVES = [draw_pr_curves, draw_roc_curves]
ALL_CURVES = [*CURVES, draw_reliability_curves]


def make(n_classes=5, n_records=300, undefined=()):
    rng = np.random.default_rng(n_classes)
    y_true = (rng.random((n_records, n_classes)) < 0.3).astype(np.int8)
    y_true[:3], y_true[3:6] = 1, 0
    y_true[:, list(undefined)] = 0
    logits = rng.normal(size=y_true.shape) + 2 * y_true - 1
    y_prob = (1 / (1 + np.exp(-logits))).round(2)  # rounding makes ties
    ids = np.arange(n_records)
    names = tuple(f"C{number}_" for number in range(n_classes))
    return Predictions(ids, ids, ids % 10 + 1, ["test"] * n_records, y_true, y_prob, names)


def make_history(n_epochs=6):
    epoch = np.arange(n_epochs)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train/loss": 1.0 / (epoch + 1),
            "val/loss": 1.1 / (epoch + 1),
            "val/pr_auc": 0.1 * epoch,
            "val/roc_auc": 0.5 + 0.05 * epoch,
            "val/f1_macro": 0.09 * epoch,
            "val/f1_micro": 0.08 * epoch,
        }
    )


def png(figure, path):
    save_figure(figure, path)
    return path.read_bytes()


def legend_texts(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def curves(figure, predictions):
    """The drawn line of each class, by class name."""
    names = predictions.class_names
    return {
        name: line for name in names for line in figure.axes[0].lines if str(line.get_label()).startswith(f"{name} ")
    }


def cell_texts(axes):
    """The texts of a matrix as (truth, prediction)."""
    texts = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    return [[texts[row, column].split("\n") for column in (0, 1)] for row in (0, 1)]


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


def test_pr_curves_show_each_prevalence_in_the_colour_of_its_class():
    predictions = make()
    figure = draw_pr_curves(predictions, title="")
    dotted = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == predictions.y_true.mean(axis=0).tolist()
    expected = [line.get_color() for line in curves(figure, predictions).values()]
    assert [line.get_color() for line in dotted] == expected


@pytest.mark.parametrize(("draw", "metric"), [(draw_pr_curves, "pr_auc"), (draw_roc_curves, "roc_auc")])
def test_undefined_classes_are_named_never_drawn(draw, metric):
    predictions = make(undefined=[1, 4])
    figure = draw(predictions, title="cnn1d")
    assert list(curves(figure, predictions)) == ["C0_", "C2_", "C3_"]
    texts = legend_texts(figure)
    assert texts[1] == "C1_  undefined: no positive record" and texts[4].startswith("C4_  undefined")
    macro = score(predictions.y_true, predictions.y_prob, predictions.class_names).overall[metric]
    heading, line = figure.axes[0].get_title().split("\n")
    assert heading == "cnn1d" and f"{macro:.3f} over 3 of 5 classes" in line


@pytest.mark.parametrize("draw", CURVES)
def test_nothing_defined_is_said_in_the_title(draw):
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


def test_curve_axes_are_labelled():
    pr, roc = (draw(make(), title="").axes[0] for draw in CURVES)
    assert pr.get_xlabel() == "Recall (sensitivity)" and pr.get_ylabel() == "Precision (positive predictive value)"
    assert roc.get_xlabel() == "False positive rate (1 - specificity)"
    assert roc.get_ylabel() == "True positive rate (sensitivity)"


def test_reliability_curves_show_the_bins_and_their_intervals():
    predictions = make(undefined=[1])
    figure = draw_reliability_curves(predictions, title="cnn1d")
    bins = reliability_curve(predictions.y_true, predictions.y_prob, predictions.class_names)
    drawn = curves(figure, predictions)
    assert list(drawn) == ["C0_", "C2_", "C3_", "C4_"]
    intervals = figure.axes[0].collections
    assert len(intervals) == 4
    for (name, line), bars in zip(drawn.items(), intervals, strict=True):
        expected = bins[bins["class"] == name]
        np.testing.assert_array_equal(line.get_xydata(), expected[["mean_prob", "share_positive"]])
        assert line.get_label() == f"{name}  (n+ = {expected['n_positive'].sum()})"
        ends = [(low, high) for (_, low), (_, high) in bars.get_segments()]
        np.testing.assert_array_equal(ends, expected[["share_low", "share_high"]])
    texts = legend_texts(figure)
    assert texts[1] == "C1_  undefined: no positive record"
    assert texts[-2:] == ["perfect calibration", "95 % Wilson interval"]
    (diagonal,) = [line for line in figure.axes[0].lines if line.get_label() == "perfect calibration"]
    assert np.array_equal(diagonal.get_data(), ([0, 1], [0, 1]))
    most = bins["class"].value_counts().max()
    assert figure.axes[0].get_title() == f"cnn1d\n300 records; bins of equal mass, at most {most} a class"


def test_the_panel_below_counts_every_record_of_a_drawn_class():
    predictions = make(undefined=[1])
    axes, panel = draw_reliability_curves(predictions, title="").axes
    assert axes.get_shared_x_axes().joined(axes, panel)
    assert panel.get_xlabel() == "Predicted probability" and panel.get_ylabel() == "Records"
    assert axes.get_ylabel() == "Share of positive records"
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
    assert len(twelve.axes[0].collections) == 12 and legend_texts(twelve)[-1] == "95 % Wilson interval"
    assert len(thirteen.axes[0].collections) == 0
    assert legend_texts(thirteen)[-1] == "no intervals (more than 12 classes)"


def test_reliability_of_few_records_and_of_nothing_defined():
    predictions = make(2, n_records=12)
    line = curves(draw_reliability_curves(predictions, title=""), predictions)["C0_"]
    assert len(line.get_xdata()) == 1 and line.get_marker() == "o"  # a line of one point is not seen
    predictions = make(2, undefined=[0, 1])
    figure = draw_reliability_curves(predictions, title="")
    assert curves(figure, predictions) == {} and not figure.axes[1].patches


def test_a_class_name_with_dollars_is_written_as_it_is(tmp_path):
    predictions = Predictions([1, 2], [1, 2], [1, 1], ["val"] * 2, [[1], [0]], [[0.9], [0.1]], (r"$\bad$",))
    for draw in ALL_CURVES:
        assert png(draw(predictions, title=r"$\bad$"), tmp_path / "figure.png")
    assert png(draw_confusion_matrices(predictions, threshold=0.5, title=r"$\bad$"), tmp_path / "figure.png")
    one = draw_confusion_matrix(predictions, r"$\bad$", threshold=0.5, title=r"$\bad$")
    assert png(one, tmp_path / "figure.png")


@pytest.mark.parametrize("n_classes", [1, 5, 6, 23, 44, 71])
@pytest.mark.parametrize("threshold", [0.5, 0.31])
def test_confusion_matrices_hold_sklearn_counts(n_classes, threshold):
    predictions = make(n_classes)
    figure = draw_confusion_matrices(predictions, threshold=threshold, title="")
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == list(predictions.class_names)
    for number, axes in enumerate(panels):
        y_pred = predictions.y_prob[:, number] >= threshold
        counts = sklearn.metrics.confusion_matrix(predictions.y_true[:, number], y_pred)
        shares = counts / counts.sum(axis=1, keepdims=True)
        expected = [[[str(counts[i, j]), f"{shares[i, j]:.1%}"] for j in (0, 1)] for i in (0, 1)]
        assert cell_texts(axes) == expected
        np.testing.assert_allclose(axes.images[0].get_array(), shares)
        assert axes.images[0].get_clim() == (0.0, 1.0)
    assert f"{threshold:g}" in figure.get_supxlabel()


def test_a_truth_without_records_has_no_share():
    axes = draw_confusion_matrices(make(undefined=[2]), threshold=0.5, title="").axes[2]
    assert cell_texts(axes)[1] == [["0", "no share"], ["0", "no share"]]
    assert np.ma.getmaskarray(axes.images[0].get_array()).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("n_classes", range(1, 72))
def test_the_grid_has_room_for_every_class_and_no_empty_row(n_classes):
    n_rows, n_columns = choose_grid(n_classes)
    assert n_columns * (n_rows - 1) < n_classes <= n_columns * n_rows
    assert n_rows <= n_columns + 1


def test_the_threshold_of_confusion_matrices_is_checked():
    with pytest.raises(ConfigError, match=r"threshold must be in \[0, 1\], got 2"):
        draw_confusion_matrices(make(), threshold=2, title="")


def test_one_class_alone_is_drawn_as_in_the_grid():
    predictions = make()
    grid = draw_confusion_matrices(predictions, threshold=0.31, title="").axes[3]
    figure = draw_confusion_matrix(predictions, "C3_", threshold=0.31, title="cnn1d, test")
    axes = figure.axes[0]
    assert cell_texts(axes) == cell_texts(grid)
    np.testing.assert_array_equal(axes.images[0].get_array(), grid.images[0].get_array())
    assert figure.get_suptitle() == "C3_\ncnn1d, test"
    assert axes.get_ylabel() == "True" and axes.get_xlabel() == "Predicted (probability at least 0.31)"
    truth, y_pred = predictions.y_true[:, 3], predictions.y_prob[:, 3] >= 0.31
    rates = [
        sklearn.metrics.recall_score(truth, y_pred),
        sklearn.metrics.recall_score(truth, y_pred, pos_label=0),
        sklearn.metrics.precision_score(truth, y_pred),
        sklearn.metrics.precision_score(truth, y_pred, pos_label=0),
    ]
    expected = [
        f"{name} {rate:.3f}" for name, rate in zip(("sensitivity", "specificity", "PPV", "NPV"), rates, strict=True)
    ]
    assert figure.get_supxlabel() == "   ".join(expected)


def test_a_rate_of_nothing_is_called_undefined_and_long_titles_stay_inside():
    title = "cnn1d, 5 folds (simulated ECGs), test pooled, on another data set, 17 chosen records"
    predictions = make(undefined=[2])
    figure = draw_confusion_matrix(predictions, "C2_", threshold=1.0, title=title)
    assert figure.get_supxlabel() == "sensitivity undefined   specificity 1.000   PPV undefined   NPV 1.000"
    figure.canvas.draw()
    for text in (figure._suptitle, figure._supxlabel):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


def test_a_confusion_matrix_of_no_class_is_refused():
    with pytest.raises(ConfigError, match="class_name must be one of C0_, C1_, got 'MI'"):
        draw_confusion_matrix(make(2), "MI", threshold=0.5, title="")


def test_a_grid_with_thresholds_of_the_classes_names_each():
    predictions = make(3)
    thresholds = [0.25, 0.5, 1 / 3]
    figure = draw_confusion_matrices(predictions, threshold=thresholds, title="")
    for number, threshold in enumerate(thresholds):
        alone = draw_confusion_matrices(predictions, threshold=threshold, title="").axes[number]
        assert cell_texts(figure.axes[number]) == cell_texts(alone)
        assert figure.axes[number].get_title() == f"C{number}_\n(threshold {threshold:.3g})"
    assert figure.get_supxlabel() == "Predicted (probability at least the threshold)"


def test_training_curves_draw_the_history_and_mark_the_best_epoch():
    history = make_history()
    figure = draw_training_curves(history.sample(frac=1, random_state=0), best_epoch=4, title="cnn1d")
    losses, metrics = figure.axes
    for axes, columns in ((losses, history.columns[1:3]), (metrics, history.columns[3:])):
        *lines, best = axes.lines
        assert len(lines) == len(columns)
        for line, column in zip(lines, columns, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), history["epoch"])
            np.testing.assert_array_equal(line.get_ydata(), history[column])
        assert best.get_label() == "best checkpoint (epoch 4)" and list(best.get_xdata()) == [4, 4]
        assert axes.get_xlabel() == "Epoch"
    assert losses.get_ylabel() == "Loss (mean over records and classes)"
    assert [text.get_text() for text in metrics.get_legend().get_texts()][:2] == [
        "PR-AUC (macro)",
        "ROC-AUC (macro)",
    ]


def test_training_curves_of_part_of_the_columns():
    losses, metrics = draw_training_curves(make_history()[["epoch", "val/pr_auc"]], best_epoch=None, title="cnn1d").axes
    assert len(metrics.lines) == 1 and len(losses.lines) == 0
    assert [text.get_text() for text in losses.texts] == ["not recorded"]


def test_training_curves_of_one_epoch_show_it_whole():
    losses, _ = draw_training_curves(make_history(1), best_epoch=0, title="cnn1d").axes
    assert losses.get_ylim()[0] == 0 and losses.get_ylim()[1] > 1.1
    shown = [tick for tick in losses.get_xticks() if losses.get_xlim()[0] <= tick <= losses.get_xlim()[1]]
    assert shown == [0]


@pytest.mark.parametrize(
    ("history", "best_epoch", "message"),
    [
        (make_history().drop(columns="epoch"), 0, "must have a column 'epoch', got train/loss"),
        (make_history().iloc[:0], None, "no epoch to draw"),
        (pd.concat([make_history(2)] * 2), 0, r"one row an epoch, got epochs \[0, 1, 0, 1\]"),
        (make_history()[["epoch"]], 0, "nothing to draw, expected any of train/loss, val/loss"),
        (make_history(), 6, r"best_epoch must be in 0\.\.5, got 6"),
    ],
)
def test_training_curves_refuse(history, best_epoch, message):
    with pytest.raises(DataError, match=message):
        draw_training_curves(history, best_epoch=best_epoch, title="cnn1d")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: draw_pr_curves(make(), title="t"),
        lambda: draw_roc_curves(make(), title="t"),
        lambda: draw_reliability_curves(make(), title="t"),
        lambda: draw_confusion_matrix(make(), "C3_", threshold=0.5, title="t"),
        lambda: draw_confusion_matrices(make(7), threshold=0.5, title="t"),
        lambda: draw_training_curves(make_history(), best_epoch=3, title="cnn1d"),
    ],
)
def test_saved_figures_are_equal_byte_by_byte(draw, tmp_path):
    first = png(draw(), tmp_path / "figures" / "a.png")
    assert first == png(draw(), tmp_path / "b.png")
    assert b"matplotlib" not in first.lower()  # no version in the file
    figure = draw()
    assert png(figure, tmp_path / "c.png") == png(figure, tmp_path / "d.png") == first
    image = matplotlib.image.imread(io.BytesIO(first))
    width, height = figure.get_size_inches()
    assert image.shape[:2] == (int(height * 150), int(width * 150))


def test_pyplot_is_not_imported():
    code = "import sys, ecgcls.evaluation.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
