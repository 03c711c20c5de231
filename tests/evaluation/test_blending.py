import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from ecgcls.evaluation.blending import Blend, blend_equally, fit_blend
from ecgcls.evaluation.exclusive import against_the_rest

AVERAGES = ["logits", "probabilities"]


def make_nets(*slopes, n_records=3000, seed=0):
    """Labels of one class, and calibrated logits of nets that know a signal each, as strongly as their slope says."""
    rng = np.random.default_rng(seed)
    y_true = (rng.random((n_records, 1)) < 0.3).astype(int)
    nets = []
    for slope in slopes:
        score = slope * y_true + rng.normal(size=y_true.shape)
        fitted = LogisticRegression(C=1e6).fit(score, y_true[:, 0])
        nets.append(score * fitted.coef_[0, 0] + fitted.intercept_[0])
    return y_true, nets


def test_the_mean_is_that_of_numpy():
    logits = np.random.default_rng(0).normal(size=(3, 5, 2))
    weights = (0.5, 0.3, 0.2)
    np.testing.assert_allclose(Blend(weights).apply(logits), np.average(logits, axis=0, weights=weights))
    of_prob = np.average(expit(logits), axis=0, weights=weights)
    np.testing.assert_allclose(expit(Blend(weights, "probabilities").apply(logits)), of_prob)
    np.testing.assert_allclose(blend_equally(3).apply(logits), logits.mean(axis=0))
    extreme = Blend((1.0, 0.0), "probabilities").apply([[[800.0]], [[-800.0]]])
    assert np.isfinite(extreme).all() and extreme[0, 0] == pytest.approx(800)


@pytest.mark.parametrize("average", AVERAGES)
def test_probabilities_of_classes_that_exclude_each_other_still_sum_to_one(average):
    scores = np.random.default_rng(0).normal(size=(2, 6, 3))
    mean = blend_equally(2, average, is_exclusive=True).apply([against_the_rest(each) for each in scores])
    np.testing.assert_allclose(expit(mean).sum(axis=1), 1)
    pooled = softmax(scores.mean(axis=0), axis=1) if average == "logits" else softmax(scores, axis=2).mean(axis=0)
    np.testing.assert_allclose(expit(mean), pooled)


@pytest.mark.parametrize("average", AVERAGES)
def test_a_random_net_gets_hardly_any_weight_and_alike_ones_the_same(average):
    y_true, nets = make_nets(2.0, 0.0)
    good, random = fit_blend(y_true, nets, average).weights
    assert good > 0.97 and random == pytest.approx(1 - good, abs=1e-6)
    y_true, nets = make_nets(1.5, 1.5, seed=1)
    np.testing.assert_allclose(fit_blend(y_true, nets, average).weights, 0.5, atol=0.1)
    assert fit_blend(y_true, nets[:1], average).weights == (1.0,)


@pytest.mark.parametrize("average", AVERAGES)
def test_weights_are_the_best_of_all_and_leave_unknown_labels_out(average):
    y_true, nets = make_nets(1.5, 0.8)
    found = fit_blend(y_true, nets, average).weights
    losses = {
        w: log_loss(y_true[:, 0], expit(Blend((w, 1 - w), average).apply(nets))[:, 0]) for w in np.linspace(0, 1, 101)
    }
    assert found[0] == pytest.approx(min(losses, key=losses.get), abs=0.011)
    half = y_true.copy()
    half[::2] = -1
    known = fit_blend(y_true[1::2], [net[1::2] for net in nets], average)
    np.testing.assert_allclose(fit_blend(half, nets, average).weights, known.weights, atol=1e-4)
    np.testing.assert_allclose(fit_blend(y_true, nets[::-1], average).weights[::-1], found, atol=1e-4)


def test_a_mean_of_certain_probabilities_is_finite():
    assert np.isfinite(blend_equally(2).apply(logit([[[1e-300]], [[1 - 1e-16]]]))).all()
