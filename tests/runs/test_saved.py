import copy
import os
import pickle
import time

import pytest

from ecgcls.errors import DataError
from ecgcls.runs.saved import Node, check_types, read_json, read_yaml, to_plain

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name}\n  <<: [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("read", "content", "match"),
    [
        (read_json, "", "Expecting value"),
        (read_json, "[1, 2]", "expected a mapping, got list"),
        (read_json, "null", "expected a mapping, got NoneType"),
        (read_json, '{"a": NaN}', "a number must be finite, got NaN"),
        (read_json, '{"a": 1e999}', "a number must be finite, got 1e999"),
        (read_json, '{"a": 1' + "0" * 40 + "}", "a whole number of 41 digits"),
        (read_json, '{"a": 1' + "0" * 9000 + "}", "4300 digits"),
        (read_json, '{"a":' * 40 + "1" + "}" * 40, "at most 30 levels"),
        (read_json, '{"a":' * 100_000, "recursion"),
        (read_json, b"\xff\xfe", "can't decode"),
        (read_json, "{" + " " * 2000 + "}", r"0\.0 MB, expected at most"),
        (read_yaml, "a: [", "expected the node content"),
        (read_yaml, "a: " + "[" * 900, "recursion|depth"),
        (read_yaml, "3: 1\n2020-01-01: 2", "a key must be text"),
        (read_yaml, "a: 2020-01-01", "a value must be a number or text, got date"),
        (read_yaml, "a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        (read_yaml, LAUGHS, "at most 30 levels and 100,000 values"),
        (read_yaml, MERGES, "no merge keys"),
        (read_yaml, "a: &a [*a]", "at most 30 levels|unhashable|recursive"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, read, content, match):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=match) as refused:
        read(path, max_bytes=1000 if "     " in str(content) else 1_000_000)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    start = time.monotonic()
    for name, kind in (("pipe", "a device or a pipe"), ("zero", "a device or a pipe"), ("folder", "a folder")):
        with pytest.raises(DataError, match=f"{name}: expected a file, got {kind}"):
            read_json(tmp_path / name, max_bytes=1000)
    with pytest.raises(DataError, match="nothing: this file of the run is missing"):
        read_json(tmp_path / "nothing", max_bytes=1000)
    assert time.monotonic() - start < 10  # a pipe would block for good


def test_a_missing_key_is_named_with_its_file(tmp_path):
    (tmp_path / "run.json").write_text('{"data": {"parts": {"val": 1}}, "list": [{"a": 1}]}')
    node = read_json(tmp_path / "run.json", max_bytes=1000)
    for same in (node, copy.deepcopy(node), pickle.loads(pickle.dumps(node))):
        assert same == {"data": {"parts": {"val": 1}}, "list": [{"a": 1}]}
        with pytest.raises(DataError, match=r"run\.json: damaged \('test' is missing\); retrain with overwrite=true"):
            same["data"]["parts"]["test"]
        assert same["data"].get("test") is None
    assert type(to_plain(node)["list"][0]) is dict


def test_types_are_held_against_annotations_at_any_depth():
    hints = {"names": list[str], "inner": {"n": int, "of": dict[str, float]}}
    check_types({"names": ["a"], "inner": {"n": 1, "of": {"x": 1}, "more": "free"}, "more": None}, hints, where="f")
    for wrong, match in (
        ({"names": ["a", 3]}, "names: .*str"),
        ({"inner": [1]}, "inner must be a mapping"),
        ({"inner": {"of": {"x": 1.5, "y": "z"}}}, r"inner\.of: .*float"),
    ):
        with pytest.raises(DataError, match=rf"f: damaged \({match}"):
            check_types(Node(wrong, "f"), hints, where="f")
