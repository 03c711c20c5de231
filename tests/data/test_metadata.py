import numpy as np
import pandas as pd
import pytest

from ecgcls.data.metadata import describe_unknown, read_columns, read_comments, take_values
from ecgcls.errors import ConfigError, DataError

BOTH = ("age", "sex")


def test_columns_of_a_table_are_numbers_and_the_oldest_are_90():
    table = pd.DataFrame({"age": [300, 89, None, "old"], "sex": [1, 0, 1, 0], "weight": [np.inf, 300, 70, 80]})
    found = read_columns(table, ["weight", "age"], key="model.metadata")
    np.testing.assert_array_equal(found, [[np.nan, 90], [300, 89], [70, np.nan], [80, np.nan]])
    with pytest.raises(DataError, match=r"model\.metadata: the data set's table has no column height; it has age, sex"):
        read_columns(table, ["height"], key="model.metadata")


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        ("#Age: 74\n#Sex: Female\n#Dx: 59118001", [74, 1]),  # of the challenge
        ("# Age: 63\r\n# Sex: Male\r\n", [63, 0]),
        ("#<age>: 63 <sex>: M <diagnoses> (none)", [63, 0]),
        ("# age: 63 sex: F", [63, 1]),
        ("#Age: 300\n#Gender: male", [90, 0]),
        ("#Age: NaN\n#Sex: Unknown", [np.nan, np.nan]),
        ("#Age: -1\n#Sex: 3", [np.nan, np.nan]),
        ("#Dosage: 5\n#Page: 12\n#Sextet: F", [np.nan, np.nan]),
        ("# caf\xe9, age: 5y", [5, np.nan]),
        ("", [np.nan, np.nan]),
    ],
)
def test_age_and_sex_are_read_from_the_comments_of_a_header(tmp_path, comments, expected):
    (tmp_path / "one.hea").write_bytes(
        f"one 1 100 1000\none.dat 16 1000/mV 16 0 0 0 0 I age: 1\n{comments}".encode("latin-1")
    )
    np.testing.assert_array_equal(read_comments(tmp_path / "one", BOTH), expected)
    np.testing.assert_array_equal(read_comments(tmp_path / "one", ("weight", "age")), [np.nan, expected[0]])


def test_without_a_header_nothing_is_known(tmp_path):
    assert np.isnan(read_comments(tmp_path / "absent", BOTH)).all()


def test_what_a_user_leaves_out_is_not_known_and_told():
    np.testing.assert_array_equal(take_values({"sex": np.int64(1), "age": None}, BOTH), [np.nan, 1])
    np.testing.assert_array_equal(take_values({"age": 300}, BOTH), [90, np.nan])
    assert take_values(None, ()).shape == (0,)
    assert describe_unknown(np.array([np.nan, 1.0]), BOTH) == ("age is not known: taken as the training set's median",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"height": 180}, "this run's net takes no height, only the signal and age and sex"),
        ({"age": "63"}, "age must be a finite number, or None if it is not known, got '63'"),
        ({"sex": True}, "sex must be a finite number"),
        ({"age": float("inf")}, "age must be a finite number"),
        ([63, 1], "metadata must be a dict such as {'age': 63, 'sex': 1}"),
    ],
)
def test_what_is_no_metadata_of_the_run_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        take_values(given, BOTH)
