import numpy as np
import pytest

from ecgcls.evaluation.metrics import measure, score
from ecgcls.evaluation.weighted import Records


def find_fmax(y_true, y_score):
    """The definition, threshold by threshold and record by record; -1 is not annotated."""
    best = 0.0
    for threshold in np.unique(y_score[y_true >= 0]):
        precision, recall = [], []
        for labels, scores in zip(y_true, y_score, strict=True):
            known = labels >= 0
            predicted, true = known & (scores >= threshold), labels == 1
            if predicted.any():
                precision.append((predicted & true).sum() / predicted.sum())
            if true.any():
                recall.append((predicted & true).sum() / true.sum())
        p, r = np.mean(precision), np.mean(recall)
        best = max(best, 2 * p * r / (p + r) if p + r else 0.0)
    return best


def test_fmax_by_hand():
    # From 0.8 on: record 1 is predicted as {A}, record 2 as {B}: precision (1 + 0) / 2, recall (1/2 + 0) / 2.
    # From 0.6 on, record 1 as {A, B}: precision (1 + 0) / 2, recall (1 + 0) / 2.
    # From 0.3 on, record 2 as {A, B}: precision (1 + 1/2) / 2, recall 1: 2 * 0.75 / 1.75.
    y_true, y_prob = [[1, 1], [1, 0]], [[0.9, 0.6], [0.3, 0.8]]
    found = score(y_true, y_prob, ["A", "B"])
    assert found.overall["fmax"] == pytest.approx(1.5 / 1.75)
    assert found.by_class["f1_max"].tolist() == pytest.approx([1.0, 2 / 3], nan_ok=True) or np.isnan(
        found.by_class.loc["A", "f1_max"]
    )
    assert np.isnan(score([[0, 0]], [[0.5, 0.5]], ["A", "B"]).overall["fmax"])


@pytest.mark.parametrize("decimals", [1, 8])
def test_fmax_of_weighted_records_is_that_of_repeated_ones(decimals):
    generator = np.random.default_rng(0)
    y_true = (generator.random((60, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(int)
    y_prob = np.round(1 / (1 + np.exp(-generator.normal(1.5 * y_true - 1))), decimals)  # with ties
    y_true[generator.random(y_true.shape) < 0.1] = -1
    times = generator.integers(0, 4, 60)
    records = Records.check(y_true, y_prob, list("ABCD"))
    found = measure(records, np.stack([np.ones(60), times], axis=1)).pooled["fmax"]
    assert found[0] == pytest.approx(find_fmax(y_true, y_prob), abs=1e-12)  # the best of all thresholds
    repeated = find_fmax(np.repeat(y_true, times, axis=0), np.repeat(y_prob, times, axis=0))
    assert repeated - 0.005 < found[1] <= repeated + 1e-12  # of the thresholds that are kept
    if decimals == 1:
        assert found[1] == pytest.approx(repeated, abs=1e-12)


def test_the_highest_f1_of_a_class_is_the_best_of_all_thresholds():
    generator = np.random.default_rng(1)
    y_true = generator.integers(0, 2, (80, 1))
    y_prob = np.round(0.4 * y_true + 0.6 * generator.random((80, 1)), 2)
    each = [score(y_true, y_prob, ["A"], threshold=at).by_class.loc["A", "f1"] for at in np.unique(y_prob)]
    assert score(y_true, y_prob, ["A"]).by_class.loc["A", "f1_max"] == pytest.approx(max(each), abs=1e-12)
