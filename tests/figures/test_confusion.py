import dataclasses

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from ecgcls.errors import ConfigError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.figures.confusion import draw_confusion_matrices, draw_confusion_matrix, draw_confusions
from tests.figures.examples import cell_texts, make


@pytest.mark.parametrize("n_classes", [1, 5, 6, 23, *(pytest.param(n, marks=pytest.mark.slow) for n in (44, 71))])
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


def test_rows_are_the_actual_class_and_columns_the_prediction():
    y_true, y_prob = [[1]] * 4 + [[0]] * 3, [[0.9]] * 1 + [[0.1]] * 3 + [[0.8]] * 2 + [[0.2]]
    ids = np.arange(7)
    predictions = Predictions(ids, ids, ids, ["test"] * 7, y_true, y_prob, ("MI",))
    for figure in (
        draw_confusion_matrices(predictions, threshold=0.5, title=""),
        draw_confusion_matrix(predictions, "MI", threshold=0.5, title=""),
    ):
        axes = figure.axes[0]
        assert [[cell[0] for cell in row] for row in cell_texts(axes)] == [["1", "2"], ["3", "1"]]
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            assert [text.get_text() for text in labels] == ["negative", "positive"]


def test_a_row_without_records_has_no_percentages():
    axes = draw_confusion_matrices(make(undefined=[2]), threshold=0.5, title="").axes[2]
    assert cell_texts(axes)[1] == [["0", "no records"], ["0", "no records"]]
    assert np.ma.getmaskarray(axes.images[0].get_array()).tolist() == [[False, False], [True, True]]


def test_the_threshold_of_confusion_matrices_is_checked():
    with pytest.raises(ConfigError, match=r"threshold must be in \[0, 1\], got 2"):
        draw_confusion_matrices(make(), threshold=2, title="")


def test_a_single_matrix_is_the_one_of_the_grid():
    predictions = make()
    grid = draw_confusion_matrices(predictions, threshold=0.31, title="").axes[3]
    figure = draw_confusion_matrix(predictions, "C3_", threshold=0.31, title="cnn1d, test")
    axes = figure.axes[0]
    assert cell_texts(axes) == cell_texts(grid)
    np.testing.assert_array_equal(axes.images[0].get_array(), grid.images[0].get_array())
    assert figure.get_suptitle() == "C3_\ncnn1d, test"
    assert axes.get_ylabel() == "Actual" and axes.get_xlabel() == "Predicted (positive: probability at least 0.31)"
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


def test_a_rate_without_records_is_undefined_and_a_long_title_stays_inside():
    title = "cnn1d, 5 folds (simulated ECGs), test pooled, on another data set, 17 chosen records"
    predictions = make(undefined=[2])
    figure = draw_confusion_matrix(predictions, "C2_", threshold=1.0, title=title)
    assert figure.get_supxlabel() == "sensitivity undefined   specificity 1.000   PPV undefined   NPV 1.000"
    figure.canvas.draw()
    for text in (figure._suptitle, figure._supxlabel):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("n_classes", [1, 2])
def test_the_label_of_few_classes_stays_inside_and_below_the_middle_of_the_matrices(n_classes):
    predictions = dataclasses.replace(make(n_classes), fold=np.arange(300) % 3)
    figure = draw_confusion_matrices(predictions, title="cnn1d, 3 folds, test, pooled")
    assert figure.get_supxlabel().replace("\n", " ").endswith("probability at least its fold's threshold)")
    figure.canvas.draw()
    box, first, last = (each.get_window_extent() for each in (figure._supxlabel, figure.axes[0], figure.axes[-2]))
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
    assert (box.x0 + box.x1) / 2 == pytest.approx((first.x0 + last.x1) / 2, abs=2)


def test_an_unknown_class_is_refused():
    with pytest.raises(ConfigError, match="class_name must be one of C0_, C1_, got 'MI'"):
        draw_confusion_matrix(make(2), "MI", threshold=0.5, title="")


def test_thresholds_per_class_are_shown_per_class():
    predictions = make(3)
    thresholds = [0.25, 0.5, 1 / 3]
    figure = draw_confusion_matrices(predictions, threshold=thresholds, title="")
    for number, threshold in enumerate(thresholds):
        alone = draw_confusion_matrices(predictions, threshold=threshold, title="").axes[number]
        assert cell_texts(figure.axes[number]) == cell_texts(alone)
        assert figure.axes[number].get_title() == f"C{number}_\n(threshold {threshold:.3g})"
    assert figure.get_supxlabel() == "Predicted (positive: probability at least the threshold)"


def test_the_matrix_of_exclusive_classes_shows_its_counts_and_agreement():
    counts = pd.DataFrame(
        [[8, 2, 0], [1, 3, 0], [0, 0, 0]], index=["NORM", "$MI$", "CD"], columns=["NORM", "$MI$", "CD"]
    )
    figure = draw_confusions(counts, title="t")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["8", "2", "0", "1", "3", "0", "0", "0", "0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["NORM", "$MI$", "CD"]
    # 11 of 14 are right; by chance (10 * 9 + 4 * 5) / 14^2 would be
    assert figure.get_supxlabel() == "accuracy 0.786   balanced accuracy 0.775   kappa 0.512"
