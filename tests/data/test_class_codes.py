"""What classes are called elsewhere, held against what PTB-XL and SNOMED CT say."""

import pytest

from ecgcls.data.class_codes import describe_classes
from ecgcls.data.crosswalks import read_scp

SUPERCLASS = {"statements": "diagnostic", "classes": "diagnostic_class"}
STATEMENT = {"statements": "all", "classes": "statement"}


def relations(described):
    return {code["code"]: code["relation"] for code in described["snomed_ct"]}


def test_a_superclass_is_made_of_its_statements_and_codes():
    norm, mi = describe_classes(["NORM", "MI"], SUPERCLASS)
    assert (norm["description"], mi["description"]) == ("normal ECG", "myocardial infarction")
    assert {"IMI", "AMI", "PMI"} < set(mi["scp_codes"]) and len(mi["scp_codes"]) == 14
    assert relations(mi) == {"164865005": "exact", "57054005": "member", "54329005": "member", "164867002": "member"}
    assert relations(norm) == {"426783006": "broader"}  # sinus rhythm is not all that a normal ECG is


@pytest.mark.parametrize(
    ("name", "kind", "code", "relation"),
    [
        ("AFIB", "statement", "164889003", "exact"),
        ("IMI", "statement", "164865005", "broader"),  # the code does not say where
        ("270492004", "statement", "270492004", "exact"),  # a record of the Challenge names the code itself
        ("LVH", "diagnostic_subclass", "164873001", "exact"),
        ("AMI", "diagnostic_subclass", "54329005", "member"),  # with anteroseptal and anterolateral ones
        ("CRBBB", "challenge_class", "59118001", "member"),  # scored with the right bundle branch block
        ("AF", "challenge_class", "164889003", "exact"),
    ],
)
def test_codes_are_related_as_the_tables_say(name, kind, code, relation):
    (described,) = describe_classes([name], {"statements": "all", "classes": kind})
    assert relations(described)[code] == relation


def test_every_statement_of_ptbxl_is_described():
    statements = read_scp().index.tolist()
    described = describe_classes(statements, STATEMENT)
    assert [each["scp_codes"] for each in described] == [[name] for name in statements] and len(described) == 71
    assert all(each["description"] for each in described)
    assert [each["name"] for each in described if not each["snomed_ct"]] == ["HVOLT", "PRC(S)"]


def test_somebodys_own_labels_mean_what_their_owner_says():
    own, code = describe_classes(["AMI", "164889003"], STATEMENT, has_own_labels=True)
    assert own == {"name": "AMI", "description": "", "scp_codes": [], "snomed_ct": []}
    assert relations(code) == {"164889003": "exact"}
