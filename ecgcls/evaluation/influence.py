r"""Influence: by how much each record moves a metric of a class, from which its variance follows.

Conventions
    - The influence of a record is the derivative of the metric with respect to the record's weight, where all weights
      are 1 (the infinitesimal jackknife [1]_); they sum to 0. Summed over the records of each patient and squared, they
      give the variance of the metric over other patients. For ROC-AUC that is DeLong's variance for clustered records
      [2]_ [3]_.
    - A *share* is what a record is of the metric's denominator: 1/m for each of m positive records, and 0 for a
      negative one. Areas under curves rest on the negative records, too, with shares of their own.
    - Of several folds, in which a metric is the mean over the folds, influences and shares are means, too.
    - Average precision of few positive records is too high, as each of them counts among the records at its own
      threshold. `Estimate.center` is the metric with the patient's own positive records left out at each threshold, and
      those of the others scaled up; that removes most of the bias.

References
----------
.. [1] B. Efron, "The jackknife, the bootstrap and other resampling plans", SIAM, 1982, doi:10.1137/1.9781611970319.
.. [2] E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
       operating characteristic curves: a nonparametric approach", Biometrics 44(3), 1988, doi:10.2307/2531595.
.. [3] N. A. Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53(2), 1997,
       doi:10.2307/2533958.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgcls.evaluation.weighted import Array, Ranking, Records


@dataclass(frozen=True, eq=False)
class Estimate:
    """A metric, and what each record, ``(record,)``, has to do with it.

    Parameters
    ----------
    value, center
        The metric, and the metric without the bias of few records; the same for all but average precision.
    influence, share
        See above.
    other_share
        The shares of the negative records, where the metric rests on them, too; None elsewhere.
    """

    value: float
    center: float
    influence: Array
    share: Array
    other_share: Array | None = None


def estimate(key: str, records: Records, column: int, patient_of: NDArray[np.intp]) -> Estimate | None:
    """Estimate one metric of one class; None where it is undefined. Patients are numbered, ``(record,)``."""
    if records.fold is None:
        return _of_fold(key, records, column, patient_of)
    folds = [(rows, _of_fold(key, of_fold, column, patient_of[rows])) for rows, of_fold in records.by_fold]
    return _average([(rows, found) for rows, found in folds if found], len(records.y_true))


def _of_fold(key: str, records: Records, column: int, patient_of: NDArray[np.intp]) -> Estimate | None:
    truth, negative, called = (each[:, column] for each in (records.y_true, records.is_negative, records.y_pred))
    if key in _RATES:
        return _estimate_rate(*_RATES[key](truth, negative, called))
    if not (truth.any() and negative.any()):
        return None
    if key == "roc_auc":
        return _estimate_roc_auc(truth, negative, records.rankings[column])
    if key == "pr_auc":
        return _estimate_average_precision(truth, negative, records.rankings[column], patient_of)
    return _COUNTS[key](truth, negative, called)


def _average(folds: Sequence[tuple[NDArray[np.intp], Estimate]], n_records: int) -> Estimate | None:
    """Return the mean over folds, each with the rows of its records."""
    if not folds:
        return None
    influence, share, other = np.zeros((3, n_records))
    for rows, found in folds:
        influence[rows], share[rows] = found.influence / len(folds), found.share / len(folds)
        if found.other_share is not None:
            other[rows] = found.other_share / len(folds)
    value, center = (float(np.mean([getattr(found, name) for _, found in folds])) for name in ("value", "center"))
    return Estimate(value, center, influence, share, None if folds[0][1].other_share is None else other)


def _estimate_rate(hit: NDArray[np.bool_], counts: NDArray[np.bool_]) -> Estimate | None:
    """Estimate the share of hits among the records that count, ``(record,)`` each."""
    if not counts.any():
        return None
    share = counts / counts.sum()
    value = float(share @ hit)
    return Estimate(value, value, share * (hit - value), share)


def _estimate_f1(truth: NDArray[np.bool_], negative: NDArray[np.bool_], called: NDArray[np.bool_]) -> Estimate:
    """F1 is 2J / (1 + J), where J is the share of hits among the records that are positive or called so."""
    found = _estimate_rate(truth & called, truth | (negative & called))
    assert found is not None  # there is a positive record
    value = 2 * found.value / (1 + found.value)
    return Estimate(value, value, 2 / (1 + found.value) ** 2 * found.influence, found.share)


def _estimate_mcc(truth: NDArray[np.bool_], negative: NDArray[np.bool_], called: NDArray[np.bool_]) -> Estimate:
    cells = np.stack([truth & called, negative & called, truth & ~called, negative & ~called]).astype(float)
    tp, fp, fn, tn = cells.sum(axis=1)
    spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    shares = truth / truth.sum(), negative / negative.sum()
    if spread == 0:
        return Estimate(0.0, 0.0, np.zeros(len(truth)), *shares)
    value = (tp * tn - fp * fn) / spread
    by_cell = np.array([tn, -fn, -fp, tp]) / spread - value / 2 * np.array(
        [
            1 / (tp + fp) + 1 / (tp + fn),
            1 / (tp + fp) + 1 / (tn + fp),
            1 / (tp + fn) + 1 / (tn + fn),
            1 / (tn + fp) + 1 / (tn + fn),
        ]
    )
    return Estimate(float(value), float(value), by_cell @ cells, *shares)


def _estimate_roc_auc(truth: NDArray[np.bool_], negative: NDArray[np.bool_], ranking: Ranking) -> Estimate:
    m, n = truth.sum(), negative.sum()
    step, is_tied, (tp, fp, new_tp, new_fp) = _place(ranking, len(truth))
    won_at = np.append((n - fp + new_fp / 2) / n, 0.0)  # the share of negative records below each positive one
    lost_at = np.append(0.0, tp)[step] + np.where(is_tied, np.append(new_tp, 0.0)[step] / 2, 0.0)
    value = float((new_tp * won_at[:-1]).sum() / m)
    influence = truth * (won_at[step] - value) / m
    influence += negative * (lost_at / m - value) / n
    return Estimate(value, value, influence, truth / m, negative / n)


def _estimate_average_precision(
    truth: NDArray[np.bool_], negative: NDArray[np.bool_], ranking: Ranking, patient_of: NDArray[np.intp]
) -> Estimate:
    m = truth.sum()
    step, _, (tp, fp, new_tp, _) = _place(ranking, len(truth))
    n_above = tp + fp
    value = float((new_tp * tp / n_above).sum() / m)
    precision = np.append(tp / n_above, 0.0)
    gains, losses = (  # what a record adds to the precision at its own step and at all lower ones
        np.append((new_tp * each / n_above**2)[::-1].cumsum()[::-1], 0.0) for each in (fp, tp)
    )
    influence = np.where(truth, precision[step] - value + gains[step], negative * -losses[step]) / m
    who, at = patient_of[truth], step[truth]
    own, all_own = _count_own(who, at)
    others, false = (tp[at] - own) * m / np.maximum(m - all_own, 1), fp[at]
    with np.errstate(invalid="ignore"):
        without = np.where(others + false > 0, others / (others + false), 1.0)
    center = min(value, float(without.mean()))
    return Estimate(value, center, influence, truth / m, negative / negative.sum())


def _place(ranking: Ranking, n_records: int) -> tuple[NDArray[np.intp], NDArray[np.bool_], list[Array]]:
    """Return where the records, ``(record,)``, lie among the steps of the curve, and the counts at these, ``(step,)``.

    That is the first step with at most the record's score (their number, if there is none, and for a record that is not
    annotated), and whether it is the record's own.
    """
    positions = np.arange(len(ranking.order))
    first = np.searchsorted(ranking.ends, positions, side="right")
    begins = np.append(ranking.begins, len(positions))
    step, is_own = np.full(n_records, len(ranking.begins)), np.zeros(n_records, dtype=bool)
    step[ranking.order], is_own[ranking.order] = first, begins[first] <= positions
    curve = ranking.count(np.ones((n_records, 1)))
    return step, is_own, [each[:, 0] for each in (curve.tp, curve.fp, curve.new_tp, curve.new_fp)]


def _count_own(patient_of: NDArray[np.intp], step: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Count the records of each one's patient, ``(record,)``: up to the record's step, and all."""
    base = int(step.max()) + 1
    ordered = np.sort(patient_of * base + step)
    first = np.searchsorted(ordered, patient_of * base)
    up_to = np.searchsorted(ordered, patient_of * base + step, side="right")
    last = np.searchsorted(ordered, patient_of * base + base - 1, side="right")
    return up_to - first, last - first


_Mask = NDArray[np.bool_]
_RATES: dict[str, Callable[[_Mask, _Mask, _Mask], tuple[_Mask, _Mask]]] = {
    "sensitivity": lambda truth, _, called: (called, truth),
    "specificity": lambda _, negative, called: (~called, negative),
    "precision": lambda truth, negative, called: (truth, called & (truth | negative)),
    "npv": lambda truth, negative, called: (negative, ~called & (truth | negative)),
}
_COUNTS = {"f1": _estimate_f1, "mcc": _estimate_mcc}
RATES, ESTIMATED = tuple(_RATES), ("roc_auc", "pr_auc", *_COUNTS, *_RATES)
"""The metrics of a class that are shares of records, and all that `estimate` knows."""
