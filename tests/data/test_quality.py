import numpy as np
import pandas as pd
import pytest

from ecgcls.data.quality import KINDS, describe_windows, find_noise
from ecgcls.data.signals import LEADS, read_record

RATE_HZ = 100
TIME_S = np.arange(1000) / RATE_HZ


def in_all_leads(lead):
    return np.tile(lead, (1, 12, 1))


def find(windows_mv, rate_hz=RATE_HZ):
    return [[kind for kind, is_it in zip(KINDS, row, strict=True) if is_it] for row in
            find_noise(describe_windows(windows_mv, rate_hz))]  # fmt: skip


@pytest.fixture(scope="module")
def ecgs_mv(synthetic_root):
    names = pd.read_csv(synthetic_root / "ptbxl_database.csv")["filename_lr"]
    return np.stack([read_record(synthetic_root / name).signal_uv / 1000 for name in names])


def test_no_ecg_is_taken_for_noise(ecgs_mv):
    assert find(ecgs_mv) == [[]] * len(ecgs_mv)


@pytest.mark.parametrize("rate_hz", [50, 100, 500])
def test_noise_is_none(rate_hz):
    noise = 0.2 * np.random.default_rng(0).normal(size=(3, 12, 10 * rate_hz))
    assert all(found in (["noise"], ["no beats"]) for found in find(noise, rate_hz))


@pytest.mark.parametrize(("frequency_hz", "kind"), [(1, "no beats"), (10, "no beats"), (45, "noise")])
def test_a_sine_is_none(frequency_hz, kind):
    assert find(in_all_leads(np.sin(2 * np.pi * frequency_hz * TIME_S))) == [[kind]]


def test_the_features_are_what_they_say():
    """A pulse each second, and a sine of 2 mV at 10 Hz."""
    pulses = describe_windows(in_all_leads(np.where(np.arange(1000) % 100 < 4, 1.0, 0.0)), RATE_HZ)
    assert np.exp(pulses["rhythm"][0, 1]) == pytest.approx(1.0, abs=0.02)  # s between beats
    assert (pulses["shape"][0, 12:] > 0.8).all()  # they point up
    sine = describe_windows(in_all_leads(2 * np.sin(2 * np.pi * 10 * TIME_S)), RATE_HZ)
    assert np.exp(sine["amplitude"][0]) == pytest.approx(np.full(12, np.sqrt(2)), abs=0.01)
    shares = np.exp(sine["spectrum"]).reshape(12, 6)
    assert shares[:, 2] == pytest.approx(np.ones(12), abs=0.01)  # 8 to 15 Hz
    assert np.exp(sine["shape"][0, :12]) == pytest.approx(np.full(12, 1.5), abs=0.05)  # the kurtosis of a sine


def test_any_number_of_windows_of_any_length_is_described(ecgs_mv):
    assert len(describe_windows(np.empty((0, len(LEADS), 1000)), RATE_HZ)["rhythm"]) == 0
    short = describe_windows(ecgs_mv[:2, :, :50], RATE_HZ)
    assert all(np.isfinite(values).all() for values in short.values())
    whole, parts = describe_windows(ecgs_mv, RATE_HZ), [describe_windows(ecg[None], RATE_HZ) for ecg in ecgs_mv[:3]]
    for name, values in whole.items():
        np.testing.assert_allclose(values[:3], np.concatenate([part[name] for part in parts]), rtol=1e-3, atol=1e-3)
