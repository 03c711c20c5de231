import math

import pytest
import torch

from ecgcls.training.losses import BCE, WeightedBCE


def test_weighted_bce_by_hand():
    logits, target = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[1.0, 0.0]])
    # the positive of the first class weighs 4: 4 ln 2; the negative of the second: -ln(1 - 3/4) = ln 4
    expected = (4 * math.log(2) + math.log(4)) / 2
    assert WeightedBCE(torch.tensor([4.0, 9.0]))(logits, target).item() == pytest.approx(expected, rel=1e-6)


def test_weighted_bce_caps_the_weights():
    loss = WeightedBCE(torch.tensor([0.5, 300.0]), max_pos_weight=20.0)
    assert loss.pos_weight.tolist() == [0.5, 20.0]


def test_bce_weighs_nothing():
    logits, target = torch.randn(8, 3), torch.randint(0, 2, (8, 3)).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(BCE(torch.tensor([4.0, 9.0, 0.1]))(logits, target), expected)
