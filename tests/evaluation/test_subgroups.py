from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ecgcls.errors import ConfigError
from ecgcls.evaluation.calibration import measure_calibration
from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import score
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap, Subgroups
from ecgcls.evaluation.subgroups import describe_worst, find_worst, score_subgroups

QUICK = Subgroups(n_resamples=10)


@pytest.fixture(scope="module")
def scored():
    """200 records of 100 patients; the model knows nothing of those recorded on the device B."""
    generator = np.random.default_rng(0)
    ids = np.arange(200)
    device = np.where(ids % 4 == 3, "B", "A")
    y_true = (generator.random((200, 2)) < 0.4).astype(int)
    y_prob = 1 / (1 + np.exp(-generator.normal(2.0 * y_true * (device == "A")[:, None] - 0.5)))
    predictions = Predictions(ids, ids // 2, 0 * ids, np.full(200, "test"), y_true, y_prob, ("NORM", "MI"))
    sex = np.where(ids < 190, "female", "male")
    return predictions, pd.DataFrame({"device": device, "sex": sex}, index=ids)


def test_each_cell_has_the_numbers_of_its_own_records(scored):
    predictions, groups = scored
    table = score_subgroups(predictions, groups, settings=Subgroups(n_resamples=50))
    rows = np.flatnonzero(groups["device"] == "B")
    cell = table[(table["grouping"] == "device") & (table["group"] == "B")].set_index(["class", "metric"])
    expected = score(predictions.y_true[rows], predictions.y_prob[rows], predictions.class_names)
    assert cell.loc[("overall", "roc_auc"), "value"] == expected.overall["roc_auc"]
    assert cell.loc[("MI", "f1"), "value"] == expected.by_class.loc["MI", "f1"]
    intervals = bootstrap(
        predictions.y_true[rows], predictions.y_prob[rows], predictions.patient_id[rows], predictions.class_names,
        settings=Bootstrap(n_resamples=50),
    )  # fmt: skip
    assert cell.loc[("MI", "pr_auc"), "low"] == intervals.loc[("MI", "pr_auc"), "low"]
    assert cell["n_records"].unique().tolist() == [50]
    assert cell["n_patients"].unique().tolist() == [50]
    assert cell.loc[("MI", "pr_auc"), "n_positive"] == predictions.y_true[rows, 1].sum()


def test_every_table_says_how_many_labels_are_unknown(scored):
    predictions, groups = scored
    y_true = np.where(np.arange(200)[:, None] < [0, 50], UNKNOWN, predictions.y_true)  # MI of the first 50 records
    partly = replace(predictions, y_true=y_true)
    cells = score_subgroups(partly, groups, settings=QUICK).set_index(["group", "class", "metric"])["n_unknown"]
    assert cells[("B", "MI", "f1")] == cells[("B", "overall", "roc_auc")] == 12 and cells[("B", "NORM", "f1")] == 0
    arrays = y_true, partly.y_prob, partly.patient_id
    intervals = bootstrap(*arrays, partly.class_names, settings=Bootstrap(n_resamples=2))["n_unknown"]
    assert intervals["MI"].unique().tolist() == intervals["overall"].unique().tolist() == [50]
    measured = measure_calibration(y_true, partly.y_prob, partly.class_names)["n_unknown"]
    assert measured.tolist() == [0, 50, 50]


def test_a_small_cell_is_shown_as_too_small(scored):
    table = score_subgroups(*scored, settings=Subgroups(min_records=30, n_resamples=20))
    men = table[table["group"] == "male"]
    assert men["is_too_small"].all()
    assert men["n_records"].unique().tolist() == [10]
    assert men[["value", "low", "high"]].isna().all(axis=None)
    assert not table[table["group"] == "female"]["is_too_small"].any()


def test_only_a_cell_that_can_be_told_from_the_rest_is_called_worse(scored):
    predictions, groups = scored
    told = describe_worst(score_subgroups(predictions, groups, settings=QUICK), {"device": "Device"})
    assert told.startswith("worse than the rest is Device: B, -0.")
    assert "over 1 of its 2 classes (50 records of 50 patients; limits for all 2 subgroups together)" in told
    random = groups.assign(device=np.where(predictions.ecg_id % 3 == 0, "B", "A"))
    untold = describe_worst(score_subgroups(predictions, random, settings=QUICK), {})
    assert untold.startswith("no subgroup can be told from the rest; the largest gap is that of device: ")
    strict = Bootstrap(min_positives=60)
    few = describe_worst(score_subgroups(predictions, groups, settings=QUICK, intervals=strict), {}, strict)
    assert few.startswith("no subgroup can be told from the rest: none has 60 patients")
    table = score_subgroups(predictions, groups[["sex"]].assign(sex="female"), settings=QUICK)
    assert describe_worst(table, {}) == ""


def test_a_cell_that_can_be_told_comes_before_a_larger_gap_that_cannot():
    cells = {
        "low": (-0.07, -0.16, 0.03),
        "sure": (-0.04, -0.05, -0.03),
        "less": (-0.02, -0.03, -0.01),
        "high": (0.1, 0.05, 0.2),
    }
    table = pd.DataFrame.from_dict(cells, orient="index", columns=["gap", "gap_low", "gap_high"]).rename_axis("group")
    table = table.reset_index().assign(grouping="device", n_records=50, n_patients=40, n_classes=2, gap_n_classes=2)
    assert find_worst(table)["group"] == "sure"
    told = describe_worst(table, {})
    assert told.startswith("worse than the rest is device: sure, -0.040 [-0.050, -0.030]")
    assert told.endswith("; so is 1 more")


def test_a_gap_stands_beside_the_overall_roc_auc_alone(scored):
    table = score_subgroups(*scored, settings=QUICK)
    has_gap = table["gap"].notna()
    assert table[has_gap][["grouping", "group", "class", "metric"]].to_numpy().tolist() == [
        ["device", "A", "overall", "roc_auc"], ["device", "B", "overall", "roc_auc"],
    ]  # fmt: skip
    assert find_worst(table)["group"] == "B"


@pytest.mark.parametrize("setting", ["min_records", "n_resamples"])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError, match=f"subgroups.{setting} must be at least"):
        Subgroups(**{setting: 0})


def test_score_limits_of_cells_need_no_resamples(scored):
    drawn, quick = score_subgroups(*scored, settings=QUICK), score_subgroups(*scored)
    unlimited = quick["metric"].isin(["f1_micro", "f1_max", "fmax", "brier", "log_loss"])
    columns = ["class", "metric", "value", "low", "high", "is_supported", "gap_low"]
    pd.testing.assert_frame_equal(quick[~unlimited][columns], drawn[~unlimited][columns])
    assert quick[unlimited]["low"].isna().all() and drawn[unlimited & (drawn["group"] == "A")]["low"].notna().all()
    assert quick["is_supported"].equals(drawn["is_supported"])
    expanded = score_subgroups(*scored, intervals=Bootstrap(n_resamples=10, method="expanded"))
    assert expanded[unlimited & (expanded["group"] == "A")]["low"].notna().all()
