import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.evaluation.settings import ThresholdRule
from ecgcls.jobs.rescore import name_folder, parse_records, read_predictions_files, rescore, write_rescored
from ecgcls.runs.find import open_configuration

NOTHING = {"intervals": {}, "calibration": {}, "thresholds": {"rule": None}, "subgroups": {}, "prevalence": None}


@pytest.fixture(scope="module")
def one(configuration):
    return open_configuration(configuration / "fold_0")


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_run_is_scored_again_on_its_own_predictions(one, split):
    rescored = rescore(one, split=split, overrides=NOTHING)
    stored = one.runs[0].read_predictions(split)
    np.testing.assert_array_equal(rescored.predictions.y_prob, stored.y_prob)
    np.testing.assert_array_equal(rescored.predictions.y_pred, stored.y_pred)
    assert rescored.settings == one.evaluation
    assert np.broadcast_to(rescored.threshold, 5).tolist() == list(one.info.thresholds.values())
    assert Path(rescored.source["runs"][0]["path"]) == one.folder
    assert json.dumps(rescored.source)


def test_pooled_folds_are_those_of_the_cross_validation(configuration):
    pooled = rescore(open_configuration(configuration), split="test", overrides=NOTHING)
    expected = pd.read_csv(configuration / "cv" / "predictions.csv")
    assert pooled.predictions.ecg_id.tolist() == expected["ecg_id"].tolist()
    np.testing.assert_array_equal(pooled.predictions.y_prob, expected.filter(like="y_prob_").to_numpy())
    np.testing.assert_array_equal(pooled.predictions.y_pred, expected.filter(like="y_pred_").to_numpy())
    assert pooled.threshold is None  # each fold has decided by its own


def test_another_rule_is_learned_on_the_validation_part_alone(one):
    rescored = rescore(one, split="test", overrides={"thresholds": {"rule": "fixed", "fixed": 0.25}})
    run, info = one.runs[0], one.info
    uncalibrated = run.read_predictions(is_calibrated=False)
    expected = learn_decisions(
        uncalibrated.select("val"),
        calibration=info.evaluation.calibration,
        thresholds=ThresholdRule(rule="fixed", fixed=0.25),
        pos_weight=info.pos_weight,
    )
    np.testing.assert_array_equal(rescored.predictions.y_pred, expected.apply(uncalibrated.select("test")).y_pred)
    assert np.broadcast_to(rescored.threshold, 5).tolist() == list(expected.thresholds.values())


def test_chosen_records_are_scored_alone(one, tmp_path):
    rescored = rescore(one, split="test", overrides={"intervals": {"n_resamples": 20}})
    ecg_ids = rescored.predictions.ecg_id.tolist()[3:0:-1]
    few = rescored.narrow(ecg_ids)
    scores = write_rescored(few, tmp_path)
    assert scores.overall["n_records"] == 3
    assert pd.read_csv(tmp_path / "predictions.csv")["ecg_id"].tolist() == few.predictions.ecg_id.tolist()
    assert sorted(few.predictions.ecg_id) == sorted(ecg_ids)
    assert few.uncalibrated.ecg_id.tolist() == few.predictions.ecg_id.tolist()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["source"]["n_chosen_records"] == 3
    with pytest.raises(DataError, match="99999"):
        rescored.narrow([99999])


def test_what_has_other_predictions_or_decisions_has_another_folder():
    def name(root=None, records=None, **changed):
        return name_folder("test", NOTHING | changed, root=root, records=records)

    assert name() == name(intervals={"level": 0.8}) == "test"
    assert name(thresholds={"rule": "fixed", "fixed": 0.3}) == "test-fixed-0.3"
    names = [
        name(),
        name(calibration={"method": "none"}),
        name(thresholds={"rule": "youden"}),
        name(prevalence=0.02),
        name(prevalence={"MI": 0.02}),
        name(root=Path("ecgs")),
        name(records="17,25"),
    ]
    assert len(set(names)) == len(names)


def test_predictions_from_elsewhere_are_read_with_what_was_assumed(tmp_path, caplog):
    path = tmp_path / "mine.csv"
    path.write_text("split,y_true_MI,y_prob_MI\ntest,1,0.9\nval,0,0.2\ntest,0,0.4\n")

    def read(**changed):
        arguments = {"predictions": None, "y_true": None, "y_prob": None, "class_names": None, "patient_id": None}
        common = {"values": "probabilities", "split": "test", "overrides": NOTHING}
        return read_predictions_files(**(arguments | common | changed))

    rescored, source = read(predictions=path, overrides=NOTHING | {"intervals": {"level": 0.8}})
    assert source == path
    assert rescored.predictions.y_prob.tolist() == [[0.9], [0.4]]
    assert rescored.settings.intervals.level == 0.8
    assert len(rescored.source["assumptions"]) == 4
    assert "patient_id is missing" in caplog.text
    np.save(tmp_path / "t.npy", [[1, 0], [0, 1]])
    arrays = {"y_true": tmp_path / "t.npy", "y_prob": tmp_path / "t.npy"}
    assert read(**arrays, class_names="MI, CD")[0].predictions.class_names == ("MI", "CD")
    with pytest.raises(ConfigError, match=r"values=logits is for .*; in a CSV file, name the columns y_logit_<CLASS>"):
        read(predictions=path, values="logits")
    with pytest.raises(ConfigError, match="class_names is missing: y_true, y_prob and class_names go together"):
        read(**arrays)
    with pytest.raises(ConfigError, match="thresholds are learned on a run's validation set, not on predictions files"):
        read(predictions=path, overrides=NOTHING | {"thresholds": {"rule": "f1"}})


def test_records_are_read_as_typed(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("name,ecg_id\na,7\nb,3\nc,7\n")
    only = tmp_path / "only.csv"
    only.write_text("id\n12\n")
    assert parse_records("17,25, 99,17") == [17, 25, 99]
    assert parse_records("[4]") == [4]
    assert parse_records("JS00001,017") == ["JS00001", "017"]
    assert parse_records(str(table)) == [7, 3]
    assert parse_records(str(only)) == [12]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be ecg_ids, as in 17,25,99, or a CSV file"),
        ("a,b\n1,2\n", "has no column ecg_id, got a, b"),
        ("ecg_id\n1.5\n", r"list\.csv: ecg_id in row 1 must be a whole number or a name, got '1\.5'"),
    ],
)
def test_records_that_cannot_be_read_are_reported(tmp_path, content, message):
    path = tmp_path / "list.csv"
    if content:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        parse_records(str(path))
