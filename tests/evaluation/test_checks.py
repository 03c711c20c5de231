import numpy as np
import pytest

from ecgcls.errors import DataError
from ecgcls.evaluation.checks import check_arrays, check_whole_numbers, describe_difference


def test_check_arrays_names_a_record_by_row_without_ids():
    with pytest.raises(DataError, match="y_true of class 'B' in row 1 must be 0 or 1, got 3"):
        check_arrays([[0, 1], [0, 3]], [[0.0, 0.0], [0.0, 0.0]], ["A", "B"])
    with pytest.raises(DataError, match="y_prob must hold numbers, got <U3"):
        check_arrays([[0]], [["0.5"]], ["A"])


def test_equal_lists_do_not_differ():
    assert describe_difference(["A", "B"], ["A", "B"]) == ""


def test_whole_numbers_of_any_type_become_int64():
    assert check_whole_numbers("ecg_id", np.array([1.0, 2.0], np.float32)).dtype == np.int64
    with pytest.raises(DataError, match=r"ecg_id must hold whole numbers, got 1.5"):
        check_whole_numbers("ecg_id", [1.5])
    with pytest.raises(DataError, match="ecg_id must hold whole numbers, got bool"):
        check_whole_numbers("ecg_id", [True])
