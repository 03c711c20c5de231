import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from ecgcls.evaluation.gaps import measure_gaps
from ecgcls.evaluation.paired_tests import delong
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap

ONE = ("MI",)


def make(y_true, y_prob, patient_id=None, names=ONE, fold=None):
    ids = np.arange(len(y_true))
    return Predictions(ids, ids if patient_id is None else patient_id, 0 * ids, np.full(len(ids), "test"),
                       y_true, y_prob, names, fold=fold)  # fmt: skip


@pytest.fixture(scope="module")
def drawn():
    """1,000 records of one class, half of them of women; the last 200 were recorded on B, where scores are worse."""
    generator = np.random.default_rng(3)
    y_true = (generator.random((1000, 1)) < 0.4).astype(int)
    is_b = np.arange(1000)[:, None] >= 800
    y_prob = stats.norm.cdf(generator.normal(np.where(is_b, 0.5, 2.0) * y_true - 1))
    groups = pd.DataFrame({"device": np.where(is_b[:, 0], "B", "A"), "sex": generator.choice(["f", "m"], 1000)})
    return y_true, y_prob, groups


def test_a_gap_is_the_difference_of_two_roc_aucs(drawn):
    y_true, y_prob, groups = drawn
    table = measure_gaps(make(y_true, y_prob), groups, Bootstrap())
    areas = [
        roc_auc_score(y_true[of.to_numpy()], y_prob[of.to_numpy()])
        for of in (groups.device == "A", groups.device == "B")
    ]
    assert table.loc[("device", "B"), "gap"] == pytest.approx(areas[1] - areas[0])
    assert table.loc[("device", "A"), "gap"] == pytest.approx(areas[0] - areas[1])
    assert table.loc[("device", "B"), "gap_high"] < 0 < table.loc[("device", "A"), "gap_low"]
    assert (table.loc["sex", "gap_low"] < 0).all() and (table.loc["sex", "gap_high"] > 0).all()


def test_the_error_of_a_lone_gap_is_that_of_delong(drawn):
    """Two halves alike are one family of one comparison: the limits are those of a normal test on DeLong's variance."""
    y_true, y_prob, _ = drawn
    y_true, y_prob = y_true[:800], y_prob[:800]
    groups = pd.DataFrame({"half": np.repeat(["a", "b"], 400)})
    row = measure_gaps(make(y_true, y_prob), groups, Bootstrap()).iloc[0]
    own = [
        delong(y_true[part, 0], y_prob[part, 0], np.zeros(400), np.arange(400))[1]  # a constant has no variance
        for part in (slice(400), slice(400, 800))
    ]
    half = stats.norm.ppf(0.975) * np.hypot(*own)
    assert row.gap_high - row.gap == pytest.approx(half, rel=0.03)


def test_more_cells_have_wider_limits_and_records_of_one_patient_count_together(drawn):
    y_true, y_prob, groups = drawn
    alone = measure_gaps(make(y_true, y_prob), groups[["device"]], Bootstrap())
    many = groups.assign(site=np.arange(1000) % 7, other=np.arange(1000) % 5).astype({"site": str, "other": str})
    together = measure_gaps(make(y_true, y_prob), many, Bootstrap())
    width = [(table.gap_high - table.gap_low)["device", "B"] for table in (alone, together)]
    assert width[1] > 1.2 * width[0]
    twice = [np.repeat(each, 2, axis=0) for each in (y_true, y_prob)]
    doubled = groups.loc[np.repeat(groups.index, 2)].reset_index(drop=True)
    clustered = measure_gaps(make(*twice, patient_id=np.repeat(np.arange(1000), 2)), doubled[["device"]], Bootstrap())
    assert (clustered.gap_high - clustered.gap_low)["device", "B"] == pytest.approx(width[0], rel=0.01)


def test_a_class_needs_enough_patients_on_both_sides(drawn):
    y_true, y_prob, groups = drawn
    rare = np.zeros_like(y_true)
    rare[[*range(30), *range(800, 819)]] = 1  # 30 in A, 19 in B
    both = make(np.hstack([y_true, rare]), np.hstack([y_prob, y_prob]), names=("MI", "WPW"))
    found = measure_gaps(both, groups[["device"]], Bootstrap())
    assert found["gap_n_classes"].tolist() == [1, 1]
    assert measure_gaps(both, groups[["device"]], Bootstrap(min_positives=19))["gap_n_classes"].tolist() == [2, 2]
    alone = measure_gaps(make(rare, y_prob), groups[["device"]], Bootstrap())
    assert alone[["gap", "gap_low", "gap_high"]].isna().all(axis=None)


def test_a_perfect_small_cell_is_not_told_from_the_rest(drawn):
    """25 positives that are all ranked right have no variance of their own."""
    y_true, y_prob = drawn[0][:800], drawn[1][:800]
    cell = np.r_[np.flatnonzero(y_true[:, 0])[:25], np.flatnonzero(y_true[:, 0] == 0)[:25]]
    y_prob = y_prob.copy()
    y_prob[cell] = 0.5 + 0.4 * (2 * y_true[cell] - 1)
    groups = pd.DataFrame({"site": np.where(np.isin(np.arange(800), cell), "small", "large")})
    row = measure_gaps(make(y_true, y_prob), groups, Bootstrap()).loc["site", "small"]
    assert row.gap == pytest.approx(1 - roc_auc_score(np.delete(y_true, cell), np.delete(y_prob, cell)))
    assert row.gap_high - row.gap > 0.04


def test_nets_of_different_folds_are_not_ranked_against_each_other(drawn):
    """A net that shifts all probabilities of a fold changes nothing."""
    y_true, y_prob, groups = drawn
    fold = np.arange(1000) % 2
    shifted = np.where(fold[:, None] == 1, 0.5 + y_prob / 2, y_prob / 2)
    one, other = (measure_gaps(make(y_true, each, fold=fold), groups, Bootstrap()) for each in (y_prob, shifted))
    pd.testing.assert_frame_equal(one, other)
    assert not np.allclose(measure_gaps(make(y_true, shifted), groups, Bootstrap())["gap"], one["gap"])
