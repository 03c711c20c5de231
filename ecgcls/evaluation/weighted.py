"""Weighted records: the sums and the curves that metrics are computed from.

A weight is how often a record counts: 1 for the records as they are; 0, 1, 2, ... in a resample that draws them with
replacement. Weights are float64 ``(record, resample)``, so one pass measures many resamples, with the function that
gives a metric's own value; sums of whole numbers are exact. Of a class, only the records that are annotated for it
count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import DataError
from ecgcls.evaluation.by_record import ByRecord
from ecgcls.evaluation.challenge import is_scored, measure_credits
from ecgcls.evaluation.checks import check_arrays, check_logits, check_threshold, check_whole_numbers

Array = NDArray[np.float64]
_EPS = float(np.finfo(np.float64).eps)


def cross_entropy(y_true: NDArray, y_prob: Array, pos_weight: ArrayLike = 1.0) -> Array:
    r"""Return the binary cross entropy of each probability, in nats.

    It is :math:`-w y \log p - (1 - y) \log(1 - p)` with the weight w of positive labels, and p clipped to
    [eps, 1 - eps] with the eps of float64, 2.2e-16, as scikit-learn's `log_loss` does: 36.04 at worst for w = 1.
    """
    clipped = np.clip(y_prob, _EPS, 1 - _EPS)
    entropy: Array = np.where(y_true == 1, -np.asarray(pos_weight) * np.log(clipped), -np.log1p(-clipped))
    return entropy


def average_defined(values: Sequence[Array] | Array) -> Array:
    """Return the mean of the values that are not nan over the first axis; nan where all are."""
    has_value = ~np.isnan(values)
    n_values = has_value.sum(axis=0)
    total: Array = np.where(has_value, values, 0.0).sum(axis=0)
    return np.where(n_values > 0, total / np.maximum(n_values, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Totals:
    """Weighted sums over the records of one class, or over the cells of all classes; ``(resample,)`` each."""

    tp: Array
    fp: Array
    fn: Array
    tn: Array
    squared_error: Array
    cross_entropy: Array

    @property
    def n_positive(self) -> Array:
        """The weight of all positive labels."""
        return self.tp + self.fn

    @property
    def n_negative(self) -> Array:
        """The weight of all negative labels."""
        return self.fp + self.tn

    @property
    def n_labels(self) -> Array:
        """The weight of all labels."""
        return self.n_positive + self.n_negative


@dataclass(frozen=True, eq=False)
class Weighted(Totals):
    """The sums and the curve of one class."""

    curve: Curve


@dataclass(frozen=True, eq=False)
class Curve:
    """The counts that ROC and PR curves are drawn from, at each score of a positive record in falling order.

    ``(step, resample)`` each: `tp` and `fp` of the records with at least this score, `new_tp` and `new_fp` of those
    with exactly this one.
    """

    tp: Array
    fp: Array
    new_tp: Array
    new_fp: Array


@dataclass(frozen=True, eq=False)
class Ranking:
    """The annotated records of one class by falling score; equal scores are one step.

    Only steps with a positive record are kept: between them recall does not rise, so no area is added.
    """

    order: NDArray[np.intp]  # (annotated record,) by falling score
    begins: NDArray[np.intp]  # (step,) its first position in `order`
    ends: NDArray[np.intp]  # (step,) the position past its last
    positives: NDArray[np.intp]  # the positive records of `order`
    last_positives: NDArray[np.intp]  # (step,) the position in `positives` of its last one

    @classmethod
    def sort(cls, y_true: NDArray[np.bool_], y_score: Array, is_known: NDArray[np.bool_]) -> Ranking:
        """Sort records, ``(record,)``."""
        known = np.flatnonzero(is_known)
        order = known[np.argsort(-y_score[known], kind="stable")]
        begins = np.append(0, np.flatnonzero(np.diff(y_score[order])) + 1)
        ends = np.append(begins[1:], len(order))
        positions = np.flatnonzero(y_true[order])
        step_of = np.searchsorted(begins, positions, side="right") - 1
        last = np.flatnonzero(np.diff(step_of, append=len(begins)))
        steps = step_of[last]
        return cls(order, begins[steps], ends[steps], order[positions], last)

    def count(self, weights: Array) -> Curve:
        """Count weighted records, ``(record, resample)``."""
        above = np.cumsum(weights[self.order], axis=0)
        n_before = np.where(self.begins[:, None] > 0, above[self.begins - 1], 0)
        n_above = above[self.ends - 1]
        tp = np.cumsum(weights[self.positives], axis=0)[self.last_positives]
        new_tp = np.diff(tp, axis=0, prepend=0)
        return Curve(tp, n_above - tp, new_tp, n_above - n_before - new_tp)


@dataclass(frozen=True, eq=False)
class Records:
    """Labels, probabilities, what ranks the records, and decisions, ``(record, class)``.

    A label that nobody annotated is neither `y_true` nor `is_negative`. `fold`, ``(record,)``, is which net predicted
    the record; None where all were predicted by the same. `credits`, ``(3, record)``, is what each record earns
    (`challenge.measure_credits`) where the classes are the Challenge's.
    """

    y_true: NDArray[np.bool_]
    is_negative: NDArray[np.bool_]
    y_prob: Array
    y_score: Array
    y_pred: NDArray[np.bool_]
    fold: NDArray[np.int64] | None = None
    credits: Array | None = None

    @classmethod
    def check(
        cls,
        y_true: ArrayLike,
        y_prob: ArrayLike,
        class_names: Sequence[str],
        *,
        threshold: float | Sequence[float] = 0.5,
        y_pred: ArrayLike | None = None,
        y_logit: ArrayLike | None = None,
        fold: ArrayLike | None = None,
    ) -> Records:
        """Check the arrays; without `y_pred`, a record is predicted positive where ``y_prob >= threshold``.

        The logits rank the records; without them, the probabilities do.
        """
        labels, y_prob = check_arrays(y_true, y_prob, class_names)
        predicted = y_prob >= check_threshold(threshold, class_names)
        if y_pred is not None:
            predicted = check_arrays(y_pred, y_prob, class_names, name="y_pred")[0] == 1
        y_score = y_prob if y_logit is None else check_logits(y_logit, y_prob, class_names)
        fold_of = None if fold is None else check_whole_numbers("fold", fold)
        if fold_of is not None and fold_of.shape != (len(labels),):
            raise DataError(f"fold must have shape ({len(labels)},) like y_true, got {fold_of.shape}")
        earned = (
            measure_credits(labels == 1, predicted & (labels >= 0), class_names) if is_scored(class_names) else None
        )
        return cls(labels == 1, labels == 0, y_prob, y_score, predicted, fold_of, earned)

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether the label was annotated."""
        return self.y_true | self.is_negative

    def average_loss(self, pos_weight: Array) -> float:
        """Return the mean `cross_entropy` of all annotated labels, with a positive weight per class."""
        losses = cross_entropy(self.y_true, self.y_prob, pos_weight)[self.is_known]
        return float(losses.mean()) if losses.size else np.nan

    def take_class(self, column: int) -> Records:
        """Keep one class."""
        return Records(**{name: array[:, [column]] for name, array in self._of_classes.items()}, fold=self.fold)

    @cached_property
    def by_fold(self) -> list[tuple[NDArray[np.intp], Records]]:
        """The rows of each fold, and its records, of one fold each."""
        rows = [np.flatnonzero(self.fold == number) for number in np.unique(self.fold)]  # type: ignore[arg-type]
        return [(of_fold, self._take(of_fold)) for of_fold in rows]

    def _take(self, rows: NDArray[np.intp]) -> Records:
        earned = None if self.credits is None else self.credits[:, rows]
        return Records(**{name: array[rows] for name, array in self._of_classes.items()}, credits=earned)

    @property
    def _of_classes(self) -> dict[str, NDArray]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("fold", "credits")}

    @cached_property
    def rankings(self) -> list[Ranking]:
        """One per class."""
        return [
            Ranking.sort(*of_class) for of_class in zip(self.y_true.T, self.y_score.T, self.is_known.T, strict=True)
        ]

    @cached_property
    def by_record(self) -> ByRecord:
        """The same records, each with all its classes."""
        return ByRecord.sort(self.y_true, self.y_score, self.is_known)

    @cached_property
    def quantities(self) -> Array:
        """What `Totals` sums, ``(quantity, class, record)``."""
        true, negative, predicted = self.y_true.T, self.is_negative.T, self.y_pred.T
        squared_error = np.where(self.is_known, (self.y_prob - self.y_true) ** 2, 0.0).T
        entropy = np.where(self.is_known, cross_entropy(self.y_true, self.y_prob), 0.0).T
        counts = true & predicted, negative & predicted, true & ~predicted, negative & ~predicted
        return np.stack([*counts, squared_error, entropy])
