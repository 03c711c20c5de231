from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.identity import identify
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo

CONFIG = {"experiment": "e", "output_dir": "o", "fold": 2, "overwrite": False, "optimizer": {"lr": 0.1}}


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "fold_0")
    run.write_config(yaml.safe_dump(CONFIG))
    run.write_info(RunInfo(status="finished", data={"fingerprint": {"signals": "s", "ptbxl_database.csv": "a"}}))
    return run


def test_an_absent_run_is_neither_begun_nor_finished(tmp_path):
    assert not RunDirectory(tmp_path / "none").is_begun
    assert not RunDirectory(tmp_path / "none").is_finished


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", "finished"])
def test_run_json_states_whether_a_run_is_finished(tmp_path, status):
    run = RunDirectory(tmp_path)
    run.write_info(RunInfo(status=status))
    assert run.is_begun
    assert run.is_finished is (status == "finished")


def test_another_configuration_is_refused_by_its_key(run):
    run.check_same_config(identify({**CONFIG, "output_dir": "elsewhere", "overwrite": True}))
    with pytest.raises(ConfigError, match=r"another configuration \(optimizer\.lr: 0\.1 there, 0\.2 requested\)"):
        run.check_same_config(identify({**CONFIG, "optimizer": {"lr": 0.2}}))
    with pytest.raises(ConfigError, match=r"\(fold: 2 there, 3 requested and 1 more\).*overwrite=true"):
        run.check_same_config(identify({**CONFIG, "fold": 3, "seed": 1}))


def test_other_data_are_refused_by_their_file(run, tmp_path):
    run.check_same_data({"ptbxl_database.csv": "a"})
    run.check_same_data({"ptbxl_database.csv": "a", "signals": "s", "a_file_of_a_later_version.csv": "c"})
    with pytest.raises(
        ConfigError, match=r"other data \(ptbxl_database\.csv, signals differ\): retrain with overwrite"
    ):
        run.check_same_data({"ptbxl_database.csv": "b", "signals": "t"})
    RunDirectory(tmp_path / "none").check_same_data({"ptbxl_database.csv": "b"})


def test_a_second_process_is_kept_out(tmp_path):
    run = RunDirectory(tmp_path / "fold_0")
    with (
        run.locked(),
        pytest.raises(ConfigError, match="another process is training this run"),
        RunDirectory(tmp_path / "fold_0").locked(),
    ):
        pass
    with run.locked():
        pass  # the lock was given back


def test_a_file_in_the_way_of_the_output_folder_is_named(tmp_path):
    (tmp_path / "outputs").write_text("not a folder")
    with pytest.raises(ConfigError, match=r"output_dir: .*outputs cannot be written \(it is a file\)"):
        RunDirectory(tmp_path / "outputs" / "e" / "fold_0").check_writable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]


def test_predictions_are_read_by_split_before_and_after_recalibration(run):
    ids = np.arange(4)
    split = np.array(["val", "val", "test", "test"])
    after = Predictions(ids, ids, ids, split, ids[:, None] % 2, ids[:, None] / 10, ("MI",))
    run.write_predictions(after)
    run.write_predictions(replace(after, y_prob=ids[:, None] / 20), is_calibrated=False)
    assert run.read_predictions().ecg_id.tolist() == [0, 1, 2, 3]
    assert run.read_predictions("test").y_prob.ravel().tolist() == [0.2, 0.3]
    assert run.read_predictions("val", is_calibrated=False).y_prob.ravel().tolist() == [0.0, 0.05]


def test_subgroups_are_read_as_they_were_written(run):
    groups = pd.DataFrame({"device": ["NA", "1", None], "sex": ["male", "female", "male"]}, index=[7, 3, 12])
    run.write_groups(groups)
    read = run.read_groups()
    assert read.index.tolist() == [7, 3, 12]  # numbers, as in the predictions
    assert read["device"].tolist()[:2] == ["NA", "1"]
    assert pd.isna(read["device"][12])  # in no group
    assert read["sex"].tolist() == groups["sex"].tolist()


def test_likelihoods_are_read_as_they_were_written(run):
    assert run.read_likelihoods() is None
    likelihoods = pd.DataFrame({"ecg_id": [7, 3], "class": ["=NA", "NA"], "likelihood": [15.0, 0.0]})
    run.write_likelihoods(likelihoods)
    pd.testing.assert_frame_equal(run.read_likelihoods(), likelihoods, check_dtype=False)
    run.write_likelihoods(likelihoods[:0])
    assert len(run.read_likelihoods()) == 0
    (run.path / "likelihoods.csv").write_text("ecg_id,class\nx,y\n")
    with pytest.raises(DataError, match=r"likelihoods\.csv"):
        run.read_likelihoods()


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (RunDirectory.read_config, r"config\.yaml"),
        (RunDirectory.read_predictions, r"predictions\.csv"),
        (RunDirectory.read_groups, r"groups\.csv"),
        (RunDirectory.read_history, r"history\.csv"),
        (RunDirectory.read_metrics, r"metrics\.json"),
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path, read, name):
    with pytest.raises(DataError, match=name) as missing:
        read(RunDirectory(tmp_path))
    assert "\n" not in str(missing.value)


def test_a_run_is_cleared_of_what_is_its_own(run):
    for name in ("figures/a.png", "log/version_0/metrics.csv", "best.ckpt", "best-v1.ckpt", ".run.json.12.tmp"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).touch()
    (run.path / "notes.txt").write_text("mine")
    (run.path / "mine").mkdir()
    (run.path / "run.json").write_text('{"status": "fini')  # a truncated one is no dead end
    run.clear()
    assert sorted(path.name for path in run.path.iterdir()) == ["mine", "notes.txt"]


def test_a_link_or_a_folder_of_something_else_is_not_emptied(run, tmp_path):
    link, home = RunDirectory(tmp_path / "link"), RunDirectory(tmp_path / "home")
    link.path.symlink_to(run.path)
    home.path.mkdir()
    (home.path / "thesis.tex").write_text("mine")
    before = sorted(run.path.rglob("*"))
    with pytest.raises(ConfigError, match=r"link is a symbolic link to .*fold_0: a run is not written, nor emptied"):
        link.clear()
    with pytest.raises(ConfigError, match=r"home is not the folder of a run, and not empty \(thesis\.tex is in it\)"):
        home.clear()
    assert sorted(run.path.rglob("*")) == before
    assert (home.path / "thesis.tex").exists()


def test_leftovers_of_a_killed_process_are_known_by_their_name(run):
    own, foreign = run.path / ".run.json.123.tmp", [run.path / ".notes.tmp", run.path / "mine" / ".a.1.tmp"]
    (run.path / "mine").mkdir()
    for path in (own, *foreign):
        path.touch()
    run.remove_leftovers()
    assert [path.exists() for path in (own, *foreign)] == [False, True, True]


def test_a_finished_run_is_whole(run):
    ids = np.arange(4)
    split = np.array(["val", "val", "test", "test"])
    predictions = Predictions(ids, ids, ids, split, ids[:, None] % 2, ids[:, None] / 10, ("MI",))
    run.write_predictions(predictions)
    run.seal()
    assert run.is_finished
    path = run.path / "predictions.csv"
    path.write_bytes(path.read_bytes().replace(b"0.3", b"0.4"))
    with pytest.raises(
        DataError, match=r"predictions\.csv: not the file that the run wrote \(SHA-256 .*changed, or of"
    ):
        run.read_predictions()
    path.unlink()
    with pytest.raises(DataError, match=r"predictions\.csv: missing, though the run is finished; overwrite=true"):
        _ = run.is_finished
    run.write_predictions(predictions)
    (run.path / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"no manifest\.json, .* an earlier version .*retrain with overwrite=true"):
        _ = run.is_finished


@pytest.mark.parametrize("content", ["", "[]", '{"sha256": {}}', '{"sha256": {"../x": "0"}}', '{"sha256": 3}', "{}"])
def test_a_damaged_manifest_is_named(run, content):
    (run.path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json: damaged"):
        _ = run.is_finished


def test_a_run_that_was_killed_before_it_said_that_it_is_finished_goes_on(run):
    finished = (run.path / "manifest.json").read_bytes()
    run.write_info(RunInfo(status="running"))
    (run.path / "manifest.json").write_bytes(finished)  # it comes before run.json
    assert not run.is_finished
    run.write_info(RunInfo(status="finished"))
    assert run.is_finished
    (run.path / "run.json").write_bytes((run.path / "run.json").read_bytes().replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(DataError, match=r"run\.json: not the file that the run wrote"):
        run.read_info()


def test_a_run_that_is_not_finished_has_no_manifest(run):
    run.write_info(RunInfo(status="running"))
    assert not (run.path / "manifest.json").exists()
    run.write_config(yaml.safe_dump(CONFIG | {"fold": 3}))
    assert run.read_config()["fold"] == 3


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"folds": 3}, "folds must be a mapping, got 3"),
        ({"folds": {"test": "all"}}, r"folds\.test: "),
        ({"fold": "0"}, "fold: "),
        ({"model": {"width": "${oc.env:HOME}"}}, r"model\.width: a saved configuration has no interpolation"),
    ],
)
def test_a_tampered_configuration_is_named(run, changed, match):
    run.write_config(yaml.safe_dump(CONFIG | changed))
    run.seal()
    with pytest.raises(DataError, match=rf"config\.yaml: damaged \({match}"):
        run.read_config()
