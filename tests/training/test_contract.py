import pytest
import torch
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.training.contract import check_bfloat16, check_net


class Net(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change, self.norm, self.head = change, nn.BatchNorm1d(3), nn.Linear(30, 2)

    def forward(self, signal):
        return self.change(self.head(self.norm(signal).flatten(1)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda logits: (logits, logits), r"Net must return logits of shape \(2, 2\) .*, got a tuple"),
        (lambda logits: logits[:, :1], r"got shape \(2, 1\), torch\.float32"),
        (lambda logits: logits > 0, r"got shape \(2, 2\), torch\.bool"),
        (lambda logits: logits @ torch.ones(3), r"Net fails on a batch of shape \(2, 3, 10\): .*size"),
    ],
)
def test_what_a_net_returns_instead_of_logits_is_told(change, match):
    with pytest.raises(ConfigError, match=match) as refused:
        check_net(Net(change), n_leads=3, n_samples=10, n_classes=2)
    assert "\n" not in str(refused.value)


def test_asking_changes_neither_the_net_nor_the_generator():
    net = Net(nn.Dropout(0.5))
    before, state = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    check_net(net, n_leads=3, n_samples=10, n_classes=2)
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(("factor", "n_told"), [(1, 0), (0, 1), (torch.nan, 1)])
def test_a_net_that_computes_something_else_in_bfloat16_is_told(caplog, factor, n_told):
    torch.manual_seed(0)
    net = Net(lambda logits: logits * (factor if torch.is_autocast_enabled("cpu") else 1))
    check_bfloat16(net, n_leads=3, n_samples=10)
    assert len(caplog.messages) == n_told
    assert all(
        "in bfloat16 on this CPU Net has logits of noise that are off by up to" in each for each in caplog.messages
    )
    assert net.training
