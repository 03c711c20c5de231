import ast
import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from ecgcls.data.cohort import Cohort, log_left_out, read_tables, select_cohort
from ecgcls.data.folds import FoldTable
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.tasks import Task
from ecgcls.data.training_size import TrainingSize
from ecgcls.errors import ConfigError, DataError

STATEMENTS = """,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
A,1,,,X,x
B,1,,,Y,y
C,1,,,Z,z
R,,,1,,
"""
AB_STATEMENTS = STATEMENTS.replace("C,1,,,Z,z\n", "")
# ecg_id, patient_id, scp_codes, strat_fold: 1 to 3 are trained on, 9 validates, 10 tests
ROWS = [
    (1, 10, {"A": 100.0}, 1),
    (2, 10, {"A": 0.0, "B": 50.0}, 1),
    (3, 11, {"B": 100.0, "R": 0.0}, 2),
    (4, 12, {"R": 0.0}, 3),
    (5, 13, {"A": 100.0}, 9),
    (6, 14, {"B": 100.0}, 9),
    (7, 15, {"B": 100.0}, 10),
    (8, 16, {"A": 100.0, "B": 80.0}, 10),
    (9, 16, {}, 10),
]


@pytest.fixture
def write(tmp_path):
    """Write the tables of a data set and an empty pair of files for each record; return the folder."""

    def write_dataset(rows=ROWS, statements=AB_STATEMENTS) -> Path:
        (tmp_path / "records100").mkdir()
        table = pd.DataFrame(rows, columns=["ecg_id", "patient_id", "scp_codes", "strat_fold"])
        table["filename_lr"] = [f"records100/{ecg_id:05d}_lr" for ecg_id in table["ecg_id"]]
        table.to_csv(tmp_path / "ptbxl_database.csv", index=False)
        (tmp_path / "scp_statements.csv").write_text(statements)
        for filename in table["filename_lr"]:
            for suffix in ("hea", "dat"):
                (tmp_path / f"{filename}.{suffix}").touch()
        return tmp_path

    return write_dataset


def select(root: Path, *, missing_records="error", **changed) -> Cohort:
    arguments = {"task": Task(statements="diagnostic"), "folds": FoldTable(val=[[9]], test=[[10]]), "fold": 0}
    arguments |= changed
    cohort = select_cohort(read_tables(PTBXL(root=root, missing_records=missing_records)), **arguments)
    log_left_out(cohort, fold=arguments["fold"])
    return cohort


# --- which records


def test_a_cohort_worked_by_hand(write, caplog):
    caplog.set_level("INFO")
    cohort = select(write())
    assert cohort.records.index.tolist() == [1, 2, 3, 5, 6, 7, 8]
    assert cohort.records["part"].tolist() == ["train", "train", "train", "val", "val", "test", "test"]
    assert cohort.records["patient_id"].tolist() == [10, 10, 11, 13, 14, 15, 16]
    assert cohort.class_names == ("A", "B") and cohort.absent_classes == ()
    assert cohort.y_true.astype(int).tolist() == [[1, 0], [1, 1], [0, 1], [1, 0], [0, 1], [0, 1], [1, 1]]
    assert [cohort.find_part(part).tolist() for part in ("train", "val", "test")] == [[0, 1, 2], [3, 4], [5, 6]]
    assert cohort.n_without_label == 2
    assert cohort.records["filename"].to_dict() == {
        ecg_id: f"records100/{ecg_id:05d}_lr" for ecg_id in cohort.records.index
    }
    assert "Left out 2 records without a label in the task" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_the_description_is_strict_json(write):
    description = select(write()).describe()
    for part in description["parts"].values():
        assert len(part.pop("records_sha256")) == 64
    assert len(description.pop("labels_sha256")) == 64
    assert json.loads(json.dumps(description, allow_nan=False)) == {
        "n_records": 7,
        "n_without_label": 2,
        "class_names": ["A", "B"],
        "absent_classes": [],
        "parts": {
            "train": {"n_records": 3, "n_patients": 2, "n_positive": {"A": 2, "B": 2}},
            "val": {"n_records": 2, "n_patients": 2, "n_positive": {"A": 1, "B": 1}},
            "test": {"n_records": 2, "n_patients": 2, "n_positive": {"A": 1, "B": 2}},
        },
    }


def test_nothing_is_logged_as_left_out_if_all_records_are_labeled(write, caplog):
    caplog.set_level("INFO")
    cohort = select(write([row for row in ROWS if row[0] not in (4, 9)]))
    assert cohort.n_without_label == 0 and len(cohort.records) == 7
    assert "Left out" not in caplog.text


@pytest.mark.parametrize("fold", range(5))
def test_the_real_cohort(ptbxl_root, fold):
    val, test = [[3], [5], [7], [9], [1]], [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    superclasses = ["NORM", "MI", "STTC", "CD", "HYP"]
    task = Task(statements="diagnostic", classes="diagnostic_class", class_order=superclasses)
    described = select(ptbxl_root, task=task, folds=FoldTable(val=val, test=test), fold=fold).describe()
    assert described["n_records"] == 349 and described["n_without_label"] == 7
    assert described["class_names"] == superclasses
    with (ptbxl_root / "scp_statements.csv").open(newline="", encoding="utf-8") as file:
        class_of = {row[""]: row["diagnostic_class"] for row in csv.DictReader(file) if row["diagnostic"]}
    rows = {"train": [], "val": [], "test": []}
    with (ptbxl_root / "ptbxl_database.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            listed = {class_of[code] for code in ast.literal_eval(row["scp_codes"]) if code in class_of}
            strat_fold = int(row["strat_fold"])
            part = "test" if strat_fold in test[fold] else "val" if strat_fold in val[fold] else "train"
            if listed:
                rows[part].append((row["patient_id"], listed))
    for part in described["parts"].values():
        part.pop("records_sha256")
    assert described["parts"] == {
        part: {
            "n_records": len(members),
            "n_patients": len({patient for patient, _ in members}),
            "n_positive": {name: sum(name in listed for _, listed in members) for name in superclasses},
        }
        for part, members in rows.items()
    }


# --- missing files


def remove_two(root: Path) -> Path:
    (root / "records100" / "00007_lr.dat").unlink()
    (root / "records100" / "00009_lr.hea").unlink()
    return root


def test_missing_files_are_refused_with_their_count(write):
    with pytest.raises(
        DataError, match=r"00007_lr: the signal file .* of ecg_id 7 is missing; 2 of 9 records .*missing_records=drop"
    ):
        select(remove_two(write()))


def test_missing_files_are_dropped_and_counted(write, caplog):
    root = remove_two(write())
    cohort = select(root, missing_records="drop")
    assert cohort.records.index.tolist() == [1, 2, 3, 5, 6, 8]
    assert cohort.n_without_label == 1
    tables = read_tables(PTBXL(root=root, missing_records="drop"))
    assert tables.database.index.tolist() == [1, 2, 3, 4, 5, 6, 8]
    assert tables.n_missing_files == 2
    assert "Left out 2 of 9 records: their signal file is missing" in caplog.text


@pytest.mark.parametrize(
    ("missing_records", "match"),
    [("drop", "none of the 9 records has its signal file"), ("error", "ecg_id 1 is missing; 9 of 9 records")],
)
def test_all_files_missing(write, missing_records, match):
    root = write()
    shutil.rmtree(root / "records100")
    with pytest.raises(DataError, match=match):
        select(root, missing_records=missing_records)


# --- train, val and test


def test_a_patient_in_two_sets_is_named(write):
    rows = [*ROWS[:5], (6, 10, {"B": 100.0}, 9), *ROWS[6:]]
    with pytest.raises(
        DataError, match=r"patient 10 has records in train and val; all records of a patient must be in one of them"
    ):
        select(write(rows))


@pytest.mark.parametrize(("part", "ecg_ids"), [("train", {1, 2, 3, 4}), ("val", {5, 6}), ("test", {7, 8, 9})])
def test_an_empty_set_is_named(write, part, ecg_ids):
    with pytest.raises(DataError, match=f"no record in the {part} set of fold 0"):
        select(write([row for row in ROWS if row[0] not in ecg_ids]))


def test_no_such_fold(write):
    with pytest.raises(ConfigError, match="fold must be 0, got 7"):
        select(write(), fold=7)


def test_without_strat_fold_ten_are_assigned(synthetic_root, tmp_path, caplog):
    caplog.set_level("INFO")
    root = Path(shutil.copytree(synthetic_root, tmp_path / "ecgs"))
    table = pd.read_csv(root / "ptbxl_database.csv").drop(columns="strat_fold")
    table.to_csv(root / "ptbxl_database.csv", index=False)
    task = Task(statements="diagnostic", classes="diagnostic_class", absent_classes="drop")
    cohort = select(root, task=task)
    assert "assigns no folds: drew ten, by patient" in caplog.text
    assert set(cohort.records["strat_fold"]) == set(range(1, 11))
    assert (cohort.records["part"] == "val").equals(cohort.records["strat_fold"] == 9)
    assert (cohort.records["part"] == "test").equals(cohort.records["strat_fold"] == 10)
    assert cohort.records.groupby("patient_id")["strat_fold"].nunique().max() == 1
    assert cohort.records["patient_id"].duplicated().any()
    assert select(root, task=task).records["strat_fold"].equals(cohort.records["strat_fold"])
    other = select(root, task=Task(statements="rhythm", absent_classes="drop")).records["strat_fold"]
    common = cohort.records.index.intersection(other.index)
    assert other[common].equals(cohort.records["strat_fold"][common]), "a record's fold depends on the task"


# --- classes


C_IN_TEST = [*ROWS, (30, 20, {"A": 100.0, "C": 100.0}, 10)]


def test_a_class_that_is_absent_in_train_is_refused_by_name(write):
    with pytest.raises(
        DataError, match=r"the training set of fold 0 has no positive .* record of C; task\.absent_classes=drop"
    ):
        select(write(C_IN_TEST, STATEMENTS))


def test_a_class_that_is_absent_in_train_is_dropped_by_name(write, caplog):
    cohort = select(
        write(C_IN_TEST, STATEMENTS), task=Task(statements="diagnostic", absent_classes="drop", class_order=["C"])
    )
    assert cohort.class_names == ("A", "B") and cohort.absent_classes == ("C",)
    assert cohort.describe()["absent_classes"] == ["C"]
    assert cohort.y_true.shape == (8, 2) and cohort.y_true[-1].tolist() == [True, False]
    assert "Left out the classes C: the training set of fold 0 cannot teach them" in caplog.text


def test_a_class_that_too_small_a_part_cannot_teach_is_refused_by_name(write):
    rows = [(n, n, {"A": 100.0} if n < 30 else {"B": 100.0}, 1 + n % 10) for n in range(10, 60)]
    with pytest.raises(DataError, match=r"no positive .* record of (A|B|A, B); data\.n_train=1 may be too few; task\."):
        select(write(rows), training_size=TrainingSize(1))


def test_a_class_that_all_training_records_have_cannot_be_learned(write):
    rows = [*ROWS[:2], (3, 11, {"A": 100.0, "B": 100.0}, 2), *ROWS[3:]]
    root = write(rows)
    with pytest.raises(DataError, match=r"no positive \(or no negative\) record of A;"):
        select(root)
    cohort = select(root, task=Task(statements="diagnostic", absent_classes="drop"))
    assert cohort.class_names == ("B",) and cohort.absent_classes == ("A",)


def test_no_class_left(write):
    root = write([(n, n, {"A": 100.0, "B": 100.0}, fold) for n, fold in ((1, 1), (2, 2), (3, 9), (4, 10))])
    with pytest.raises(DataError, match="the training set of fold 0 has no class to learn"):
        select(root, task=Task(statements="diagnostic", absent_classes="drop"))


def test_no_record_with_a_label(write):
    with pytest.raises(DataError, match="no record has a label in the task"):
        select(write([(n, n, {"R": 0.0}, n) for n in range(1, 11)]))


@pytest.mark.parametrize(("part", "changed"), [("val", (6, 14, {"A": 100.0}, 9)), ("test", (8, 16, {"A": 100.0}, 10))])
def test_a_class_without_a_positive_to_score_is_named(write, caplog, part, changed):
    rows = [changed if row[0] == changed[0] else row for row in ROWS if row[0] != 7]
    cohort = select(write(rows))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"The {part} set of fold 0 has no positive record of B: not scored there"]
    assert cohort.class_names == ("A", "B")
