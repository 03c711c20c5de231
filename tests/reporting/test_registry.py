"""A metric that is added to the registry appears in the report and in the comparison, with no change there."""

import statistics

import pytest
import sklearn.metrics

from ecgcls.evaluation.metrics import METRICS, Metric, class_metrics
from ecgcls.evaluation.settings import Bootstrap, EvaluationSettings, Subgroups
from ecgcls.jobs.compare import compare_sides, format_comparison, read_side
from ecgcls.reporting.experiment import collect
from ecgcls.reporting.page import write_report
from tests.reporting.outline import Outline

LABEL = "Balanced accuracy"


@pytest.fixture
def folder(monkeypatch, tmp_path, write_configuration):
    """An experiment, in a process whose registry has one more metric."""
    metric = Metric(
        key="balanced_accuracy",
        label=LABEL,
        by_class=lambda c: (c.tp / c.n_positive + c.tn / c.n_negative) / 2,
        macro_of="balanced_accuracy",
        is_headline=True,
    )
    monkeypatch.setitem(METRICS, metric.key, metric)
    quick = {"evaluation": EvaluationSettings(intervals=Bootstrap(100), subgroups=Subgroups(n_resamples=10))}
    write_configuration(tmp_path / "demo", "cnn1d", skill=0.4, info=quick)
    write_configuration(tmp_path / "demo", "cnn2d", skill=0.7, info=quick)
    return tmp_path / "demo"


def measure(one, column):
    """Measure it within each fold, and average."""
    score = sklearn.metrics.balanced_accuracy_score
    return statistics.fmean(score(fold.y_true[:, column], fold.y_pred[:, column]) for fold in one.predictions("test"))


@pytest.mark.slow
def test_a_new_metric_is_in_every_table_of_the_report(folder):
    outline = Outline(write_report(folder, output=folder / "report.html").read_text())
    found = {one.name: one for one in collect(folder).configurations}
    heads, below, *leaderboard = outline.rows[:4]
    assert LABEL in heads and f"{LABEL} pooled" in below
    for row in leaderboard:
        one = found[row[0].strip()]
        expected = sum(measure(one, column) for column in range(3)) / 3
        assert row[2 + 2 * heads[2:].index(LABEL)].startswith(f"{expected:.3f} ± ")
    table = next(number for number, row in enumerate(outline.rows) if row[:1] == ["Class"])
    heads, rows = outline.rows[table], outline.rows[table + 1 : table + 7]
    assert heads[4:-1] == [metric.label for metric in class_metrics()]
    for row in rows:
        one = found[row[1].strip()]
        assert row[heads.index(LABEL)] == f"{measure(one, one.class_names.index(row[0])):.3f}"
    for one in found.values():
        card = (one.folder / "model_card.md").read_text()
        assert card.count(LABEL) == 3  # among the measures, the results and the heads of the table
        assert f"{LABEL} {sum(measure(one, column) for column in range(3)) / 3:.3f} [" in card


@pytest.mark.slow
def test_a_new_metric_is_in_the_table_of_a_comparison(folder):
    sides = [read_side(str(folder / model), output_dir=folder) for model in ("cnn1d", "cnn2d")]
    text = format_comparison(compare_sides(*sides, overrides={"n_resamples": 50, "min_positives": 1}))
    by_class, _, over_folds = text.partition("\n\nOver 3 folds")
    over_folds = over_folds.partition("Verdict and t-test")[0]  # what is said of both is no table
    assert by_class.count(LABEL) == 4  # three classes and their macro mean
    assert over_folds.count(LABEL) == 1
