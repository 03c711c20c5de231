"""The calibration pulse that some devices store beside the ECG."""

import numpy as np
import pytest

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.recordings import read_recording
from tests.data.device_files import draw_leads, write_muse, write_sierra

RATE_HZ = 500
SIGNAL_MV = draw_leads(1000)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recording"


@pytest.mark.parametrize("version", ["1.03", "1.04", "1.04.01"])
def test_the_calibration_pulse_is_cut_off_and_told(path, version):
    ten_s = np.tile(SIGNAL_MV, 5)
    found = read_recording(write_sierra(path, ten_s, LEADS, RATE_HZ, version=version))
    np.testing.assert_allclose(found.signal_mv, ten_s, atol=0.0026)  # 10 of 11 seconds
    assert found.notes == ("cut off the last 1 s: a calibration pulse of 1 mV in all leads",)


def test_a_pulse_before_the_ecg_or_of_recorded_leads_only_is_found_too(path):
    pulse = np.zeros((12, RATE_HZ))
    pulse[:, 150:250] = 1
    pulse[2:6] = 0
    found = read_recording(write_muse(path, np.concatenate([pulse, SIGNAL_MV], axis=1), LEADS, RATE_HZ))
    np.testing.assert_allclose(found.signal_mv, SIGNAL_MV, atol=1e-6)
    assert found.notes == ("cut off the first 1 s: a calibration pulse of 1 mV in all leads",)


def test_what_is_no_pulse_stays(path):
    """Flat ends, a saturated end, and one lead that is at 1 mV are an ECG's own."""
    for end in (
        np.zeros((12, 500)),
        np.full((12, 500), 2.0),
        np.where(np.arange(12)[:, None] == 1, 1.0, 0.2 * np.ones((12, 500))),
    ):
        whole = np.concatenate([SIGNAL_MV, end], axis=1)
        assert read_recording(write_muse(path, whole, LEADS, RATE_HZ)).signal_mv.shape == (12, 1500)
