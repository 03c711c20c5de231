from pathlib import Path

import numpy as np
import pytest
import soundfile
import wfdb

from ecgcls.data.signals import read_leads
from ecgcls.data.wfdb_samples import count_bytes, decode
from ecgcls.errors import DataError

FORMATS = (8, 16, 24, 32, 61, 80, 160, 212, 310, 311)


@pytest.mark.parametrize(
    ("format_", "data", "samples"),
    [
        (16, "0100 ffff 0080", [1, -1, -32768]),
        (61, "0001 ffff 8000", [1, -1, -32768]),
        (24, "010000 ffffff 000080", [1, -1, -(2**23)]),
        (32, "01000000 ffffffff 00000080", [1, -1, -(2**31)]),
        (80, "81 7f 00 ff", [1, -1, -128, 127]),
        (160, "0180 ff7f 0000 ffff", [1, -1, -32768, 32767]),
        (8, "01 ff 80", [1, -1, -128]),
        (212, "01f0ff 007802", [1, -1, -2048, 0x702]),  # low byte, high nibbles of both, low byte
        (310, "0200 feff 0008 ff07", [1, -1, -32, 0, -1, 1]),
        (311, "01fcff3f 000200c0", [1, -1, -1, -512, 0, 0]),  # a word of three times ten bits
    ],
)
def test_samples_worked_by_hand(format_, data, samples):
    assert decode(bytes.fromhex(data), format_).tolist() == samples


def write(folder: Path, format_: str, data: bytes, *, n_samples: int, name: str = "r.dat", more: str = "") -> Path:
    lines = [f"{name} {format_} 1000(0)/mV 16 0 {more or '0 0 0'} V{lead}" for lead in (1, 2, 3)]
    (folder / "r.hea").write_text("\n".join([f"r 3 100 {n_samples}", *lines, ""]))
    (folder / name).write_bytes(data)
    return folder / "r"


def read_all(path: Path) -> np.ndarray:
    return read_leads(path, lambda names: range(len(names))).signal_uv


@pytest.mark.parametrize("n_samples", [11, 12, 13])  # 33, 36 and 39 samples: whole groups of two or three, and not
@pytest.mark.parametrize("format_", FORMATS)
def test_random_bytes_are_read_as_wfdb_reads_them(tmp_path, format_, n_samples, monkeypatch):
    n_bytes = count_bytes(format_, 3 * n_samples)
    data = np.random.default_rng(n_samples).integers(0, 256, n_bytes, np.uint8)
    if format_ == 311:
        data[3::4] &= 63  # wfdb takes one of the two bits that belong to no sample
    if format_ in (24, 32):
        data[format_ // 8 - 1 :: format_ // 8] = data[1 :: format_ // 8] & 128  # a high byte that an ECG can have
        data[1 :: format_ // 8] &= 0x3F
    path = write(tmp_path, f"{format_}+7", bytes(7) + data.tobytes(), n_samples=n_samples, more="40 0 0")
    truth = wfdb.rdrecord(str(path), physical=False).d_signal.astype(np.int64).T
    is_uv = np.abs(truth).max() <= 32767
    if not is_uv:
        with pytest.raises(DataError, match="a sample of"):
            read_all(path)
        return
    assert np.array_equal(read_all(path), truth)
    for block in (1, 2, 3, 5):  # frames; blocks end within groups of samples
        monkeypatch.setattr("ecgcls.data.wfdb_voltage._BLOCK_SAMPLES", 3 * block)
        assert np.array_equal(read_all(path), truth)


@pytest.mark.parametrize("per_frame", [1, 2])
@pytest.mark.parametrize("format_", ["508", "516", "524"])
def test_flac(tmp_path, format_, per_frame, monkeypatch):
    samples = np.random.default_rng(0).integers(-100, 100, (3, 20 * per_frame))
    record = wfdb.Record(
        record_name="r", n_sig=3, fs=100, sig_len=20, file_name=["r.dat"] * 3, fmt=[format_] * 3,
        samps_per_frame=[per_frame] * 3, sig_name=["V1", "V2", "V3"], units=["mV"] * 3, adc_gain=[1000.0] * 3,
        baseline=[0] * 3, e_d_signal=list(samples),
    )  # fmt: skip
    record.set_d_features(expanded=True)
    record.set_defaults()
    record.wrsamp(write_dir=str(tmp_path), expanded=True)
    monkeypatch.setattr("ecgcls.data.wfdb_voltage._BLOCK_SAMPLES", 30)
    read = read_leads(tmp_path / "r", lambda names: range(3))
    truth = samples.reshape(3, 20, per_frame).mean(axis=2)
    assert read.has_checksums and np.abs(read.signal_uv - truth).max() <= 0.5
    header = (tmp_path / "r.hea").read_text()
    (tmp_path / "r.hea").write_text(header.replace(" 100 20", " 100 19"))
    with pytest.raises(DataError, match=r"r\.dat: truncated .* 19 samples of 3 leads .*, the file has 20 frames"):
        read_all(tmp_path / "r")
    data = (tmp_path / "r.dat").read_bytes()
    (tmp_path / "r.hea").write_text(header)
    for damaged in (b"", b"fLaC", b"RIFF" + data, data[: len(data) // 2], data[:60]):
        (tmp_path / "r.dat").write_bytes(damaged)
        with pytest.raises(DataError, match=r"r\.dat: (not a FLAC file|truncated|damaged)") as caught:
            read_all(tmp_path / "r")
        assert "\n" not in str(caught.value)


def test_flac_without_a_sample(tmp_path):
    path = write(tmp_path, "516+99", b"", n_samples=0)  # by the standard: as many as there are after the first 99
    soundfile.write(tmp_path / "r.dat", np.zeros((9, 3), np.int16), 96000, subtype="PCM_16", format="FLAC")
    with pytest.raises(DataError, match=r"r\.dat: truncated .* announces 0 samples"):
        read_all(path)


def test_flac_that_unpacks_to_more_than_any_signal_would(tmp_path, monkeypatch):
    path = write(tmp_path, "516", b"", n_samples=9000)
    soundfile.write(tmp_path / "r.dat", np.zeros((9000, 3), np.int16), 96000, subtype="PCM_16", format="FLAC")
    assert not read_all(path).any()
    monkeypatch.setattr("ecgcls.data.wfdb_samples._MAX_FLAC_BYTES", 9000)
    monkeypatch.setattr("ecgcls.data.wfdb_samples._MAX_FLAC_RATIO", 2)
    with pytest.raises(DataError, match=r"r\.dat: \d+ bytes that unpack to 9000 samples of 3 signals"):
        read_all(path)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_has_the_size_that_its_header_says(tmp_path, format_):
    n_bytes = count_bytes(format_, 33)
    for n_wrong in (0, n_bytes - 1, n_bytes + 4):
        path = write(tmp_path, f"{format_}", bytes(n_wrong), n_samples=11)
        with pytest.raises(DataError, match=rf"r\.dat: truncated .* \({n_bytes} bytes\), the file has {n_wrong} bytes"):
            read_all(path)
    path = write(tmp_path, f"{format_}", bytes(2 * n_bytes), n_samples=10**12)  # costs nothing
    with pytest.raises(DataError, match=r"truncated .* announces 1000000000000 samples"):
        read_all(path)


def test_what_fills_the_last_block_of_a_device_may_follow(tmp_path):
    path = write(tmp_path, "16", bytes(512), n_samples=11, more="0 0 512")
    assert read_all(path).shape == (3, 11)
    with pytest.raises(DataError, match=r"\(66 bytes\), the file has 600 bytes"):
        read_all(write(tmp_path, "16", bytes(600), n_samples=11, more="0 0 512"))


@pytest.mark.parametrize("format_", ["17", "0", "160000"])
def test_other_formats_are_refused(tmp_path, format_):
    with pytest.raises(
        DataError, match=r"the format of r\.dat must be one of 8, 16|names no signal file|the format must be"
    ):
        read_all(write(tmp_path, format_, bytes(66), n_samples=11))
