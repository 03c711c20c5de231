"""Attributions against nets whose truth is known by hand, against torch.autograd, and against themselves."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.explanation import attribution
from ecgcls.explanation.attribution import METHODS, MIN_DIFFERENCE, Attribution, attribute, get_method
from ecgcls.models.cnn1d import CNN1D
from ecgcls.models.cnn2d import CNN2D
from ecgcls.training.standardizer import Standardizer

RATE_HZ = 100
MEAN_MV = torch.tensor([0.1, -0.2, 0.05])
SD_MV = torch.tensor([0.5, 0.25, 0.1])
ON_LINEAR = sorted(set(METHODS) - {"grad_cam"})


class Linear(nn.Module):
    """Three leads, 100 samples, two classes; each logit is a weighted sum of the voltages."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(1)))

    def forward(self, signal_mv):
        return torch.einsum("nls,cls->nc", signal_mv, self.weight) + torch.tensor([3.0, -1.0])


def explain(net, signal_mv, class_index, method, **settings) -> Attribution:
    leads = slice(0, signal_mv.shape[1])
    given = {"baseline_mv": MEAN_MV[leads, None], "sd_mv": SD_MV[leads, None], "sampling_rate_hz": RATE_HZ}
    return attribute(net, signal_mv, class_index, method=method, **(given | settings))


def draw_signal(n_records=3, n_samples=100, seed=0):
    return torch.randn(n_records, 3, n_samples, generator=torch.Generator().manual_seed(seed)) * 0.3


def build(kind, n_samples=100):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        nets = {
            "cnn1d": lambda: CNN1D(3, n_samples, 4),
            "resize": lambda: CNN2D(3, n_samples, 4),
            "spectrogram": lambda: CNN2D(3, n_samples, 4, image="spectrogram"),
        }
        net = nets[kind]()
        for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return nn.Sequential(Standardizer(MEAN_MV, SD_MV), net).eval()


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
        assert found.n_steps.tolist() == [attribution.MIN_STEPS] * 3
    else:
        assert found.relative_error is None and found.n_steps is None


def test_occlusion_of_a_linear_net_sums_the_terms_that_are_hidden(linear):
    signal_mv, classes = draw_signal(), [0, 1, 0]
    terms = (linear.weight.detach()[classes] * (signal_mv - MEAN_MV[:, None])).numpy()
    by_lead = np.broadcast_to(terms.sum(axis=2, keepdims=True), terms.shape)
    assert explain(linear, signal_mv, classes, "occlusion_lead").values == pytest.approx(by_lead, abs=1e-4)
    # Windows of 20 samples, one after the other.
    by_window = terms.reshape(3, 3, 5, 20).sum(axis=3).repeat(20, axis=2)
    settings = {"window_s": 0.2, "stride_s": 0.2}
    assert explain(linear, signal_mv, classes, "occlusion", **settings).values == pytest.approx(by_window, abs=1e-4)
    by_time = np.broadcast_to(by_window.sum(axis=1, keepdims=True), terms.shape)
    assert explain(linear, signal_mv, classes, "occlusion_time", **settings).values == pytest.approx(by_time, abs=1e-4)


def test_where_windows_overlap_a_sample_gets_their_mean(linear):
    signal_mv = draw_signal(1)
    terms = (linear.weight.detach()[0] * (signal_mv[0] - MEAN_MV[:, None])).numpy()
    found = explain(linear, signal_mv, [0], "occlusion", window_s=0.2, stride_s=0.1).values[0]
    first, second = terms[1, :20].sum(), terms[1, 10:30].sum()
    assert found[1, 5] == pytest.approx(first, abs=1e-4)
    assert found[1, 15] == pytest.approx((first + second) / 2, abs=1e-4)


class OneWindow(nn.Module):
    """Looks at lead 1, samples 40 to 59, and at nothing else; not linear."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, signal_mv):
        seen = signal_mv[:, 1, 40:60]
        return torch.stack([torch.tanh(self.scale * seen).sum(1), -seen.square().sum(1)], dim=1)


@pytest.mark.parametrize("method", ON_LINEAR)
def test_only_what_the_net_looks_at_counts(method):
    values = np.abs(explain(OneWindow().eval(), draw_signal(2), [0, 1], method, stride_s=0.2).values)
    lead, other_leads = values[:, 1], values[:, [0, 2]]
    if METHODS[method].resolves_leads:
        assert other_leads.max() == pytest.approx(0, abs=1e-6)
    else:
        assert (values == values[:, :1]).all()
    if method != "occlusion_lead":
        assert np.delete(lead, range(40, 60), axis=1).max() == pytest.approx(0, abs=1e-6)
    assert (lead[:, 40:60] > 0).all()


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
    found = explain(Steep().eval(), signal_mv, [0, 0], "integrated_gradients", baseline_mv=torch.zeros(3, 1))
    assert found.n_steps[0] > 64 and found.n_steps[1] == 32
    assert found.n_steps[0] in (128, 256, 512, 1024)
    kept = explain(
        Steep().eval(), signal_mv, [0, 0], "integrated_gradients", baseline_mv=torch.zeros(3, 1), max_steps=64
    )
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


@pytest.mark.parametrize("kind", ["cnn1d", "resize", "spectrogram"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_explains_every_net(kind, method):
    """Finite numbers of the right shape, the same alone and in a batch, no warning, and nothing else has changed."""
    net, signal_mv, classes = build(kind), draw_signal(3), np.array([0, 3, 1])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    signal_before, settings = signal_mv.clone(), {"n_noisy": 3, "max_steps": 32, "tolerance": 1e-9}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = explain(net, signal_mv, classes, method, **settings)
        alone = [explain(net, signal_mv[[k]], classes[[k]], method, **settings).values[0] for k in range(3)]
    assert found.values.shape == (3, 3, 100)
    assert found.values.dtype == np.float32
    assert np.isfinite(found.values).all() and found.values.any()
    largest = np.abs(found.values).max()
    assert np.abs(found.values - alone).max() < 2e-3 * largest
    assert torch.equal(signal_mv, signal_before) and not signal_mv.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert torch.is_grad_enabled()


def test_arrays_that_may_not_be_written_are_read(linear):
    signal_mv = draw_signal().numpy()
    signal_mv.flags.writeable = False
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        found = explain(linear, signal_mv, (0, 1, 0), "saliency", baseline_mv=MEAN_MV[:, None].tolist())
    assert found.values[0] == pytest.approx(linear.weight[0].detach().numpy())


class Detector(nn.Module):
    """One channel that responds to lead 0; the logit of class 0 is its mean, of class 1 minus that."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(3, 1, 1), nn.ReLU(), nn.AvgPool1d(4))
        with torch.no_grad():
            self.features[0].weight.copy_(torch.tensor([1.0, 0.0, 0.0])[None, :, None])
            self.features[0].bias.zero_()

    def forward(self, signal_mv):
        response = self.features(signal_mv).mean(dim=(1, 2))
        return torch.stack([response, -response], dim=1)


def test_grad_cam_by_hand():
    signal_mv = torch.zeros(2, 3, 100)
    signal_mv[:, 0, 48:52] = 1.0
    net = Detector().eval()
    found = explain(net, signal_mv, [0, 1], "grad_cam").values
    # The map is the channel times its mean gradient: 1/100 a sample for the mean, and none against class 1 (ReLU).
    assert found[0, :, 48:52] == pytest.approx(0.01)
    assert np.delete(found[0], range(48, 52), axis=1) == pytest.approx(0)
    assert found[1] == pytest.approx(0)
    pooled = explain(net, signal_mv, [0, 1], "grad_cam", layer="features.2").values
    assert pooled[0, :, 49:51] == pytest.approx(0.04 * 0.875, rel=1e-4)  # half a sample off the middle of four
    assert pooled[0, 0, 30] == pytest.approx(0) and pooled[0, 0, 46] == pytest.approx(0.04 * 0.125, rel=1e-4)


@pytest.mark.parametrize("kind", ["resize", "spectrogram"])
def test_grad_cam_of_an_image_tells_leads_and_times_apart(kind):
    """A net that sums one channel of what its image holds: the map is where the signal is."""
    net = build(kind, n_samples=400)
    net[1].features = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU())
    net[1].head = nn.Sequential(nn.Flatten(), nn.Linear(1, 4, bias=False))
    with torch.no_grad():
        net[1].features[0].weight.fill_(1)
        net[1].head[1].weight.fill_(1)
    signal_mv = MEAN_MV[None, :, None].repeat(1, 1, 400)
    shape = torch.hann_window(31, periodic=False) * torch.cos(torch.arange(-15, 16) * torch.pi / 4)
    signal_mv[0, 1, 285:316] += shape
    found = explain(net.eval(), signal_mv, [0], "grad_cam").values[0]
    assert found.max(axis=1).argmax() == 1
    assert abs(int(found[1].argmax()) - 300) <= 6
    assert found[1].max() > 3 * found[1, 100:200].max()


@pytest.mark.parametrize(
    ("kind", "expected"), [("cnn1d", "1.features.10"), ("resize", "1.features.10"), ("spectrogram", "1.features.10")]
)
def test_the_default_layer_is_the_activation_after_the_last_convolution(kind, expected):
    net, signal_mv = build(kind), draw_signal(2)
    assert isinstance(net.get_submodule(expected), nn.ReLU)
    by_default = explain(net, signal_mv, [0, 1], "grad_cam").values
    assert (by_default == explain(net, signal_mv, [0, 1], "grad_cam", layer=expected).values).all()
    assert np.abs(by_default - explain(net, signal_mv, [0, 1], "grad_cam", layer="1.features.2").values).max() > 0


def test_methods_say_what_they_are():
    assert list(METHODS) == [method.name for method in METHODS.values()]
    assert set(attribution._EXPLAIN) == set(METHODS)
    assert [name for name, method in METHODS.items() if not method.resolves_leads] == ["grad_cam", "occlusion_time"]
    assert {method.unit for method in METHODS.values() if method.is_signed} == {"logit"}


class NoConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(300, 2)

    def forward(self, signal_mv):
        return self.hidden(signal_mv.flatten(1))


class SomeImageNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, signal_mv):
        return self.conv(signal_mv[:, None]).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("make_net", "method", "changes", "match"),
    [
        (Linear, "gradcam", {}, "'gradcam': no such method; did you mean grad_cam"),
        (Linear, "lime", {}, "'lime': no such method; .*saliency"),
        (Linear, "saliency", {"class_index": [0, 2, 0]}, r"class_index must be in 0..1, got \[0, 2\]"),
        (Linear, "saliency", {"class_index": [0, -1, 0]}, r"class_index must be in 0..1, got \[-1, 0\]"),
        (Linear, "saliency", {"class_index": [0, 1]}, r"class_index must have one class a record, \(3,\), got \(2,\)"),
        (Linear, "saliency", {"signal_mv": torch.zeros(3, 100)}, r"signal_mv must be \(record, lead, sample\), got"),
        (Linear, "saliency", {"baseline_mv": [0.0, 0.0]}, r"baseline_mv must be \(lead, 1\), \(3, 1\), got \(2,\)"),
        (Linear, "smoothgrad", {"sd_mv": SD_MV}, r"sd_mv must be \(lead, 1\), \(3, 1\), got \(3,\)"),
        (Linear, "smoothgrad", {"n_noisy": 0}, "n_noisy must be at least 1, got 0"),
        (Linear, "smoothgrad", {"noise_sd": -0.1}, "noise_sd must be at least 0.0, got -0.1"),
        (Linear, "integrated_gradients", {"max_steps": 0}, "max_steps must be at least 1, got 0"),
        (Linear, "occlusion", {"window_s": 1.5}, "window_s must be no longer than the record, 100 samples, got 150"),
        (Linear, "occlusion", {"window_s": 0.001}, "window_s must be at least one sample, 0.01 s, got 0.001"),
        (Linear, "occlusion_time", {"stride_s": 0.3}, "stride_s must be no longer than window_s, 20 samples"),
        (Linear, "grad_cam", {}, "grad_cam needs a convolution and this net has none"),
        (NoConvolution, "grad_cam", {"layer": "hidden"}, r"the layer hidden gives no map over time .*\(3, 1\)"),
        (Detector, "grad_cam", {"layer": "features.9"}, r"no layer 'features.9'; there are features.0, features.1"),
        (SomeImageNet, "grad_cam", {}, r"give it a method map_to_leads that takes \(batch, height, width\)"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(make_net, method, changes, match):
    given = {"signal_mv": draw_signal(), "class_index": [0, 1, 0]} | changes
    with pytest.raises(ConfigError, match=match) as error:
        explain(make_net().eval(), given.pop("signal_mv"), given.pop("class_index"), method, **given)
    assert "\n" not in str(error.value)


def test_a_net_in_training_mode_is_refused():
    with pytest.raises(ConfigError, match=r"training mode.*call net.eval\(\)"):
        explain(build("cnn1d").train(), draw_signal(1), [0], "saliency")


def test_get_method_names_the_near_matches():
    assert get_method("smoothgrad").label == "SmoothGrad"
    with pytest.raises(ConfigError, match=r"did you mean .*integrated_gradients"):
        get_method("integrated_gradient")
