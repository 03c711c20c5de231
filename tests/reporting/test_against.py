"""The reference of a report, and what is claimed of all comparisons with it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ecgcls.errors import ConfigError
from ecgcls.evaluation.comparison import compare
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap, EvaluationSettings
from ecgcls.reporting.against import adjust_holm, choose_reference, compare_with

CHOICES = (
    ("cnn2d", "cnn2d", "net"), ("cnn1d seed=1", "cnn1d", "net"), ("cnn1d", "cnn1d", "net"), ("rf", "rf", "baseline"),
    ("age_sex", "age_sex", "baseline"),
)  # fmt: skip
SETTINGS = EvaluationSettings(intervals=Bootstrap(100))


def describe(name, model, kind, *, tested=None):
    folder = Path("outputs/demo") / name.replace(" ", "/")
    info = SimpleNamespace(model=model, kind=kind)
    return SimpleNamespace(name=name, folder=folder, info=info, tested=tested, evaluation=SETTINGS)


@pytest.fixture(scope="module")
def compared():
    """Four models of the same 90 records: the first one knows the truth, the others next to nothing."""
    generator = np.random.default_rng(1)
    ids = np.arange(90)
    y_true = (generator.random((90, 2)) < 0.4).astype(int)
    found = []
    for name, skill in (("good", 2.5), ("b", 0.2), ("c", 0.4), ("d", 0.3)):
        y_prob = 1 / (1 + np.exp(-generator.normal(skill * y_true)))
        tested = Predictions(ids, ids, 0 * ids, np.full(90, "test"), y_true, y_prob, ("NORM", "MI"))
        found.append(describe(name, name, "net", tested=tested))
    return found


def test_the_reference_is_named_beforehand():
    found = [describe(*choice) for choice in CHOICES]
    assert choose_reference(found).name == "age_sex"  # the first baseline by name, whatever the scores
    assert choose_reference(found[:3]).name == "cnn1d"
    assert choose_reference(found, "best") is found[0]
    assert choose_reference(found, "cnn1d").name == "cnn1d"  # a name comes before a model of two
    assert choose_reference(found, "outputs/demo/cnn1d/seed=1").name == "cnn1d seed=1"
    assert choose_reference(found, "cnn1d/seed=1").name == "cnn1d seed=1"
    assert choose_reference([*found[:2], describe("x", "y", "net")], "y").name == "x"


def test_a_wrong_reference_is_told_which_there_are():
    found = [describe(*choice) for choice in CHOICES]
    with pytest.raises(ConfigError, match=r"called 'resnet'; expected one of cnn2d, .*, rf, age_sex, best$"):
        choose_reference(found, "resnet")
    twins = [describe(f"net {n}", "net", "net") for n in (1, 2)]
    with pytest.raises(ConfigError, match=r"2 configurations have the model 'net'; expected one of net 1, net 2"):
        choose_reference(twins, "net")


def test_p_values_of_a_family_are_adjusted_step_by_step():
    """Holm 1979: the smallest times 3, the next times 2, never below the one before."""
    assert adjust_holm(np.array([0.01, 0.04, np.nan, 0.03])).tolist() == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )


def test_every_comparison_counts_for_the_whole_family(compared):
    reference = compared[1]
    lines = compare_with(reference, compared)
    assert [(line["number"], line["name"]) for line in lines] == [(0, "good"), (2, "c"), (3, "d")]
    for metric in ("pr_auc", "roc_auc"):
        rows = [line["metrics"][metric] for line in lines]
        alone = [
            compare([reference.tested], [one.tested], SETTINGS.intervals).loc[("overall", metric), "p"]
            for one in (compared[0], *compared[2:])
        ]
        assert [row["p"] for row in rows] == alone
        assert [row["p_family"] for row in rows] == adjust_holm(np.array(alone)).tolist()
        assert rows[0]["p_family"] == pytest.approx(3 * alone[0])  # the smallest of three
        for row, line in zip(rows, lines, strict=True):
            better = line["name"] if row["difference"] < 0 else "b"
            expected = f"{better} is better" if row["p_family"] < 0.05 else "cannot be told"
            assert row["verdict"] == expected


def test_the_best_by_test_score_counts_for_every_pair(compared):
    for line in compare_with(compared[0], compared, is_best=True):
        for row in line["metrics"].values():
            assert row["p_family"] == pytest.approx(min(1.0, 6 * row["p"]))
            assert (row["verdict"] == "good is better") == (6 * row["p"] < 0.05)
