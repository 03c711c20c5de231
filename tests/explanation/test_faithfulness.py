"""Deletion and insertion against curves worked by hand, and maps that ought to win or lose."""

import re

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.explanation.attribution import attribute
from ecgcls.explanation.faithfulness import Curve, delete_and_insert
from tests.explanation.nets import ask, draw_signal


class WeightedSum(nn.Module):
    """Two leads of four samples, one class."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 1.0, -0.5, -0.5], [0.25, 0.25, 1.5, 1.5]]))

    def forward(self, signal_mv):
        return (signal_mv * self.weight).sum(dim=(1, 2))[:, None]


def test_curves_by_hand():
    """Cells of two samples count 2, -1, 0.5 and 3; the baseline counts nothing."""
    net, signal_mv = WeightedSum().eval(), torch.ones(2, 2, 4)
    terms = net.weight.detach().expand(2, 2, 4).numpy()
    query, given = ask(net, signal_mv, [0, 0], baseline_mv=torch.zeros(2, 1)), {"cell_s": 0.02, "n_steps": 4}
    deletion, insertion = delete_and_insert(query, terms, is_signed=True, **given)
    assert deletion.share.tolist() == insertion.share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    deleted = scipy.special.expit([4.5, 1.5, -0.5, -1.0, 0.0])
    inserted = scipy.special.expit([0.0, 3.0, 5.0, 5.5, 4.5])
    assert deletion.probability == pytest.approx(np.stack([deleted] * 2))
    assert insertion.probability == pytest.approx(np.stack([inserted] * 2))
    gain = (deletion.random - deletion.probability)[0]
    assert deletion.advantage[0] == pytest.approx(0.25 * (gain[:-1] + gain[1:]).sum() / 2)
    assert insertion.advantage.min() > 0 and deletion.advantage.min() > 0
    # By magnitude -1 ranks before 0.5.
    by_size, _ = delete_and_insert(query, terms, is_signed=False, **given)
    assert by_size.probability[0] == pytest.approx(scipy.special.expit([4.5, 1.5, -0.5, 0.5, 0.0]))
    # With every order of the four cells, the random curve is the mean over subsets.
    many, _ = delete_and_insert(query, terms, is_signed=True, n_random=500, **given)
    one_left_out = scipy.special.expit(4.5 - np.array([2, -1, 0.5, 3])).mean()
    assert many.random[:, 1] == pytest.approx(one_left_out, abs=0.03)


class OneLead(nn.Module):
    """Sees the first second of lead 1; class 0 likes it high, class 1 low."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(6.0))

    def forward(self, signal_mv):
        seen = self.scale * signal_mv[:, 1, :100].mean(dim=1)
        return torch.stack([seen, -seen], dim=1)


def test_the_true_map_beats_chance_and_the_inverted_one_loses():
    query = ask(OneLead().eval(), draw_signal(6, 200) + 1.0, [0] * 6, baseline_mv=torch.zeros(3, 1))
    truth = attribute(query, "integrated_gradients").values
    for curve in delete_and_insert(query, truth, is_signed=True):
        assert curve.advantage.min() > 0.05
        assert curve.interval[0] > 0.05 and curve.passes and curve.list_warnings() == []
    for curve in delete_and_insert(query, -truth, is_signed=True):
        assert curve.interval[1] < -0.05 and not curve.passes
        (warning,) = curve.list_warnings()
        verb = {"deletion": "deleting", "insertion": "inserting"}[curve.name]
        assert re.match(rf"{verb} what it ranks first does not .* \(advantage -0\.\d+, 95% interval -0\.", warning)


def test_a_map_without_an_opinion_is_no_better_than_chance():
    """Ties are broken at random: in the order of the leads the net's own lead 0 would come first, a gain of 0.3."""

    class FirstLead(OneLead):
        def forward(self, signal_mv):
            return super().forward(signal_mv[:, [1, 0, 2]])

    query = ask(FirstLead().eval(), draw_signal(60, 200) + 1.0, [0] * 60, baseline_mv=torch.zeros(3, 1))
    for curve in delete_and_insert(query, np.ones((60, 3, 200)), is_signed=True):
        assert abs(curve.advantage.mean()) < 0.03


def test_curves_are_seeded_and_a_record_is_judged_without_the_others(cnn):
    query = ask(cnn, draw_signal(4, 200), [0, 1, 2, 3])
    values = attribute(query, "saliency").values
    given = {"is_signed": False, "n_random": 2}
    state = torch.get_rng_state()
    first, again = (delete_and_insert(query, values, seed=1, **given) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert [curve.to_dict() for curve in first] == [curve.to_dict() for curve in again]
    fewer = delete_and_insert(query.take(slice(2)), values[:2], seed=1, **given)
    assert fewer[0].random == pytest.approx(first[0].random[:2], abs=1e-6)
    other = delete_and_insert(query, values, seed=2, **given)
    assert np.abs(other[0].random - first[0].random).max() > 1e-6


def test_the_interval_is_that_of_a_bootstrap_over_records():
    signal_mv = draw_signal(12, 200) * 4
    query = ask(OneLead().eval(), signal_mv, [0] * 12, baseline_mv=torch.zeros(3, 1))
    for curve in delete_and_insert(query, np.abs(signal_mv.numpy()), is_signed=True):
        theirs = scipy.stats.bootstrap(
            (curve.advantage,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(0)
        ).confidence_interval
        width = theirs.high - theirs.low
        assert curve.interval == pytest.approx((theirs.low, theirs.high), abs=0.1 * width)


def test_a_curve_of_one_record_never_passes():
    flat = np.zeros((1, 3))
    curve = Curve("deletion", np.array([0, 0.5, 1]), flat, flat + 0.5, (0.5, 0.5))
    assert curve.advantage == pytest.approx([0.5])
    assert not curve.passes
    assert curve.list_warnings() == ["deletion was measured on one record, which says nothing about others"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"values": np.ones((4, 3, 100))}, r"values must have the signals' shape \(4, 3, 200\), got \(4, 3, 100\)"),
        ({"cell_s": 0.001}, "cell_s must be at least one sample, 0.01 s, got 0.001"),
    ],
)
def test_what_cannot_be_scored_is_refused(cnn, changes, match):
    query, given = ask(cnn, draw_signal(4, 200), [0, 1, 2, 3]), {"values": np.ones((4, 3, 200)), "is_signed": True}
    with pytest.raises(ConfigError, match=match):
        delete_and_insert(query, **(given | changes))
