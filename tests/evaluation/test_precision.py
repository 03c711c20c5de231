import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from ecgcls.errors import ConfigError
from ecgcls.evaluation.precision import (
    expect_average_precision,
    expect_precision,
    oe_error,
    roc_auc_error,
    slope_error,
)
from ecgcls.evaluation.settings import Anticipated


def test_the_published_example_of_a_sample_size():
    """Riley et al. 2021: at a prevalence of 0.018 it takes 4,252 patients for a C-statistic of 0.8 with an interval of
    0.1, 905 for O:E with one from 0.62 to 1.62, and 4,544 for a slope with one of 0.2, the logits being N(-5, 2.5)."""
    z = stats.norm.ppf(0.975)
    assert 2 * z * roc_auc_error(0.8, 0.018 * 4252, 0.982 * 4252) == pytest.approx(0.1, abs=1e-4)
    assert np.exp(z * oe_error(0.018 * 905, 0.982 * 905)) == pytest.approx(1.62, abs=0.005)
    logits = np.linspace(-25, 15, 4001)
    assert slope_error(logits, stats.norm.pdf(logits, -5, 2.5), 4544) == pytest.approx(0.051, abs=2e-4)


def test_simulated_scores_vary_as_much_as_expected():
    generator = np.random.default_rng(0)
    n_positive, n_negative, roc_auc = 60, 540, 0.85
    y_true = np.repeat([1, 0], [n_positive, n_negative])
    scores = generator.normal(size=(300, len(y_true))) + np.sqrt(2) * stats.norm.ppf(roc_auc) * y_true
    areas = [roc_auc_score(y_true, each) for each in scores]
    precisions = [average_precision_score(y_true, each) for each in scores]
    value, error = expect_average_precision(roc_auc, n_positive, n_negative)
    assert np.mean(precisions) == pytest.approx(value, abs=0.02)
    assert np.std(precisions) == pytest.approx(error, rel=0.15)
    assert np.std(areas) == pytest.approx(roc_auc_error(roc_auc, n_positive, n_negative), rel=0.2)


def test_patients_are_counted_and_what_is_not_annotated_is_not():
    y_true = np.array([[1, 1], [1, 0], [0, -1], [0, 0], [0, -1]])
    found = expect_precision(y_true, ["a", "a", "b", "c", "c"], ["MI", "HYP"], Anticipated(sensitivity=0.5))
    counts = found[["n_positive", "n_positive_patients", "n_negative_patients"]]
    assert counts.loc["MI"].tolist() == [2, 1, 2]
    assert counts.loc["HYP"].tolist() == [1, 1, 1]
    low, high = proportion_confint(0.5, 1, method="wilson")
    assert found.loc["MI", "sensitivity"] == pytest.approx(high - low)


def test_a_class_that_nobody_has_expects_nothing():
    found = expect_precision([[0], [0]], [1, 2], ["MI"]).loc["MI"]
    assert found["n_positive_patients"] == 0
    assert found[["roc_auc", "pr_auc", "sensitivity", "slope", "oe"]].isna().all()


@pytest.mark.parametrize("wrong", [{"roc_auc": 0.5}, {"sensitivity": 1.0}, {"level": 0.0}])
def test_what_cannot_be_anticipated_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"anticipated.{name} must be between"):
        Anticipated(**wrong)
