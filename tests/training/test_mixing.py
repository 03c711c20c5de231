import pytest
import torch

from ecgcls.errors import ConfigError
from ecgcls.training.mixing import Mixup

N = 400
SIGNAL = torch.eye(N)[:, None]
"""Each record is told by the one sample in which it is 1: a mixed record shows what it was mixed of."""


def mix(target, *, alpha=1.0, seed=0, **given):
    return Mixup(alpha=alpha, **given)(SIGNAL, target, generator=torch.Generator().manual_seed(seed))


def test_targets_are_mixed_as_the_signals_are():
    target = torch.rand(N, 3, generator=torch.Generator().manual_seed(1))
    signal, mixed = mix(target)
    shares = signal[:, 0]  # (record, of which record)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(N))
    assert ((shares > 0).sum(dim=1) <= 2).all() and (shares.diagonal() > 0).all()
    torch.testing.assert_close(mixed, shares @ target)
    assert torch.equal(mix(target)[1], mixed) and not torch.equal(mix(target, seed=1)[1], mixed)


def test_shares_are_of_the_beta_distribution():
    for alpha in (0.2, 1.0, 5.0):
        own = mix(torch.zeros(N, 1), alpha=alpha)[0][:, 0].diagonal()
        assert own.mean().item() == pytest.approx(0.5, abs=0.1)
        assert own.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.25)  # of Beta(alpha, alpha)


@pytest.mark.parametrize("unknown", [-1.0, float("nan")])
def test_a_target_that_is_not_known_of_either_record_is_unknown(unknown):
    target = torch.ones(N, 2)
    target[::2, 1] = unknown
    signal, mixed = mix(target)
    assert torch.equal(mixed[:, 0], torch.ones(N))
    has_unknown = (signal[:, 0, ::2] > 0).any(dim=1)
    assert 0.6 < has_unknown.float().mean() < 0.9
    assert (mixed[has_unknown, 1] == -1).all() and (mixed[~has_unknown, 1] == 1).all()


def test_as_many_records_as_asked_for_are_mixed_and_the_others_stay():
    target = torch.full((N, 1), -1.0)
    target[::2] = 1.0
    signal, mixed = mix(target, probability=0.4)
    is_mixed = (signal != SIGNAL).flatten(1).any(dim=1)
    assert 0.3 < is_mixed.float().mean() < 0.5
    assert torch.equal(mixed[~is_mixed], target[~is_mixed])


@pytest.mark.parametrize(
    ("given", "match"), [({"alpha": 0}, "alpha must be above 0"), ({"probability": 2}, "at most 1")]
)
def test_what_is_out_of_range_is_refused(given, match):
    with pytest.raises(ConfigError, match=match):
        Mixup(**given)
