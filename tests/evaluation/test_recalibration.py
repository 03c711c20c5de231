import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.calibration import measure_calibration
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.evaluation.logits import to_logits
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.recalibration import Calibrator, fit_calibrator
from ecgcls.evaluation.settings import CalibrationRule


def simulate(n_records, seed, *, slope=0.5, intercept=-1.5):
    """Probabilities whose true frequency is known: the truth has the logit slope * logit + intercept."""
    generator = np.random.default_rng(seed)
    y_prob = expit(generator.normal(0, 2, (n_records, 1)))
    true_prob = expit(slope * logit(y_prob) + intercept)
    return (generator.random((n_records, 1)) < true_prob).astype(int), y_prob, true_prob


def fit(y_true, y_prob, method, **settings):
    return fit_calibrator(y_true, y_prob, np.arange(len(y_true)), ["MI"], CalibrationRule(method, **settings))


def test_platt_finds_the_line_that_made_the_data():
    y_true, y_prob, _ = simulate(20_000, 0)
    found = fit(y_true, y_prob, "platt")
    assert found.by_class["MI"]["slope"] == pytest.approx(0.5, abs=0.03)
    assert found.by_class["MI"]["intercept"] == pytest.approx(-1.5, abs=0.06)
    fresh = simulate(20_000, 1)
    assert np.abs(found.apply(fresh[1], ["MI"]) - fresh[2]).max() < 0.02


def test_platt_minimizes_the_log_loss_of_smoothed_targets():
    y_true, y_prob, _ = simulate(200, 2)
    n_pos, n_neg = y_true.sum(), 200 - y_true.sum()
    targets = np.where(y_true == 1, (n_pos + 1) / (n_pos + 2), 1 / (n_neg + 2))

    def loss(line):
        prob = expit(line[0] * logit(y_prob) + line[1])
        return -(targets * np.log(prob) + (1 - targets) * np.log(1 - prob)).sum()

    theirs = minimize(loss, [1.0, 0.0], tol=1e-12).x
    ours = fit(y_true, y_prob, "platt").by_class["MI"]
    assert [ours["slope"], ours["intercept"]] == pytest.approx(theirs, abs=1e-4)


def test_temperature_is_the_best_of_a_fine_grid():
    y_true, y_prob, _ = simulate(2000, 3, slope=0.4, intercept=0.0)
    slope = fit(y_true, y_prob, "temperature").by_class["MI"]["slope"]
    grid = np.linspace(0.2, 0.8, 601)
    best = grid[np.argmin([log_loss(y_true, expit(one * logit(y_prob))) for one in grid])]
    assert slope == pytest.approx(best, abs=0.001)


def test_isotonic_is_scikit_learns_and_never_certain():
    y_true, y_prob, _ = simulate(500, 4)
    fresh = simulate(300, 5)[1]
    theirs = IsotonicRegression(out_of_bounds="clip").fit(y_prob[:, 0], y_true[:, 0]).predict(fresh[:, 0])
    ours = fit(y_true, y_prob, "isotonic").apply(fresh, ["MI"])[:, 0]
    np.testing.assert_allclose(ours, theirs, atol=1 / 250)  # but for the ends
    assert 1 / 502 <= ours.min() < ours.max() <= 501 / 502


def test_a_class_weight_is_undone():
    # A net that learns with positives weighing w gives odds w times too high.
    generator = np.random.default_rng(6)
    true_prob = expit(generator.normal(-3, 1.5, (30_000, 1)))
    y_true = (generator.random(true_prob.shape) < true_prob).astype(int)
    weighted = expit(logit(true_prob) + np.log(15))
    before = measure_calibration(y_true, weighted, ["MI"]).loc["MI"]
    after = measure_calibration(y_true, fit(y_true, weighted, "platt").apply(weighted, ["MI"]), ["MI"]).loc["MI"]
    assert before["ece_mass"] > 0.2
    assert after["ece_mass"] < 0.01
    assert before["intercept"] == pytest.approx(-np.log(15), abs=0.1)
    assert before["slope"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("method", ["none", "temperature", "platt"])
@pytest.mark.parametrize("shift", [0.0, -200.0, 30.0])
def test_no_probability_is_too_small_or_too_large_to_be_ranked(method, shift):
    y_true, y_prob, _ = simulate(400, 7)
    extreme = expit(15 * logit(y_prob) + shift)
    ids = np.arange(400)
    one = Predictions(ids, ids, 0 * ids, ["val"] * 400, y_true, extreme, ("MI",))
    after = learn_decisions(one, calibration=CalibrationRule(method)).apply(one)
    assert roc_auc_score(y_true, after.y_score) == pytest.approx(roc_auc_score(y_true, extreme), abs=1e-12)
    assert average_precision_score(y_true, after.y_score) == pytest.approx(average_precision_score(y_true, extreme))
    if method == "platt":
        assert after.y_prob.mean() == pytest.approx(y_true.mean(), abs=0.01)


def test_every_float_has_its_own_place_among_the_logits():
    prob = np.array([0.0, 5e-324, 1e-310, 1e-20, 1e-7, 0.5, 1 - 1e-7, 1 - 2**-52, 1 - 2**-53, 1.0])
    assert (np.diff(to_logits(prob)) > 0).all() and np.isfinite(to_logits(prob)).all()
    np.testing.assert_allclose(to_logits(prob[3:8]), logit(prob[3:8]))


def test_a_probability_that_was_rounded_to_0_does_not_turn_the_line():
    y_true, y_prob, _ = simulate(4000, 15, slope=1.0, intercept=0.0)
    rounded = y_prob.round(1)
    assert ((rounded == 0) & (y_true == 1)).any()
    assert fit(y_true, rounded, "platt").by_class["MI"]["slope"] == pytest.approx(1, abs=0.15)
    assert measure_calibration(y_true, rounded, ["MI"]).loc["MI", "slope"] == pytest.approx(1, abs=0.15)


def test_the_best_method_is_sought_for_the_classes_that_it_is_fitted_for():
    # 25 positive records, of which each fold leaves out some.
    y_true, y_prob, _ = simulate(600, 10)
    y_true[np.flatnonzero(y_true[:, 0])[25:]] = 0
    found = fit(y_true, y_prob, "best", min_positives=25)
    assert found.by_class["MI"]["method"] == found.method != "none"
    assert len(set(found.log_loss.values())) == 4 and found.log_loss["platt"] < found.log_loss["none"]
    unfitted = fit(y_true, y_prob, "best", min_positives=26)
    assert len(set(unfitted.log_loss.values())) == 1


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_ranking_metrics_stay_as_they_are(method):
    y_true, y_prob, _ = simulate(400, 7)
    after = fit(y_true, y_prob, method).apply(y_prob, ["MI"])
    for metric in (roc_auc_score, average_precision_score):
        assert metric(y_true, after) == pytest.approx(metric(y_true, y_prob), abs=1e-12)


def test_a_net_that_ranks_the_wrong_way_is_not_reversed():
    y_true, y_prob, _ = simulate(400, 8, slope=-0.5)
    fitted = fit(y_true, y_prob, "platt").by_class["MI"]
    assert (fitted["method"], fitted["slope"]) == ("unweighted", 1.0)


def test_of_a_rare_class_only_the_weight_of_the_loss_is_undone():
    y_true, y_prob, _ = simulate(400, 9)
    y_true = np.zeros_like(y_true)
    y_true[:19] = 1
    for method in ("temperature", "platt", "isotonic"):
        found = fit_calibrator(y_true, y_prob, np.arange(400), ["MI"], CalibrationRule(method), pos_weight=[8.0])
        assert found.by_class["MI"]["method"] == "unweighted"
        odds, before = (prob / (1 - prob) for prob in (found.apply(y_prob, ["MI"]), y_prob))
        np.testing.assert_allclose(8 * odds, before, rtol=1e-5)
        np.testing.assert_allclose(fit(y_true, y_prob, method).apply(y_prob, ["MI"]), y_prob, rtol=1e-9)


def test_the_best_method_has_the_lowest_loss_on_patients_left_out():
    y_true, y_prob, _ = simulate(1500, 10)
    found = fit(y_true, y_prob, "best")
    assert found.method == min(found.log_loss, key=found.log_loss.get) != "none"
    assert set(found.log_loss) == {"none", "temperature", "platt", "isotonic"}
    assert found.log_loss["none"] == pytest.approx(log_loss(y_true, y_prob), rel=1e-6)
    perfect = simulate(1500, 11, slope=1.0, intercept=0.0)
    losses = fit(*perfect[:2], "best").log_loss
    assert losses["isotonic"] > losses["none"]  # it learns noise


def test_a_calibrator_survives_json():
    y_true, y_prob, _ = simulate(300, 12)
    for method in ("none", "platt", "isotonic", "best"):
        found = fit(y_true, y_prob, method)
        again = Calibrator.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
        np.testing.assert_array_equal(again.apply(y_prob, ["MI"]), found.apply(y_prob, ["MI"]))
    with pytest.raises(DataError, match="does not know the class HYP, it has MI"):
        found.apply(y_prob, ["HYP"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "beta"}, "calibration.method must be one of none, .*, best, got 'beta'"),
        ({"min_positives": 0}, "calibration.min_positives must be at least 1, got 0"),
        ({"n_folds": 1}, "calibration.n_folds must be at least 2, got 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        CalibrationRule(**settings)
