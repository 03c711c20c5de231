import json

import numpy as np
import pytest

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.pooling import pool
from ecgcls.runs.configuration import find_shared, name_apart, read_configuration, read_single
from ecgcls.runs.directory import RunDirectory
from tests.made_by_hand import N_FOLDS, write_fold


@pytest.fixture
def folder(tmp_path):
    """Three finished folds."""
    for fold in range(N_FOLDS):
        write_fold(tmp_path, fold)
    return tmp_path


def test_the_folds_of_a_configuration_are_read_together(folder):
    one = read_configuration(folder)
    assert one.is_complete and not one.is_single_run
    assert (one.state, one.fit_s, one.title) == ("", 4.5, "cnn1d, 3 folds")
    folds = [run.read_predictions("test") for run in one.runs]
    np.testing.assert_array_equal(one.tested.ecg_id, pool(folds).ecg_id)
    assert len(one.pooled("val", is_calibrated=False)) == 120
    assert one.groups.loc[[0, 101, 10_200], "sex"].tolist() == ["female", "male", "female"]
    assert len(one.groups) == 240
    assert one.thresholds == pytest.approx({"NORM": 0.2, "MI": 0.2})  # the mean of 0.1, 0.2 and 0.3
    assert (one.count_records("train"), one.count_records("test")) == (80, 40)
    assert one.evaluation.intervals.n_resamples == 100


def test_a_single_run_is_the_only_fold_that_counts(folder):
    one = read_single(RunDirectory(folder / "fold_1"))
    assert one.is_single_run
    assert not one.is_complete
    assert one.title == "cnn1d, fold 1"
    assert one.tested.ecg_id.tolist() == list(range(100, 140))
    assert one.thresholds == pytest.approx({"NORM": 0.2, "MI": 0.2})


@pytest.mark.parametrize(("status", "state"), [("running", "1 running"), ("failed", "1 failed"), (None, "1 missing")])
def test_an_unfinished_fold_is_named(tmp_path, status, state):
    for fold in (0, 2):
        write_fold(tmp_path, fold)
    if status:
        write_fold(tmp_path, 1, status=status)
    one = read_configuration(tmp_path)
    assert not one.is_complete
    assert one.missing == "2 of 3 folds finished, fold=1 missing"
    assert one.state == state
    assert one.unfinished == ({1: status} if status else {})


def test_folds_of_different_data_are_not_pooled(folder):
    write_fold(folder, 1, data="other")
    with pytest.raises(DataError, match="folds 0 and 1 were trained on different data"):
        _ = read_configuration(folder).tested


def test_folds_of_different_configurations_are_not_pooled(folder):
    write_fold(folder, 2, lr=0.5)
    with pytest.raises(ConfigError, match=r"optimizer\.lr: 0\.5 there, 0\.1 requested"):
        _ = read_configuration(folder).by_fold


def test_a_class_that_a_fold_lacks_is_left_out_by_name(tmp_path, caplog):
    write_fold(tmp_path, 0, class_names=("NORM", "MI", "HYP"))
    write_fold(tmp_path, 1)
    write_fold(tmp_path, 2, class_names=("NORM", "HYP", "MI"))
    one = read_configuration(tmp_path)
    assert list(one.scores.by_class.index) == ["NORM", "MI"]
    assert one.left_out_classes == ["HYP"]
    assert list(one.thresholds) == ["NORM", "MI"]
    assert "HYP" in caplog.text
    last = one.runs[2].read_predictions("test")
    np.testing.assert_array_equal(one.predictions("test")[2].y_true, last.y_true[:, [0, 2]])


def test_folds_without_a_common_class_are_refused(tmp_path):
    write_fold(tmp_path, 0, class_names=("NORM",))
    write_fold(tmp_path, 1, class_names=("MI",))
    with pytest.raises(DataError, match="the folds have no class in common"):
        _ = read_configuration(tmp_path).tested


def test_a_folder_of_another_name_is_refused(folder):
    (folder / "fold_1").rename(folder / "fold_1_old")
    with pytest.raises(ConfigError, match=r"fold_1_old: a run's folder is called fold_<k>"):
        read_configuration(folder)


def test_configurations_are_named_by_what_they_do_not_share(tmp_path):
    variants = {"a": "seed=1,task=rhythm", "b": "seed=2,task=rhythm", "c": "task=rhythm"}
    for place, variant in variants.items():
        write_fold(tmp_path / place, 0, variant=variant)
    write_fold(tmp_path / "d", 0, variant="task=rhythm", status="failed")
    found = [read_configuration(tmp_path / place) for place in "abcd"]
    assert find_shared(found) == ("task=rhythm",)
    assert [one.name for one in name_apart(found)] == ["cnn1d seed=1", "cnn1d seed=2", "cnn1d", "cnn1d (d)"]


def test_a_damaged_fold_is_named(folder):
    path = folder / "fold_1" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"speed": 3}))
    with pytest.raises(DataError, match=r"fold_1/run\.json: damaged \(unknown key 'speed'\)"):
        read_configuration(folder)
