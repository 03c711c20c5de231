import errno
import os
from pathlib import Path

import pytest

from ecgcls.command.refusal import explain, is_expected


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "no permission; read or write elsewhere"),
        (errno.EROFS, "the file system is read-only; write elsewhere"),
        (errno.ENAMETOOLONG, "the name is too long for this file system"),
        (errno.EISDIR, "is a folder, expected a file"),
        (errno.ENOTDIR, "a part of this path is a file"),
        (errno.ELOOP, "symbolic links that lead in a circle"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_the_file(code, words):
    error = OSError(code, os.strerror(code), "out/predictions.csv")
    assert is_expected(error)
    assert explain(error).startswith(f"out/predictions.csv: {words}")
    assert not is_expected(OSError(code, os.strerror(code)))  # no file: a fault of the program


def test_a_path_with_a_nul_byte_is_one_line():
    with pytest.raises(ValueError, match="null") as refused:
        Path("a\0b").read_text()
    assert is_expected(refused.value)
    assert explain(refused.value) == "a path has a NUL byte in it, which no file's name can have"


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "a" / "run.json"
    path.parent.mkdir()
    path.symlink_to(path)
    with pytest.raises(OSError, match=r"run\.json") as refused:
        path.read_text()
    assert explain(refused.value) == f"{path}: symbolic links that lead in a circle"
