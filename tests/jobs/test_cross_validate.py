import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgcls.errors import DataError
from ecgcls.jobs.cross_validate import add_corrected_intervals, cross_validate, format_configurations
from ecgcls.jobs.score_table import format_table, tabulate
from tests.made_by_hand import N_FOLDS, write_fold


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three finished folds."""
    folder = tmp_path_factory.mktemp("folds")
    for fold in range(N_FOLDS):
        write_fold(folder, fold)
    return folder


@pytest.fixture(scope="module")
def one(folder):
    """The cross-validated configuration."""
    return cross_validate(folder)


def test_the_mean_over_folds_and_pooled_scores_are_scikit_learns(one, folder):
    folds = [run.read_predictions("test") for run in one.runs]
    y_true, y_prob = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("y_true", "y_prob"))
    by_fold = [average_precision_score(fold.y_true, fold.y_prob) for fold in folds]
    pooled = {"pr_auc": average_precision_score(y_true, y_prob), "roc_auc": roc_auc_score(y_true, y_prob)}
    assert one.scores.overall["pr_auc"] == pytest.approx(np.mean(by_fold))
    assert {key: one.pooled_scores.overall[key] for key in pooled} == pytest.approx(pooled)
    metrics = json.loads((folder / "cv" / "metrics.json").read_text())
    assert metrics["test"]["overall"]["pr_auc"] == one.scores.overall["pr_auc"]
    assert {key: metrics["pooled"]["test"]["overall"][key] for key in pooled} == pytest.approx(pooled)
    over_folds = add_corrected_intervals(one)
    row = over_folds.loc[("overall", "pr_auc")]
    assert row["mean"] == pytest.approx(np.mean(by_fold))
    assert row["sd"] == pytest.approx(np.std(by_fold, ddof=1))
    half = 4.3027 * row["sd"] * np.sqrt(1 / 3 + 40 / 80)  # t(0.975, 2); 40 test records for 80 of training
    limits = np.log(row["mean"] / (1 - row["mean"])) + np.array([-1, 1]) * half / (row["mean"] * (1 - row["mean"]))
    assert (row["low"], row["high"]) == pytest.approx(1 / (1 + np.exp(-limits)), rel=1e-4)
    of_metrics = over_folds[over_folds["low"].notna()]
    assert of_metrics["low"].min() >= -1 and of_metrics.drop(index="log_loss", level="metric")["high"].max() <= 1
    assert np.isnan(over_folds.loc[("overall", "n_records"), "low"])
    written = pd.read_csv(folder / "cv" / "metrics_over_folds.csv", index_col=["class", "metric"])
    pd.testing.assert_frame_equal(written, over_folds, check_dtype=False)
    interval = pd.read_csv(folder / "cv" / "intervals.csv", index_col=["class", "metric"]).loc[("overall", "pr_auc")]
    assert interval["low"] < interval["value"] < interval["high"]
    assert (interval["value"], interval["pooled"]) == pytest.approx((np.mean(by_fold), pooled["pr_auc"]))
    table = tabulate(folder / "cv", "test")
    assert table.loc["macro", ["PR-AUC", "PR-AUC pooled"]].tolist() == pytest.approx(
        [np.mean(by_fold), pooled["pr_auc"]]
    )
    assert "pooled: the records of all folds ranked together" in format_table(table)


def test_cv_holds_every_record_once_with_the_same_figures_as_a_run(one):
    cv = one.folder / "cv"
    pooled = pd.read_csv(cv / "predictions.csv")
    assert pooled["ecg_id"].tolist() == [*range(40), *range(100, 140), *range(200, 240)]
    assert set(pooled["split"]) == {"test"} and pooled["fold"].tolist() == [0] * 40 + [1] * 40 + [2] * 40
    figures = {path.stem for path in (cv / "figures").iterdir()}
    curves = {"pr_curves", "roc_curves", "reliability_curves", "training_curves", "decision_curves"}
    assert figures == curves | {"confusion_matrices", "calibration", "subgroups"}
    metrics = json.loads((cv / "metrics.json").read_text())
    assert metrics["test"]["overall"]["n_records"] == 120
    assert metrics["over_folds"]["overall"]["pr_auc"]["n"] == N_FOLDS
    assert [metrics["folds"][str(fold)]["n_records"] for fold in range(N_FOLDS)] == [40] * N_FOLDS
    assert len(pd.read_csv(cv / "metrics_by_fold.csv")) == N_FOLDS
    subgroups = pd.read_csv(cv / "subgroups.csv").drop_duplicates("group").set_index("group")
    assert subgroups["n_records"].to_dict() == {"female": 60, "male": 60}


def test_an_unfinished_fold_writes_no_summary(tmp_path):
    for fold in range(N_FOLDS):
        write_fold(tmp_path, fold, status="running" if fold == 1 else "finished")
    assert not cross_validate(tmp_path).is_complete
    assert not (tmp_path / "cv").exists()


@pytest.mark.parametrize("folds", [(0,), (0, 2)])
def test_fewer_than_all_folds_give_numbers_that_are_marked(tmp_path, folds):
    for fold in folds:
        write_fold(tmp_path, fold)
    one = cross_validate(tmp_path)
    tested = [run.read_predictions("test") for run in one.runs]
    y_true, y_prob = (np.concatenate([getattr(fold, name) for fold in tested]) for name in ("y_true", "y_prob"))
    by_fold = [average_precision_score(fold.y_true, fold.y_prob) for fold in tested]
    pooled = f"{average_precision_score(y_true, y_prob):.3f}"
    spread = f" ± {np.std(by_fold, ddof=1):.3f}" if len(folds) > 1 else ""
    line = format_configurations([one]).splitlines()[1]
    assert f" {len(folds)}/3 " in line
    assert f" {np.mean(by_fold):.3f}{spread} " in line and f" {pooled} " in line
    assert one.title == f"cnn1d, {len(folds)}/3 folds"


def test_a_record_tested_twice_is_an_error_that_names_it(tmp_path):
    write_fold(tmp_path, 0)
    write_fold(tmp_path, 1)
    write_fold(tmp_path, 2, ecg_ids=[500, 17])
    with pytest.raises(DataError, match="17"):
        cross_validate(tmp_path)
    assert not (tmp_path / "cv").exists()


def test_the_table_has_a_line_per_configuration(one, tmp_path):
    write_fold(tmp_path, 0)
    header, whole, partial, legend = format_configurations([one, cross_validate(tmp_path)]).splitlines()
    assert legend.startswith("±: standard deviation over the folds")
    assert "PR-AUC pooled" in header
    mean, sd = one.over_folds.loc[("overall", "pr_auc"), ["mean", "sd"]]
    assert re.search(rf" {mean:.3f} ± {sd:.3f} +{one.pooled_scores.overall['pr_auc']:.3f} ", whole)
    assert "46,757" in whole and "3/3" in whole
    assert "1/3" in partial and "±" not in partial
