import json

import pytest

from ecgcls.errors import ConfigError
from ecgcls.outputs import MARK, check_output, check_output_file, claimed, name_output


def write(folder, names, command="interpret"):
    with claimed(folder, command):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(command)


def list_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_command_replaces_what_it_wrote_and_nothing_else(tmp_path):
    folder = tmp_path / "out"
    write(folder, ["records.csv", "figures/a.png", "figures/b.png", "maps/c.npz"])
    (folder / "notes.txt").write_text("mine")
    (folder / "figures" / "mine.png").write_text("mine")
    write(folder, ["records.csv", "figures/a.png"])
    assert list_files(folder) == [MARK, "figures/a.png", "figures/mine.png", "notes.txt", "records.csv"]
    assert not (folder / "maps").exists()
    assert json.loads((folder / MARK).read_text()) == {
        "command": "interpret",
        "files": ["figures/a.png", "records.csv"],
    }


def test_what_was_written_before_an_error_is_known_as_well(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "out", "predict"):
        (tmp_path / "out" / "a.csv").touch()
        raise ZeroDivisionError
    write(tmp_path / "out", ["b.csv"], "predict")
    assert list_files(tmp_path / "out") == [MARK, "b.csv"]


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    home, run, other, file = (tmp_path / name for name in ("home", "fold_0", "other", "file"))
    for folder, name in ((home, "figures/thesis.png"), (run, "run.json"), (run, "predictions.csv")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    write(other, ["a.csv"], "evaluate")
    file.write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for folder, match in (
        (home, r"home is not empty \(figures is in it\), and not one of interpret's results; name a new folder"),
        (run, r"fold_0 is the folder of a run, and not one of interpret's results"),
        (other, r"other holds results of evaluate; name another folder for interpret's"),
        (file, r"file is a file, expected a folder"),
        (file / "below", r"file cannot be written \(it is a file\); set output=PATH"),
        (tmp_path / ("x" * 300), r"cannot be written \(File name too long\)"),
    ):
        with pytest.raises(ConfigError, match=match) as refused:
            write(folder, ["figures/a.png"])
        assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["../precious", "/precious", "link/precious", "a/../../precious"])
def test_a_mark_from_elsewhere_deletes_nothing_outside(tmp_path, name):
    folder, precious = tmp_path / "out", tmp_path / "precious"
    precious.write_text("mine")
    write(folder, ["a.csv"])
    (folder / "link").symlink_to(tmp_path)
    name = str(precious) if name == "/precious" else name
    (folder / MARK).write_text(json.dumps({"command": "interpret", "files": [name, "a.csv"]}))
    write(folder, [])
    assert precious.read_text() == "mine"
    assert not (folder / "a.csv").exists()


@pytest.mark.parametrize("mark", ["", "[]", '{"command": 3, "files": []}', '{"files": []}', "[" * 100_000])
def test_a_damaged_mark_is_none(tmp_path, mark):
    write(tmp_path / "out", ["a.csv"])
    (tmp_path / "out" / MARK).write_text(mark)
    with pytest.raises(ConfigError, match="is not empty"):
        check_output(tmp_path / "out", "interpret")


def test_a_report_replaces_only_a_report(tmp_path):
    page = tmp_path / "page.html"
    check_output_file(page, begins_with=b"ecgcls")
    page.write_text("<meta name=generator content=ecgcls>")
    check_output_file(page, begins_with=b"ecgcls")
    page.write_text("<p>My thesis")
    with pytest.raises(ConfigError, match=r"page\.html is there and was not written by this command"):
        check_output_file(page, begins_with=b"ecgcls")
    with pytest.raises(ConfigError, match="is a folder, expected the name of a file in it"):
        check_output_file(tmp_path, begins_with=b"ecgcls")


def test_results_of_two_inputs_have_two_names():
    assert name_output("a/ecgs") == name_output("a/./ecgs")
    assert name_output("a/ecgs") != name_output("b/ecgs")
    assert name_output("my/**/*_hr.hea").startswith("_hr-")
