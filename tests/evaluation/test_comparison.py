from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgcls.errors import DataError
from ecgcls.evaluation.comparison import check_same_records, compare
from ecgcls.evaluation.paired_tests import delong, mcnemar
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap

CLASSES = ("NORM", "MI")


def make(strength, *, n_patients=300, seed=0, noise_seed=1):
    """Two classes whose logits are `strength` apart; two records a patient."""
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), 2)
    y_true = (generator.random((n_patients, 2)) < [0.4, 0.2]).astype(int)[patient]
    shared = generator.normal(size=(len(patient), 2))
    own = np.random.default_rng(noise_seed).normal(size=shared.shape)
    y_prob = 1 / (1 + np.exp(-(strength * y_true + 0.7 * shared + 0.7 * own - 1)))
    ids = np.arange(len(patient))
    return Predictions(ids, patient, 0 * ids, np.full(len(ids), "test"), y_true, y_prob, CLASSES)


@pytest.mark.slow
def test_a_better_model_is_found_and_an_equal_one_is_not():
    good, poor = make(2.0), make(0.5)
    found = compare([good], [poor], Bootstrap(n_resamples=400))
    for metric in ("pr_auc", "roc_auc"):
        assert (found.xs(metric, level="metric")["verdict"] == "a better").all()
    assert found.loc[("overall", "log_loss"), "difference"] < 0
    assert found.loc[("overall", "log_loss"), "verdict"] == "a better"  # lower
    assert (compare([poor], [good], Bootstrap(n_resamples=400)).loc[("MI", "pr_auc"), "verdict"]) == "b better"
    equal = compare([make(1.0)], [make(1.0, noise_seed=3)], Bootstrap(n_resamples=400))
    assert (equal.loc["overall", "verdict"] == "cannot be told").all()
    itself = compare([good], [good], Bootstrap(n_resamples=50))
    assert (itself["difference"] == 0).all()
    assert (itself["p_holm"] == 1).all()


def test_values_intervals_and_detectable_differences():
    a, b = make(1.2), make(0.9, noise_seed=2)
    found = compare([a], [b], Bootstrap(n_resamples=2000))
    row = found.loc[("MI", "pr_auc")]
    expected = [average_precision_score(one.y_true[:, 1], one.y_prob[:, 1]) for one in (a, b)]
    assert row[["a", "b"]].tolist() == pytest.approx(expected)
    assert row["low"] < row["difference"] < row["high"]
    generator = np.random.default_rng(7)  # the same, by hand
    drawn = []
    for _ in range(400):
        rows = np.concatenate([[2 * one, 2 * one + 1] for one in generator.integers(300, size=300)])
        drawn.append(
            average_precision_score(a.y_true[rows, 1], a.y_prob[rows, 1])
            - average_precision_score(b.y_true[rows, 1], b.y_prob[rows, 1])
        )
    assert row["high"] - row["low"] == pytest.approx(np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025), rel=0.12)
    assert row["detectable"] == pytest.approx((1.96 + 0.8416) * np.std(drawn), rel=0.12)
    _, error, p = delong(a.y_true[:, 1], a.y_prob[:, 1], b.y_prob[:, 1], a.patient_id)
    area = found.loc[("MI", "roc_auc")]
    assert area["delong_p"] == pytest.approx(p)
    assert area["detectable"] == pytest.approx((1.96 + 0.8416) * error, rel=0.1)  # two ways to the standard error


def test_holm_adjusts_over_the_classes_only():
    found = compare([make(1.2)], [make(1.0, noise_seed=2)], Bootstrap(n_resamples=500))
    smaller, larger = sorted(found.loc[[("NORM", "pr_auc"), ("MI", "pr_auc")], "p"])
    adjusted = sorted(found.loc[[("NORM", "pr_auc"), ("MI", "pr_auc")], "p_holm"])
    assert adjusted == pytest.approx([min(1, 2 * smaller), max(min(1, 2 * smaller), larger)])
    overall = found.loc["overall"]
    assert overall["p_holm"].equals(overall["p"])


def test_seeds_are_averaged():
    a, b = [make(1.2), make(1.2, noise_seed=5)], [make(0.9, noise_seed=2), make(0.9, noise_seed=6)]
    found = compare(a, b, Bootstrap(n_resamples=200)).loc[("MI", "roc_auc")]
    assert found["a"] == pytest.approx(np.mean([roc_auc_score(one.y_true[:, 1], one.y_prob[:, 1]) for one in a]))
    assert np.isnan(found["delong_p"])


def test_only_the_same_records_are_compared():
    one = make(1.0)
    with pytest.raises(DataError, match="0 are in a only and 1 in b only, such as ecg_id 599"):
        check_same_records(one.take(np.arange(599)), one)
    with pytest.raises(DataError, match="must have the same classes: NORM, MI and MI, NORM"):
        check_same_records(one, replace(one, class_names=("MI", "NORM")))
    flipped = one.y_true.copy()
    flipped[7, 1] = 1 - flipped[7, 1]
    with pytest.raises(DataError, match="differ in y_true of ecg_id 7"):
        check_same_records(one, replace(one, y_true=flipped))


def draw(strength, *, noise_seed=1):
    """Truth, probabilities and patients of 600 records, two per patient; the logits are `strength` apart."""
    generator = np.random.default_rng(0)
    patient = np.repeat(np.arange(300), 2)
    truth = (generator.random(300) < 0.4).astype(int)[patient]
    shared, own = generator.normal(size=600), np.random.default_rng(noise_seed).normal(size=600)
    return truth, 1 / (1 + np.exp(-(strength * truth + 0.7 * shared + 0.7 * own - 1))), patient


def count_pairs(truth, y_prob):
    """The placement of every record, pair by pair."""
    pos, neg = y_prob[truth == 1], y_prob[truth == 0]
    wins = (pos[:, None] > neg) + 0.5 * (pos[:, None] == neg)  # (positive, negative)
    return wins.mean(axis=1), wins.mean(axis=0)


def test_delong_of_single_records_is_the_sum_over_all_pairs():
    truth, one, _ = draw(1.0)
    one, other = np.round(one, 2), np.round(draw(0.6, noise_seed=2)[1], 2)  # ties
    placed = [count_pairs(truth, prob) for prob in (one, other)]
    pos, neg = placed[0][0] - placed[1][0], placed[0][1] - placed[1][1]
    variance = pos.var(ddof=1) / len(pos) + neg.var(ddof=1) / len(neg)
    difference, error, p = delong(truth, one, other, np.arange(len(truth)))
    assert difference == pytest.approx(roc_auc_score(truth, one) - roc_auc_score(truth, other))
    assert error == pytest.approx(np.sqrt(variance))
    assert p == pytest.approx(2 * stats.norm.sf(abs(difference) / np.sqrt(variance)))


def test_delong_gains_nothing_from_copies_of_a_patients_record():
    truth, one, _ = draw(1.0)
    rows = np.arange(0, 600, 2)  # one record per patient
    arguments = [truth[rows], one[rows], draw(0.6, noise_seed=2)[1][rows]]
    single = delong(*arguments, rows)
    copied = delong(*(np.repeat(each, 5) for each in arguments), np.repeat(rows, 5))
    naive = delong(*(np.repeat(each, 5) for each in arguments), np.arange(5 * len(rows)))
    assert copied[1] == pytest.approx(single[1], rel=0.01)
    assert naive[1] == pytest.approx(single[1] / np.sqrt(5), rel=0.02)


def test_delong_of_the_same_probabilities_finds_nothing():
    truth, one, patient = draw(1.0)
    assert delong(truth, one, one, patient) == (0.0, 0.0, 1.0)
    assert np.isnan(delong([1, 0, 0], [0.5, 0.2, 0.1], [0.4, 0.3, 0.2], [1, 2, 3])[2])


def test_mcnemar_is_a_sign_test_of_the_records_on_which_they_differ():
    truth = np.ones(30, dtype=int)
    a, b = np.ones(30, dtype=int), np.ones(30, dtype=int)
    a[:3], b[3:15] = 0, 0  # a alone is wrong in 3, b alone in 12
    assert mcnemar(truth, a, b) == pytest.approx(stats.binomtest(3, 15).pvalue)
    assert mcnemar(truth, a, a) == 1.0
