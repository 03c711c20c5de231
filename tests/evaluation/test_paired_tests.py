import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from ecgcls.evaluation.paired_tests import delong, mcnemar


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
    parts = pos.var(ddof=1) / len(pos), neg.var(ddof=1) / len(neg)
    df = variance**2 / sum(part**2 / (len(one) - 1) for part, one in zip(parts, (pos, neg), strict=True))
    assert p == pytest.approx(2 * stats.t.sf(abs(difference) / np.sqrt(variance), df))
    assert p == pytest.approx(2 * stats.norm.sf(abs(difference) / np.sqrt(variance)), rel=0.25)  # DeLong's own


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


def test_mcnemar_by_patient_is_over_all_signs_of_the_patients():
    truth, patient = np.ones(24, dtype=int), np.repeat(np.arange(9), [1, 1, 1, 2, 3, 4, 5, 3, 4])
    generator = np.random.default_rng(4)
    a, b = generator.random(24) < 0.8, generator.random(24) < 0.4
    sums = np.bincount(patient, a.astype(float) - b)
    signs = np.array(np.meshgrid(*9 * [[-1, 1]])).reshape(9, -1)
    expected = min(1, 2 * np.mean(sums @ signs >= abs(sums.sum())))
    assert 0.005 < expected < 0.5
    assert mcnemar(truth, a, b, patient) == pytest.approx(expected)
    by_scipy = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert by_scipy.pvalue == pytest.approx(expected)


def test_mcnemar_gains_nothing_from_copies_of_a_patients_record():
    truth, patient = np.ones(30, dtype=int), np.arange(30)
    a, b = np.ones(30, dtype=int), np.ones(30, dtype=int)
    a[:3], b[3:15] = 0, 0
    single = stats.binomtest(3, 15).pvalue
    assert mcnemar(truth, a, b, patient) == pytest.approx(single)
    assert mcnemar(*(np.repeat(each, 5) for each in (truth, a, b, patient))) == pytest.approx(single)


def test_delong_within_folds_is_the_mean_of_the_folds_tests():
    truth, one, _ = draw(1.0)
    other, fold, ids = draw(0.6, noise_seed=2)[1], np.arange(600) % 3, np.arange(600)
    alone = [delong(*(each[fold == k] for each in (truth, one, other, ids))) for k in range(3)]
    difference, error, _ = delong(truth, one + fold, other, ids, fold)  # one net's scores are higher than another's
    assert difference == pytest.approx(np.mean([each[0] for each in alone]))
    assert error == pytest.approx(np.sqrt(sum(each[1] ** 2 for each in alone)) / 3, rel=0.01)
    assert roc_auc_score(truth, one + fold) < roc_auc_score(truth, one) - 0.02  # what pooling makes of it


def test_delong_has_the_tail_of_few_patients():
    truth = np.array([1] * 4 + [0] * 30)
    generator = np.random.default_rng(3)
    one, other = truth + generator.normal(size=34), generator.normal(size=34)
    difference, error, p = delong(truth, one, other, np.arange(34))
    assert 2 * stats.t.sf(difference / error, 40) < p < 2 * stats.t.sf(difference / error, 2.9)
    assert np.isnan(delong([1, 1, 0, 0], [0.9, 0.8, 0.1, 0.2], [0.1, 0.2, 0.8, 0.9], np.arange(4))[2])
