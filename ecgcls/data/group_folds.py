"""Folds by group: each site (or device, or other group of the table) is tested by a net that never saw it.

A random fold tells how a net does on other patients of the same sites; a group that was held out as a whole tells how
it does elsewhere.

Conventions
    - Groups are named as `ecgcls.data.groupings` names them: by the text of the column, with its spaces made one.
    - Each group with enough records is a fold, in the order of numbers and names. All others are tested together, by
      the last fold, with the records of which the group is not known.
    - Validation is a share of the patients of each fold that is not tested, the same patients whichever fold is.
    - A patient who occurs in several groups is tested in each; while one of them is tested, the patient's records in
      the others are left out, so that no net is tested on a patient it has learned from.
"""

import hashlib

import pandas as pd

from ecgcls.data.folds import LEFT_OUT
from ecgcls.data.groupings import name_group, order_groups
from ecgcls.errors import ConfigError, DataError

_OTHER = "other"


class GroupFolds:
    """A table of folds that test one group of records each.

    Parameters
    ----------
    column
        The column of the data set's table that says which group a record is of, such as ``site`` or ``device``.
    min_records
        Groups with fewer records are tested together.
    val_share
        The share of the other groups' patients that is the validation set, between 0 and 0.5.
    seed
        Which patients these are.

    Examples
    --------
    >>> records = pd.DataFrame({"site": [0.0, 0.0, 0.0, 1.0, 1.0, 7.0], "patient_id": [1, 2, 3, 3, 4, 5]})
    >>> folds = GroupFolds(column="site", min_records=2, val_share=0.4)
    >>> folds.list_held_out(records)
    ['site 0', 'site 1', 'other sites: 1 with fewer than 2 records']
    >>> folds.assign(records, fold=1).tolist()  # patient 3 is tested, and not trained on
    ['train', 'val', '', 'test', 'test', 'val']
    """

    def __init__(self, *, column: str, min_records: int = 100, val_share: float = 0.125, seed: int = 0) -> None:
        if min_records < 1:
            raise ConfigError(f"folds.min_records must be at least 1, got {min_records}")
        if not 0 < val_share <= 0.5:
            raise ConfigError(f"folds.val_share must be above 0 and at most 0.5, got {val_share:g}")
        self.column, self.min_records, self.val_share, self.seed = column, min_records, val_share, seed

    def check_fold(self, fold: int) -> None:
        """Raise ConfigError if there can be no such fold; how many there are depends on the data."""
        if fold < 0:
            raise ConfigError(f"fold must be 0 or more, got {fold}")

    def list_held_out(self, records: pd.DataFrame) -> list[str]:
        """Return what each fold tests, in words."""
        names = [f"{self.column} {name}" for name in self._list_groups(records)]
        small = self._name_groups(records)[lambda groups: groups == _OTHER].index
        if len(small):
            known = name_group(records[self.column].loc[small], self.column)
            n_groups, n_unknown = known[known != "unknown"].nunique(), int((known == "unknown").sum())
            parts = [f"{n_groups} with fewer than {self.min_records} records"] * (n_groups > 0)
            parts += [f"{n_unknown} records of an unknown one"] * (n_unknown > 0)
            names[-1] = f"{_OTHER} {self.column}s: {', '.join(parts)}"
        return names

    def assign(self, records: pd.DataFrame, *, fold: int) -> pd.Series:
        """Return ``train``, ``val`` or ``test`` for every record, by its index; `LEFT_OUT` where it is none of them.

        Pass all records of a data set, so that the folds depend neither on the task nor on which files are there.
        """
        groups, names = self._name_groups(records), self._list_groups(records)
        if not 0 <= fold < len(names):
            known = ", ".join(f"{number}: {name}" for number, name in enumerate(self.list_held_out(records)))
            raise ConfigError(f"fold must be in 0..{len(names) - 1} ({known}), got {fold}")
        patients, is_test = records["patient_id"], groups == names[fold]
        is_tested_patient = patients.isin(patients[is_test])
        part = pd.Series("train", index=records.index).mask(is_tested_patient, LEFT_OUT).mask(is_test, "test")
        first_group = groups[~is_tested_patient].groupby(patients[~is_tested_patient]).min()
        return part.mask(patients.isin(self._choose_validation(first_group)) & ~is_tested_patient, "val")

    def _choose_validation(self, group_of: pd.Series) -> list[object]:
        """Choose a share of each group's patients, in an order that depends on the seed and the patient alone."""
        order = group_of.rename("group").rename_axis("patient").reset_index()
        order["rank"] = [
            hashlib.sha256(f"{self.seed}:{patient}".encode()).hexdigest() for patient in order["patient"].tolist()
        ]
        chosen: list[object] = []
        for _, members in order.sort_values("rank").groupby("group"):
            chosen += members["patient"].tolist()[: max(1, round(self.val_share * len(members)))]
        return chosen

    def _name_groups(self, records: pd.DataFrame) -> pd.Series:
        """Return each record's group, all small ones under one name."""
        if self.column not in records:
            known = ", ".join(map(str, records.columns))
            raise DataError(f"folds.column={self.column}: the data set's table has no such column, got {known}")
        groups = name_group(records[self.column], self.column)
        is_small = groups.map(groups.value_counts()) < self.min_records
        return groups.mask(is_small | (groups == "unknown"), _OTHER)

    def _list_groups(self, records: pd.DataFrame) -> list[str]:
        groups = self._name_groups(records)
        names = [name for name in order_groups(groups) if name != _OTHER]
        if not names or (len(names) == 1 and not (groups == _OTHER).any()):
            sizes = name_group(records[self.column], self.column)[lambda every: every != "unknown"].value_counts()
            largest = ", ".join(f"{name}: {size}" for name, size in sizes.head(3).items())
            raise ConfigError(
                f"folds: one {self.column} cannot be held out from the others: of the {len(records)} records' "
                f"{self.column}s, {len(names)} have {self.min_records} records or more (records of the largest of "
                f"{len(sizes)}: {largest or 'none'}); "
                + ("set folds.min_records" if len(sizes) > 1 else "choose other folds")
            )
        return names + [_OTHER] * bool((groups == _OTHER).any())
