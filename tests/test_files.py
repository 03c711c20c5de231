import errno
import json

import pytest

from ecgcls.files import name_file, name_files, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_atomically(path, b"old")

    def break_down(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", break_down)
    with pytest.raises(OSError, match=r"No space left on device: .*file\.txt"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


def test_a_file_name_holds_no_path_and_keeps_the_letters():
    assert name_file("../a b\\c:*?") == "..-a-b-c---"
    assert name_file("É_2+(S)") == "É_2+(S)"


def test_a_free_name_is_found_where_the_next_is_taken_too():
    names = name_files(["A-B-2", "A-B", "A/B", "a/b"])
    assert names == {"A-B-2": "A-B-2", "A-B": "A-B", "A/B": "A-B-3", "a/b": "a-b-4"}


@pytest.mark.parametrize("items", [[], [{"a": 1}], [{"a": [1, 2], "b": "É"}, {"a": {"records": []}, "b": None}]])
def test_a_long_list_of_json_has_a_line_an_item(tmp_path, items):
    content = {"inner": {"records": []}, "records": items, "last": 0.1}
    write_json(tmp_path / "file.json", content, rows="records")
    text = (tmp_path / "file.json").read_text()
    assert json.loads(text) == content
    assert list(json.loads(text)) == list(content)
    assert [json.loads(line.strip().rstrip(",")) for line in text.splitlines() if line.startswith("    {")] == items
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"records": [float("nan")]}, rows="records")
