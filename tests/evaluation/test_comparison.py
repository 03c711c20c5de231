from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgcls.errors import DataError
from ecgcls.evaluation.comparison import check_same_records, compare
from ecgcls.evaluation.differences import SUPPORTED
from ecgcls.evaluation.paired_tests import delong
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
    found = compare([a], [b], Bootstrap(n_resamples=800))
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
    assert row["detectable"] == pytest.approx((2.2414 + 0.8416) * np.std(drawn), rel=0.12)  # at 0.05 / 2 classes
    _, error, p = delong(a.y_true[:, 1], a.y_prob[:, 1], b.y_prob[:, 1], a.patient_id)
    area = found.loc[("MI", "roc_auc")]
    assert area["delong_p"] == pytest.approx(p)
    assert area["detectable"] == pytest.approx((2.2414 + 0.8416) * error, rel=0.1)  # two ways to the standard error


def test_holm_adjusts_over_the_classes_only():
    found = compare([make(1.2)], [make(1.0, noise_seed=2)], Bootstrap(n_resamples=100))
    smaller, larger = sorted(found.loc[[("NORM", "pr_auc"), ("MI", "pr_auc")], "p"])
    adjusted = sorted(found.loc[[("NORM", "pr_auc"), ("MI", "pr_auc")], "p_holm"])
    assert adjusted == pytest.approx([min(1, 2 * smaller), max(min(1, 2 * smaller), larger)])
    overall = found.loc["overall"]
    assert overall["p_holm"].equals(overall["p"])


def test_seeds_are_averaged():
    a, b = [make(1.2), make(1.2, noise_seed=5)], [make(0.9, noise_seed=2), make(0.9, noise_seed=6)]
    found = compare(a, b, Bootstrap(n_resamples=20)).loc[("MI", "roc_auc")]
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


def make_many(strengths, n_positive, *, seed=1, n_records=2000):
    """One record a patient; `n_positive` of each class, whose scores are a strength above the others'."""
    generator = np.random.default_rng(0)
    y_true = np.stack([generator.permutation(n_records) < n for n in n_positive], axis=1).astype(int)
    scores = np.array(strengths) * y_true + np.random.default_rng(seed).normal(size=y_true.shape)
    ids, names = np.arange(n_records), tuple(f"c{number}" for number in range(len(n_positive)))
    return Predictions(ids, ids, 0 * ids, np.full(n_records, "test"), y_true, 1 / (1 + np.exp(-scores)), names)


def test_a_perfect_class_of_many_is_told_from_a_coin():
    strengths = [12.0] + 70 * [0.0]
    perfect, coin = make_many(strengths, 71 * [30]), make_many(71 * [0.0], 71 * [30], seed=2)
    found = compare([perfect], [coin], Bootstrap(n_resamples=30))
    for metric in ("roc_auc", "pr_auc"):
        assert found.loc[("c0", metric), "verdict"] == "a better"
        assert found.loc[("c0", metric), "p_holm"] == pytest.approx(71 * found.loc[("c0", metric), "p"])
    alone = compare([perfect.take_classes(["c0"])], [coin.take_classes(["c0"])], Bootstrap(n_resamples=30))
    wanted, first = (table.loc[("c0", "roc_auc"), "detectable"] for table in (found, alone))
    critical, error = (
        stats.t.ppf([1 - 0.025 / 71, 0.975], 29),
        first / special.nctdtrinc(29, 0.2, stats.t.ppf(0.975, 29)),
    )
    assert stats.nct.sf(critical, 29, np.array([wanted, first]) / error) == pytest.approx([0.8, 0.8])


def test_a_class_with_too_few_patients_gets_no_verdict_and_burdens_no_family():
    a, b = make_many([5.0, 5.0, 9.0], [40, 40, 5]), make_many([0.5, 5.0, -1.0], [40, 40, 5], seed=2)
    found = compare([a], [b], Bootstrap(n_resamples=60))
    rare = found.loc[("c2", "roc_auc")]
    assert rare["p"] < 0.05 and np.isnan(rare["p_holm"])
    assert (rare["verdict"], rare["why"]) == ("cannot be told", "5 of the 20 patients needed")
    first = found.loc[("c0", "roc_auc")]
    assert first["p_holm"] == pytest.approx(2 * first["p"])  # a family of two
    assert (first["verdict"], first["why"]) == ("a better", "")
    assert found.loc[("c1", "roc_auc"), "why"] == "the interval holds 0"
    macro, supported = found.loc[("overall", "roc_auc")], found.loc[(SUPPORTED, "roc_auc")]
    assert macro["why"] == "the rarest class has 5 of the 20 patients needed"
    assert macro["difference"] == pytest.approx(
        found.loc[[("c0", "roc_auc"), ("c1", "roc_auc"), ("c2", "roc_auc")], "difference"].mean()
    )
    assert supported["difference"] == pytest.approx(
        found.loc[[("c0", "roc_auc"), ("c1", "roc_auc")], "difference"].mean()
    )
    assert (supported["verdict"], supported["n_positive"]) == ("a better", 80)


def test_records_of_few_patients_are_few_patients():
    a, b = make_many([5.0], [40]), make_many([0.0], [40], seed=2)
    positives = np.flatnonzero(a.y_true[:, 0])
    patient = a.patient_id.copy()
    patient[positives] = patient[positives[:2]].repeat(20)  # all of two patients
    found = compare(*[[replace(one, patient_id=patient)] for one in (a, b)], Bootstrap(n_resamples=50))
    assert found.loc[("c0", "roc_auc"), "why"] == "2 of the 20 patients needed"


def test_every_interval_holds_its_difference_and_agrees_with_the_p_value():
    strengths, counts = [3.0, 0.5, 2.0, 1.0], [300, 30, 4, 2]
    found = compare([make_many(strengths, counts)], [make_many([0.0] * 4, counts, seed=2)], Bootstrap(n_resamples=60))
    found = found[found["low"].notna()]
    assert {name for name, _ in found.index} == {"overall", SUPPORTED, "c0", "c1", "c2", "c3"}
    assert ((found["low"] <= found["difference"]) & (found["difference"] <= found["high"])).all()
    leaves_out_0 = (found["low"] > 0) | (found["high"] < 0)
    assert leaves_out_0.equals(found["p"] < 0.05)
    told = found["verdict"] != "cannot be told"
    assert (leaves_out_0 | ~told).all() and (found.loc[leaves_out_0 & ~told, "why"] != "the interval holds 0").all()
    assert found.loc[~told, "why"].ne("").all() and found.loc[told, "why"].eq("").all()


def test_two_positive_patients_are_no_proof():
    ids = np.arange(4)
    values = {"ecg_id": ids, "patient_id": ids, "strat_fold": ids, "split": ["test"] * 4, "class_names": ("MI",)}
    truth = np.array([[1], [1], [0], [0]])
    perfect, reversed_ = (Predictions(**values, y_true=truth, y_prob=np.abs(truth - wrong)) for wrong in (0.1, 0.9))
    row = compare([perfect], [reversed_], Bootstrap(n_resamples=50)).loc[("MI", "roc_auc")]
    assert row["difference"] == 1 and row["verdict"] == "cannot be told" and np.isnan(row["delong_p"])
    assert row["p"] == 0.5  # as a sign test of two patients
    assert row["low"] < 0


def make_folds(strength, *, seed, offsets, n_records=600):
    """Five nets, each with an offset of its own; one record a patient."""
    generator = np.random.default_rng(0)
    fold, y_true = np.arange(n_records) % 5, (generator.random((n_records, 1)) < 0.3).astype(int)
    scores = strength * y_true + np.random.default_rng(seed).normal(size=(n_records, 1)) + np.array(offsets)[fold, None]
    ids = np.arange(n_records)
    return Predictions(
        ids, ids, 0 * ids, np.full(n_records, "test"), y_true, 1 / (1 + np.exp(-scores)), ("MI",), fold=fold
    )


def test_folds_are_compared_within_folds():
    a, b = make_folds(1.0, seed=1, offsets=[0] * 5), make_folds(2.0, seed=2, offsets=[-3, 3, -1.5, 1.5, 0])
    by_fold = [
        [roc_auc_score(one.y_true[one.fold == k, 0], one.y_prob[one.fold == k, 0]) for k in range(5)] for one in (a, b)
    ]
    differences = np.subtract(*by_fold)
    assert (differences < 0).all()  # b is better in each
    row = compare([a], [b], Bootstrap(n_resamples=60)).loc[("MI", "roc_auc")]
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["verdict"] == "b better" and row["delong_p"] < 0.01
    pooled = roc_auc_score(a.y_true, a.y_prob) - roc_auc_score(b.y_true, b.y_prob)
    assert row["pooled_difference"] == pytest.approx(pooled) and pooled > 0
    assert "pooled_difference" not in compare([a.merge_folds()], [b.merge_folds()], Bootstrap(n_resamples=10))


def test_one_that_has_no_folds_is_measured_within_the_others():
    a, b = make_folds(1.2, seed=1, offsets=[0] * 5), make_folds(1.8, seed=2, offsets=[0] * 5)
    settings = Bootstrap(n_resamples=10)
    both = compare([a], [b], settings)
    assert compare([a], [b.merge_folds()], settings).equals(both) and compare([a.merge_folds()], [b], settings).equals(
        both
    )
    assert compare([a], [replace(b, fold=b.fold + 1)], settings).equals(both)  # only their names differ
    with pytest.raises(DataError, match="a and b have other folds"):
        compare([a], [replace(b, fold=b.fold // 2)], settings)


def test_a_margin_adds_what_the_intervals_show():
    a, b = make(1.2), make(1.25, noise_seed=2)
    found = compare([a], [b], Bootstrap(n_resamples=60), margin=0.05)
    area, brier = found.loc[("overall", "roc_auc")], found.loc[("overall", "brier")]
    for row, sign in ((area, 1), (brier, -1)):
        gain = sorted([sign * row["low"], sign * row["high"]])
        assert (row["p_not_inferior"] < 0.025) == (gain[0] > -0.05)
        assert (row["p_equivalent"] < 0.05) == (max(abs(row["low_equivalence"]), abs(row["high_equivalence"])) < 0.05)
    assert area["low"] < area["low_equivalence"] < area["high_equivalence"] < area["high"]
    assert brier["margin_verdict"] == "equivalent"
    assert "margin_verdict" not in compare([a], [b], Bootstrap(n_resamples=10))
