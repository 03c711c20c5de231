"""The example of a bundle is an ECG that anything reads: in the run's leads, at its rate, of its length."""

import numpy as np
import pytest

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.sample_tables import read_table
from ecgcls.data.synthetic.signal import simulate_ecg
from ecgcls.data.synthetic.spec import EcgSpec
from ecgcls.jobs.export_example import format_example


@pytest.mark.parametrize(("rate_hz", "n_samples"), [(100, 1000), (250, 2500), (128, 640), (100, 2500)])
def test_the_example_is_read_back_as_it_was_simulated(tmp_path, rate_hz, n_samples):
    path = tmp_path / "example.csv"
    path.write_text(format_example(("V2", "I"), rate_hz, n_samples))
    found = read_table(path)
    assert (found.sampling_rate_hz, found.signal_mv.shape) == (rate_hz, (2, n_samples))
    assert found.lead_names == ("V2", "I")
    assert 0.5 < np.ptp(found.signal_mv, axis=1).min() < np.ptp(found.signal_mv, axis=1).max() < 6  # mV


def test_at_the_rate_of_the_simulation_nothing_is_lost(tmp_path):
    path = tmp_path / "example.csv"
    path.write_text(format_example(LEADS, 500, 200))
    spec = EcgSpec(ecg_id=1, patient_id=1, age=60, severity={"SR": 0.5, "IMI": 0.9, "LVH": 0.6})
    simulated_uv = simulate_ecg(spec, seed=0, sampling_rate_hz=500)[:200].T
    assert np.array_equal(np.rint(1000 * read_table(path).signal_mv), simulated_uv)
