"""A number has one interval: cross-validation, evaluation and report use the settings of the run itself."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import overall_metrics
from ecgcls.evaluation.settings import Bootstrap, EvaluationSettings, Subgroups, ThresholdRule
from ecgcls.jobs.cross_validate import add_corrected_intervals, cross_validate
from ecgcls.jobs.rescore import rescore, write_rescored
from ecgcls.jobs.results import read_intervals
from ecgcls.jobs.score_table import tabulate
from ecgcls.reporting.experiment import collect
from ecgcls.reporting.facts import find_intervals
from ecgcls.runs.find import open_configuration
from tests.in_process import fit

SETTINGS = EvaluationSettings(
    intervals=Bootstrap(method="percentile", level=0.8, n_resamples=50, min_positives=3),
    thresholds=ThresholdRule(rule="sensitivity", min_positives=1),
    subgroups=Subgroups(min_records=5, n_resamples=20),
    prevalence={"MI": 0.02},
)
OVERRIDES = (
    "evaluation.intervals.method=percentile",
    "evaluation.intervals.level=0.8",
    "evaluation.intervals.n_resamples=50",
    "evaluation.intervals.min_positives=3",
    "evaluation.thresholds.rule=sensitivity",
    "evaluation.thresholds.min_positives=1",
    "evaluation.subgroups.min_records=5",
    "evaluation.subgroups.n_resamples=20",
    "evaluation.prevalence={MI: 0.02}",
)
RESTATED = ["stated_prevalence", "precision_at_stated", "npv_at_stated"]


pytestmark = pytest.mark.slow  # it trains two folds and writes every kind of result


@pytest.fixture(scope="module")
def folder(tmp_path_factory, synthetic_root) -> Path:
    """Two finished folds of one configuration, cross-validated and evaluated again, one by one and together."""
    folder = tmp_path_factory.mktemp("outputs") / "settings" / "age_sex" / "variant"
    folds = ("folds.val=[[3,5],[7,9]]", "folds.test=[[1,2,4],[6,8,10]]")
    for fold in range(2):
        fit(folder / f"fold_{fold}", synthetic_root, "model=age_sex", f"fold={fold}", *folds, *OVERRIDES)
    cross_validate(folder)
    for which in (folder, folder / "fold_0"):
        write_rescored(rescore(open_configuration(which), split="test", overrides={}), which / "again")
    return folder


@pytest.fixture(scope="module")
def places(folder) -> dict[str, tuple[Path, Path]]:
    """What was written first, and by the evaluation: of one run, and of all folds together."""
    return {"run": (folder / "fold_0", folder / "fold_0" / "again"), "all": (folder / "cv", folder / "again")}


@pytest.mark.parametrize("which", ["run", "all"])
def test_intervals_are_the_same_wherever_they_are_written(places, which):
    first, again = (read_intervals(place) for place in places[which])
    pd.testing.assert_frame_equal(again, first)
    assert (set(first["level"]), set(first["method"]), set(first["n_resamples"])) == ({0.8}, {"percentile"}, {50})
    of_classes = first.drop(index="overall", level="class")
    is_supported = of_classes["is_supported"]
    assert (is_supported & (of_classes["n_patients"] < 20)).any()  # of 20 patients by default
    assert (of_classes["n_patients"][is_supported] >= 3).all()
    for place in places[which]:
        assert "80%" in tabulate(place, "test").columns


def test_intervals_are_those_of_the_settings(folder):
    tested = open_configuration(folder).tested
    expected, others = (
        bootstrap(
            tested.y_true,
            tested.y_prob,
            tested.patient_id,
            tested.class_names,
            y_pred=tested.y_pred,
            fold=tested.fold,
            settings=settings,
        )
        for settings in (SETTINGS.intervals, Bootstrap())
    )
    written = read_intervals(folder / "cv")
    np.testing.assert_allclose(written[["low", "high"]], expected[["low", "high"]], rtol=1e-12)
    key = ("overall", "pr_auc")
    assert written.loc[key, "high"] - written.loc[key, "low"] < others.loc[key, "high"] - others.loc[key, "low"]


def test_the_leaderboard_of_the_report_has_the_intervals_of_the_cross_validation(folder):
    experiment = collect(folder.parents[1])
    (one,) = experiment.configurations
    written = read_intervals(folder / "cv")
    found, _ = find_intervals(one)
    for metric, (low, high, is_supported) in found.items():
        row = written.loc[("overall", metric)]
        assert (low, high) == pytest.approx((row["low"], row["high"]), rel=1e-12)
        assert is_supported == row["is_supported"]
    assert list(found) == [metric.key for metric in overall_metrics(headline=True)]
    assert experiment.level == "80%"
    assert one.evaluation == SETTINGS


def test_the_interval_over_folds_has_the_same_level(folder):
    one = open_configuration(folder)
    table = add_corrected_intervals(one).loc[("overall", "pr_auc")]
    n_train, n_test = one.count_records("train"), one.count_records("test")
    half = 3.0777 * table["sd"] * np.sqrt(1 / 2 + n_test / n_train)  # t(0.9, 1)
    half /= table["mean"] * (1 - table["mean"])  # on the logit's scale
    assert logit(table["high"]) - logit(table["mean"]) == pytest.approx(half, rel=1e-4)
    written = pd.read_csv(folder / "cv" / "metrics_over_folds.csv", index_col=["class", "metric"])
    assert written.loc[("overall", "pr_auc"), "high"] == pytest.approx(table["high"])


@pytest.mark.parametrize("which", ["run", "all"])
def test_subgroups_are_the_same_wherever_they_are_written(places, which):
    first, again = (pd.read_csv(place / "subgroups.csv") for place in places[which])
    pd.testing.assert_frame_equal(again, first)
    size = first.drop_duplicates(["grouping", "group"])
    expected = (size["n_records"] < 5) | (size["n_patients"] < 2)
    assert size["is_too_small"].tolist() == expected.tolist()
    assert (size["n_records"][~expected] < 30).any()  # too small by the default
    assert {"sex", "age", "device"} <= set(first["grouping"])


@pytest.mark.parametrize("which", ["run", "all"])
def test_predictive_values_are_restated_wherever_they_are_written(places, which):
    first, again = (
        pd.read_csv(place / "metrics_by_class.csv", index_col=["split", "class"]).loc["test"] for place in places[which]
    )
    pd.testing.assert_frame_equal(again, first)
    assert set(RESTATED) <= set(first.columns)
    assert first["stated_prevalence"].dropna().to_dict() == {"MI": 0.02}
    row = first.loc["MI"]
    found, false_alarms = 0.02 * row["sensitivity"], 0.98 * (1 - row["specificity"])
    assert row["precision_at_stated"] == pytest.approx(found / (found + false_alarms))


def test_what_the_evaluation_overrides_is_replaced_and_the_rest_is_the_runs_own(folder):
    overrides = {"intervals": {"level": 0.9, "method": None}, "prevalence": None}
    settings = rescore(open_configuration(folder / "fold_0"), split="test", overrides=overrides).settings
    assert settings.intervals == Bootstrap(method="percentile", level=0.9, n_resamples=50, min_positives=3)
    assert (settings.subgroups, settings.prevalence) == (SETTINGS.subgroups, SETTINGS.prevalence)
