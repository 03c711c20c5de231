import pytest

from ecgcls.files import write_json
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo
from ecgcls.runs.listing import list_runs, remove_runs, tabulate_runs


@pytest.fixture
def outputs(tmp_path):
    """One run of each state; nobody trains the one that says it is running."""
    states = ["finished", "interrupted", "failed", "running", "damaged"]
    for day, state in enumerate(states):
        run = RunDirectory(tmp_path / "e" / "cnn1d" / state / "fold_0")
        run.write_config("folds: {test: [[1]]}\n")
        status = "failed" if state == "damaged" else state
        info = {"experiment": "e", "model": "cnn1d", "variant": state, "started": f"2026-01-0{day + 1}T00:00:00+00:00"}
        if status == "finished":
            write_json(run.path / "metrics.json", {name: {"overall": {"pr_auc": 0.25}} for name in ("val", "test")})
        run.write_info(RunInfo(status=status, **info))
    (tmp_path / "e/cnn1d/damaged/fold_0/run.json").write_text("{")
    return tmp_path


def test_runs_are_listed_newest_first_with_what_became_of_them(outputs):
    listed = list_runs(outputs)
    assert [each.state for each in listed] == ["killed", "failed", "interrupted", "finished", "damaged"]
    table = tabulate_runs(listed).fillna("")
    assert table["folder"].tolist()[0] == str(outputs / "e/cnn1d/running/fold_0")
    assert table["test PR-AUC"].tolist() == ["", "", "", "0.250", ""]
    assert table["variant"].tolist() == ["running", "failed", "interrupted", "finished", ""]


def test_a_run_that_a_process_trains_is_running_and_never_removed(outputs):
    running = RunDirectory(outputs / "e/cnn1d/running/fold_0")
    before = list_runs(outputs)
    with running.locked():
        assert list_runs(outputs)[0].state == "running"
        removed = [run.path.parent.name for run in remove_runs(before)]
    assert removed == ["failed", "interrupted"]
    assert {path.name for path in (outputs / "e/cnn1d").iterdir()} == {"finished", "damaged", "running"}
    assert [run.path.parent.name for run in remove_runs(list_runs(outputs))] == ["running"]


def test_a_file_that_is_not_the_runs_keeps_its_folder(outputs):
    own = outputs / "e/cnn1d/failed/notes.txt"
    own.touch()
    assert len(list(remove_runs(list_runs(outputs)))) == 3
    assert list(own.parent.iterdir()) == [own]
