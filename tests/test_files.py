import errno
import hashlib
import io
import json

import numpy as np
import pandas as pd
import pytest

from ecgcls.files import (
    encode_csv,
    hash_records,
    hash_signals,
    hash_standardizer,
    name_file,
    name_files,
    restore,
    write_atomically,
    write_json,
)


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
    lines = '["MI", "CD"]\n1,8,0001\n3,7,01ff'  # 255 is -1, not annotated
    pinned = hashlib.sha256(lines.encode()).hexdigest()
    y_true = np.array([[1, -1], [0, 1]])
    for ids, patients in (([3, 1], [7, 8]), (np.array([3, 1]), np.array([7, 8])), (pd.Index([3.0, 1.0]), [7.0, 8.0])):
        assert hash_records(ids, patients, y_true, ["MI", "CD"]) == pinned
        assert hash_records(ids[::-1], patients[::-1], y_true[::-1].astype(float), ("MI", "CD")) == pinned
    named = [
        hash_records(ids, "ab", [[1], [1]], ["MI"]) for ids in (np.array(["JS1", "007"]), ["JS1", "007"], ["JS1", "7"])
    ]
    assert named[0] == named[1] != named[2]


def test_the_hash_of_a_part_changes_with_each_label_patient_id_and_signal():
    records = {"ecg_ids": [1, 2], "patient_ids": [5, 6], "y_true": [[1, 0], [0, 1]], "class_names": ["MI", "CD"]}
    changes = {"ecg_ids": [1, 3], "patient_ids": [6, 5], "y_true": [[1, 0], [1, 0]], "class_names": ["CD", "MI"]}
    hashes = {hash_records(**records), *(hash_records(**records | {key: value}) for key, value in changes.items())}
    assert len(hashes) == 5
    signals = hash_signals([1, 2], [[0, 1], [2, 3]])
    assert signals == hash_signals([2, 1], [[2, 3], [0, 1]]) != hash_signals([1, 2], [[2, 3], [0, 1]])


def test_a_standardizer_is_known_by_its_values_and_signals():
    one = hash_standardizer("a" * 64, np.array([0.1, 0.2]), np.array([1.0, 0.0]))
    assert one == hash_standardizer("a" * 64, np.float32([[0.1], [0.2]]), np.float32([[1.0], [1.0]]))  # as buffers are
    assert one != hash_standardizer("b" * 64, np.array([0.1, 0.2]), np.array([1.0, 0.0]))
    assert one != hash_standardizer("a" * 64, np.array([0.1, 0.2]), np.array([1.01, 0.0]))


def test_a_file_name_holds_no_path_and_keeps_the_letters():
    assert name_file("../a b\\c:*?") == "..-a-b-c---"
    assert name_file("É_2+(S)") == "É_2+(S)"


def test_a_free_name_is_found_where_the_next_is_taken_too():
    assert [*name_files(["ü" * 200, "ü" * 199 + "x"]).values()] == ["ü" * 40, "ü" * 40 + "-2"]  # 80 bytes
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
