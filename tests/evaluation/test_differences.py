import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ecgcls.errors import ConfigError
from ecgcls.evaluation.differences import Differences, adjust_classes, combine_df
from ecgcls.evaluation.margins import check_margin, judge_margin


def make(value, error, *, n_patients=21, span=1.0):
    rows = np.broadcast_arrays(np.array(value, float), np.array(error, float), n_patients, n_patients - 1, span)
    return Differences(*(row.astype(float) for row in rows))


def test_interval_and_test_of_paired_differences_are_those_of_a_t_test():
    values = np.random.default_rng(0).normal(0.03, 0.05, size=21)
    by_scipy = stats.ttest_1samp(values, 0)
    found = make([values.mean()], [stats.sem(values)])
    assert found.test()[0] == pytest.approx(by_scipy.pvalue)
    assert [limit[0] for limit in found.limits(0.9)] == pytest.approx(tuple(by_scipy.confidence_interval(0.9)))
    one_sided = stats.ttest_1samp(values, -0.01, alternative="greater").pvalue
    assert found.exceed(-0.01)[0] == pytest.approx(one_sided)


def test_detectable_is_found_with_a_power_of_80_percent():
    found = make([0.0], [0.01])
    (difference,) = found.detect(0.05 / 71)
    critical = stats.t.ppf(1 - 0.025 / 71, 20)
    assert stats.nct.sf(critical, 20, difference / 0.01) == pytest.approx(0.8, abs=1e-6)
    many = make([0.0], [0.01], n_patients=10**6)
    assert many.detect(0.05)[0] == pytest.approx(0.01 * (1.959964 + 0.841621), rel=1e-4)


def test_resamples_that_are_all_alike_are_judged_by_the_patients():
    found = make([1.0, 0.0, 0.3], [0.0, 0.0, 0.0], n_patients=25)
    assert found.test()[:2] == pytest.approx([stats.binomtest(25, 25).pvalue, 1.0])
    low, high = found.limits(0.95)
    upper = stats.binomtest(0, 25).proportion_ci(0.95, "exact").high  # patients unlike the others
    assert (low[1], high[1]) == pytest.approx((-upper, upper))
    assert low[0] == pytest.approx(1 - 2 * upper) and high[0] == 1
    assert (found.test() < 0.05).tolist() == (low > 0).tolist()
    assert np.isnan(found.detect(0.05)).all()


def test_limits_end_where_the_metric_does_and_one_patient_says_nothing():
    low, high = make([0.5], [0.4], n_patients=3).limits(0.95)
    assert (low[0], high[0]) == (-1, 1)
    alone = make([0.5], [0.1], n_patients=1)
    assert np.isnan([alone.test()[0], *np.ravel(alone.limits(0.95))]).all()


def test_degrees_of_freedom_of_a_sum_are_welchs():
    x, y = np.random.default_rng(1).normal(size=(2, 8)) * [[1], [3]]
    y = y[:5]
    variances = np.array([x.var(ddof=1) / 8, y.var(ddof=1) / 5])
    assert combine_df(variances, np.array([7.0, 4.0])) == pytest.approx(stats.ttest_ind(x, y, equal_var=False).df)


def test_families_are_the_supported_classes_of_a_metric():
    index = pd.MultiIndex.from_product([["overall", "A", "B", "C"], ["f1"]], names=["class", "metric"])
    p = pd.Series([0.04, 0.01, 0.03, 0.001], index)
    adjusted = adjust_classes(p, pd.Series([True, True, True, False], index))
    assert adjusted.tolist() == pytest.approx([0.04, 0.02, 0.03, np.nan], nan_ok=True)
    index = pd.MultiIndex.from_product([list("ABCDEFGH"), ["f1"]], names=["class", "metric"])
    p = pd.Series([0.02, 0.001, 0.3, 0.01, 0.9, 0.012, 0.012, 0.0], index)
    assert adjust_classes(p, p < 2).to_numpy() == pytest.approx(multipletests(p, method="holm")[1])


def test_margins_by_inclusion_of_the_intervals():
    # with 20 degrees of freedom: 95% +- 2.086, 90% +- 1.725 standard errors
    cases = {
        "equivalent": (0.0, 0.005),  # 90% interval +-0.0086
        "a better": (0.03, 0.005),
        "a not inferior": (0.006, 0.007),  # from -0.0086, but to 0.018
        "a inferior": (-0.04, 0.01),
        "cannot be told": (-0.001, 0.02),
    }
    rows = [(name, metric) for name in cases for metric in ("roc_auc", "brier")]
    index = pd.MultiIndex.from_tuples([("overall", metric) for _, metric in rows], names=["class", "metric"])
    signs = [1 if metric == "roc_auc" else -1 for _, metric in rows]  # a lower Brier score is better
    differences = make(np.array([cases[name][0] for name, _ in rows]) * signs, [cases[name][1] for name, _ in rows])
    verdicts = ["a better" if name == "a better" else "cannot be told" for name, _ in rows]
    table = pd.DataFrame({"is_supported": True, "verdict": verdicts}, index)
    found = judge_margin(table, differences, 0.01, 0.95)
    assert found["margin_verdict"].tolist() == [name for name, _ in rows]
    found = judge_margin(table.assign(is_supported=False, verdict="cannot be told"), differences, 0.01, 0.95)
    assert (found["margin_verdict"] == "cannot be told").all()


@pytest.mark.parametrize("margin", [0, -0.01, float("nan"), float("inf"), True, "0.01"])
def test_a_margin_is_above_0(margin):
    with pytest.raises(ConfigError, match="margin must be above 0"):
        check_margin(margin)


def test_a_margin_needs_a_level_for_two_one_sided_tests():
    with pytest.raises(ConfigError, match=r"needs a level above 0\.5"):
        check_margin(0.01, level=0.4)
