import numpy as np
import pytest
import torch

from ecgcls.errors import ConfigError
from ecgcls.training.augmentation import Augmenter, LeadDropout

SIGNAL = torch.randn(4000, 12, 3, generator=torch.Generator().manual_seed(0))
TARGET = torch.ones(4000, 2)


def drop(probability=0.5, *, seed=0, name="lead_dropout", **place):
    place = {"epoch": 0, "batch": 0} | place
    return Augmenter({name: LeadDropout(probability)}, seed=seed).apply(SIGNAL, TARGET, **place)[0]


def test_every_number_of_leads_is_lost_as_often_and_no_record_loses_all():
    signal, target = LeadDropout(0.5)(SIGNAL, TARGET, generator=torch.Generator().manual_seed(1))
    is_lost = (signal == 0).all(dim=2)
    assert torch.equal(signal[~is_lost], SIGNAL[~is_lost]) and torch.equal(target, TARGET)
    counts = np.bincount(is_lost.sum(dim=1), minlength=13)
    assert counts[0] == pytest.approx(2000, abs=130) and counts[12] == 0  # four standard deviations
    assert counts[1:12] == pytest.approx(np.full(11, 2000 / 11), abs=55)
    assert is_lost.float().mean(dim=0).numpy() == pytest.approx(np.full(12, 0.25), abs=0.03)  # half of 6 of 12
    all_changed = LeadDropout(1.0)(SIGNAL, TARGET, generator=torch.Generator())[0]
    assert (all_changed == 0).all(dim=2).any(dim=1).all()


def test_a_net_of_one_lead_loses_none():
    signal = LeadDropout(1.0)(SIGNAL[:, :1], TARGET, generator=torch.Generator())[0]
    assert torch.equal(signal, SIGNAL[:, :1])


def test_the_same_place_of_a_run_has_the_same_changes_and_any_other_has_others():
    first = drop(epoch=1, batch=2)
    assert torch.equal(first, drop(epoch=1, batch=2))
    for other in ({"epoch": 2, "batch": 2}, {"epoch": 1, "batch": 3}, {"epoch": 2, "batch": 1}, {"process": 1}):
        assert not torch.equal(first, drop(**{"epoch": 1, "batch": 2} | other))
    assert not torch.equal(first, drop(epoch=1, batch=2, seed=1))


def test_another_augmentation_changes_nothing_in_what_one_draws():
    class Tell:
        def __call__(self, signal, target, *, generator):
            self.drawn = torch.rand(3, generator=generator)
            return signal, target

    alone, beside = Tell(), Tell()
    Augmenter({"tell": alone}, seed=0).apply(SIGNAL, TARGET, epoch=0, batch=0)
    both = Augmenter({"lead_dropout": LeadDropout(), "tell": beside}, seed=0)
    both.apply(SIGNAL, TARGET, epoch=0, batch=0)
    assert torch.equal(alone.drawn, beside.drawn)
    assert both.drops_leads and not Augmenter({"tell": alone}, seed=0).drops_leads


@pytest.mark.parametrize("probability", [0, 1.1, -0.5])
def test_a_probability_out_of_range_is_refused(probability):
    with pytest.raises(ConfigError, match="probability must be above 0 and at most 1"):
        LeadDropout(probability)
