"""Heads that are fitted as a whole, against scikit-learn's logistic regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.explanation.attribution import attribute
from ecgcls.explanation.method import make_query
from ecgcls.jobs.build import build_job
from ecgcls.models.minirocket import MiniRocket
from ecgcls.runs.directory import RunDirectory
from ecgcls.training.exclusive import against_the_rest
from ecgcls.training.heads import FeatureTable, fit_head
from ecgcls.training.losses import BCE, CrossEntropy, Squared, WeightedBCE
from tests.in_process import configure

N_RECORDS, N_FEATURES, PENALTY = 150, 8, 0.03


def make_table(seed=0):
    """Return features as a table and as an array, and scores that depend on them."""
    rng = np.random.default_rng(seed)
    standardized = rng.normal(size=(N_RECORDS, N_FEATURES)).astype(np.float16).astype(np.float64)
    scores = standardized @ rng.normal(size=(N_FEATURES, 3)) + rng.logistic(size=(N_RECORDS, 3))
    return FeatureTable(torch.from_numpy(standardized).half()), standardized, scores


def fit(table, loss, target, *, finish=lambda logits: logits):
    head = nn.Linear(N_FEATURES, target.shape[1])
    fit_head(head, table, lambda logits: loss(finish(logits), target), penalty=PENALTY)
    return head.weight.detach().numpy(), head.bias.detach().numpy()


def regress(features, labels, *, n_terms, weights=None):
    """Fit scikit-learn's regression; its C is the inverse of the penalty of a sum, not of a mean over `n_terms`."""
    regression = LogisticRegression(C=1 / (n_terms * PENALTY), tol=1e-8, max_iter=1000)
    return regression.fit(features, labels, sample_weight=weights)


def test_a_head_is_the_logistic_regression_of_each_class():
    table, features, scores = make_table()
    target = torch.from_numpy(scores > [0, 1, 2]).float()
    weight, bias = fit(table, BCE(torch.ones(3)), target)
    for number in range(3):
        expected = regress(features, target[:, number].numpy(), n_terms=3 * N_RECORDS)
        np.testing.assert_allclose(weight[number], expected.coef_[0], atol=2e-3)
        assert bias[number] == pytest.approx(expected.intercept_[0], abs=2e-3)


def test_weights_and_unknown_targets_count_as_in_the_loss():
    table, features, scores = make_table(1)
    target = torch.from_numpy(scores[:, :1] > 1).float()
    target[:40] = -1
    weight, bias = fit(table, WeightedBCE(torch.tensor([3.0])), target)
    labels = target[40:, 0].numpy()
    expected = regress(features[40:], labels, n_terms=N_RECORDS - 40, weights=np.where(labels == 1, 3.0, 1.0))
    np.testing.assert_allclose(weight[0], expected.coef_[0], atol=2e-3)
    assert bias[0] == pytest.approx(expected.intercept_[0], abs=2e-3)


def test_a_squared_loss_makes_a_ridge_classifier():
    table, features, scores = make_table(3)
    target = torch.from_numpy(scores > [0, 1, 2]).float()
    weight, bias = fit(table, Squared(torch.ones(3)), target)
    expected = Ridge(alpha=4 * 3 * N_RECORDS * PENALTY, tol=1e-8).fit(features, 4 * target.numpy() - 2)
    np.testing.assert_allclose(weight, expected.coef_, atol=2e-3)
    np.testing.assert_allclose(bias, expected.intercept_, atol=2e-3)


def test_exclusive_classes_are_a_multinomial_regression():
    table, features, scores = make_table(2)
    labels = scores.argmax(axis=1)
    target = torch.from_numpy(np.eye(3)[labels]).float()
    weight, _ = fit(table, CrossEntropy(torch.ones(3)), target, finish=against_the_rest)
    expected = regress(features, labels, n_terms=N_RECORDS)
    np.testing.assert_allclose(weight, expected.coef_, atol=2e-3)


def test_the_penalty_that_validates_best_is_kept(synthetic_root, tmp_path):
    small = ("model=minirocket", "model.n_features=336", "model.penalties=[0.01,1000,0.1]")
    job = build_job(configure(synthetic_root, *small), RunDirectory(tmp_path), model="minirocket")
    history = job.fitter.fit(job.data, tmp_path, resume=True)
    assert history["penalty"].tolist() == [1000, 0.1, 0.01][: len(history)]
    assert history["train/loss"].is_monotonic_decreasing
    stored = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert stored["epoch"] == history["val/pr_auc"].idxmax()
    predicted = job.fitter.predict(job.data, tmp_path)["val"]
    y_val = torch.from_numpy(job.data.cohort.y_true[job.data.cohort.find_part("val")]).float()
    loss = job.fitter.classifier.loss(torch.from_numpy(predicted.y_logit).float(), y_val)
    assert loss == pytest.approx(history["val/loss"][stored["epoch"]], abs=2e-3)
    history.to_csv(tmp_path / "history.csv")
    assert job.fitter.is_trained(tmp_path)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("augment=lead_dropout", "augment: not with model=minirocket"),
        ("callbacks=early_stopping", "callbacks.early_stopping: not with model=minirocket"),
        ("data.window_s=2.5", "data.window_s: not with model=minirocket"),
    ],
)
def test_what_needs_epochs_is_refused(override, expected, synthetic_root, tmp_path):
    config = configure(synthetic_root, "model=minirocket", "model.n_features=84", override)
    with pytest.raises(ConfigError, match=expected):
        build_job(config, RunDirectory(tmp_path), model="minirocket")


def test_what_needs_a_gradient_is_refused_and_occlusion_explains():
    net = MiniRocket(2, 60, 3, n_features=168).eval().requires_grad_(False)
    signal = torch.randn(2, 2, 60)
    net.fit_features(signal, torch.Generator())
    query = make_query(net, signal, [0, 2], baseline_mv=torch.zeros(2, 1), sd_mv=torch.ones(2, 1), sampling_rate_hz=100)
    with pytest.raises(ConfigError, match=r"method=grad_cam needs a gradient.*choose occlusion"):
        attribute(query, "grad_cam")
    by_lead = attribute(query, "occlusion_lead").values
    without = signal.clone()
    without[:, 1] = 0
    drop = (net(signal) - net(without))[[0, 1], [0, 2]]
    np.testing.assert_allclose(by_lead[:, 1, 0], drop.numpy(), atol=1e-5)
