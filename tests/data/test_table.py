"""A manifest of one's own ECGs: what its columns are taken for, what is read from it, and what is refused."""

import math
import sys

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecgcls.data.audit import audit_labels
from ecgcls.data.cohort import read_tables, select_cohort
from ecgcls.data.folds import FoldTable
from ecgcls.data.groupings import list_groupings, name_groups, order_groups
from ecgcls.data.signals import LEADS
from ecgcls.data.table import Table
from ecgcls.data.tasks import UNKNOWN, Task
from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.parts import settle_data

OWN = Task(statements="all", unlabelled="negative")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five short WFDB records, in a folder of the data set."""
    root = tmp_path_factory.mktemp("own")
    (root / "ecgs").mkdir()
    for name in "abcde":
        form = {"sig_name": list(LEADS), "units": ["mV"] * 12, "fmt": ["16"] * 12}
        wfdb.wrsamp(name, 100, p_signal=np.zeros((10, 12)), write_dir=str(root / "ecgs"), **form)
    return root


@pytest.fixture
def write(folder):
    """Write a manifest of these lines; return the source that reads it."""

    def write(*lines, name="ecgs.csv", **settings):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Table(manifest=folder / name, **settings)

    return write


MANIFEST = (
    "Record ID,subject,path,AF,MI,Age,Gender,site,notes",
    "r1,P1,ecgs/a.hea,1,,61,F,north,=1+1",
    "r2,P1,ecgs\\b,0,1,,M,north,x",
    "r3,P2,./ecgs/c.dat,0.0,false,59,female,,",
    "007,P3,ecgs/d,,,93,0,south,y",
)


def test_columns_are_recognized_and_cells_read(write):
    source = write(*MANIFEST)
    records = source.read_records()
    assert records.index.tolist() == ["r1", "r2", "r3", "007"] and records.index.name == "ecg_id"
    assert records["patient_id"].tolist() == ["P1", "P1", "P2", "P3"]
    assert records["filename"].tolist() == ["ecgs/a", "ecgs/b", "ecgs/c", "ecgs/d"]
    codes = records["scp_codes"].tolist()
    assert codes[0]["AF"] == 100 and math.isnan(codes[0]["MI"])
    assert codes[1:3] == [{"MI": 100.0}, {}] and all(map(math.isnan, codes[3].values())) and len(codes[3]) == 2
    labels = OWN.label(records["scp_codes"], source.read_statements())
    assert labels.class_names == ("AF", "MI")
    assert labels.y_true.tolist() == [[1, UNKNOWN], [0, 1], [0, 0], [UNKNOWN, UNKNOWN]]
    assert labels.has_label.tolist() == [True, True, True, False]
    groups = name_groups(records, list_groupings(source))
    assert groups["sex"].tolist() == ["female", "male", "female", "male"]
    assert groups["age"].tolist() == ["60 to 69", "unknown", "50 to 59", "90 or older"]
    assert groups["site"].tolist() == ["north", "north", "unknown", "south"]
    told = source.tabulate_columns()
    assert told.loc["labels"].tolist() == ["AF, MI", "guessed"] and told.loc["not used", "columns"] == "notes"
    assert source.tabulate_labels().to_numpy().tolist() == [[1, 2, 1], [1, 1, 2]]


def test_an_audit_counts_what_is_not_known(write):
    source = write(*MANIFEST)
    records = source.read_records().assign(strat_fold=[1, 1, 2, 3])
    found = audit_labels(records, source.read_statements(), task=OWN, folds=FoldTable(val=[[2]], test=[[3]]))
    assert found.by_fold[["AF unknown", "MI unknown"]].to_numpy().tolist() == [[0, 1], [0, 0], [1, 1]]
    assert found.by_part.loc[(0, "test"), "AF unknown"] == 1


def test_what_was_guessed_need_not_be_guessed_again(write, folder):
    source = write(*MANIFEST)
    node = {"_target_": "ecgcls.data.table.Table", "manifest": str(source.manifest)}
    settled = settle_data({"data": node, "fold": 0})["data"]
    assert settled["record_column"] == "Record ID" and settled["fold_column"] == "none"
    assert settled["root"] == str(folder) and settled["label_columns"] == ["AF", "MI"]
    again = Table(**{key: value for key, value in settled.items() if key != "_target_"})
    assert again.columns.guessed == ()
    pd.testing.assert_frame_equal(again.read_records(), source.read_records())
    assert again.settle() == source.settle()


@pytest.mark.parametrize(
    ("cells", "settings", "classes", "y_true"),
    [
        (("AF;MI", "MI", ""), {}, ("AF", "MI"), [[1, 1], [0, 1], [-1, -1]]),
        (("AF|MI", "MI", ""), {"empty_labels": "negative"}, ("AF", "MI"), [[1, 1], [0, 1], [0, 0]]),
        (("SR", "AF", "SR"), {}, ("AF", "SR"), [[0, 1], [1, 0], [0, 1]]),
        (("A, B", "B", "A"), {"label_separator": ","}, ("A", "B"), [[1, 1], [0, 1], [1, 0]]),
        (("A;B", "A;B", "C"), {"label_separator": "none"}, ("A;B", "C"), [[1, 0], [1, 0], [0, 1]]),
    ],
)
def test_a_column_of_names(write, cells, settings, classes, y_true):
    rows = [f'ecgs/{name},"{cell}"' for name, cell in zip("abc", cells, strict=True)]
    source = write("file,dx", *rows, **settings)
    labels = OWN.label(source.read_records()["scp_codes"], source.read_statements())
    assert labels.class_names == classes and labels.y_true.tolist() == y_true


def test_labels_that_ptbxl_knows_have_its_classes(write):
    source = write("file,dx", "ecgs/a,NORM;SR", "ecgs/b,AMI;AFIB", "ecgs/c,STTC;mine")
    task = Task(statements="diagnostic", classes="diagnostic_class", class_order=["NORM", "MI", "STTC"])
    labels = task.label(source.read_records()["scp_codes"], source.read_statements())
    assert labels.class_names == ("NORM", "MI", "STTC")
    assert labels.y_true.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_whole_numbers_are_numbers_and_files_name_records(write, caplog):
    source = write("file,patient_id,AF", "ecgs/a,12.0,1", "ecgs/b,7.0,0")
    assert source.read_records()["patient_id"].tolist() == [12, 7]
    assert source.read_records().index.tolist() == ["a", "b"]
    alone = write("file,AF", "ecgs/a,1", "ecgs/b,0")
    alone.prepare()
    assert "each record counts as a patient of its own" in caplog.text
    assert alone.read_records()["patient_id"].tolist() == ["a", "b"]


def test_a_manifest_may_be_parquet(write, folder, monkeypatch):
    frame = pd.DataFrame(
        {"id": ["r1", "r2"], "pid": [7.0, 8.0], "file": ["ecgs/a", "ecgs/b"], "labels": [["AF", "MI"], None]}
    )
    frame.to_parquet(folder / "ecgs.parquet")
    records = Table(manifest=folder / "ecgs.parquet").read_records()
    assert records["patient_id"].tolist() == [7, 8] and records["scp_codes"].iloc[0] == {"AF": 100.0, "MI": 100.0}
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r"needs pyarrow: pip install 'ecgcls\[parquet\]'"):
        Table(manifest=folder / "ecgs.parquet").read_records()


def write_many(write, fold, **settings):
    """Twenty rows with a column of folds; the files are not looked for."""
    rows = [f"f{number},P{number},{number % 2},{fold(number)}" for number in range(20)]
    return write("file,patient,AF,split", *rows, **settings)


def test_parts_that_the_manifest_gives_are_taken_as_they_are(write):
    words = {0: "Test", 1: "valid"}
    source = write_many(write, lambda number: words.get(number // 4, "train"))
    records = source.read_records()
    given = FoldTable(val=[[9]], test=[[10]])
    parts = given.assign(records, fold=0).tolist()
    assert parts == ["test"] * 4 + ["val"] * 4 + ["train"] * 12
    with pytest.raises(ConfigError, match="set folds=given"):
        FoldTable(val=[[3]], test=[[1]]).assign(records, fold=0)
    without = write_many(write, lambda number: "test" if number < 4 else "train").read_records()
    parts = given.assign(without, fold=0)
    assert (parts.iloc[:4] == "test").all() and set(parts.iloc[4:]) == {"train", "val"}


def test_own_columns_are_subgroups_numbers_by_quartile(write):
    rows = [f"f{number},{number % 2},H {number % 3},{80 + number}" for number in range(40)]
    source = write("file,AF,hospital,qrs_ms", *rows, group_columns=["hospital", "qrs_ms"])
    groups = name_groups(source.read_records(), list_groupings(source))
    assert order_groups(groups["hospital"]) == ["H 0", "H 1", "H 2"]
    expected = ["89.75 or less", "89.75 to 99.5", "99.5 to 109.25", "above 109.25"]
    assert order_groups(groups["qrs_ms"]) == expected
    assert groups["qrs_ms"].value_counts().tolist() == [10] * 4


def test_a_class_without_a_positive_is_refused_by_name(write):
    rows = ["ecgs/a,0,0,1", "ecgs/b,0,1,1", "ecgs/c,0,0,9", "ecgs/d,0,1,10"]
    tables = read_tables(write("file,AF,MI,fold", *rows))
    with pytest.raises(DataError, match=r"fold 0 has no positive \(or no negative\) record of AF; task.absent_classes"):
        select_cohort(tables, task=OWN, folds=FoldTable(val=[[9]], test=[[10]]), fold=0)


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        (["file;AF", "ecgs/a;1"], {}, "columns are separated by ';', expected commas"),
        (["flie,AF", "x,1"], {}, r"no column names the files .*is it 'flie' for file\?\); set data\.file_column=NAME"),
        (["file,AF", "ecgs/a,1"], {"label_columns": ["AFF"]}, r"data\.label_columns: .* no column AFF; .*is it 'AF'"),
        (["file,AF", "ecgs/a,1"], {"patient_column": "who"}, r"data\.patient_column: .* has no column who; found file"),
        (["file,AF", "ecgs/a,1"], {"label_columns": ["AF", "AF"]}, r"data\.label_columns names the column AF twice"),
        (
            ["file,AF,MI", "ecgs/a,1,0"],
            {"group_columns": ["AF"], "label_columns": ["AF"]},
            r"AF is data\.label_columns and data\.group_columns",
        ),
        (["file,AF,AF", "ecgs/a,1,1"], {}, "the column 'AF' is there 2 times, expected once"),
        (["file,AF"], {}, "no rows below the header"),
        (["file,AF,dx", "ecgs/a,1,x"], {}, r"what are the labels\? AF hold 0 and 1, and dx"),
        (["file,x", "ecgs/a,7"], {}, r"no column holds labels .*set data\.label_columns"),
        (["file,AF", *(f"f{n},{n % 2}" for n in range(30)), "g,2"], {}, "line 32, column AF: a label is .*, got '2'"),
        (["file,record,AF", "ecgs/a,r,1", "ecgs/b,r,0"], {}, "the record r is in line 2 and in line 3"),
        (["file,record,AF", "ecgs/a,r,1", "ecgs/a,s,0"], {}, r"the file ecgs/a \(file\) is in line 2 and in line 3"),
        (["file,record,AF", "ecgs/a,1,1", "ecgs/b,1.0,0"], {}, "the record 1 is in line 2 and in line 3"),
        (
            ["file,record,AF", "ecgs/a,r,1", "./ecgs//../ecgs/a,s,0"],
            {},
            "the file .*ecgs/a .*is in line 2 and in line 3",
        ),
        (
            ["file,AF,MI", "ecgs/a,1,0", "ecgs/b,x,1"],
            {},
            r"line 3, column AF: .*got 'x'; data\.label_columns=\[...\] says",
        ),
        (["file,label", "ecgs/a,yes", "ecgs/b,no"], {}, r"label holds no, yes, expected 1 \(the record has it\), 0"),
        (["file,macro", "ecgs/a,1", "ecgs/b,0"], {}, "'macro' cannot be a label: .* rename it"),
        (["file,dx", "ecgs/a,AF;Overall", "ecgs/b,AF"], {}, "'Overall' cannot be a label"),
        (["file,AF,age", "ecgs/a,1,inf"], {}, "line 2, column age: an age is a number of years or empty, got 'inf'"),
        (["file,patient,AF", "ecgs/a,,1"], {}, r"line 2: patient is empty \(1 such rows\)"),
        (["file,patient,AF", "ecgs/a,1.5,1"], {}, "line 2: patient must hold names or whole numbers, got '1.5'"),
        (["file,AF,sex", "ecgs/a,1,D"], {}, r"line 2, column sex: sex is M, F, .*got 'D'"),
        (["file,AF,age", "ecgs/a,1,old"], {}, "line 2, column age: an age is a number of years or empty, got 'old'"),
        (["file,AF,fold", "ecgs/a,1,0", "ecgs/b,1,4"], {}, r"1 to 10, or train, .*got '0' \(the column has 0 to 4\)"),
        (
            ["file,AF,patient,fold", "ecgs/a,1,P,1", "ecgs/b,1,P,2"],
            {},
            r"patient P is in fold 1 and, in line 3, in 2; all records of a patient must be in one fold \(1 such",
        ),
        (
            ["file,dx", *(f"f{number},free text {number}" for number in range(30))],
            {},
            r"dx has 30 different labels in 30 rows .* is it free text\?",
        ),
    ],
)
def test_what_is_refused_is_told_in_one_line(write, lines, settings, message):
    with pytest.raises((ConfigError, DataError), match=message) as refused:
        write(*lines, **settings).read_records()
    assert "\n" not in str(refused.value)


def test_what_is_no_manifest_is_refused(folder):
    (folder / "empty.csv").touch()
    (folder / "book.xlsx").write_bytes(b"PK\x03\x04rest")
    for path, message in (
        (None, "data.manifest is missing"),
        (folder / "no.csv", "not found; data.manifest is a CSV or Parquet file"),
        (folder, "is a folder"),
        (folder / "empty.csv", "the file is empty"),
        (folder / "book.xlsx", "a workbook"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            Table(manifest=path).read_records()


def test_a_manifest_is_found_where_the_data_set_has_moved(write, folder, tmp_path):
    source = write(*MANIFEST, name="moved.csv")
    found = Table(manifest=tmp_path / "gone" / "moved.csv", root=folder)
    assert found.manifest == source.manifest and found.fingerprint() == source.fingerprint()
