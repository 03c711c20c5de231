import functools
import logging

import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, CyclicLR, OneCycleLR, ReduceLROnPlateau, StepLR

from ecgcls.training.schedules import Schedule, describe_schedule


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)


def rates(scheduler, optimizer, n_steps):
    found = []
    for _ in range(n_steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("given", [{}, {"total_steps": None}, {"total_steps": 8}, {"epochs": 2, "steps_per_epoch": 4}])
def test_one_cycle_is_as_long_as_the_training(optimizer, given, caplog):
    schedule = Schedule(functools.partial(OneCycleLR, max_lr=1.0, **given))
    with caplog.at_level(logging.WARNING):
        found = rates(schedule.build(optimizer, n_steps=20), optimizer, 19)
    assert max(found) == pytest.approx(1.0, rel=0.01)
    assert found[-1] < 1e-5
    assert ("a cycle of 8 steps is lengthened to the 20 steps" in caplog.text) == (
        8 in given.values() or "epochs" in given
    )


def test_what_steps_with_every_batch_and_what_with_every_epoch(optimizer):
    by_batch = functools.partial(CyclicLR, base_lr=0.1, max_lr=1.0)
    cases = [
        (Schedule(by_batch), 1),
        (Schedule(functools.partial(OneCycleLR, max_lr=1.0)), 1),
        (Schedule(functools.partial(ConstantLR)), 7),
        (Schedule(functools.partial(ConstantLR), interval="step"), 1),
        (Schedule(by_batch, interval="epoch"), 7),
        (Schedule(functools.partial(_OwnByBatch, step_size=3)), 1),
    ]
    for schedule, frequency in cases:
        described = describe_schedule(schedule, schedule.build(optimizer, n_steps=21), n_batches=7)
        assert (described["interval"], described["frequency"]) == ("step", frequency)


def test_a_plateau_follows_a_metric_and_takes_no_step_of_its_own(optimizer):
    schedule = Schedule(functools.partial(ReduceLROnPlateau, mode="max"), monitor="val/pr_auc")
    assert (schedule.follows_metric, schedule.mode) == (True, "max")
    described = describe_schedule(schedule, schedule.build(optimizer, n_steps=21), n_batches=7)
    assert described["monitor"] == "val/pr_auc"
    assert described["frequency"] > 1e18


class _OwnByBatch(StepLR):
    interval = "step"
