import ast
import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ecgcls.config import CONF_DIR
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.tasks import UNKNOWN, Labels, Task
from ecgcls.errors import ConfigError, DataError

SUPERDIAGNOSTIC = ("NORM", "MI", "STTC", "CD", "HYP")


def read_task(name: str) -> Task:
    """The task of a configuration file."""
    arguments = yaml.safe_load((CONF_DIR / "task" / f"{name}.yaml").read_text())
    assert arguments.pop("_target_") == "ecgcls.data.tasks.Task"
    return Task(**arguments)


def label_real(task: Task, root: Path) -> Labels:
    return task.label(PTBXL(root=root).read_records()["scp_codes"], PTBXL(root=root).read_statements())


def read_real_rows(root: Path) -> tuple[list[dict[str, str]], list[dict[str, float]]]:
    """The rows of the statements' table and the codes of each record, read without the code under test."""
    with (root / "scp_statements.csv").open(newline="", encoding="utf-8") as file:
        statements = list(csv.DictReader(file))
    with (root / "ptbxl_database.csv").open(newline="", encoding="utf-8") as file:
        return statements, [ast.literal_eval(row["scp_codes"]) for row in csv.DictReader(file)]


@pytest.fixture
def statements() -> pd.DataFrame:
    """A table small enough to work by hand: B is a diagnosis and a form."""
    rows = {
        "A": (True, False, False, "X", "x1"),
        "B": (True, True, False, "Y", "y1"),
        "C": (True, False, False, "X", "x2"),
        "F": (False, True, False, None, None),
        "R": (False, False, True, None, None),
    }
    columns = ["diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


@pytest.fixture
def scp_codes() -> pd.Series:
    return pd.Series(
        {
            7: {"A": 100.0, "C": 50.0},
            3: {"C": 0.0, "R": 0.0},  # a likelihood of 0 means 'unknown': the statement counts
            9: {"F": 0.0, "B": 15.0},
            4: {"R": 0.0},
            5: {},
        }
    )


# --- worked by hand


@pytest.mark.parametrize(
    ("task", "class_names", "y_true"),
    [
        pytest.param(
            Task(statements="diagnostic"),
            ("A", "B", "C"),
            [[1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]],
            id="diagnostic",
        ),
        pytest.param(
            Task(statements="diagnostic", classes="diagnostic_class"),
            ("X", "Y"),
            [[1, 0], [1, 0], [0, 1], [0, 0], [0, 0]],
            id="class",
        ),
        pytest.param(
            Task(statements="diagnostic", classes="diagnostic_subclass"),
            ("x1", "y1", "x2"),
            [[1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]],
            id="subclass",
        ),
        pytest.param(Task(statements="form"), ("B", "F"), [[0, 0], [0, 0], [1, 1], [0, 0], [0, 0]], id="form"),
        pytest.param(Task(statements="rhythm"), ("R",), [[0], [1], [0], [1], [0]], id="rhythm"),
        pytest.param(
            Task(statements="all"),
            ("A", "B", "C", "F", "R"),
            [[1, 0, 1, 0, 0], [0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]],
            id="all",
        ),
        pytest.param(
            Task(statements="diagnostic", class_order=["C", "B"]),
            ("C", "B", "A"),
            [[1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]],
            id="some classes first",
        ),
        pytest.param(Task(statements="diagnostic", k=1), ("C",), [[1], [1], [0], [0], [0]], id="the most frequent"),
        pytest.param(  # A and B have one record each: the first in the file wins the tie
            Task(statements="diagnostic", k=2), ("C", "A"), [[1, 1], [1, 0], [0, 0], [0, 0], [0, 0]], id="a tie"
        ),
        pytest.param(  # C and R have two records each, the others one
            Task(statements="all", k=3),
            ("C", "R", "A"),
            [[1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]],
            id="two ties",
        ),
    ],
)
def test_labels_worked_by_hand(statements, scp_codes, task, class_names, y_true):
    labels = task.label(scp_codes, statements)
    assert labels.class_names == class_names
    assert labels.y_true.dtype == np.int8 and labels.y_true.tolist() == y_true


def test_a_class_is_unknown_where_no_statement_says_yes_and_one_is_not_known(statements):
    nan = float("nan")
    codes = pd.Series({1: {"A": nan}, 2: {"A": nan, "B": 100.0}, 3: {"C": 100.0, "A": nan}, 4: {"R": nan}})
    by_class = Task(statements="diagnostic", classes="diagnostic_class").label(codes, statements)  # X: A and C; Y: B
    assert by_class.y_true.tolist() == [[UNKNOWN, 0], [UNKNOWN, 1], [1, 0], [0, 0]]
    assert by_class.has_label.tolist() == [False, True, True, False]
    alone = Task(statements="diagnostic", only=["A"], unlabelled="negative").label(codes, statements)
    assert alone.y_true.tolist() == [[UNKNOWN], [UNKNOWN], [UNKNOWN], [0]]
    assert alone.has_label.tolist() == [False, False, False, True]  # of whom nothing is known takes no part
    exclusive = Task(statements="diagnostic", classes="diagnostic_class", exclusive=True).label(codes, statements)
    assert exclusive.y_true.tolist() == [[UNKNOWN, 0], [0, 1], [1, 0], [0, 0]]


def test_a_class_is_as_likely_as_its_most_likely_statement(statements):
    scp_codes = pd.Series(
        {
            7: {"A": 35.0, "C": 80.0},
            3: {"A": 100.0, "C": 15.0},  # certain
            9: {"A": 0.0, "C": 80.0, "R": 0.0},  # listed without a likelihood
            4: {"B": 50.0, "C": 35.0},
        }
    )
    classes = Task(statements="diagnostic", classes="diagnostic_class")
    expected = [(7, "X", 80.0), (9, "X", 0.0), (4, "Y", 50.0), (4, "X", 35.0)]
    assert [*classes.find_likelihoods(["X", "Y"], scp_codes, statements).itertuples(index=False)] == expected
    of_x = replace(classes, min_likelihood=50.0).find_likelihoods(["X"], scp_codes, statements)
    assert [*of_x.itertuples(index=False)] == [(7, "X", 80.0), (9, "X", 80.0)]


# --- on real records


@pytest.mark.parametrize(
    ("name", "n_classes"),
    [("superdiagnostic", 5), ("subdiagnostic", 23), ("diagnostic", 44), ("form", 19), ("rhythm", 12), ("all", 71)],
)
def test_classes_of_ptbxl(ptbxl_root, name, n_classes):
    labels = label_real(read_task(name), ptbxl_root)
    assert len(set(labels.class_names)) == len(labels.class_names) == n_classes
    assert labels.y_true.shape == (356, n_classes)


def test_superclasses_of_the_real_records(ptbxl_root):
    labels = label_real(read_task("superdiagnostic"), ptbxl_root)
    assert labels.class_names == SUPERDIAGNOSTIC
    assert dict(zip(labels.class_names, labels.y_true.sum(axis=0).tolist(), strict=True)) == {
        "NORM": 213,
        "MI": 50,
        "STTC": 71,
        "CD": 52,
        "HYP": 32,
    }
    assert (~labels.y_true.any(axis=1)).sum() == 7
    assert labels.y_true[0].tolist() == [True, False, False, False, False]  # ecg_id 1: NORM 100, LVOLT 0, SR 0


@pytest.mark.parametrize(
    ("name", "kind", "column"),
    [
        ("superdiagnostic", "diagnostic", "diagnostic_class"),
        ("subdiagnostic", "diagnostic", "diagnostic_subclass"),
        ("diagnostic", "diagnostic", ""),
        ("form", "form", ""),
        ("rhythm", "rhythm", ""),
        ("all", None, ""),  # the first column, of the statements, has no name
    ],
)
def test_every_real_label_is_that_of_the_tables(ptbxl_root, name, kind, column):
    labels = label_real(read_task(name), ptbxl_root)
    rows, codes = read_real_rows(ptbxl_root)
    class_of = {row[""]: row[column] for row in rows if kind is None or row[kind] == "1.0"}
    for y_true, listed in zip(labels.y_true, codes, strict=True):
        named = {name for name, positive in zip(labels.class_names, y_true, strict=True) if positive}
        assert named == {class_of[statement] for statement in listed if statement in class_of}
    if name != "superdiagnostic":
        assert labels.class_names == tuple(dict.fromkeys(class_of.values()))


@pytest.mark.parametrize("k", [1, 5, 12, 44])
def test_the_k_most_frequent_of_the_real_records(ptbxl_root, k):
    task = read_task("top5")
    assert task.k == 5
    labels = label_real(Task(statements=task.statements, classes=task.classes, k=k), ptbxl_root)
    rows, codes = read_real_rows(ptbxl_root)
    diagnostic = [row[""] for row in rows if row["diagnostic"] == "1.0"]
    count = Counter(statement for listed in codes for statement in listed)
    expected = sorted(diagnostic, key=lambda statement: (-count[statement], diagnostic.index(statement)))[:k]
    assert labels.class_names == tuple(expected)
    assert labels.y_true.sum(axis=0).tolist() == [count[statement] for statement in expected]


# --- errors


def test_an_unknown_statement_is_named_with_its_record(statements, scp_codes):
    scp_codes[9] = {"B": 15.0, "ZZZ": 0.0}
    with pytest.raises(DataError, match=r"scp_codes of ecg_id 9: the statement 'ZZZ' is not in scp_statements"):
        Task(statements="rhythm").label(scp_codes, statements)  # even one that does not count


@pytest.mark.parametrize("classes", ["diagnostic_class", "diagnostic_subclass"])
@pytest.mark.parametrize("kind", ["form", "rhythm", "all"])
def test_only_diagnoses_have_a_diagnostic_class(classes, kind):
    with pytest.raises(ConfigError, match=f"task.classes={classes} needs task.statements=diagnostic, got {kind}"):
        Task(statements=kind, classes=classes)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one(k):
    with pytest.raises(ConfigError, match=f"task.k must be at least 1, got {k}"):
        Task(statements="diagnostic", k=k)


def test_k_above_the_number_of_classes(statements, scp_codes):
    assert len(Task(statements="diagnostic", k=3).label(scp_codes, statements).class_names) == 3
    with pytest.raises(ConfigError, match=r"task\.k must be in 1\.\.3, got 4"):
        Task(statements="diagnostic", k=4).label(scp_codes, statements)


def test_classes_that_the_data_set_does_not_have_need_not_be_there(statements, scp_codes, caplog):
    task = Task(statements="diagnostic", class_order=["R", "C", "Q"])  # R is a rhythm, Q nothing
    assert task.label(scp_codes, statements).class_names == ("C", "A", "B")
    assert "task.class_order: no statement of the data set is of class R, Q" in caplog.text
    with pytest.raises(ConfigError, match=r"task\.only: Q is not a class of this task; it has A, B, C"):
        Task(statements="diagnostic", only=["Q", "A"]).label(scp_codes, statements)


def test_one_class_against_the_rest(statements, scp_codes):
    rest = {"statements": "diagnostic", "only": ["C"], "unlabelled": "negative"}
    labels = Task(**rest).label(scp_codes, statements)
    assert (labels.class_names, labels.y_true.ravel().tolist()) == (("C",), [True, True, False, False, False])
    assert labels.has_label.all()
    assert (
        replace(Task(**rest), unlabelled="drop").label(scp_codes, statements).has_label.tolist()
        == [True] * 2 + [False] * 3
    )
    again = Task(**rest).label_as(["C"], scp_codes, statements)
    assert again.has_label.all() and again.y_true.tolist() == labels.y_true.tolist()
    ordered = Task(statements="diagnostic", only=["C", "A"]).label(scp_codes, statements)
    assert ordered.class_names == ("C", "A") and ordered.y_true[0].tolist() == [True, True]


def test_an_exclusive_task_takes_records_with_one_class(statements, scp_codes, caplog):
    labels = Task(statements="diagnostic", exclusive=True).label(scp_codes, statements)
    assert labels.y_true.sum(axis=1).tolist() == [2, 1, 1, 0, 0]
    assert labels.has_label.tolist() == [False, True, True, False, False]
    assert "task.exclusive=true: left out 1 records that have more than one class" in caplog.text
    with pytest.raises(ConfigError, match=r"task\.exclusive=true needs two classes at least, got R"):
        Task(statements="rhythm", exclusive=True).label(scp_codes, statements)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unlabelled": "keep"}, r"task\.unlabelled must be drop or negative, got 'keep'"),
        ({"k": 1, "only": ["A"]}, r"task\.k=1 and task\.only=\['A'\]: expected one of them"),
        ({"exclusive": True, "unlabelled": "negative"}, "each record has exactly one class, so none is unlabelled"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Task(statements="diagnostic", **settings)
