import numpy as np
import pandas as pd
import pytest
import yaml

from ecgcls.config import CONF_DIR
from ecgcls.data.folds import FoldTable, assign_strat_folds, check_patients
from ecgcls.data.ptbxl import PTBXL
from ecgcls.errors import ConfigError, DataError

STRAT_FOLDS = np.arange(1, 11)


def read_folds(name: str) -> FoldTable:
    """The fold table of a configuration file."""
    arguments = yaml.safe_load((CONF_DIR / "folds" / f"{name}.yaml").read_text())
    assert arguments.pop("_target_") == "ecgcls.data.folds.FoldTable"
    return FoldTable(**arguments)


@pytest.fixture
def database(ptbxl_root) -> pd.DataFrame:
    return PTBXL(root=ptbxl_root).read_records()


# --- the tables of the configuration


@pytest.mark.parametrize(
    ("fold", "val", "test"), [(0, [3], [1, 2]), (1, [5], [3, 4]), (2, [7], [5, 6]), (3, [9], [7, 8]), (4, [1], [9, 10])]
)
def test_cv5_is_the_published_table(fold, val, test):
    part = read_folds("cv5").split(STRAT_FOLDS, fold=fold)
    assert STRAT_FOLDS[part == "val"].tolist() == val
    assert STRAT_FOLDS[part == "test"].tolist() == test
    assert STRAT_FOLDS[part == "train"].tolist() == sorted(set(range(1, 11)) - {*val, *test})


def test_cv5_tests_and_validates_each_strat_fold_at_most_once():
    table = read_folds("cv5")
    assert len(table) == 5
    parts = np.array([table.split(STRAT_FOLDS, fold=fold) for fold in range(5)])  # (fold, strat_fold)
    assert ((parts == "test").sum(axis=0) == 1).all()
    assert ((parts == "val").sum(axis=0) <= 1).all()
    assert ((parts == "train").sum(axis=1) == 7).all()


def test_official_is_that_of_the_authors_of_ptbxl():
    table = read_folds("official")
    assert len(table) == 1
    assert table.split(STRAT_FOLDS, fold=0).tolist() == ["train"] * 8 + ["val", "test"]


# --- real records


def test_real_records_by_strat_fold(database):
    assert database["strat_fold"].value_counts().sort_index().to_dict() == dict(
        zip(range(1, 11), [38, 39, 24, 28, 34, 21, 36, 36, 51, 49], strict=True)
    )


def test_each_real_record_is_tested_exactly_once_and_no_patient_is_split(database):
    table = read_folds("cv5")
    patient_id, strat_fold = database["patient_id"].to_numpy(), database["strat_fold"].to_numpy()
    n_tested = np.zeros(len(database), dtype=int)
    for fold in range(len(table)):
        part = table.split(strat_fold, fold=fold)
        n_tested += part == "test"
        patients = [set(patient_id[part == name]) for name in ("train", "val", "test")]
        assert sum(len(group) for group in patients) == len(set.union(*patients)) == 334
        check_patients(patient_id, part)
    assert (n_tested == 1).all()


@pytest.mark.parametrize(("fold", "counts"), [(0, (255, 24, 77)), (4, (218, 38, 100))])  # sums of the ten, by hand
def test_real_records_by_part(database, fold, counts):
    part = read_folds("cv5").split(database["strat_fold"].to_numpy(), fold=fold)
    assert tuple((part == name).sum() for name in ("train", "val", "test")) == counts


# --- errors


@pytest.mark.parametrize("fold", [7, 5, -1])
def test_no_such_fold(fold):
    with pytest.raises(ConfigError, match=rf"fold must be in 0\.\.4, got {fold}"):
        read_folds("cv5").split(STRAT_FOLDS, fold=fold)


@pytest.mark.parametrize(
    ("val", "test", "match"),
    [
        ([[9], [8]], [[10]], "the same number of folds, got 2 and 1"),
        ([], [], "the same number of folds, got 0 and 0"),
        ([[9]], [[11]], r"a strat_fold must be in 1\.\.10, got 11"),
        ([[0]], [[10]], r"a strat_fold must be in 1\.\.10, got 0"),
        ([[9], [9]], [[10], [8, 9]], r"fold 1 must have distinct strat_folds for val and test, got \[9\] and \[8, 9\]"),
        ([[]], [[10]], r"fold 0 must have distinct strat_folds for val and test, got \[\] and \[10\]"),
        (
            [[9], [8], [7]],
            [[1, 2], [3], [4, 2]],
            "strat_fold 2 is tested by fold 0 and by fold 2; each must be tested by at",
        ),
        ([[1, 2, 3, 4, 5]], [[6, 7, 8, 9, 10]], r"fold 0 leaves no strat_fold to train on: \[1, 2, 3, 4, 5\] are val"),
        ([[9]], [[]], r"fold 0 must have distinct strat_folds for val and test, got \[9\] and \[\]"),
    ],
)
def test_an_invalid_fold_table(val, test, match):
    with pytest.raises(ConfigError, match=match):
        FoldTable(val=val, test=test)


def test_a_patient_in_two_sets_is_named_with_both():
    patient_id = np.array([5, 6, 6, 7, 8, 8])
    check_patients(patient_id, np.array(["train", "val", "val", "test", "train", "train"]))
    with pytest.raises(DataError, match=r"patient 6 has records in val and test; .*\(1 such patients\)"):
        check_patients(patient_id, np.array(["train", "test", "val", "test", "train", "train"]))
    with pytest.raises(DataError, match=r"patient 6 has records in train and test; .*\(2 such patients\)"):
        check_patients(patient_id, np.array(["train", "test", "train", "test", "val", "train"]))


# --- a data set without strat_fold


def count_by_strat_fold(strat_fold: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.array([(mask & (strat_fold == number)).sum() for number in range(1, 11)])


def test_assigned_strat_folds_of_real_records(database):
    strat_fold = assign_strat_folds(database["patient_id"], database["scp_codes"])
    assert set(strat_fold) == set(range(1, 11))
    assert pd.Series(strat_fold).groupby(database["patient_id"].to_numpy()).nunique().max() == 1
    assert database["patient_id"].duplicated().any()  # else there is nothing to keep together
    n_records = count_by_strat_fold(strat_fold, np.ones(356, dtype=bool))
    assert n_records.min() >= 25 and n_records.max() <= 50  # 35.6 on average
    is_normal = np.array([next(iter(codes)) == "NORM" for codes in database["scp_codes"]])
    share = count_by_strat_fold(strat_fold, is_normal) / n_records
    assert np.abs(share - is_normal.mean()).max() < 0.15


def test_assigned_strat_folds_are_stratified():
    # 200 patients of one record: 120 A, 60 B, 20 C. By strat_fold: 12, 6, 2
    codes = pd.Series([{"A": 100.0}] * 120 + [{"B": 100.0}] * 60 + [{"C": 100.0}] * 20)
    strat_fold = assign_strat_folds(pd.Series(range(200)), codes)
    for name, expected in {"A": 12, "B": 6, "C": 2}.items():
        mask = np.array([name in listed for listed in codes])
        assert count_by_strat_fold(strat_fold, mask).tolist() == [expected] * 10


def test_assigned_strat_folds_are_always_the_same(database):
    first = assign_strat_folds(database["patient_id"], database["scp_codes"])
    np.random.seed(1)  # the global generator does not matter
    again = assign_strat_folds(database["patient_id"].copy(), database["scp_codes"].copy())
    assert np.array_equal(first, again)


def test_ten_patients_fill_all_ten_folds():
    patient_id = pd.Series([*range(10), 0, 0, 3])
    codes = pd.Series([{"A": 100.0}] * 5 + [{"B": 100.0}] * 5 + [{}] * 3)
    strat_fold = assign_strat_folds(patient_id, codes)
    assert sorted(strat_fold[:10]) == list(range(1, 11))
    assert strat_fold[10] == strat_fold[11] == strat_fold[0] and strat_fold[12] == strat_fold[3]


def test_too_few_patients():
    with pytest.raises(
        DataError, match=r"^9 patients are too few to draw 10 folds by patient: expected at least 10, or a column"
    ):
        assign_strat_folds(pd.Series([*range(9), 0, 1]), pd.Series([{"A": 100.0}] * 11))
