import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import EvaluationSettings, ThresholdRule
from ecgcls.jobs import ensemble, load_ensemble
from ecgcls.jobs.apply import predict_files
from ecgcls.jobs.ensemble import EnsembleSettings, make_ensemble
from ecgcls.jobs.external import predict_data_set
from ecgcls.jobs.load import load_run, load_tested
from ecgcls.jobs.prediction_files import describe_limits
from ecgcls.runs import directory
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration
from ecgcls.runs.members import blend_members, check_same
from tests.commands import succeed
from tests.in_process import fit


@pytest.fixture(scope="module")
def folders(work, sweep, tmp_path_factory):
    """Fold 0 of cnn1d and of cnn2d in an output_dir of their own, and fold 1 of cnn1d."""
    outputs = tmp_path_factory.mktemp("ensemble") / "outputs"
    for source in [*work.glob("outputs/sweep/cnn?d/*/fold_0"), *work.glob("outputs/sweep/cnn1d/*/fold_1")]:
        shutil.copytree(source, outputs / source.relative_to(work / "outputs"))
    return [*sorted(outputs.glob("sweep/*/*/fold_0")), *outputs.glob("sweep/*/*/fold_1")]


def make(folders, **settings):
    """Make an ensemble without its tables and figures, which a test of the command looks at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "write_results", lambda *_, **__: None)
        members = [open_configuration(folder) for folder in folders]
        return make_ensemble(members, EnsembleSettings(**settings), output_dir=folders[0].parents[3])


@pytest.fixture(scope="module")
def pair(folders):
    return make(folders[:2], name="pair")


def read(folder, name="predictions.csv"):
    table = pd.read_csv(folder / name).set_index(["split", "ecg_id"]).sort_index()
    return {key: table.filter(regex=f"^{key}_").to_numpy() for key in ("y_true", "y_logit", "y_prob", "y_pred")}


def test_an_ensemble_is_the_mean_of_its_members(folders, pair):
    a, b = (read(folder) for folder in folders[:2])
    mean = read(pair.folder, "predictions_uncalibrated.csv")
    np.testing.assert_allclose(mean["y_logit"], (a["y_logit"] + b["y_logit"]) / 2)
    np.testing.assert_array_equal(mean["y_true"], a["y_true"])
    info = pair.info
    assert (info.kind, info.model, info.variant, info.fold) == ("ensemble", "ensemble", "pair", 0)
    assert info.n_parameters == 46_757 + 6_613
    assert [member["model"] for member in info.ensemble["members"]] == ["cnn1d", "cnn2d"]
    of_prob, blend = blend_members([RunDirectory(folder) for folder in folders[:2]], average="probabilities")
    table = of_prob.to_table().set_index(["split", "ecg_id"]).sort_index()
    np.testing.assert_allclose(table.filter(like="y_prob_"), (a["y_prob"] + b["y_prob"]) / 2)
    assert blend.weights == (0.5, 0.5)


def test_its_scores_are_those_of_scikit_learn(folders, pair):
    a, b = (RunDirectory(folder).read_predictions("test") for folder in folders[:2])
    expected = average_precision_score(a.y_true, (a.y_logit + b.y_logit) / 2, average="macro")
    platt = [each["method"] for each in pair.info.decisions["calibrator"]["by_class"].values()]
    assert set(platt) <= {"platt", "unweighted"}  # which keep every ranking
    assert pair.scores.overall["pr_auc"] == pytest.approx(expected)


def test_the_order_of_members_does_not_matter(folders, pair):
    before = (pair.folder / "run.json").read_bytes()
    again = make(folders[1::-1], name="pair")
    assert again.folder == pair.folder and (again.folder / "run.json").read_bytes() == before  # nothing is made anew
    names = {make(order).folder.parent.name for order in (folders[:2], folders[1::-1])}
    assert len(names) == 1 and names.pop().startswith("cnn1d+cnn2d~")


def test_an_ensemble_of_one_net_is_that_net(folders):
    alone, own = read(make(folders[:1], name="alone").folder), read(folders[0])
    np.testing.assert_allclose(alone["y_prob"], own["y_prob"], rtol=1e-6)
    np.testing.assert_array_equal(alone["y_pred"], own["y_pred"])


@pytest.mark.parametrize("is_mixed", [False, True])
def test_recordings_are_predicted_as_the_ensemble_was_tested(pair, filenames, monkeypatch, is_mixed):
    if is_mixed:  # as if each member took another input
        monkeypatch.setattr(load_ensemble, "_describe_form", lambda member: member.info.model)
    run = load_run(pair.folder)
    assert isinstance(run, load_ensemble.LoadedEnsemble) == is_mixed
    test = pair.runs[0].read_predictions("test")
    found = [prediction for _, prediction in predict_files(run, [filenames[ecg_id] for ecg_id in test.ecg_id])]
    np.testing.assert_allclose([list(each.y_prob.values()) for each in found], test.y_prob, atol=1e-5)
    np.testing.assert_array_equal([list(each.y_pred.values()) for each in found], test.y_pred)
    signal_mv = np.random.default_rng(0).normal(0, 0.3, (12, 2300)).cumsum(axis=1) * 0.05
    long = run.predict(signal_mv, sampling_rate_hz=100, lead_names=run.lead_names, error_rate=0.3)
    assert len(long.windows) == (1 if is_mixed else 3)
    assert set(long.y_set) == set(run.class_names)
    with pytest.raises(ConfigError, match=r"an ensemble, expected one net to explain|take different input"):
        run.explain(signal_mv, sampling_rate_hz=100, lead_names=run.lead_names)


@pytest.mark.slow
def test_members_may_take_other_leads_and_windows(folders, synthetic_root, filenames):
    settings = ("experiment=sweep", "data.leads=[I,II,V2]", "data.window_s=2.5", "trainer.max_epochs=1")
    usual = ("evaluation.intervals.n_resamples=1000", "evaluation.subgroups.n_resamples=null")
    other = folders[0].parents[1] / "leads" / "fold_0"
    fit(other, synthetic_root, *settings, *usual)
    mixed = make([folders[0], other], name="mixed", experiment="sweep")
    run = load_run(mixed.folder)
    test = mixed.runs[0].read_predictions("test")
    found = [prediction for _, prediction in predict_files(run, [filenames[ecg_id] for ecg_id in test.ecg_id])]
    np.testing.assert_allclose([list(each.y_prob.values()) for each in found], test.y_prob, atol=1e-5)
    assert run.metadata_names == () and describe_limits(run) == describe_limits(load_run(folders[0]))
    data = {"root": synthetic_root, "store_dir": None}
    with pytest.raises(ConfigError, match=r"take different input \(12 leads at 100 Hz for 10 s, 3 leads at 100 Hz"):
        predict_data_set(load_tested(mixed), data=data, split="test", overrides={})


@pytest.mark.slow
def test_a_member_that_changed_is_told_in_a_line(folders, pair, tmp_path, monkeypatch):
    moved = tmp_path / "outputs"
    shutil.copytree(folders[0].parents[3], moved)
    places = [moved / folder.relative_to(folders[0].parents[3]) for folder in (*folders, pair.folder)]
    one = open_configuration(places[3])
    np.testing.assert_array_equal(one.tested.y_prob, pair.tested.y_prob)  # the tree as a whole can be moved
    shutil.rmtree(places[0])
    shutil.copytree(places[2], places[0])
    monkeypatch.setattr(directory, "_ATTESTED", set())  # as in another process
    for what in (lambda: load_run(places[3]), RunDirectory(places[3]).read_predictions):
        with pytest.raises(DataError, match=r"its member .*cnn1d.* is not the run that it was.*makes it anew"):
            what()
    shutil.rmtree(places[0])
    with pytest.raises(DataError, match=r"its member .* is not there"):
        load_run(places[3])


@pytest.mark.slow
def test_predictions_that_are_no_mean_are_refused(folders, pair, tmp_path):
    moved = tmp_path / "outputs"
    shutil.copytree(folders[0].parents[3], moved)
    place = moved / pair.folder.relative_to(folders[0].parents[3])
    stored = json.loads((place / "run.json").read_text())
    for member, weight in zip(stored["ensemble"]["members"], (0.9, 0.1), strict=True):
        member["weight"] = weight
    (place / "run.json").write_text(json.dumps(stored))
    RunDirectory(place).seal()
    with pytest.raises(DataError, match=r"leak: .*the members' weights are"):
        RunDirectory(place).read_predictions()


def test_members_that_were_not_tested_alike_are_refused(folders, pair):
    with pytest.raises(ConfigError, match=r"its validation records differ: \d+ more \(ecg_id .*missing"):
        check_same([RunDirectory(folder) for folder in (folders[0], folders[2])])
    with pytest.raises(ConfigError, match="is named twice"):
        make([folders[0], folders[0]])
    with pytest.raises(ConfigError, match="is an ensemble itself"):
        make([folders[0], pair.folder])
    with pytest.raises(ConfigError, match="holds another ensemble"):
        make(folders[:2], name="pair", average="probabilities")
    with pytest.raises(ConfigError, match="is one fold, other members are folders"):
        make([folders[1], folders[0].parent])


def fake(**changed):
    """Stand in for a run with two test records of one class."""
    arrays = {"ecg_id": [1, 2], "patient_id": [1, 2], "y_true": [[1], [0]], "class_names": ("MI",)} | changed
    evaluation = arrays.pop("evaluation", EvaluationSettings())
    tested = Predictions(strat_fold=[1, 1], split=["test", "test"], y_prob=[[0.5], [0.5]], **arrays)
    info = SimpleNamespace(class_names=arrays["class_names"], evaluation=evaluation, kind="net")
    info.hash_part = lambda part: "" if part == "val" else str(arrays)
    return SimpleNamespace(path="B", read_info=lambda: info, read_predictions=lambda _: tested)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class_names": ("CD",)}, "its classes differ: missing: MI; unexpected: CD"),
        ({"ecg_id": [1, 3]}, r"its test records differ: 1 more \(ecg_id 3\) and 1 missing \(ecg_id 2\)"),
        ({"patient_id": [1, 1]}, "the patient of ecg_id 2 is 1, not 2"),
        ({"y_true": [[1], [1]]}, "1 labels, of which MI of ecg_id 2 is 1, not 0"),
        (
            {"evaluation": EvaluationSettings(thresholds=ThresholdRule("youden"))},
            "evaluation.thresholds.rule is youden and f1",
        ),
    ],
)
def test_what_differs_is_named(changed, message):
    check_same([fake(), fake()])
    with pytest.raises(ConfigError, match=message):
        check_same([fake(), fake(**changed)])


@pytest.mark.slow
def test_commands_take_several_runs(work, sweep, filenames, tmp_path):
    shutil.copytree(work / "outputs" / "sweep", tmp_path / "outputs" / "sweep")
    a, b = sorted(tmp_path.glob("outputs/sweep/cnn?d/*/fold_0"))
    done = succeed(
        tmp_path,
        "model=[cnn1d,cnn2d]",
        "experiment=sweep",
        "fold=all",
        "name=both",
        "weights=validation",
        command="evaluate",
    )
    assert "ensemble, 5 folds" in done.stdout and "validation scores are the more optimistic" in done.stdout
    folder = tmp_path / "outputs/sweep/ensemble/both"
    table = pd.read_csv(folder / "cv" / "predictions.csv")
    assert sorted(table["fold"].unique()) == [0, 1, 2, 3, 4]
    assert json.loads((folder / "fold_3" / "metrics.json").read_text())["test"]["overall"]["n_records"] > 0
    predict = succeed(tmp_path, f"run_dir=[{a},{b}]", f"input={filenames.iloc[0]}", "output=p", command="predict")
    assert "predictions of 2 runs, averaged" in predict.stdout
    prob = pd.read_csv(tmp_path / "p" / "predictions.csv").filter(like="y_prob_")
    assert ((prob > 0) & (prob < 1)).all(axis=None)
    succeed(tmp_path, "experiment=sweep", command="report")
    assert "mean of cnn1d" in (tmp_path / "outputs/sweep/report.html").read_text()
    assert "ensemble" in succeed(tmp_path, command="runs").stdout
    verdict = succeed(tmp_path, f"a={folder / 'fold_0'}", f"b={a}", "n_resamples=20", command="compare")
    assert "cannot be told" in verdict.stdout
