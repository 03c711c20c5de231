import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

from ecgcls.errors import ConfigError
from ecgcls.evaluation.calibration import reliability_curve


@pytest.fixture
def drawn():
    """Labels drawn with the very probabilities that are told."""
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
    share, mean = calibration_curve(y_true[:, 0], y_prob[:, 0], n_bins=10, strategy="quantile")
    of_class = curve[curve["class"] == "A"]
    assert of_class["n_records"].tolist() == [200] * 10
    np.testing.assert_allclose(of_class["share_positive"], share, atol=0.01)
    np.testing.assert_allclose(of_class["mean_prob"], mean, atol=0.001)


def test_intervals_are_wilsons(drawn):
    for row in reliability_curve(*drawn, ["A", "B"]).itertuples():
        interval = binomtest(row.n_positive, row.n_records).proportion_ci(method="wilson")
        assert (row.share_low, row.share_high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_equal_probabilities_are_never_parted():
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


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"n_bins": 0}, "n_bins must be at least 1, got 0"), ({"strategy": "mass"}, "strategy must be one of")],
)
def test_what_is_no_curve_is_told(drawn, changed, message):
    with pytest.raises(ConfigError, match=message):
        reliability_curve(*drawn, ["A", "B"], **changed)
