import math

import pytest
import torch
from torch.nn import functional

from ecgcls.errors import ConfigError
from ecgcls.training.exclusive import against_the_rest
from ecgcls.training.losses import BCE, CrossEntropy, Squared, WeightedBCE, make_exclusive


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
    expected = functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(BCE(torch.tensor([4.0, 9.0, 0.1]))(logits, target), expected)


def test_the_squared_loss_by_hand_and_beside_bce():
    logits, target = torch.tensor([[3.0, 0.5, -2.0]]), torch.tensor([[1.0, 0.0, float("nan")]])
    assert Squared(torch.ones(3))(logits, target).item() == pytest.approx((1 + 2.5**2) / (8 * 2))
    logits, target = torch.tensor([[0.1, -0.2]]), torch.tensor([[1.0, 0.0]])
    expected = BCE(torch.ones(2))(logits, target) + 0.5 - math.log(2)  # to the second order around 0
    torch.testing.assert_close(Squared(torch.ones(2))(logits, target), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("unknown", [-1.0, float("nan")])
def test_a_target_that_nobody_has_annotated_takes_no_part(unknown):
    logits = torch.tensor([[0.0, 5.0], [math.log(3), -2.0]], requires_grad=True)
    target = torch.tensor([[1.0, unknown], [0.0, unknown]])
    loss = WeightedBCE(torch.tensor([4.0, 9.0]))(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx((4 * math.log(2) + math.log(4)) / 2, rel=1e-6)  # of the first class alone
    assert logits.grad[:, 1].tolist() == [0.0, 0.0]
    assert WeightedBCE(torch.ones(2))(logits, torch.full((2, 2), unknown)).item() == 0.0


def test_exclusive_classes_have_the_cross_entropy_of_the_scores():
    torch.manual_seed(0)
    scores, classes, weight = torch.randn(6, 3) * 5, torch.tensor([0, 2, 1, 1, 0, 2]), torch.tensor([1.0, 2.0, 0.5])
    logits, target = against_the_rest(scores), functional.one_hot(classes, 3).float()
    expected = functional.cross_entropy(scores, classes, weight=weight)
    torch.testing.assert_close(CrossEntropy(weight)(logits, target), expected)
    target[3] = -1  # nobody knows this record's class
    known = [0, 1, 2, 4, 5]
    expected = functional.cross_entropy(scores[known], classes[known], weight=weight)
    torch.testing.assert_close(CrossEntropy(weight)(logits, target), expected)


def test_the_weighted_loss_of_exclusive_classes_weighs_all_classes_the_same():
    n_records = torch.tensor([60.0, 30.0, 10.0])  # negatives over positives: 40/60, 70/30, 90/10
    pos_weight = (100 - n_records) / n_records
    weight = make_exclusive(WeightedBCE(pos_weight)).class_weight
    assert (weight * n_records).tolist() == pytest.approx([(weight * n_records)[0].item()] * 3)
    assert make_exclusive(BCE(pos_weight)).class_weight.tolist() == [1.0, 1.0, 1.0]
    assert make_exclusive(torch.nn.BCEWithLogitsLoss()) is None


def test_smoothing_moves_the_targets_of_an_unweighted_loss_and_leaves_out_what_is_unknown():
    torch.manual_seed(0)
    logits, target = torch.randn(6, 3) * 3, torch.randint(0, 2, (6, 3)).float()
    target[0, 0], target[2] = -1, 0.3  # the latter of mixed records
    known = target >= 0
    loss = BCE(torch.tensor([4.0, 9.0, 1.0]), label_smoothing=0.2)
    expected = functional.binary_cross_entropy_with_logits(logits[known], 0.8 * target[known] + 0.1)
    torch.testing.assert_close(loss(logits, target), expected)
    unsmoothed = functional.binary_cross_entropy_with_logits(logits[known], target[known])
    torch.testing.assert_close(loss.eval()(logits, target), unsmoothed)  # as a validation set is


def test_smoothing_of_a_weighted_loss_by_hand():
    logits, target = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[1.0, 0.0]])
    of_labels = (4 * math.log(2) + math.log(4)) / 2
    of_halves = (math.log(2) + (math.log(4 / 3) + math.log(4)) / 2) / 2
    loss = WeightedBCE(torch.tensor([4.0, 9.0]), label_smoothing=0.1)(logits, target)
    assert loss.item() == pytest.approx(0.9 * of_labels + 0.1 * of_halves, rel=1e-6)


def test_exclusive_classes_are_smoothed_and_mixed_as_pytorch_does_it():
    torch.manual_seed(0)
    scores, classes, pos_weight = torch.randn(6, 3) * 5, torch.tensor([0, 2, 1, 1, 0, 2]), torch.tensor([0.5, 2.0, 5.0])
    loss = make_exclusive(WeightedBCE(pos_weight, label_smoothing=0.2))
    target = functional.one_hot(classes, 3).float()
    target[3] = -1
    known = [0, 1, 2, 4, 5]
    expected = functional.cross_entropy(scores[known], classes[known], weight=loss.class_weight, label_smoothing=0.2)
    torch.testing.assert_close(loss(against_the_rest(scores), target), expected)
    mixed = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.1, 0.9]])
    expected = functional.cross_entropy(scores[:2], mixed)  # by shares; unweighted, as many as records
    torch.testing.assert_close(CrossEntropy(torch.ones(3))(against_the_rest(scores[:2]), mixed), expected)


@pytest.mark.parametrize("label_smoothing", [-0.1, 1])
@pytest.mark.parametrize("loss", [BCE, WeightedBCE, CrossEntropy])
def test_a_smoothing_out_of_range_is_refused(loss, label_smoothing):
    with pytest.raises(ConfigError, match=r"loss\.label_smoothing must be at least 0 and below 1"):
        loss(torch.ones(2), label_smoothing=label_smoothing)
