"""Folds made by hand: what is pooled and what is averaged can be worked out beside it."""

import json

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.jobs.cross_validate import cross_validate
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.predictions_csv import write_csv

N_FOLDS = 3


def write_fold(folder, fold, *, class_names=("NORM", "MI"), ecg_ids=None, data="same", status="finished", lr=0.1):
    rng = np.random.default_rng(fold)
    ecg_ids = np.arange(fold * 100, fold * 100 + 40) if ecg_ids is None else np.asarray(ecg_ids)
    n = len(ecg_ids)
    y_true = (rng.random((n, len(class_names))) < 0.4).astype(int)
    predictions = Predictions(
        ecg_id=np.concatenate([ecg_ids, ecg_ids + 10_000]),  # and as many validation records
        patient_id=np.concatenate([ecg_ids, ecg_ids + 10_000]),
        strat_fold=np.full(2 * n, fold + 1),
        split=np.array(["test"] * n + ["val"] * n),
        y_true=np.concatenate([y_true, y_true]),
        y_prob=np.concatenate([0.3 * y_true + 0.7 * rng.random(y_true.shape)] * 2),
        class_names=tuple(class_names),
    )
    run = RunDirectory(folder / f"fold_{fold}")
    write_csv(predictions, run.path / "predictions.csv")
    intervals = {"_target_": "ecgcls.evaluation.settings.Bootstrap", "n_resamples": 100}
    config = {"fold": fold, "folds": {"test": [[1], [2], [3]]}, "optimizer": {"lr": lr}}
    config |= {"evaluation": {"intervals": intervals}}
    pd.DataFrame({"epoch": [0, 1], "val/loss": [1.0, 0.5]}).to_csv(run.path / "history.csv", index=False)
    (run.path / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(config), run.path / ".hydra" / "config.yaml")
    run.write_info(
        {
            "status": status,
            "fold": fold,
            "model": "cnn1d",
            "variant": "seed=1",
            "n_parameters": 46757,
            "synthetic": False,
            "data": {"fingerprint": data, "parts": {"train": {"n_records": 80}, "test": {"n_records": n}}},
        }
    )
    return predictions.select("test")


def test_pooled_and_fold_scores_equal_scikit_learn(tmp_path):
    folds = [write_fold(tmp_path, fold) for fold in range(N_FOLDS)]
    found = cross_validate(tmp_path)
    y_true, y_prob = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("y_true", "y_prob"))
    assert found.pooled.overall["pr_auc"] == pytest.approx(average_precision_score(y_true, y_prob))
    assert found.pooled.overall["roc_auc"] == pytest.approx(roc_auc_score(y_true, y_prob))
    by_fold = [average_precision_score(fold.y_true, fold.y_prob) for fold in folds]
    row = found.over_folds.loc[("overall", "pr_auc")]
    assert row["mean"] == pytest.approx(np.mean(by_fold))
    assert row["sd"] == pytest.approx(np.std(by_fold, ddof=1))
    half = 4.3027 * row["sd"] * np.sqrt(1 / 3 + 40 / 80)  # t(0.975, 2); 40 test records for 80 of training
    assert (row["low"], row["high"]) == pytest.approx((row["mean"] - half, row["mean"] + half), rel=1e-4)
    assert np.isnan(found.over_folds.loc[("overall", "n_records"), "low"])
    pooled = pd.read_csv(tmp_path / "cv" / "intervals.csv", index_col=["class", "metric"]).loc[("overall", "pr_auc")]
    assert pooled["low"] < pooled["value"] < pooled["high"]
    assert pooled["value"] == pytest.approx(found.pooled.overall["pr_auc"])


def test_cv_holds_every_record_once_with_the_same_figures_as_a_run(tmp_path):
    for fold in range(N_FOLDS):
        write_fold(tmp_path, fold)
    cross_validate(tmp_path)
    pooled = pd.read_csv(tmp_path / "cv" / "predictions.csv")
    assert pooled["ecg_id"].tolist() == [*range(40), *range(100, 140), *range(200, 240)]
    assert set(pooled["split"]) == {"test"}
    figures = {path.name for path in (tmp_path / "cv" / "figures").iterdir()}
    expected = {"pr_curves", "roc_curves", "reliability_curves", "confusion_matrices", "training_curves"}
    expected |= {"decision_curves"}
    assert figures == {f"{name}.png" for name in expected}
    metrics = json.loads((tmp_path / "cv" / "metrics.json").read_text())
    assert metrics["test"]["overall"]["n_records"] == 120
    assert metrics["over_folds"]["overall"]["pr_auc"]["n_folds"] == N_FOLDS
    assert len(pd.read_csv(tmp_path / "cv" / "metrics_by_fold.csv")) == N_FOLDS


@pytest.mark.parametrize("status", ["running", "failed", None])
def test_an_unfinished_fold_leaves_the_summary_open(tmp_path, status):
    for fold in (0, 2):
        write_fold(tmp_path, fold)
    if status:
        write_fold(tmp_path, 1, status=status)
    found = cross_validate(tmp_path)
    assert not found.is_complete
    assert found.say_missing() == "2 of 3 folds finished, fold=1 missing"
    assert not (tmp_path / "cv").exists()


def test_a_record_tested_twice_is_an_error_that_names_it(tmp_path):
    write_fold(tmp_path, 0)
    write_fold(tmp_path, 1)
    write_fold(tmp_path, 2, ecg_ids=[500, 17])
    with pytest.raises(DataError, match="17"):
        cross_validate(tmp_path)
    assert not (tmp_path / "cv").exists()


def test_folds_of_different_data_are_not_pooled(tmp_path):
    write_fold(tmp_path, 0)
    write_fold(tmp_path, 1, data="other")
    write_fold(tmp_path, 2)
    with pytest.raises(DataError, match="folds 0 and 1 were trained on different data"):
        cross_validate(tmp_path)


def test_folds_of_different_configurations_are_not_pooled(tmp_path):
    write_fold(tmp_path, 0)
    write_fold(tmp_path, 1)
    write_fold(tmp_path, 2, lr=0.5)
    with pytest.raises(ConfigError, match=r"optimizer\.lr: 0\.5 there, 0\.1 asked"):
        cross_validate(tmp_path)


def test_a_class_that_a_fold_lacks_is_left_out_by_name(tmp_path, caplog):
    write_fold(tmp_path, 0, class_names=("NORM", "MI", "HYP"))
    write_fold(tmp_path, 1)
    write_fold(tmp_path, 2, class_names=("NORM", "HYP", "MI"))
    found = cross_validate(tmp_path)
    assert list(found.pooled.by_class.index) == ["NORM", "MI"]
    assert json.loads((tmp_path / "cv" / "metrics.json").read_text())["left_out_classes"] == ["HYP"]
    assert "HYP" in caplog.text


def test_the_table_has_a_line_a_configuration(tmp_path):
    for fold in range(N_FOLDS):
        write_fold(tmp_path / "whole", fold)
    write_fold(tmp_path / "part", 0)
    found = [cross_validate(tmp_path / "whole"), cross_validate(tmp_path / "part")]
    header, whole, part = tabulate(found).splitlines()
    assert "PR-AUC pooled" in header
    mean, sd = found[0].over_folds.loc[("overall", "pr_auc"), ["mean", "sd"]]
    assert f"{found[0].pooled.overall['pr_auc']:.3f} {mean:.3f} ± {sd:.3f}" in whole
    assert "46,757" in whole and "3/3" in whole
    assert "1/3" in part and "±" not in part
