import numpy as np
import pytest
import wfdb

from ecgcls.data.content import check_content
from ecgcls.data.content_screen import find_suspects
from ecgcls.data.signals import LEADS


@pytest.fixture(scope="module")
def signals_uv(synthetic_root) -> np.ndarray:
    """``(record, lead, sample)`` of simulated ECGs."""
    paths = sorted(synthetic_root.rglob("*.hea"))
    return np.stack([wfdb.rdrecord(str(path.with_suffix("")), physical=False).d_signal.T for path in paths])


def screen(signals_uv: np.ndarray, rate_hz: float = 100) -> np.ndarray:
    signals_uv = np.round(signals_uv).astype(np.int16)
    wide = signals_uv.astype(np.int64)
    return find_suspects(signals_uv, wide.sum(axis=2), (wide**2).sum(axis=2), sampling_rate_hz=rate_hz)


def cap(signal: np.ndarray) -> np.ndarray:
    return signal.clip(*np.quantile(signal, [0, 0.97], axis=1)[:, :, None])


def calibrate(signal: np.ndarray) -> np.ndarray:
    signal = 0 * signal[:, :1] + signal
    signal[:, 200:500] = 3 * (np.arange(300) % 7 - 3) + 1000 * ((np.arange(300) >= 100) & (np.arange(300) < 130))
    return signal


def replace_part(leads: list[int], part: slice, value: float):
    def change(signal: np.ndarray) -> np.ndarray:
        signal = signal.copy()
        signal[leads, part] = value
        return signal

    return change


FAULTS = {
    "volts": lambda signal: signal / 1000,
    "gain": lambda signal: 10 * signal,
    "standardized": lambda signal: 1000 * (signal - signal.mean(axis=1)[:, None]) / signal.std(axis=1)[:, None],
    "standardized together": lambda signal: 1000 * (signal - signal.mean()) / signal.std(),
    "one range": lambda signal: 1000 * signal / np.ptp(signal, axis=1)[:, None],
    "unit range": lambda signal: 1000 * (signal - signal.min()) / np.ptp(signal),
    "swapped": lambda signal: signal[[0, 1, 2, 4, 3, *range(5, 12)]],
    "a copy": lambda signal: signal[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 11]],
    "a flat lead": replace_part([8], slice(None), 12),
    "zeros in a lead": replace_part([11], slice(730, 830), 0),
    "zeros in all leads": replace_part([*range(12)], slice(900, 1000), 0),
    "saturated": cap,
    "a calibration pulse": calibrate,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_may_be_doubtful_is_found(signals_uv, fault):
    faulty = np.stack([FAULTS[fault](signal.astype(float)) for signal in signals_uv]).clip(-32767, 32767)
    assert screen(faulty).all()


def test_sound_records_are_spared(signals_uv):
    assert screen(signals_uv).mean() < 0.2


@pytest.mark.parametrize("rate_hz", [100, 500])
def test_what_is_noted_was_suspected(signals_uv, rate_hz):
    """Whatever the bounds of `check_content` are: signals near them, of any rate."""
    rng = np.random.default_rng(0)
    signals = np.repeat(signals_uv[:20], rate_hz // 100, axis=2).astype(float)
    signals *= np.exp(rng.normal(0, 1.2, (20, 1, 1)))
    signals[5:, rng.integers(0, 12, 15), :] += rng.normal(0, 15, (15, 15, signals.shape[2]))
    faulty = np.round(signals.clip(-32767, 32767)).astype(np.int16)
    suspects = screen(faulty, rate_hz)
    noted = [bool(check_content(signal * 1e-3, LEADS, rate_hz)) for signal in faulty]
    assert not (np.array(noted) & ~suspects).any()
