"""A metric is one row of the registry: what is added there appears in every table."""

import numpy as np
import pytest
import sklearn.metrics

from ecgcls.evaluation.calibration import measure_calibration
from ecgcls.evaluation.comparison import compare
from ecgcls.evaluation.folds import summarize_folds
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import METRICS, RANKING, Metric, class_metrics, find_macro, overall_metrics, score
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.weighted import cross_entropy

NAMES = ("NORM", "MI", "HYP")


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    y_true = (rng.random((200, 3)) < [0.5, 0.3, 0.2]).astype(int)
    y_prob = np.round(1 / (1 + np.exp(-rng.normal(2.0 * y_true - 1))), 2)
    return Predictions(range(200), np.arange(200) // 2, [9] * 200, ["test"] * 200, y_true, y_prob, NAMES)


@pytest.fixture
def balanced_accuracy(monkeypatch):
    """Add a metric, in one place."""
    metric = Metric(
        key="balanced_accuracy",
        label="Balanced accuracy",
        by_class=lambda c: (c.tp / c.n_positive + c.tn / c.n_negative) / 2,
        macro_of="balanced_accuracy",
        is_headline=True,
    )
    monkeypatch.setitem(METRICS, metric.key, metric)
    return metric.key


def test_a_new_metric_is_scored(balanced_accuracy, predictions):
    found = score(predictions.y_true, predictions.y_prob, NAMES)
    expected = [
        sklearn.metrics.balanced_accuracy_score(*columns)
        for columns in zip(predictions.y_true.T, predictions.y_pred.T, strict=True)
    ]
    assert found.by_class[balanced_accuracy].tolist() == pytest.approx(expected, abs=1e-12)
    assert found.overall[balanced_accuracy] == pytest.approx(np.mean(expected), abs=1e-12)
    assert ("overall", balanced_accuracy) in summarize_folds([found]).index


def test_a_new_metric_has_an_interval(balanced_accuracy, predictions):
    arrays = predictions.y_true, predictions.y_prob, predictions.patient_id, NAMES
    for method in ("expanded", "bca"):
        found = bootstrap(*arrays, settings=Bootstrap(100, method=method))
        for name in ("overall", *NAMES):
            row = found.loc[(name, balanced_accuracy)]
            assert row["low"] < row["value"] < row["high"]


def test_a_new_metric_is_compared(balanced_accuracy, predictions):
    worse = Predictions(
        predictions.ecg_id, predictions.patient_id, predictions.strat_fold, predictions.split, predictions.y_true,
        np.full((200, 3), 0.6), NAMES,
    )  # fmt: skip
    found = compare([predictions], [worse], Bootstrap(n_resamples=100))
    assert found.loc[("MI", balanced_accuracy), "b"] == 0.5
    assert found.loc[("overall", balanced_accuracy), "verdict"] == "a better"


def test_a_new_metric_is_selected_for_tables(balanced_accuracy):
    for selected in (class_metrics(headline=True), overall_metrics(headline=True)):
        assert selected[-1].key == balanced_accuracy and selected[-1].label == "Balanced accuracy"
    assert find_macro(balanced_accuracy).key == balanced_accuracy


def test_the_selections_of_tables():
    assert [metric.key for metric in overall_metrics(headline=True)][:3] == ["pr_auc", "roc_auc", "f1_macro"]
    assert [metric.key for metric in class_metrics(headline=True)][:3] == ["pr_auc", "roc_auc", "f1"]
    is_better_lower = {metric.key for metric in METRICS.values() if not metric.higher_is_better}
    assert {"brier", "log_loss"} <= is_better_lower <= METRICS.keys() - {"pr_auc", "roc_auc", "f1", "mcc"}
    assert find_macro("sensitivity") is None
    assert set(RANKING) <= METRICS.keys()


@pytest.mark.parametrize("key", METRICS)
def test_every_row_of_the_registry_is_whole(key):
    metric = METRICS[key]
    assert metric.key == key and metric.label
    assert metric.by_class or metric.macro_of or metric.pooled or metric.by_record or metric.by_credit
    assert [metric.macro_of, metric.pooled, metric.by_record, metric.by_credit].count(None) >= 3
    assert metric.macro_of is None or METRICS[metric.macro_of].by_class is not None


def test_no_table_disagrees_on_the_log_loss_of_certain_probabilities():
    rng = np.random.default_rng(1)
    y_true = rng.integers(0, 2, (60, 2))
    y_prob = rng.choice([0.0, 1.0, 0.3, 1e-9], (60, 2))  # some certain and wrong
    expected = [sklearn.metrics.log_loss(*columns) for columns in zip(y_true.T, y_prob.T, strict=True)]
    together = sklearn.metrics.log_loss(y_true.ravel(), y_prob.ravel())
    assert together > 5
    calibration = measure_calibration(y_true, y_prob, ["A", "B"])["log_loss"]
    assert calibration.tolist() == pytest.approx([*expected, together], rel=1e-12)
    weighted = score(y_true, y_prob, ["A", "B"], pos_weight=1.0).overall
    assert (weighted["log_loss"], weighted["loss"]) == pytest.approx((together, together), rel=1e-12)
    intervals = bootstrap(y_true, y_prob, np.arange(60), ["A", "B"], settings=Bootstrap(20))
    assert intervals.loc[("overall", "log_loss"), "value"] == weighted["log_loss"]
    assert cross_entropy(y_true, y_prob).mean() == pytest.approx(together, rel=1e-12)
