import numpy as np
import pandas as pd
import patsy
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

from ecgcls.errors import ConfigError
from ecgcls.evaluation.calibration import find_miscalibrated, measure_calibration, reliability_curve
from ecgcls.evaluation.logistic import number_patients
from ecgcls.evaluation.smooth_calibration import SmoothCurve, smooth_curves


def simulate(n_records, seed):
    """Labels, and probabilities that are too extreme and too high."""
    generator = np.random.default_rng(seed)
    y_prob = expit(generator.normal(0, 2, (n_records, 1)))
    true_prob = expit(0.5 * logit(y_prob) - 1.5)
    return (generator.random((n_records, 1)) < true_prob).astype(int), y_prob


@pytest.fixture
def drawn():
    """Labels drawn with the very probabilities that are predicted."""
    rng = np.random.default_rng(0)
    y_prob = rng.random((2000, 2))
    return (rng.random((2000, 2)) < y_prob).astype(int), y_prob


def test_equal_width_is_scikit_learns(drawn):
    y_true, y_prob = drawn
    curve = reliability_curve(y_true, y_prob, ["A", "B"], strategy="equal_width")
    for column, name in enumerate("AB"):
        share, mean = calibration_curve(y_true[:, column], y_prob[:, column], n_bins=10, strategy="uniform")
        of_class = curve[curve["class"] == name]
        np.testing.assert_allclose(of_class["share_positive"], share)
        np.testing.assert_allclose(of_class["mean_prob"], mean)


def test_equal_mass_is_scikit_learns_where_the_records_divide_evenly(drawn):
    y_true, y_prob = drawn
    curve = reliability_curve(y_true, y_prob, ["A", "B"])
    for column, name in enumerate("AB"):
        share, mean = calibration_curve(y_true[:, column], y_prob[:, column], n_bins=10, strategy="quantile")
        of_class = curve[curve["class"] == name]
        assert of_class["n_records"].tolist() == [200] * 10
        np.testing.assert_allclose(of_class["share_positive"], share)
        np.testing.assert_allclose(of_class["mean_prob"], mean)


def test_intervals_are_wilsons(drawn):
    for row in reliability_curve(*drawn, ["A", "B"]).itertuples():
        interval = binomtest(row.n_positive, row.n_records).proportion_ci(method="wilson")
        assert (row.share_low, row.share_high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_equal_probabilities_stay_in_one_bin():
    y_prob = np.repeat([0.1, 0.2, 0.9], [35, 5, 20])[:, None]
    curve = reliability_curve(np.zeros((60, 1)), y_prob, ["A"])
    assert curve["n_records"].sum() == 60
    assert curve["n_records"].min() >= 10
    for low, high in zip(curve["prob_high"], curve["prob_low"].iloc[1:], strict=False):
        assert low < high


def test_few_records_make_few_bins():
    y_prob = np.linspace(0, 1, 25)[:, None]
    assert reliability_curve(y_prob > 0.5, y_prob, ["A"])["n_records"].tolist() == [13, 12]
    assert len(reliability_curve(y_prob[:5] > 2, y_prob[:5], ["A"])) == 1


def test_probabilities_on_a_border_fall_below_it_as_in_scikit_learn():
    y_prob = np.repeat(np.linspace(0, 1, 11), 10)
    y_true = np.arange(110) % 3 == 0
    curve = reliability_curve(y_true[:, None], y_prob[:, None], ["A"], strategy="equal_width")
    share, mean = calibration_curve(y_true, y_prob, n_bins=10, strategy="uniform")
    np.testing.assert_allclose(curve["share_positive"], share)
    np.testing.assert_allclose(curve["mean_prob"], mean)
    assert curve.loc[0, ["prob_low", "prob_high", "n_records"]].tolist() == [0, 0.1, 20]  # 0 and 0.1


def test_a_bin_without_a_record_is_left_out_and_the_others_keep_their_numbers():
    y_prob = np.repeat([0.05, 0.95], [60, 40])[:, None]
    curve = reliability_curve(np.ones((100, 1)), y_prob, ["A"], strategy="equal_width")
    assert curve["bin"].tolist() == [0, 9] and curve["n_records"].tolist() == [60, 40]
    np.testing.assert_allclose(curve[["prob_low", "prob_high"]], [[0, 0.1], [0.9, 1]])


def test_columns_and_classes_in_order(drawn):
    curve = reliability_curve(*drawn, ["Z", "A"], n_bins=2)
    assert curve.columns.tolist() == [
        "class", "bin", "prob_low", "prob_high", "mean_prob", "share_positive", "share_low", "share_high",
        "n_records", "n_positive",
    ]  # fmt: skip
    assert curve["class"].tolist() == ["Z", "Z", "A", "A"] and curve["bin"].tolist() == [0, 1, 0, 1]


def test_an_interval_by_hand():
    # 2 of 10: z2 = 3.8415; middle (0.2 + z2/20) / (1 + z2/10) = 0.28326; half 0.22659
    curve = reliability_curve([[1]] * 2 + [[0]] * 8, [[0.2]] * 10, ["A"])
    assert curve.loc[0, ["share_low", "share_high"]].tolist() == pytest.approx([0.05668, 0.50984], abs=1e-5)


@pytest.mark.parametrize("truth", [0, 1])
def test_the_interval_of_none_and_of_all_keeps_a_width_and_ends_exactly(truth):
    row = reliability_curve(np.full((30, 1), truth), np.full((30, 1), 0.5), ["A"]).loc[0]
    expected = binomtest(30 * truth, 30).proportion_ci(method="wilson")
    assert (row.share_low, row.share_high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert (row.share_high if truth else row.share_low) == truth and row.share_high - row.share_low > 0.1


@pytest.mark.parametrize("decimals", [0, 1, 2, 6])
def test_whatever_the_ties_no_record_is_lost_and_no_bin_of_equal_mass_is_sparse(decimals):
    rng = np.random.default_rng(decimals)
    for n_records in range(1, 300, 7):
        y_prob = (rng.random((n_records, 1)) ** 3).round(decimals)
        y_true = rng.random((n_records, 1)) < y_prob
        curve = reliability_curve(y_true, y_prob, ["A"], n_bins=8)
        assert (curve["n_records"].sum(), curve["n_positive"].sum()) == (n_records, y_true.sum())
        assert len(curve) == 1 or curve["n_records"].min() >= 10
        assert len(curve) <= min(8, max(1, n_records // 10))
        assert (curve["prob_high"].to_numpy()[:-1] < curve["prob_low"].to_numpy()[1:]).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"n_bins": 0}, "n_bins must be at least 1, got 0"), ({"strategy": "mass"}, "strategy must be one of")],
)
def test_wrong_settings_of_a_curve_are_refused(drawn, changed, message):
    with pytest.raises(ConfigError, match=message):
        reliability_curve(*drawn, ["A", "B"], **changed)


def test_slope_and_intercept_are_those_of_statsmodels():
    y_true, y_prob = simulate(600, 13)
    found = measure_calibration(y_true, y_prob, ["MI"]).loc["MI"]
    logits = logit(y_prob[:, 0])
    slope = sm.GLM(y_true[:, 0], sm.add_constant(logits), family=sm.families.Binomial()).fit().params[1]
    intercept = sm.GLM(y_true[:, 0], np.ones(600), family=sm.families.Binomial(), offset=logits).fit().params[0]
    assert (found["slope"], found["intercept"]) == (pytest.approx(slope, abs=1e-5), pytest.approx(intercept, abs=1e-6))


@pytest.fixture(scope="module")
def clustered():
    """Labels, probabilities (too extreme and too high) and patients with up to five records of one probability."""
    y_true, y_prob = simulate(900, 21)
    patients = np.random.default_rng(22).integers(0, 300, 900)
    y_prob = expit(0.5 * logit(y_prob) + logit(y_prob[patients]))
    return y_true, y_prob, patients


def test_intervals_are_cluster_robust_as_statsmodels_are(clustered):
    y_true, y_prob, patients = clustered
    found = measure_calibration(y_true, y_prob, ["MI"], patient_id=patients, level=0.9).loc["MI"]
    logits, truth, ones = logit(y_prob[:, 0]), y_true[:, 0], np.ones((900, 1))
    n_rarest = min(len(set(patients[truth == label])) for label in (0, 1))
    width = stats.t.ppf(0.95, n_rarest - 1)
    for name, design, offset in (("slope", sm.add_constant(logits), None), ("intercept", ones, logits)):
        model = sm.GLM(truth, design, family=sm.families.Binomial(), offset=offset)
        fitted = model.fit(cov_type="cluster", cov_kwds={"groups": patients})
        error = fitted.bse[-1] * np.sqrt((900 - design.shape[1]) / 899)  # its further correction taken away
        limits = fitted.params[-1] + width * error * np.array([-1, 0, 1])
        assert found[[f"{name}_low", name, f"{name}_high"]].tolist() == pytest.approx(limits, abs=1e-5)
    # O:E is a ratio of two sums over patients: statsmodels' log-linear model of one column is a third way to its error
    model = sm.GLM(truth, ones, family=sm.families.Poisson(), offset=np.full(900, np.log(y_prob.mean())))
    assert found["oe"] == pytest.approx(np.exp(model.fit().params[0]))
    sums = pd.DataFrame({"o": truth, "e": y_prob[:, 0]}).groupby(patients).sum().sample(frac=1, random_state=0)
    left_out = [np.log(np.delete(sums["o"], i).sum() / np.delete(sums["e"], i).sum()) for i in range(len(sums))]
    jackknife = np.sqrt((len(sums) - 1) * np.var(left_out))
    assert np.log(found["oe_high"] / found["oe"]) == pytest.approx(width * jackknife, rel=0.02)


def test_the_curve_is_a_natural_spline_with_its_own_knots(clustered):
    y_true, y_prob, patients = clustered
    logits, truth = logit(y_prob[:, 0]), y_true[:, 0].astype(float)
    curve = SmoothCurve.fit(truth, logits, number_patients(patients))
    assert len(curve.knots) == 4
    knots = curve.knots * curve.spread + curve.center
    basis = patsy.dmatrix(
        "cr(x, knots=inner, lower_bound=low, upper_bound=high) - 1",
        {"x": logits, "inner": knots[1:-1], "low": knots[0], "high": knots[-1]},
    )
    theirs = sm.GLM(truth, np.asarray(basis), family=sm.families.Binomial()).fit()
    fitted = theirs.fittedvalues
    np.testing.assert_allclose(expit(curve.predict(logits)[0]), fitted, atol=1e-6)
    distance = np.abs(fitted - y_prob[:, 0])
    found = measure_calibration(y_true, y_prob, ["MI"], patient_id=patients).loc["MI"]
    expected = [distance.mean(), np.median(distance), np.quantile(distance, 0.9)]
    assert found[["ici", "e50", "e90"]].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_band_everywhere_is_wider_and_few_positives_make_a_line(clustered):
    y_true, y_prob, patients = clustered
    table = smooth_curves(y_true, y_prob, patients, ["MI"])
    assert (np.diff(table["prob"]) > 0).all() and len(table) <= 60
    inside = table["low"].between(table["low_everywhere"], table["share_positive"], inclusive="neither")
    assert inside.all() and (table["high"] < table["high_everywhere"]).all()
    rare = np.where(np.cumsum(y_true, axis=0) > 15, 0, y_true)
    none = smooth_curves(np.zeros_like(y_true), y_prob, patients, ["MI"])
    assert none.empty and [*none.columns] == [*table.columns] and none["low"].dtype.kind == "f"
    line = smooth_curves(rare, y_prob, patients, ["MI"])
    slopes = np.diff(logit(line["share_positive"])) / np.diff(logit(line["prob"]))
    assert np.ptp(slopes) < 1e-6


def test_the_ici_of_a_calibrated_class_is_what_chance_gives():
    generator = np.random.default_rng(3)
    measured = []
    for _ in range(30):
        y_prob = expit(generator.normal(-1, 1, (600, 1)))
        measured.append(measure_calibration(generator.random((600, 1)) < y_prob, y_prob, ["MI"]).loc["MI"])
    ici, by_chance = (np.mean([row[key] for row in measured]) for key in ("ici", "ici_by_chance"))
    assert by_chance == pytest.approx(ici, rel=0.2) and ici > 0.01


def test_the_brier_score_is_split_by_the_best_steps():
    # The best rising steps of 0, 1, 0, 1 are 0, 1/2, 1/2, 1.
    found = measure_calibration([[0], [1], [0], [1]], [[0.2], [0.4], [0.6], [0.8]], ["MI"]).loc["MI"]
    assert found[["brier", "miscalibration", "discrimination", "uncertainty"]].tolist() == pytest.approx(
        [0.2, 0.075, 0.125, 0.25]
    )


def test_the_debiased_error_of_a_hand_worked_case():
    # 10/40 * (0.4^2 - 0.5 * 0.5/9) + 30/40 * (0 - 0.7 * 0.3/29) = 0.027625
    y_prob = np.array([[0.1]] * 10 + [[0.7]] * 30)
    y_true = np.array([[1]] * 5 + [[0]] * 5 + [[1]] * 21 + [[0]] * 9)
    found = measure_calibration(y_true, y_prob, ["MI"]).loc["MI"]
    assert found["ece_debiased"] == pytest.approx(np.sqrt(0.0276245), abs=1e-6)
    # twice the records of the same patients are no more evidence
    twice = measure_calibration(np.repeat(y_true, 2, 0), np.repeat(y_prob, 2, 0), ["MI"], patient_id=np.arange(80) // 2)
    same = ["ece_debiased", "slope_low", "slope_high", "intercept_low", "oe_low", "oe_high", "ici", "ici_by_chance"]
    np.testing.assert_allclose(twice.loc["MI", same].astype(float), found[same].astype(float), rtol=1e-6)


def test_the_calibration_error_of_a_hand_worked_case():
    # Ten records at 0.2, of which four are positive, and thirty at 0.7, of which 21 are: 10/40 * 0.2 + 30/40 * 0.
    y_prob = np.array([[0.2]] * 10 + [[0.7]] * 30)
    y_true = np.array([[1]] * 4 + [[0]] * 6 + [[1]] * 21 + [[0]] * 9)
    found = measure_calibration(y_true, y_prob, ["MI"]).loc["MI"]
    assert (found["ece_mass"], found["ece_width"]) == (pytest.approx(0.05), pytest.approx(0.05))


def test_separated_or_undefined_classes_have_no_slope():
    y_prob = np.array([[0.9, 0.5]] * 20 + [[0.1, 0.5]] * 20)
    y_true = np.array([[1, 0]] * 20 + [[0, 0]] * 20)
    found = measure_calibration(y_true, y_prob, ["MI", "HYP"])
    assert np.isnan(found.loc["MI", "slope"]) and found.loc["MI", ["oe_low", "intercept_high"]].notna().all()
    assert found.loc["HYP", ["slope", "intercept", "oe", "ici"]].isna().all()
    assert np.isfinite(found.loc["HYP", "brier"])
    reasons = "the probabilities separate the class: no slope", "no positive record", ""
    assert tuple(found["undefined"]) == reasons and found["is_supported"].tolist() == [True, False, False]


def test_probabilities_of_0_and_1_alone_have_no_logits():
    decided = np.array([[1, 0]] * 20 + [[0, 0]] * 20)
    y_true = np.array([[1, 1]] * 15 + [[0, 0]] * 25)
    found = measure_calibration(y_true, decided, ["MI", "HYP"])
    assert found[["slope", "intercept", "ici"]].isna().all(axis=None)
    assert found.loc["MI", "oe"] == pytest.approx(15 / 20) and np.isnan(found.loc["HYP", "oe"])
    decisions = "all probabilities are 0 or 1: no slope, no intercept"
    assert found["undefined"].tolist()[:2] == [decisions, f"{decisions}; no positive record is expected: no O:E"]


def test_limits_need_two_patients_with_the_rarer_label():
    y_true, y_prob = simulate(200, 5)
    patients = np.where(y_true[:, 0] == 1, 7, np.arange(200) + 10)
    found = measure_calibration(y_true, y_prob, ["MI"], patient_id=patients).loc["MI"]
    assert found["undefined"] == "all positive records are of one patient: no limits"
    assert found[["slope", "intercept", "oe"]].notna().all() and not found["is_supported"]
    assert found[["slope_low", "intercept_high", "oe_low", "ici"]].isna().all()
    alone = measure_calibration(y_true, y_prob, ["MI"], patient_id=np.zeros(200)).loc["MI"]
    assert alone[["slope_low", "oe_high"]].isna().all() and alone["slope"] == found["slope"]


def test_a_class_is_named_where_its_curve_is_not_the_diagonal():
    y_true, y_prob = simulate(800, 30)
    fair = (np.random.default_rng(31).random((800, 1)) < y_prob).astype(int)
    rare = np.where(np.cumsum(y_true, axis=0) > 15, 0, y_true)
    measured = measure_calibration(np.hstack([y_true, fair, rare]), np.repeat(y_prob, 3, axis=1), ["MI", "CD", "HYP"])
    (text,) = find_miscalibrated(measured)
    assert text.startswith("MI slope 0.") and "O:E 0." in text and "ICI 0." in text
    assert measured.loc["CD", "p_calibrated"] > 0.05 > measured.loc["HYP", "p_calibrated"]  # too few to be named


def test_whether_the_curve_is_the_diagonal_is_tested_as_in_statsmodels():
    y_true, y_prob = simulate(500, 33)
    logits = logit(y_prob[:, 0])
    y_true[np.flatnonzero(y_true[:, 0])[18:]] = 0  # so few that the curve is a line
    found = measure_calibration(y_true, y_prob, ["MI"]).loc["MI", "p_calibrated"]
    fitted = sm.GLM(y_true[:, 0], sm.add_constant(logits), family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": np.arange(500)}
    )
    wald = fitted.wald_test((np.eye(2), [0, 1]), scalar=True, use_f=False).statistic * 499 / 498  # n - k, not n - 1
    assert found == pytest.approx(stats.f.sf(wald * 16 / (17 * 2), 2, 16), rel=1e-4)
