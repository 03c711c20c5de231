import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ecgcls.cross_validation import cross_validate
from ecgcls.errors import ConfigError
from ecgcls.evaluation.metrics import score
from ecgcls.reporting.collect import collect, compare_versions, describe_data, list_limits
from ecgcls.reporting.subgroups import score_subgroups


@pytest.fixture(scope="module")
def found(experiment):
    return collect(experiment)


def test_the_best_comes_first_and_names_tell_apart(found):
    assert [one.name for one in found.configurations] == ["cnn2d", "cnn1d seed=1"]
    assert found.shared == ("trainer.max_epochs=3",)
    assert found.is_synthetic


def test_no_run_is_dropped_in_silence(found):
    assert found.unfinished == {
        "cnn1d/seed=2/fold_0": "running",
        "cnn2d/trainer.max_epochs=3/fold_1": "failed (out of <memory>)",
    }
    assert [(len(one.runs), one.n_folds, one.is_complete) for one in found.configurations] == [
        (2, 3, False),
        (3, 3, True),
    ]


def test_pooled_numbers_are_scikit_learns_and_the_cross_validations(found, experiment):
    one = found.configurations[1]
    expected = average_precision_score(one.pooled.y_true, one.pooled.y_prob, average="macro")
    line = one.tabulate()
    assert line["pr_auc"]["pooled"] == pytest.approx(expected, abs=1e-9)
    cross_validate(one.folder)
    written = json.loads((one.folder / "cv" / "metrics.json").read_text())
    assert line["roc_auc"]["pooled"] == written["test"]["overall"]["roc_auc"]
    assert line["f1_macro"]["mean"] == written["over_folds"]["overall"]["f1_macro"]["mean"]
    assert line["f1_macro"]["sd"] == written["over_folds"]["overall"]["f1_macro"]["sd"]
    assert line["fit_s"] == 4.5


def test_subgroups_are_those_of_the_table(found, database):
    groupings, reason = score_subgroups(found.configurations, data_root=None)
    assert reason == ""
    sexes = {line["group"]: line for line in dict(groupings)["Sex"]}
    one = found.configurations[1]
    women = database["sex"].reindex(one.pooled.ecg_id).to_numpy() == 1
    told = sexes["female"]["scores"]["cnn1d seed=1"]
    expected = score(one.pooled.y_true[women], one.pooled.y_prob[women], one.pooled.class_names)
    assert told["pr_auc"] == expected.overall["pr_auc"]
    # The counts are those of the best configuration, of which a fold is missing.
    best = found.configurations[0].pooled
    is_female = database["sex"].reindex(best.ecg_id).to_numpy() == 1
    assert sexes["female"]["n_records"] == is_female.sum()
    assert sexes["female"]["n_patients"] == len(np.unique(best.patient_id[is_female]))
    assert sum(line["n_records"] for line in sexes.values()) == len(best)


def test_ages_are_decades_with_the_hidden_ones_last(found):
    ages = [line["group"] for line in dict(score_subgroups(found.configurations, data_root=None)[0])["Age (decade)"]]
    decades = [age for age in ages if " to " in age]
    assert decades == sorted(decades, key=lambda age: int(age.split()[0]))
    assert ages[: len(decades)] == decades


def test_another_table_gives_no_subgroups_but_a_reason(found, tmp_path):
    groupings, reason = score_subgroups(found.configurations, data_root=tmp_path)
    assert groupings == []
    assert reason == f"The data set is not at {tmp_path}; data.root=PATH says where it is."
    for name in ("ptbxl_database.csv", "scp_statements.csv"):
        (tmp_path / name).write_text("ecg_id\n1\n")
    _, reason = score_subgroups(found.configurations, data_root=tmp_path)
    assert "is not the table that the runs were trained on" in reason


def test_data_and_versions_are_told_once_and_differences_marked(found):
    (first, second) = describe_data(found.configurations)
    assert (first["names"], second["names"]) == (["cnn2d"], ["cnn1d seed=1"])
    assert [line["n_records"] for line in second["folds"] if line["part"] == "test"] == [10, 11, 12]
    assert first["absent_classes"] == ["WPW"]
    versions = {fact["name"]: fact for fact in compare_versions(found.configurations)}
    assert versions["torch"]["differs"]
    assert versions["torch"]["found"]["2.14.0"] == ["cnn2d, fold 0", "cnn2d, fold 2"]
    assert not versions["ecgcls"]["differs"]


def test_limits_come_from_the_facts(found, tmp_path, write_configuration):
    limits = " ".join(list_limits(found))
    assert "cnn2d: 2 of 3 folds are finished" in limits
    assert "cnn1d seed=1: " not in limits
    assert "The ECGs are simulated." in limits
    assert "One seed only (0)" in limits
    positives = found.configurations[1].scores.by_class["n_positive"]
    for name, count in positives.items():
        assert (f"{name} ({count:.0f})" in limits) is (count < 30)


def test_an_experiment_without_a_finished_run_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"no finished run to report \(there is none\)"):
        collect(tmp_path)
    (tmp_path / "cnn1d" / "fold_0").mkdir(parents=True)
    (tmp_path / "cnn1d" / "fold_0" / "run.json").write_text('{"status": "running"}')
    with pytest.raises(ConfigError, match=r"no finished run to report \(cnn1d/fold_0: running\)"):
        collect(tmp_path)
