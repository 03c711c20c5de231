import numpy as np
import pandas as pd
import pytest

from ecgcls.data.audit import audit_labels, format_lost_kinds
from ecgcls.data.folds import FoldTable
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.tasks import Task
from ecgcls.errors import ConfigError

STATEMENTS = pd.DataFrame(
    {
        "diagnostic": [True, True, False],
        "form": [False, False, False],
        "rhythm": [False, False, True],
        "diagnostic_class": ["NORM", "MI", None],
        "diagnostic_subclass": ["NORM", "IMI", None],
    },
    index=["NORM", "IMI", "SR"],
)
DATABASE = pd.DataFrame(
    {
        "scp_codes": [{"NORM": 100.0, "SR": 0.0}, {"IMI": 35.0, "SR": 0.0}, {"SR": 0.0}, {"IMI": 50.0, "NORM": 0.0}],
        "strat_fold": [1, 2, 3, 3],
    },
    index=pd.Index([11, 12, 13, 14], name="ecg_id"),
)
FOLDS = FoldTable(val=[[2]], test=[[3]])


def audit(**task):
    return audit_labels(DATABASE, STATEMENTS, task=Task(**{"statements": "diagnostic", **task}), folds=FOLDS)


def test_an_audit_worked_by_hand():
    found = audit()
    assert (found.n_records, found.n_labeled, found.n_kept) == (4, 3, 3)
    assert (audit(unlabelled="negative").n_labeled, audit(unlabelled="negative").n_kept) == (3, 4)
    assert audit(unlabelled="negative").labels_sha256 != found.labels_sha256
    assert found.statements.loc["IMI", ["class", "n_records", "n_at_35", "n_at_50"]].tolist() == ["IMI", 2, 1, 1]
    assert found.statements.loc["SR", "class"] == ""  # occurs, but does not count
    assert found.by_fold.loc[3].to_dict() == {"NORM": 1, "IMI": 1, "records": 2, "with a class": 1}
    assert found.by_part.loc[(0, "train")].to_dict() == {"NORM": 1, "IMI": 0, "records": 1, "with a class": 1}
    assert found.likelihoods.loc["rhythm", 0.0] == 3
    rules = found.rules
    assert rules["labels"].tolist() == [4, 2, 1]
    assert rules["IMI"].tolist() == [2, 1, 0]
    assert rules["without a label"].tolist() == [1, 2, 3]
    assert rules["share of labels"].tolist() == [1.0, 0.5, 0.25]
    assert format_lost_kinds(found) == [
        "A rule 'likelihood >= 50' would delete 3 of 3 rhythm statements: their likelihood is mostly 0, which means "
        "unknown, not absent."
    ]


def test_a_task_may_require_a_likelihood():
    labels = Task(statements="diagnostic", min_likelihood=50.0).label(DATABASE["scp_codes"], STATEMENTS)
    np.testing.assert_array_equal(labels.y_true, [[1, 0], [0, 0], [0, 0], [0, 1]])
    assert audit(min_likelihood=50.0).labels_sha256 != audit().labels_sha256
    with pytest.raises(ConfigError, match=r"task.min_likelihood must be in \[0, 100\] percent, got 101"):
        Task(statements="diagnostic", min_likelihood=101.0)


def test_the_real_labels(ptbxl_root):
    database = PTBXL(root=ptbxl_root).read_records()
    statements = PTBXL(root=ptbxl_root).read_statements()
    folds = FoldTable(val=[[9]], test=[[10]])
    found = audit_labels(database, statements, task=Task(statements="rhythm"), folds=folds)
    raw = [(name, value) for codes in database["scp_codes"] for name, value in codes.items()]
    rhythms = [value for name, value in raw if statements.loc[name, "rhythm"]]
    assert found.likelihoods.loc["rhythm"].sum() == len(rhythms)
    assert found.rules.loc["likelihood >= 50", "labels"] == sum(value >= 50 for value in rhythms)
    assert found.rules.loc["likelihood >= 50", "share of labels"] < 0.1
    assert found.by_fold["records"].sum() == len(database) == 356
