import math

import numpy as np
import pytest
from scipy import stats

from ecgcls.errors import DataError
from ecgcls.evaluation.folds import compare_folds, correct_folds, summarize_folds
from ecgcls.evaluation.metrics import score

NAMES = ["NORM", "MI", "STTC"]


def make(seed):
    rng = np.random.default_rng(seed)
    y_true = (rng.random((400, 3)) < [0.5, 0.3, 0.1]).astype(int)
    return y_true, 1 / (1 + np.exp(-(rng.normal(size=y_true.shape) + 1.5 * y_true - 1)))


def test_summary_counts_the_folds_that_have_a_value():
    folds = [score(*make(seed), NAMES) for seed in range(3)]
    y_true, y_prob = make(3)
    y_true[:, 1] = 0
    folds.append(score(y_true, y_prob, NAMES))
    summary = summarize_folds(folds)
    values = [fold.overall["pr_auc"] for fold in folds]
    row = summary.loc[("overall", "pr_auc")]
    assert row["mean"] == pytest.approx(np.mean(values)) and row["sd"] == pytest.approx(np.std(values, ddof=1))
    assert row["n"] == 4 and row["n_folds"] == 4
    three = [fold.by_class.at["MI", "roc_auc"] for fold in folds[:3]]
    row = summary.loc[("MI", "roc_auc")]
    assert row["mean"] == pytest.approx(np.mean(three)) and row["sd"] == pytest.approx(np.std(three, ddof=1))
    assert row["n"] == 3 and row["n_folds"] == 4
    assert summary.loc["overall"].index.tolist() == list(folds[0].overall)
    assert len(summary) == len(folds[0].overall) + folds[0].by_class.size


def test_summary_of_nan_and_of_one_fold_is_nan_not_zero():
    summary = summarize_folds([score(np.zeros((3, 1)), np.zeros((3, 1)), ["MI"])])
    row = summary.loc[("MI", "pr_auc")]
    assert row["n"] == 0 and math.isnan(row["mean"]) and math.isnan(row["sd"])
    assert math.isnan(summary.at[("overall", "log_loss"), "sd"])
    assert summary.at[("overall", "n_records"), "mean"] == 3


def test_summary_refuses_folds_that_cannot_be_compared():
    labels, probabilities = [[1], [0]], [[0.9], [0.2]]
    one = score(labels, probabilities, ["MI"])
    with pytest.raises(DataError, match="no scores to summarize"):
        summarize_folds([])
    with pytest.raises(DataError, match="scores of fold 1 differ from fold 0's: missing: MI n_positive"):
        summarize_folds([one, score(labels, probabilities, ["HYP"])])
    with pytest.raises(DataError, match="unexpected: overall loss"):
        summarize_folds([one, score(labels, probabilities, ["MI"], pos_weight=2.0)])
    with pytest.raises(DataError, match="no class may be called 'overall'"):
        summarize_folds([score(labels, probabilities, ["overall"])])


def test_folds_are_corrected_by_hand():
    # mean 0.72, s^2 = 0.001 / 4; (1/5 + 2/7) s^2 = 0.000121; t(4) = 2.776
    sd = float(np.std([0.70, 0.74, 0.72, 0.71, 0.73], ddof=1))
    low, high = correct_folds(0.72, sd, 5, n_train=700, n_test=200)
    assert (low, high) == pytest.approx((0.72 - 2.776 * 0.011019, 0.72 + 2.776 * 0.011019), abs=1e-5)
    low, high = correct_folds([0.7, 0.6], [np.nan, 0.1], [1, 5], n_train=7, n_test=2)
    assert np.isnan([low[0], high[0]]).all()
    assert low[1] < 0.6 < high[1]


def test_the_interval_of_a_mean_stays_within_the_metrics_bounds():
    # half = 2.776 * 0.03 * sqrt(1/5 + 2/7) = 0.05804; logit(0.97) = 3.4761; slope 1 / (0.97 * 0.03) = 34.364
    how = {"n_train": 700, "n_test": 200}
    half = 2.776445 * 0.03 * np.sqrt(1 / 5 + 2 / 7)
    low, high = correct_folds(0.97, 0.03, 5, **how, bounds=(0, 1))
    logits = np.log(0.97 / 0.03) + np.array([-1, 1]) * half / (0.97 * 0.03)
    assert (low, high) == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6) and high < 1 < 0.97 + half
    low, high = correct_folds(-0.9, 0.1, 5, **how, bounds=(-1, 1))
    assert -1 < low < -0.9 < high < 0
    assert (low, high) == pytest.approx(2 * np.array(correct_folds(0.05, 0.05, 5, **how, bounds=(0, 1))) - 1)
    low, high = correct_folds(0.02, 0.03, 5, **how, bounds=(0, np.inf))
    assert (low, high) == pytest.approx(0.02 * np.exp([-half / 0.02, half / 0.02]), rel=1e-6)
    low, high = correct_folds([0.6, 1.0, 0.0, np.nan, 0.5], [0.0, 0.0, 0.0, np.nan, 50.0], 5, **how, bounds=(0, 1))
    assert (low[0], high[0]) == pytest.approx((0.6, 0.6)) and np.isnan([*low[1:4], *high[1:4]]).all()
    assert (low[4], high[4]) == (pytest.approx(0), 1)
    wide, narrow = correct_folds(0.5, 0.01, 5, **how, bounds=(0, 1)), correct_folds(0.5, 0.01, 5, **how)
    assert np.ravel(wide) == pytest.approx(np.ravel(narrow), abs=2e-4)  # far from the bounds they change little


def test_the_corrected_t_test_by_hand():
    found = compare_folds([0.80, 0.78, 0.83, 0.79, 0.80], [0.76, 0.77, 0.78, 0.77, 0.77], n_train=700, n_test=200)
    differences = np.array([0.04, 0.01, 0.05, 0.02, 0.03])
    t = 0.03 / (differences.std(ddof=1) * np.sqrt(1 / 5 + 200 / 700))
    assert found["t"] == pytest.approx(t)
    assert found["p"] == pytest.approx(2 * stats.t.sf(t, 4))
    assert found["low"] == pytest.approx(0.03 - stats.t.ppf(0.975, 4) * 0.03 / t)
    assert np.isnan(compare_folds([0.8], [0.7], n_train=7, n_test=2)["p"])
