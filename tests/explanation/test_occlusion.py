import numpy as np
import pytest

from ecgcls.explanation.occlusion import Steps, occlude_leads, occlude_time


def linear(weights):
    """A predictor whose logit is the weighted sum of the samples: each sample's part is known."""
    return lambda signals: np.einsum("nls,cls->nc", signals.astype(np.float64), weights)


def test_the_fall_is_that_of_the_stretch():
    signal = np.zeros((2, 100), np.float32)
    signal[1, 40:50], signal[1, 90:] = 1.0, -1.0  # mean 0 in both leads
    weights = np.zeros((2, 2, 100))
    weights[0, 1, 40:50] = 3.0  # class 0 looks at the first wave of lead 1
    weights[1, 0] = 5.0  # class 1 at lead 0, which is flat already
    steps = Steps.cut(100, 100.0, stretch_s=0.1, step_s=0.1)
    falls = occlude_time(linear(weights), signal, steps)
    np.testing.assert_allclose(falls[:, 0], [0, 0, 0, 0, 30, 0, 0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(falls[:, 1], 0, atol=1e-12)
    by_lead = occlude_leads(linear(weights), signal, steps)
    assert by_lead.shape == (10, 2, 2)
    np.testing.assert_allclose(by_lead[:, 1], falls, atol=1e-12)
    np.testing.assert_allclose(by_lead[:, 0], 0, atol=1e-12)


def test_a_flat_stretch_has_the_leads_mean():
    signal = np.array([[1.0, 1.0, 1.0, 5.0]], np.float32)
    steps = Steps.cut(4, 1.0, stretch_s=1, step_s=1)
    # by hand: the mean is 2, so that 1 becomes 2 and 5 becomes 2
    np.testing.assert_allclose(occlude_time(linear(np.ones((1, 1, 4))), signal, steps)[:, 0], [-1, -1, -1, 3])


def test_stretches_that_overlap_are_averaged_and_the_last_ends_with_the_signal():
    steps = Steps.cut(7, 1.0, stretch_s=4, step_s=2)
    assert steps.starts == [0, 2, 3]
    # samples 0 1 | 2 | 3 | 4 5 | 6 are covered by {0} {0, 2} {0, 2, 3} {2, 3} {3}
    values = np.array([6.0, 12.0, 24.0])
    by_sample = [6, 6, 9, 14, 18, 18, 24]
    expected = [np.mean(by_sample[0:2]), np.mean(by_sample[2:4]), np.mean(by_sample[4:6]), 24]
    np.testing.assert_allclose(steps.average(values), expected)


@pytest.mark.parametrize("n_samples", [1, 2, 9, 10, 11, 250])
def test_every_sample_is_covered(n_samples):
    steps = Steps.cut(n_samples, 50.0, stretch_s=0.2, step_s=0.1)
    np.testing.assert_allclose(steps.average(np.ones(len(steps.starts))), 1)


def test_a_lead_that_is_not_there_stays_so():
    signal = np.ones((2, 20), np.float32)
    signal[0] = np.nan
    seen = []

    def predict(signals):
        seen.append(np.isnan(signals[:, 0]).all() and not np.isnan(signals[:, 1]).any())
        return np.zeros((len(signals), 1))

    occlude_leads(predict, signal, Steps.cut(20, 10.0, stretch_s=0.4, step_s=0.4))
    assert all(seen)
