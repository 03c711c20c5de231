import logging
import zipfile

import numpy as np
import pytest

from ecgcls.data import archives
from ecgcls.data.archives import unpacked
from ecgcls.data.record_files import find_recordings
from ecgcls.errors import ConfigError


@pytest.fixture(scope="module")
def ecgs(tmp_path_factory, write_record):
    """Two records beside a list, one in a folder."""
    folder = tmp_path_factory.mktemp("lists") / "ecgs, of mine"
    (folder / "data" / "p1").mkdir(parents=True)
    samples = np.arange(24).reshape(2, 12)
    for name in ("a", "b", "data/p1/c"):
        write_record(folder / name, samples)
    (folder / "data" / "p1" / "c.dat").rename(folder / "data" / "p1" / "c.mat")
    return folder


def find(ecgs, name, content):
    path = ecgs / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        found = find_recordings(str(path), sampling_rate_hz=100)
    finally:
        path.unlink()
    return [str(record.relative_to(ecgs)) for record in found]


@pytest.mark.parametrize(
    ("name", "content", "records"),
    [
        ("RECORDS", "a\nb\n", ["a", "b"]),
        ("RECORDS", "data/p1/\na\n", ["data/p1/c", "a"]),
        ("list.txt", "a\r\nb.hea\r\n", ["a", "b"]),
        ("nohead.csv", "a\nb\n", ["a", "b"]),
        ("nohead.csv", "gone17\nb\n", ["gone17", "b"]),
        ("nohead.csv", "7,a,55\n8,b,66\n", ["a", "b"]),
        ("one.csv", "record_name\nb\na\n", ["b", "a"]),
        ("record_list.csv", "subject_id,study_id,file_name,ecg_time,path\n1,2,b,2180-07-23 08:44:00,a\n", ["a"]),
        ("semicolon.csv", "subject_id;path\n1;a\n", ["a"]),
        ("tabs.tsv", "who\tPath\nx\tb\n", ["b"]),
        ("bom.csv", b"\xef\xbb\xbfpath\r\na\r\n", ["a"]),
        ("excel.csv", "who\tpath\r\nM\u00fcller\ta\r\n".encode("utf-16"), ["a"]),
        ("latin.csv", "who,path\nM\u00fcller,a\n".encode("latin-1"), ["a"]),
        ("quoted.csv", 'who,path\n"M, X","a"\n', ["a"]),
        ("quoted.txt", '"a"\n', ["a"]),
        ("windows.csv", "path\n.\\a.hea\ndata\\p1\\c.mat\n", ["a", "data/p1/c"]),
        ("windows.txt", "C:\\ecgs\\a.hea\nb\n", ["C:/ecgs/a", "b"]),
        ("slash.csv", "path\n/a.hea\n./b.dat\n", ["a", "b"]),
        ("nested.csv", "path\np1/c\n", ["data/p1/c"]),
        ("gaps.csv", "path,x\na,1\n\n,2\nb,3\n\n", ["a", "b"]),
        ("twice.csv", "path\na\nb\na.hea\n", ["a", "b"]),
        ("long.csv", f"path\na\n{'x' * 5000}17\n", ["a", f"{'x' * 5000}17"]),
        ("comma.csv", "data/p1/c\n", ["data/p1/c"]),
    ],
)
def test_lists_as_people_have_them(ecgs, name, content, records):
    assert find(ecgs, name, content) == records


def test_a_record_beside_the_command_is_found_last(ecgs, tmp_path, monkeypatch, write_record):
    for name in ("a", "here"):
        write_record(tmp_path / name, np.zeros((2, 12), dtype=int))
    monkeypatch.chdir(tmp_path)
    (ecgs / "list.csv").write_text("path\na\nhere\n")
    found = find_recordings(str(ecgs / "list.csv"), sampling_rate_hz=100)
    (ecgs / "list.csv").unlink()
    assert [path.resolve() for path in found] == [ecgs / "a", tmp_path / "here"]


def test_what_is_skipped_is_told(ecgs, caplog):
    with caplog.at_level(logging.INFO):
        find(ecgs, "list.csv", "record_name\na\na\n")
        find(ecgs, "gaps.csv", "path,x\na,1\n,2\n")
    assert "'record_name' is taken as the name of the column" in caplog.text
    assert "1 of its records repeat another" in caplog.text
    assert "rows without a path are skipped (1)" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("who,pth\nx,a\n", r"expected a column path \(or .*\), got who, pth; did you mean pth"),
        ("who,where\na7,b7\n", "got who, where$"),
        (b"\x00\x01\x02", "not a text"),
        ("", "a list without a record"),
        ("path\n", "a list without a record"),
    ],
)
def test_a_list_that_names_no_record(ecgs, content, message):
    with pytest.raises(ConfigError, match=message):
        find(ecgs, "list.csv", content)


def test_a_record_by_its_signal_file_and_hidden_files(ecgs, write_record):
    assert find_recordings(str(ecgs / "data" / "p1" / "c.mat"), sampling_rate_hz=100) == [ecgs / "data" / "p1" / "c"]
    (ecgs / ".hidden").mkdir()
    for name in ("._a", ".hidden/d"):
        write_record(ecgs / name, np.zeros((2, 12), dtype=int)) if "/" in name else (ecgs / "._a.hea").touch()
    found = find_recordings(str(ecgs), sampling_rate_hz=100)
    assert [str(path.relative_to(ecgs)) for path in found] == ["a", "b", "data/p1/c"]


def test_records_in_a_zip_file(ecgs, tmp_path):
    path = tmp_path / "ecgs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.hea", "a.dat", "data/p1/c.hea", "data/p1/c.mat"):
            archive.write(ecgs / name, f"copy/{name}")
        for name in ("__MACOSX/copy/._a.hea", "copy/.DS_Store"):
            archive.writestr(name, "x")
    with unpacked(str(path)) as folder:
        found = find_recordings(folder, sampling_rate_hz=100)
        assert [str(record.relative_to(folder)) for record in found] == ["copy/a", "copy/data/p1/c"]
        assert (found[0].with_suffix(".dat")).read_bytes() == (ecgs / "a.dat").read_bytes()
    assert not found[0].parent.exists()
    with unpacked(str(ecgs)) as folder:
        assert folder == str(ecgs)


@pytest.mark.parametrize("name", ["../out.hea", "/etc/out.hea", "a/../../out.hea", "C:\\out.hea"])
def test_a_zip_file_writes_nowhere_else(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ConfigError, match="leads out of its folder"), unpacked(str(tmp_path / "bad.zip")):
        pass


def test_a_zip_file_that_is_damaged_or_too_large(tmp_path, monkeypatch):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dat", bytes(1_000_000))
    monkeypatch.setattr(archives, "MAX_BYTES", 999_999)
    with pytest.raises(ConfigError, match=r"1 files of 0\.0 GB unpacked, at most"), unpacked(str(path)):
        pass
    monkeypatch.setattr(archives, "_LARGE", 100_000)
    monkeypatch.setattr(archives, "MAX_BYTES", 1_000_000)
    with pytest.raises(ConfigError, match=r"0\.0 GB unpacked, more than 200 times its size"), unpacked(str(path)):
        pass
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ConfigError, match=r"bad\.zip: the ZIP file cannot be unpacked"), unpacked(str(path)):
        pass
