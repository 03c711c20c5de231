import numpy as np
import pandas as pd
import pytest
import yaml

from ecgcls.config import CONF_DIR
from ecgcls.data.folds import LEFT_OUT
from ecgcls.data.group_folds import GroupFolds
from ecgcls.data.ptbxl import PTBXL
from ecgcls.errors import ConfigError, DataError


def read_folds(name: str, **changed) -> GroupFolds:
    """The fold table of a configuration file."""
    arguments = yaml.safe_load((CONF_DIR / "folds" / f"{name}.yaml").read_text()) | changed
    assert arguments.pop("_target_") == "ecgcls.data.group_folds.GroupFolds"
    return GroupFolds(**arguments)


@pytest.fixture
def records() -> pd.DataFrame:
    """Sites 2, 10 and 0 of 60, 50 and 40 patients, a site of three records, and two of which none knows where.

    Patient 5 of site 2 occurs at site 10, too, and patient 70 of site 10 at the small one.
    """
    site = [2.0] * 60 + [10.0] * 50 + [0.0] * 40 + [7.0] * 3 + [np.nan] * 2
    patient_id = np.arange(len(site))
    patient_id[100], patient_id[150] = 5, 70
    return pd.DataFrame({"site": site, "patient_id": patient_id}, index=np.arange(1, len(site) + 1)[::-1])


def test_each_large_site_is_a_fold_and_the_small_ones_are_the_last(records):
    folds = GroupFolds(column="site", min_records=10)
    assert folds.list_held_out(records) == [
        "site 0", "site 2", "site 10", "other sites: 1 with fewer than 10 records, 2 records of an unknown one",
    ]  # fmt: skip
    tested = pd.concat([folds.assign(records, fold=fold) == "test" for fold in range(4)], axis=1)
    assert (tested.sum(axis=1) == 1).all() and tested.sum().tolist() == [40, 60, 50, 5]
    assert records["site"][tested[1]].unique().tolist() == [2.0]


def test_no_patient_is_in_two_parts_and_who_is_tested_elsewhere_is_left_out(records):
    folds = GroupFolds(column="site", min_records=10)
    for fold in range(4):
        part = folds.assign(records, fold=fold)
        kept = part != LEFT_OUT
        assert records["patient_id"][kept].groupby(part[kept]).unique().explode().is_unique
    site_2 = folds.assign(records, fold=1)
    assert site_2[records["patient_id"] == 5].tolist() == ["test", LEFT_OUT] and (site_2 == LEFT_OUT).sum() == 1
    other = folds.assign(records, fold=3)
    assert other[records["patient_id"] == 70].tolist() == [LEFT_OUT, "test"]


def test_a_share_of_each_other_sites_patients_is_validation_whatever_the_order_of_the_table(records):
    folds = GroupFolds(column="site", min_records=10, val_share=0.2)
    part = folds.assign(records, fold=0)
    is_val = part == "val"
    counts = records["patient_id"][is_val].groupby(records["site"][is_val]).nunique()
    assert (counts[2.0], counts[10.0]) == (12, 10)  # of 60 patients, and of 49 more
    shuffled = records.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(folds.assign(shuffled, fold=0)[part.index], part)
    again = folds.assign(records, fold=3)
    both = (records["site"] == 2.0) & (records["patient_id"] != 5)
    assert (again[both] == part[both]).all()  # the same patients, whichever site is tested
    another = GroupFolds(column="site", min_records=10, val_share=0.2, seed=1).assign(records, fold=0)
    assert (another == "val").sum() == is_val.sum() and (another != part).any()


def test_a_fold_that_is_not_there_is_told_with_the_sites(records):
    folds = GroupFolds(column="site", min_records=45)
    folds.check_fold(7)  # nobody knows yet
    message = r"fold must be in 0\.\.2 \(0: site 2, 1: site 10, 2: other sites: 2 with fewer than 45 .*\), got 7"
    with pytest.raises(ConfigError, match=message) as caught:
        folds.assign(records, fold=7)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="fold must be 0 or more, got -1"):
        folds.check_fold(-1)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"min_records": 0}, ConfigError, "folds.min_records must be at least 1, got 0"),
        ({"val_share": 0.0}, ConfigError, "folds.val_share must be above 0 and at most 0.5, got 0"),
        ({"val_share": 0.6}, ConfigError, "folds.val_share must be above 0 and at most 0.5, got 0.6"),
        ({"column": "ward"}, DataError, "folds.column=ward: the data set's table has no such column, got site, pat"),
        ({"min_records": 100}, ConfigError, r"0 have 100 records or more \(records of the largest of 4: 2: 60, 10"),
    ],
)
def test_what_cannot_be_held_out_is_refused(records, changed, error, message):
    with pytest.raises(error, match=message):
        GroupFolds(**{"column": "site", "min_records": 10, **changed}).assign(records, fold=0)


def test_one_site_cannot_be_held_out():
    records = pd.DataFrame({"site": ["A"] * 20, "patient_id": range(20)})
    with pytest.raises(ConfigError, match="one site cannot be held out from the others: of the 20 records' sites, 1"):
        GroupFolds(column="site", min_records=5).list_held_out(records)


def test_the_sites_and_devices_of_real_records(ptbxl_root):
    database = PTBXL(root=ptbxl_root).read_records()
    sites, devices = read_folds("by_site", min_records=20), read_folds("by_device", min_records=20)
    assert sites.list_held_out(database)[:3] == ["site 0", "site 1", "site 3"]
    assert "device CS-12 E" in devices.list_held_out(database)  # 'CS-12   E' in the table
    is_known = database["site"].notna()
    for fold, name in enumerate(sites.list_held_out(database)[:3]):
        is_test = sites.assign(database, fold=fold) == "test"
        assert (is_test == (is_known & (database["site"] == float(name.split()[1])))).all()
