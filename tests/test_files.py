import errno
import io
import json

import numpy as np
import pandas as pd
import pytest

from ecgcls.files import encode_csv, hash_records, name_file, name_files, restore, write_atomically, write_json


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


def test_no_text_of_a_table_is_a_formula():
    names = ["=1+1", "+1", "-MI", "@x", "\tx", "'=1", "MI", "'90s", "a=b"]
    table = pd.DataFrame({"=name": names, "value": -1.5}, index=pd.Index(names, name="class"))
    read = pd.read_csv(io.BytesIO(encode_csv(table)))
    assert [*read] == ["class", "'=name", "value"] and read["value"].tolist() == [-1.5] * 9
    assert not any(text[0] in "=+-@\t" for text in [*read["class"], *read["'=name"]])
    assert [*map(restore, read["class"])] == names
    assert encode_csv(table, index=False).decode().count("class") == 0


def test_the_hash_of_records_is_the_same_for_whole_numbers_of_any_type():
    pinned = "ef96f1f6b55a072e70c2b4e8bd6585793f5f05ace0c01a5b07fad298a4d0051a"
    assert {hash_records(ids) for ids in ([1, 3], np.array([3, 1]), pd.Index([3.0, 1.0]))} == {pinned}
    assert hash_records(np.array(["JS1", "007"])) == hash_records(["007", "JS1"]) != hash_records(["7", "JS1"])


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
