"""From SCP statements to multi-hot labels.

A task defines which statements of ``scp_statements.csv`` count (its columns ``diagnostic``, ``form``, ``rhythm``) and
what a class is: the statement itself, its diagnostic subclass or its diagnostic superclass. A statement counts if it
is listed, whatever its likelihood: in PTB-XL a likelihood of 0 means 'unknown', not 'absent'.

References
----------
.. [1] Strodthoff, Wagner, Schaeffter, Samek. Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL.
   IEEE J. Biomed. Health Inform. 25 (2021) 1519-1528. doi:10.1109/JBHI.2020.3022989 (the same six tasks)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.errors import ConfigError, DataError


@dataclass(frozen=True)
class Labels:
    """The labels of records."""

    y_true: NDArray[np.bool_]
    """``(record, class)``, multi-hot."""
    class_names: tuple[str, ...]

    @property
    def has_label(self) -> NDArray[np.bool_]:
        """Whether a record has any label, ``(record,)``."""
        return self.y_true.sum(axis=1) > 0


@dataclass(frozen=True, kw_only=True)
class Task:
    """Which statements count, and which class each belongs to.

    Parameters
    ----------
    statements
        Which statements count: diagnostic, form or rhythm statements, or all.
    classes
        What a class is: the statement itself, or the diagnostic subclass or superclass it belongs to.
    class_order
        Names of classes that come first, in this order; the others follow in the order of ``scp_statements.csv``. It
        never adds or removes a class.
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
    """

    statements: Literal["diagnostic", "form", "rhythm", "all"]
    classes: Literal["statement", "diagnostic_subclass", "diagnostic_class"] = "statement"
    class_order: Sequence[str] = ()
    k: int | None = None
    min_likelihood: float = 0.0
    absent_classes: Literal["error", "drop"] = "error"

    def __post_init__(self) -> None:
        if self.classes != "statement" and self.statements != "diagnostic":
            raise ConfigError(
                f"task.classes={self.classes} needs task.statements=diagnostic, got {self.statements}: "
                "other statements have no diagnostic class"
            )
        if self.k is not None and self.k < 1:
            raise ConfigError(f"task.k must be at least 1, got {self.k}")
        if not 0 <= self.min_likelihood <= 100:
            raise ConfigError(f"task.min_likelihood must be in [0, 100] percent, got {self.min_likelihood:g}")

    def label(self, scp_codes: pd.Series, statements: pd.DataFrame) -> Labels:
        """Label every record; `scp_codes` (by ecg_id) and `statements` are as `ecgcls.data.source.Source` has them.

        Raises
        ------
        DataError
            If a record has a statement that is not in the table.
        ConfigError
            If `class_order` names a class that does not exist, or `k` exceeds their number.
        """
        class_of = self.class_of_statement(statements)
        class_names = list(dict.fromkeys(class_of.values()))
        if unknown := [name for name in self.class_order if name not in class_names]:
            raise ConfigError(
                f"task.class_order: {', '.join(unknown)} is not a class of this task; it has {', '.join(class_names)}"
            )
        class_names = list(dict.fromkeys([*self.class_order, *class_names]))
        column = {name: position for position, name in enumerate(class_names)}
        y_true = np.zeros((len(scp_codes), len(class_names)), dtype=np.bool_)
        known = set(statements.index)
        for row, (ecg_id, codes) in enumerate(scp_codes.items()):
            for statement, likelihood in codes.items():
                if statement in class_of:
                    y_true[row, column[class_of[statement]]] |= likelihood >= self.min_likelihood
                elif statement not in known:
                    raise DataError(
                        f"scp_codes of ecg_id {ecg_id}: the statement {statement!r} is not in scp_statements.csv"
                    )
        if self.k is None:
            return Labels(y_true, tuple(class_names))
        if self.k > len(class_names):
            raise ConfigError(f"task.k must be in 1..{len(class_names)}, got {self.k}")
        kept = np.argsort(-y_true.sum(axis=0), kind="stable")[: self.k]
        return Labels(y_true[:, kept], tuple(class_names[position] for position in kept))

    def label_as(self, class_names: Sequence[str], scp_codes: pd.Series, statements: pd.DataFrame) -> Labels:
        """Label records of another data set, as `label`, with the classes that a net was trained for.

        Raises
        ------
        ConfigError
            If the other data set's statements have no such class.
        """
        labels = replace(self, k=None).label(scp_codes, statements)
        unknown = [name for name in class_names if name not in labels.class_names]
        if unknown:
            raise ConfigError(f"scp_statements.csv has no class {', '.join(unknown)}, which the net was trained for")
        columns = [labels.class_names.index(name) for name in class_names]
        return Labels(labels.y_true[:, columns], tuple(class_names))

    def class_of_statement(self, statements: pd.DataFrame) -> Mapping[str, str]:
        """Return the class of each statement that counts."""
        chosen = statements if self.statements == "all" else statements[statements[self.statements]]
        classes = chosen.index if self.classes == "statement" else chosen[self.classes]
        return dict(zip(chosen.index, classes, strict=True))
