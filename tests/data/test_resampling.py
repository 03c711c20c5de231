import numpy as np
import pytest
from scipy.signal import resample_poly

from ecgcls.data.resampling import resample_beginning, resample_blocks

RATES = [(500, 100), (1000, 100), (250, 100), (100, 500), (360, 100), (257, 100), (100, 250)]


def draw(n_samples):
    return np.cumsum(np.random.default_rng(n_samples).normal(size=(3, n_samples)), axis=1)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
@pytest.mark.parametrize("n_samples", [1, 2, 49, 5003])
def test_a_signal_is_resampled_as_scipy_does(from_hz, to_hz, n_samples):
    signal = draw(n_samples)
    step = np.gcd(from_hz, to_hz)
    found = np.concatenate(list(resample_blocks([signal], from_hz=from_hz, to_hz=to_hz)), axis=1)
    offset = signal[:, :1]
    expected = resample_poly(signal - offset, to_hz // step, from_hz // step, axis=1, padtype="edge") + offset
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_the_beginning_is_that_of_the_whole(from_hz, to_hz):
    signal = draw(4000)
    whole = np.concatenate(list(resample_blocks([signal], from_hz=from_hz, to_hz=to_hz)), axis=1)
    found = resample_beginning(signal, 150, from_hz=from_hz, to_hz=to_hz)
    assert found.shape == (3, 150)
    np.testing.assert_allclose(found, whole[:, :150], rtol=0, atol=1e-11)
