import math

import numpy as np
import pytest
import torch

from ecgcls.errors import ConfigError
from ecgcls.training.augmentation import Augmenter
from ecgcls.training.signal_augmentations import (
    AmplitudeScaling,
    BaselineWander,
    Crop,
    GaussianNoise,
    TimeMasking,
    TimeWarp,
)

RAMP = torch.arange(1.0, 101.0).expand(500, 2, 100) + torch.tensor([[[0.0], [1000.0]]])
"""Each sample tells by its value where it was."""
TARGET = (torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) < 0.5).float()
ALL = {
    "crop": Crop,
    "time_warp": TimeWarp,
    "amplitude": AmplitudeScaling,
    "noise": GaussianNoise,
    "wander": lambda **given: BaselineWander(sampling_rate_hz=100, **given),
    "time_mask": lambda **given: TimeMasking(sampling_rate_hz=100, **given),
}


def change(augmentation, signal=RAMP, seed=0):
    generator = torch.Generator().manual_seed(seed)
    changed, target = augmentation(signal.clone(), TARGET, generator=generator)
    assert target is TARGET and changed.dtype == torch.float32 and changed.shape == signal.shape
    return changed


def test_mixed_precision_changes_nothing():
    augmenter = Augmenter({name: make() for name, make in ALL.items()}, seed=0)
    signal = augmenter.apply(RAMP.clone(), TARGET, epoch=0, batch=0)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augmenter.apply(RAMP.clone(), TARGET, epoch=0, batch=0)[0], signal)


@pytest.mark.parametrize("name", ALL)
def test_as_many_records_as_asked_for_are_changed_and_the_generator_alone_decides_which(name):
    augmentation = ALL[name](probability=0.3)
    changed = change(augmentation)
    is_changed = (changed != RAMP).flatten(1).any(dim=1)
    assert 0.2 < is_changed.float().mean() < 0.4  # five standard deviations
    assert torch.equal(changed, change(augmentation)) and not torch.equal(changed, change(augmentation, seed=1))
    assert torch.isfinite(changed).all()


@pytest.mark.parametrize(
    ("name", "nothing"),
    [("crop", {"min_share": 1.0}), ("time_warp", {"max_change": 0.0}), ("amplitude", {"max_factor": 1.0}),
     ("noise", {"max_sd": 0.0}), ("wander", {"max_sd": 0.0})],
)  # fmt: skip
def test_of_no_strength_they_change_nothing(name, nothing):
    assert torch.equal(change(ALL[name](probability=1.0, **nothing)), RAMP)


def test_a_crop_keeps_a_segment_moves_it_and_has_zeros_around_it():
    changed = change(Crop(min_share=0.75, probability=1.0))[:, 0].numpy()
    lengths, starts, places = [], [], []
    for record in changed:
        kept = np.flatnonzero(record)
        assert (np.diff(kept) == 1).all() and (np.diff(record[kept]) == 1).all()
        lengths.append(len(kept))
        starts.append(record[kept[0]] - 1)
        places.append(kept[0])
    assert {*lengths} == {*range(75, 101)}
    assert min(starts) == min(places) == 0 and max(starts) > 20 and max(places) > 20
    assert (np.array(starts) != places).any()


def test_a_warp_changes_the_speed_by_no_more_than_asked_and_keeps_both_ends():
    changed = change(TimeWarp(max_change=0.2, probability=1.0))[:, 0].double()
    assert changed[:, 0].sub(1).abs().max() < 1e-4 and changed[:, -1].sub(100).abs().max() < 1e-4
    speed = changed.diff(dim=1)  # samples of the record in one of what became of it
    assert 0.8 - 1e-3 < speed.min() < 0.82 and 1.18 < speed.max() < 1.2 + 1e-3
    assert (
        change(TimeWarp(probability=1.0))[:, 1].sub(1000).sub(change(TimeWarp(probability=1.0))[:, 0]).abs().max()
        < 1e-3
    )


def test_amplitudes_have_one_factor_for_all_leads_as_often_above_one_as_below():
    factor = change(AmplitudeScaling(max_factor=1.5, probability=1.0)) / RAMP
    of_record = factor[:, 0, 0]
    assert (factor - of_record[:, None, None]).abs().max() < 1e-5
    assert 1 / 1.5 - 1e-5 < of_record.min() < 0.68 and 1.48 < of_record.max() < 1.5 + 1e-5
    assert of_record.log().mean().abs() < 4 * math.log(1.5) / math.sqrt(3 * 500)


def test_noise_has_the_mean_and_the_spread_that_are_asked_for():
    signal = torch.zeros(500, 2, 100)
    noise = change(GaussianNoise(max_sd=0.4, probability=1.0), signal)
    assert noise.mean().abs() < 4 * 0.4 / math.sqrt(3 * noise.numel())
    assert noise.square().mean().sqrt().item() == pytest.approx(0.4 / math.sqrt(3), rel=0.08)  # sd: 0 to 0.4, uniform
    sd = noise.flatten(1).std(dim=1)
    assert sd.max() < 0.4 * 1.2 and sd.min() < 0.02
    assert noise[:, 0].flatten().dot(noise[:, 1].flatten()).abs() / noise[:, 0].square().sum() < 0.03


def test_wander_is_slow_and_bounded_and_each_lead_has_its_own():
    signal = torch.zeros(500, 2, 1000)
    wander = change(BaselineWander(sampling_rate_hz=100, max_sd=0.5, min_hz=0.1, max_hz=0.4, probability=1.0), signal)
    assert 0.3 < wander.abs().max() <= 0.5
    assert not torch.allclose(wander[:, 0].abs(), wander[:, 1].abs())
    windowed = wander * torch.hann_window(1000)
    power = torch.fft.rfft(windowed).abs().square().sum(dim=(0, 1))  # of 0, 0.1, 0.2, ... Hz
    assert power[8:].sum() / power.sum() < 1e-3


def test_a_mask_is_one_segment_of_all_leads():
    changed = change(TimeMasking(sampling_rate_hz=100, max_s=0.2, probability=1.0))
    is_masked = changed == 0
    assert torch.equal(is_masked[:, 0], is_masked[:, 1]) and torch.equal(changed[~is_masked], RAMP[~is_masked])
    n_masked = is_masked[:, 0].sum(dim=1)
    assert {*n_masked.tolist()} == {*range(1, 21)}
    assert (is_masked[:, 0].int().diff(dim=1).abs().sum(dim=1) <= 2).all()
    assert is_masked[:, 0, 0].any() and is_masked[:, 0, -1].any()
    assert (change(TimeMasking(sampling_rate_hz=100, max_s=9, probability=1.0)) == 0)[:, 0].sum(dim=1).max() == 50


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [("crop", {"min_share": 0}, r"augment\.crop\.min_share must be above 0 and at most 1, got 0"),
     ("time_warp", {"max_change": 1}, r"augment\.time_warp\.max_change must be at least 0 and below 1, got 1"),
     ("amplitude", {"max_factor": 0.9}, r"augment\.amplitude\.max_factor must be at least 1, got 0\.9"),
     ("noise", {"max_sd": -1}, r"augment\.noise\.max_sd must be at least 0, got -1"),
     ("wander", {"min_hz": 2}, r"augment\.wander\.min_hz must be above 0 and at most max_hz \(0\.5\), got 2"),
     ("time_mask", {"max_s": 0}, r"augment\.time_mask\.max_s must be above 0, got 0"),
     ("noise", {"probability": 0}, r"augment\.noise\.probability must be above 0 and at most 1, got 0"),
     ("crop", {"at_risk": "drop"}, r"augment\.crop\.at_risk must be leave_out, refuse or allow, got 'drop'")],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(name, given, match):
    with pytest.raises(ConfigError, match=match):
        ALL[name](**given)
