import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap, EvaluationSettings, Subgroups
from ecgcls.jobs.results import read_intervals, write_confusion_matrices, write_results
from ecgcls.jobs.score_table import format_table, tabulate

CLASSES = ("NORM", "LAFB/LPFB", "LAFB:LPFB")
QUICK = EvaluationSettings(intervals=Bootstrap(n_resamples=20))


def predict(split="test", n_records=60):
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, 2, size=(n_records, 3))
    y_prob = 0.3 * y_true + 0.7 * rng.random((n_records, 3))
    ids = np.arange(1, n_records + 1)
    return Predictions(ids, ids, np.ones(n_records, int), np.full(n_records, split), y_true, y_prob, CLASSES)


def test_the_challenges_metric_is_shown_where_the_classes_are_its(tmp_path):
    scores = write_results(tmp_path, replace(predict(), class_names=("AF", "NSR", "SB")), title="t", settings=QUICK)
    written = json.loads((tmp_path / "metrics.json").read_text())["test"]["overall"]
    assert written["challenge"] == scores.overall["challenge"]
    low, high = read_intervals(tmp_path).loc[("overall", "challenge"), ["low", "high"]]
    text = format_table(tabulate(tmp_path, "test"))
    shown = f"0 always sinus rhythm: {written['challenge']:.3f} [{low:.3f}, {high:.3f}] (without 23 of its 26 classes)"
    assert shown in text


@pytest.mark.parametrize(("split", "min_records"), [("val", 20), ("test", 40)])
def test_either_split_is_scored_and_drawn(tmp_path, split, min_records):
    predictions = predict(split)
    decades = ["100 to 109", "80 to 89", "50 to 59"]
    groups = pd.DataFrame({"age": np.repeat(decades, 20), "sex": 30 * ["male", "female"]}, index=predictions.ecg_id)
    not_predicted = pd.DataFrame({"age": ["40 to 49", "60 to 69"], "sex": "unknown"}, index=[1001, 1002])
    how = {"groups": pd.concat([groups, not_predicted]), "more": {"source": "s"}}
    settings = replace(QUICK, subgroups=Subgroups(min_records=min_records))
    scores = write_results(tmp_path, predictions, title="t", settings=settings, draw=split, **how)
    of_cells = pd.read_csv(tmp_path / "subgroups.csv")[["grouping", "group"]]
    cells = [("age", decade) for decade in decades[::-1]] + [("sex", "female"), ("sex", "male")]
    assert [*of_cells[of_cells.ne(of_cells.shift()).any(axis=1)].itertuples(index=False, name=None)] == cells
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert set(written) == {split, "source"}
    assert written[split]["overall"]["pr_auc"] == scores.overall["pr_auc"]
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    of_groups = {"subgroups"} if min_records == 20 else set()  # none is large enough: nothing to draw
    every = {"pr_curves", "roc_curves", "reliability_curves", "decision_curves", "confusion_matrices"}
    assert figures == every | of_groups
    assert pd.read_csv(tmp_path / "reliability.csv").groupby("class")["n_records"].sum().tolist() == [60, 60, 60]


def test_both_splits_are_scored_and_the_curve_is_that_of_the_drawn_one(tmp_path):
    predictions = predict(n_records=90)
    both = replace(predictions, split=np.repeat(["val", "test"], [30, 60]))
    assert write_results(tmp_path, both, title="t", settings=QUICK, draw="val").overall["n_records"] == 30
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {name: metrics[name]["overall"]["n_records"] for name in metrics} == {"val": 30, "test": 60}
    curve = pd.read_csv(tmp_path / "reliability.csv")
    expected = reliability_curve(predictions.y_true[:30], predictions.y_prob[:30], CLASSES)
    pd.testing.assert_frame_equal(curve.drop(columns="recalibration"), expected, check_dtype=False)


def test_the_split_to_draw_must_be_there(tmp_path):
    with pytest.raises(DataError, match="none of the 60 predictions is in split 'test'"):
        write_results(tmp_path, predict("val"), title="t", settings=QUICK)
    with pytest.raises(ConfigError, match="split must be one of val, test, got 'train'"):
        write_results(tmp_path, predict(), title="t", settings=QUICK, draw="train")
    assert not list(tmp_path.iterdir())  # refused before anything is written


def test_each_class_may_have_its_own_threshold(tmp_path):
    predictions = predict()
    write_results(tmp_path, predictions, title="t", settings=QUICK, threshold=[0.2, 0.5, 1.0])
    by_class = json.loads((tmp_path / "metrics.json").read_text())["test"]["by_class"]
    for column, (name, at) in enumerate(zip(CLASSES, (0.2, 0.5, 1.0), strict=True)):
        predicted = predictions.y_prob[:, column] >= at
        assert by_class[name]["tp"] == (predicted & (predictions.y_true[:, column] == 1)).sum()
        assert by_class[name]["fp"] == (predicted & (predictions.y_true[:, column] == 0)).sum()


def test_two_classes_never_share_a_file(tmp_path):
    paths = write_confusion_matrices(tmp_path, predict(), threshold=0.5, title="t")
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths.values()}
    assert paths["LAFB/LPFB"].name == "confusion_matrix_LAFB-LPFB.png"
    assert paths["LAFB:LPFB"].name == "confusion_matrix_LAFB-LPFB-2.png"


def test_intervals_are_written_unless_there_is_one_patient(tmp_path, caplog):
    settings = EvaluationSettings(intervals=Bootstrap(n_resamples=50, level=0.9))
    scores = write_results(tmp_path, predict(), title="t", settings=settings)
    table = pd.read_csv(tmp_path / "intervals.csv", index_col=["class", "metric"])
    assert table.loc[("overall", "pr_auc"), "value"] == scores.overall["pr_auc"]
    assert (table["low"] <= table["high"]).all()
    assert set(table["level"]) == {0.9}
    write_results(tmp_path, predict(n_records=1), title="t", settings=settings)
    assert not (tmp_path / "intervals.csv").exists()
    assert "all records are of one patient" in caplog.text


@pytest.mark.filterwarnings("ignore:Glyph")
def test_unknown_labels_ties_and_odd_names_are_told_once_and_written_safely(tmp_path, caplog):
    names = ("=cmd()", "MI\x1b[2J", "flat", "sure")
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, 2, size=(60, 4))
    y_prob = rng.random((60, 4))
    y_true[:7, 0], y_true[:40, 3], y_prob[:, 2], y_prob[::2, 3] = -1, 0, 0.3, 1.0
    ids = np.arange(60)
    predictions = Predictions(ids, ids, ids, ["test"] * 60, y_true, y_prob, names)
    write_results(tmp_path, predictions, title="t", settings=QUICK)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        "Not annotated, left out of their class's numbers: =cmd() 7 of 60 records",
        "Nothing ranks the records of flat, sure: the probabilities of all are the same number, or of half of them 1. "
        "A constant baseline is so by design; of a net, keep the logits (columns y_logit_<CLASS>, values=logits)",
    ]
    curves = "calibration_curves", "decision_curves"
    for name in ("metrics_by_class", "intervals", "reliability", "calibration", *curves):
        text = (tmp_path / f"{name}.csv").read_text()
        assert "'=cmd()" in text and ",=cmd()" not in text and "\n=cmd()" not in text
    table = tabulate(tmp_path, "test", rule="sensitivity", not_tuned=["flat"])
    assert [*table.index] == ["=cmd()", r"MI\x1b[2J", "flat *", "sure", "macro", "macro of 3 without !"]
    intervals, three = read_intervals(tmp_path), table.iloc[:3]["PR-AUC"]
    assert table.loc["macro of 3 without !", "PR-AUC"] == pytest.approx(three.mean())
    assert table.loc["macro of 3 without !", "positives"] == table.iloc[:3]["positives"].sum()
    low, high = intervals.loc[("overall", "pr_auc"), ["supported_low", "supported_high"]]
    assert table.iloc[-1]["95%"].tolist()[0] == f"[{low:.3f}, {high:.3f}]"
    assert table.loc["macro"].astype(str).str.endswith(" !").sum() == 2  # of which sure is a fourth
    metrics = json.loads((tmp_path / "metrics.json").read_text())["test"]["by_class"]
    assert table.loc["=cmd()", "Precision"] == metrics["=cmd()"]["precision"] and metrics["=cmd()"]["n_unknown"] == 7
    text = format_table(table)
    assert "Sensitivity" in text and "* no threshold of its own (too few validation records" in text
    assert "Fmax, at the best threshold for all classes: 0." in text
    assert not {"Sensitivity", "Precision"} & {*tabulate(tmp_path, "test").columns}
