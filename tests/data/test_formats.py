"""Files of devices: what is read, what is repaired, and what is refused in one line."""

import itertools
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest

from ecgcls.data import device_files
from ecgcls.data.formats import FORMATS, recognize
from ecgcls.data.recordings import iter_recording, prepare, read_recording
from ecgcls.data.signals import LEADS
from ecgcls.errors import DataError
from tests.data.binary_files import write_dicom, write_edf, write_ishne, write_scp
from tests.data.device_files import INDEPENDENT, draw_leads, write_aecg, write_csv, write_muse, write_sierra

RATE_HZ = 500
N_SAMPLES = 1000
WANTED = {"lead_names": LEADS, "sampling_rate_hz": RATE_HZ, "n_samples": N_SAMPLES}


def _write_edf(path, signal_mv, lead_names, rate_hz, **how):
    return write_edf(path, np.asarray(signal_mv) * 1e3, [f"ECG {name}" for name in lead_names], [rate_hz] * 12, **how)


WRITERS = {
    "GE MUSE XML": (write_muse, {"age": 63, "sex": "FEMALE"}, 0.0005),
    "Philips Sierra XML": (write_sierra, {"age": 63, "sex": "Female"}, 0.0025),
    "HL7 aECG": (write_aecg, {"age": 63, "sex": "F"}, 0.0005),
    "SCP-ECG": (write_scp, {"age": 63, "sex": 2}, 0.0005),
    "DICOM": (write_dicom, {"age": "063Y", "sex": "F"}, 0.0005),
    "EDF": (_write_edf, {"patient": "X F 01-FEB-1956 X"}, 0.0005),  # recorded on the first of January 2020
    "ISHNE": (write_ishne, {"sex": 2}, 0.0005),
    "CSV": (write_csv, {}, 0.0005),
}


@pytest.fixture(scope="module")
def signal_mv():
    return draw_leads(N_SAMPLES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recording"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_ecg(signal_mv, path, name):
    write, patient, resolution = WRITERS[name]
    write(path, signal_mv, LEADS, RATE_HZ, **patient)
    assert recognize(path) == name  # the file has no extension
    found = read_recording(path)
    assert (found.sampling_rate_hz, found.lead_names, found.left_out, found.guesses) == (RATE_HZ, LEADS, (), ())
    np.testing.assert_allclose(found.signal_mv, signal_mv, atol=resolution + 1e-6)
    known = {"age": 63.0, "sex": 1.0} if patient else {}
    assert found.patient == ({"age": 60.0, "sex": 1.0} if name == "ISHNE" else known)


def test_a_real_file_is_read_as_pydicom_reads_it():
    real = Path(str(pydicom.data.get_testdata_file("waveform_ecg.dcm", download=False)))
    found = read_recording(real)
    expected = pydicom.dcmread(real).waveform_array(0).T * 1e-3  # microvolt
    np.testing.assert_allclose(found.signal_mv, expected, atol=1e-6)
    assert (found.sampling_rate_hz, found.lead_names, found.patient) == (1000, LEADS, {"age": 42.0, "sex": 1.0})


def test_packed_scp_is_unpacked(signal_mv, path):
    found = read_recording(write_scp(path, signal_mv, LEADS, RATE_HZ, is_packed=True))
    np.testing.assert_allclose(found.signal_mv, signal_mv, atol=1e-6)
    assert found.has_checksums


@pytest.mark.parametrize(
    ("write", "how", "scale"),
    [
        (write_muse, {"uv_per_bit": 4.88}, 1),
        (write_muse, {"units": "MILLIVOLTS"}, 1000),  # a count is what it says: as if the signal were in volts
        (write_aecg, {"uv_per_bit": 2.5}, 1),
        (write_aecg, {"unit": "mV"}, 1),
        (write_aecg, {"unit": "V"}, 1),
        (write_dicom, {"uv_per_bit": 2.5, "correction": 1.25, "baseline_uv": 300.0}, 1),
        (write_dicom, {"unit": "mV"}, 1000),
        (write_ishne, {"uv_per_bit": 2.5}, 1),
        (write_scp, {"uv_per_bit": 4.0}, 1),
        (write_sierra, {"uv_per_bit": 2.44, "version": "1.03", "encoding": "utf-16"}, 1),
    ],
)
def test_gains_are_those_of_the_file(signal_mv, path, write, how, scale):
    found = read_recording(write(path, signal_mv, LEADS, RATE_HZ, **how))
    resolution = how.get("uv_per_bit", 1) * how.get("correction", 1) / 2000
    np.testing.assert_allclose(found.signal_mv / scale, signal_mv, atol=resolution + 1e-5)


@pytest.mark.parametrize("rate_hz", [240, 300, 360, 1000])
@pytest.mark.parametrize("write", [write_aecg, write_csv, write_dicom])
def test_rates_are_exact(signal_mv, path, write, rate_hz):
    assert read_recording(write(path, signal_mv, LEADS, rate_hz)).sampling_rate_hz == rate_hz


def test_a_rate_that_is_no_whole_number_is_kept(signal_mv, path):
    assert read_recording(write_dicom(path, signal_mv, LEADS, 499.5)).sampling_rate_hz == 499.5
    assert read_recording(write_aecg(path, signal_mv, LEADS, 499.5)).sampling_rate_hz == pytest.approx(499.5, rel=1e-9)


@pytest.mark.parametrize("write", [write_muse, write_aecg, write_scp, write_dicom, write_csv])
def test_of_eight_independent_leads_the_others_are_derived_and_told(signal_mv, path, write):
    rows = signal_mv[[LEADS.index(name) for name in INDEPENDENT]]
    prepared = prepare(read_recording(write(path, rows, INDEPENDENT, RATE_HZ)), **WANTED)
    np.testing.assert_allclose(prepared.windows_mv[0], signal_mv, atol=0.0016)
    assert "derived III, aVR, aVL, aVF from I and II" in prepared.repairs


@pytest.mark.parametrize("write", [write_muse, write_dicom, write_csv])
def test_four_leads_are_too_few(signal_mv, path, write):
    few = ("I", "II", "III", "V1")
    recording = read_recording(write(path, signal_mv[[0, 1, 2, 6]], few, RATE_HZ))
    with pytest.raises(DataError, match=r"the leads V2, V3, V4, V5, V6 are missing, got I, II, III, V1"):
        prepare(recording, **WANTED)


@pytest.mark.parametrize("write", [write_muse, write_aecg])
def test_of_several_rhythms_the_first_is_read_told_and_doubted(signal_mv, path, write):
    found = read_recording(write(path, signal_mv, LEADS, RATE_HZ, n_rhythms=2))
    np.testing.assert_allclose(found.signal_mv, signal_mv, atol=1e-6)
    assert len(found.guesses) == 1
    assert "several recordings: the first is read" in found.guesses[0]
    with pytest.raises(DataError, match="refused, as repairs=refuse_doubtful asks: the file has several recordings"):
        prepare(found, **WANTED, repairs="refuse_doubtful")


def test_of_dicom_groups_the_longest_is_the_ecg(signal_mv, path):
    found = read_recording(write_dicom(path, signal_mv, LEADS, RATE_HZ, labels=("unlabeled", "RHYTHM")))
    np.testing.assert_allclose(found.signal_mv, signal_mv, atol=1e-6)
    assert found.notes == ("left out 1 shorter waveform group(s) of the file: 0.2 s",)
    found = read_recording(write_dicom(path, signal_mv, LEADS, RATE_HZ, labels=("RHYTHM", "RHYTHM")))
    assert found.guesses == ("the file has 2 recordings of 2 s: the first is read",)


def test_leads_in_several_dicom_groups_are_joined_if_they_are_of_one_time(signal_mv, path):
    parts = {"labels": ("limb", "chest"), "parts": (slice(0, 6), slice(6, 12))}
    found = read_recording(write_dicom(path, signal_mv, LEADS, RATE_HZ, **parts))
    np.testing.assert_allclose(found.signal_mv, signal_mv, atol=1e-6)
    assert (found.lead_names, found.guesses) == (LEADS, ())
    write_dicom(path, signal_mv, LEADS, RATE_HZ, **parts, offsets_ms=(0, 2500))
    with pytest.raises(DataError, match="the leads were not recorded at the same time, but in 2 groups"):
        read_recording(path)


def test_a_long_recording_comes_in_blocks(signal_mv, path):
    write_ishne(path, signal_mv, LEADS, RATE_HZ)
    blocks = list(iter_recording(path, block_s=0.75))
    assert [block.signal_mv.shape[1] for block in blocks] == [375, 375, 250]
    np.testing.assert_allclose(np.concatenate([block.signal_mv for block in blocks], axis=1), signal_mv, atol=1e-6)


def test_other_signals_of_an_edf_file_are_left_out_whatever_their_rate(signal_mv, path):
    signals = [*(signal_mv * 1e3), np.ones(20)]
    found = read_recording(write_edf(path, signals, [*LEADS, "SpO2"], [RATE_HZ] * 12 + [10]))
    np.testing.assert_allclose(found.signal_mv, signal_mv, atol=1e-4)
    assert found.left_out == ("SpO2",)


@pytest.mark.parametrize(
    ("how", "rates_hz", "match"),
    [
        ({}, [RATE_HZ] * 11 + [250], r"the leads have different sampling rates: I 500 Hz.*V6 250 Hz"),
        ({"unit": ""}, [RATE_HZ] * 12, "the lead I has no unit of voltage that is known, got none"),
        ({"unit": "mmHg"}, [RATE_HZ] * 12, "the lead I has no unit of voltage that is known, got mmHg"),
        ({"n_announced": 4}, [RATE_HZ] * 12, "missing samples: EDF file truncated: header declares 4 data records"),
    ],
)
def test_edf_is_refused(signal_mv, path, how, rates_hz, match):
    signals = [row[: 2 * rate_hz] * 1e3 for row, rate_hz in zip(signal_mv, rates_hz, strict=True)]
    write_edf(path, signals, LEADS, rates_hz, **how)
    with pytest.raises(DataError, match=match):
        read_recording(path)


def test_a_header_that_announces_another_length_is_a_doubt(signal_mv, path):
    found = read_recording(write_ishne(path, signal_mv, LEADS, RATE_HZ, n_announced=5000))
    assert found.guesses == ("the header announces 5000 samples, the file has 1000 of each lead: all of them are read",)


def test_lost_electrodes_of_a_holter_are_missing_samples(signal_mv, path):
    write_ishne(path, signal_mv, LEADS, RATE_HZ)
    data = bytearray(path.read_bytes())
    data[522 + 24 * 100 : 522 + 24 * 100 + 2] = struct.pack("<h", -32768)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"missing samples \(NaN or infinite\) in I \(1\)"):
        prepare(read_recording(path), **WANTED)


def test_a_wrong_checksum_is_a_doubt(signal_mv, path):
    write_scp(path, signal_mv, LEADS, RATE_HZ)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = read_recording(path)
    assert not found.has_checksums
    assert found.guesses == ("SCP-ECG CRC mismatch in: record, Section 6",)


def test_of_muse_the_checksums_and_first_samples_are_doubts(signal_mv, path):
    right = read_recording(write_muse(path, signal_mv, LEADS, RATE_HZ, crc_off=0))
    assert (right.has_checksums, right.notes) == (True, ())
    wrong = read_recording(write_muse(path, signal_mv[:2], LEADS[:2], RATE_HZ, crc_off=1, first_sample=7))
    assert not wrong.has_checksums
    assert wrong.guesses[0] == "the checksum is not that of the samples: I, II"
    assert "FirstSampleBaseline is non-zero" in wrong.guesses[1]


_BOMB = '<!DOCTYPE {0} [<!ENTITY a "aaaaaaaaaa">{1}]>\n<{0}>&h;</{0}>'
_LEVELS = "".join(f'<!ENTITY {b} "{10 * f"&{a};"}">' for a, b in itertools.pairwise("abcdefgh"))


@pytest.mark.parametrize("root", ["RestingECG", "restingecgdata", "AnnotatedECG", "anything"])
@pytest.mark.parametrize(
    "entities", [_LEVELS, '<!ENTITY h SYSTEM "file:///etc/passwd">', '<!ENTITY % h SYSTEM "http://x">']
)
def test_entities_are_refused_before_they_grow(path, root, entities):
    path.write_text(_BOMB.format(root, entities))
    tracemalloc.start()
    with pytest.raises(DataError, match="XML that declares entities"):
        read_recording(path)
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "an empty file"),
        (b"# Notes\nAll patients were well.\n", "its content is unknown"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"%PDF-1.4", "a PDF document"),
        (b"\x1f\x8b\x08\x00", "compressed by gzip: unpack it first"),
        (b"\xffBIOSEMI" + b" " * 300, "BDF, the 24-bit form of EDF"),
        (b"<svg></svg>", "XML whose root element is svg"),
        (b"<!-- only -->", "XML whose root element is not to be found"),
        (b"<<<", r"damaged XML \(not well-formed"),
        (bytes(range(256)) * 10, "its content is unknown"),
    ],
)
def test_what_is_no_ecg_is_refused_in_a_line_that_names_what_is(path, content, match):
    path.write_bytes(content)
    assert recognize(path) is None
    with pytest.raises(
        DataError, match=rf"recording: no ECG in a known format: {match}.*read are WFDB, GE MUSE XML, Phi"
    ):
        read_recording(path)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("ISHNE", "CSV")])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_truncated_file_is_refused(signal_mv, path, name, part):
    write, _, _ = WRITERS[name]
    data = write(path, signal_mv, LEADS, RATE_HZ).read_bytes()
    path.write_bytes(data[: round(part * len(data))])
    with pytest.raises(DataError, match=r"recording: (not readable as|missing samples)") as error:
        read_recording(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("start", "limit"), [(b"ISHNE1.0", 512), (b"<RestingECG>", 64), (b"<restingecgdata>", 8)])
def test_huge_files_are_refused_before_they_are_read(path, start, limit):
    path.write_bytes(start)
    os.truncate(path, 3_000_000_000)
    with pytest.raises(DataError, match=rf"of 3000 MB, at most {limit} MB are read"):
        read_recording(path)


def test_a_folder_or_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="must be a regular file, got a folder"):
        read_recording(tmp_path)
    with pytest.raises(DataError, match=r"gone\.xml: the file cannot be read \(No such file"):
        read_recording(tmp_path / "gone.xml")


def test_a_file_without_a_standard_lead_is_refused(signal_mv, path):
    write_edf(path, signal_mv[:2], ["ECG1", "ECG2"], [RATE_HZ] * 2)
    with pytest.raises(DataError, match=r"no standard lead \(I, II, ... V6\) in EDF, got ECG1, ECG2"):
        read_recording(path)


def test_without_the_library_a_line_says_how_to_install_it(signal_mv, path, monkeypatch):
    def absent(name):
        raise ImportError(name)

    write_muse(path, signal_mv, LEADS, RATE_HZ)
    monkeypatch.setattr(device_files, "import_module", absent)
    with pytest.raises(DataError, match=r"GE MUSE XML is read by another library: pip install 'ecgcls\[formats\]'"):
        read_recording(path)
    assert read_recording(write_csv(path, signal_mv, LEADS, RATE_HZ)).lead_names == LEADS


def test_a_file_beside_a_header_of_its_name_is_what_it_holds(signal_mv, tmp_path, write_record):
    write_record(tmp_path / "a", np.full((200, 12), 7))
    write_muse(tmp_path / "a.xml", signal_mv, LEADS, RATE_HZ)
    for name in ("a", "a.hea", "a.dat"):
        assert read_recording(tmp_path / name).sampling_rate_hz == 100
    assert read_recording(tmp_path / "a.xml").sampling_rate_hz == RATE_HZ
