"""The crosswalks between statements: pinned facts of the published tables, and other people's tables of codes."""

from collections.abc import Mapping
from typing import cast

import pytest

from ecgcls.data.crosswalks import read_scp, read_snomed
from ecgcls.data.synthetic.tables import read_statements

SUPERCLASSES = {"NORM", "MI", "STTC", "CD", "HYP"}


def test_codes_are_those_of_the_challenge() -> None:
    snomed = read_snomed()
    assert len(snomed) == 133
    assert snomed.index.is_unique
    assert snomed.index.str.fullmatch(r"\d{6,14}").all()
    scored = snomed["challenge_class"].dropna()
    assert (len(scored), scored.nunique()) == (30, 26)
    pairs = {"733534002": "164909002", "713427006": "59118001", "284470004": "63593006", "427172004": "17338001"}
    assert scored[scored.duplicated(keep=False)].size == 8
    assert all(scored[one] == scored[other] for one, other in pairs.items())


def test_sinus_rhythm_is_not_a_normal_ecg() -> None:
    sinus = read_snomed().loc["426783006"]
    assert (sinus["scp"], sinus["relation"], sinus["possible_class"]) == ("SR", "exact", "NORM")
    assert "NORM" not in set(read_snomed()["scp"])
    assert "NORM" not in set(read_snomed()["diagnostic_class"])


def test_statements_are_those_of_ptbxl() -> None:
    scp = read_scp()
    assert len(scp) == 71
    assert scp[["diagnostic", "form", "rhythm"]].sum().tolist() == [44, 19, 12]
    assert dict(scp["diagnostic_class"].value_counts()) == {"MI": 14, "STTC": 13, "CD": 11, "HYP": 5, "NORM": 1}
    for name, row in read_statements().items():  # of the simulated data set, which has PTB-XL's columns
        assert [bool(row[kind]) for kind in ("diagnostic", "form", "rhythm")] == scp.loc[
            name, ["diagnostic", "form", "rhythm"]
        ].tolist()
        assert row["diagnostic_class"] == scp["diagnostic_class"].fillna("")[name]


def test_both_tables_name_each_other_consistently() -> None:
    snomed, scp = read_snomed(), read_scp()
    for table in (snomed, scp):
        assert set(table["relation"]) == {"exact", "broader", "none"}
        assert table["source"].ne("").sum() >= len(table) - 2
        assert table["diagnostic_class"].notna().equals(table["diagnostic"])
        assert table["diagnostic_subclass"].notna().equals(table["diagnostic"])
    assert snomed["scp"].eq("").equals(snomed["relation"] == "none")
    assert scp["snomed_code"].eq("").equals(scp["relation"] == "none")
    assert set(snomed["scp"]) - {""} <= set(scp.index)
    assert set(scp["snomed_code"]) - {""} <= set(snomed.index)
    possible = {name for names in snomed["possible_class"] for name in names.split(";")} - {""}
    assert possible <= SUPERCLASSES | set(scp["diagnostic_subclass"])
    exact = snomed[snomed["relation"] == "exact"]
    theirs = scp.loc[exact["scp"]]
    for column in ("diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"):
        assert exact[column].fillna("").tolist() == theirs[column].fillna("").tolist(), column
    back = scp[scp["relation"] == "exact"]
    assert snomed.loc[back["snomed_code"], "scp"].tolist() == back.index.tolist()


def test_agrees_with_the_codes_that_ptbxl_itself_has() -> None:
    """PTB-XL has SNOMED RT codes of some statements; DICOM says which SNOMED CT codes they are."""
    dictionary = pytest.importorskip("pydicom.sr._snomed_dict")
    ct_of = cast("Mapping[str, str]", dictionary.mapping["SRT"])
    snomed, scp = read_snomed(), read_scp()
    codes = scp["snomed_rt_code"]
    found = {name: ct_of[code] for name, code in codes.items() if code in ct_of and ct_of[code] in snomed.index}
    assert found == {"CRBBB": "59118001", "2AVB": "195042002", "3AVB": "27885002"}
    assert snomed.loc[list(found.values()), "scp"].tolist() == list(found)
    assert ct_of[codes["NORM"]] == "164854000"  # a code for a normal ECG, which the Challenge does not have
