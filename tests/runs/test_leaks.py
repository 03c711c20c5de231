import json
from dataclasses import replace

import numpy as np
import pytest

from ecgcls.errors import DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.files import hash_standardizer
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo
from ecgcls.runs.leaks import check_standardizer, log_official_test, read_log

INFO = RunInfo(
    status="running",
    experiment="default",
    model="cnn1d",
    fold=4,
    data={"fingerprint": {"ptbxl_database.csv": "d" * 64}, "parts": {"train": {"records_sha256": "a" * 64}}},
)


def predict(strat_folds):
    ids = np.arange(len(strat_folds))
    return Predictions(ids, ids, strat_folds, np.full(len(ids), "test"), ids[:, None] % 2, ids[:, None] / 10, ("MI",))


def log_it(folder, strat_folds, info=INFO, **identity):
    run = RunDirectory(folder / "fold_4")
    run.write_config(json.dumps(identity))
    run.write_predictions(predict(strat_folds))
    return log_official_test(run, info, output_dir=folder, command="run")


def test_every_look_at_the_official_test_fold_is_logged_and_counted(tmp_path):
    assert log_it(tmp_path, [1, 2]) is None
    assert not (tmp_path / "official_test_fold.csv").exists()
    first = log_it(tmp_path, [9, 10, 10], lr=0.1)
    assert first == {"n_records": 2, "n_scored_before": 0, "n_configurations_before": 0}
    assert log_it(tmp_path, [9, 10, 10], lr=0.1)["n_configurations_before"] == 1
    third = log_it(tmp_path, [9, 10, 10], lr=0.2)
    assert third == {"n_records": 2, "n_scored_before": 2, "n_configurations_before": 1}
    table = read_log(tmp_path)
    assert table["model"].tolist() == ["cnn1d"] * 3
    assert table["config_sha256"].nunique() == 2
    assert table["n_records"].tolist() == [2, 2, 2]


def test_folds_are_one_configuration_and_other_data_are_counted_apart(tmp_path):
    log_it(tmp_path, [10], lr=0.1, fold=4)
    log_it(tmp_path, [10], lr=0.1, fold=0)
    other = replace(INFO, data={"fingerprint": {"ptbxl_database.csv": "e" * 64}})
    assert log_it(tmp_path, [10], info=other)["n_scored_before"] == 0
    assert log_it(tmp_path, [10], lr=0.3)["n_configurations_before"] == 1


def test_simulated_and_ones_own_ecgs_have_no_official_test_fold(tmp_path):
    assert log_it(tmp_path, [10], info=replace(INFO, synthetic=True)) is None
    own = replace(INFO, data={"fingerprint": {"signals": "d" * 64, "manifest": "e" * 64}})
    assert log_it(tmp_path, [10], info=own) is None


def test_the_standardizer_must_come_from_the_training_part():
    check_standardizer("a" * 64, INFO, None)
    with pytest.raises(DataError, match="leak: the standardizer was fitted on other records"):
        check_standardizer("b" * 64, INFO, None)


def test_the_standardizer_must_have_the_values_that_were_fitted():
    part = {"records_sha256": "a" * 64, "signals_sha256": "c" * 64}
    info = replace(INFO, data={"parts": {"train": part}})
    values = np.array([0.1, 0.2]), np.array([1.0, 2.0])
    fitted = hash_standardizer("c" * 64, *values)
    for said in ("", fitted):  # a run that is under way says nothing yet
        check_standardizer(fitted, replace(info, standardized_on=said), values)
    for changed in ((values[0], values[1] * 1.001), (values[0] + 1e-6, values[1]), values[::-1]):
        with pytest.raises(DataError, match=r"or changed since \(fingerprint \w{12}, expected \w{12}\)"):
            check_standardizer(fitted, info, changed)
        again = hash_standardizer("c" * 64, *changed)  # the checkpoint agrees, run.json does not
        with pytest.raises(DataError, match=rf"fingerprint {fitted[:12]}, expected {again[:12]}"):
            check_standardizer(again, replace(info, standardized_on=fitted), changed)
