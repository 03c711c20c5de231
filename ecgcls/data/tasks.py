"""From SCP statements to multi-hot labels.

A task defines which statements of ``scp_statements.csv`` count (its columns ``diagnostic``, ``form``, ``rhythm``) and
what a class is: the statement itself, its diagnostic subclass or its diagnostic superclass. A statement counts if it
is listed, whatever its likelihood: in PTB-XL a likelihood of 0 means 'unknown', not 'absent'.

References
----------
.. [1] Strodthoff, Wagner, Schaeffter, Samek. Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL.
   IEEE J. Biomed. Health Inform. 25 (2021) 1519-1528. doi:10.1109/JBHI.2020.3022989 (the same six tasks)
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.crosswalks import read_scp, read_snomed
from ecgcls.errors import ConfigError, DataError

log = logging.getLogger(__name__)

UNKNOWN = -1
"""A label that nobody has given: neither yes nor no."""


@dataclass(frozen=True)
class Labels:
    """The labels of records."""

    y_true: NDArray[np.int8]
    """``(record, class)``: 1, 0 or `UNKNOWN`."""
    class_names: tuple[str, ...]
    keeps_negatives: bool = False
    """Whether a record without a label is a negative of every class, and no record without one."""
    is_exclusive: bool = False
    """Whether only records with exactly one label take part."""

    @property
    def has_label(self) -> NDArray[np.bool_]:
        """Whether a record takes part, ``(record,)``: it has a label, or counts as a negative of every class."""
        n_labels = (self.y_true == 1).sum(axis=1)
        if self.is_exclusive:
            return n_labels == 1
        return (n_labels > 0) | (self.keeps_negatives & (self.y_true != UNKNOWN).any(axis=1))


@dataclass(frozen=True, kw_only=True)
class Task:
    """Which statements count, and which class each belongs to.

    Parameters
    ----------
    statements
        Which statements count: diagnostic, form or rhythm statements, or all.
    classes
        What a class is: the statement itself, the diagnostic subclass or superclass it belongs to, or the class of the
        Challenge 2021, which SNOMED CT codes have themselves and SCP statements by the crosswalk (`crosswalks`).
    class_order
        Names of classes that come first, in this order; the others follow in the order of ``scp_statements.csv``. It
        never adds or removes a class; names that the data set does not have are passed over, and told.
    only
        The classes to keep, in this order; none keeps all. ``only=[MI], unlabelled=negative`` is MI against the rest.
    k
        Keep only the `k` most frequent classes, most frequent first (ties in the order of ``scp_statements.csv``),
        counted over all records; None keeps all.
    min_likelihood
        The least likelihood, in percent, with which a statement counts. 0 counts every listed one: 0 means 'unknown' in
        PTB-XL, and rhythm and form statements rarely have any other.
    absent_classes
        What to do with a class that has no positive (or no negative) record in the training set: ``error`` refuses,
        ``drop`` leaves the class out and names it. A record that had no other label stays, as a negative of every
        remaining class, so that all folds test the same records.
    unlabelled
        What to do with a record that has none of the classes: ``drop`` leaves it out, ``negative`` keeps it as a
        negative of all, which a task of one class needs.
    exclusive
        Whether each record has exactly one class (softmax and cross-entropy). Records with several are left out.
    """

    statements: Literal["diagnostic", "form", "rhythm", "all"]
    classes: Literal["statement", "diagnostic_subclass", "diagnostic_class", "challenge_class"] = "statement"
    class_order: Sequence[str] = ()
    only: Sequence[str] = ()
    k: int | None = None
    min_likelihood: float = 0.0
    absent_classes: Literal["error", "drop"] = "error"
    unlabelled: Literal["drop", "negative"] = "drop"
    exclusive: bool = False

    def __post_init__(self) -> None:
        if self.classes.startswith("diagnostic_") and self.statements != "diagnostic":
            raise ConfigError(
                f"task.classes={self.classes} needs task.statements=diagnostic, got {self.statements}: "
                "other statements have no diagnostic class"
            )
        if self.k is not None and self.k < 1:
            raise ConfigError(f"task.k must be at least 1, got {self.k}")
        if self.k is not None and self.only:
            raise ConfigError(
                f"task.k={self.k} and task.only={[*self.only]}: expected one of them, which classes to keep"
            )
        if self.unlabelled not in ("drop", "negative"):
            raise ConfigError(f"task.unlabelled must be drop or negative, got {self.unlabelled!r}")
        if self.exclusive and self.unlabelled == "negative":
            raise ConfigError(
                "task.exclusive=true: each record has exactly one class, so none is unlabelled=negative; set "
                "task.unlabelled=drop"
            )
        if not 0 <= self.min_likelihood <= 100:
            raise ConfigError(f"task.min_likelihood must be in [0, 100] percent, got {self.min_likelihood:g}")

    def label(self, scp_codes: pd.Series, statements: pd.DataFrame) -> Labels:
        """Label every record; `scp_codes` (by ecg_id) and `statements` are as `ecgcls.data.source.Source` has them.

        A class is `UNKNOWN` where none of its statements says yes and one of them is not known (nan).

        Raises
        ------
        DataError
            If a record has a statement that is not in the table.
        ConfigError
            If `only` names a class that does not exist, or `k` exceeds their number.
        """
        class_of = self.class_of_statement(statements)
        class_names = list(dict.fromkeys(class_of.values()))
        if unknown := [name for name in self.class_order if name not in class_names]:
            log.warning("task.class_order: no statement of the data set is of class %s", ", ".join(unknown))
        if unknown := [name for name in self.only if name not in class_names]:
            theirs = ", ".join(class_names)
            raise ConfigError(f"task.only: {', '.join(unknown)} is not a class of this task; it has {theirs}")
        class_names = [*dict.fromkeys([*(name for name in self.class_order if name in class_names), *class_names])]
        column = {name: position for position, name in enumerate(class_names)}
        y_true = np.zeros((len(scp_codes), len(class_names)), dtype=np.int8)
        known = set(statements.index)
        for row, (ecg_id, codes) in enumerate(scp_codes.items()):
            for statement, likelihood in codes.items():
                if statement in class_of:
                    cell = row, column[class_of[statement]]
                    y_true[cell] = _either(int(y_true[cell]), self.read_likelihood(likelihood))
                elif statement not in known:
                    raise DataError(
                        f"scp_codes of ecg_id {ecg_id}: the statement {statement!r} is not in scp_statements.csv"
                    )
        kept = [column[name] for name in dict.fromkeys(self.only)] or [*column.values()]
        if self.k is not None:
            if self.k > len(class_names):
                raise ConfigError(f"task.k must be in 1..{len(class_names)}, got {self.k}")
            kept = np.argsort(-(y_true == 1).sum(axis=0), kind="stable")[: self.k].tolist()
        return self.keep(y_true[:, kept], [class_names[position] for position in kept])

    def label_as(self, class_names: Sequence[str], scp_codes: pd.Series, statements: pd.DataFrame) -> Labels:
        """Label records of another data set, as `label`, with the classes that a net was trained for.

        Raises
        ------
        ConfigError
            If the other data set's statements have no such class.
        """
        labels = replace(self, k=None, only=(), class_order=(), exclusive=False).label(scp_codes, statements)
        unknown = [name for name in class_names if name not in labels.class_names]
        if unknown:
            raise ConfigError(f"scp_statements.csv has no class {', '.join(unknown)}, which the net was trained for")
        columns = [labels.class_names.index(name) for name in class_names]
        return self.keep(labels.y_true[:, columns], class_names)

    def find_likelihoods(
        self, class_names: Sequence[str], scp_codes: pd.Series, statements: pd.DataFrame
    ) -> pd.DataFrame:
        """Return the likelihood of each positive label that is not certain, for `ecgcls.evaluation.label_noise`.

        Returns
        -------
        DataFrame
            A row per record and class of which no statement has a likelihood of 100 percent: ``ecg_id``, ``class``,
            ``likelihood``, that of the most likely statement; 0 where a statement was listed without one.
        """
        class_of, rows = self.class_of_statement(statements), []
        for ecg_id, codes in scp_codes.items():
            found: dict[str, list[float]] = {}
            for statement, likelihood in codes.items():
                if class_of.get(statement) in class_names and likelihood >= self.min_likelihood:
                    found.setdefault(class_of[statement], []).append(float(likelihood))
            for name, likelihoods in found.items():
                if max(likelihoods) < 100:
                    rows.append((ecg_id, name, max(likelihoods) if min(likelihoods) > 0 else 0.0))
        return pd.DataFrame(rows, columns=["ecg_id", "class", "likelihood"])

    def read_likelihood(self, likelihood: float) -> int:
        """Return what a statement says of its class; nan says that nobody knows."""
        return UNKNOWN if math.isnan(likelihood) else int(likelihood >= self.min_likelihood)

    def keep(self, y_true: NDArray[np.int8], class_names: Sequence[str]) -> Labels:
        """Return labels, ``(record, class)``, of these classes as the task takes them."""
        if self.exclusive:  # who has one class has none of the others
            y_true = np.where((y_true == 1).any(axis=1, keepdims=True) & (y_true == UNKNOWN), np.int8(0), y_true)
        labels = Labels(y_true, tuple(class_names), self.unlabelled == "negative", self.exclusive)
        if self.exclusive and len(class_names) < 2:
            raise ConfigError(f"task.exclusive=true needs two classes at least, got {', '.join(class_names)}")
        if self.exclusive and (n_several := int(((y_true == 1).sum(axis=1) > 1).sum())):
            log.warning("task.exclusive=true: left out %d records that have more than one class", n_several)
        return labels

    def class_of_statement(self, statements: pd.DataFrame) -> Mapping[str, str]:
        """Return the class of each statement that counts."""
        if self.classes == "challenge_class" and "challenge_class" not in statements:
            statements = statements.assign(challenge_class=_find_challenge_classes(statements.index))
        chosen = statements if self.statements == "all" else statements[statements[self.statements]]
        classes = pd.Series(chosen.index, chosen.index) if self.classes == "statement" else chosen[self.classes]
        return dict(classes.dropna())  # a code may be of no class


def _find_challenge_classes(statements: pd.Index) -> pd.Series:
    """Return the class of the Challenge 2021 of each SCP statement, missing where there is none."""
    codes = read_scp()["snomed_code"].reindex(statements)
    found: pd.Series = codes.map(read_snomed()["challenge_class"])
    if found.isna().all():
        raise ConfigError(
            "task.classes=challenge_class: none of the data set's statements is an SCP statement or a SNOMED CT code "
            f"with a class of the Challenge; they are {', '.join(map(str, statements[:5]))}, ..."
        )
    return found


def _either(one: int, other: int) -> int:
    """Return yes if either is yes, else unknown if either is unknown."""
    return 1 if 1 in (one, other) else min(one, other)
