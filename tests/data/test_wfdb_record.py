import errno
import os
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgcls.data.recordings import read_recording
from ecgcls.data.signals import iter_leads, read_header, read_leads, read_record
from ecgcls.errors import DataError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def write(
    path: Path,
    columns: list[list[int]],
    *,
    names: tuple[str, ...],
    coding: str | list[str] = "16",
    gain: str = "1000/mV",
    checksums: bool = True,
    record_line: str | None = None,
) -> Path:
    """Write a record in format 16: the samples of each frame in `columns`, a list over the signals' samples."""
    frames = np.array(columns, "<i2").T
    path.with_name(f"{path.name}.dat").write_bytes(frames.tobytes())
    codings = [coding] * len(names) if isinstance(coding, str) else coding
    widths = [int(each.partition("x")[2].partition(":")[0] or 1) for each in codings]
    ends = np.cumsum(widths)
    sums = [int(frames[:, end - width : end].sum()) for end, width in zip(ends, widths, strict=True)]
    lines = [
        f"{path.name}.dat {each} {gain} 16 0 0 {sum_ if checksums else 0} 0 {name}"
        for each, sum_, name in zip(codings, sums, names, strict=True)
    ]
    header = [record_line or f"{path.name} {len(names)} 100 {len(frames)}", *lines, ""]
    path.with_name(f"{path.name}.hea").write_text("\n".join(header))
    return path


def read_all(path: Path):
    return read_leads(path, lambda names: range(len(names)))


# --- gains and units


@pytest.mark.parametrize("coding", ["16", "16+0", "16x1"])
@pytest.mark.parametrize(
    ("gain", "microvolt", "note"),
    [
        ("0/mV", [500, -1000], "gain 0 in the header: uncalibrated, taken as 200 adu/mV"),
        ("0", [500, -1000], "gain 0 in the header: uncalibrated, taken as 200 adu/mV"),
        ("0(20)/mV", [400, -1100], "gain 0 in the header: uncalibrated, taken as 200 adu/mV"),
        ("200/mV", [500, -1000], None),
        ("-200/mV", [-500, 1000], None),
        ("100(-200)", [3000, 0], None),
        ("2/uV", [50, -100], None),
        ("2/µV", [50, -100], "gain: '2/µV' is 2(0)/µV, the wfdb package reads 2(0)/V"),
        ("2/\u03bcV", [50, -100], "gain: '2/\u03bcV' is 2(0)/\u03bcV, the wfdb package reads 2(0)/V"),
        ("2/microvolt", [50, -100], None),
        ("0.002/nV", [50, -100], None),
        (
            "306000/mV",
            [327, -654],
            "gain of 306000/mV, with which a sample is below 0.11 mV: taken as per V, 306/mV "
            "(the wfdb package reads it as it is)",
        ),
        ("163000/mV", [1, -1], None),  # 0.201 mV at most
        ("200000/V", [500, -1000], None),
    ],
)
def test_one_rule_of_gains_and_units(tmp_path, coding, gain, microvolt, note):
    path = write(tmp_path / "r", [[100, -200], [100, -200]], names=("V1", "V2"), coding=coding, gain=gain)
    record = read_all(path)
    assert record.signal_uv.tolist() == [microvolt, microvolt] and record.has_checksums
    assert record.notes == (() if note is None else (note,)) == read_header(path).notes


@pytest.mark.parametrize("gains", [("306000/mV", "1000/mV"), ("218446.5/mV",) * 2, ("306000(5)/mV",) * 2])
def test_a_large_gain_that_may_be_right_is_the_headers_own(tmp_path, gains):
    path = write(tmp_path / "r", [[30600, -30500], [30600, -30500]], names=("V1", "V2"), gain="G")
    header = tmp_path / "r.hea"
    for gain in gains:
        header.write_text(header.read_text().replace(" G ", f" {gain} ", 1))
    record = read_all(path)
    assert record.notes == ()
    np.testing.assert_array_equal(record.signal_uv, np.rint(wfdb.rdrecord(str(path)).p_signal.T * 1000))


def test_quiet_leads_that_the_wfdb_package_has_written_are_read_as_it_reads_them(tmp_path):
    signal_mv = np.random.default_rng(0).uniform(-0.07, 0.07, (500, 2))
    wfdb.wrsamp("quiet", 100, ["mV"] * 2, ["I", "II"], p_signal=signal_mv, fmt=["16"] * 2, write_dir=str(tmp_path))
    record = read_all(tmp_path / "quiet")
    np.testing.assert_allclose(record.signal_uv, signal_mv.T * 1000, atol=0.51)
    assert record.notes == ()


def test_only_the_gains_of_the_chosen_leads_are_told(tmp_path):
    path = write(tmp_path / "r", [[1], [2], [3]], names=("V1", "V2", "V3"))
    header = tmp_path / "r.hea"
    lines = header.read_text().splitlines()
    header.write_text("\n".join([lines[0], lines[1].replace("1000/mV", "0/uV"), "r.dat 16 V2", lines[3]]))
    assert read_leads(path, lambda names: [2]).notes == ()
    record = read_leads(path, lambda names: [2, 0, 1])
    assert record.signal_uv.tolist() == [[3], [0], [10]]
    assert record.notes == (
        "gain 0 in the header (V1): uncalibrated, taken as 200 adu/uV",
        "no gain in the header (V2): uncalibrated, taken as 200 adu/mV",
    )


def test_checksums_that_are_all_0_are_not_checksums(tmp_path):
    record = read_all(write(tmp_path / "r", [[1, 2], [3, 4]], names=("V1", "V2"), checksums=False))
    assert not record.has_checksums and record.notes == ("the checksums in the header are all 0: taken as not given",)


def test_tiny_gains_are_told_as_large_samples(tmp_path):
    with pytest.raises(DataError, match="a sample of inf mV"):
        read_all(write(tmp_path / "r", [[1, 2]], names=("V1",), gain="1e-320/V"))


# --- several samples a frame, late signals


def test_samples_of_a_frame_are_averaged_after_the_checksum(tmp_path):
    columns = [[1, 2, 3], [10, 20, 30], [12, 26, 30]]  # V1; V2 twice a frame
    path = write(tmp_path / "r", columns, names=("V1", "V2"), coding=["16", "16x2"])
    record = read_all(path)
    assert record.signal_uv.tolist() == [[1, 2, 3], [11, 23, 30]] and record.has_checksums
    assert record.notes == ("V2: averaged from 200 to 100 Hz, the header's own rate",)
    assert np.abs(wfdb.rdrecord(str(path)).p_signal.T * 1000 - record.signal_uv).max() < 1e-6
    columns[2][1] += 2
    write(tmp_path / "x", columns, names=("V1", "V2"), coding=["16", "16x2"])
    (tmp_path / "x.dat").replace(tmp_path / "r.dat")
    with pytest.raises(DataError, match=r"r: damaged: .* are \[6, 130\], the header says \[6, 128\]"):
        read_all(path)
    columns[2][1] = -32768
    with pytest.raises(DataError, match=r"missing samples \(NaN\) in V2 \(1\)"):
        read_all(write(tmp_path / "r", columns, names=("V1", "V2"), coding=["16", "16x2"]))


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_late_signals_are_moved_and_the_rest_is_cut(tmp_path, monkeypatch, block):
    monkeypatch.setattr("ecgcls.data.wfdb_voltage._BLOCK_SAMPLES", 3 * block)
    columns = [[1, 2, 3, 4, 5], [0, 0, 11, 12, 13], [0, 21, 22, 23, 24]]  # V2 two samples late, V3 one
    path = write(tmp_path / "r", columns, names=("V1", "V2", "V3"), coding=["16", "16:2", "16:1"])
    record = read_all(path)
    assert record.signal_uv.tolist() == [[1, 2, 3], [11, 12, 13], [21, 22, 23]] and record.has_checksums
    assert record.notes == (
        "cut to 3 samples, in which all leads are there: the file has V2 by 2, V3 by 1 samples late",
    )
    record = read_leads(path, lambda names: [2, 0])  # what is not chosen does not count
    assert record.signal_uv.tolist() == [[21, 22, 23, 24], [1, 2, 3, 4]] and record.has_checksums
    assert [each.signal_uv.tolist() for each in iter_leads(path, lambda names: [2], block_s=0.02)] == [
        [[21, 22]],
        [[23, 24]],
    ]
    data = bytearray((tmp_path / "r.dat").read_bytes())
    data[-4] ^= 1  # of what is cut off
    (tmp_path / "r.dat").write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        read_all(path)


@pytest.mark.parametrize("block", [1, 3, 100])
def test_a_short_end_that_late_signals_lack_is_their_last_value(tmp_path, monkeypatch, block):
    monkeypatch.setattr("ecgcls.data.wfdb_voltage._BLOCK_SAMPLES", 3 * block)
    line = np.arange(1, 41)
    columns = [line.tolist(), [0, 0, *(line[:38] + 100)], [0, *(line[:39] + 200)]]
    path = write(tmp_path / "r", columns, names=("V1", "V2", "V3"), coding=["16", "16:2", "16:1"])
    record = read_all(path)
    assert record.signal_uv.tolist() == [
        line.tolist(),
        [*range(101, 139), 138, 138],
        [*range(201, 240), 239],
    ]
    assert record.notes == (
        "the file has V2 by 2, V3 by 1 samples late: moved, and the end that it lacks is its last value",
    )


def test_a_late_signal_is_moved_as_wfdb_moves_it(tmp_path):  # which fails with two of them
    samples = np.random.default_rng(0).integers(-99, 99, (2, 20))
    path = write(tmp_path / "r", samples.tolist(), names=("V1", "V2"), coding=["16", "16:4"])
    truth = 1000 * wfdb.rdrecord(str(path)).p_signal.T
    assert np.isnan(truth[1, 16:]).all() and np.abs(truth[:, :16] - read_all(path).signal_uv).max() < 1e-6


def test_a_signal_that_comes_later_than_the_record_is_long(tmp_path):
    path = write(tmp_path / "r", [[1, 2], [3, 4]], names=("V1", "V2"), coding=["16", "16:2"])
    with pytest.raises(DataError, match="r: signals late by 2 samples in a record of 2: none is left"):
        read_all(path)


# --- segments


@pytest.fixture
def segments(tmp_path) -> Path:
    """Two segments of three samples, in the second the signals in another order and with another gain."""
    write(tmp_path / "a", [[1, 2, 3], [11, 12, 13]], names=("V1", "V2"))
    write(tmp_path / "b", [[28, 30, 32], [8, 10, 12]], names=("V2", "V1"), gain="2000/mV")
    (tmp_path / "layout.hea").write_text("layout 2 100 0\n~ 0 1000/mV 16 0 0 0 0 V1\n~ 0 1000/mV 16 0 0 0 0 V2\n")
    return tmp_path


@pytest.mark.parametrize("lines", ["r/2 2 100 6\na 3\nb 3\n", "r/3 2 100 6\nlayout 0\na 3\nb 3\n"])
def test_segments_are_joined_by_the_signals_names(segments, lines):
    (segments / "r.hea").write_text(lines)
    record = read_all(segments / "r")
    assert record.signal_uv.tolist() == [[1, 2, 3, 4, 5, 6], [11, 12, 13, 14, 15, 16]] and record.has_checksums
    header = read_header(segments / "r")
    assert header.signal_names == ("V1", "V2") and header.n_samples == 6 and header.sampling_rate_hz == 100
    blocks = iter_leads(segments / "r", lambda names: [1], block_s=0.04)
    assert [block.signal_uv.tolist() for block in blocks] == [[[11, 12, 13, 14]], [[15, 16]]]
    data = bytearray((segments / "b.dat").read_bytes())
    data[0] ^= 4
    (segments / "b.dat").write_bytes(data)
    with pytest.raises(DataError, match="b: damaged: the samples' checksums are"):
        read_all(segments / "r")


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ("r/3 2 100 106\na 3\n~ 100\nb 3\n", "r: missing samples: a gap from 0.03 to 1.03 s"),
        ("r/2 2 100 6\na 3\nother 3\n", r"r: missing samples: no V2 from 0.03 to 0.06 s \(segment other\)"),
        ("r/2 2 100 6\na 3\na 3\n", "r: the segment a is named twice"),
        ("r/2 2 100 7\na 3\nb 4\n", "r: the segment b must have 4 samples and no segments, its header says 3"),
        ("r/2 2 200 6\na 3\nb 3\n", "r: 200 Hz, its segment a 100 Hz"),
        ("r/1 2 100 3\nr 3\n", "r: the header announces no signals"),
        ("r/2 2 100 6\na 3\nc 3\n", r"c\.hea: the header cannot be read \(No such file"),
        ("r/1 2 100 6\n~ 6\n", "r: no segment but gaps"),
        ("r/1 2 100 0\nlayout 0\n", "r: the segments have no samples"),
        ("r/2 2 100 6\na 3\nlate 3\n", "r: missing samples: signals that come late"),
    ],
)
def test_what_segments_cannot_be(segments, lines, match):
    write(segments / "other", [[1, 2, 3], [4, 5, 6]], names=("V1", "V3"))
    write(segments / "late", [[1, 2, 3], [4, 5, 6]], names=("V1", "V2"), coding="16:1")
    (segments / "r.hea").write_text(lines)
    with pytest.raises(DataError, match=match) as caught:
        read_all(segments / "r")
    assert "\n" not in str(caught.value)


def test_a_lead_that_only_another_segment_lacks_does_not_count(segments):
    write(segments / "other", [[1, 2, 3], [4, 5, 6]], names=("V1", "V3"))
    (segments / "r.hea").write_text("r/2 2 100 6\na 3\nother 3\n")
    assert read_leads(segments / "r", lambda names: [0]).signal_uv.tolist() == [[1, 2, 3, 1, 2, 3]]


# --- long recordings


def test_blocks_follow_each_other_and_the_checksum_comes_last(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgcls.data.wfdb_voltage._BLOCK_SAMPLES", 7)
    samples = np.random.default_rng(0).integers(-999, 999, (2, 50))
    path = write(tmp_path / "r", samples.tolist(), names=("V1", "V2"))
    for block_s, lengths in ((0.2, [20, 20, 10]), (0.25, [25, 25]), (600, [50]), (float("inf"), [50]), (0, [1] * 50)):
        blocks = [record.signal_uv for record in iter_leads(path, lambda names: [1, 0], block_s=block_s)]
        assert [block.shape[1] for block in blocks] == lengths
        assert np.array_equal(np.concatenate(blocks, axis=1), samples[::-1])
    data = bytearray((tmp_path / "r.dat").read_bytes())
    data[0] ^= 1
    (tmp_path / "r.dat").write_bytes(data)
    blocks = iter_leads(path, lambda names: [1, 0], block_s=0.25)
    assert next(blocks).signal_uv.shape == (2, 25)
    with pytest.raises(DataError, match="r: damaged"):
        next(blocks)


# --- what must not be opened


@pytest.mark.parametrize("fmt", ["16", "24", "516"])
def test_only_regular_files_are_opened(tmp_path, fmt):
    path = write(tmp_path / "r", [[0, 0]] * 12, names=LEADS, coding=fmt)
    dat = tmp_path / "r.dat"
    size = 12 * 2 * int(fmt) // 8
    for make, what in (
        (lambda: os.mkfifo(dat), "a pipe, a device or a socket"),
        (lambda: dat.symlink_to("/dev/zero"), "a pipe, a device or a socket"),
        (dat.mkdir, "a folder"),
    ):
        dat.unlink() if not dat.is_dir() else dat.rmdir()
        make()
        with pytest.raises(DataError, match=rf"r\.dat: the signal file must be a regular file, got {what}"):
            read_record(path)
    dat.rmdir()
    if fmt != "516":
        (tmp_path / "elsewhere").write_bytes(bytes(size))
        dat.symlink_to(tmp_path / "elsewhere")  # a link to a regular file is one
        assert not read_record(path).signal_uv.any()
    header = tmp_path / "r.hea"
    header.unlink()
    os.mkfifo(header)
    with pytest.raises(DataError, match=r"r\.hea: the header must be a regular file, got a pipe"):
        read_record(path)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("a\0b", r"a\\0b\.hea: the header cannot be read"),
        ("x" * 300, "the header cannot be read .File name too long"),
        ("a/" * 3000, "the header cannot be read .File name too long"),
        ("\udcff", "the header cannot be read"),
        ("none", "the header cannot be read .No such file"),
    ],
)
def test_paths_that_cannot_be(tmp_path, name, match):
    for read in (read_record, read_header, read_recording, lambda path: next(iter_leads(path, list))):
        with pytest.raises(DataError, match=match) as caught:
            read(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1
        str(caught.value).encode()  # can be printed


def test_endless_headers_are_not_read(tmp_path):
    with (tmp_path / "r.hea").open("wb") as file:
        file.truncate(10**12)  # takes no room on the disk
    with pytest.raises(DataError, match=r"r\.hea: not a WFDB header: 1000000000000 bytes, expected at most 4000000"):
        read_record(tmp_path / "r")


def test_a_file_without_permission(tmp_path, monkeypatch):
    path = write(tmp_path / "r", [[0]] * 12, names=LEADS)

    def refuse(opens):  # as the system does to all but the superuser, who may run this
        def refused(name, *arguments, **options):
            if str(name).endswith(".dat"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
            return opens(name, *arguments, **options)

        return refused

    monkeypatch.setattr(os, "open", refuse(os.open))
    monkeypatch.setattr("builtins.open", refuse(open))
    with pytest.raises(DataError, match=r"r\.dat: the signal file cannot be read \(Permission denied\)"):
        read_record(path)
