"""Not certain, no usable ECG, unlike the training data: what a trained run says of each."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.conformal import SETS
from ecgcls.jobs.apply import predict_files
from ecgcls.jobs.certainty import Certainty, form_own_sets, write_certainty
from ecgcls.jobs.external import predict_data_set
from ecgcls.jobs.load import load_run, load_tested
from ecgcls.jobs.prediction_files import PredictionFiles, format_predictions
from ecgcls.jobs.rescore import rescore
from ecgcls.jobs.scored import score_quality
from ecgcls.runs.find import open_configuration
from tests.commands import ecgcls, succeed
from tests.predictions import make

ERROR_RATE = 0.45  # which two patients of each label suffice for
FORM = {"sampling_rate_hz": 100, "lead_names": LEADS}
QUICK = {"intervals": {"n_resamples": 20}, "subgroups": {"n_resamples": 2, "min_records": 3}}


@pytest.fixture(scope="module")
def ecg_mv(filenames):
    return read_record(filenames.iloc[0]).signal_uv / 1000


@pytest.fixture
def noise_mv():
    return 0.2 * np.random.default_rng(0).normal(size=(12, 1000))


def test_predict_says_of_a_test_record_what_evaluate_says(run, configuration, filenames):
    own = form_own_sets(open_configuration(configuration / "fold_0"), ERROR_RATE)
    found = predict_files(run, [filenames[ecg_id] for ecg_id in own.ecg_id], error_rate=ERROR_RATE)
    sets = [[SETS.index(text) for text in prediction.y_set.values()] for _, prediction in found]
    np.testing.assert_array_equal(sets, own.sets)
    assert len(np.unique(own.sets[:, 0])) > 1  # the first class has enough known patients


def test_each_record_of_a_cross_validation_is_judged_by_its_own_net(configuration):
    whole = open_configuration(configuration)
    pooled = form_own_sets(whole, ERROR_RATE)
    for fold in range(5):
        own = form_own_sets(open_configuration(configuration / f"fold_{fold}"), ERROR_RATE)
        np.testing.assert_array_equal(pooled.take(own.ecg_id).sets, own.sets)


def test_another_data_set_is_judged_by_the_validation_records_of_the_run(configuration, synthetic_root, tmp_path):
    """Here it is the run's own, so that the sets are those of its stored predictions."""
    one = open_configuration(configuration / "fold_0")
    data = {"root": synthetic_root, "store_dir": tmp_path}
    found = predict_data_set(load_tested(one), data=data, split="test", overrides={}, error_rate=ERROR_RATE)
    own = form_own_sets(one, ERROR_RATE)
    np.testing.assert_array_equal(found.certainty.take(own.ecg_id).sets, own.sets)


def test_a_class_with_too_few_known_patients_is_never_certain(run, ecg_mv):
    assert run.list_unstated(0.01) == list(run.class_names)
    assert set(run.predict(ecg_mv, **FORM, error_rate=0.01).y_set.values()) == {"not certain"}
    assert run.predict(ecg_mv, **FORM).y_set == {}
    with pytest.raises(ConfigError, match=r"error_rate must be above 0 and below 0\.5, got 0\.7"):
        run.predict(ecg_mv, **FORM, error_rate=0.7)


def test_several_nets_and_windows_average_their_p_values(configuration, ecg_mv):
    whole = load_run(configuration)
    windows = np.stack([ecg_mv, ecg_mv[:, ::-1]]).astype(np.float32)
    own = zip(whole.nets, whole.calibrators, whole.runs, strict=True)
    singles = [replace(whole, nets=(net,), calibrators=(calibrator,), runs=(path,)) for net, calibrator, path in own]
    p_values = [one.score_windows(windows, None, with_sets=True).p_values for one in singles]
    scored = whole.score_windows(windows, None, with_sets=True)
    np.testing.assert_allclose(scored.p_values, np.mean(p_values, axis=0))
    long = np.concatenate([ecg_mv, ecg_mv[:, ::-1]], axis=1)
    is_kept = scored.p_values.mean(axis=0) > ERROR_RATE
    expected = [SETS[no + 2 * yes] for no, yes in is_kept]
    found = whole.predict(long, **FORM, error_rate=ERROR_RATE).y_set
    unstated = whole.list_unstated(ERROR_RATE)
    assert found == {
        name: "not certain" if name in unstated else text for name, text in zip(found, expected, strict=True)
    }


def _write(rescored, folder):
    write_certainty(folder, rescored.predictions, rescored.certainty, groups=rescored.groups, min_records=3)


def test_sets_are_written_by_class_and_subgroup(configuration, tmp_path):
    rescored = rescore(open_configuration(configuration), split="test", overrides=QUICK, error_rate=ERROR_RATE)
    _write(rescored, tmp_path)
    table = pd.read_csv(tmp_path / "conformal.csv").set_index("class")
    assert table.index.tolist() == list(rescored.predictions.class_names)
    np.testing.assert_allclose(table[["yes", "no", "not_certain", "neither"]].sum(axis=1), 1)
    sets = pd.read_csv(tmp_path / "sets.csv")
    assert sets["ecg_id"].tolist() == rescored.predictions.ecg_id.tolist()
    truth = rescored.predictions.y_true[:, 0] == 1
    name = table.index[0]
    holds = sets.loc[truth, f"y_set_{name}"].isin(["yes", "not certain"]).mean()
    assert table.loc[name, "coverage_positive"] == pytest.approx(holds)
    cells = pd.read_csv(tmp_path / "conformal_subgroups.csv")
    of_sex = cells[(cells["grouping"] == "sex") & (cells["class"] == name)]
    assert of_sex["n_positive"].sum() == truth.sum()
    few = rescored.narrow(rescored.predictions.ecg_id[:4])
    _write(few, tmp_path)
    assert pd.read_csv(tmp_path / "sets.csv")["ecg_id"].tolist() == few.predictions.ecg_id.tolist()


def test_a_subgroup_that_does_not_keep_the_rate_is_named(tmp_path, caplog):
    """The sets of all 100 positive women hold yes, those of half of the men do not."""
    ids, y_true = np.arange(200), np.ones((200, 1), dtype=int)
    predictions = make(ids, ["test"] * 200, ("MI",), patient_id=ids, y_true=y_true)
    sets = np.where(ids < 150, SETS.index("yes"), SETS.index("no"))[:, None].astype(np.int8)
    groups = pd.DataFrame({"sex": np.where(ids < 100, "female", "male")}, index=ids)
    certainty = Certainty(0.2, ids, sets, np.array([[50, 50]]))
    write_certainty(tmp_path, predictions, certainty, groups=groups, min_records=10)
    assert "1 times a class's sets hold the label too rarely" in caplog.text
    assert "the positive records of MI in sex male (0.500 of them)" in caplog.text
    cells = pd.read_csv(tmp_path / "conformal_subgroups.csv").set_index("group")
    low, high = proportion_confint(50, 100, alpha=0.05 / 4, method="wilson")  # two cells, two labels
    assert cells.loc["male", ["coverage_positive_low", "coverage_positive_high"]].tolist() == pytest.approx([low, high])


def test_validation_records_cannot_test_what_they_taught(configuration):
    with pytest.raises(ConfigError, match="error_rate: the sets are learned on the validation records"):
        rescore(open_configuration(configuration), split="val", overrides=QUICK, error_rate=0.1)


def test_noise_is_noted_or_refused(run, ecg_mv, noise_mv):
    assert run.predict(ecg_mv, **FORM, unusable="refuse").unusable == ()
    (doubt,) = run.predict(noise_mv, **FORM).unusable
    assert doubt.startswith("no usable ECG: more than 30% of the power of most leads is above 25 Hz")
    with pytest.raises(DataError, match="refused, as unusable=refuse asks: no usable ECG"):
        run.predict(noise_mv, **FORM, unusable="refuse")
    cut_mv = np.clip(ecg_mv, *np.quantile(ecg_mv, [0.1, 0.9], axis=1)[:, :, None])
    with pytest.raises(DataError, match="unusable=refuse asks: not all of the ECG is there: saturated"):
        run.predict(cut_mv, **FORM, unusable="refuse")
    partly = np.concatenate([ecg_mv, ecg_mv, noise_mv], axis=1)
    (doubt,) = run.predict(partly, **FORM, unusable="refuse").unusable  # most of it is an ECG
    assert doubt.startswith("no usable ECG in 1 of 3 windows: ")
    with pytest.raises(ConfigError, match="unusable must be note or refuse, got 'no'"):
        run.predict(ecg_mv, **FORM, unusable="no")


def test_what_is_unlike_the_training_data_is_named(run, ecg_mv, monkeypatch):
    assert run.likenesses == () and len(run.kept_likenesses) == 1  # a dozen patients do not tell 1 % from others
    for module in ("scored", "predictor"):
        monkeypatch.setattr(f"ecgcls.jobs.{module}.UNLIKE_RATE", 0.2)
    telling = replace(run)
    assert len(telling.likenesses) == 1
    assert telling.predict(ecg_mv, **FORM).unusable == ()
    (doubt,) = telling.predict(np.tile(ecg_mv[1], (12, 1)), **FORM).unusable
    assert doubt.startswith("unlike the training data: ")
    with pytest.raises(DataError, match="refused, as unusable=refuse asks: unlike the training data"):
        telling.predict(np.tile(ecg_mv[1], (12, 1)), **FORM, unusable="refuse")
    _, p_likeness, _ = score_quality(ecg_mv[None].astype(np.float32), 100, telling.likenesses)
    assert p_likeness[0] > 0.2


def test_a_record_that_the_net_has_learned_from_is_named(run, configuration, filenames):
    known, whole = run.runs[0].read_seen().groups, load_run(configuration)
    for part, text in (("train", "ecg_id {} (train)"), ("val", "ecg_id {} (val)"), ("test", "")):
        ecg_id = known[part].ecg_ids[0]
        ((_, prediction),) = predict_files(run, [filenames[ecg_id]])
        assert prediction.known.removeprefix("an ECG that the run has learned from: ") == text.format(ecg_id)
        signal_mv = read_record(filenames[ecg_id]).signal_uv / 1000
        again = run.predict(np.repeat(signal_mv, 5, axis=1), **FORM | {"sampling_rate_hz": 500})
        assert again.known == prediction.known
        assert bool(whole.predict(signal_mv, **FORM).known)  # the other folds' nets learn from it


def test_what_cannot_be_said_is_written_and_shown(configuration, filenames, tmp_path):
    whole = load_run(configuration)
    with PredictionFiles(tmp_path, run=whole, source="typed", error_rate=ERROR_RATE) as files:
        for path, prediction in predict_files(whole, filenames[:2], error_rate=ERROR_RATE):
            files.add(str(path), prediction)
    table = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    name = whole.class_names[0]
    assert set(table[f"y_set_{name}"]) <= set(SETS)
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert (content["error_rate"], content["not_stated"]) == (ERROR_RATE, whole.list_unstated(ERROR_RATE))
    assert content["records"][0]["y_set"][name] == table[f"y_set_{name}"][0]
    text = format_predictions(files, whole)
    assert "what holds for any nets is a rate of 0.9" in text
    for note in (*content["notes"], "The mean of calibrated nets is not calibrated itself"):
        assert note in text
    assert re.search(r"not told: that takes 99 validation patients, and the run has \d\d?\b", text)
    kept_none = replace(whole, runs=())
    assert kept_none.why_no_likeness.startswith("the run has no likeness.npz")


@pytest.mark.slow
def test_both_commands_answer_at_an_error_rate(work, configuration, filenames, tmp_path):
    which = ("experiment=sweep", "model=cnn1d")
    done = succeed(work, *which, f"input={filenames.iloc[0]}", f"output={tmp_path / 'p'}", "error_rate=0.3",
                   command="predict")  # fmt: skip
    assert "yes, no: at an error rate of 0.3 among the positive" in done.stdout
    done = succeed(work, *which, "error_rate=0.3", "intervals.n_resamples=20", "subgroups.n_resamples=2",
                   f"output={tmp_path / 'e'}", command="evaluate")  # fmt: skip
    assert "Sets at an error rate of 0.3; they are meant to hold the true label for 0.7" in done.stdout
    assert (tmp_path / "e" / "conformal.csv").is_file()
    refused = ecgcls(work, *which, "error_rate=2", command="evaluate")
    assert "error_rate must be above 0 and below 0.5, got 2" in refused.stderr
    refused = ecgcls(work, "error_rate=0.1", "predictions=x.csv", command="evaluate")
    assert "error_rate has no effect with predictions=" in refused.stderr
