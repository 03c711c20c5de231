import ast
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import wfdb
from scipy.signal import resample_poly

from ecgcls.data.seen import SeenRecords
from ecgcls.data.signals import LEADS
from ecgcls.data.synthetic import write_synthetic
from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.external import predict_data_set
from ecgcls.jobs.load import load_tested
from ecgcls.jobs.rescore import rescore, write_rescored
from ecgcls.runs.configuration import read_single
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration
from tests.in_process import fit


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

    def predict(one, root, *, split="test", overrides=None, local=None, **data):
        data |= {"root": root, "store_dir": store_dir}
        return predict_data_set(load_tested(one), data=data, split=split, overrides=overrides or {}, local=local)

    return predict


@pytest.mark.parametrize("split", ["test", "val"])
def test_the_net_predicts_of_its_own_data_what_the_run_predicted(predict, one, elsewhere, split):
    stored = rescore(one, split=split, overrides={})
    again = predict(one, elsewhere, split=split)
    assert again.source["known_records"] == {"train": 40, "val": 7, "test": 12}
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
    for fold, found in enumerate(single):
        assert found.source["known_records"] == {}
        assert found.title == f"cnn1d, fold {fold}, on {another.name} (simulated ECGs)"
        assert found.source["is_simulated"] and found.source["trained_on_simulated_ecgs"]
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


def test_a_net_of_simulated_ecgs_is_marked_on_others(predict, one, another, tmp_path):
    unmarked = tmp_path / "ecgs"
    shutil.copytree(another, unmarked, ignore=shutil.ignore_patterns(".ecgcls", "SYNTHETIC.json"))
    found = predict(one, unmarked)
    assert found.title == "cnn1d, fold 0 (trained on simulated ECGs), on ecgs"
    assert not found.source["is_simulated"]


@pytest.fixture(scope="module")
def disguise(synthetic_root, tmp_path_factory):
    """Copy the run's data set with another table: `change` gets it, indexed by row, and returns it changed."""

    def disguise(change):
        root = tmp_path_factory.mktemp("disguised") / "ecgs"
        root.mkdir()
        for name in ("scp_statements.csv", "records100"):
            (root / name).symlink_to(synthetic_root / name)
        change(pd.read_csv(synthetic_root / "ptbxl_database.csv")).to_csv(root / "ptbxl_database.csv", index=False)
        return root

    return disguise


def relabel(table):
    """Exchange the labels of one record in six for those of another."""
    codes = table["scp_codes"].copy()
    codes[::6] = codes[3::6].to_numpy()
    return table.assign(scp_codes=codes)


DISGUISES = {
    "renumbered as the Challenge does": lambda table: table.assign(ecg_id=table["ecg_id"] + 100_000),
    "other patients": lambda table: table.assign(patient_id=table["patient_id"].rank(method="dense") + 5e6),
    "other strat_folds": lambda table: table.assign(strat_fold=table["strat_fold"] % 10 + 1),
    "other labels": relabel,
    "no strat_folds": lambda table: table.drop(columns="strat_fold"),
}


@pytest.mark.parametrize("change", DISGUISES.values(), ids=DISGUISES)
def test_records_that_the_run_has_learned_from_are_left_out_whatever_the_table_says(predict, one, disguise, change):
    root = disguise(change)
    found = predict(one, root)
    own = set(one.runs[0].read_predictions("test").ecg_id.tolist())
    assert {ecg_id % 100_000 for ecg_id in found.predictions.ecg_id.tolist()} == own
    assert (found.known["ecg_id"] % 100_000).tolist() == found.known["known_ecg_id"].tolist()
    assert found.known["is_exact"].all()
    assert found.source["n_known_left_out"] == (found.known["part"] != "test").sum() == 47
    assert sorted(found.own_tests) == sorted(own)


def test_the_training_folds_alone_leave_nothing_to_test_on(predict, one, disguise):
    info, folds = one.info, one.runs[0].read_config()["folds"]
    not_trained = folds["test"][info.fold] + folds["val"][info.fold]
    root = disguise(lambda table: table[~table["strat_fold"].isin(not_trained)])
    with pytest.raises(
        DataError, match=r"nothing to test .* has learned from all the 40 labeled records \(40 train: "
    ) as none:
        predict(one, root)
    assert "\n" not in str(none.value)


def test_a_record_that_had_no_label_is_of_a_patient_who_may_have_been_trained_on(predict, configuration, disguise):
    root = disguise(lambda table: table.assign(scp_codes="{'NORM': 100.0}"))
    known = predict(open_configuration(configuration / "fold_1"), root).known
    assert known.loc[known["part"] == "unlabeled", "ecg_id"].tolist() == [47]  # sinus rhythm is no superclass


@pytest.mark.slow
def test_patients_whom_n_train_left_out_are_as_new_ones(predict, elsewhere, synthetic_root, tmp_path):
    run = fit(tmp_path / "fold_0", synthetic_root, "data.n_train=20", "trainer.max_epochs=1")
    data, found = run.read_info().data, predict(open_configuration(run.path), elsewhere)
    n_trained = data["parts"]["train"]["n_records"]
    assert 20 <= n_trained < 25 and n_trained + data["n_untrained"] == 40
    assert found.source["known_records"] == {"train": n_trained, "val": 7, "test": 12}
    assert len(found.predictions) == 12 + data["n_untrained"]


@pytest.mark.parametrize("split", ["test", "val"])
def test_nets_are_never_averaged_over_their_own_training_records(predict, configuration, disguise, split):
    root = disguise(DISGUISES["renumbered as the Challenge does"])
    with pytest.raises(ConfigError, match="holds the records that the nets were trained on"):
        predict(open_configuration(configuration), root, split=split)


def resample(root, synthetic_root, ecg_ids):
    """Write records of the run's data set at 500 Hz, and return the paths by ecg_id."""
    names = pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id")["filename_lr"]
    (root / "fast").mkdir()
    for ecg_id in ecg_ids:
        record = wfdb.rdrecord(str(synthetic_root / names[ecg_id]))
        signal = resample_poly(record.p_signal, 5, 1)
        leads = {"sig_name": record.sig_name, "units": ["mV"] * 12, "fmt": ["16"] * 12}
        wfdb.wrsamp(f"r{ecg_id}", 500, p_signal=signal, write_dir=str(root / "fast"), **leads)
    return {ecg_id: f"fast/r{ecg_id}" for ecg_id in ecg_ids}


def test_a_part_of_the_training_set_among_other_records_is_found(predict, one, another, synthetic_root, tmp_path):
    """Some as they are, some written again at 500 Hz in other units; all with other numbers."""
    root = shutil.copytree(another, tmp_path / "ecgs", ignore=shutil.ignore_patterns(".ecgcls"))
    shutil.copytree(synthetic_root / "records100", root / "own")
    seen = one.runs[0].read_seen().groups
    trained, tested = seen["train"].ecg_ids[:9].tolist(), seen["test"].ecg_ids[:2].tolist()
    rewritten = resample(root, synthetic_root, trained[:4])
    table = pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id", drop=False).loc[trained + tested]
    table["filename_lr"] = table["filename_lr"].str.replace("records100", "own")
    table["filename_lr"] = pd.Series(rewritten).reindex(table.index).fillna(table["filename_lr"])
    mixed = pd.concat([pd.read_csv(another / "ptbxl_database.csv"), table.assign(ecg_id=table["ecg_id"] + 5000)])
    mixed.to_csv(root / "ptbxl_database.csv", index=False)
    found, plain = predict(one, root), predict(one, another).predictions
    assert found.predictions.ecg_id.tolist() == [*plain.ecg_id.tolist(), *(ecg_id + 5000 for ecg_id in tested)]
    known = found.known.set_index("known_ecg_id")
    assert sorted(known.index) == sorted(trained + tested)
    assert not known.loc[trained[:4], "is_exact"].any() and known.loc[trained[4:], "is_exact"].all()
    assert (known.loc[trained, "part"] == "train").all() and (known.loc[tested, "part"] == "test").all()
    with pytest.raises(DataError, match=r"not external .* learned from 9 of the \d+ .*data\.known_records=drop leaves"):
        predict(one, root, known_records="error")
    assert predict(one, another, known_records="error").known.empty


@pytest.mark.slow
def test_which_records_are_known_is_written_beside_the_results(predict, one, elsewhere, tmp_path):
    found = predict(one, elsewhere, overrides={"intervals": {"n_resamples": 20}, "subgroups": {"n_resamples": 20}})
    write_rescored(found, tmp_path)
    listed = pd.read_csv(tmp_path / "known_records.csv")
    assert listed.columns.tolist() == ["ecg_id", "part", "known_ecg_id", "similarity", "is_exact"]
    assert len(listed) == 59 and listed["part"].value_counts().to_dict() == {"train": 40, "test": 12, "val": 7}


def test_a_run_that_keeps_no_waveforms_is_not_tested_elsewhere(predict, configuration, another, tmp_path):
    ignored = shutil.ignore_patterns("waveforms", "figures", "log")
    run = RunDirectory(shutil.copytree(configuration / "fold_0", tmp_path / "fold_0", ignore=ignored))
    run.seal()
    with pytest.raises(DataError, match=r"no waveforms/, .* repeat its command, which adds them without training"):
        predict(read_single(run), another)


def test_a_training_record_that_was_taken_from_the_waveforms_is_missed(predict, configuration, another, tmp_path):
    run = RunDirectory(shutil.copytree(configuration / "fold_0", tmp_path / "fold_0"))
    seen = run.read_seen()
    train = seen.groups["train"]
    fewer = replace(train, **{name: getattr(train, name)[1:] for name in ("ecg_ids", "sha256", "signature")})
    SeenRecords(seen.groups | {"train": fewer}).write(run.path / "waveforms")
    run.seal()
    with pytest.raises(DataError, match=r"train\.npz: not of the records of the run's train part \(fingerprint"):
        predict(read_single(run), another)


def test_another_data_set_has_no_validation_part(predict, one, another):
    with pytest.raises(ConfigError, match="is another data set than the run's own, all of it is test"):
        predict(one, another, split="val")


def test_another_data_set_is_evaluated_with_the_runs_settings(predict, one, another):
    settings = predict(one, another, overrides={"intervals": {"level": 0.8, "method": None}}).settings
    assert settings == one.evaluation.replace_with({"intervals": {"level": 0.8}})


def test_what_is_learned_there_is_learned_on_patients_that_are_not_scored(one, another, predict):
    plain = predict(one, another).predictions
    how = {"method": "intercept", "min_positives": 1}
    found = predict(one, another, overrides={"calibration": how}, local={"share": 0.4, "seed": 3})
    learned, scored = found.tables["local_update_records.csv"], found.predictions
    assert not set(learned["patient_id"]) & set(scored.patient_id)
    assert sorted([*learned["ecg_id"], *scored.ecg_id]) == plain.ecg_id.tolist()
    assert abs(learned["patient_id"].nunique() - 0.4 * len(np.unique(plain.patient_id))) <= 1
    np.testing.assert_array_equal(found.uncalibrated.y_prob, plain.take(scored.ecg_id).y_prob)
    part = plain.take(learned["ecg_id"])
    for column, (name, fitted) in enumerate(found.source["local_update"]["calibrator"]["by_class"].items()):
        assert name == plain.class_names[column] and fitted["method"] == "intercept"
        shifted = 1 / (1 + np.exp(-part.y_logit[:, column] - fitted["intercept"]))
        assert shifted.mean() == pytest.approx(part.y_true[:, column].mean(), abs=1e-6)
        moved = scored.y_logit[:, column] - found.uncalibrated.y_logit[:, column]
        np.testing.assert_allclose(moved, fitted["intercept"], atol=1e-9)
    mix = found.tables["case_mix.csv"].set_index(["what", "of"])["here"]
    assert mix["records", ""] == len(scored) < len(plain)
    for column, name in enumerate(plain.class_names):
        assert mix["prevalence", name] == pytest.approx(scored.y_true[:, column].mean())
        assert mix["mean probability", name] == pytest.approx(found.uncalibrated.y_prob[:, column].mean())
    other = predict(one, another, overrides={"calibration": how}, local={"share": 0.4, "seed": 4})
    assert set(other.predictions.ecg_id) != set(scored.ecg_id)


def test_the_own_validation_records_are_no_place_to_learn_on(one, elsewhere, predict):
    with pytest.raises(ConfigError, match="learned on a run's validation set, not with split=val"):
        predict(one, elsewhere, split="val", overrides={"thresholds": {"rule": "youden"}})


def test_another_source_says_the_classes_in_other_words(one, another, predict, tmp_path):
    """The same ECGs with SNOMED CT codes in their headers, as the Challenge ships them: nobody says NORM there."""
    root = shutil.copytree(another / "records100", tmp_path / "challenge")
    codes = pd.read_csv(another / "ptbxl_database.csv").set_index("ecg_id")["scp_codes"].map(ast.literal_eval)
    said = {"CLBBB": "733534002", "LVH": "164873001", "SR": "426783006", "IMI": "164865005", "INVT": "59931005"}
    for path in root.rglob("*.hea"):
        known = [said[name] for name in codes[int(path.stem[:5])] if name in said] or ["10370003"]
        path.write_text(f"{path.read_text().rstrip()}\n#Age: 50\n#Sex: Male\n#Dx: {','.join(known)}\n")
    found = predict(one, root, _target_="ecgcls.data.challenge.Challenge")
    plain = predict(one, another).predictions
    assert found.source["classes_not_scored"] == ["NORM"]
    assert found.predictions.class_names == tuple(name for name in plain.class_names if name != "NORM")
    here = {int(ecg_id[:5]): row for row, ecg_id in enumerate(found.predictions.ecg_id)}
    for column, name in enumerate(found.predictions.class_names):
        expected = {"CD": "CLBBB", "HYP": "LVH", "MI": "IMI"}.get(name)
        for ecg_id, row in here.items():
            label = found.predictions.y_true[row, column]
            if expected:
                assert label == (expected in codes[ecg_id]), (ecg_id, name)
            else:  # an inverted T wave may be a sign of STTC
                assert label == (-1 if "INVT" in codes[ecg_id] else 0)
    both = [ecg_id for ecg_id in here if ecg_id in plain.ecg_id]
    probs = pd.DataFrame(plain.y_prob, index=plain.ecg_id, columns=plain.class_names)
    own = pd.DataFrame(found.predictions.y_prob, index=list(here), columns=found.predictions.class_names)
    np.testing.assert_allclose(own.loc[both], probs.loc[both, own.columns], rtol=1e-5)
    mix = found.tables["case_mix.csv"].set_index(["what", "of"])["here"]
    assert mix["prevalence", "MI"] == pytest.approx(
        (found.predictions.y_true[:, own.columns.get_loc("MI")] == 1).mean()
    )
