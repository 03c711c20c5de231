"""What logits of any size say is not lost in probabilities that round to 1."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from ecgcls.evaluation.calibration import measure_calibration
from ecgcls.evaluation.comparison import compare, delong
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.logits import cross_entropy_of_logits
from ecgcls.evaluation.metrics import score
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.recalibration import fit_calibrator
from ecgcls.evaluation.settings import Bootstrap, CalibrationRule

NAMES = ("MI", "CD")


def make(shift, *, n_records=300, seed=0, split="test", strength=1.5):
    """Logits around a shift, at which a float64 probability may be 1 for every record."""
    generator = np.random.default_rng(seed)
    y_true = (generator.random((n_records, 2)) < [0.4, 0.2]).astype(int)
    y_logit = generator.normal(strength * y_true) + shift
    ids = np.arange(n_records)
    return Predictions(ids, ids // 2, 0 * ids, [split] * n_records, y_true, expit(y_logit), NAMES, y_logit=y_logit)


@pytest.mark.parametrize("shift", [50.0, 800.0, -900.0])
def test_records_are_ranked_by_their_logits(shift):
    one = make(shift)
    assert len(np.unique(one.y_prob)) < 10 or shift < 0
    found = score(one.y_true, one.y_prob, NAMES, y_logit=one.y_logit)
    for metric, theirs in (("roc_auc", roc_auc_score), ("pr_auc", average_precision_score)):
        expected = theirs(one.y_true, one.y_logit, average=None)
        assert found.by_class[metric].tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    assert score(one.y_true, one.y_prob, NAMES).by_class["roc_auc"].tolist() == [0.5, 0.5] or shift == 50
    table = bootstrap(one.y_true, one.y_prob, one.patient_id, NAMES, y_logit=one.y_logit, settings=Bootstrap(50))
    row = table.loc[("MI", "roc_auc")]
    assert 0.5 < row["low"] < row["value"] < row["high"] and row["value"] == found.by_class.loc["MI", "roc_auc"]


def test_models_are_compared_by_the_logits_of_annotated_records():
    better, worse = make(60.0, strength=2.5), make(60.0, strength=0.5)
    known = np.arange(300) >= 40
    better, worse = (replace(one, y_true=np.where(known[:, None], one.y_true, -1)) for one in (better, worse))
    row = compare([better], [worse], Bootstrap(100)).loc[("MI", "roc_auc")]
    arrays = (array[known] for array in (better.y_true[:, 0], better.y_logit[:, 0], worse.y_logit[:, 0]))
    expected = delong(*arrays, better.patient_id[known])
    assert (row["difference"], row["delong_p"]) == pytest.approx((expected[0], expected[2]))
    assert row["verdict"] == "a better" and row["difference"] > 0.2


@pytest.mark.parametrize("shift", [0.0, 60.0])
def test_calibrators_are_fitted_on_logits_of_any_size(shift):
    validation, tested = (make(shift, seed=seed, split=split) for seed, split in ((1, "val"), (2, "test")))
    truth, logits = validation.y_true[:, 0], validation.y_logit[:, :1]
    arrays = validation.y_true, validation.y_prob, validation.patient_id, NAMES

    def fit(method):
        return fit_calibrator(*arrays, CalibrationRule(method), y_logit=validation.y_logit)

    platt = fit("platt").by_class["MI"]
    theirs = LogisticRegression(C=np.inf).fit(logits - shift, truth)  # but for Platt's smoothed targets
    assert platt["slope"] == pytest.approx(theirs.coef_.item(), rel=0.05)
    calibrated = expit(platt["slope"] * logits + platt["intercept"]).mean()
    assert calibrated == pytest.approx(truth.mean(), abs=0.01)
    assert fit("best").method == "platt" if shift else fit("best").log_loss
    for method in ("platt", "isotonic"):
        decisions = learn_decisions(validation, calibration=CalibrationRule(method))
        after = decisions.apply(tested)
        np.testing.assert_allclose(after.y_prob, expit(after.y_logit))
        found = score(after.y_true, after.y_prob, NAMES, y_pred=after.y_pred, y_logit=after.y_logit).by_class
        assert found.loc["MI", "roc_auc"] == pytest.approx(
            roc_auc_score(tested.y_true[:, 0], tested.y_logit[:, 0]),
            abs=0.001 if method == "platt" else 0.03,  # isotonic steps are ties
        )
        assert after.y_prob[:, 0].std() > 0.2 and found.loc["MI", "f1"] > 0.6
    measured = measure_calibration(*arrays[:2], NAMES, y_logit=validation.y_logit).loc["MI"]
    assert measured["slope"] == pytest.approx(theirs.coef_.item(), rel=0.01)
    assert expit(logits[:, 0] + measured["intercept"]).mean() == pytest.approx(truth.mean())


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_temperature_of_large_logits_is_the_best_one(scale):
    one = make(-0.5, split="val")
    truth, logits = one.y_true[:, 0], scale * one.y_logit
    fitted = fit_calibrator(
        one.y_true, expit(logits), one.patient_id, NAMES, CalibrationRule("temperature"), y_logit=logits
    )
    slope = fitted.by_class["MI"]["slope"]
    grid = slope * np.linspace(0.9, 1.1, 21)
    losses = [log_loss(truth, expit(logits[:, 0] * each)) for each in grid]
    assert np.argmin(losses) == 10 and scale * slope == pytest.approx(1.3, abs=0.4)
    assert losses[10] == pytest.approx(cross_entropy_of_logits(truth, logits[:, 0] * slope).mean())


def test_isotonic_steps_of_logits_are_those_of_their_probabilities():
    one = make(0.0, split="val")
    arrays = one.y_true, one.y_prob, one.patient_id, NAMES, CalibrationRule("isotonic")
    of_logits, of_prob = fit_calibrator(*arrays, y_logit=one.y_logit), fit_calibrator(*arrays)
    np.testing.assert_allclose(expit(of_logits.apply_logits(one.y_logit, NAMES)), of_prob.apply(one.y_prob, NAMES))
    np.testing.assert_allclose(of_logits.apply(one.y_prob, NAMES), of_prob.apply(one.y_prob, NAMES))


def test_labels_that_nobody_annotated_take_part_in_no_number():
    whole = make(0.0, split="val")
    unknown = np.random.default_rng(3).random(whole.y_true.shape) < [0.3, 0.1]
    masked = replace(whole, y_true=np.where(unknown, -1, whole.y_true))
    for labels in (masked.y_true, np.where(unknown, np.nan, whole.y_true)):
        found = score(labels, masked.y_prob, NAMES, pos_weight=[2.0, 3.0])
    alone = [masked.annotated(name) for name in NAMES]
    for name, kept in zip(NAMES, alone, strict=True):
        expected = score(kept.y_true, kept.y_prob, [name])
        theirs = expected.by_class.loc[name].drop("n_unknown")
        assert found.by_class.loc[name].drop("n_unknown").tolist() == pytest.approx(theirs.tolist(), abs=1e-12)
        assert roc_auc_score(kept.y_true, kept.y_prob) == pytest.approx(expected.overall["roc_auc"], abs=1e-12)
        assert len(kept) + found.by_class.loc[name, "n_unknown"] == len(whole)
        both = [fit_calibrator(one.y_true, one.y_prob, one.patient_id, one.class_names) for one in (masked, kept)]
        assert both[0].by_class[name] == both[1].by_class[name]
        measured = [measure_calibration(one.y_true, one.y_prob, one.class_names).loc[name] for one in (masked, kept)]
        assert measured[0].drop("n_unknown").tolist() == measured[1].drop("n_unknown").tolist()
        assert [each["n_unknown"] for each in measured] == [len(whole) - len(kept), 0]
    decisions = [learn_decisions(one) for one in (masked, alone[0])]
    assert decisions[0].thresholds["MI"] == decisions[1].thresholds["MI"]
    losses = [
        score(kept.y_true, kept.y_prob, ["c"], pos_weight=weight).overall["loss"]
        for kept, weight in zip(alone, (2.0, 3.0), strict=True)
    ]
    assert found.overall["loss"] == pytest.approx(np.average(losses, weights=[len(kept) for kept in alone]))
    assert found.overall["n_unknown"] == unknown.sum()
    other = replace(
        masked, y_prob=np.where(unknown, 1 - masked.y_prob, masked.y_prob), y_logit=None
    )  # what they are predicted as
    tables = [
        bootstrap(one.y_true, one.y_prob, one.patient_id, NAMES, settings=Bootstrap(30)) for one in (masked, other)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_a_class_that_nobody_annotated_is_undefined():
    one = make(0.0)
    labels = np.where([True, False], one.y_true, -1)
    found = score(labels, one.y_prob, NAMES)
    assert found.undefined == {"CD": "no annotated record"} and found.by_class.loc["CD", "n_unknown"] == 300
    assert found.overall["roc_auc"] == found.by_class.loc["MI", "roc_auc"]
    assert found.by_class.loc["CD"].drop(["n_positive", "n_negative", "n_unknown", "tp", "fp", "fn", "tn"]).isna().all()
    measured = measure_calibration(labels, one.y_prob, NAMES)
    assert measured.loc["CD", "slope":"ece_width"].isna().all()
    assert measured["undefined"].tolist() == ["", "no annotated record", ""]
    table = bootstrap(labels, one.y_prob, one.patient_id, NAMES, settings=Bootstrap(20)).xs("roc_auc", level="metric")
    assert table["value"].isna().tolist() == [False, False, True] and table.loc["CD", "n_positive"] == 0
