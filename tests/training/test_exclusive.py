import numpy as np
import torch
from scipy.special import logsumexp, softmax
from torch import nn

from ecgcls.training.exclusive import against_the_rest, make_exclusive


def test_the_sigmoid_of_the_log_odds_is_the_softmax_of_the_scores():
    torch.manual_seed(0)
    scores = torch.randn(7, 4) * 3
    expected = softmax(scores.double().numpy(), axis=1)
    np.testing.assert_allclose(against_the_rest(scores).sigmoid().numpy(), expected, atol=1e-6)


def test_log_odds_of_a_sure_net_are_exact():
    scores = torch.tensor([[90.0, 0.0, -5.0], [60.0, 0.0, -5.0]])
    found = against_the_rest(scores).numpy()
    others = logsumexp([0.0, -5.0])
    np.testing.assert_allclose(found[:, 0], [90 - others, 60 - others], rtol=1e-6)  # their softmax is 1 in float64
    np.testing.assert_allclose(found[:, 1], [-90, -60], rtol=1e-6)


def test_the_weights_of_an_exclusive_net_keep_their_names():
    net = nn.Linear(3, 2)
    names, signal = list(net.state_dict()), torch.randn(5, 3)
    scores = net(signal)
    assert make_exclusive(net) is net
    assert list(net.state_dict()) == names
    torch.testing.assert_close(net(signal)[:, 0], scores[:, 0] - scores[:, 1])
