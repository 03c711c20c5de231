"""Gradient methods against nets whose truth is known by hand, against torch.autograd, and against themselves."""

import numpy as np
import pytest
import torch
from torch import nn

from ecgcls.explanation.attribution import MIN_DIFFERENCE, MIN_STEPS
from tests.explanation.nets import MEAN_MV, SD_MV, Linear, build, draw_signal, explain


@pytest.fixture
def linear():
    return Linear().eval()


def test_gradients_of_a_linear_net_are_its_weights(linear):
    signal_mv, classes = draw_signal(), [0, 1, 0]
    weight = linear.weight.detach()[classes].numpy()
    for method in ("saliency", "smoothgrad"):
        assert explain(linear, signal_mv, classes, method).values == pytest.approx(weight, abs=1e-5)


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients"])
def test_a_linear_net_gives_each_sample_its_own_term(linear, method):
    signal_mv, classes = draw_signal(), [0, 1, 0]
    terms = (linear.weight.detach()[classes] * (signal_mv - MEAN_MV[:, None])).numpy()
    found = explain(linear, signal_mv, classes, method)
    assert found.values == pytest.approx(terms, abs=1e-5)
    with torch.no_grad():
        assert found.logit == pytest.approx(linear(signal_mv)[range(3), classes].numpy())
        baseline = linear(MEAN_MV[None, :, None].expand(1, 3, 100))[0, classes]
        assert found.baseline_logit == pytest.approx(baseline.numpy())
    if method == "integrated_gradients":
        assert (found.relative_error < 1e-4).all()
        assert found.n_steps.tolist() == [MIN_STEPS] * 3
    else:
        assert found.relative_error is None and found.n_steps is None


def integrate(net, signal_mv, class_index, n_steps=200):
    """Integrated gradients by the midpoint rule, with torch.autograd alone: (lead, sample)."""
    baseline = MEAN_MV[:, None].expand_as(signal_mv)
    total = torch.zeros_like(signal_mv)
    for alphas in ((torch.arange(n_steps) + 0.5) / n_steps).split(50):
        path = (baseline + alphas[:, None, None] * (signal_mv - baseline)).requires_grad_()
        total += torch.autograd.grad(net(path)[:, class_index].sum(), path)[0].sum(dim=0)
    return (total / n_steps * (signal_mv - baseline)).numpy()


@pytest.mark.parametrize("kind", ["cnn1d", "resize"])
def test_gradient_methods_agree_with_autograd(kind):
    net, signal_mv, classes = build(kind), draw_signal(), [0, 3, 1]
    leaf = signal_mv.clone().requires_grad_()
    gradient = torch.autograd.grad(net(leaf)[range(3), classes].sum(), leaf)[0].numpy()
    assert explain(net, signal_mv, classes, "saliency").values == pytest.approx(gradient, rel=1e-3, abs=1e-5)
    product = gradient * (signal_mv - MEAN_MV[:, None]).numpy()
    assert explain(net, signal_mv, classes, "input_x_gradient").values == pytest.approx(product, rel=1e-3, abs=1e-5)
    exact = integrate(net, signal_mv[1], 3)
    found = explain(net, signal_mv[1:2], [3], "integrated_gradients", tolerance=1e-9, max_steps=128).values[0]
    assert np.abs(found - exact).sum() < 0.05 * np.abs(exact).sum()


@pytest.mark.parametrize("kind", ["cnn1d", "resize"])
def test_integrated_gradients_are_complete(kind):
    found = explain(build(kind), draw_signal(4), [0, 1, 2, 3], "integrated_gradients", tolerance=0.01)
    difference = found.logit - found.baseline_logit
    gap = np.abs(found.values.sum(axis=(1, 2), dtype=np.float64) - difference)
    assert found.relative_error == pytest.approx(gap / np.maximum(np.abs(difference), MIN_DIFFERENCE), abs=1e-4)
    assert (found.relative_error <= 0.01).all()


def test_steps_are_doubled_only_for_the_records_that_need_it():
    class Steep(nn.Module):
        """Lead 0 counts by a step of its mean, lead 1 linearly."""

        def forward(self, signal_mv):
            mean = signal_mv.mean(dim=2)
            return (torch.sigmoid(4000 * (mean[:, 0] - 0.3)) + mean[:, 1])[:, None]

    signal_mv = torch.zeros(2, 3, 100)
    signal_mv[0, 0] = 1.0  # the step lies on its way
    signal_mv[1, 1] = 1.0
    given = {"baseline_mv": torch.zeros(3, 1)}
    found = explain(Steep().eval(), signal_mv, [0, 0], "integrated_gradients", **given)
    assert found.n_steps[0] > 64 and found.n_steps[1] == 32
    assert found.n_steps[0] in (128, 256, 512, 1024)
    kept = explain(Steep().eval(), signal_mv, [0, 0], "integrated_gradients", **given, max_steps=64)
    assert kept.n_steps.tolist() == [64, 32]
    assert kept.relative_error[0] > 0.05  # kept with its error
    assert kept.values[1] == pytest.approx(found.values[1])


def test_smoothgrad_is_the_mean_gradient_over_noise_of_each_leads_size():
    class Square(nn.Module):
        """The gradient is 2 x, so that its mean over the noise shows the noise itself."""

        def forward(self, signal_mv):
            return signal_mv.square().sum(dim=(1, 2))[:, None]

    signal_mv = draw_signal(1, n_samples=2000)
    found = explain(Square().eval(), signal_mv, [0], "smoothgrad", noise_sd=0.2, n_noisy=25).values[0]
    noise_mv = found / 2 - signal_mv[0].numpy()  # the mean of 25 draws
    assert noise_mv.std(axis=1) == pytest.approx(0.2 * SD_MV.numpy() / 5, rel=0.1)
    assert noise_mv.mean(axis=1) == pytest.approx(0, abs=0.005)


def test_a_flat_lead_has_a_smoothgrad_too(linear):
    sd_mv = torch.tensor([[0.5], [0.0], [0.1]])
    found = explain(linear, draw_signal(1), [1], "smoothgrad", sd_mv=sd_mv).values
    assert found == pytest.approx(linear.weight.detach()[[1]].numpy(), abs=1e-5)


def test_smoothgrad_depends_on_its_seed_and_nothing_else():
    net, signal_mv = build("cnn1d"), draw_signal()

    def smooth(records, **settings):
        return explain(net, signal_mv[records], [2] * len(records), "smoothgrad", **settings).values

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = smooth([0, 1, 2], seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert smooth([0, 1, 2], seed=7) == pytest.approx(first, abs=1e-7)
    assert smooth([2], seed=7)[0] == pytest.approx(first[2], rel=1e-3, abs=1e-5)
    assert np.abs(smooth([0, 1, 2], seed=8) - first).max() > 1e-3
