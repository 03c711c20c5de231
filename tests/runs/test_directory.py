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


def test_a_folder_is_cleared_of_everything(run):
    (run.path / "figures").mkdir()
    (run.path / "figures" / "a.png").touch()
    run.clear()
    assert list(run.path.iterdir()) == []
