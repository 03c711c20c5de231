"""The cohort of a run: its records, their labels, and which are trained, validated and tested on.

What is left out is left out by rule and counted: rows without a signal file and records that cannot be used (if
requested), records that repeat another, records without a label in the task, and classes that the training set cannot
teach (if requested).
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.folds import LEFT_OUT, PARTS, Folds, Part, check_patients, complete_strat_folds
from ecgcls.data.formats import is_wfdb
from ecgcls.data.record_files import find_missing
from ecgcls.data.source import Source
from ecgcls.data.tasks import UNKNOWN, Task
from ecgcls.data.training_size import TrainingSize
from ecgcls.errors import DataError
from ecgcls.files import hash_labels, hash_records

log = logging.getLogger(__name__)

_N_SHOWN = 3  # records whose file is missing


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """The records of one fold of one task."""

    records: pd.DataFrame
    """One row per record, by ecg_id: the columns of the source's table, and ``part``: train, val or test."""
    y_true: NDArray[np.int8]
    """``(record, class)``: 1, 0 or `ecgcls.data.tasks.UNKNOWN`."""
    class_names: tuple[str, ...]
    absent_classes: tuple[str, ...]
    """The classes that were left out because the training set has no positive or no negative record."""
    n_without_label: int
    """Records left out because they have no label in the task."""
    unscored_classes: Mapping[Part, tuple[str, ...]]
    """The classes of which the validation or test set has no positive record."""
    n_copies_left_out: int = 0
    """Records left out because their waveform is in another of train, val and test, too."""
    held_out: tuple[str, ...] = ()
    """Which group of records each fold tests, as `Folds.list_held_out`; none where folds are drawn at random."""
    fold: int = 0
    n_of_tested_patients: int = 0
    """Records left out because their patient is tested, in another group of records."""
    n_copies_within: Mapping[Part, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    """Records that repeat another one of the same of train, val and test, and stay."""
    untrained: "pd.Series | None" = None
    """The patient of each record of the training part that `TrainingSize` has not chosen, by ecg_id; None: no size."""

    def find_part(self, part: Part) -> NDArray[np.int64]:
        """Return the row numbers of the train, validation or test set."""
        return np.flatnonzero(self.records["part"] == part)

    def leave_out(self, ecg_ids: Collection[int | str]) -> "Cohort":
        """Leave copies out."""
        kept = ~self.records.index.isin(list(ecg_ids))
        return replace(self, records=self.records[kept], y_true=self.y_true[kept], n_copies_left_out=int((~kept).sum()))

    def hash_part(self, part: Part) -> str:
        """Return the fingerprint of the records of one part, with their patients and labels."""
        rows = self.find_part(part)
        records = self.records.iloc[rows]
        return hash_records(records.index, records["patient_id"], self.y_true[rows], self.class_names)

    def _count(self, rows: NDArray[np.int64], value: int) -> dict[str, int]:
        """Count by class the records whose label has a value."""
        return dict(zip(self.class_names, (self.y_true[rows] == value).sum(axis=0).tolist(), strict=True))

    def describe(self) -> dict[str, Any]:
        """Return the counts, ready for JSON."""
        parts = {}
        for part in PARTS:
            rows = self.find_part(part)
            parts[part] = {
                "n_records": len(rows),
                "n_patients": int(self.records["patient_id"].iloc[rows].nunique()),
                "records_sha256": self.hash_part(part),
                "n_positive": self._count(rows, 1),
                **({"n_unknown": self._count(rows, UNKNOWN)} if (self.y_true[rows] == UNKNOWN).any() else {}),
            }
        folds: dict[str, Any] = {}
        if self.held_out:
            folds = {"n_folds": len(self.held_out), "held_out": self.held_out[self.fold]}
            folds["n_of_tested_patients"] = self.n_of_tested_patients
        if self.untrained is not None:
            folds |= {"n_untrained": len(self.untrained), "n_untrained_patients": int(self.untrained.nunique())}
        return {
            **folds,
            "n_records": len(self.records),
            "n_without_label": self.n_without_label,
            "class_names": list(self.class_names),
            "absent_classes": list(self.absent_classes),
            "labels_sha256": hash_labels(self.records.index, self.y_true, self.class_names),
            "parts": parts,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """The tables of a data set."""

    root: Path
    database: pd.DataFrame
    """Of a source, with ``strat_fold``: the records whose signal files are there."""
    statements: pd.DataFrame
    n_missing_files: int
    every_record: pd.DataFrame
    """As `database`, with the records whose signal files are missing, too: folds do not depend on these."""

    def leave_out(self, ecg_ids: Collection[int | str]) -> "Tables":
        """Leave records out."""
        return replace(self, database=self.database[~self.database.index.isin(list(ecg_ids))])


def read_tables(source: Source) -> Tables:
    """Read the tables of a data set.

    Raises
    ------
    DataError
        If a table is malformed, or a signal file is missing.
    """
    every_record = complete_strat_folds(source.read_records())
    database = leave_out_missing(source, every_record)
    return Tables(
        root=source.root,
        database=database,
        statements=source.read_statements(),
        n_missing_files=len(every_record) - len(database),
        every_record=every_record,
    )


def select_cohort(
    tables: Tables, *, task: Task, folds: Folds, fold: int, training_size: TrainingSize | None = None
) -> Cohort:
    """Select the records of a fold; of its training part all, or as many as `training_size` says.

    Raises
    ------
    ConfigError
        If there is no such fold, the task names a class that does not exist, or there are fewer records to train on.
    DataError
        If a patient is in two of train, val and test, one of these is empty, or train has no example of a class; see
        also `Task.absent_classes`.
    """
    database = tables.database
    labels = task.label(database["scp_codes"], tables.statements)
    has_label = labels.has_label
    if not has_label.any():
        raise DataError(f"{tables.root}: no record has a label in the task")
    part_of = folds.assign(tables.every_record, fold=fold).reindex(database.index).to_numpy(dtype=np.str_)
    is_kept = has_label & (part_of != LEFT_OUT)
    records, y_true, part = database[is_kept].copy(), labels.y_true[is_kept], part_of[is_kept]
    check_patients(records["patient_id"].to_numpy(), part)
    for name in PARTS:
        if name not in part:
            found = ", ".join(map(str, sorted(records["strat_fold"].unique())))
            raise DataError(
                f"{tables.root}: no record in the {name} set of fold {fold}; the data set's own folds are {found}"
            )
    untrained = None
    if training_size is not None:
        is_train = part == "train"
        is_left = is_train.copy()
        is_left[is_train] = ~training_size.choose(records["patient_id"][is_train], y_true[is_train], fold=fold)
        untrained = records["patient_id"][is_left]
        records, y_true, part = records[~is_left], y_true[~is_left], part[~is_left]
    class_names = np.array(labels.class_names)
    learnable = _find_learnable(y_true[part == "train"], class_names, task, fold, training_size)
    n_without_label = int((~has_label).sum())
    if task.exclusive and not learnable.all():  # with its only class left out, a record is of none
        kept = np.flatnonzero((y_true[:, learnable] == 1).any(axis=1))
        n_without_label += len(y_true) - len(kept)
        records, y_true, part = records.iloc[kept], y_true[kept], part[kept]
    return Cohort(
        records=records.assign(part=part),
        y_true=y_true[:, learnable],
        class_names=tuple(class_names[learnable].tolist()),
        absent_classes=tuple(class_names[~learnable].tolist()),
        n_without_label=n_without_label,
        unscored_classes={
            name: tuple(class_names[learnable & ~(y_true[part == name] == 1).any(axis=0)].tolist())
            for name in PARTS[1:]
        },
        held_out=tuple(name for name in folds.list_held_out(tables.every_record) if name),
        fold=fold,
        n_of_tested_patients=int((has_label & ~is_kept).sum()),
        untrained=untrained,
    )


def log_left_out(cohort: Cohort, *, fold: int) -> None:
    """Log which group of records is tested, and which records and classes a cohort is without."""
    if cohort.held_out:
        every = "; ".join(f"{number}: {name}" for number, name in enumerate(cohort.held_out))
        log.info("Fold %d tests %s, which it is not trained on (all folds: %s)", fold, cohort.held_out[fold], every)
    if cohort.n_of_tested_patients:
        log.info("Left out %d records of patients who are tested elsewhere too", cohort.n_of_tested_patients)
    if cohort.untrained is not None:
        trained = cohort.records["patient_id"].iloc[cohort.find_part("train")]
        text = "Trains on %d records of %d patients; data.n_train left out %d records of %d others"
        log.info(text, len(trained), trained.nunique(), len(cohort.untrained), cohort.untrained.nunique())
    if cohort.n_without_label:
        log.info("Left out %d records without a label in the task", cohort.n_without_label)
    if cohort.absent_classes:
        absent = ", ".join(cohort.absent_classes)
        log.warning("Left out the classes %s: the training set of fold %d cannot teach them", absent, fold)
    for name, unscored in cohort.unscored_classes.items():
        if unscored:
            text = "The %s set of fold %d has no positive record of %s: not scored there"
            log.warning(text, name, fold, ", ".join(unscored))


def leave_out_missing(source: Source, records: pd.DataFrame) -> pd.DataFrame:
    """Return the records whose signal files are there.

    Raises
    ------
    DataError
        If a file is missing and the source's `missing_records` is ``error``, or if none is there.
    """
    missing = find_missing(source.root, records["filename"])
    if not len(missing):
        return records
    if source.missing_records == "error":
        files = "signal file (.hea and .dat)" if is_wfdb(source.root / missing.iloc[0]) else "file"
        raise DataError(
            f"{source.root / missing.iloc[0]}: the {files} of ecg_id {missing.index[0]} is "
            f"missing; {len(missing)} of {len(records)} records lack theirs: complete the data set, or set "
            "data.missing_records=drop"
        )
    if len(missing) == len(records):
        raise DataError(f"{source.root}: none of the {len(records)} records has its signal file")
    shown = ", ".join(str(ecg_id) for ecg_id in missing.index[:_N_SHOWN])
    text = "Left out %d of %d records: their signal file is missing, as that of ecg_id %s"
    log.warning(text, len(missing), len(records), shown)
    return records.drop(missing.index)


def _find_learnable(
    y_train: NDArray[np.int8],
    class_names: NDArray[np.str_],
    task: Task,
    fold: int,
    training_size: TrainingSize | None = None,
) -> NDArray[np.bool_]:
    """Return which classes have both a positive and a negative record in the training set, ``(class,)``."""
    learnable: NDArray[np.bool_] = (y_train == 1).any(axis=0) & (y_train == 0).any(axis=0)
    absent = ", ".join(class_names[~learnable])
    if absent and task.absent_classes == "error":
        raise DataError(
            f"the training set of fold {fold} has no positive (or no negative) record of {absent}; "
            + (f"data.n_train={training_size.n_records} may be too few; " if training_size else "")
            + (
                "task.unlabelled=negative keeps the records without the class as negatives"
                if len(class_names) == 1
                else "task.absent_classes=drop leaves such classes out"
            )
        )
    if not learnable.any():
        raise DataError(f"the training set of fold {fold} has no class to learn")
    return learnable
