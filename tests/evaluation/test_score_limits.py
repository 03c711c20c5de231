import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from ecgcls.evaluation.comparison import delong
from ecgcls.evaluation.influence import ESTIMATED, RATES, Estimate, estimate
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import measure
from ecgcls.evaluation.score_limits import Limits, combine, find_limits, newcombe, wilson
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.weighted import Records

QUICK = Bootstrap(n_resamples=20)


def interval(y_true, y_prob, patient, metric, **settings):
    """Return low, high and is_supported of a metric of the only class."""
    settings = Bootstrap(**{"n_resamples": 20} | settings)
    table = bootstrap(np.reshape(y_true, (-1, 1)), np.reshape(y_prob, (-1, 1)), patient, ["MI"], settings=settings)
    low, high, is_supported = table.loc[("MI", metric), ["low", "high", "is_supported"]]
    return low, high, is_supported


@pytest.mark.parametrize(("hits", "n"), [(25, 25), (0, 7), (19, 20), (300, 401)])
def test_a_rate_of_patients_with_one_record_has_the_interval_of_wilson(hits, n):
    expected = proportion_confint(hits, n, alpha=0.1, method="wilson")
    np.testing.assert_allclose(wilson(hits / n, n, 0.9), expected, atol=1e-12)
    y_true, y_prob = np.repeat([1, 0], [n, 3]), np.r_[np.repeat([0.9, 0.1], [hits, n - hits]), [0.2, 0.3, 0.4]]
    low, high, _ = interval(y_true, y_prob, np.arange(n + 3), "sensitivity", level=0.9)
    np.testing.assert_allclose([low, high], expected, atol=1e-12)


def test_newcombes_intervals_are_those_that_another_implementation_finds():
    """The R package SingleCaseES tests its own NAP, 11/12 of 6 and 7 observations, by these published limits."""
    for level, limits in ((0.95, [0.5973193600, 0.9859976894]), (0.9, [0.6591091902, 0.9822247871])):
        np.testing.assert_allclose(newcombe(11 / 12, 6, 7, level), limits, atol=1e-9)
    # none of 4 x 5 pairs: high^2 = z^2 V(high), where V is theta (1 - theta) / 20 (1 + 3.5 (...))
    low, high = newcombe(0.0, 4, 5, 0.95)
    variance = high * (1 - high) / 20 * (1 + 3.5 * ((1 - high) / (2 - high) + high / (1 + high)))
    assert low == 0.0 and high**2 == pytest.approx(stats.norm.ppf(0.975) ** 2 * variance)


def test_the_design_effect_of_a_rate_is_that_of_its_clusters():
    """Four patients with two positive records each, of whom two are missed: as alike as they can be."""
    hit, patient = np.array([1, 1, 1, 1, 0, 0, 0, 0]), np.repeat(np.arange(4), 2)
    y_true, y_prob, who = np.r_[np.ones(8), 0, 0], np.r_[hit * 0.8 + 0.1, 0.1, 0.2], np.r_[patient, 8, 9]
    low, high, _ = interval(y_true, y_prob, who, "sensitivity")
    # summed over patients the residuals are 1, 1, -1, -1: variance 4/3 * 4 / 64 = 1/12, of single records 8/4 / 64 =
    # 1/32: a design effect of 8/3, which the sizes of the clusters bound by 2, so 4 effective records
    np.testing.assert_allclose([low, high], proportion_confint(2, 4, method="wilson"), atol=1e-12)
    mixed = np.r_[[0.9, 0.1] * 4, 0.1, 0.2]  # one hit and one miss each: never more than 8
    low, high, _ = interval(y_true, mixed, who, "sensitivity")
    np.testing.assert_allclose([low, high], proportion_confint(4, 8, method="wilson"), atol=1e-12)
    # in between: patients of 1, 1, 2 and 2 records, residuals 1/2, -1/2, 1, 0, 4/3 * 1.5 / 36 over 1.5 / 36
    y_prob = np.r_[0.9, 0.1, 0.9, 0.9, 0.1, 0.9, 0.1, 0.2] - [0, 0, 0, 0, 0, 0.85, 0, 0]
    found = interval(np.r_[np.ones(6), 0, 0], y_prob, [0, 1, 2, 2, 3, 3, 8, 9], "sensitivity")[:2]
    hits = np.array([1, 0, 1, 1, 0, 0])
    sums = np.bincount([0, 1, 2, 2, 3, 3], hits - hits.mean())
    effect = np.clip((sums**2).sum() * 4 / 3 / ((hits - 0.5) ** 2).sum(), 1, 10 / 6)
    np.testing.assert_allclose(found, proportion_confint(3 / effect, 6 / effect, method="wilson"), atol=1e-12)


@pytest.fixture(scope="module")
def records():
    """80 records of 40 patients, two classes, many probabilities equal, some labels unknown."""
    generator = np.random.default_rng(0)
    y_true = (generator.random((80, 2)) < 0.3).astype(int)
    y_true[:4, 0] = -1
    y_prob = np.round(1 / (1 + np.exp(-generator.normal(1.2 * (y_true == 1) - 0.6))), 1)
    return y_true, y_prob


@pytest.mark.parametrize("fold", [None, np.repeat([0, 1, 2, 3], 20)], ids=["one", "folds"])
def test_influences_are_the_derivatives_of_what_is_measured(records, fold):
    found = Records.check(*records, ["A", "B"], fold=fold)
    more, less = (measure(found, 1 + sign * 1e-5 * np.eye(80)).by_class for sign in (1, -1))
    for key in ESTIMATED:
        for column in (0, 1):
            each = estimate(key, found, column, np.arange(80) // 2)
            assert each.value == pytest.approx(measure(found).by_class[key][column, 0], abs=1e-12)
            np.testing.assert_allclose(each.influence, (more[key] - less[key])[column] / 2e-5, atol=1e-8)
            assert each.share.sum() == pytest.approx(1)


def test_the_variance_of_an_area_is_delongs(records):
    y_true, y_prob = (each[4:, 0] for each in records)
    each = estimate("roc_auc", Records.check(y_true[:, None], y_prob[:, None], ["A"]), 0, np.arange(76))
    constant = np.zeros(76)
    n_pos, n_neg = y_true.sum(), (1 - y_true).sum()
    variance = (each.influence[y_true == 1] ** 2).sum() * n_pos / (n_pos - 1)
    variance += (each.influence[y_true == 0] ** 2).sum() * n_neg / (n_neg - 1)
    assert np.sqrt(variance) == pytest.approx(delong(y_true, y_prob, constant, np.arange(76))[1])
    assert each.value == pytest.approx(roc_auc_score(y_true, y_prob))


def test_without_a_patients_own_records_average_precision_is_not_above_its_true_value():
    y_true, patient = np.array([[1], [0], [1], [0]]), np.arange(4)
    each = estimate("pr_auc", Records.check(y_true, [[0.9], [0.8], [0.7], [0.1]], ["A"]), 0, patient)
    assert each.value == pytest.approx((1 + 2 / 3) / 2)
    # the second one: of the other record, scaled to 2 x 1 / 1 = 2, and 1 false one: 2/3; the first: none and none, 1
    assert each.center == pytest.approx((1 + 2 / 3) / 2)
    each = estimate("pr_auc", Records.check(y_true, [[0.8], [0.9], [0.7], [0.1]], ["A"]), 0, patient)
    assert each.center == pytest.approx((0 + 2 / 3) / 2) and each.value == pytest.approx((1 / 2 + 2 / 3) / 2)
    each = estimate("pr_auc", Records.check(y_true, [[0.8], [0.9], [0.7], [0.1]], ["A"]), 0, np.array([0, 1, 0, 1]))
    assert each.center == 0.0  # of one patient


@pytest.mark.parametrize("metric", ["roc_auc", "pr_auc", "f1", "mcc", "sensitivity", "specificity", "precision", "npv"])
def test_a_perfect_class_has_no_perfect_interval(metric):
    y_true = np.repeat([1, 0], 25)
    low, high, is_supported = interval(y_true, y_true * 0.8 + 0.1, np.arange(50), metric)
    assert 0.7 < low < 0.97 and high == 1.0 and is_supported
    if metric in RATES:
        assert low == pytest.approx(0.8668, abs=1e-4)


def test_support_is_counted_in_patients_of_the_metrics_own_denominator():
    y_true, y_prob = np.repeat([1, 0], [40, 60]), np.r_[np.full(3, 0.9), np.full(97, 0.1)] + np.arange(100) / 1e4
    names = ("sensitivity", "specificity", "precision", "npv", "roc_auc", "f1")
    for patient, supported in (
        (np.arange(100), {*names} - {"precision"}),  # three records are called positive
        (
            np.r_[np.repeat([0, 1], 20), np.arange(2, 62)],
            {"specificity", "npv"},
        ),  # the positive ones are of two patients
    ):
        table = bootstrap(y_true[:, None], y_prob[:, None], patient, ["MI"], settings=QUICK).loc["MI"]
        assert {name for name in names if table.loc[name, "is_supported"]} == supported


@pytest.mark.parametrize("method", ["score", "expanded"])
def test_the_fewer_patients_the_wider_and_one_has_no_interval(method):
    y_true, y_prob = np.repeat([1, 0], [4, 60]), np.r_[0.9, 0.6, 0.8, 0.7, np.linspace(0.1, 0.75, 60)]
    widths = []
    for positives in ([0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 3]):
        low, high, _ = interval(y_true, y_prob, np.r_[positives, np.arange(4, 64)], "roc_auc", method=method)
        widths.append(high - low)
    assert np.isnan(widths[0]) and (method != "score" or widths[1] > widths[2])


def test_classes_are_combined_by_the_correlation_of_their_errors():
    """With symmetric limits, MOVER is the standard error of a mean."""
    generator = np.random.default_rng(1)
    moves = generator.normal(size=(3, 500)) + generator.normal(size=500)
    classes = [Limits(0.5, 0.5, 0.5 - half, 0.5 + half, each) for half, each in zip((0.1, 0.2, 0.3), moves)]  # noqa: B905
    moves /= np.sqrt((moves**2).sum(axis=1, keepdims=True))
    covariance = moves @ moves.T * np.outer([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    half = np.sqrt(covariance.sum()) / 3
    np.testing.assert_allclose(combine(classes), [0.5 - half, 0.5 + half])
    perfect = [Limits(1.0, 1.0, 0.9, 1.0, np.zeros(4)), Limits(0.5, 0.5, 0.2, 0.8, np.zeros(4))]
    np.testing.assert_allclose(combine(perfect), [0.75 - np.hypot(0.1, 0.3) / 2, 0.75 + 0.3 / 2])


def test_the_macro_is_as_wide_as_its_rarest_class_and_stands_beside_that_of_the_supported():
    generator = np.random.default_rng(2)
    y_true = np.stack([np.arange(300) < 100, np.arange(300) < 60, np.arange(300) > 296], axis=1).astype(int)
    y_prob = 1 / (1 + np.exp(-generator.normal(2 * y_true - 1)))
    table = bootstrap(y_true, y_prob, np.arange(300), ["A", "B", "RARE"], settings=QUICK)
    macro, rare = table.loc[("overall", "roc_auc")], table.loc[("RARE", "roc_auc")]
    assert macro["low"] < macro["value"] - (rare["value"] - rare["low"]) / 3 and not macro["is_supported"]
    two = bootstrap(y_true[:, :2], y_prob[:, :2], np.arange(300), ["A", "B"], settings=QUICK).loc[
        ("overall", "roc_auc")
    ]
    assert macro["n_supported"] == 2 and two["is_supported"]
    np.testing.assert_allclose(
        macro[["supported_value", "supported_low", "supported_high"]].tolist(), two[["value", "low", "high"]].tolist()
    )
    assert table["n_supported"].notna().sum() == 4  # the macro means


def test_a_mean_over_folds_of_equal_size_has_the_interval_of_all_records():
    """Rates of folds with as many positive records each are the rate of all."""
    generator = np.random.default_rng(3)
    y_true = np.tile([1, 1, 0, 0, 0], 24)
    y_prob, patient = generator.random(120), np.arange(120) // 2
    arrays = y_true[:, None], y_prob[:, None], patient, ["MI"]
    apart = bootstrap(*arrays, fold=np.repeat([0, 1, 2], 40), settings=QUICK).loc[("MI", "sensitivity")]
    together = bootstrap(*arrays, settings=QUICK).loc[("MI", "sensitivity")]
    assert apart["value"] == pytest.approx(together["value"])
    assert [apart["low"], apart["high"]] == pytest.approx([together["low"], together["high"]], abs=0.02)


def test_limits_stay_within_their_bounds():
    none = np.zeros(6)
    share, other = np.r_[np.full(3, 1 / 3), none[:3]], np.r_[none[:3], np.full(3, 1 / 3)]
    for key, value in (("roc_auc", 0.0), ("pr_auc", 1.0), ("mcc", -1.0), ("mcc", 0.0), ("f1", 0.0), ("roc_auc", 0.5)):
        found = find_limits(key, Estimate(value, value, none, share, other), np.arange(6), 0.95)
        assert -1 <= found.low <= value <= found.high <= 1 and found.high - found.low > 0.2
