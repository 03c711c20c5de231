import ast
import csv
from pathlib import Path

import pytest

from ecgcls.data.ptbxl import KNOWN_DUPLICATES, PTBXL
from ecgcls.errors import DataError

HEADER = "ecg_id,patient_id,scp_codes,strat_fold,filename_lr,filename_hr"
ROWS = [
    "10,15709.0,\"{'NORM': 100.0, 'SR': 0.0}\",3,records100/00010_lr,records500/00010_hr",
    "2,13243.0,{},10,records100/00002_lr,records500/00002_hr",
    "31,15709.0,{'IMI': 15.0},1,records100/00031_lr,records500/00031_hr",
]
STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC
NORM,normal ECG,1.0,,,NORM,NORM
LVOLT,low QRS voltages,,1.0,,,
SR,sinus rhythm,,,1.0,,
"""


def write_database(root: Path, rows: list[str], header: str = HEADER) -> Path:
    (root / "ptbxl_database.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def write_statements(root: Path, text: str) -> Path:
    (root / "scp_statements.csv").write_text(text)
    return root


# --- ptbxl_database.csv


def test_rows_keep_their_order_and_are_parsed(tmp_path):
    table = PTBXL(root=write_database(tmp_path, ROWS)).read_records()
    assert table.index.tolist() == [10, 2, 31] and table.index.name == "ecg_id"
    assert table["patient_id"].tolist() == [15709, 13243, 15709] and table["patient_id"].dtype == "int64"
    assert table["strat_fold"].tolist() == [3, 10, 1] and table["strat_fold"].dtype == "int64"
    assert table["scp_codes"].tolist() == [{"NORM": 100.0, "SR": 0.0}, {}, {"IMI": 15.0}]


@pytest.mark.parametrize(("rate", "expected"), [(100, "records100/00010_lr"), (500, "records500/00010_hr")])
def test_the_filename_is_that_of_the_sampling_rate(tmp_path, rate, expected):
    assert PTBXL(root=write_database(tmp_path, ROWS), sampling_rate_hz=rate).read_records()["filename"][10] == expected


def test_a_filename_of_digits_stays_text(tmp_path):
    rows = ["1,7,{},1,00001,a", "2,8,{},1,00002,b"]
    assert PTBXL(root=write_database(tmp_path, rows)).read_records()["filename"].tolist() == [
        "00001",
        "00002",
    ]


def test_filenames_as_people_write_them(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for path in ("records100/3", "elsewhere/5"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / f"{path}.hea").touch()
    names = [r"records100\1", "records100/2.hea", "/records100/3.dat", "./records100/4", f"{tmp_path}/elsewhere/5"]
    rows = [f"{number},7,{{}},1,{name},b" for number, name in enumerate(names)]
    found = PTBXL(root=write_database(tmp_path, rows)).read_records()["filename"].tolist()
    assert found == [*(f"records100/{number}" for number in range(1, 5)), f"{tmp_path}/elsewhere/5"]


@pytest.mark.parametrize("folder", ["ptb-xl-1.0.3", "physionet.org/files/ptb-xl/1.0.3"])
def test_the_data_set_below_the_root_is_found_and_told(tmp_path, caplog, folder):
    caplog.set_level("INFO")
    (tmp_path / folder).mkdir(parents=True)
    write_database(tmp_path / folder, ROWS)
    source = PTBXL(root=tmp_path)
    assert len(source.read_records()) == 3 and source.root == tmp_path / folder
    assert f"the data set is in {tmp_path / folder}" in caplog.text
    (tmp_path / "other").mkdir()
    write_database(tmp_path / "other", ROWS)
    with pytest.raises(DataError, match=r"data\.root=.*: 2 data sets are below it \(.*other.*name one"):
        PTBXL(root=tmp_path).read_records()


def test_the_folder_of_the_records_is_not_that_of_the_data_set(tmp_path):
    write_database(tmp_path, ROWS)
    (tmp_path / "records100" / "00000").mkdir(parents=True)
    for folder in ("records100", "records100/00000"):
        with pytest.raises(DataError, match=rf"is a folder of its records; pass data\.root={tmp_path}$"):
            PTBXL(root=tmp_path / folder).read_records()


def test_the_known_duplicates_are_those_between_1_0_1_and_1_0_3():
    left_out, kept = set(KNOWN_DUPLICATES), set(KNOWN_DUPLICATES.values())
    assert len(left_out) == 21_837 - 21_799 and not left_out & kept
    assert KNOWN_DUPLICATES[145] == 463


def test_without_strat_fold(tmp_path):
    rows = ["1,7.0,{},a,b"]
    table = PTBXL(root=write_database(tmp_path, rows, HEADER.replace("strat_fold,", ""))).read_records()
    assert "strat_fold" not in table.columns and table["patient_id"].tolist() == [7]


def test_the_real_database(ptbxl_root):
    table = PTBXL(root=ptbxl_root).read_records()
    assert table.shape[0] == 356 and table["patient_id"].nunique() == 334
    assert table["patient_id"][1] == 15709 and table["strat_fold"][1] == 3
    assert table["scp_codes"][1] == {"NORM": 100.0, "LVOLT": 0.0, "SR": 0.0}
    assert table["filename"][1] == "records100/00000/00001_lr"
    with (ptbxl_root / "ptbxl_database.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert table.index.tolist() == [int(row["ecg_id"]) for row in rows]
    assert table["patient_id"].tolist() == [int(float(row["patient_id"])) for row in rows]
    assert table["strat_fold"].tolist() == [int(row["strat_fold"]) for row in rows]
    assert table["scp_codes"].tolist() == [ast.literal_eval(row["scp_codes"]) for row in rows]
    assert table["filename"].tolist() == [row["filename_lr"] for row in rows]
    assert PTBXL(root=ptbxl_root, sampling_rate_hz=500).read_records()["filename"].tolist() == [
        row["filename_hr"] for row in rows
    ]


def test_a_missing_folder_is_reported_with_where_to_get_the_data(tmp_path):
    with pytest.raises(DataError, match=r"data\.root: there is no folder .*nowhere.*ecgcls\.download.*data=synthetic"):
        PTBXL(root=tmp_path / "nowhere").read_records()


def test_a_missing_database(tmp_path):
    with pytest.raises(DataError, match=r"ptbxl_database\.csv: not found; data\.root must be a folder of PTB-XL"):
        PTBXL(root=tmp_path).read_records()


def test_near_names_of_a_missing_column_are_suggested(tmp_path):
    write_database(tmp_path, ROWS, HEADER.replace("ecg_id", "ECG_ID").replace("filename_lr", "file_name_lr"))
    with pytest.raises(
        DataError, match=r"missing; found .*; is it 'ECG_ID' for ecg_id, 'file_name_lr' for filename_lr\?"
    ):
        PTBXL(root=tmp_path).read_records()


@pytest.mark.parametrize("column", ["ecg_id", "patient_id", "scp_codes", "filename_lr"])
def test_a_missing_column(tmp_path, column):
    write_database(tmp_path, ROWS, HEADER.replace(column, "other"))
    with pytest.raises(DataError, match=rf"ptbxl_database\.csv: the column {column} is missing; found .*other"):
        PTBXL(root=tmp_path).read_records()


def test_only_the_column_of_the_sampling_rate_must_be_there(tmp_path):
    write_database(tmp_path, ROWS, HEADER.replace("filename_hr", "other"))
    assert len(PTBXL(root=tmp_path).read_records()) == 3
    with pytest.raises(DataError, match="the column filename_hr is missing"):
        PTBXL(root=tmp_path, sampling_rate_hz=500).read_records()


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("31,abc,{},1,a,b", r"patient_id must be a whole number, got 'abc' in line 4"),
        ("31,15709.5,{},1,a,b", r"patient_id must be a whole number, got .*15709\.5.* in line 4"),
        ("31,,{},1,a,b", r"patient_id must be a whole number, got an empty cell in line 4"),
        ("31,inf,{},1,a,b", r"patient_id must be a whole number from 0 to 2\*\*53 - 1, got .*inf.* in line 4"),
        ("x,7,{},1,a,b", r"ecg_id must be a whole number, got 'x' in line 4; PTB-XL's layout has numbers: number the"),
        ("1e30,7,{},1,a,b", r"ecg_id must be a whole number from 0 to 2\*\*53 - 1, got '1e30' in line 4"),
        (
            "31,9007199254740993,{},1,a,b",
            r"patient_id must be .* from 0 to 2\*\*53 - 1, got '9007199254740993'",
        ),
        ("31,-1,{},1,a,b", r"patient_id must be .* from 0 to 2\*\*53 - 1, got '-1' in line 4"),
        (",7,{},1,a,b", r"ecg_id must be a whole number, got an empty cell in line 4"),
        ("31,7,{},,a,b", r"strat_fold must be a whole number, got an empty cell in line 4"),
        ("31,7,{},2.5,a,b", r"strat_fold must be a whole number, got .*2\.5.* in line 4"),
        ("31,7,{},0,a,b", r"strat_fold must be in 1\.\.10, got 0 for ecg_id 31"),
        ("31,7,{},11,a,b", r"strat_fold must be in 1\.\.10, got 11 for ecg_id 31"),
        ("10,7,{},1,a,b", r"ecg_id 10 is in more than one row"),
        ("31,7,{},1,,b", r"filename_lr is empty for ecg_id 31"),
        ("31,7,,1,a,b", r"scp_codes of ecg_id 31 must read like \{'NORM': 100\.0.*got"),
        ("31,7,NORM,1,a,b", r"scp_codes of ecg_id 31 must read like .*got 'NORM'"),
        ("31,7,{'NORM': 100.0,1,a,b", r"scp_codes of ecg_id 31 must read like .*got"),
        ("31,7,{'NORM'},1,a,b", r"scp_codes of ecg_id 31 must read like .*got"),
        ("31,7,['NORM'],1,a,b", r"scp_codes of ecg_id 31 must read like .*got"),
        ("31,7,{'NORM': 'high'},1,a,b", r"scp_codes of ecg_id 31 must read like .*got"),
        ("31,7,{1: 100.0},1,a,b", r"scp_codes of ecg_id 31 must read like .*got"),
        ("31,7,{['NORM']: 1.0},1,a,b", r"scp_codes of ecg_id 31 must read like .*got"),
        ("31,7,print('NORM'),1,a,b", r"scp_codes of ecg_id 31 must read like .*got"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, capsys, row, match):
    write_database(tmp_path, [*ROWS[:2], row])
    with pytest.raises(DataError, match=r"ptbxl_database\.csv: " + match) as caught:
        PTBXL(root=tmp_path).read_records()
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""  # the content of a cell is never executed


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not a readable CSV file"),
        (b"\xff\xfe\x00\x01", "not a readable CSV file: not in UTF-8"),
        (
            HEADER.replace(",", ";").encode() + b"\n1;2;{};3;a;b\n",
            "the column .* missing; .* by ';', expected commas",
        ),
        (HEADER.encode() + b"\n1,2,{},3,a,b\n1,2,3,4,5,6,7,8,9\n", "not a readable CSV file"),
        (HEADER.encode() + b"\n", "no rows"),
        (b"<html>404 Not Found</html>\n", "the column ecg_id, patient_id, scp_codes, filename_lr is missing"),
    ],
)
def test_a_file_that_is_not_a_table(tmp_path, content, match):
    (tmp_path / "ptbxl_database.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"ptbxl_database\.csv: {match}"):
        PTBXL(root=tmp_path).read_records()


# --- scp_statements.csv


def test_statements_are_parsed_in_the_order_of_the_file(tmp_path):
    table = PTBXL(root=write_statements(tmp_path, STATEMENTS)).read_statements()
    assert table.index.tolist() == ["NDT", "NORM", "LVOLT", "SR"]
    kinds = {kind: table.index[table[kind]].tolist() for kind in ("diagnostic", "form", "rhythm")}
    assert kinds == {"diagnostic": ["NDT", "NORM"], "form": ["NDT", "LVOLT"], "rhythm": ["SR"]}
    assert table["diagnostic_class"][:2].tolist() == ["STTC", "NORM"] and table["diagnostic_class"][2:].isna().all()


def test_the_71_statements_of_ptbxl(ptbxl_root):
    table = PTBXL(root=ptbxl_root).read_statements()
    assert len(table) == 71
    kinds = ["diagnostic", "form", "rhythm"]
    assert table[kinds].sum().tolist() == [44, 19, 12]
    assert table[kinds].any(axis=1).all()
    # four are both a diagnosis and a form: 44 + 19 + 12 - 4 = 71
    assert sorted(table.index[table[kinds].sum(axis=1) == 2]) == ["DIG", "LNGQT", "NDT", "NST_"]
    assert set(table["diagnostic_class"].dropna()) == {"NORM", "MI", "STTC", "CD", "HYP"}
    assert table["diagnostic_subclass"].nunique() == 23


def test_missing_statements(tmp_path):
    with pytest.raises(DataError, match=r"scp_statements\.csv: not found"):
        PTBXL(root=tmp_path).read_statements()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("rhythm", "rythm", "the column rhythm is missing; found .*rythm"),
        ("SR,", "NORM,", "the first column must name each statement once"),
        ("SR,", ",", "the first column must name each statement once"),
        (",1.0,,,NORM,NORM", ",2.0,,,NORM,NORM", r"diagnostic must be 1 or empty, got .*2\.0.* for NORM"),
        (",1.0,,,NORM,NORM", ",1.0,,yes,NORM,NORM", r"rhythm must be 1 or empty, got 'yes' for NORM"),
        (",1.0,,,NORM,NORM", ",1.0,,,,NORM", "the diagnostic statement NORM has no diagnostic_class"),
        (",1.0,,,NORM,NORM", ",1.0,,,NORM,", "the diagnostic statement NORM has no diagnostic_subclass"),
    ],
)
def test_malformed_statements(tmp_path, old, new, match):
    assert old in STATEMENTS
    write_statements(tmp_path, STATEMENTS.replace(old, new))
    with pytest.raises(DataError, match=rf"scp_statements\.csv: {match}"):
        PTBXL(root=tmp_path).read_statements()


# --- both


def test_hashes_are_those_that_sha256sum_gives(ptbxl_root):
    lines = (ptbxl_root / "SHA256SUMS.txt").read_text().splitlines()
    published = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    names = ("ptbxl_database.csv", "scp_statements.csv")
    assert PTBXL(root=ptbxl_root).fingerprint() == {name: published[name] for name in names}


def test_hash_of_known_bytes(tmp_path):
    (tmp_path / "ptbxl_database.csv").write_bytes(b"")
    (tmp_path / "scp_statements.csv").write_bytes(b"abc")  # the vectors of FIPS 180-2
    assert PTBXL(root=tmp_path).fingerprint() == {
        "ptbxl_database.csv": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "scp_statements.csv": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
