import numpy as np
import pytest

from ecgcls.data.folds import FoldTable
from ecgcls.errors import DataError
from tests.data.modules import make, read_mv, read_truth


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda signal: signal, "every sample equal"),
        (lambda signal: signal + np.random.default_rng(0).normal(0, 8, signal.shape).round(), r"correlation [01]\.\d+"),
        (lambda signal: (0.8 * signal).round() + 40, r"correlation (0\.999|1\.000)"),
        (lambda signal: np.roll(signal, 70, axis=0), r"correlation [01]\.\d+"),
    ],
    ids=["exact", "noise", "gain and offset", "shifted"],
)
def test_a_copy_in_another_set_is_an_error_or_left_out(copied_root, tmp_path, write_record, change, how):
    members = read_truth(copied_root)
    trained = next(member for member in members if member["part"] == "train")
    tested = next(member for member in members if member["part"] == "test")
    signal_uv = (1000 * read_mv(trained["path"])).round().T  # (sample, lead)
    write_record(tested["path"], change(signal_uv).astype(int))
    ids = [int(member["path"].name.partition("_")[0]) for member in (trained, tested)]
    expected = (
        rf"val and test: ecg_id {ids[0]} \(train\) and ecg_id {ids[1]} \(test\), {how}; 1 such pairs .*copies=drop"
    )
    with pytest.raises(DataError, match=expected):
        make(copied_root, tmp_path)
    data = make(copied_root, tmp_path, copies="drop")
    assert ids[0] not in data.cohort.records.index
    assert ids[1] in data.cohort.records.index
    described = data.describe()
    assert described["n_copies_left_out"] == 1
    assert described["n_records"] == len(members) - 1


def test_copies_within_a_set_are_not_a_leak(copied_root, tmp_path, write_record):
    first, second = [member for member in read_truth(copied_root) if member["part"] == "train"][:2]
    write_record(second["path"], (1000 * read_mv(first["path"])).round().T.astype(int))
    assert make(copied_root, tmp_path).describe()["n_copies_left_out"] == 0


def test_the_real_records_have_no_copy_in_two_sets(ptbxl_root, tmp_path):
    folds = FoldTable(val=[[1], [3], [5], [7], [9]], test=[[2], [4], [6], [8], [10]])
    for fold in range(5):
        assert make(ptbxl_root, tmp_path, folds=folds, fold=fold).describe()["n_copies_left_out"] == 0
