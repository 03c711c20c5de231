import csv
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import DataError

NAMES = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]  # as PTB-XL writes them
MICROVOLT = {"uV": 1.0, "mV": 1e3, "V": 1e6}


@pytest.fixture
def samples() -> np.ndarray:
    """``(sample, lead)``, small enough for every format, each lead another."""
    return np.random.default_rng(0).integers(-120, 120, (50, 12))


def read_with_wfdb(path: Path) -> np.ndarray:
    """``(lead, sample)`` in microvolt, leads in the order of `LEADS`."""
    record = wfdb.rdrecord(str(path))
    scale = [MICROVOLT[unit] for unit in record.units]
    names = [name.lower() for name in record.sig_name]
    return (record.p_signal * scale).T[[names.index(lead.lower()) for lead in LEADS]]


def edit_header(path: Path, old: str, new: str) -> None:
    header = path.with_name(path.name + ".hea")
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))


def cut_signal_lines(path: Path, *, n_fields: int, keep_name: bool = True) -> None:
    header = path.with_name(path.name + ".hea")
    record_line, *signal_lines = header.read_text().splitlines()
    fields = [line.split() for line in signal_lines]
    cut = [" ".join(line[:n_fields] + line[-1:] * keep_name) for line in fields]
    header.write_text("\n".join([record_line, *cut]) + "\n")


# --- PTB-XL's own layout


def test_leads_are_the_twelve_standard_ones_in_the_usual_order():
    assert LEADS == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.mark.parametrize(
    ("root", "column", "rate", "n_expected"),
    [
        ("synthetic_root", "filename_lr", 100, 60),
        ("ptbxl_root", "filename_lr", 100, 356),
        ("ptbxl_root", "filename_hr", 500, 60),
    ],
)
def test_every_record_equals_wfdb_bit_for_bit(request, root, column, rate, n_expected):
    folder = request.getfixturevalue(root)
    with (folder / "ptbxl_database.csv").open(newline="", encoding="utf-8") as file:
        paths = [folder / row[column] for row in csv.DictReader(file)][:n_expected]
    assert len(paths) == n_expected
    for path in paths:
        record = read_record(path)
        truth = wfdb.rdrecord(str(path), physical=False)
        assert truth.sig_name == NAMES  # so the transpose is in the order of LEADS
        assert record.signal_uv.dtype == np.int16 and record.signal_uv.shape == (12, 10 * rate)
        assert np.array_equal(record.signal_uv, truth.d_signal.T), path
        assert record.sampling_rate_hz == truth.fs == rate and record.has_checksums


def test_leads_are_found_by_name_in_any_order_and_case(tmp_path, samples, write_record):
    names = ["v6", "aVF", "II", "avr", "V1", "i", "AVL", "v3", "III", "V2", "v5", "V4"]
    record = read_record(write_record(tmp_path / "r", samples, sig_name=names))
    # where I, II, III, aVR, aVL, aVF, V1 ... V6 are in the file, by hand
    assert np.array_equal(record.signal_uv, samples[:, [5, 2, 8, 3, 6, 1, 4, 9, 7, 11, 10, 0]].T)


def test_the_extremes_of_int16_are_kept(tmp_path, samples, write_record):
    samples[0], samples[1] = 32767, -32767
    assert np.array_equal(read_record(write_record(tmp_path / "r", samples)).signal_uv, samples.T)


def test_comments_and_blank_lines_in_a_header_are_skipped(tmp_path, samples, write_record):
    path = write_record(tmp_path / "r", samples)
    header = tmp_path / "r.hea"
    header.write_text("# a comment\n\n" + header.read_text() + "# age: 56\n\n")
    assert np.array_equal(read_record(path).signal_uv, samples.T)


# --- other layouts that WFDB knows


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"adc_gain": [200.0] * 12}, id="gain 200"),
        pytest.param({"adc_gain": [212.5] * 12, "baseline": [7] * 12}, id="fractional gain and baseline"),
        pytest.param(
            {"adc_gain": [90.0 + lead for lead in range(12)], "baseline": list(range(-6, 6))}, id="each its own"
        ),
        pytest.param({"units": ["uV"] * 12, "adc_gain": [0.25] * 12}, id="uV"),
        pytest.param({"units": ["V"] * 12, "adc_gain": [2e5] * 12}, id="V"),
        pytest.param({"units": ["uV"] * 6 + ["mV"] * 6, "adc_gain": [2.0] * 6 + [300.0] * 6}, id="mixed units"),
        pytest.param({"fmt": ["212"] * 12, "adc_gain": [200.0] * 12, "baseline": [-30] * 12}, id="212"),
        pytest.param({"fmt": ["24"] * 12, "adc_gain": [333.0] * 12}, id="24"),
        pytest.param({"fmt": ["32"] * 12, "adc_gain": [333.0] * 12, "baseline": [5] * 12}, id="32"),
        pytest.param({"fmt": ["80"] * 12, "adc_gain": [40.0] * 12, "baseline": [5] * 12}, id="80"),
    ],
)
def test_other_gains_units_and_formats_are_within_half_a_microvolt_of_wfdb(tmp_path, samples, write_record, changed):
    path = write_record(tmp_path / "r", samples, **changed)
    record = read_record(path)
    assert record.signal_uv.dtype == np.int16 and record.has_checksums
    assert np.abs(record.signal_uv - read_with_wfdb(path)).max() <= 0.5 + 1e-6
    assert len(np.unique(record.signal_uv)) > 100  # the comparison is not one of zeros


def test_a_gain_and_a_baseline_worked_by_hand(tmp_path, write_record):
    samples = np.full((3, 12), 107)
    path = write_record(tmp_path / "r", samples, adc_gain=[200.0] * 12, baseline=[7] * 12)
    assert np.array_equal(read_record(path).signal_uv, np.full((12, 3), 500))  # (107 - 7) / 200 mV


def test_without_a_baseline_the_adc_zero_counts(tmp_path, samples, write_record):
    path = write_record(tmp_path / "r", samples, adc_gain=[200.0] * 12)
    edit_header(path, " 200.0(0)/mV 16 0 ", " 200.0/mV 16 10 ")
    assert np.array_equal(read_record(path).signal_uv, 5 * (samples.T - 10))
    assert np.abs(read_record(path).signal_uv - read_with_wfdb(path)).max() < 1e-6


@pytest.mark.parametrize("fmt", ["16", "212"])
def test_one_signal_file_per_lead(tmp_path, samples, fmt):
    record = wfdb.Record(
        record_name="r",
        n_sig=12,
        fs=100,
        sig_len=50,
        file_name=[f"r_{name}.dat" for name in NAMES],
        sig_name=NAMES,
        fmt=[fmt] * 12,
        adc_gain=[1000.0] * 12,
        baseline=[0] * 12,
        units=["mV"] * 12,
        d_signal=samples,
    )
    record.set_d_features()
    record.set_defaults()
    record.wrsamp(write_dir=str(tmp_path))
    assert (tmp_path / "r_AVR.dat").is_file()
    assert np.array_equal(read_record(tmp_path / "r").signal_uv, samples.T)


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_missing_checksums_are_reported(tmp_path, samples, write_record, fmt):
    path = write_record(tmp_path / "r", samples, fmt=[fmt] * 12)
    cut_signal_lines(path, n_fields=3)  # file, format, gain; then the name
    record = read_record(path)
    assert np.array_equal(record.signal_uv, samples.T) and not record.has_checksums


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_leads_without_a_name_are_refused(tmp_path, samples, write_record, fmt):
    path = write_record(tmp_path / "r", samples, fmt=[fmt] * 12)
    cut_signal_lines(path, n_fields=8, keep_name=False)
    with pytest.raises(DataError, match=r"the leads must be I, .*, got \(no name\), "):
        read_record(path)


def test_a_header_without_a_length(tmp_path, samples, write_record):
    path = write_record(tmp_path / "r", samples)
    edit_header(path, "r 12 100 50\n", "r 12 100\n")
    record = read_record(path)
    assert np.array_equal(record.signal_uv, samples.T) and record.has_checksums
    assert record.notes == ("no length in the header: 50 samples by the size of the file",)


# --- errors


def flip_bit(dat_path: Path) -> None:
    data = bytearray(dat_path.read_bytes())
    data[100] ^= 4
    dat_path.write_bytes(data)


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_flipped_bit_fails_the_checksum(tmp_path, samples, write_record, fmt):
    path = write_record(tmp_path / "r", samples, fmt=[fmt] * 12)
    assert read_record(path).has_checksums
    flip_bit(tmp_path / "r.dat")
    with pytest.raises(DataError, match=r"r: damaged: the samples' checksums are .* the header says .* fetch"):
        read_record(path)


def test_missing_header(tmp_path):
    with pytest.raises(DataError, match=r"00001_lr\.hea: the header cannot be read \(.*No such file"):
        read_record(tmp_path / "00001_lr")


@pytest.mark.parametrize(("fmt", "match"), [("16", r"r\.dat: the signal file cannot be read"), ("24", r"r\.dat")])
def test_missing_signal_file(tmp_path, samples, write_record, fmt, match):
    path = write_record(tmp_path / "r", samples, fmt=[fmt] * 12)
    (tmp_path / "r.dat").unlink()
    with pytest.raises(DataError, match=match):
        read_record(path)


@pytest.mark.parametrize("n_bytes", [0, 1000, 1199, 1201, 1224])
def test_wrong_length_of_the_signal_file_gives_both_in_bytes(tmp_path, samples, write_record, n_bytes):
    path = write_record(tmp_path / "r", samples)
    data = (tmp_path / "r.dat").read_bytes()
    assert len(data) == 1200
    (tmp_path / "r.dat").write_bytes((data + bytes(100))[:n_bytes])
    with pytest.raises(DataError, match=rf"r\.dat: truncated .* \(1200 bytes\), the file has {n_bytes} bytes"):
        read_record(path)


def test_truncated_signal_file_of_another_format(tmp_path, samples, write_record):
    path = write_record(tmp_path / "r", samples, fmt=["24"] * 12)
    (tmp_path / "r.dat").write_bytes((tmp_path / "r.dat").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"r\.dat: truncated .* \(1800 bytes\), the file has 1770 bytes"):
        read_record(path)


@pytest.mark.parametrize(
    ("fmt", "mark", "gain"), [("16", -32768, 1000.0), ("16", -32768, 200.0), ("212", -2048, 200.0)]
)
def test_missing_samples_are_named_with_their_leads(tmp_path, samples, write_record, fmt, mark, gain):
    samples[3, 4] = samples[7, 4] = samples[0, 11] = mark  # WFDB's mark of a missing sample
    path = write_record(tmp_path / "r", samples, fmt=[fmt] * 12, adc_gain=[gain] * 12)
    assert np.isnan(wfdb.rdrecord(str(path)).p_signal).sum() == 3
    with pytest.raises(DataError, match=r"r: missing samples \(NaN\) in AVL \(2\), V6 \(1\)$"):
        read_record(path)


@pytest.mark.parametrize("fmt", ["16", "24"])
@pytest.mark.parametrize(
    ("names", "got"),
    [
        pytest.param([*NAMES[:11], "V7"], "V5, V7", id="unknown"),
        pytest.param([*NAMES[:11], "V5"], "V5, V5", id="doubled"),
        pytest.param(["MLI", *NAMES[1:]], "MLI, II", id="another name"),
    ],
)
def test_other_leads_are_refused(tmp_path, samples, write_record, names, got, fmt):
    path = write_record(tmp_path / "r", samples, fmt=[fmt] * 12)
    for old, new in zip(NAMES, names, strict=True):
        edit_header(path, f" {old}\n", f" {new}\n")
    with pytest.raises(DataError, match=rf"the leads must be I, II, III, aVR, .*\(in any order\), got .*{got}"):
        read_record(path)


@pytest.mark.parametrize("n_leads", [11, 13])
def test_another_number_of_leads_is_refused(tmp_path, write_record, n_leads):
    changed = {
        "sig_name": [*NAMES, "V7"][:n_leads],
        "units": ["mV"] * n_leads,
        "fmt": ["16"] * n_leads,
        "adc_gain": [1000.0] * n_leads,
        "baseline": [0] * n_leads,
    }
    path = write_record(tmp_path / "r", np.arange(2 * n_leads).reshape(2, n_leads), **changed)
    with pytest.raises(DataError, match="the leads must be"):
        read_record(path)


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_unit_that_is_no_voltage_is_refused(tmp_path, samples, write_record, fmt):
    units = ["mV"] * 11 + ["mmHg"]
    path = write_record(tmp_path / "r", samples, units=units, fmt=[fmt] * 12)
    with pytest.raises(DataError, match="the leads' unit must be mV, uV or V, got mmHg"):
        read_record(path)


@pytest.mark.parametrize("sign", [1, -1])
def test_beyond_32_767_millivolt_is_refused(tmp_path, samples, write_record, sign):
    samples[0, 0] = sign * 32767
    inside = read_record(write_record(tmp_path / "a", samples, adc_gain=[1000.1] * 12))
    assert inside.signal_uv[0, 0] == sign * 32764
    samples[0, 0] = sign * 32768 // 10 + sign
    path = write_record(tmp_path / "b", samples, adc_gain=[100.0] * 12)
    with pytest.raises(DataError, match=r"a sample of 32\.7[78] mV; an ECG stays within 32\.767 mV: check the gain"):
        read_record(path)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_microvolt_beyond_the_largest_is_refused(tmp_path, samples, write_record, sign):
    samples[0, 0] = sign * 16384  # 32.768 mV, which would wrap around, or read as a missing sample
    path = write_record(tmp_path / "r", samples, adc_gain=[500.0] * 12)
    with pytest.raises(DataError, match=r"a sample of 32\.7[678]\d* mV"):
        read_record(path)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"r 0 100 1000\n", id="no signals"),
        pytest.param(b"r 12 100 50\n", id="no signal lines"),
        pytest.param(b"<html>404 Not Found</html>\n", id="a web page"),
        pytest.param(b"\xff\xfe\x00", id="not text"),
    ],
)
def test_a_file_that_is_not_a_header_is_refused(tmp_path, header):
    (tmp_path / "r.hea").write_bytes(header)
    with pytest.raises(DataError, match=r"r(\.hea)?: (the header|not a WFDB header)") as caught:
        read_record(tmp_path / "r")
    assert "\n" not in str(caught.value)


def test_no_samples_at_all_are_refused(tmp_path, samples, write_record):
    path = write_record(tmp_path / "r", samples * 0)
    edit_header(path, "r 12 100 50\n", "r 12 100 0\n")
    (tmp_path / "r.dat").write_bytes(b"")
    with pytest.raises(DataError, match=r"announces 0 samples"):
        read_record(path)
