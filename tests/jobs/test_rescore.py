import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ecgcls.rescoring import parse_records, predict_data_set, read_cross_validation, read_run

from ecgcls.data.synthetic import write_synthetic
from ecgcls.errors import ConfigError

TOLD = {"split": "test", "missing_records": "error", "device": "cpu"}


@pytest.fixture(scope="module")
def elsewhere(synthetic_root, tmp_path_factory):
    """The run's data set at another place."""
    folder = tmp_path_factory.mktemp("moved") / "ecgs"
    shutil.copytree(synthetic_root, folder, ignore=shutil.ignore_patterns(".ecgcls"))
    return folder


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A data set of other simulated patients, who have the same numbers."""
    folder = tmp_path_factory.mktemp("another") / "ecgs"
    write_synthetic(folder, n_records=50, seed=9, sampling_rate_hz=100)
    return folder


@pytest.mark.parametrize("split", ["test", "val"])
def test_the_net_on_its_own_data_says_what_the_run_said(configuration, elsewhere, tmp_path, split):
    stored = read_run(configuration / "fold_0", split=split).predictions
    again = predict_data_set(configuration / "fold_0", root=elsewhere, store_dir=tmp_path, **(TOLD | {"split": split}))
    assert again.source["is_own_data_set"]
    assert again.predictions.ecg_id.tolist() == stored.ecg_id.tolist()
    np.testing.assert_array_equal(again.predictions.y_true, stored.y_true)
    np.testing.assert_allclose(again.predictions.y_prob, stored.y_prob, rtol=1e-4)


def test_all_labelled_records_of_another_data_set_are_scored(configuration, another, tmp_path):
    found = predict_data_set(configuration / "fold_0", root=another, store_dir=tmp_path, **TOLD)
    database = pd.read_csv(another / "ptbxl_database.csv")
    assert not found.source["is_own_data_set"]
    assert len(found.predictions) + found.source["n_without_label"] == len(database)
    together = predict_data_set(configuration, root=another, store_dir=tmp_path, **TOLD).predictions
    single = [
        predict_data_set(configuration / f"fold_{fold}", root=another, store_dir=tmp_path, **TOLD).predictions.y_prob
        for fold in range(5)
    ]
    np.testing.assert_allclose(together.y_prob, np.mean(single, axis=0), rtol=1e-6)


def test_nets_are_never_averaged_over_their_own_training_records(configuration, elsewhere, tmp_path):
    with pytest.raises(ConfigError, match="holds the records that the nets were trained on"):
        predict_data_set(configuration, root=elsewhere, store_dir=tmp_path, **TOLD)


def test_another_data_set_has_no_validation_part(configuration, another, tmp_path):
    with pytest.raises(ConfigError, match="is another data set than the run's own, all of it is test"):
        predict_data_set(configuration / "fold_0", root=another, store_dir=tmp_path, **(TOLD | {"split": "val"}))


def test_pooled_folds_are_those_of_the_cross_validation(configuration):
    pooled = read_cross_validation(configuration, split="test").predictions
    expected = pd.read_csv(configuration / "cv" / "predictions.csv")
    assert pooled.ecg_id.tolist() == expected["ecg_id"].tolist()
    np.testing.assert_array_equal(pooled.y_prob, expected.filter(like="y_prob_").to_numpy())


def test_a_runs_own_labels_are_found_again(configuration, another, tmp_path):
    """Labels of another data set are those that its own tables give, hand-mapped for NORM."""
    found = predict_data_set(configuration / "fold_0", root=another, store_dir=tmp_path, **TOLD).predictions
    database = pd.read_csv(another / "ptbxl_database.csv").set_index("ecg_id")
    is_normal = ["'NORM'" in database.loc[ecg_id, "scp_codes"] for ecg_id in found.ecg_id]
    assert found.y_true[:, found.class_names.index("NORM")].tolist() == is_normal


def test_records_are_read_as_typed(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("name,ecg_id\na,7\nb,3\nc,7\n")
    only = tmp_path / "only.csv"
    only.write_text("id\n12\n")
    assert parse_records("17,25, 99,17") == [17, 25, 99]
    assert parse_records("[4]") == [4]
    assert parse_records(str(table)) == [7, 3]
    assert parse_records(str(only)) == [12]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be ecg_ids, as in 17,25,99, or a CSV file"),
        ("a,b\n1,2\n", "has no column ecg_id, got a, b"),
        ("ecg_id\n1.5\n", "must have a whole number in each row of ecg_id"),
    ],
)
def test_records_that_are_none_are_told(tmp_path, content, message):
    path = tmp_path / "list.csv"
    if content:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        parse_records(str(path))


def test_the_source_names_the_predictions(configuration):
    source = read_run(configuration / "fold_0", split="test").source
    assert Path(source["runs"][0]["path"]) == configuration / "fold_0"
    assert json.dumps(source)
