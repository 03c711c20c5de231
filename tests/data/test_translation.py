"""What the statements of one data set say about the classes of a net that was trained on another; all by hand."""

import numpy as np
import pandas as pd
import pytest

from ecgcls.data.crosswalks import read_scp, read_snomed
from ecgcls.data.tasks import Task
from ecgcls.data.translation import translate
from ecgcls.errors import ConfigError, DataError

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
SUPER = Task(statements="diagnostic", classes="diagnostic_class")
STATEMENTS = Task(statements="all")
CHALLENGE = Task(statements="all", classes="challenge_class", unlabelled="negative")
SINUS, MI, AF, RBBB, ST_DOWN, LVH = "426783006", "164865005", "164889003", "59118001", "429622005", "164873001"


def label(task, class_names, statements, *codes):
    translation = translate(task, class_names, statements)
    records = pd.Series([each if isinstance(each, dict) else dict.fromkeys(each, 100.0) for each in codes])
    labels, takes_part = translation.label(task, records, statements.index)
    return translation, labels.y_true.tolist(), takes_part.tolist()


def test_superclasses_of_challenge_codes():
    translation, y_true, takes_part = label(
        SUPER, SUPERCLASSES, read_snomed(), [SINUS], [MI, SINUS], [AF], [RBBB, ST_DOWN], [LVH]
    )
    assert translation.list_classes("none") == ["NORM"]
    assert y_true == [
        [-1, 0, 0, 0, 0],  # may be normal, so it takes part, and has none of the others
        [-1, 1, 0, 0, 0],
        [-1, 0, 0, 0, 0],  # nothing diagnostic is said, as of a record of PTB-XL with AFIB alone
        [-1, 0, -1, 1, 0],  # ST depression may be of STTC
        [-1, 0, 0, 0, 1],
    ]
    assert takes_part == [True, True, False, True, True]


def test_a_record_of_which_nothing_is_said_is_unknown_and_takes_no_part():
    nothing = dict.fromkeys(read_snomed().index, float("nan"))
    _, y_true, takes_part = label(SUPER, SUPERCLASSES, read_snomed(), nothing)
    assert (y_true, takes_part) == ([[-1] * 5], [False])


def test_challenge_classes_of_ptbxl_statements():
    names = ("AF", "BBB", "CLBBB", "LAD", "NSR", "TAb", "Brady")
    table = read_scp().drop(columns=["snomed_code", "name"])
    codes = ["NORM"], ["CLBBB", "AFIB"], ["NDT", "SBRAD"]
    translation, y_true, _ = label(CHALLENGE, names, table, *codes)
    assert translation.list_classes("none") == ["BBB", "LAD", "Brady"]
    assert translation.list_classes("broader") == ["TAb"]
    scored = [0, 2, 4, 5]
    assert np.array(y_true)[:, scored].tolist() == [[0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]]
    assert (np.array(y_true)[:, [1, 3, 6]] == -1).all()


def test_statements_in_both_directions():
    names = ("PVC", "CLBBB", "IMI", "AFIB")
    translation, y_true, _ = label(STATEMENTS, names, read_snomed(), ["17338001"], ["164909002"], [MI], ["282825002"])
    assert translation.relations == {"PVC": "exact", "CLBBB": "exact", "IMI": "none", "AFIB": "exact"}
    assert y_true == [[1, 0, -1, 0], [0, 1, -1, 0], [0, 0, -1, 0], [0, 0, -1, 1]]
    back, y_true, _ = label(STATEMENTS, (MI, AF, RBBB), read_scp(), ["IMI"], ["CRBBB"], ["AFIB"])
    assert back.relations == {MI: "broader", AF: "exact", RBBB: "none"}  # CRBBB has a code of its own
    assert y_true == [[1, 0, -1], [0, 0, -1], [0, 1, -1]]


def test_labels_of_ones_own_are_taken_by_name():
    own = pd.DataFrame(
        {"diagnostic": False, "form": False, "rhythm": False, "diagnostic_class": None, "diagnostic_subclass": None},
        index=["AFIB", "foo"],
    )
    codes = {"AFIB": 100.0}, {"AFIB": 0.0}, {}, {"AFIB": np.nan}
    translation, y_true, takes_part = label(STATEMENTS, ("AFIB", "SR"), own, *codes)
    assert translation.list_classes("none") == ["SR"]
    assert [row[0] for row in y_true] == [1, 1, 0, -1]  # PTB-XL's 0 is a statement of unknown likelihood
    assert takes_part == [True, True, True, False]  # the third may be in sinus rhythm, which nobody was asked for
    with pytest.raises(ConfigError, match=r"none of the classes of the net .SR. has a counterpart .*AFIB, foo"):
        translate(STATEMENTS, ("SR",), own)
    with pytest.raises(DataError, match="ecg_id 0: the data set's table of statements has no 'bar'"):
        label(STATEMENTS, ("AFIB",), own, ["bar"])


def own_table(*names):
    columns = ["diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"]
    return pd.DataFrame(False, index=[*names], columns=columns).assign(diagnostic_class=None, diagnostic_subclass=None)


@pytest.mark.parametrize("name", ["af", "AF", "Afib", "atrial_fibrillation", "Atrial Fibrillation"])
def test_a_name_of_ones_own_is_taken_for_what_it_names(name):
    translation, y_true, takes_part = label(STATEMENTS, (name, "mine"), read_snomed(), [AF], [SINUS], ["195080001"])
    assert translation.relations == {name: "exact", "mine": "none"}
    assert (y_true, takes_part) == ([[1, -1], [0, -1], [1, -1]], [True, True, True])
    assert translation.taken_as == {name: "AFIB (atrial fibrillation)"}
    for statement in ("AFIB", "a_fib", "af"):  # of a table of PTB-XL's, or of one's own; a_fib is none
        there = label(STATEMENTS, (name, "SR"), own_table(statement, "sinus rhythm"), [statement])[0].relations
        assert there == {name: "none" if statement == "a_fib" else "exact", "SR": "exact"}


def test_a_name_that_could_mean_two_things_is_not_taken_and_the_error_says_what_would_be():
    for name, near in (("ami", "near ami: 54329005 or 57054005"), ("MI", r"SCP statement .AFIB."), ("afibb", "afib")):
        with pytest.raises(ConfigError, match=rf"nothing can be scored there; train with labels .*{near}"):
            translate(STATEMENTS, (name,), read_snomed())
    assert translate(STATEMENTS, ("ami",), own_table("ami")).relations == {"ami": "exact"}  # the same name is the same
