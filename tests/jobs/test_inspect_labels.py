"""What ``labels`` says and writes of a manifest with a column of 0, 1 and empty cells."""

import pytest

from ecgcls.errors import ConfigError
from ecgcls.evaluation.settings import Anticipated
from ecgcls.jobs.inspect_labels import format_audit, inspect_labels, write_audit


def inspect(path, **data):
    return inspect_labels(
        data={"_target_": "ecgcls.data.table.Table", "manifest": str(path), **data},
        task={"_target_": "ecgcls.data.tasks.Task", "statements": "all", "unlabelled": "negative"},
        folds={"_target_": "ecgcls.data.folds.FoldTable", "val": [[9]], "test": [[10]]},
        anticipated=Anticipated(),
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """30 records: positive where 3 divides the number (10), unknown where it ends with 1 (1 and 11; 21 is positive)."""
    path = tmp_path_factory.mktemp("own") / "ecgs.csv"
    cells = [1 if number % 3 == 0 else "" if number % 10 == 1 else 0 for number in range(30)]
    lines = [f"r{number:02},p{number:02},r{number:02}.csv,{cell}" for number, cell in enumerate(cells)]
    path.write_text("\n".join(["record,patient,file,af", *lines]))
    return path


@pytest.fixture(scope="module")
def found(path):
    return inspect(path)


def test_every_record_is_accounted_for(found):
    text = format_audit(found)
    assert (
        "28 of 30 records take part: 10 with a positive label, 18 kept as negatives (task.unlabelled=negative); "
        "2 of which nothing is known are left out." in text
    )
    assert found.audit.by_fold[["records", "with a class", "af unknown"]].sum().tolist() == [30, 10, 2]


def test_what_says_nothing_without_likelihoods_is_left_out(found, tmp_path):
    text = format_audit(found)
    for absent in ("ikelihood", "other rules", "rhythm", "n_at_", "strat_fold"):
        assert absent not in text
    write_audit(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "audit.json", "by_fold.csv", "by_part.csv", "columns.csv", "labels.csv", "precision.csv", "statements.csv",
    }  # fmt: skip


def test_the_training_part_is_that_of_a_run_with_as_many_records(found, path):
    asked = inspect(path, n_train=9, n_train_seed=3)
    part = asked.audit.by_part.loc[(0, "train")]
    assert part["records"] == 9 and part["af unknown"] == 0  # a record of which nothing is known takes no part
    assert 0 < part["af"] < 9 and part["af"] < found.audit.by_part.loc[(0, "train"), "af"]
    assert asked.audit.by_part.loc[(0, "test")].equals(found.audit.by_part.loc[(0, "test")])
    assert asked.audit.labels_sha256 == found.audit.labels_sha256
    assert "Positive records to train on by fold, data.n_train=9" in format_audit(asked)
    with pytest.raises(ConfigError, match=r"data\.n_train=99: the training part of fold 0 has \d+ records"):
        inspect(path, n_train=99)
