"""Which weights move, and how far, by the optimizer's own arithmetic."""

import functools
import logging

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from ecgcls.errors import ConfigError
from ecgcls.models.cnn1d import CNN1D
from ecgcls.training.finetuning import FineTuner, FineTuning
from ecgcls.training.schedules import Schedule


def step(net, tuner, epoch, optimizer):
    """Train a net on one batch of an epoch; return which of its tensors, buffers included, have changed."""
    before = {key: each.clone() for key, each in net.state_dict().items()}
    net.train()
    tuner.set_epoch(epoch)
    optimizer.zero_grad()
    net(torch.randn(6, 12, 64, generator=torch.Generator().manual_seed(epoch))).square().sum().backward()
    optimizer.step()
    return {key for key, each in net.state_dict().items() if not torch.equal(each, before[key])}


def test_what_is_frozen_keeps_every_bit_and_what_is_thawed_learns():
    torch.manual_seed(0)
    net = CNN1D(12, 64, 2, width=4)
    tuner = FineTuner(net, FineTuning("backbone", unfreeze_every=2))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, weight_decay=0.5)  # decay moves whatever is not frozen
    head, hidden = {"head.3.weight", "head.3.bias"}, {"head.0.weight", "head.0.bias"}
    norm = [f"features.9.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
    third = {"features.8.weight", "features.8.bias", *norm}
    for epoch, expected in enumerate([head, head, head | hidden, head | hidden, head | hidden | third]):
        changed = step(net, tuner, epoch, optimizer)
        assert changed <= expected
        assert changed >= expected - {"features.8.bias"}  # batch normalization takes a bias away again
    assert step(net, tuner, 8, optimizer) >= {"features.0.weight", "features.1.running_mean"}


def test_frozen_layers_are_in_evaluation_mode_with_their_dropout(caplog):
    net = CNN1D(12, 64, 2).train()
    with caplog.at_level(logging.INFO):
        FineTuner(net, FineTuning("backbone")).set_epoch(7)
    assert not any(module.training for module in [*net.features, *net.head[:3]])
    assert net.head[3].training
    assert caplog.messages == ["Epoch 8 trains 1 of 5 layers: head.3"]
    whole = CNN1D(12, 64, 2).train()
    whole.features.requires_grad_(False)  # by its author, as random features are
    FineTuner(whole, FineTuning()).set_epoch(0)
    assert all(module.training for module in whole.features)
    assert not any(parameter.requires_grad for parameter in whole.features.parameters())


def test_a_layer_learns_at_a_part_of_the_rate_of_the_next_one():
    net = CNN1D(12, 64, 2, width=4)
    make = functools.partial(torch.optim.SGD, lr=0.1)
    tuner = FineTuner(net, FineTuning(lr_decay=0.5))
    optimizer = make(tuner.group_parameters(make))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05, 0.025, 0.0125, 0.00625]
    assert {*optimizer.param_groups[0]["params"]} == {*net.head[3].parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len([*net.parameters()])
    cycle = Schedule(functools.partial(OneCycleLR, max_lr=2.0))  # which sets rates of its own
    scheduler, highest = cycle.build(optimizer, n_steps=10), [0.0] * 5
    for _ in range(9):
        optimizer.step()
        scheduler.step()
        highest = [max(pair) for pair in zip(highest, scheduler.get_last_lr(), strict=True)]
    assert highest == pytest.approx([2, 1, 0.5, 0.25, 0.125], rel=0.02)
    assert FineTuner(net, FineTuning()).group_parameters(make) is None


def test_an_optimizer_without_a_rate_has_none_to_be_scaled():
    class Own(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {})

    with pytest.raises(ConfigError, match=r"init\.lr_decay: this optimizer has no learning rate"):
        FineTuner(nn.Linear(2, 2), FineTuning(lr_decay=0.5)).group_parameters(Own)
