import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.record_files import find_missing, find_recordings
from ecgcls.data.recordings import read_recording
from ecgcls.data.signals import read_record
from ecgcls.errors import ConfigError, DataError
from tests.data.binary_files import write_dicom
from tests.data.device_files import write_csv, write_muse

FILENAMES = pd.Series({ecg_id: f"records100/{ecg_id:05d}_lr" for ecg_id in (7, 3, 11, 20, 5)})


# --- the files of a table's records


@pytest.fixture
def root(tmp_path) -> Path:
    """A header and a signal file for each record; what they hold does not matter."""
    (tmp_path / "ecgs" / "records100").mkdir(parents=True)
    for name in FILENAMES:
        (tmp_path / "ecgs" / f"{name}.hea").write_text(f"{Path(name).name} 1 100 2\n{Path(name).name}.dat 16\n")
        (tmp_path / "ecgs" / f"{name}.dat").write_bytes(bytes(4))
    return tmp_path / "ecgs"


def test_missing_files_are_found(root):
    assert find_missing(root, FILENAMES).empty
    (root / f"{FILENAMES[3]}.hea").unlink()
    (root / f"{FILENAMES[5]}.dat").unlink()
    (root / f"{FILENAMES[20]}.hea").unlink()
    (root / f"{FILENAMES[20]}.dat").unlink()
    (root / f"{FILENAMES[3]}.atr").touch()  # two files, but no header
    filenames = pd.concat([FILENAMES, pd.Series({99: "records200/00099_lr"})])
    missing = find_missing(root, filenames)
    assert missing.to_dict() == {ecg_id: filenames[ecg_id] for ecg_id in (3, 20, 5, 99)}


def test_signal_files_may_have_other_names(root):
    header, dat = root / f"{FILENAMES[3]}.hea", root / f"{FILENAMES[3]}.dat"
    header.write_text(header.read_text().replace(dat.name, "elsewhere.dat"))
    assert find_missing(root, FILENAMES).empty  # two files of its name
    dat.rename(dat.with_name("elsewhere.dat"))
    assert find_missing(root, FILENAMES).empty
    dat.with_name("elsewhere.dat").unlink()
    assert find_missing(root, FILENAMES).to_dict() == {3: FILENAMES[3]}


def test_a_file_in_place_of_the_records_folder(root):
    shutil.rmtree(root / "records100")
    (root / "records100").write_text("<html>404 Not Found</html>")
    assert find_missing(root, FILENAMES).equals(FILENAMES)


def test_records_beside_the_tables(tmp_path, root):
    flat = Path(shutil.copytree(root / "records100", tmp_path / "flat"))
    assert find_missing(flat, FILENAMES.str.removeprefix("records100/")).empty
    assert find_missing(flat, pd.Series({1: "00001_lr"})).to_dict() == {1: "00001_lr"}


# --- the records that a user asks for


@pytest.fixture(scope="module")
def path(synthetic_root):
    return sorted(synthetic_root.glob("records100/*/*.hea"))[0].with_suffix("")


@pytest.fixture
def folder(tmp_path, path):
    """Three records, one of them in a subfolder, and a file that is not a record."""
    for name in ("a_lr", "b_lr", "deep/c_hr"):
        target = tmp_path / "my ecgs, new" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".hea", ".dat"):
            target.with_name(target.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    (tmp_path / "my ecgs, new" / "notes.md").write_text("none")
    return tmp_path / "my ecgs, new"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("", ["a_lr", "b_lr", "deep/c_hr"]),
        ("a_lr", ["a_lr"]),
        ("a_lr.hea", ["a_lr"]),
        ("a_lr.dat", ["a_lr"]),
        ("*", ["a_lr", "b_lr", "deep/c_hr"]),
        ("**/*_hr.hea", ["deep/c_hr"]),
        ("?_lr.hea", ["a_lr", "b_lr"]),
    ],
)
def test_records_are_found_however_they_are_named(folder, source, names):
    found = find_recordings(str(folder / source), sampling_rate_hz=100)
    assert [str(path.relative_to(folder)) for path in found] == names


@pytest.mark.parametrize("source", ["nothing", "*.edf", "notes.md"])
def test_nothing_found_is_an_error(folder, source):
    with pytest.raises(ConfigError, match=r"input=.*expected an ECG \(WFDB, GE MUSE XML.*a folder, a list"):
        find_recordings(str(folder / source), sampling_rate_hz=100)


def test_a_folder_without_a_header_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="a folder without a WFDB header"):
        find_recordings(str(tmp_path), sampling_rate_hz=100)


def test_a_csv_list_keeps_its_order_and_records_that_do_not_exist(folder):
    table = folder / "list.csv"
    table.write_text("who,path\nx,b_lr.hea\ny,gone\nz,a_lr\nx,b_lr\n")
    assert find_recordings(str(table), sampling_rate_hz=100) == [folder / "b_lr", folder / "gone", folder / "a_lr"]
    table.write_text("record_name\ndeep/c_hr\n")
    assert find_recordings(str(table), sampling_rate_hz=100) == [folder / "deep" / "c_hr"]
    table.write_text("who,where\na,b\n")
    with pytest.raises(ConfigError, match="expected a column path"):
        find_recordings(str(table), sampling_rate_hz=100)


@pytest.mark.parametrize(("rate_hz", "column"), [(100, "filename_lr"), (500, "filename_hr")])
def test_ptbxls_own_table_is_a_list(synthetic_root, rate_hz, column):
    found = find_recordings(str(synthetic_root / "ptbxl_database.csv"), sampling_rate_hz=rate_hz)
    expected = pd.read_csv(synthetic_root / "ptbxl_database.csv")[column]
    assert found == [synthetic_root / name for name in expected]


def test_segments_of_a_record_are_not_listed_as_records(tmp_path, write_record, monkeypatch):
    rng = np.random.default_rng(0)
    halves = [rng.integers(-500, 500, size=(500, 12)) for _ in range(2)]
    for name, half in zip(("s1", "s2"), halves, strict=True):
        write_record(tmp_path / name, half)
    (tmp_path / "whole.hea").write_text("whole/2 12 100 1000\ns1 500\ns2 500\n")
    (tmp_path / "loop.hea").write_text("loop/2 12 100 1000\ns1 500\nloop 500\n")  # is read, which reports it
    assert find_recordings(str(tmp_path), sampling_rate_hz=100) == [tmp_path / "loop", tmp_path / "whole"]
    monkeypatch.chdir(tmp_path)
    assert find_recordings(".", sampling_rate_hz=100) == [Path("loop"), Path("whole")]
    np.testing.assert_array_equal(read_record(tmp_path / "whole").signal_uv, np.concatenate(halves).T)


# --- files of devices among WFDB records


@pytest.fixture
def mixed(folder):
    """Two WFDB records, one of which has an annotation, device files of any name, and what is no ECG."""
    signal_mv = np.zeros((12, 100))
    (folder / "deep" / "c_hr.atr").write_bytes(b"\0\0")
    write_muse(folder / "d.xml", signal_mv, LEADS, 500)
    write_muse(folder / "a_lr.xml", signal_mv, LEADS, 500)  # beside the header a_lr.hea
    write_dicom(folder / "deep" / "IM000001", signal_mv, LEADS, 500)
    write_dicom(folder / "DICOMDIR", signal_mv, LEADS, 500)
    write_csv(folder / "e.csv", signal_mv, LEADS, 500)
    (folder / "broken.xml").write_text("<no")
    (folder / "labels.csv").write_text("path,MI\nd.xml,1\n")
    (folder / "page.png").write_bytes(b"\x89PNG")
    return folder


MIXED = ["a_lr", "a_lr.xml", "b_lr", "broken.xml", "d.xml", "deep/IM000001", "deep/c_hr", "e.csv"]


def test_a_folder_gives_all_ecgs_and_names_what_is_none(mixed, caplog):
    found = find_recordings(str(mixed), sampling_rate_hz=100)
    assert [str(path.relative_to(mixed)) for path in found] == MIXED
    assert "passed over (4): DICOMDIR, labels.csv, notes.md, page.png" in caplog.text


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("d.xml", ["d.xml"]),
        ("a_lr.xml", ["a_lr.xml"]),
        ("deep/IM000001", ["deep/IM000001"]),
        ("e.csv", ["e.csv"]),
        ("broken.xml", ["broken.xml"]),
        ("*.xml", ["a_lr.xml", "broken.xml", "d.xml"]),
        ("labels.csv", ["d.xml"]),
    ],
)
def test_device_files_are_found_however_they_are_named(mixed, source, names):
    found = find_recordings(str(mixed / source), sampling_rate_hz=100)
    assert [str(path.relative_to(mixed)) for path in found] == names


def test_a_glob_names_what_it_passes_over(mixed, caplog):
    found = find_recordings(str(mixed / "[de]*"), sampling_rate_hz=100)
    assert [str(path.relative_to(mixed)) for path in found] == ["d.xml", "e.csv", "deep/IM000001", "deep/c_hr"]
    assert find_recordings(str(mixed / "[dp]*.*"), sampling_rate_hz=100) == [mixed / "d.xml"]
    assert "passed over (1): page.png" in caplog.text


def test_a_list_names_files_of_any_kind(mixed):
    rows = ["d.xml", "a_lr.hea", "deep\\IM000001", "gone.xml", "page.png", "e.csv"]
    (mixed / "list.csv").write_text("\n".join(["path", *rows]))
    found = find_recordings(str(mixed / "list.csv"), sampling_rate_hz=100)
    expected = ["d.xml", "a_lr", "deep/IM000001", "gone.xml", "page.png", "e.csv"]
    assert found == [mixed / name for name in expected]
    for name, match in [
        ("gone.xml", r"gone\.xml: the file cannot be read"),
        ("page.png", r"page\.png: no ECG .* a picture"),
    ]:
        with pytest.raises(DataError, match=match):
            read_recording(mixed / name)


def test_what_is_no_ecg_is_refused_with_the_reason(mixed):
    with pytest.raises(ConfigError, match=r"page\.png: a picture: export the ECG as data; expected an ECG \(WFDB"):
        find_recordings(str(mixed / "page.png"), sampling_rate_hz=100)
