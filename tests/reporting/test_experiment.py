import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.jobs import results
from ecgcls.jobs.cross_validate import cross_validate
from ecgcls.reporting import facts
from ecgcls.reporting.cells import score_cells
from ecgcls.reporting.experiment import collect
from ecgcls.reporting.facts import compare_versions, describe_data, list_limits, summarize_configuration
from ecgcls.runs.directory import RunDirectory


@pytest.fixture(scope="module")
def found(experiment):
    return collect(experiment)


def test_the_best_comes_first_and_names_tell_apart(found):
    assert [one.name for one in found.configurations] == ["cnn2d", "cnn1d seed=1"]
    assert found.shared == ("trainer.max_epochs=3",)
    assert found.is_synthetic


def test_no_run_is_dropped_silently(found):
    assert found.unfinished == {
        "cnn1d/seed=2,trainer.max_epochs=3/fold_0": "running",
        "cnn2d/trainer.max_epochs=3/fold_1": "failed (out of <memory>)",
    }
    assert [(len(one.runs), one.n_folds, one.is_complete) for one in found.configurations] == [
        (2, 3, False),
        (3, 3, True),
    ]
    assert [one.state for one in found.configurations] == ["1 failed", ""]
    assert [(one.name, one.state) for one in found.begun] == [("cnn1d seed=2", "1 running")]


def test_a_fold_that_never_began_is_missing(tmp_path, write_configuration):
    write_configuration(tmp_path / "demo", "cnn1d", folds=(1,))
    (one,) = collect(tmp_path / "demo").configurations
    assert (len(one.runs), one.n_folds, one.state) == (1, 3, "2 missing")


def test_what_cannot_be_compared_is_reported(found, tmp_path, write_configuration):
    assert found.differences == [
        f"cnn2d was tested on other records ({len(found.configurations[0].tested)} of them).",
        "All others were tested on the 60 records of cnn1d seed=1.",
    ]
    folder = tmp_path / "same"
    write_configuration(folder, "cnn1d")
    write_configuration(folder, "cnn2d", skill=0.3)
    assert collect(folder).differences == [] and collect(folder).alike == [0, 1]
    for path in (*folder.glob("cnn2d/fold_*/predictions*.csv"), *folder.glob("cnn2d/fold_*/run.json")):
        path.write_text(path.read_text().replace("_NORM", "_AFIB").replace('"NORM"', '"AFIB"'))
        RunDirectory(path.parent).seal()
    found = collect(folder)
    assert found.differences[0] == "cnn2d has other classes: AFIB, LAFB/LPFB, <b>&\"HYP'."
    (alike,) = found.alike  # the tile of the highest PR-AUC is of one task
    assert found.configurations[alike] is found.widest


def test_other_labels_of_the_same_records_are_reported(tmp_path, write_configuration):
    """Classes in another order are no difference, a record that lost a label is one."""
    folder = tmp_path / "demo"
    write_configuration(folder, "cnn1d")
    write_configuration(folder, "cnn2d", skill=0.3)
    path = next(folder.glob("cnn2d/fold_0/predictions.csv"))
    for each in folder.glob("cnn2d/fold_*/predictions.csv"):
        table = pd.read_csv(each)
        table[list(table)[:4] + [name for part in (4, 7) for name in list(table)[part : part + 3][::-1]]].to_csv(
            each, index=False
        )
        RunDirectory(each.parent).seal()
    assert collect(folder).differences == [] and collect(folder).alike == [0, 1]
    table = pd.read_csv(path)
    table.loc[0, "y_true_NORM"] = 1 - table.loc[0, "y_true_NORM"]
    table.to_csv(path, index=False)
    RunDirectory(path.parent).seal()
    found = collect(folder)
    other = next(one.name for one in found.configurations if one is not found.widest)
    assert found.differences[0] == f"{other} was tested against other labels of the same records."


def test_a_folder_that_only_looks_like_a_fold_is_an_error(tmp_path, write_configuration):
    folder = write_configuration(tmp_path / "demo", "cnn1d")
    shutil.copytree(folder / "fold_0", folder / "fold_0_backup")
    with pytest.raises(ConfigError, match=r"fold_0_backup: a run's folder is called fold_<k>"):
        collect(tmp_path / "demo")


def test_a_finished_run_without_its_configuration_is_an_error(tmp_path, write_configuration):
    folder = write_configuration(tmp_path / "demo", "cnn1d")
    (folder / "fold_1" / ".hydra" / "config.yaml").unlink()
    with pytest.raises(DataError, match=r"fold_1/\.hydra/config\.yaml: missing, though the run is finished"):
        collect(tmp_path / "demo")


def test_configurations_that_describe_themselves_alike_have_two_names(tmp_path, write_configuration):
    write_configuration(tmp_path / "demo", "cnn1d", "first", info={"variant": "lr=1"})
    write_configuration(tmp_path / "demo", "cnn1d", "second", info={"variant": "lr=1"})
    assert len({one.name for one in collect(tmp_path / "demo").configurations}) == 2


def test_a_run_without_its_epochs_is_an_error(tmp_path, write_configuration):
    folder = write_configuration(tmp_path / "demo", "cnn1d")
    (folder / "fold_1" / "history.csv").unlink()
    with pytest.raises(DataError, match=r"fold_1/history\.csv: missing, though the run is finished"):
        _ = collect(tmp_path / "demo").configurations[0].histories


def test_numbers_are_scikit_learns_and_the_cross_validations(found, experiment):
    one = found.configurations[1]
    pooled = average_precision_score(one.tested.y_true, one.tested.y_prob, average="macro")
    line = summarize_configuration(one)
    assert line["pr_auc"]["pooled"] == pytest.approx(pooled, abs=1e-9)
    by_fold = [average_precision_score(part.y_true, part.y_prob, average="macro") for part in one.predictions("test")]
    assert line["pr_auc"]["value"] == pytest.approx(np.mean(by_fold), abs=1e-9)
    cross_validate(one.folder)
    written = json.loads((one.folder / "cv" / "metrics.json").read_text())
    assert line["roc_auc"]["value"] == written["test"]["overall"]["roc_auc"]
    assert line["f1_macro"]["sd"] == written["over_folds"]["overall"]["f1_macro"]["sd"]
    assert line["fit_s"] == 4.5


def test_the_mean_over_classes_with_enough_patients_stands_beside(found, monkeypatch):
    def measure(*arrays, **more):
        table = bootstrap(*arrays, **more)
        more = {"n_supported": [2 if key == "pr_auc" else 3 for _, key in table.index]}
        return table.assign(**more, supported_value=0.5, supported_low=0.4, supported_high=0.6)

    monkeypatch.setattr(results, "bootstrap", measure)
    assert summarize_configuration(found.configurations[1])["supported"] == {"pr_auc": (2, 0.5, 0.4, 0.6)}


def test_scores_stand_beside_those_of_stricter_readings_and_calibration_has_limits(found):
    one = replace(found.configurations[0])
    name = one.class_names[0]
    ecg_id = one.tested.ecg_id[one.tested.y_true[:, 0] == 1][:3]
    vars(one)["likelihoods"] = pd.DataFrame({"ecg_id": ecg_id, "class": name, "likelihood": 35.0})
    lines = facts.list_readings([facts.score_label_noise(one), None], [one, one])
    assert [(line["at_least"], line["n_left_out"]) for line in lines] == [(0, 0), (50, 3), (100, 3)]
    assert lines[0]["pr_auc"] == one.scores.overall["pr_auc"]
    before, after = facts.describe_calibration([one])
    assert (before["stage"], after["stage"]) == ("before", "after")
    row = after["by_class"][name]
    assert row["oe_low"] < row["oe"] < row["oe_high"]


def test_subgroups_are_those_of_the_table(found, database):
    groupings, _, reason = score_cells(found.configurations, data_root=None)
    assert reason == ""
    sexes = {line["group"]: line for line in dict(groupings)["Sex"]}
    one = found.configurations[1]
    coded = database["sex"].reindex(one.tested.ecg_id).to_numpy()
    code, name = max((0, "male"), (1, "female"), key=lambda sex: (coded == sex[0]).sum())
    members = coded == code  # at least 30
    scored = sexes[name]["scores"]["cnn1d seed=1"]
    for key, measure in (("pr_auc", average_precision_score), ("roc_auc", roc_auc_score)):
        by_class = []
        for truth, y_prob in zip(one.tested.y_true.T, one.tested.y_prob.T, strict=True):
            parts = [members & (one.tested.fold == fold) for fold in range(3)]
            defined = [part for part in parts if 0 < truth[part].sum() < part.sum()]
            by_class.append(np.mean([measure(truth[part], y_prob[part]) for part in defined]))
        assert scored[key]["value"] == pytest.approx(np.mean(by_class), abs=1e-12)
    # the counts are those of the configuration with the most records
    assert sexes[name]["n_records"] == members.sum()
    assert sexes[name]["n_patients"] == len(np.unique(one.tested.patient_id[members]))
    assert sexes[name]["n_positive"] == one.tested.y_true[members].sum()
    assert sum(line["n_records"] for line in sexes.values()) == 60


def test_ages_and_sexes_are_named_as_ptbxl_codes_them(tmp_path, synthetic_root, write_configuration):
    """300 is an age above 89, 0 is a man; what is missing is unknown."""
    table = pd.read_csv(synthetic_root / "ptbxl_database.csv").astype({"age": float, "sex": float})
    table["age"] = [300.0] * 3 + [89.0, 80.0, np.nan, 9.0, 10.0] + [50.0] * (len(table) - 8)
    table["sex"] = [np.nan] * 2 + [0] * 5 + [1] * (len(table) - 7)
    root = tmp_path / "ecgs"
    root.mkdir()
    table.to_csv(root / "ptbxl_database.csv", index=False)
    shutil.copy(synthetic_root / "scp_statements.csv", root)
    write_configuration(tmp_path / "demo", "cnn1d", root=root)
    groupings, _, _ = score_cells(collect(tmp_path / "demo").configurations, data_root=None)
    counts = {
        title: [(line["group"], line["n_records"]) for line in lines]
        for title, lines in groupings
        if title in ("Sex", "Age (decade)")
    }
    assert counts == {
        "Sex": [("female", 53), ("male", 5), ("unknown", 2)],
        "Age (decade)": [
            ("0 to 9", 1),
            ("10 to 19", 1),
            ("50 to 59", 52),
            ("80 to 89", 2),
            ("90 or older", 3),
            ("unknown", 1),
        ],
    }


def test_a_small_subgroup_is_marked_and_none_is_called_worse_for_want_of_patients(found):
    one = found.configurations[1]
    groupings, worst, _ = score_cells([one], data_root=None)
    for _, lines in groupings:
        for line in lines:
            scored = line["scores"][one.name]["roc_auc"]
            assert scored["is_too_small"] == (line["n_records"] < 30)
            assert np.isnan(scored["value"]) == scored["is_too_small"]
            if not scored["is_too_small"]:
                assert scored["low"] <= scored["value"] <= scored["high"]
    assert worst[one.name].startswith("no subgroup can be told from the rest: none has 20 patients")


def test_another_table_gives_no_subgroups_but_a_reason(found, tmp_path):
    groupings, _, reason = score_cells(found.configurations, data_root=tmp_path)
    assert groupings == []
    assert reason == f"There is no readable data set at {tmp_path}."
    for name in ("ptbxl_database.csv", "scp_statements.csv"):
        (tmp_path / name).write_text("ecg_id\n1\n")
    _, _, reason = score_cells(found.configurations, data_root=tmp_path)
    assert "are not those that the runs were trained on" in reason


def test_data_and_versions_are_listed_once_and_differences_marked(found, database):
    (first, second) = describe_data(found.configurations)
    assert (first["names"], second["names"]) == (["cnn2d"], ["cnn1d seed=1"])
    assert [line["n_records"] for line in second["folds"] if line["part"] == "test"] == [10, 11, 12]
    assert first["absent_classes"] == ["WPW"]
    test = next(line for line in second["folds"] if (line["fold"], line["part"]) == (1, "test"))
    ids = found.configurations[1].predictions("test")[1].ecg_id
    assert test["validated"] == pytest.approx(database["validated_by_human"].reindex(ids).mean())
    versions = {fact["name"]: fact for fact in compare_versions(found.configurations)}
    assert versions["torch"]["differs"]
    assert versions["torch"]["found"]["2.14.0"] == ["cnn2d, fold 0", "cnn2d, fold 2"]
    assert not versions["ecgcls"]["differs"]


def test_limits_come_from_the_facts(found):
    limits = " ".join(list_limits(found))
    assert "cnn2d: 2 of 3 folds finished, fold=1 missing" in limits
    assert "cnn1d seed=1: 3 of 3" not in limits
    assert "The ECGs are simulated." in limits
    assert "There is only one seed (0)" in limits
    assert "cnn2d: all thresholds are fixed at 0.5, not tuned" in limits
    assert [one.info.pos_weight for one in found.configurations] == [None, [2.0, 2.0, 2.0]]
    assert limits.count("the loss counts positive records") == 1
    assert "cnn1d seed=1: the loss counts positive records 2 times" in limits and "they are not recalibrated" in limits
    unweighted = replace(found, configurations=found.configurations[:1])
    assert "the loss counts positive records" not in " ".join(list_limits(unweighted))
    for name in found.class_names:
        fewest = min(one.scores.by_class.loc[name, "n_positive"] for one in found.configurations)
        assert (f"{name} ({fewest:.0f})" in limits) == (fewest < 30)
        assert limits.count(f"{name} (") <= 1


def test_settings_that_were_searched_on_another_fold_are_told(tmp_path, write_configuration):
    folder = write_configuration(tmp_path / "demo", "cnn1d")
    search = tmp_path / "demo" / "search" / "noon"
    search.mkdir(parents=True)
    shutil.copy(folder / "fold_1" / ".hydra" / "config.yaml", search / "best.yaml")
    (search / "trials.csv").write_text("trial,seed,val_pr_auc,status,run,error\n0,0,0.5,finished,x,\n")
    (limit,) = [limit for limit in list_limits(collect(tmp_path / "demo")) if "searched" in limit]
    assert limit.startswith("cnn1d: these settings were searched on fold 1")
    assert "test records of fold 0: its test score is optimistic" in limit


def test_an_experiment_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no finished run to report \(there is none\)"):
        collect(tmp_path)
    (tmp_path / "cnn1d" / "fold_0").mkdir(parents=True)
    (tmp_path / "cnn1d" / "fold_0" / "run.json").write_text('{"status": "running"}')
    with pytest.raises(ConfigError, match=r"no finished run to report \(cnn1d/fold_0: running\)"):
        collect(tmp_path)


def test_epochs_count_from_1_for_people(found):
    assert facts.summarize_training(found.configurations[0])["best_epoch"] == [2, 2]  # history.csv has 0 and 1
