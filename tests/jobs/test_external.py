import shutil

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecgcls.data.signals import LEADS
from ecgcls.data.synthetic import write_synthetic
from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.external import predict_data_set
from ecgcls.jobs.rescore import rescore
from ecgcls.runs.find import open_configuration


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


@pytest.fixture(scope="module")
def one(configuration):
    return open_configuration(configuration / "fold_0")


@pytest.fixture(scope="module")
def predict(tmp_path_factory):
    """Predict a data set; its signal store is kept for the next test."""
    store_dir = tmp_path_factory.mktemp("store")

    def predict(one, root, *, split="test", overrides=None, bad_records="error"):
        return predict_data_set(
            one,
            root=root,
            split=split,
            missing_records="error",
            bad_records=bad_records,
            repairs="note",
            store_dir=store_dir,
            device="cpu",
            overrides=overrides or {},
        )

    return predict


@pytest.mark.parametrize("split", ["test", "val"])
def test_the_net_predicts_of_its_own_data_what_the_run_predicted(predict, one, elsewhere, split):
    stored = rescore(one, split=split, overrides={})
    again = predict(one, elsewhere, split=split)
    assert again.source["is_own_data_set"]
    assert again.predictions.ecg_id.tolist() == stored.predictions.ecg_id.tolist()
    np.testing.assert_array_equal(again.predictions.y_true, stored.predictions.y_true)
    np.testing.assert_allclose(again.predictions.y_prob, stored.predictions.y_prob, rtol=1e-4)
    assert again.threshold == stored.threshold
    pd.testing.assert_frame_equal(
        again.groups.loc[again.predictions.ecg_id],
        stored.groups.loc[again.predictions.ecg_id],
        check_names=False,
        check_dtype=False,
    )


def test_all_labeled_records_of_another_data_set_are_scored(predict, configuration, another):
    whole = open_configuration(configuration)
    single = [predict(open_configuration(run.path), another) for run in whole.runs]
    database = pd.read_csv(another / "ptbxl_database.csv").set_index("ecg_id")
    for found in single:
        assert not found.source["is_own_data_set"]
        assert len(found.predictions) + found.source["n_without_label"] == len(database)
    together = predict(whole, another).predictions
    mean = np.mean([found.predictions.y_prob for found in single], axis=0)
    np.testing.assert_allclose(together.y_prob, mean, rtol=1e-6)
    is_normal = ["'NORM'" in database.loc[ecg_id, "scp_codes"] for ecg_id in together.ecg_id]
    assert together.y_true[:, together.class_names.index("NORM")].tolist() == is_normal  # labels by hand


def test_records_in_another_form_are_predicted_as_they_would_be_in_the_runs(
    predict, one, another, tmp_path, write_record
):
    root = shutil.copytree(another, tmp_path / "ecgs", ignore=shutil.ignore_patterns(".ecgcls"))
    for header in root.rglob("*.hea"):
        path = header.with_suffix("")
        samples = wfdb.rdrecord(str(path), physical=False).d_signal
        write_record(
            path, np.concatenate([samples, samples[:300]]), sig_name=[f"MDC_ECG_LEAD_{lead}" for lead in LEADS]
        )
    cut = root / "records100/00000/00007_lr.dat"
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"^1 of 50 records cannot be used \(ecg_id 7: .*data\.bad_records=drop$"):
        predict(one, root)
    found, plain = predict(one, root, bad_records="drop"), predict(one, another).predictions
    assert found.source["n_bad_records"] == 1
    assert found.source["repairs"] == {"cut to the first 10 s": len(found.predictions)}
    expected = pd.DataFrame(plain.y_prob, index=plain.ecg_id)
    np.testing.assert_allclose(found.predictions.y_prob, expected.loc[found.predictions.ecg_id], rtol=1e-5)


def test_nets_are_never_averaged_over_their_own_training_records(predict, configuration, elsewhere):
    with pytest.raises(ConfigError, match="holds the records that the nets were trained on"):
        predict(open_configuration(configuration), elsewhere)


def test_another_data_set_has_no_validation_part(predict, one, another):
    with pytest.raises(ConfigError, match="is another data set than the run's own, all of it is test"):
        predict(one, another, split="val")


def test_another_data_set_is_evaluated_with_the_runs_settings(predict, one, another):
    settings = predict(one, another, overrides={"intervals": {"level": 0.8, "method": None}}).settings
    assert settings == one.evaluation.replace_with({"intervals": {"level": 0.8}})


def test_decisions_are_not_learned_on_another_data_set(one, another, predict):
    with pytest.raises(ConfigError, match="learned on a run's validation set, not on another data set"):
        predict(one, another, overrides={"thresholds": {"rule": "youden"}})
