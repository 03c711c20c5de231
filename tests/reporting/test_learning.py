"""Learning curves: which runs make one, where their points are, and what the page says of them."""

import json
import re

import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.metrics import average_precision_score

from ecgcls.evaluation.comparison import compare
from ecgcls.reporting.experiment import collect
from ecgcls.reporting.facts import summarize_configuration
from ecgcls.reporting.learning import draw_learning, find_curves, tabulate_curve
from ecgcls.reporting.page import write_report
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo
from tests.reporting.outline import Outline


@pytest.fixture(scope="module")
def write(write_configuration):
    """Write a configuration that was trained on `n_train` records (None: 1,000), three more in each fold."""

    def write(folder, n_train, *, draw=0, seed=0, model="cnn1d", skill):
        asked = {"n_train": n_train, "n_train_seed": draw}
        parts = [*(f"data.{key}={value}" for key, value in asked.items() if value), *([f"seed={seed}"] * (seed > 0))]
        place = write_configuration(folder, model, ",".join(parts), skill=skill)
        for fold, path in enumerate(sorted(place.glob("fold_*"))):
            run = RunDirectory(path)
            config, info = OmegaConf.load(path / ".hydra" / "config.yaml"), json.loads((path / "run.json").read_text())
            run.write_config(OmegaConf.to_yaml(OmegaConf.merge(config, {"seed": seed, "data": asked})))
            n_records = {"n_records": (n_train or 1000) + 3 * fold, "n_patients": n_train or 900}
            info["data"]["parts"]["train"] |= n_records
            run.write_info(RunInfo.from_dict(info | {"seed": seed}))

    return write


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write):
    folder = tmp_path_factory.mktemp("outputs") / "curve"
    write(folder, 100, skill=0.1)
    write(folder, 100, draw=1, skill=0.14)
    write(folder, 350, skill=0.2)
    write(folder, None, skill=0.4)
    write(folder, None, model="cnn2d", skill=0.3)
    return folder


@pytest.fixture(scope="module")
def configurations(folder):
    return collect(folder).configurations


@pytest.fixture(scope="module")
def board(configurations):
    return [summarize_configuration(one) for one in configurations]


def test_runs_that_differ_in_nothing_but_the_size_make_a_curve(configurations):
    (curve,) = find_curves(configurations)
    assert curve.name == "cnn1d"
    assert [(point.asked, point.draw, point.n_records) for point in curve.points] == [
        (100, 0, 103), (100, 1, 103), (350, 0, 353), (None, 0, 1003),
    ]  # fmt: skip
    assert all(configurations[point.number] is point.one for point in curve.points)


def test_one_size_alone_is_no_curve_nor_are_two_of_different_settings(configurations):
    assert find_curves([one for one in configurations if one.info.model == "cnn2d" or "350" in one.name]) == []


def test_another_seed_is_measured_against_its_own(tmp_path, write):
    for seed in (0, 1):
        for n_train, skill in ((100, 0.3), (None, 0.6)):
            write(tmp_path / "seeds", n_train, seed=seed, skill=skill + 0.02 * seed)
    (curve,) = find_curves(collect(tmp_path / "seeds").configurations)
    assert [(each.asked, each.one.info.seed) for each in curve.points] == [(100, 0), (100, 1), (None, 0), (None, 1)]
    assert [curve.find_largest(point).one.info.seed for point in curve.points] == [0, 1, 0, 1]


def test_scores_and_differences_are_those_of_the_predictions(configurations, board):
    (curve,) = find_curves(configurations)
    lines = tabulate_curve(curve, board)
    for line in lines:
        tested = line["point"].one.tested
        by_fold = [
            np.mean([average_precision_score(y_true, y_prob) for y_true, y_prob in zip(true.T, prob.T, strict=True)])
            for true, prob in ((tested.y_true[tested.fold == k], tested.y_prob[tested.fold == k]) for k in range(3))
        ]
        assert line["scores"]["pr_auc"]["value"] == pytest.approx(np.mean(by_fold))
        low, high, _ = line["intervals"]["pr_auc"]
        assert low < line["scores"]["pr_auc"]["value"] < high
    expected = compare([lines[2]["point"].one.tested], [lines[3]["point"].one.tested])
    row = expected.loc[("overall", "roc_auc")]
    assert lines[2]["differences"]["roc_auc"] == pytest.approx(row.to_dict(), nan_ok=True)
    assert row["difference"] < 0 and lines[3]["differences"] == {}


def test_the_chart_has_a_point_with_its_interval_at_every_size(configurations, board):
    figure = draw_learning(find_curves(configurations), board, "pr_auc")
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis.ticktext) == ["103", "353", "1,003"]
    *points, line = (trace for trace in figure.data if trace.marker.symbol is None)
    assert list(line.x) == [103, 353, 1003]
    assert line.y[0] == pytest.approx((points[0].y[0] + points[1].y[0]) / 2)
    for point, at in zip(points, (103, 103, 353, 1003), strict=True):
        assert point.x[0] == pytest.approx(at, rel=0.04)
        (own,) = (line for line in board if line["pr_auc"]["value"] == point.y[0])
        low, high, _ = own["intervals"]["pr_auc"]
        ends = point.y[0] - point.error_y.arrayminus[0], point.y[0] + point.error_y.array[0]
        assert ends == pytest.approx((low, high))
    assert points[0].x[0] < points[1].x[0]
    folds = [trace for trace in figure.data if trace.marker.symbol is not None]
    assert len(folds) == 4 and all(len(trace.y) == 3 for trace in folds)


@pytest.mark.slow
def test_the_page_has_the_curve_where_there_is_one(folder, experiment, tmp_path):
    page = write_report(folder, output=tmp_path / "page.html").read_text()
    assert 'href="#learning"' in page and "Training records (logarithmic)" in page
    rows = [row for row in Outline(page).rows if len(row) == 11]
    assert [re.sub(r"\s+", " ", " ".join(row[:7])) for row in rows[1:]] == [
        "cnn1d 103 100 0 0 3 of 3 3",
        "cnn1d 103 100 1 0 3 of 3 3",
        "cnn1d 353 350 0 0 3 of 3 3",
        "cnn1d 1,003 (all) 900 0 3 of 3 3",
    ]
    assert all(re.fullmatch(r"-0\.\d{3} \[-0\.\d{3}, [+-]0\.\d{3}\]", row[8]) for row in rows[1:4])
    assert 'id="learning"' not in write_report(experiment, output=tmp_path / "other.html").read_text()
