r"""Intervals: how far a metric would move with another draw of patients.

Task
    Say for every metric of `metrics.score`, by class and over all classes, between which limits it lies at a stated
    confidence. `bootstrap` resamples patients; `correct_folds` widens the spread over cross-validation's folds.

Conventions
    - Patients are drawn with replacement, each with all of their records: records of one patient resemble one another,
      and intervals from drawing records are too narrow [1]_.
    - *percentile* takes the quantiles of the resamples; *expanded* takes quantiles further out, as far as Student's t
      is from the normal distribution with as many patients as show the class (or do not, if those are fewer) [3]_;
      *bca* corrects for bias and skewness [2]_, with the acceleration from leaving out one patient at a time.
    - A resample may lose the last positive (or negative) record of a rare class, where ranking metrics mean nothing.
      ``lost_class="redraw"`` draws the patients of such a resample anew for that class, so its interval is
      conditional on the class being there; ``"nan"`` leaves the resample out for that class and counts it. Either way
      the macro mean of a resample goes over the classes that it has.
    - A class with fewer than `min_positives` positive records (or negative ones) has an interval, marked as
      not supported: bootstrap limits of a handful of records cover less than they say.

References
----------
.. [1] C. A. Field, A. H. Welsh, "Bootstrapping clustered data", Journal of the Royal Statistical Society B 69(3),
       2007, doi:10.1111/j.1467-9868.2007.00593.x.
.. [2] B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association 82(397),
       1987, doi:10.1080/01621459.1987.10478410.
.. [3] T. C. Hesterberg, "What teachers should know about the bootstrap: resampling in the undergraduate statistics
       curriculum", The American Statistician 69(4), 2015, doi:10.1080/00031305.2015.1089789.
.. [4] C. Nadeau, Y. Bengio, "Inference for the generalization error", Machine Learning 52, 2003,
       doi:10.1023/A:1024068626366.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import check_arrays, check_settings
from ecgcls.evaluation.metrics import OVERALL, Scores, score

_BY_CLASS = ("pr_auc", "roc_auc", "f1", "mcc", "sensitivity", "specificity", "precision", "npv", "brier")
_MACRO = {"pr_auc": "pr_auc", "roc_auc": "roc_auc", "f1_macro": "f1", "mcc": "mcc"}
_MEANS = ("f1_micro", "brier", "log_loss")  # over all records and classes
METRICS = tuple(dict.fromkeys((*_BY_CLASS, *_MACRO, *_MEANS)))
"""The metrics that have an interval."""
_MAX_DRAWS = 200  # of a resample for a class that it lost
_CHUNK = 4_000_000  # weights in memory at once
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Bootstrap:
    """How to resample.

    Parameters
    ----------
    n_resamples
        Draws of as many patients as there are.
    level
        The confidence, such as 0.95.
    method
        ``expanded``, ``percentile`` or ``bca``.
    lost_class
        What becomes of a resample without a positive or without a negative record of a class: ``redraw`` or ``nan``.
    min_positives
        Classes with fewer positive (or negative) records are marked as not supported.
    seed
        Of the draws.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    n_resamples: int = 1000
    level: float = 0.95
    method: Literal["expanded", "percentile", "bca"] = "expanded"
    lost_class: Literal["redraw", "nan"] = "redraw"
    min_positives: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_settings(self, "intervals", n_resamples=2, min_positives=0)
        if not 0 < self.level < 1:
            raise ConfigError(f"intervals.level must be between 0 and 1, got {self.level:g}")

    def describe(self) -> dict[str, float | str]:
        """Return what a table of intervals says of how they were found."""
        return {"level": self.level, "method": self.method, "n_resamples": self.n_resamples}


def bootstrap(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    patient_id: ArrayLike,
    class_names: Sequence[str],
    *,
    threshold: float | Sequence[float] = 0.5,
    y_pred: ArrayLike | None = None,
    settings: Bootstrap = Bootstrap(),
) -> pd.DataFrame:
    """Return the interval of every metric.

    Parameters
    ----------
    y_true, y_prob
        0 or 1, and probabilities; ``(record, class)``.
    patient_id
        ``(record,)``: whose records they are.
    class_names
        One name a class.
    threshold
        One for all classes, or one a class.
    y_pred
        The decisions themselves, 0 or 1, ``(record, class)``; `threshold` then says nothing.
    settings
        How to resample.

    Returns
    -------
    DataFrame
        Indexed by ``class`` ('overall' for all together) and ``metric``. Columns: ``value``; ``low`` and ``high``
        (nan where the value is); ``n_positive``; ``n_lost``, the resamples that lost the class; ``is_supported``,
        whether the class, or for a macro average the rarest class in it, has positive and negative records enough.

    Raises
    ------
    DataError
        If the arrays do not fit together.
    """
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    scores = score(y_true, y_prob, class_names, threshold=threshold, y_pred=y_pred)
    patient_of = _number_patients(patient_id, len(y_true))
    decided = y_prob >= np.asarray(threshold, dtype=float) if y_pred is None else np.asarray(y_pred) == 1
    columns = _sort_columns(y_true, y_prob, decided)
    cross_entropy = _cross_entropy(y_true, y_prob)
    generator = np.random.default_rng(settings.seed)
    n_patients = int(patient_of.max()) + 1
    counts = generator.multinomial(n_patients, np.full(n_patients, 1 / n_patients), settings.n_resamples)
    by_class, overall, n_lost = _measure(columns, cross_entropy, counts.T, patient_of)
    if settings.lost_class == "redraw":
        for number, column in enumerate(columns):
            if column.is_defined and n_lost[number]:
                _redraw(by_class[:, :, number], column, patient_of, generator)
    left_out = None
    if settings.method == "bca":
        left_out = _measure(columns, cross_entropy, 1 - np.eye(n_patients, dtype=np.int64), patient_of)[:2]
    n_showing = [len(set(patient_of[y_true[:, number] == 1])) for number in range(len(class_names))]
    n_others = [len(set(patient_of[y_true[:, number] == 0])) for number in range(len(class_names))]
    n_units = dict(zip(map(str, class_names), map(min, n_showing, n_others), strict=True))
    n_units[OVERALL] = len(set(patient_of[y_true.any(axis=1)]))
    return _tabulate(scores, by_class, overall, left_out, n_lost, n_units, settings)


def resample(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    y_pred: ArrayLike,
    patient_id: ArrayLike,
    class_names: Sequence[str],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure resamples of the patients; two models of the same patients get the same draws.

    Parameters
    ----------
    y_true, y_prob, y_pred
        0 or 1, probabilities, and decisions; ``(record, class)``.
    patient_id
        ``(record,)``: whose records they are.
    class_names
        One name a class.
    n_resamples, seed
        How many draws of as many patients as there are, and their seed.

    Returns
    -------
    DataFrame
        Indexed by ``class`` and ``metric``: the column ``value``, and one a resample, from 0. nan where a resample
        lost the class.
    """
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    scores = score(y_true, y_prob, class_names, y_pred=y_pred)
    patient_of = _number_patients(patient_id, len(y_true))
    n_patients = int(patient_of.max()) + 1
    shares = np.full(n_patients, 1 / n_patients)
    counts = np.random.default_rng(seed).multinomial(n_patients, shares, n_resamples)
    columns = _sort_columns(y_true, y_prob, np.asarray(y_pred) == 1)
    by_class, overall, _ = _measure(columns, _cross_entropy(y_true, y_prob), counts.T, patient_of)
    listed = [*_list_metrics(scores, by_class, overall, None)]
    index = pd.MultiIndex.from_tuples([key for key, *_ in listed], names=["class", "metric"])
    table = pd.DataFrame(np.stack([resamples for _, _, resamples, _ in listed]), index=index)
    table.insert(0, "value", [value for _, value, *_ in listed])
    return table


def correct_folds(
    mean: ArrayLike, sd: ArrayLike, n_folds: ArrayLike, *, n_train: float, n_test: float, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return the interval of a metric's mean over the folds of a cross-validation, corrected after [4]_.

    The folds' training parts overlap, so their results vary less than those of independent experiments. The variance
    of the mean is taken as :math:`(1/k + n_{test}/n_{train}) s^2`, with k - 1 degrees of freedom.

    Parameters
    ----------
    mean, sd, n_folds
        Of the folds' values: their mean, their standard deviation (n - 1 in the denominator), and how many they are;
        numbers, or arrays of one shape.
    n_train, n_test
        Records of a fold's training and test part, on average.
    level
        The confidence.

    Returns
    -------
    low, high
        nan where there are fewer than two folds.

    Examples
    --------
    >>> low, high = correct_folds(0.72, 0.0158, 5, n_train=700, n_test=200)
    >>> round(float(low), 4), round(float(high), 4)
    (0.6894, 0.7506)
    """
    mean, sd, n_folds = (np.asarray(each, dtype=float) for each in (mean, sd, n_folds))
    with np.errstate(invalid="ignore", divide="ignore"):
        half = stats.t.ppf((1 + level) / 2, n_folds - 1) * sd * np.sqrt(1 / n_folds + n_test / n_train)
    return mean - half, mean + half


@dataclass(frozen=True, eq=False)
class _Column:
    """A class's records in falling order of their probability.

    Attributes
    ----------
    order
        ``(record,)``: which record stands where.
    ends
        The last position of each probability: equal ones are one step of the curve.
    truth, is_predicted
        ``(record,)`` bool, in that order.
    squared_error
        ``(record,)``: of the probability, in that order.
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    truth: NDArray[np.bool_]
    is_predicted: NDArray[np.bool_]
    squared_error: NDArray[np.float64]

    @classmethod
    def sort(cls, truth: NDArray, y_prob: NDArray, *, is_predicted: NDArray[np.bool_]) -> _Column:
        order = np.argsort(-y_prob, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(y_prob[order])), len(order) - 1)
        return cls(order, ends, truth[order] == 1, is_predicted[order], (y_prob - truth)[order] ** 2)

    @property
    def is_defined(self) -> bool:
        """Whether there are positive and negative records."""
        return bool(self.truth.any() and not self.truth.all())

    def measure(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the metrics of `_BY_CLASS`, ``(metric, resample)``, of weights ``(record, resample)``.

        nan where a resample has no positive or no negative record.
        """
        weights = weights[self.order]
        true = weights[self.truth]
        n_true_above = np.cumsum(np.where(self.truth[:, None], weights, 0), axis=0)[self.ends]  # (step, resample)
        n_above = np.cumsum(weights, axis=0)[self.ends]
        n_pos, n_neg = n_true_above[-1], n_above[-1] - n_true_above[-1]
        n_false_above = n_above - n_true_above
        gained = np.diff(n_true_above, axis=0, prepend=0)
        lost = np.diff(n_false_above, axis=0, prepend=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            average_precision = (gained * n_true_above / np.maximum(n_above, 1)).sum(axis=0) / n_pos
            area = (gained * (n_neg - n_false_above + lost / 2)).sum(axis=0) / (n_pos * n_neg)
            tp = true[self.is_predicted[self.truth]].sum(axis=0)
            fp = weights[self.is_predicted & ~self.truth].sum(axis=0)
            fn, tn = n_pos - tp, n_neg - fp
            spread = np.sqrt((tp + fp) * n_pos * n_neg * (tn + fn))
            mcc = np.where(spread > 0, (tp * tn - fp * fn) / spread, 0.0)  # as scikit-learn has it
            brier = self.squared_error @ weights / (n_pos + n_neg)
            found = np.stack(
                [
                    average_precision, area, 2 * tp / (2 * tp + fp + fn), mcc, tp / n_pos, tn / n_neg, tp / (tp + fp),
                    tn / (tn + fn), brier,
                ]
            )  # fmt: skip
        found[:, (n_pos == 0) | (n_neg == 0)] = np.nan
        return found


def _number_patients(patient_id: ArrayLike, n_records: int) -> NDArray[np.int64]:
    """Number the patients from 0, ``(record,)``."""
    patients, patient_of = np.unique(np.asarray(patient_id), return_inverse=True)
    if patient_of.shape != (n_records,):
        raise DataError(f"patient_id must have shape ({n_records},) like y_true, got {np.shape(patient_id)}")
    if len(patients) < 2:
        raise DataError(f"intervals need at least two patients, got {len(patients)}")
    return patient_of


def _sort_columns(y_true: NDArray[np.int8], y_prob: NDArray[np.float64], decided: NDArray[np.bool_]) -> list[_Column]:
    numbers = range(y_true.shape[1])
    return [_Column.sort(y_true[:, one], y_prob[:, one], is_predicted=decided[:, one]) for one in numbers]


def _cross_entropy(y_true: NDArray[np.int8], y_prob: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean binary cross entropy of each record, ``(record,)``."""
    clipped = np.clip(y_prob, _EPS, 1 - _EPS)
    entropy: NDArray[np.float64] = -np.where(y_true == 1, np.log(clipped), np.log1p(-clipped)).mean(axis=1)
    return entropy


_Measured = tuple[NDArray[np.float64], dict[str, NDArray[np.float64]], NDArray[np.int64]]


def _measure(
    columns: Sequence[_Column],
    cross_entropy: NDArray[np.float64],
    counts: NDArray[np.int64],
    patient_of: NDArray[np.int64],
) -> _Measured:
    """Measure resamples of patients.

    Parameters
    ----------
    counts
        ``(patient, resample)``: how often a patient was drawn.

    Returns
    -------
    by_class, overall, n_lost
        ``(metric, resample, class)``; by metric ``(resample,)``, without the macro means; ``(class,)``.
    """
    n_resamples = counts.shape[1]
    by_class = np.empty((len(_BY_CLASS), n_resamples, len(columns)))
    overall = {name: np.empty(n_resamples) for name in _MEANS}
    step = max(1, _CHUNK // len(patient_of))
    for start in range(0, n_resamples, step):
        chunk = slice(start, start + step)
        weights = counts[:, chunk][patient_of]  # (record, resample)
        n_hits = np.zeros((2, weights.shape[1]))  # true positives, and predicted plus positive
        for number, column in enumerate(columns):
            by_class[:, chunk, number] = column.measure(weights)
            hits = (column.truth & column.is_predicted).astype(float)
            either = column.truth.astype(float) + column.is_predicted
            n_hits += np.stack([hits, either])[:, np.argsort(column.order)] @ weights
        with np.errstate(divide="ignore", invalid="ignore"):
            overall["f1_micro"][chunk] = 2 * n_hits[0] / n_hits[1]
            overall["log_loss"][chunk] = cross_entropy @ weights / weights.sum(axis=0)
            errors = sum(column.squared_error[np.argsort(column.order)] for column in columns) / len(columns)
            overall["brier"][chunk] = errors @ weights / weights.sum(axis=0)
    return by_class, overall, np.isnan(by_class[0]).sum(axis=0)


def _redraw(
    found: NDArray[np.float64], column: _Column, patient_of: NDArray[np.int64], generator: np.random.Generator
) -> None:
    """Draw anew the resamples, ``(metric, resample)``, that lost a class."""
    n_patients = int(patient_of.max()) + 1
    for _ in range(_MAX_DRAWS):
        lost = np.flatnonzero(np.isnan(found[0]))
        if not len(lost):
            return
        counts = generator.multinomial(n_patients, np.full(n_patients, 1 / n_patients), len(lost))
        found[:, lost] = column.measure(counts.T[patient_of])


def _tabulate(
    scores: Scores,
    by_class: NDArray[np.float64],
    overall: dict[str, NDArray[np.float64]],
    left_out: tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]] | None,
    n_lost: NDArray[np.int64],
    n_units: dict[str, int],
    settings: Bootstrap,
) -> pd.DataFrame:
    names = [*map(str, scores.by_class.index)]
    n_positive = dict(zip(names, scores.by_class["n_positive"].astype(int), strict=True))
    n_negative = dict(zip(names, scores.by_class["n_negative"].astype(int), strict=True))
    lost = dict(zip(names, n_lost.tolist(), strict=True))
    rarest_of = {name: min(n_positive[name], n_negative[name]) for name in names}
    all_positive = sum(n_positive.values())
    rarest_scored = min((rarest for rarest in rarest_of.values() if rarest > 0), default=0)
    rows = []
    for (name, metric), value, resamples, jackknife in _list_metrics(scores, by_class, overall, left_out):
        low, high = _limits(value, resamples, jackknife, n_units[name], settings)
        # A macro average is no surer than its classes, a micro one counts all together.
        rarest = rarest_of.get(name, all_positive if metric.endswith("_micro") else rarest_scored)
        rows.append(
            {
                "class": name,
                "metric": metric,
                "value": value,
                "low": low,
                "high": high,
                "n_positive": n_positive.get(name, all_positive),
                "n_lost": lost.get(name, 0),
                "is_supported": rarest >= settings.min_positives,
                "contains_value": bool(low <= value <= high),
            }
        )
    return pd.DataFrame(rows).set_index(["class", "metric"])


def _list_metrics(
    scores: Scores,
    by_class: NDArray[np.float64],
    overall: dict[str, NDArray[np.float64]],
    left_out: tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]] | None,
) -> Iterator[tuple[tuple[str, str], float, NDArray[np.float64], NDArray[np.float64] | None]]:
    """Yield each metric's key, value, resamples, and values without one patient each."""
    is_defined = scores.by_class["pr_auc"].notna().to_numpy()

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        defined = values[:, is_defined]  # (resample, class)
        n_left = (~np.isnan(defined)).sum(axis=1)
        return np.where(n_left > 0, np.nansum(defined, axis=1) / np.maximum(n_left, 1), np.nan)

    for name, source in _MACRO.items():
        number = _BY_CLASS.index(source)
        yield (OVERALL, name), scores.overall[name], mean(by_class[number]), left_out and mean(left_out[0][number])
    for name, values in overall.items():
        yield (OVERALL, name), scores.overall[name], values, left_out and left_out[1][name]
    for column, class_name in enumerate(scores.by_class.index):
        for number, metric in enumerate(_BY_CLASS):
            value = float(scores.by_class[metric].iloc[column])
            yield (
                (str(class_name), metric),
                value if is_defined[column] else np.nan,
                by_class[number, :, column],
                left_out and left_out[0][number, :, column],
            )


def _limits(
    value: float,
    resamples: NDArray[np.float64],
    jackknife: NDArray[np.float64] | None,
    n_units: int,
    settings: Bootstrap,
) -> tuple[float, float]:
    """Return an interval's limits; nan where the value is nan or no resample is left."""
    found = resamples[~np.isnan(resamples)]
    if np.isnan(value) or not len(found):
        return np.nan, np.nan
    shares = np.array([(1 - settings.level) / 2, (1 + settings.level) / 2])
    if settings.method == "expanded" and n_units > 1:
        shares = stats.norm.cdf(np.sqrt(n_units / (n_units - 1)) * stats.t.ppf(shares, n_units - 1))
    if jackknife is not None:
        corrected = _correct_shares(shares, value, found, jackknife[~np.isnan(jackknife)])
        shares = shares if np.isnan(corrected).any() else corrected  # where all resamples lie on one side of the value
    low, high = np.quantile(found, shares)
    return float(low), float(high)


def _correct_shares(
    shares: NDArray[np.float64], value: float, resamples: NDArray[np.float64], jackknife: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Say which quantiles of the resamples are the limits, after bias and skewness [2]_; nan where undefined."""
    below = (np.mean(resamples < value) + np.mean(resamples <= value)) / 2
    bias = stats.norm.ppf(below)
    deviations = jackknife.mean() - jackknife
    spread = (deviations**2).sum() ** 1.5
    acceleration = (deviations**3).sum() / (6 * spread) if spread else 0.0
    moved = bias + stats.norm.ppf(shares)
    with np.errstate(invalid="ignore"):
        return stats.norm.cdf(bias + moved / (1 - acceleration * moved))
