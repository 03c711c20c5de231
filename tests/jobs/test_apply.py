import json

import numpy as np
import pandas as pd
import pytest

from ecgcls.errors import DataError
from ecgcls.jobs.apply import format_predictions, predict_files, write_predictions
from ecgcls.jobs.load import load_run


@pytest.fixture(scope="module")
def run(configuration):
    return load_run(configuration / "fold_0")


@pytest.fixture(scope="module")
def filenames(synthetic_root):
    """The file of each record, by ecg_id."""
    names = pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id")["filename_lr"]
    return names.map(lambda name: synthetic_root / name)


def test_files_are_predicted_as_the_run_did(run, configuration, filenames):
    table = pd.read_csv(configuration / "fold_0" / "predictions.csv").set_index("ecg_id")
    stored = table[table["split"] == "test"].filter(like="y_prob_")
    paths = [filenames[ecg_id] for ecg_id in stored.index]
    found = list(predict_files(run, paths))
    assert [path for path, _ in found] == paths
    y_prob = [list(prediction.y_prob.values()) for _, prediction in found]
    np.testing.assert_allclose(y_prob, stored.to_numpy(), rtol=1e-4)


def test_a_batch_ends_where_it_is_full(run, filenames, monkeypatch):
    paths = list(filenames[:5])
    whole = [prediction.y_prob for _, prediction in predict_files(run, paths)]
    monkeypatch.setattr("ecgcls.jobs.apply.BATCH_SIZE", 2)
    batches = [list(prediction.y_prob.values()) for _, prediction in predict_files(run, paths)]
    np.testing.assert_allclose(batches, [list(each.values()) for each in whole], rtol=1e-4)


def test_a_damaged_file_does_not_stop_the_others(run, filenames, tmp_path):
    good, absent = filenames.iloc[0], tmp_path / "absent"
    (first, prediction), (second, refused), (third, again) = predict_files(run, [good, absent, good])
    assert (first, second, third) == (good, absent, good)
    assert isinstance(refused, DataError)
    assert "absent.hea" in str(refused)
    assert prediction.y_prob == again.y_prob


def test_predictions_are_written_with_what_could_not_be_used(run, filenames, tmp_path):
    found = {str(path): prediction for path, prediction in predict_files(run, filenames[:2])}
    write_predictions(tmp_path, found, {"absent": "no such file"}, run=run, source="typed")
    assert pd.read_csv(tmp_path / "failed.csv").to_dict("records") == [{"record": "absent", "reason": "no such file"}]
    table = pd.read_csv(tmp_path / "predictions.csv")
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert [record["record"] for record in content["records"]] == table["record"].tolist() == list(found)
    for row, record, prediction in zip(table.to_dict("records"), content["records"], found.values(), strict=True):
        assert record["y_prob"] == prediction.y_prob
        assert {name: row[f"y_prob_{name}"] for name in run.class_names} == pytest.approx(prediction.y_prob)
        assert {name: bool(row[f"y_pred_{name}"]) for name in run.class_names} == prediction.y_pred
    assert (content["n_nets"], content["input"], content["thresholds"]) == (1, "typed", run.thresholds)
    write_predictions(tmp_path, {}, {"absent": "no such file"}, run=run, source="typed")
    assert [path.name for path in tmp_path.iterdir()] == ["failed.csv"]  # nothing of the earlier call is left


def test_a_predicted_class_is_marked(run, filenames):
    ((path, prediction),) = predict_files(run, filenames[:1])
    text = format_predictions({str(path): prediction}, run)
    for name, is_predicted in prediction.y_pred.items():
        assert f"{prediction.y_prob[name]:.3f}{'*' if is_predicted else ' '}" in f"{text.splitlines()[1]} ", name
