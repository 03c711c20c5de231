"""The Challenge's metric against its published definition, written here as loops over records and pairs of classes."""

import numpy as np
import pytest

from ecgcls.errors import DataError
from ecgcls.evaluation.challenge import challenge_metric, is_scored, read_weights
from ecgcls.evaluation.comparison import compare
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import overall_metrics, score, score_predictions
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap

CLASSES = tuple(read_weights().index)


def earn(y_true, y_pred, weights):
    """Fill the Challenge's confusion matrix, record by record, and weigh it."""
    matrix = np.zeros(weights.shape)
    for truth, predicted in zip(y_true, y_pred, strict=True):
        true, claimed = {*np.flatnonzero(truth)}, {*np.flatnonzero(predicted)}
        for j in true:
            for k in claimed:
                matrix[j, k] += 1 / max(len(true | claimed), 1)
    return float((matrix * weights).sum())


def define(y_true, y_pred, names):
    weights = read_weights().loc[[*names], [*names]].to_numpy()
    always_normal = np.tile([name == "NSR" for name in names], (len(y_true), 1))
    observed, correct, inactive = (earn(y_true, each, weights) for each in (y_pred, y_true, always_normal))
    return (observed - inactive) / (correct - inactive)


def draw(n_records, names, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.random((n_records, len(names))) < rng.uniform(0.02, 0.3, len(names))
    return y_true.astype(int), 1 / (1 + np.exp(-rng.normal(3.0 * y_true - 2)))


@pytest.mark.parametrize("names", [CLASSES, ("NSR", "AF"), ("SB", "CRBBB", "NSR", "PVC")])
def test_it_is_the_published_definition(names):
    y_true, y_prob = draw(300, names)
    y_pred = y_prob >= 0.5
    assert challenge_metric(y_true, y_pred, names) == pytest.approx(define(y_true, y_pred, names), rel=1e-12)


def test_the_right_answer_the_inactive_one_and_a_hand_worked_case():
    names = ("AF", "NSR", "SB", "PVC")
    y_true = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    inactive = np.tile([0, 1, 0, 0], (4, 1))
    assert challenge_metric(y_true, y_true, names) == 1
    assert challenge_metric(y_true, inactive, names) == 0
    # Earned: AF right 1; NSR called SB and NSR (1 + 0.45) / 2; SB and PVC called SB (1 + 0.425) / 2; none called AF 0.
    # Always NSR: 0.25 / 2, 1, (0.45 + 0.375) / 3, 0. All right: 1, 1, and both with both (1 + 0.425 + 0.425 + 1) / 2.
    y_pred = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0]])
    assert challenge_metric(y_true, y_pred, names) == pytest.approx((2.4375 - 1.4) / (3.425 - 1.4))
    assert challenge_metric(inactive, inactive[::-1] * 0, names) == 0  # both references earn the same: 0 by definition


def test_the_weights_are_the_published_ones():
    weights = read_weights()
    assert weights.shape == (26, 26) and (weights.index == weights.columns).all()
    values = weights.to_numpy()
    assert (values == values.T).all() and (np.diag(values) == 1).all() and values.min() == 0.15
    assert weights.loc["QAb", "NSR"] == 0.15 and weights.loc["PAC", "LQT"] == 0.3875
    assert np.sort(values[~np.eye(26, dtype=bool)])[-1] == 0.5


def test_what_nobody_annotated_earns_and_costs_nothing():
    names = ("AF", "AFL", "NSR")
    known, decided = [[1, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]]
    unknown = [[1, -1, 0], [0, 0, 1]]
    claimed = [[1, 1, 0], [0, 1, 0]]
    assert challenge_metric(unknown, claimed, names) == challenge_metric(known, decided, names)


def test_it_stands_beside_the_other_metrics_where_the_classes_are_the_challenges():
    y_true, y_prob = draw(200, CLASSES, seed=1)
    threshold = np.linspace(0.2, 0.8, 26)
    scores = score(y_true, y_prob, CLASSES, threshold=threshold.tolist())
    assert scores.overall["challenge"] == pytest.approx(define(y_true, y_prob >= threshold, CLASSES))
    others = score(y_true[:, :2], y_prob[:, :2], ("AF", "AFL"))
    assert "challenge" not in others.overall and not is_scored(("AF", "AFL")) and not is_scored(("NSR",))
    assert [each.key for each in overall_metrics(CLASSES, headline=True)][-1] == "challenge"
    assert "challenge" not in [each.key for each in overall_metrics()]


def test_its_interval_folds_and_comparison():
    names = ("NSR", "AF", "SB")
    y_true, y_prob = draw(400, names, seed=2)
    ids = np.arange(400)
    a, b = (
        Predictions(ids, ids // 2, [9] * 400, ["test"] * 400, y_true, prob, names, fold=ids // 2 % 2)
        for prob in (y_prob, np.full_like(y_prob, 0.6))
    )
    parts = [define(y_true[a.fold == fold], a.y_pred[a.fold == fold], names) for fold in (0, 1)]
    assert score_predictions(a).overall["challenge"] == pytest.approx(np.mean(parts))
    arrays = a.y_true, a.y_prob, a.patient_id, names
    for method in ("expanded", "bca", "score"):
        row = bootstrap(*arrays, fold=a.fold, settings=Bootstrap(200, method=method)).loc[("overall", "challenge")]
        assert row["low"] < row["value"] < row["high"] and row["high"] - row["low"] < 0.6
    assert compare([a], [b], Bootstrap(n_resamples=100)).loc[("overall", "challenge"), "verdict"] == "a better"


def test_other_classes_are_refused():
    with pytest.raises(DataError, match=r"class_names must be NSR and others of AF, AFL, .*; got AF, MI"):
        challenge_metric([[1, 0]], [[1, 0]], ["AF", "MI"])
