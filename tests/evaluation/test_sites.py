import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.scales import bound, slope, unbound
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.sites import combine_sites, measure_sites, summarize_sites


def test_scales_have_no_bounds_and_lead_back():
    values = np.array([0.02, 0.5, 0.9])
    np.testing.assert_allclose(unbound(values, (0, 1)), logit(values))
    np.testing.assert_allclose(unbound(values, (-1, 1)), logit((values + 1) / 2))
    np.testing.assert_allclose(unbound(values, (0, np.inf)), np.log(values))
    np.testing.assert_array_equal(unbound(values, (-np.inf, np.inf)), values)
    for bounds in ((0, 1), (-1, 1), (0, np.inf), (-np.inf, np.inf)):
        np.testing.assert_allclose(bound(unbound(values, bounds), bounds), values)
        steps = unbound(values + 1e-7, bounds) - unbound(values - 1e-7, bounds)
        np.testing.assert_allclose(slope(values, bounds), steps / 2e-7, rtol=1e-6)
    several = np.array([(0, 1), (0, np.inf), (-np.inf, np.inf)]).T
    np.testing.assert_allclose(unbound(values, several), [logit(0.02), np.log(0.5), 0.9])
    assert unbound([0, 1], (0, 1)).tolist() == [-np.inf, np.inf]


def test_sites_with_equal_errors_by_hand():
    """With one error v, Q = 3 s² / v has 3 degrees of freedom times (v + tau²) / v, and weights do not matter."""
    values, error = np.array([1.0, 2.0, 2.5, 4.5]), 0.5
    found = combine_sites(values, [error] * 4)
    variance, v = values.var(ddof=1), error**2
    assert found["n_sites"] == 4 and found["mean"] == pytest.approx(2.5)
    assert found["tau"] == pytest.approx(np.sqrt(variance - v), rel=1e-4)  # Paule and Mandel: Q = n - 1
    half = stats.t.ppf(0.975, 3) * np.sqrt(variance / 4)
    assert (found["low"], found["high"]) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-4)
    assert found["i2"] == pytest.approx(1 - v / variance)
    rng = np.random.default_rng(1)
    tau2 = np.maximum(0, 3 * variance / rng.chisquare(3, 400_000) - v)  # the confidence distribution in closed form
    new = 2.5 + np.sqrt(tau2) * rng.normal(size=400_000) + np.sqrt(variance / 4) * rng.standard_t(3, 400_000)
    assert (found["new_low"], found["new_high"]) == pytest.approx(np.quantile(new, [0.025, 0.975]), abs=0.4)
    assert found["new_low"] < found["low"] - 1


def test_the_vaccine_trials_of_the_textbooks():
    """Log risk ratios of 13 BCG trials (Colditz et al. 1994): Q = 152.23, a mean of -0.71, tau² near 0.31."""
    ill, well = np.array([4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27]), np.array(
        [119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886]
    )  # fmt: skip
    ill_0, well_0 = np.array([11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29]), np.array(
        [128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825]
    )  # fmt: skip
    n, n_0 = ill + well, ill_0 + well_0
    values, errors = np.log((ill / n) / (ill_0 / n_0)), np.sqrt(1 / ill - 1 / n + 1 / ill_0 - 1 / n_0)
    found = combine_sites(values, errors)
    assert found["i2"] == pytest.approx(1 - 12 / 152.233, abs=1e-4)
    assert found["mean"] == pytest.approx(-0.7145, abs=0.003) and 0.30 < found["tau"] ** 2 < 0.33
    weights = 1 / (errors**2 + found["tau"] ** 2)
    assert (weights * (values - found["mean"]) ** 2).sum() == pytest.approx(12, abs=1e-3)


def test_sites_that_agree_leave_the_models_own_error():
    found = combine_sites([0.9, 0.9, 0.9], [0.1, 0.2, 0.2], bounds=(0, 1))
    error = np.sqrt(1 / (1 / 0.1**2 + 2 / 0.2**2))
    half = stats.t.ppf(0.975, 2) * error
    assert (found["low"], found["high"]) == pytest.approx(expit(logit(0.9) + np.array([-half, half])))
    assert (found["tau"], found["i2"]) == (0, 0)


def test_too_few_sites_and_values_without_an_error():
    one = combine_sites([0.9, 1.0, 0.8, 0.7], [0.1, 0.1, np.nan, 0.0], bounds=(0, 1))
    assert one["n_sites"] == 1 and np.isnan([one["mean"], one["low"], one["new_low"]]).all()
    two = combine_sites([0.9, 0.8], [0.1, 0.1], bounds=(0, 1))
    assert two["low"] < two["mean"] < two["high"] and np.isnan(two["new_low"])


def test_each_site_is_measured_by_itself_with_the_error_of_its_patients():
    rng = np.random.default_rng(0)
    sites = {}
    for number, n_records in enumerate((400, 300, 200, 40)):
        y_true = (rng.random((n_records, 1)) < 0.3).astype(int)
        ids = 1000 * number + np.arange(n_records)
        y_prob = expit(rng.normal(size=y_true.shape) + 2 * y_true)
        sites[f"site {number}"] = Predictions(ids, ids, 0 * ids, ["test"] * n_records, y_true, y_prob, ("MI",))
    table = measure_sites(sites, Bootstrap(n_resamples=300))
    rows = table[(table["class"] == "MI") & (table["metric"] == "roc_auc")].set_index("site")
    expected = [roc_auc_score(one.y_true, one.y_prob) for one in sites.values()]
    assert rows["value"].tolist() == pytest.approx(expected) and rows["is_supported"].tolist() == [True] * 3 + [False]
    one = sites["site 0"]
    delong = _delong_error(one.y_true[:, 0] == 1, one.y_prob[:, 0]) / (expected[0] * (1 - expected[0]))
    assert rows["error"]["site 0"] == pytest.approx(delong, rel=0.15)
    assert (rows["low"] < rows["value"]).all() and (rows["high"] < 1).all()
    summary = summarize_sites(table).loc[("MI", "roc_auc")]
    kept = rows.iloc[:3]
    assert summary.to_dict() == combine_sites(kept["value"], kept["error"], bounds=(0, 1))


def _delong_error(truth, score):
    """DeLong's standard error of one ROC-AUC, from the placements."""
    above = (score[truth][:, None] > score[~truth]) * 1.0
    return np.sqrt(above.mean(axis=1).var(ddof=1) / truth.sum() + above.mean(axis=0).var(ddof=1) / (~truth).sum())


def test_support_of_a_site_is_counted_in_patients():
    ids = np.arange(80)
    y_true = (ids < 25).astype(int)[:, None]
    y_prob = expit(np.random.default_rng(0).normal(2.0 * y_true - 1))
    of_five = np.where(ids < 25, ids % 5, ids)
    for patients, expected in ((ids, True), (of_five, False)):
        site = Predictions(ids, patients, 0 * ids, np.full(80, "test"), y_true, y_prob, ("MI",))
        found = measure_sites({"A": site}, Bootstrap(n_resamples=10)).set_index(["class", "metric"])
        assert found.loc[("MI", "roc_auc"), "is_supported"] == expected
