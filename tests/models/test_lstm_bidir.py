import pytest
import torch

from ecgcls.models.lstm_bidir import LSTMBidir


def test_it_has_the_published_number_of_parameters():
    assert sum(parameter.numel() for parameter in LSTMBidir(12, 1000, 5).parameters()) == 2_330_629


def run_cell(lstm, suffix, inputs):
    """One direction of one layer by its equations: ``(sample, feature)`` in, ``(sample, unit)`` out."""
    w_in, w_state, b_in, b_state = (
        getattr(lstm, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    state = cell = torch.zeros(lstm.hidden_size)
    outputs = []
    for sample in inputs:
        i, f, g, o = (w_in @ sample + b_in + w_state @ state + b_state).chunk(4)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        state = o.sigmoid() * cell.tanh()
        outputs.append(state)
    return torch.stack(outputs)


def test_the_head_sees_average_maximum_and_the_last_of_either_direction():
    torch.manual_seed(0)
    net = LSTMBidir(3, 20, 2, width=4, depth=1).eval()
    signal = torch.randn(1, 3, 20)
    forwards = run_cell(net.lstm, "l0", signal[0].T)
    backwards = run_cell(net.lstm, "l0_reverse", signal[0].T.flip(0)).flip(0)
    both = torch.cat([forwards, backwards], dim=1)
    last = torch.cat([forwards[-1], backwards[0]])  # where each direction has seen the whole signal
    expected = net.head(torch.cat([both.mean(dim=0), both.amax(dim=0), last])[None])
    torch.testing.assert_close(net(signal), expected)


def test_in_bfloat16_it_learns_what_it_learns_in_float32():
    torch.manual_seed(0)
    net = LSTMBidir(3, 12, 2, width=8, dropout=0.0)
    signal = torch.randn(8, 3, 12)
    gradients = []
    for enabled in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = net(signal)
        logits.float().square().sum().backward()
        gradients.append(torch.cat([each.grad.flatten() for each in net.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0 and 2"):
        LSTMBidir(12, 250, 5, width=0)
