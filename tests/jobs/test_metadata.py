"""A net that takes age and sex beside the ECG, from its training to the prediction of anyone's record."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.signals import read_record
from ecgcls.errors import ConfigError
from ecgcls.jobs.apply import predict_files
from ecgcls.jobs.explain import ExplainSettings, explain_run
from ecgcls.jobs.external import predict_data_set
from ecgcls.jobs.load import load_run, load_tested
from ecgcls.jobs.unfinished import score_unfinished
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration
from tests.data.device_files import write_muse
from tests.in_process import configure, fit

NOTES = [f"{name} is not known: taken as the training set's median" for name in ("age", "sex")]


@pytest.fixture(scope="module")
def root(synthetic_root, tmp_path_factory):
    """The data set, with every third age unknown, and a copy of each test record whose header says the rest."""
    folder = tmp_path_factory.mktemp("known") / "ecgs"
    shutil.copytree(synthetic_root, folder, ignore=shutil.ignore_patterns(".ecgcls"))
    edit_table(folder, lambda number, row: row | ({"age": ""} if number % 3 == 0 else {}))
    for row in csv.DictReader((folder / "ptbxl_database.csv").open(newline="")):
        comments = f"#Sex: {'Female' if row['sex'] == '1' else 'Male'}\n" + (
            f"# Age: {row['age']}\n" if row["age"] else ""
        )
        with (folder / f"{row['filename_lr']}.hea").open("a") as header:
            header.write(comments)
    return folder


def edit_table(folder: Path, edit):
    path = folder / "ptbxl_database.csv"
    rows = [edit(number, row) for number, row in enumerate(csv.DictReader(path.open(newline="")))]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    few = ("evaluation.intervals.n_resamples=2", "evaluation.subgroups.n_resamples=2", "trainer.max_epochs=2")
    settings = (
        "model.metadata=[age,sex]",
        "model.width=4",
        "optimizer.lr=0.01",
        "task.exclusive=true",
        "task.absent_classes=drop",
        *few,
    )
    return fit(tmp_path_factory.mktemp("metadata") / "fold_0", root, *settings)


@pytest.fixture(scope="module")
def tested(run, root):
    """Table of the test records, with their file and probabilities."""
    predictions = pd.read_csv(run.path / "predictions.csv").query("split == 'test'").set_index("ecg_id")
    return pd.read_csv(root / "ptbxl_database.csv").set_index("ecg_id").join(predictions.filter(like="y_"), how="inner")


def test_a_loaded_run_predicts_what_the_run_did(run, root, tested):
    loaded = load_run(run.path)
    assert loaded.metadata_names == ("age", "sex")
    assert 0 < tested["age"].isna().sum() < len(tested)
    for _, row in tested.iterrows():
        signal_mv, fields = wfdb.rdsamp(str(root / row["filename_lr"]))
        form = {"signal_mv": signal_mv.T, "sampling_rate_hz": fields["fs"], "lead_names": fields["sig_name"]}
        found = loaded.predict(**form, metadata={"age": row["age"], "sex": row["sex"]})
        expected = [row[f"y_prob_{name}"] for name in loaded.class_names]
        np.testing.assert_allclose(list(found.y_prob.values()), expected, atol=1e-6)
        assert [note for note in found.repairs if note in NOTES] == NOTES[: int(np.isnan(row["age"]))]
    without = loaded.predict(**form)
    assert list(without.repairs[-2:]) == NOTES
    assert without.y_prob != loaded.predict(**form, metadata={"age": None, "sex": 9}).y_prob
    assert sum(without.y_prob.values()) == pytest.approx(1)  # of classes that exclude each other
    with pytest.raises(ConfigError, match="takes no height"):
        loaded.predict(**form, metadata={"height": 180})


def test_headers_that_say_age_and_sex_give_the_same(run, root, tested):
    loaded = load_run(run.path)
    found = [prediction for _, prediction in predict_files(loaded, [root / name for name in tested["filename_lr"]])]
    expected = tested[[f"y_prob_{name}" for name in loaded.class_names]]
    np.testing.assert_allclose([list(each.y_prob.values()) for each in found], expected, atol=1e-6)
    assert [NOTES[0] in each.repairs for each in found] == tested["age"].isna().tolist()


def test_a_devices_file_says_age_and_sex(run, root, tested, tmp_path):
    loaded, row = load_run(run.path), tested.dropna(subset="age").iloc[0]
    signal_mv = read_record(root / row["filename_lr"]).signal_uv * 1e-3
    sex = ("MALE", "FEMALE")[int(row["sex"])]
    paths = [
        write_muse(tmp_path / "told.xml", signal_mv, LEADS, 100, age=int(row["age"]), sex=sex),
        write_muse(tmp_path / "not told.xml", signal_mv, LEADS, 100),
    ]
    (_, told), (_, not_told) = predict_files(loaded, paths)
    assert list(told.y_prob.values()) == pytest.approx([row[f"y_prob_{name}"] for name in loaded.class_names], abs=1e-5)
    assert (told.repairs, not_told.repairs) == ((), tuple(NOTES))


def test_another_data_set_is_predicted_with_its_table(run, root, tested, tmp_path, caplog):
    def predict(folder):
        one, data = open_configuration(run.path), {"root": folder, "store_dir": tmp_path}
        return predict_data_set(load_tested(one), data=data, split="test", overrides={})

    own = predict(root)
    assert own.source["n_unknown_metadata"] == {"age": tested["age"].isna().sum(), "sex": 0}
    expected = tested.loc[own.predictions.ecg_id, [f"y_prob_{name}" for name in own.predictions.class_names]]
    np.testing.assert_allclose(own.predictions.y_prob, expected, atol=1e-6)
    shutil.copytree(root, tmp_path / "ecgs", ignore=shutil.ignore_patterns(".ecgcls"))
    edit_table(tmp_path / "ecgs", lambda _, row: {key: row[key] for key in row if key != "sex"})
    other = predict(tmp_path / "ecgs")
    assert other.source["n_unknown_metadata"]["sex"] == len(other.predictions)
    assert "the sex of" in caplog.text
    assert not np.allclose(other.predictions.y_prob, own.predictions.y_prob)


def test_its_best_epoch_is_scored_as_that_of_a_run_that_was_stopped(run, tested, tmp_path):
    scored = score_unfinished(run, split="test", overrides={}, device="cpu", output_dir=tmp_path).predictions
    expected = tested.loc[scored.ecg_id, [f"y_prob_{name}" for name in scored.class_names]]
    np.testing.assert_allclose(scored.y_prob, expected, atol=1e-6)


def test_a_test_record_is_explained_with_its_own(run, tested, tmp_path):
    ids = tested.index[:2].tolist()
    settings = ExplainSettings(methods=["saliency"], records=f"{ids[0]},{ids[1]}", n_summary=0, n_scorecard=0)
    table, _ = explain_run(open_configuration(run.path), tmp_path / "out", settings)
    uncalibrated = pd.read_csv(run.path / "predictions_uncalibrated.csv").set_index("ecg_id")
    for _, row in table.iterrows():
        p = uncalibrated.loc[row["ecg_id"], f"y_prob_{row['class']}"]
        assert row["logit"] == pytest.approx(np.log(p / (1 - p)), abs=1e-4)


def test_a_run_whose_files_disagree_about_metadata_is_not_loaded(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "fold_0")
    info = run.read_info()
    changed = replace(info, data={**info.data, "metadata": ["sex", "age"]})
    RunDirectory(tmp_path / "fold_0").write_info(changed)  # the manifest agrees
    with pytest.raises(ConfigError, match=r"it was trained with metadata \['age', 'sex'\], run.json has"):
        load_run(tmp_path / "fold_0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model=age_sex", "+model.metadata=[age]"], "model.metadata: no such setting of .*MetadataBaseline"),
        (["model.metadata=age"], r"model.metadata must be a list, as \[a,b\], or null, got 'age'"),
    ],
)
def test_what_cannot_be_metadata_is_refused(root, settings, message):
    with pytest.raises(ConfigError, match=message):
        configure(root, *settings)
