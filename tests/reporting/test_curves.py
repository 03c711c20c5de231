import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgcls.reporting.curves import thin, trace_all, trace_curves
from ecgcls.reporting.experiment import collect


@pytest.fixture
def records():
    """Labels and probabilities of 2000 records, 3% of them positive, with ties."""
    rng = np.random.default_rng(0)
    y_true = (rng.random(2000) < 0.03).astype(np.int8)
    return y_true, np.round(np.clip(0.3 * y_true + rng.normal(0.3, 0.15, 2000), 0, 1), 2)


def test_the_areas_under_the_curves_are_scikit_learns(records):
    found = trace_curves(*records, n_points=10_000)
    steps = -np.diff(found.recall) * found.precision[:-1]
    assert steps.sum() == pytest.approx(average_precision_score(*records), abs=1e-6)
    assert np.trapezoid(found.tpr, found.fpr) == pytest.approx(roc_auc_score(*records), abs=1e-6)


def test_operating_points_are_the_best_of_all_thresholds(records):
    y_true, y_prob = records
    precisions, sensitivities = [], []
    for threshold in np.unique(y_prob):
        predicted = y_prob >= threshold
        if y_true[predicted].sum() >= 0.8 * y_true.sum():
            precisions.append(y_true[predicted].mean())
        if (~predicted & (y_true == 0)).sum() >= 0.9 * (y_true == 0).sum():
            sensitivities.append(y_true[predicted].sum() / y_true.sum())
    found = trace_curves(y_true, y_prob, n_points=20)
    assert found.precision_at_sensitivity == pytest.approx(max(precisions))
    assert found.sensitivity_at_specificity == pytest.approx(max(sensitivities))
    assert found.mean_prob == pytest.approx(y_prob.mean())


@pytest.mark.parametrize(("n_positive", "n_off"), [(3, 0), (18, 1)])
def test_bins_off_the_diagonal_are_counted(n_positive, n_off):
    """Of 30 records with probability 0.1, 3 positive ones are as predicted; 18 are not."""
    y_true = np.array([1] * n_positive + [0] * (30 - n_positive) + [1] * 18 + [0] * 12, dtype=np.int8)
    found = trace_curves(y_true, np.repeat([0.1, 0.6], 30), n_points=20)
    assert (found.n_bins_off, len(found.bins)) == (n_off, 2)


def test_a_thin_curve_stays_close_and_keeps_its_extremes():
    x = np.linspace(0, 1, 5000) ** 8  # most points where nothing changes any more
    y = np.where(np.arange(5000) == 777, 0.95, 0.5 + 0.3 * np.sin(20 * x))
    thin_x, thin_y = thin(x, y, n_points=300)
    assert len(thin_x) <= 300
    assert (thin_x[0], thin_x[-1]) == (0, 1)
    assert {thin_y.min(), thin_y.max()} == {np.float32(y.min()), np.float32(0.95)}
    distance = (np.abs(x[:, None] - thin_x) + np.abs(y[:, None] - thin_y)).min(axis=1)
    length = (np.abs(np.diff(x)) + np.abs(np.diff(y))).sum()
    assert distance.max() < 1.1 * length / 290


def test_a_short_curve_is_kept_whole():
    x, y = thin(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]), n_points=4)
    assert (x.tolist(), y.tolist()) == ([0, 0.5, 1], [0, 1, 1])


def test_every_defined_class_of_every_model_is_traced(experiment):
    found = collect(experiment)
    assert list(trace_all(found.configurations, found.class_names)) == [
        (name, number) for name in found.class_names for number in (0, 1)
    ]
