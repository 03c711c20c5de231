"""Which records are trained, validated and tested on.

PTB-XL's authors assigned every record to one of ten ``strat_fold``s, by patient and stratified by diagnosis, sex and
age; a fold table lists which of the ten are validation and which are test, the rest is training.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.errors import ConfigError, DataError

log = logging.getLogger(__name__)

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
N_STRAT_FOLDS = 10
_MANY = 5000  # records
LEFT_OUT = ""
"""The part of a record that a fold neither trains, validates nor tests on."""


class Folds(Protocol):
    """What a table of folds must say; `FoldTable` and `ecgcls.data.group_folds.GroupFolds` do."""

    def check_fold(self, fold: int) -> None:
        """Raise ConfigError if there can be no such fold, before any data are read."""

    def list_held_out(self, records: pd.DataFrame) -> list[str]:
        """Return one text per fold: which group of records it holds out for its test; empty if it is no group."""

    def assign(self, records: pd.DataFrame, *, fold: int) -> pd.Series:
        """Return ``train``, ``val``, ``test`` or `LEFT_OUT` for every record of a data set, by its index."""


class FoldTable:
    """Which strat_folds each fold validates and tests on.

    Parameters
    ----------
    val, test
        For each fold the strat_folds (1..10) of its validation and of its test set; the rest is the training set.

    Examples
    --------
    >>> table = FoldTable(val=[[9]], test=[[10]])
    >>> table.split(np.array([1, 9, 10]), fold=0)
    array(['train', 'val', 'test'], dtype='<U5')
    """

    def __init__(self, *, val: Sequence[Sequence[int]], test: Sequence[Sequence[int]]) -> None:
        self.val, self.test = [list(each) for each in val], [list(each) for each in test]
        if len(val) != len(test) or not test:
            raise ConfigError(
                f"folds.val and folds.test must list the same number of folds, got {len(val)} and {len(test)}"
            )
        for fold, (of_val, of_test) in enumerate(zip(self.val, self.test, strict=True)):
            wrong = [n for n in of_val + of_test if not 1 <= n <= N_STRAT_FOLDS]
            if wrong:
                raise ConfigError(f"folds: a strat_fold must be in 1..{N_STRAT_FOLDS}, got {wrong[0]}")
            if not of_val or not of_test or set(of_val) & set(of_test):
                raise ConfigError(
                    f"folds: fold {fold} must have distinct strat_folds for val and test, got {of_val} and {of_test}"
                )
            if len({*of_val, *of_test}) == N_STRAT_FOLDS:
                raise ConfigError(
                    f"folds: fold {fold} leaves no strat_fold to train on: {of_val} are val, {of_test} test"
                )
            for strat_fold in of_test:
                if earlier := [number for number in range(fold) if strat_fold in self.test[number]]:
                    raise ConfigError(
                        f"folds: strat_fold {strat_fold} is tested by fold {earlier[0]} and by fold {fold}; each must "
                        "be tested by at most one fold, as the results of all folds count every record once"
                    )

    def __len__(self) -> int:
        return len(self.test)

    def check_fold(self, fold: int) -> None:
        """Raise ConfigError if there is no such fold."""
        if not 0 <= fold < len(self):
            expected = f"in 0..{len(self) - 1}" if len(self) > 1 else "0"
            raise ConfigError(f"fold must be {expected}, got {fold}")

    def split(self, strat_fold: NDArray[np.int64], *, fold: int) -> NDArray[np.str_]:
        """Return ``train``, ``val`` or ``test`` for every record, by its strat_fold."""
        self.check_fold(fold)
        is_val, is_test = np.isin(strat_fold, self.val[fold]), np.isin(strat_fold, self.test[fold])
        return np.where(is_test, "test", np.where(is_val, "val", "train"))

    def list_held_out(self, records: pd.DataFrame) -> list[str]:
        """Return an empty text per fold: strat_folds are drawn at random."""
        return [""] * len(self)

    def assign(self, records: pd.DataFrame, *, fold: int) -> pd.Series:
        """Return ``train``, ``val`` or ``test`` for every record, by its index.

        ConfigError if the data set itself says which record is in which, and this is another table than that.
        """
        if "given_part" in records and (self.val, self.test) != ([[9]], [[10]]):
            raise ConfigError("the data set itself says which records are train, val and test: set folds=given")
        return pd.Series(self.split(records["strat_fold"].to_numpy(), fold=fold), index=records.index)


def complete_strat_folds(records: pd.DataFrame) -> pd.DataFrame:
    """Return the records with a column ``strat_fold``: the data set's own, or ten that are assigned here.

    Pass all records of a data set: a record's fold then depends neither on the task nor on which files are there.
    """
    if "strat_fold" in records:
        return records
    log.info("The data set assigns no folds: drew ten, by patient and stratified")
    return records.assign(strat_fold=assign_strat_folds(records["patient_id"], records["scp_codes"]))


def assign_strat_folds(
    patient_id: pd.Series, scp_codes: pd.Series, *, n_folds: int = N_STRAT_FOLDS
) -> NDArray[np.int64]:
    """Assign ten strat_folds, or `n_folds`, ``(record,)``, from 1 on, all records of a patient to one.

    Uses scikit-learn's `StratifiedGroupKFold`, grouped by patient and stratified by each record's first statement (of
    those that are not unknown); the same records always get the same folds. Where no patient has two records, of more
    than a few thousand, it is `StratifiedKFold`, which does the same in a moment: grouping tens of thousands takes a
    minute.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # a second, and PTB-XL has strat_folds

    if patient_id.nunique() < n_folds:
        raise DataError(
            f"{patient_id.nunique()} patients are too few to draw {n_folds} folds by patient: expected at least "
            f"{n_folds}, or a column with each record's fold (1 to 10, with validation and test records)"
        )
    first_statement = scp_codes.map(_find_first)
    rare = first_statement.map(first_statement.value_counts()) < n_folds
    stratum = first_statement.mask(rare, "rare").to_numpy(dtype=str)
    if (stratum == "rare").sum() < n_folds:
        stratum[stratum == "rare"] = first_statement.mode().iloc[0]
    is_alone = patient_id.is_unique and len(patient_id) > _MANY
    kind = StratifiedKFold if is_alone else StratifiedGroupKFold
    splitter = kind(n_splits=n_folds, shuffle=True, random_state=0)
    strat_fold = np.zeros(len(patient_id), dtype=np.int64)
    groups = None if is_alone else patient_id
    for number, (_, members) in enumerate(splitter.split(stratum, stratum, groups), start=1):
        strat_fold[members] = number
    return strat_fold


def _find_first(codes: Mapping[str, float]) -> str:
    """Return a record's first statement, the first that anybody has judged; '' where there is none."""
    return next((statement for statement, likelihood in codes.items() if not math.isnan(likelihood)), "")


def check_patients(patient_id: NDArray[np.int64], part: NDArray[np.str_]) -> None:
    """Raise DataError if a patient is in two of train, val and test."""
    pairs = pd.DataFrame({"patient_id": patient_id, "part": part}).drop_duplicates()
    in_two = pairs[pairs["patient_id"].duplicated(keep=False)]
    if len(in_two):
        patient = in_two["patient_id"].iloc[0]
        parts = [name for name in PARTS if name in set(in_two["part"][in_two["patient_id"] == patient])]
        raise DataError(
            f"patient {patient} has records in {' and '.join(parts)}; all records of a patient must be in one "
            f"of them ({in_two['patient_id'].nunique()} such patients): correct strat_fold"
        )
