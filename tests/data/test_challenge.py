import logging
import math

import numpy as np
import pandas as pd
import pytest
import scipy.io

from ecgcls.data.challenge import Challenge
from ecgcls.data.cohort import read_tables
from ecgcls.data.folds import FoldTable, assign_strat_folds
from ecgcls.data.module import ECGDataModule
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.tasks import UNKNOWN, Task
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.challenge import read_weights
from tests.data.challenge_files import write_record
from tests.data.test_tasks import read_task

AF, NSR, CRBBB, RBBB, PVC, VPB = "164889003", "426783006", "713427006", "59118001", "427172004", "17338001"


def read_one(tmp_path, comments: str) -> pd.Series:
    write_record(tmp_path, "JS00001", comments)
    write_record(tmp_path, "JS00002")
    return Challenge(root=tmp_path).read_records().loc["JS00001"]


# --- what a header says


@pytest.mark.parametrize(
    ("dx", "expected"),
    [
        (f"#Dx: {AF},{RBBB}", [AF, RBBB]),
        (f"# Dx:{AF}, {RBBB} ,", [AF, RBBB]),
        (f"#DX = {AF};{RBBB};{AF}", [AF, RBBB]),
        (f"#Dx: {AF}\n#Dx: {RBBB}", [AF, RBBB]),
        (f"#Dx: {AF},Unknown", [AF]),
        (f"#Hx: {RBBB}\n  #Dx:\t{AF}\r", [AF]),
    ],
)
def test_diagnoses_however_they_are_written(tmp_path, dx, expected):
    assert read_one(tmp_path, f"#Age: 56\n{dx}\n#Rx: Unknown")["scp_codes"] == dict.fromkeys(expected, 100.0)


@pytest.mark.parametrize("dx", ["#Dx: Unknown", "#Dx:", "#Dx: nan", "#Rx: Unknown"])
def test_a_record_whose_diagnoses_nobody_has_said_has_no_known_label(tmp_path, caplog, dx):
    with caplog.at_level(logging.WARNING):
        codes = read_one(tmp_path, f"#Age: 56\n{dx}")["scp_codes"]
    assert len(codes) == 133 and all(map(math.isnan, codes.values()))
    assert "1 records have no diagnosis in #Dx, such as JS00001: all their labels are unknown" in caplog.text
    source = Challenge(root=tmp_path)
    labels = read_task("challenge2021").label(source.read_records()["scp_codes"], source.read_statements())
    assert (labels.y_true[0] == UNKNOWN).all() and labels.has_label.tolist() == [False, True]
    assert labels.y_true[1].sum() == 1 and (labels.y_true[1] >= 0).all()


def test_what_readers_were_not_asked_for_is_unknown_where_wanted(tmp_path):
    """CPSC asked for RBBB, which the Challenge scores as one with CRBBB, and not for LAD; Georgia has no such list."""
    for name in ("A0001", "E00001"):
        write_record(tmp_path, name, f"#Dx: {RBBB}")
    found = {}
    for unasked in ("negative", "unknown"):
        source = Challenge(root=tmp_path, unasked=unasked)
        labels = read_task("challenge2021").label(source.read_records()["scp_codes"], source.read_statements())
        found[unasked] = pd.DataFrame(labels.y_true, index=["CPSC", "Georgia"], columns=labels.class_names)
    assert (found["negative"].loc["CPSC"] == found["negative"].loc["Georgia"]).all()
    assert found["unknown"].loc["Georgia"].equals(found["negative"].loc["Georgia"])
    asked = {"AF": 0, "IAVB": 0, "CLBBB": 0, "CRBBB": 1, "NSR": 0, "PAC": 0}  # ST changes and ectopics are not scored
    expected = {name: asked.get(name, UNKNOWN) for name in found["unknown"]}
    assert found["unknown"].loc["CPSC"].to_dict() == expected


@pytest.mark.parametrize(
    ("age", "sex", "expected"),
    [
        ("63", "Male", (63, 0)),
        (" 63.5", "F", (63.5, 1)),
        ("NaN", "Unknown", (math.nan, math.nan)),
        ("-1", "", (math.nan, math.nan)),
        ("300", "female", (90, 1)),
    ],
)
def test_age_and_sex(tmp_path, age, sex, expected):
    row = read_one(tmp_path, f"#Age: {age}\n#Sex: {sex}\n#Dx: {AF}")
    assert [row["age"], row["sex"]] == pytest.approx(expected, nan_ok=True)


def test_a_code_that_no_table_knows_is_told_and_kept(tmp_path, caplog):
    write_record(tmp_path, "A0001", f"#Dx: {AF},1234,RBBB")
    write_record(tmp_path, "A0002", "#Dx: 1234")
    source = Challenge(root=tmp_path)
    with caplog.at_level(logging.WARNING):
        codes = source.read_records()["scp_codes"]
    assert "does not know, of no class: 1234 (2 records), RBBB (1 records)" in caplog.text
    assert list(codes["A0001"]) == [AF, "1234", "RBBB"]
    statements = source.read_statements()
    assert statements.index[-2:].tolist() == ["1234", "RBBB"] and len(statements) == 135
    assert statements[["diagnostic", "form", "rhythm"]].dtypes.eq(bool).all()
    labels = Task(statements="all").label(codes, statements)  # each code a class
    assert labels.y_true[:, labels.class_names.index("1234")].tolist() == [1, 1]
    assert read_task("challenge2021").label(codes, statements).y_true.sum() == 1


# --- names, sites, folds


def test_records_of_one_name_have_their_folders_in_front(tmp_path):
    for folder in ("b/g2", "a/g1", "b/g1"):
        write_record(tmp_path / folder, "A0001")
    write_record(tmp_path / "a/g1", "A0002")
    write_record(tmp_path / ".hidden", "A0003")
    table = Challenge(root=tmp_path).read_records()
    assert table.index.tolist() == ["a/g1/A0001", "A0002", "b/g1/A0001", "b/g2/A0001"]
    assert table["filename"].tolist() == ["a/g1/A0001", "a/g1/A0002", "b/g1/A0001", "b/g2/A0001"]
    assert table["patient_id"].tolist() == table.index.tolist()  # each record is a patient


def test_the_site_is_the_database_that_a_name_belongs_to_or_the_first_folder(tmp_path):
    names = {
        "A0001": "CPSC", "Q0001": "CPSC-Extra", "I0001": "INCART", "S0001": "PTB", "HR00001": "PTB-XL",
        "E00001": "Georgia", "JS10646": "Chapman-Shaoxing", "JS10647": "Ningbo", "A00001": "ours", "ecg7": "ours",
    }  # fmt: skip
    for name in names:
        write_record(tmp_path / "ours" / "g1", name)
    assert Challenge(root=tmp_path).read_records()["site"].to_dict() == names
    assert set(Challenge(root=tmp_path, site="folder").read_records()["site"]) == {"ours"}
    assert Challenge(root=tmp_path / "ours" / "g1").read_records().loc["ecg7", "site"] == "unknown"


def test_ten_folds_are_assigned_and_stay(tmp_path):
    for number in range(40):
        write_record(tmp_path, f"E{number:05d}", f"#Dx: {AF if number % 2 else NSR}")
    folds = read_tables(Challenge(root=tmp_path)).database["strat_fold"]
    assert folds.value_counts().to_dict() == dict.fromkeys(range(1, 11), 4)
    assert (folds.groupby([folds, np.arange(40) % 2]).size() == 2).all()
    pd.testing.assert_series_equal(folds, read_tables(Challenge(root=tmp_path)).database["strat_fold"])


def test_tens_of_thousands_of_patients_are_assigned_in_a_moment():
    codes = pd.Series([{str(number % 7): 100.0} for number in range(20_000)])
    strat_fold = assign_strat_folds(codes.index.to_series(), codes)  # grouped, this takes ten seconds
    table = pd.crosstab(strat_fold, codes.map(lambda each: next(iter(each))))
    assert table.index.tolist() == [*range(1, 11)] and (table.max() - table.min()).max() <= 1


# --- the task


def test_the_task_has_the_scored_classes_and_merges_the_pairs(tmp_path):
    write_record(tmp_path, "A0001", f"#Dx: {RBBB}")
    write_record(tmp_path, "A0002", f"#Dx: {CRBBB},{VPB}")
    write_record(tmp_path, "A0003", f"#Dx: {PVC}")
    source = Challenge(root=tmp_path)
    labels = read_task("challenge2021").label(source.read_records()["scp_codes"], source.read_statements())
    assert labels.class_names == tuple(read_weights().index)
    of = dict(zip(labels.class_names, labels.y_true.T.tolist(), strict=True))
    assert of.pop("CRBBB") == [1, 1, 0] and of.pop("PVC") == [0, 1, 1] and not any(map(any, of.values()))
    superclasses = read_task("superdiagnostic").label(source.read_records()["scp_codes"], source.read_statements())
    assert superclasses.y_true[:2, superclasses.class_names.index("CD")].tolist() == [1, 1]


def test_the_task_is_that_of_ptbxls_statements_too(synthetic_root):
    source = PTBXL(root=synthetic_root)
    codes = source.read_records()["scp_codes"]
    labels = read_task("challenge2021").label(codes, source.read_statements())
    for name, statements in {"AF": {"AFIB"}, "CLBBB": {"CLBBB"}, "IAVB": {"1AVB"}}.items():
        expected = [bool(statements & set(each)) for each in codes]
        assert labels.y_true[:, labels.class_names.index(name)].tolist() == expected and any(expected)
    assert set(labels.class_names) <= set(read_weights().index)
    others = pd.DataFrame({"diagnostic": False, "form": False, "rhythm": True}, index=["sinus", "af"])
    with pytest.raises(ConfigError, match="none of the data set's statements is an SCP statement or a SNOMED CT code"):
        read_task("challenge2021").label(pd.Series([{"af": 100.0}]), others)


# --- signals and the fingerprint


def test_the_signals_are_those_of_the_matlab_files(tmp_path):
    root = tmp_path / "ecgs"
    paths = [
        write_record(root / f"g{number % 3}", f"E{number:05d}", f"#Dx: {AF if number % 2 else NSR}", seed=number)
        for number in range(20)
    ]
    data = ECGDataModule(
        Challenge(root=root), task=Task(statements="rhythm", absent_classes="drop"),
        folds=FoldTable(val=[[9]], test=[[10]]), fold=0, store_dir=str(tmp_path / "store"),
    )  # fmt: skip
    data.prepare_data()
    data.setup()
    assert sorted(data.class_names) == [AF, NSR] and len(data.cohort.records) == 20
    for path in paths:
        (row,) = data.store.find_rows([path.name])
        millivolt = scipy.io.loadmat(path.with_suffix(".mat"))["val"] / 1000
        assert np.abs(data.store.read_mv(np.array([row]))[0] - millivolt).max() < 1e-6


def test_the_fingerprint_covers_every_header_and_its_place(tmp_path):
    path = write_record(tmp_path, "A0001")
    write_record(tmp_path, "A0002")

    def digest():
        return Challenge(root=tmp_path).fingerprint()["headers"]

    first = digest()
    assert first == digest() and len(first) == 64
    path.with_suffix(".hea").write_text(path.with_suffix(".hea").read_text().replace("56", "57"))
    second = digest()
    (tmp_path / "g1").mkdir()
    for suffix in (".hea", ".mat"):
        path.with_suffix(suffix).rename(tmp_path / "g1" / f"A0001{suffix}")
    assert len({first, second, digest()}) == 3
    assert Challenge(root=tmp_path).fingerprint()["snomed"] == Challenge(root=tmp_path).fingerprint()["snomed"]


# --- what is refused


def test_what_is_no_challenge_data_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.root: there is no folder .*none; pass the folder of the records"):
        Challenge(root=tmp_path / "none").read_records()
    with pytest.raises(DataError, match=r"no WFDB header \(\.hea\) in it or below"):
        Challenge(root=tmp_path).read_records()
    write_record(tmp_path, "A0001", "#Age: 56")
    with pytest.raises(DataError, match="none of the 1 headers has diagnoses, such as #Dx: 164889003"):
        Challenge(root=tmp_path).read_records()
    with pytest.raises(ConfigError, match=r"data\.sampling_rate_hz must be at least 50, got 10"):
        Challenge(root=tmp_path, sampling_rate_hz=10)


def test_a_missing_signal_file_is_told(tmp_path):
    write_record(tmp_path, "A0001").with_suffix(".mat").unlink()
    for number in range(2, 14):
        write_record(tmp_path, f"A{number:04d}")
    with pytest.raises(DataError, match=r"A0001: the signal file .* of ecg_id A0001 is missing; 1 of 13 records"):
        read_tables(Challenge(root=tmp_path))
    assert len(read_tables(Challenge(root=tmp_path, missing_records="drop")).database) == 12
