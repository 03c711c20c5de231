"""An audit of labels: which labels a task derives from a data set's statements, and which other rules would."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.folds import PARTS, Folds
from ecgcls.data.tasks import UNKNOWN, Labels, Task
from ecgcls.data.training_size import TrainingSize
from ecgcls.files import hash_labels

RULES = {"any listed statement": 0.0, "likelihood >= 50": 50.0, "likelihood = 100": 100.0}
"""Rules by which a statement may count, with their least likelihood in percent."""
WITH_A_CLASS = "with a class"
"""The column of the records that are positive of any class."""
_KINDS = ("diagnostic", "form", "rhythm")


@dataclass(frozen=True, eq=False)
class Audit:
    """What `audit_labels` found."""

    statements: pd.DataFrame
    """One row per statement that occurs or that counts in the task: its class (empty if it does not count), its kinds,
    and how many records have it, in total and by likelihood."""
    by_fold: pd.DataFrame
    """Positive records of each class in each strat_fold, all records, those that are positive of a class at all, and by
    class with unknown labels the records of which nobody has said it."""
    by_part: pd.DataFrame
    """The same by fold and train, val, test; train of as many records as were asked for."""
    likelihoods: pd.DataFrame
    """How often each likelihood (in percent) occurs in the data, by kind of statement."""
    rules: pd.DataFrame
    """By rule: records with a label, labels, positive records of each class, and the share of the labels that the
    first rule has."""
    n_records: int
    n_labeled: int
    """The records that are positive of any class."""
    n_kept: int
    """The records that take part: those with a label (or exactly one), or all as negatives."""
    labels_sha256: str
    """Fingerprint of the labels of the records that take part."""

    @property
    def has_likelihoods(self) -> bool:
        """Whether the statements differ in their likelihood; else every rule gives the same."""
        return len(self.likelihoods.columns) > 1


def audit_labels(
    database: pd.DataFrame,
    statements: pd.DataFrame,
    *,
    task: Task,
    folds: Folds,
    training_size: TrainingSize | None = None,
) -> Audit:
    """Audit the labels of a data set, from the tables of its source; `database` has a ``strat_fold``.

    With `training_size` the training parts have the records that it chooses, as those of a run.

    Raises
    ------
    DataError, ConfigError
        As `ecgcls.data.tasks.Task.label`.
    """
    codes = database["scp_codes"]
    labels = task.label(codes, statements)
    is_kept, has_label = labels.has_label, (labels.y_true == 1).any(axis=1)
    rows = [(name, float(value)) for of_record in codes for name, value in of_record.items()]
    listed = pd.DataFrame(rows, columns=["statement", "likelihood"])
    counts = pd.DataFrame(labels.y_true == 1, columns=list(labels.class_names), index=database.index).astype(int)
    counts = counts.assign(records=1, **{WITH_A_CLASS: has_label.astype(int)}, **_count_unknown(labels))
    part_of = {fold: folds.assign(database, fold=fold) for fold in range(len(folds.list_held_out(database)))}
    if training_size is not None:
        for fold, parts in part_of.items():
            train = is_kept & (parts == "train").to_numpy()
            chosen = training_size.choose(database["patient_id"][train], labels.y_true[train], fold=fold)
            part_of[fold] = parts.where(parts != "train").fillna(pd.Series("train", database.index[train][chosen]))
    by_part = {(fold, part): counts[parts == part].sum() for fold, parts in part_of.items() for part in PARTS}
    return Audit(
        statements=_tabulate_statements(listed, statements, task),
        by_fold=counts.groupby(database["strat_fold"]).sum(),
        by_part=pd.DataFrame(by_part).T.rename_axis(["fold", "part"]),
        likelihoods=_tabulate_likelihoods(listed, statements),
        rules=_tabulate_rules(database, statements, task),
        n_records=len(database),
        n_labeled=int(has_label.sum()),
        n_kept=int(is_kept.sum()),
        labels_sha256=hash_labels(database.index[is_kept], labels.y_true[is_kept], labels.class_names),
    )


def _count_unknown(labels: Labels) -> dict[str, NDArray[np.int64]]:
    """Return which records each class is unknown of, as 0 and 1; without the classes that are known of all."""
    is_unknown = (labels.y_true == UNKNOWN).astype(np.int64)
    columns = zip(labels.class_names, is_unknown.T, strict=True)
    return {f"{name} unknown": column for name, column in columns if column.any()}


def format_lost_kinds(audit: Audit) -> list[str]:
    """Describe the kinds of statements of which a rule of at least 50 percent would leave less than a tenth."""
    found = []
    for kind, row in audit.likelihoods.iterrows():
        total = row.sum()
        kept = row[row.index >= 50].sum()
        if total and kept < 0.1 * total:
            found.append(
                f"A rule 'likelihood >= 50' would delete {total - kept:,.0f} of {total:,.0f} {kind} statements: their "
                "likelihood is mostly 0, which means unknown, not absent."
            )
    return found


def _tabulate_statements(listed: pd.DataFrame, statements: pd.DataFrame, task: Task) -> pd.DataFrame:
    class_of = task.class_of_statement(statements)
    counts = pd.crosstab(listed["statement"], listed["likelihood"]).reindex(statements.index, fill_value=0)
    classes = pd.Series([class_of.get(name, "") for name in statements.index], statements.index, name="class")
    n_records = counts.sum(axis=1).rename("n_records")
    counts.columns = [f"n_at_{value:g}" for value in counts.columns]
    table = pd.concat([classes, statements[[*_KINDS]], n_records, counts], axis=1).rename_axis("statement")
    kept = table[(table["class"] != "") | (table["n_records"] > 0)]
    return kept.sort_values(["class", "n_records"], ascending=[True, False], kind="stable")


def _tabulate_likelihoods(listed: pd.DataFrame, statements: pd.DataFrame) -> pd.DataFrame:
    kinds = {
        kind: listed[listed["statement"].isin(statements.index[statements[kind]])]["likelihood"].value_counts()
        for kind in _KINDS
    }
    return pd.DataFrame(kinds).T.fillna(0).astype(int).sort_index(axis=1).rename_axis("kind")


def _tabulate_rules(database: pd.DataFrame, statements: pd.DataFrame, task: Task) -> pd.DataFrame:
    rows = {}
    class_names = task.label(database["scp_codes"], statements).class_names
    for name, least in RULES.items():
        labels = replace(task, min_likelihood=least).label_as(class_names, database["scp_codes"], statements)
        is_positive = labels.y_true == 1
        n_labeled = int(is_positive.any(axis=1).sum())
        rows[name] = {
            "records, unlabeled dropped": n_labeled,
            "records, unlabeled kept": len(database),
            "without a label": len(database) - n_labeled,
            "labels": int(is_positive.sum()),
            **dict(zip(class_names, is_positive.sum(axis=0).tolist(), strict=True)),
        }
    table = pd.DataFrame(rows).T.rename_axis("rule")
    table.insert(4, "share of labels", np.round(table["labels"] / max(int(table["labels"].iloc[0]), 1), 3))
    return table
