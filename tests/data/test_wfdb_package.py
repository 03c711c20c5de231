"""Headers as people write them, read by this package and by the wfdb package: alike, or both readings are told."""

import random
from collections import Counter

import numpy as np
import pytest
import wfdb

from ecgcls.data.signals import read_header, read_leads
from ecgcls.errors import DataError

SAMPLES = np.random.default_rng(0).integers(-2000, 2000, (50, 2)).astype("<i2")
MILLIVOLT = {"mv": 1.0, "uv": 1e-3, "v": 1e3, "nv": 1e-6, "millivolt": 1.0, "microvolts": 1e-3}
RECORD = [
    ["r", "r.mat", "E00001", "A_1-2"],
    ["2"],
    ["500", "500.0", "257", "500/500", "500/1000.5(-3)", ".5", "500/", "500(0)", "500Hz", "5e2", "+500", "500,"],
    ["50", "", "0", "050", "50.0", "NaN"],
    ["", "05-May-2020 14:50:55", "14:50:55 05-May-2020", "05-May-2020", "14:50:55 05/05/2020", "05/05/2020 14:50:55",
     "2006", "14:50", "2020-05-05T14:50:55", "2020-05-05 14:50:55", "14:50:55.123456789", "00/00/0000", "Unknown"],
]  # fmt: skip
GAINS = [
    "1000/mV", "1000.0(0)/mV", "1000(0)/mv", "1000/mv", "1000", "1000(5)", "1000(-5)/mV", "1000(+5)/mV", "-1000/mV",
    "1e3/mV", "1E3/mV", "1000/uV", "1.0/uV", "1000/µV", "0/mV", "1000./mV", "1000/millivolt", "1000()/mV",
    "1000(0)mV", "1,000/mV", "1000/mV(0)", "1000.0(5.0)/mV", "nan/mV",
]  # fmt: skip
SIGNAL = [["16", "12", "-5", "16.0"], ["0", "5", "-5", "+5", "0.0"], ["0", "-1"], ["S"], ["0", "", "512"], ["I"]]


def write(folder, record, signal, gain, coding):
    """Write a record of two signals with these fields; `coding` is ``16`` or ``16+24``."""
    name = "r.mat" if coding == "16+24" else "r.dat"
    (folder / name).write_bytes(bytes(24 if coding == "16+24" else 0) + SAMPLES.tobytes())
    lines = [" ".join(filter(None, record))]
    for lead, sum_ in zip(("I", "II"), SAMPLES.sum(axis=0, dtype=int) % 65536, strict=True):
        fields = [str(sum_) if field == "S" else lead if field == "I" else field for field in signal]
        lines.append(" ".join(filter(None, [name, coding, gain, *fields])))
    (folder / "r.hea").write_text("\n".join([*lines, "#Age: 56", "#Dx: 426783006", ""]), encoding="utf-8")
    return folder / "r"


def read_ours(path):
    header, record = read_header(path), read_leads(path, lambda names: range(len(names)))
    return header.sampling_rate_hz, record.signal_uv / 1000, record.notes


def read_theirs(path):
    """Return the same as `read_ours` of the wfdb package, or None if it refuses the record."""
    try:
        record = wfdb.rdrecord(str(path))
    except (ValueError, IndexError, TypeError):  # among them its own HeaderSyntaxError
        return None
    unit_mv = np.array([[MILLIVOLT.get(unit.lower(), np.nan)] for unit in record.units])
    return record.fs, record.p_signal.T * unit_mv


def test_what_both_read_is_the_same_or_both_readings_are_told(tmp_path):
    rng, outcomes = random.Random(1), Counter()

    def pick(choices, p):
        return rng.choice(choices) if rng.random() < p else choices[0]

    for _ in range(130):
        record = [pick(choices, 0.2) for choices in RECORD[:-1]] + [rng.choice(RECORD[-1])]
        signal = [pick(choices, 0.1) for choices in SIGNAL]
        path = write(tmp_path, record, signal, pick(GAINS, 0.6), rng.choice(["16", "16+24"]))
        theirs, header = read_theirs(path), (tmp_path / "r.hea").read_text("utf-8")
        try:
            rate_hz, signal_mv, notes = read_ours(path)
        except DataError as error:
            is_content = any(text in str(error) for text in ("stays within 32.767 mV", "the leads' unit must be"))
            assert theirs is None or is_content or "; the wfdb package reads" in str(error), (header, str(error))
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        if theirs is None:
            outcomes["read here alone"] += 1
            continue
        is_same = rate_hz == theirs[0] and signal_mv.shape == theirs[1].shape
        is_same = is_same and bool(np.abs(signal_mv - theirs[1]).max() <= 0.000501)  # a microvolt's rounding
        outcomes["alike"] += is_same
        assert is_same or any("the wfdb package reads" in note for note in notes), (header, notes)
    assert outcomes["read"] > 50 and outcomes["alike"] > 20 and outcomes["refused"] > 20, outcomes
    assert outcomes["read here alone"] > 10, outcomes


@pytest.mark.parametrize(
    ("gain", "note"),
    [
        ("1E3/mV", "gain: '1E3/mV' is 1000(0)/mV, the wfdb package reads 1(0)/E3/mV"),
        ("1000(+5)/mV", "gain: '1000(+5)/mV' is 1000(5)/mV, the wfdb package reads 1000(0)/mV"),
    ],
)
def test_a_gain_with_two_readings_is_told_with_both(tmp_path, gain, note):
    path = write(tmp_path, ["r", "2", "500", "50"], ["16", "0", "0", "S", "0", "I"], gain, "16+24")
    assert read_leads(path, lambda names: [1, 0]).notes == (note,) == read_header(path).notes


def test_a_date_that_is_read_as_a_length_is_told(tmp_path):
    path = write(tmp_path, ["r", "2", "500", "05-May-2020"], ["16", "0", "0", "S", "0", "I"], "1000/mV", "16")
    record = read_leads(path, lambda names: [0])
    assert record.signal_uv.shape == (1, 50) and wfdb.rdheader(str(path)).sig_len == 5
    (note,) = record.notes
    assert note.startswith("no length in the header: 50 samples by the size of the file; the wfdb package reads 5 ")


def test_refusals_name_what_the_wfdb_package_reads(tmp_path):
    rest = ["16", "0", "0", "S", "0", "I"]
    path = write(tmp_path, ["r", "2", "5e2", "50"], rest, "1000/mV", "16")
    with pytest.raises(DataError, match=r"got '5e2', in the line 'r 2 5e2 50'; the wfdb package reads 5 Hz and no"):
        read_header(path)
    path = write(tmp_path, ["r", "2", "500", "50"], ["-5", *rest[1:]], "1000/mV", "16")
    with pytest.raises(
        DataError, match=r"must be 0 bits or more, got -5, .*; the wfdb package reads the gain 1000\(-5"
    ):
        read_header(path)
    path = write(tmp_path, ["r", "2", "500", "40"], rest, "1000/mV", "16")
    assert wfdb.rdrecord(str(path)).sig_len == 40
    with pytest.raises(DataError, match=r"40 samples .* has 200 bytes, of which the wfdb package reads the first"):
        read_leads(path, lambda names: [0])
    path = write(tmp_path, ["r", "2", "500", "50"], ["16", "0", "0", "77", "0", "I"], "1000/mV", "16")
    assert wfdb.rdrecord(str(path)).checksum == [77, 77]
    with pytest.raises(
        DataError, match=r"the header says \[77, 77\] \(the wfdb package reads it, and does not compare"
    ):
        read_leads(path, lambda names: [0])
    path = write(tmp_path, ["r", "1", "500", "50"], rest, "1000/mV", "16")  # two lines
    with pytest.raises(DataError, match=r"1 signals are announced, 2 lines describe some, in the line 'r 1 500 50'$"):
        read_header(path)
