from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import wfdb

from ecgcls.data.synthetic.leads import LEADS
from ecgcls.data.synthetic.plan import plan_records
from ecgcls.data.synthetic.signal import simulate_ecg
from ecgcls.data.synthetic.tables import name_record


def read_uv(root: Path, ecg_id: int, rate: int) -> np.ndarray:
    """(sample, lead), as the file has it."""
    return np.fromfile(root / f"{name_record(ecg_id, rate)}.dat", "<i2").reshape(-1, 12)


@pytest.mark.parametrize("rate", [100, 500])
def test_wfdb_reads_every_record(root, rate):
    for planned in plan_records(60, 0):
        ecg_id = planned.spec.ecg_id
        record = wfdb.rdrecord(str(root / name_record(ecg_id, rate)), physical=False)
        assert record.sig_name == ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
        assert record.d_signal.shape == (10 * rate, 12) and record.fs == rate
        assert record.fmt == ["16"] * 12 and record.units == ["mV"] * 12 and record.adc_gain == [1000.0] * 12
        # the header's sum over 16 bits, by wfdb's own formula and by hand
        assert record.calc_checksum() == record.checksum
        raw = read_uv(root, ecg_id, rate)
        assert record.checksum == (raw.astype(int).sum(axis=0) % 65536).tolist()
        assert record.init_value == raw[0].tolist()
        assert record.baseline == [0] * 12
        assert np.ptp(raw, axis=0).min() > 80  # no dead lead, in microvolt
        assert np.array_equal(record.d_signal, simulate_ecg(planned.spec, seed=0, sampling_rate_hz=rate))


def test_einthoven_and_goldberger_hold_in_microvolts(root):
    for ecg_id in range(1, 61):
        i, ii, iii, avr, avl, avf = read_uv(root, ecg_id, 100)[:, :6].astype(float).T
        assert np.array_equal(iii, ii - i)
        assert np.abs(avr + (i + ii) / 2).max() <= 1
        assert np.abs(avl - (i - ii / 2)).max() <= 1
        assert np.abs(avf - (ii - i / 2)).max() <= 1


def test_both_rates_show_the_same_ecg(root):
    for ecg_id in range(1, 61):
        slow = read_uv(root, ecg_id, 100)
        down = scipy.signal.resample_poly(read_uv(root, ecg_id, 500), 1, 5, axis=0)
        for lead in range(12):
            assert np.corrcoef(slow[20:-20, lead], down[20:-20, lead])[0, 1] > 0.95, (ecg_id, LEADS[lead])
