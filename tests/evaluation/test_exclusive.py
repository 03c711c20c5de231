from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, confusion_matrix, log_loss

from ecgcls.errors import DataError
from ecgcls.evaluation.decisions import Decisions, learn_decisions
from ecgcls.evaluation.exclusive import against_the_rest, are_exclusive, count_confusions, summarize_confusions
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.recalibration import fit_calibrator
from ecgcls.evaluation.settings import CalibrationRule

NAMES = ("NORM", "MI", "CD")
OFFSETS = np.array([0.0, 1.5, -1.0])


def make(*, scale=3.0, offsets=OFFSETS, n_records=3000, seed=0):
    """A net whose log probabilities are `scale` times too far apart, and shifted."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 1, (n_records, 3))
    true = np.array([generator.choice(3, p=one) for one in softmax(scores, axis=1)])
    y_logit = against_the_rest(scale * scores + offsets)
    ids = np.arange(n_records)
    y_true = np.eye(3, dtype=int)[true]
    return Predictions(ids, ids, 0 * ids, ["val"] * n_records, y_true, expit(y_logit), NAMES, y_logit=y_logit)


def test_log_odds_are_those_of_the_softmax():
    scores = np.random.default_rng(0).normal(0, 5, (50, 4))
    prob = softmax(scores, axis=1)
    np.testing.assert_allclose(expit(against_the_rest(scores)), prob)
    np.testing.assert_allclose(against_the_rest(scores), np.log(prob / (1 - prob)), atol=1e-6)
    assert np.isfinite(against_the_rest(1000 * scores)).all()


def test_only_one_class_a_record_with_probabilities_that_sum_to_1_is_exclusive():
    one = make(n_records=20)
    assert are_exclusive(one.y_true, one.y_prob) and are_exclusive(one.y_true, one.y_prob.astype(np.float32))
    several, unknown = one.y_true.copy(), one.y_true.copy()
    several[3], unknown[3, 0] = 1, -1
    for y_true, y_prob in ((several, one.y_prob), (unknown, one.y_prob), (one.y_true, 0.9 * one.y_prob)):
        assert not are_exclusive(y_true, y_prob)
    assert not are_exclusive(np.ones((5, 1)), np.ones((5, 1)))


@pytest.mark.parametrize("knows_logits", [True, False])
def test_all_classes_are_recalibrated_together(knows_logits):
    one = make() if knows_logits else replace(make(), y_logit=None)
    calibrated = {}
    for method in ("none", "temperature", "platt", "isotonic"):
        found = fit_calibrator(
            one.y_true, one.y_prob, one.patient_id, NAMES, CalibrationRule(method), y_logit=one.y_logit
        )
        calibrated[method] = found.apply(one.y_prob, NAMES)
        np.testing.assert_allclose(calibrated[method].sum(axis=1), 1, atol=1e-6)
    losses = {method: log_loss(one.y_true.argmax(axis=1), prob) for method, prob in calibrated.items()}
    assert (
        losses["platt"] < losses["temperature"] - 0.01 < losses["none"] - 0.1 and losses["isotonic"] == losses["platt"]
    )
    slope = found.by_class["MI"]["slope"]
    assert slope == pytest.approx(1 / 3, rel=0.1)
    offsets = np.array([found.by_class[name]["intercept"] for name in NAMES])
    np.testing.assert_allclose(offsets - offsets[0], -OFFSETS / 3, atol=0.12)


def test_a_temperature_is_the_best_one_and_an_offset_that_of_logistic_regression():
    one = make(offsets=0.0)
    true, log_prob = one.y_true.argmax(axis=1), log_softmax(np.log(one.y_prob), axis=1)
    arrays = one.y_true, one.y_prob, one.patient_id, NAMES
    slope = fit_calibrator(*arrays, CalibrationRule("temperature"), y_logit=one.y_logit).by_class["CD"]["slope"]
    grid = slope * np.array([0.98, 0.99, 1.0, 1.01, 1.02])
    assert np.argmin([log_loss(true, softmax(each * log_prob, axis=1)) for each in grid]) == 2
    # with two classes, one slope and one offset are a logistic regression of the first log odds
    two = one.take_classes(["NORM", "MI"])
    rows = np.flatnonzero(two.y_true.any(axis=1))
    y_prob = two.y_prob[rows] / two.y_prob[rows].sum(axis=1, keepdims=True)
    fitted = fit_calibrator(two.y_true[rows], y_prob, rows, NAMES[:2]).by_class
    log_odds = np.log(y_prob[:, 0] / y_prob[:, 1])
    theirs = LogisticRegression(C=np.inf).fit(log_odds[:, None], two.y_true[rows, 0])
    assert fitted["NORM"]["slope"] == pytest.approx(theirs.coef_.item(), rel=1e-3)
    offset = fitted["NORM"]["intercept"] - fitted["MI"]["intercept"]
    assert offset == pytest.approx(theirs.intercept_.item(), abs=2e-3)


def test_decisions_keep_the_sum_and_survive_json():
    one = make(n_records=300)
    learned = learn_decisions(one)
    again = Decisions.from_dict(learned.to_dict(), learned.thresholds)
    after = again.apply(one)
    np.testing.assert_allclose(after.y_prob.sum(axis=1), 1)
    assert are_exclusive(after.y_true, after.y_prob) and again.calibrator.is_exclusive
    few = learn_decisions(one.take(range(15)))
    assert set(few.thresholds.values()) == {0.5} and few.calibrator.method == "unweighted"
    with pytest.raises(DataError, match="classes exclude each other: all of NORM, MI, CD are recalibrated together"):
        learned.calibrator.apply_logits(one.y_logit[:, :2], NAMES[:2])


def test_the_weights_of_the_loss_are_undone_for_classes_without_an_offset_of_their_own():
    true = make(scale=1.0, offsets=0.0, n_records=2000)
    weights = np.array([0.5, 1.0, 8.0])
    weighted = against_the_rest(np.log(true.y_prob) + np.log(weights))  # what a net under these class weights returns
    for n_records, n_rare in ((15, 2), (2000, 5)):
        rare = np.flatnonzero(true.y_true[:n_records, 2])
        rows = np.setdiff1d(np.arange(n_records), rare[n_rare:])
        fitted = fit_calibrator(
            true.y_true[rows], expit(weighted[rows]), rows, NAMES, pos_weight=weights, y_logit=weighted[rows]
        )
        offsets = [fitted.by_class[name]["intercept"] for name in NAMES]
        expected = -np.log(weights)
        assert offsets[2] - np.mean(offsets[:2]) == pytest.approx(expected[2] - expected[:2].mean(), abs=0.5)
        if n_records == 15:
            np.testing.assert_allclose(fitted.apply_logits(weighted, NAMES), true.y_logit, atol=1e-6)


def test_confusions_are_scikit_learns():
    one = make(n_records=200)
    counts = count_confusions(one)
    true, predicted = one.y_true.argmax(axis=1), one.y_prob.argmax(axis=1)
    assert counts.to_numpy().tolist() == confusion_matrix(true, predicted).tolist()
    scores = {"accuracy": accuracy_score, "balanced_accuracy": balanced_accuracy_score, "kappa": cohen_kappa_score}
    expected = {name: function(true, predicted) for name, function in scores.items()}
    assert summarize_confusions(counts) == pytest.approx(expected)
