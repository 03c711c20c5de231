import pytest
import torch

from ecgcls.explanation.grad_cam import grad_cam
from ecgcls.explanation.method import MethodSettings, make_query
from ecgcls.models import s4d
from ecgcls.models.s4d import S4D, ConvolveByProduct, StateSpace, convolve_by_fft


def run_step_by_step(systems, signal):
    """The discretized systems, sample by sample in double precision: ``(channel, sample, batch)`` in and out."""
    poles = torch.complex(-systems.log_decay.detach().double().exp(), systems.frequency.detach().double())
    steps = poles * systems.log_dt.detach().double().exp()[:, None]
    state_gain, input_gain = steps.exp(), (steps.exp() - 1) / poles  # (channel, pair)
    outputs = torch.view_as_complex(systems.output.detach().double())  # (channel, direction, pair)
    total = systems.skip.detach().double()[:, None, None] * signal
    for direction, turned in enumerate((signal, signal.flip(1))):
        state = torch.zeros(*state_gain.shape, signal.shape[2], dtype=torch.complex128)
        responses = []
        for sample in turned.unbind(1):
            state = state_gain[..., None] * state + input_gain[..., None] * sample[:, None]
            responses.append(2 * (outputs[:, direction, :, None] * state).sum(dim=1).real)
        response = torch.stack(responses, dim=1)
        total = total + (response if direction == 0 else response.flip(1))
    return total


@pytest.mark.parametrize("n_samples", [1, 2, 61, 250])
def test_the_convolution_is_the_recurrence_forwards_plus_backwards(n_samples):
    torch.manual_seed(0)
    systems = StateSpace(7, state=6)
    signal = torch.randn(7, n_samples, 3, dtype=torch.float64)
    expected = run_step_by_step(systems, signal)
    kernel = systems.make_kernel(n_samples)
    torch.testing.assert_close(systems(signal.float()).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(convolve_by_fft(kernel, signal.float()).double(), expected, rtol=1e-5, atol=1e-5)


def test_both_ways_to_convolve_have_the_same_gradients():
    torch.manual_seed(0)
    kernel = torch.randn(3, 2 * 9 - 1, dtype=torch.float64, requires_grad=True)
    signal = torch.randn(3, 9, 2, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(signal)
    found = torch.autograd.grad(ConvolveByProduct.apply(kernel, signal), (kernel, signal), upstream)
    expected = torch.autograd.grad(convolve_by_fft(kernel, signal), (kernel, signal), upstream)
    torch.testing.assert_close(found, expected)


def test_a_signal_that_comes_later_is_answered_later():
    torch.manual_seed(0)
    systems = StateSpace(4, state=8)
    signal = torch.zeros(4, 120, 1)
    signal[:, 30:40] = torch.randn(4, 10, 1)
    later = systems(signal.roll(25, dims=1))
    torch.testing.assert_close(later[:, 25:], systems(signal)[:, :-25], rtol=1e-4, atol=1e-5)


def test_frequencies_decays_and_steps_start_as_published():
    systems = StateSpace(2000, state=8)
    assert systems.frequency[17].tolist() == pytest.approx([0, torch.pi, 2 * torch.pi, 3 * torch.pi])
    assert systems.log_decay.exp().unique().tolist() == pytest.approx([0.5])
    dt = systems.log_dt.exp()
    assert 1e-3 <= dt.min() < 1.1e-3 and 0.09 < dt.max() <= 0.1
    assert dt.median().item() == pytest.approx(1e-2, rel=0.2)  # log-uniform


def test_longer_signals_take_the_fft_and_give_the_same(monkeypatch):
    torch.manual_seed(0)
    net = S4D(3, 100, 2, width=16, depth=2).eval()
    signal = torch.randn(2, 3, 100)
    product = net(signal)
    monkeypatch.setattr(s4d, "_LONGEST_PRODUCT", 99)
    monkeypatch.setattr(ConvolveByProduct, "apply", None)
    torch.testing.assert_close(net(signal), product, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("longest", [512, 10])
def test_in_bfloat16_it_learns_what_it_learns_in_float32(monkeypatch, longest):
    monkeypatch.setattr(s4d, "_LONGEST_PRODUCT", longest)
    torch.manual_seed(0)
    net = S4D(3, 30, 2, width=16, depth=2, dropout=0.0)
    signal = torch.randn(4, 3, 30)
    gradients = []
    for enabled in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = net(signal)
        logits.float().square().sum().backward()
        gradients.append(torch.cat([each.grad.flatten() for each in net.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_dropout_leaves_out_whole_channels_of_a_record():
    torch.manual_seed(0)
    layer = S4D(3, 50, 2, width=64, depth=1, dropout=0.5).layers[0]
    dropped = layer._drop(torch.ones(50, 4, 64), (1, 4, 64))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert (dropped == dropped[:1]).all()
    assert 0.3 < (dropped == 0).float().mean() < 0.7
    layer.eval()
    assert (layer._drop(torch.ones(50, 4, 64), (1, 4, 64)) == 1).all()


def test_grad_cam_is_what_each_sample_adds_to_the_logit():
    torch.manual_seed(0)
    net = S4D(3, 40, 2, width=8, depth=1).eval()
    signal = torch.randn(2, 3, 40)
    baseline = {"baseline_mv": torch.zeros(3, 1), "sd_mv": torch.ones(3, 1), "sampling_rate_hz": 100}
    found = grad_cam(make_query(net, signal, [0, 1], **baseline), MethodSettings()).values
    hidden = net.layers(net.encoder(signal.permute(2, 0, 1)))  # (sample, batch, channel)
    added = (hidden * net.head.weight[[0, 1]]).sum(dim=-1).T / 40  # the mean over time: each has a 40th
    torch.testing.assert_close(found, added.relu()[:, None].expand(-1, 3, -1))


def test_a_checkpoint_holds_real_numbers():
    assert not any(value.is_complex() for value in S4D(12, 250, 5, width=8).state_dict().values())


@pytest.mark.parametrize(("settings", "count"), [({}, 2_167_813), ({"width": 128, "depth": 2, "state": 4}, 72_453)])
def test_s4d_has_the_documented_number_of_parameters(settings, count):
    net = S4D(12, 250, 5, **settings)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"state": 7}, "even and at least 2, got 7"), ({"width": 0}, "at least 1, got 0 and 4")],
)
def test_impossible_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        S4D(12, 250, 5, **settings)


@pytest.mark.parametrize("n_samples", [1, 7, 61, 600])
def test_prepared_for_export_it_answers_the_same(n_samples):
    torch.manual_seed(0)
    net = S4D(3, n_samples, 2, width=4, depth=2).eval()
    signal = torch.randn(2, 3, n_samples)
    expected, names = net(signal), [*net.state_dict()]
    net.prepare_export()
    torch.testing.assert_close(net(signal), expected, rtol=1e-5, atol=1e-6)
    assert [*net.state_dict()] == names
