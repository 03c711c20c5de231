"""MiniRocket against loops over samples, and against what its biases are: quantiles."""

import itertools
import math

import numpy as np
import pytest
import torch

from ecgcls.models.minirocket import MiniRocket, make_kernels, spread_dilations

N_LEADS, N_SAMPLES = 4, 50
GOLDEN_RATIO = (1 + math.sqrt(5)) / 2


def make_net(n_records=3, **settings):
    torch.manual_seed(0)
    net = MiniRocket(N_LEADS, N_SAMPLES, 2, **{"n_features": 84 * 12} | settings).eval()
    signal = torch.randn(n_records, N_LEADS, N_SAMPLES)
    net.fit_features(signal, torch.Generator().manual_seed(1))
    return net, signal


def list_features(net):
    """Yield number of the dilation, kernel and bias of each feature, in order."""
    for number, n_biases in enumerate(net.signal.n_biases):
        yield from itertools.product([number], range(84), range(n_biases))


def convolve_slowly(net, record, number, kernel):
    """Return the convolution at the samples that count."""
    dilation, weights = net.signal.dilations[number], [2.0 if place in PLACES[kernel] else -1.0 for place in range(9)]
    leads = np.flatnonzero(net.signal.leads[number, kernel].numpy())
    values = []
    for middle in range(N_SAMPLES):
        places = [middle + (tap - 4) * dilation for tap in range(9)]
        is_inside = places[0] >= 0 and places[-1] < N_SAMPLES
        if not is_inside and (kernel + number) % 2 == 1:
            continue
        taps = [(weight, place) for weight, place in zip(weights, places, strict=True) if 0 <= place < N_SAMPLES]
        values.append(sum(weight * float(record[lead, place]) for lead in leads for weight, place in taps))
    return np.array(values)


PLACES = list(itertools.combinations(range(9), 3))


def test_the_kernels_are_the_84_ways_to_place_three_weights_and_add_up_to_0():
    kernels = make_kernels()
    assert kernels.shape == (84, 9) and len({tuple(kernel) for kernel in kernels.tolist()}) == 84
    assert ((kernels == 2).sum(dim=1) == 3).all() and ((kernels == -1).sum(dim=1) == 6).all()
    assert (kernels.sum(dim=1) == 0).all()


def test_dilations_reach_from_1_to_the_length_of_the_signal():
    dilations, n_biases = spread_dilations(1000, 119)
    assert dilations[:8] == [1, 2, 3, 4, 5, 6, 7, 8] and dilations[-1] == 124  # floor((1000 - 1) / 8)
    assert sum(n_biases) == 119 and n_biases[0] == max(n_biases)
    assert MiniRocket(12, 1000, 5).head.in_features == 9_996
    assert spread_dilations(9, 3) == ([1], [3])


def test_features_are_the_proportions_that_loops_count():
    net, signal = make_net()
    found = net.compute_features(signal)
    features = list(list_features(net))
    assert found.shape == (3, len(features)) == (3, 84 * 12)
    for column in range(0, len(features), 37):
        number, kernel, _ = features[column]
        for record in range(3):
            values = convolve_slowly(net, signal[record], number, kernel)
            assert found[record, column] == pytest.approx((values > float(net.signal.bias[column])).mean(), abs=1e-6)


def test_biases_are_quantiles_of_a_training_record():
    net, signal = make_net(n_records=1)
    found = net.compute_features(signal)[0]
    for column, (number, kernel, _) in enumerate(list_features(net)):
        n_counted = N_SAMPLES if (kernel + number) % 2 == 0 else N_SAMPLES - 8 * net.signal.dilations[number]
        above = 1 - (column + 1) * GOLDEN_RATIO % 1
        assert abs(found[column] - above) <= 1 / n_counted + 1e-6


def test_biases_come_from_all_records_and_follow_the_generator():
    net, signal = make_net(n_records=6)
    again, _ = make_net(n_records=6)
    assert torch.equal(net.signal.bias, again.signal.bias)
    again.fit_features(signal, torch.Generator().manual_seed(2))
    assert not torch.equal(net.signal.bias, again.signal.bias)
    proportions = net.compute_features(signal).mean(dim=0)
    above = 1 - torch.arange(1, len(net.signal.bias) + 1) * GOLDEN_RATIO % 1
    assert torch.corrcoef(torch.stack([proportions, above]))[0, 1] > 0.9


def test_a_pair_sees_its_leads_alone():
    net, signal = make_net()
    n_leads = net.signal.leads.sum(dim=-1)
    assert n_leads.min() == 1 and n_leads.max() == N_LEADS
    without = signal.clone()
    without[:, 2] = 0
    is_same = (net.compute_features(signal) == net.compute_features(without)).all(dim=0)
    sees = torch.tensor([bool(net.signal.leads[number, kernel, 2]) for number, kernel, _ in list_features(net)])
    assert is_same[~sees].all() and not is_same[sees].all()
    assert MiniRocket(12, 100, 1).signal.leads.sum(dim=-1).max() <= 9


def test_some_features_are_of_the_differences():
    torch.manual_seed(0)
    net = MiniRocket(N_LEADS, N_SAMPLES, 2, n_features=84 * 6, differences=1 / 3)
    signal = torch.randn(2, N_LEADS, N_SAMPLES).cumsum(dim=-1)
    net.fit_features(signal, torch.Generator().manual_seed(1))
    found = net.compute_features(signal)
    assert found.shape == (2, net.head.in_features) == (2, 84 * 6)
    torch.testing.assert_close(found[:, : 84 * 4], net.signal(signal))
    torch.testing.assert_close(found[:, 84 * 4 :], net.differences(signal[..., 1:] - signal[..., :-1]))
    assert len(net.differences.bias.unique()) > 84


def test_logits_are_those_of_standardized_features_in_any_precision():
    net, signal = make_net()
    features = net.compute_features(signal)
    net.mean.copy_(features.mean(dim=0))
    net.sd.fill_(0.02)
    standardized = ((features - features.mean(dim=0)) / 0.02).clip(-3, 3)
    assert (standardized.abs() == 3).any()
    expected = standardized @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(signal), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(signal), expected)


@pytest.mark.parametrize(
    ("shape", "settings", "expected"),
    [
        ((12, 8, 5), {}, "span 9 samples at least, got 8"),
        ((12, 100, 5), {"n_features": 83}, "at least 84"),
        ((12, 100, 5), {"differences": 1.0}, "differences"),
        ((12, 100, 5), {"n_bias_records": 0}, "n_bias_records"),
        ((12, 100, 5), {"penalties": [1.0, 0.0]}, "penalties"),
        ((12, 100, 5), {"penalties": []}, "penalties"),
    ],
)
def test_what_it_cannot_be_built_with_is_refused(shape, settings, expected):
    with pytest.raises(ValueError, match=expected):
        MiniRocket(*shape, **settings)
