"""Weighted records, and how a metric is computed from them.

Conventions
    A weight is how often a record counts: 1 for the records as they are; 0, 1, 2, ... in a resample that draws them
    with replacement. Weights are float64 ``(record, resample)``, so one pass measures many resamples, with the function
    that gives a metric's own value; sums of whole numbers are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgcls.evaluation.checks import check_arrays, check_threshold

Array = NDArray[np.float64]
_EPS = float(np.finfo(np.float64).eps)


def cross_entropy(y_true: NDArray, y_prob: Array, pos_weight: ArrayLike = 1.0) -> Array:
    r"""Return the binary cross entropy of each probability, in nats.

    It is :math:`-w y \log p - (1 - y) \log(1 - p)`, with p clipped to [eps, 1 - eps] and the eps of float64, 2.2e-16,
    as scikit-learn's `log_loss` does: 36.04 at worst for a weight of 1.

    Parameters
    ----------
    y_true, y_prob
        0 or 1, and probabilities; of one shape.
    pos_weight
        The weight w of positive labels; a number, or an array that broadcasts to that shape.
    """
    clipped = np.clip(y_prob, _EPS, 1 - _EPS)
    entropy: Array = np.where(y_true == 1, -np.asarray(pos_weight) * np.log(clipped), -np.log1p(-clipped))
    return entropy


@dataclass(frozen=True, eq=False)
class Totals:
    """Weighted sums over the records of one class, or over the cells of all classes; ``(resample,)`` each.

    Attributes
    ----------
    tp, fp, fn, tn
        True and false positives, false and true negatives.
    squared_error, cross_entropy
        Of the probabilities.
    """

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
    """The records of one class with their weights.

    Attributes
    ----------
    y_true, y_pred
        ``(record,)`` bool.
    y_prob
        ``(record,)``.
    weights
        ``(record, resample)``.
    ranking
        The records by falling probability.
    """

    y_true: NDArray[np.bool_]
    y_pred: NDArray[np.bool_]
    y_prob: Array
    weights: Array
    ranking: Ranking

    @cached_property
    def curve(self) -> Curve:
        """The counts from which the ROC and the PR curve are drawn."""
        return self.ranking.count(self.weights)


@dataclass(frozen=True, eq=False)
class Curve:
    """Weights of records by falling probability, at each probability of a positive record; ``(step, resample)`` each.

    Attributes
    ----------
    tp, fp
        Of the positive and the negative records with at least this probability.
    new_tp, new_fp
        Of those with exactly this probability.
    """

    tp: Array
    fp: Array
    new_tp: Array
    new_fp: Array


@dataclass(frozen=True, eq=False)
class Ranking:
    """The records of one class by falling probability; equal probabilities are one step.

    Only steps with a positive record are kept: between them recall does not rise, so no area is added.

    Attributes
    ----------
    order
        ``(record,)``: the records by falling probability.
    begins, ends
        ``(step,)``: the first position in `order` of each step, and the one past its last.
    positives
        The positive records in that order.
    last_positives
        ``(step,)``: the position in `positives` of each step's last one.
    """

    order: NDArray[np.intp]
    begins: NDArray[np.intp]
    ends: NDArray[np.intp]
    positives: NDArray[np.intp]
    last_positives: NDArray[np.intp]

    @classmethod
    def sort(cls, y_true: NDArray[np.bool_], y_prob: Array) -> Ranking:
        """Sort records, ``(record,)``."""
        order = np.argsort(-y_prob, kind="stable")
        begins = np.append(0, np.flatnonzero(np.diff(y_prob[order])) + 1)
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
    """Labels, probabilities and decisions, ``(record, class)``."""

    y_true: NDArray[np.bool_]
    y_prob: Array
    y_pred: NDArray[np.bool_]

    @classmethod
    def check(
        cls,
        y_true: ArrayLike,
        y_prob: ArrayLike,
        class_names: Sequence[str],
        *,
        threshold: float | Sequence[float] = 0.5,
        y_pred: ArrayLike | None = None,
    ) -> Records:
        """Check the arrays; without `y_pred`, a record is predicted positive where ``y_prob >= threshold``."""
        labels, y_prob = check_arrays(y_true, y_prob, class_names)
        predicted = y_prob >= check_threshold(threshold, class_names)
        if y_pred is not None:
            predicted = check_arrays(y_pred, y_prob, class_names, name="y_pred")[0] == 1
        return cls(labels == 1, y_prob, predicted)

    def take_class(self, column: int) -> Records:
        """Keep one class."""
        return Records(self.y_true[:, [column]], self.y_prob[:, [column]], self.y_pred[:, [column]])

    @cached_property
    def _rankings(self) -> list[Ranking]:
        return [Ranking.sort(*columns) for columns in zip(self.y_true.T, self.y_prob.T, strict=True)]

    @cached_property
    def _quantities(self) -> Array:
        """What `Totals` sums, ``(quantity, class, record)``."""
        true, predicted = self.y_true.T, self.y_pred.T
        squared_error = (self.y_prob - self.y_true).T ** 2
        entropy = cross_entropy(self.y_true, self.y_prob).T
        counts = true & predicted, ~true & predicted, true & ~predicted, ~true & ~predicted
        return np.stack([*counts, squared_error, entropy])

    def weigh(self, weights: Array) -> tuple[Iterator[Weighted], Totals]:
        """Weigh the records.

        Parameters
        ----------
        weights
            ``(record, resample)``.

        Returns
        -------
        by_class, pooled
            The classes in order, one at a time; and the sums over all classes.
        """
        sums = self._quantities @ weights  # (quantity, class, resample)
        tp, fp, fn, tn, error, entropy = sums
        columns = zip(self.y_true.T, self.y_pred.T, self.y_prob.T, self._rankings, strict=True)
        by_class = (
            Weighted(tp[at], fp[at], fn[at], tn[at], error[at], entropy[at], y_true, y_pred, y_prob, weights, ranking)
            for at, (y_true, y_pred, y_prob, ranking) in enumerate(columns)
        )
        return by_class, Totals(*sums.sum(axis=1))


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of the registry, `ecgcls.evaluation.metrics.METRICS`.

    The functions return an array ``(resample,)``, nan where the metric is undefined; they may divide by 0.

    Parameters
    ----------
    key, label
        In tables for machines, and for readers.
    by_class
        The metric of one class; None: it has no value per class.
    macro_of
        Over all classes, the metric is the mean of the metric with this key over the defined classes.
    pooled
        Over all classes, the metric is this function of the sums over all records and classes.
    higher_is_better
        Or lower.
    needs_both
        Whether the metric of a class without positive or without negative records is nan, whatever `by_class` returns.
    is_headline
        Whether short tables, such as a leaderboard, show the metric.
    """

    key: str
    label: str
    by_class: Callable[[Weighted], Array] | None = None
    macro_of: str | None = None
    pooled: Callable[[Totals], Array] | None = None
    higher_is_better: bool = True
    needs_both: bool = True
    is_headline: bool = False


@dataclass(frozen=True, eq=False)
class Measured:
    """Metrics of weighted records.

    Attributes
    ----------
    metrics
        The registry that was measured.
    by_class
        By key ``(class, resample)``.
    pooled
        By key ``(resample,)``.
    is_defined
        ``(class, resample)``: whether the class has positive and negative records.
    """

    metrics: Mapping[str, Metric]
    by_class: dict[str, Array]
    pooled: dict[str, Array]
    is_defined: NDArray[np.bool_]

    def average(self) -> dict[str, Array]:
        """Return the metrics over all classes, by key ``(resample,)``; a macro mean leaves out what is undefined."""
        found = {}
        for key, metric in self.metrics.items():
            if key in self.pooled:
                found[key] = self.pooled[key]
            elif metric.macro_of is not None:
                values = np.where(self.is_defined, self.by_class[metric.macro_of], np.nan)
                n_left = (~np.isnan(values)).sum(axis=0)
                found[key] = np.where(n_left > 0, np.nansum(values, axis=0) / np.maximum(n_left, 1), np.nan)
        return found


def measure(records: Records, weights: Array, metrics: Mapping[str, Metric]) -> Measured:
    """Measure records with their weights, ``(record, resample)``."""
    shape = records.y_true.shape[1], weights.shape[1]
    functions = {key: metric.by_class for key, metric in metrics.items() if metric.by_class is not None}
    by_class = {key: np.empty(shape) for key in functions}
    is_defined = np.empty(shape, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        weighted, totals = records.weigh(weights)
        for column, one in enumerate(weighted):
            is_defined[column] = (one.n_positive > 0) & (one.n_negative > 0)
            for key, function in functions.items():
                has_value = is_defined[column] | (not metrics[key].needs_both)
                by_class[key][column] = np.where(has_value, function(one), np.nan)
        pooled = {key: metric.pooled(totals) for key, metric in metrics.items() if metric.pooled is not None}
    return Measured(metrics, by_class, pooled, is_defined)
