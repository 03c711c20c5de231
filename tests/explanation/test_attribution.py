"""What every attribution method has in common: where it may look, what it leaves alone, what it refuses."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.explanation.attribution import METHODS, attribute, choose_methods, get_method
from ecgcls.explanation.method import Maps, Method, MethodSettings
from ecgcls.explanation.scorecard import score_method
from tests.explanation.nets import MEAN_MV, SD_MV, Detector, Linear, ask, build, draw_signal, explain


@pytest.fixture
def linear():
    return Linear().eval()


class OneWindow(nn.Module):
    """Looks at lead 1, samples 40 to 59, and at nothing else; not linear."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, signal_mv):
        seen = signal_mv[:, 1, 40:60]
        return torch.stack([torch.tanh(self.scale * seen).sum(1), -seen.square().sum(1)], dim=1)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"grad_cam"}))
def test_only_what_the_net_looks_at_counts(method):
    values = np.abs(explain(OneWindow().eval(), draw_signal(2), [0, 1], method, stride_s=0.2).values)
    lead, other_leads = values[:, 1], values[:, [0, 2]]
    if method != "occlusion_time":
        assert other_leads.max() == pytest.approx(0, abs=1e-6)
    else:
        assert (values == values[:, :1]).all()
    if method != "occlusion_lead":
        assert np.delete(lead, range(40, 60), axis=1).max() == pytest.approx(0, abs=1e-6)
    assert (lead[:, 40:60] > 0).all()


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


def test_methods_that_have_a_sign_count_in_logits():
    assert list(METHODS) == [method.name for method in METHODS.values()]
    assert {method.unit for method in METHODS.values() if method.is_signed} == {"logit"}


def test_a_method_is_added_in_one_place(linear, monkeypatch):
    """One row with a function, and it can be requested, computed and scored."""

    def weigh(query, settings):
        return Maps(query.net.weight.detach()[query.class_index] * settings.noise_sd)

    monkeypatch.setitem(METHODS, "weights", Method("weights", "Weights", "logit/mV", is_signed=False, explain=weigh))
    assert choose_methods(["all"])[-1] == "weights"
    query = ask(linear, draw_signal(), [0, 1, 0])
    found = attribute(query, "weights", MethodSettings(noise_sd=2.0))
    assert found.values == pytest.approx(2 * linear.weight.detach()[[0, 1, 0]].numpy())
    card = score_method(query, "weights")
    assert card["randomization"]["layers"] == [""] and card["completeness"] is None
    with pytest.raises(ConfigError, match="there is no 'weight'; did you mean weights"):
        get_method("weight")


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
        (Linear, "gradcam", {}, "there is no 'gradcam'; did you mean grad_cam"),
        (Linear, "lime", {}, r"there is no 'lime' \(the methods are saliency, .*, occlusion_time\)"),
        (Linear, "saliency", {"class_index": [0, 2, 0]}, r"class_index must be in 0..1, got \[0, 2\]"),
        (Linear, "saliency", {"class_index": [0, -1, 0]}, r"class_index must be in 0..1, got \[-1, 0\]"),
        (
            Linear,
            "saliency",
            {"class_index": [0, 1]},
            r"one class per record, \(3,\), got \(2,\)",
        ),
        (Linear, "saliency", {"signal_mv": torch.zeros(3, 100)}, r"signal_mv must be \(record, lead, sample\), got"),
        (Linear, "saliency", {"baseline_mv": [0.0, 0.0]}, r"baseline_mv must be \(lead, 1\), \(3, 1\), got \(2,\)"),
        (Linear, "smoothgrad", {"sd_mv": SD_MV}, r"sd_mv must be \(lead, 1\), \(3, 1\), got \(3,\)"),
        (Linear, "smoothgrad", {"n_noisy": 0}, "n_noisy must be at least 1, got 0"),
        (Linear, "smoothgrad", {"noise_sd": -0.1}, "noise_sd must be at least 0.0, got -0.1"),
        (Linear, "integrated_gradients", {"max_steps": 0}, "max_steps must be at least 1, got 0"),
        (Linear, "occlusion", {"window_s": 1.5}, "window_s must be no longer than the record, 100 samples, got 150"),
        (Linear, "occlusion", {"window_s": 0.001}, "window_s must be at least one sample, 0.01 s, got 0.001"),
        (Linear, "occlusion_time", {"stride_s": 0.3}, "stride_s must be no longer than window_s, 20 samples"),
        (
            Linear,
            "grad_cam",
            {},
            "this net has none; choose another method, such as smoothgrad",
        ),
        (NoConvolution, "grad_cam", {"layer": "hidden"}, r"the layer hidden gives no map over time .*\(3, 1\)"),
        (Detector, "grad_cam", {"layer": "features.9"}, r"no layer 'features.9'; there are features.0, features.1"),
        (
            SomeImageNet,
            "grad_cam",
            {},
            r"smoothgrad, or give the net a method map_to_leads that takes",
        ),
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


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ([], "method is empty, expected all or one or more of saliency"),
        (["saliency", "integrated_gradient"], r"did you mean .*integrated_gradients.*\(the methods are saliency, "),
        (["all", "saliency"], "method: there is no 'all'"),
    ],
)
def test_a_wrong_choice_of_methods_lists_them(names, match):
    with pytest.raises(ConfigError, match=match):
        choose_methods(names)
