import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from ecgcls.errors import ConfigError
from ecgcls.evaluation.thresholds import (
    ThresholdRule,
    choose_thresholds,
    decision_curves,
    restate_predictive_values,
)


@pytest.fixture(scope="module")
def arrays():
    """400 records, some probabilities equal."""
    generator = np.random.default_rng(0)
    y_true = (generator.random((400, 1)) < 0.2).astype(int)
    return y_true, np.round(1 / (1 + np.exp(-generator.normal(1.5 * y_true - 1))), 2)


def choose(arrays, rule, **settings):
    (threshold,), not_tuned = choose_thresholds(*arrays, ["MI"], ThresholdRule(rule, **settings))[0].values(), {}
    return threshold, not_tuned


def every_decision(arrays):
    """All decisions that a threshold can make, by falling threshold, with the threshold."""
    values = np.unique(arrays[1])
    return [(at, arrays[1][:, 0] >= at) for at in [1.1, *values[::-1]]]


@pytest.mark.parametrize(
    ("rule", "settings", "worth"),
    [
        ("f1", {}, lambda y, y_pred: f1_score(y, y_pred, zero_division=0)),
        ("youden", {}, lambda y, y_pred: recall_score(y, y_pred) + recall_score(1 - y, ~y_pred) - 1),
        ("cost", {"cost_ratio": 4.0}, lambda y, y_pred: -((~y_pred & (y == 1)).sum() * 4 + (y_pred & (y == 0)).sum())),
    ],
)
def test_no_other_threshold_is_worth_more(arrays, rule, settings, worth):
    truth = arrays[0][:, 0]
    threshold, _ = choose(arrays, rule, **settings)
    best = max(worth(truth, decided) for _, decided in every_decision(arrays))
    assert worth(truth, arrays[1][:, 0] >= threshold) == pytest.approx(best)


@pytest.mark.parametrize("wanted", [0.5, 0.9, 1.0])
def test_a_stated_sensitivity_or_specificity_is_kept_with_no_more_positives_than_needed(arrays, wanted):
    truth = arrays[0][:, 0]
    decided = [decision for _, decision in every_decision(arrays)]
    kept = arrays[1][:, 0] >= choose(arrays, "sensitivity", sensitivity=wanted)[0]
    enough = [one for one in decided if recall_score(truth, one, zero_division=0) >= wanted]
    assert recall_score(truth, kept) >= wanted
    assert kept.sum() == min(one.sum() for one in enough)
    kept = arrays[1][:, 0] >= choose(arrays, "specificity", specificity=wanted)[0]
    enough = [one for one in decided if recall_score(1 - truth, ~one) >= wanted]
    assert recall_score(1 - truth, ~kept) >= wanted
    assert kept.sum() == max(one.sum() for one in enough)


def test_probabilities_of_exactly_0_and_1_are_separated():
    arrays = np.array([[1], [1], [0], [0]] * 10), np.array([[1.0], [1.0], [0.0], [0.0]] * 10)
    for rule in ("f1", "youden", "sensitivity", "specificity", "cost"):
        thresholds, _ = choose_thresholds(*arrays, ["MI"], ThresholdRule(rule, sensitivity=1.0, specificity=1.0))
        assert thresholds == {"MI": 0.5}


def test_a_negative_record_at_1_has_a_specificity_that_no_threshold_reaches():
    y_prob = np.array([1.0] * 12 + [0.6] * 10 + [0.2] * 18)[:, None]
    y_true = np.array([1] * 10 + [0] * 2 + [1] * 5 + [0] * 23)[:, None]
    found = choose_thresholds(y_true, y_prob, ["MI"], ThresholdRule("specificity", specificity=1.0, fixed=0.4))
    reason = "no threshold keeps a specificity of 1: 2 of 25 negative records have a probability of 1"
    assert found == ({"MI": 0.4}, {"MI": reason})
    assert choose((y_true, y_prob), "specificity", specificity=0.92)[0] == 0.8
    costly = ThresholdRule("cost", cost_ratio=0.01)  # best would be to predict none, which no threshold does
    assert choose_thresholds(y_true, y_prob, ["MI"], costly)[0]["MI"] == 0.8


def test_neighboring_numbers_are_separated():
    for low in (0.3, 5e-324, 1 - 2**-52):
        y_prob = np.repeat([low, np.nextafter(low, 1)], 10)[:, None]
        y_true = np.repeat([0, 1], 10)[:, None]
        for rule in ("f1", "youden", "sensitivity", "specificity", "cost"):
            at = choose_thresholds(y_true, y_prob, ["MI"], ThresholdRule(rule, sensitivity=1.0, specificity=1.0))[0]
            np.testing.assert_array_equal(y_prob >= at["MI"], y_true)


def test_a_rare_class_is_not_tuned_but_listed(arrays):
    y_true = np.column_stack([arrays[0][:, 0], np.arange(400) < 9, np.arange(400) > 3])
    y_prob = np.repeat(arrays[1], 3, axis=1)
    thresholds, not_tuned = choose_thresholds(y_true, y_prob, ["MI", "HYP", "SR"], ThresholdRule(fixed=0.25))
    assert thresholds["HYP"] == thresholds["SR"] == 0.25
    assert not_tuned == {"HYP": "9 positive records, fewer than 10", "SR": "4 negative records, fewer than 10"}
    assert choose_thresholds(y_true, y_prob, ["MI", "HYP", "SR"], ThresholdRule("fixed"))[1] == {}
    y_true[:8, 1] = False
    found = choose_thresholds(y_true, y_prob, ["MI", "HYP", "SR"], ThresholdRule())[1]
    assert found["HYP"] == "1 positive record, fewer than 10"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "f2"}, "thresholds.rule must be one of f1, youden, .*, got 'f2'"),
        ({"sensitivity": 0.0}, r"thresholds.sensitivity must be in \(0, 1\], got 0"),
        ({"cost_ratio": -1.0}, "thresholds.cost_ratio must be above 0, got -1"),
        ({"fixed": 1.5}, r"thresholds.fixed must be in \[0, 1\], got 1.5"),
        ({"min_positives": 0}, "thresholds.min_positives must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ThresholdRule(**settings)


def test_predictive_values_at_their_own_prevalence_are_those_of_the_counts():
    tp, fp, fn, tn = 30, 20, 10, 140
    ppv, npv = restate_predictive_values(tp / (tp + fn), tn / (tn + fp), (tp + fn) / 200)
    assert (float(ppv), float(npv)) == (pytest.approx(tp / (tp + fp)), pytest.approx(tn / (tn + fn)))


def test_net_benefit_of_a_hand_worked_case():
    # 10 records, 4 positive. From 0.2 on: 3 true and 2 false positives, 3/10 - 2/10 * 0.2/0.8 = 0.25; all: 0.4 - 0.6/4.
    y_true = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0, 0])[:, None]
    y_prob = np.array([0.9, 0.8, 0.3, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])[:, None]
    row = decision_curves(y_true, y_prob, ["MI"], thresholds=[0.2]).iloc[0]
    assert row["net_benefit"] == pytest.approx(0.25)
    assert row["treat_all"] == pytest.approx(0.25)
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        decision_curves(y_true, y_prob, ["MI"], thresholds=[1.0])
