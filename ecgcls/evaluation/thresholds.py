r"""Thresholds: from which probability on a class is predicted, and how useful such decisions are.

Conventions
    - A class is predicted where ``y_prob >= threshold``. Thresholds are halfway between two observed
      probabilities, so that rounding either changes nothing. Of equally good ones the highest is taken. They are
      probabilities, not logits: records whose probabilities round to the same number, such as 1, are decided alike.
    - Records that are not annotated for a class (a `y_true` of -1 or nan) take no part in its numbers.
    - *f1* maximizes F1; *youden* maximizes sensitivity + specificity - 1 [1]_; *sensitivity* takes the highest
      threshold that keeps a stated sensitivity, *specificity* the lowest that keeps a stated specificity; *cost*
      minimizes the false positives plus `cost_ratio` times the false negatives; *fixed* chooses nothing.
    - A class with fewer than `min_positives` positive (or negative) records is not tuned: it gets `fixed` here (a run
      replaces that by its net's own 0.5, see `decisions`), and is listed with the reason. So is a class of which no
      threshold keeps the stated specificity: a record with a probability of 1 is predicted at each of them.
    - The predictive values depend on how frequent a class is. `restate_predictive_values` computes them by Bayes' rule
      for another prevalence, as long as sensitivity and specificity are the same there [2]_.
    - The net benefit of acting from a probability p on is :math:`TP/n - FP/n \cdot p/(1-p)`: p is also the number of
      unnecessary actions that one would accept for one that is needed [3]_. Treating nobody has a net benefit of 0.

References
----------
.. [1] W. J. Youden, "Index for rating diagnostic tests", Cancer 3(1), 1950,
       doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
.. [2] D. G. Altman, J. M. Bland, "Diagnostic tests 2: predictive values", BMJ 309, 1994, doi:10.1136/bmj.309.6947.102.
.. [3] A. J. Vickers, E. B. Elkin, "Decision curve analysis: a novel method for evaluating prediction models", Medical
       Decision Making 26(6), 2006, doi:10.1177/0272989X06295361.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import ConfigError
from ecgcls.evaluation.checks import UNKNOWN, check_arrays
from ecgcls.evaluation.settings import ThresholdRule

_HUNDREDTHS = tuple((np.arange(1, 100) / 100).tolist())


def choose_thresholds(
    y_true: ArrayLike, y_prob: ArrayLike, class_names: Sequence[str], rule: ThresholdRule = ThresholdRule()
) -> tuple[dict[str, float], dict[str, str]]:
    """Choose one threshold per class.

    Parameters
    ----------
    y_true, y_prob
        0 or 1, and probabilities; ``(record, class)``. Never of records that are tested.

    Returns
    -------
    thresholds, not_tuned
        By class; and the reason, for each class that has too few records for the rule, or no threshold that keeps the
        stated specificity, and got ``rule.fixed``.

    Examples
    --------
    >>> y_prob = [[0.9], [0.8], [0.75], [0.25]]
    >>> choose_thresholds([[1], [0], [1], [0]], y_prob, ["MI"], ThresholdRule("f1", min_positives=1))
    ({'MI': 0.5}, {})
    """
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    thresholds, not_tuned = dict.fromkeys(map(str, class_names), rule.fixed), {}
    if rule.rule == "fixed":
        return thresholds, {}
    for column, name in enumerate(thresholds):
        known = y_true[:, column] != UNKNOWN
        truth = y_true[known, column] == 1
        fewest = min(truth.sum(), (~truth).sum())
        if fewest < rule.min_positives:
            kind = "positive" if truth.sum() == fewest else "negative"
            records = "record" if fewest == 1 else "records"
            not_tuned[name] = f"{fewest} {kind} {records}, fewer than {rule.min_positives}"
        elif (chosen := _choose(truth, y_prob[known, column], rule)) is not None:
            thresholds[name] = chosen
        else:
            n_certain = int((y_prob[known, column][~truth] == 1).sum())
            not_tuned[name] = (
                f"no threshold keeps a specificity of {rule.specificity:g}: {n_certain} of {(~truth).sum()} negative "
                "records have a probability of 1"
            )
    return thresholds, not_tuned


def restate_predictive_values(
    sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return PPV and NPV at a prevalence; nan where nothing, or everything, is predicted.

    All are in [0, 1], numbers or arrays of one shape.

    Examples
    --------
    >>> ppv, npv = restate_predictive_values(0.9, 0.95, 0.01)
    >>> round(float(ppv), 3), round(float(npv), 4)
    (0.154, 0.9989)
    """
    sensitivity, specificity, prevalence = (
        np.asarray(each, dtype=float) for each in (sensitivity, specificity, prevalence)
    )
    tp, fp = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    fn, tn = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
    with np.errstate(invalid="ignore", divide="ignore"):
        return tp / (tp + fp), tn / (tn + fn)


def decision_curves(
    y_true: ArrayLike, y_prob: ArrayLike, class_names: Sequence[str], *, thresholds: ArrayLike = _HUNDREDTHS
) -> pd.DataFrame:
    """Return the net benefit of acting on each class from each probability (above 0 and below 1) on.

    Returns
    -------
    DataFrame
        A row per class and threshold: ``class``, ``threshold``, ``net_benefit``, ``treat_all``, ``treat_none`` (0);
        each per record.

    Examples
    --------
    Two of four would be treated, one of them unnecessarily: 1/4 - 1/4 * 0.5/0.5.

    >>> decision_curves([[1], [0], [1], [0]], [[0.9], [0.8], [0.3], [0.1]], ["MI"], thresholds=[0.5])
      class  threshold  net_benefit  treat_all  treat_none
    0    MI        0.5          0.0        0.0         0.0
    """
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    at = np.asarray(thresholds, dtype=float)
    if not ((at > 0) & (at < 1)).all():
        raise ConfigError(f"thresholds of decision curves must be above 0 and below 1, got {at.tolist()}")
    odds = at / (1 - at)
    tables = []
    for column, name in enumerate(class_names):
        known = y_true[:, column] != UNKNOWN
        truth = y_true[known, column] == 1
        is_treated = y_prob[known, column][:, None] >= at  # (record, threshold)
        net = is_treated[truth].sum(axis=0) - odds * is_treated[~truth].sum(axis=0)
        treat_all = truth.sum() - odds * (~truth).sum()
        n_records = len(truth) or np.nan
        values = {"net_benefit": net / n_records, "treat_all": treat_all / n_records, "treat_none": 0.0}
        tables.append(pd.DataFrame({"class": name, "threshold": at, **values}))
    return pd.concat(tables, ignore_index=True)


def _choose(truth: NDArray[np.bool_], y_prob: NDArray[np.float64], rule: ThresholdRule) -> float | None:
    """Choose the threshold of one class that has positive and negative records; None where none does what is stated."""
    values, group, counts = np.unique(y_prob, return_inverse=True, return_counts=True)
    n_positive_at = np.bincount(group, weights=truth)[::-1]  # by falling probability, as all below
    values, counts = values[::-1], counts[::-1]
    borders = np.concatenate([[max(1.0, values[0])], values, [0.0]])
    between = (borders[:-1] + borders[1:]) / 2  # where 0, 1, ..., all distinct probabilities are predicted
    between = np.where(between > borders[1:], between, borders[:-1])  # the middle of two neighbors may be the lower one
    tp = np.concatenate([[0], np.cumsum(n_positive_at)])
    fp = np.concatenate([[0], np.cumsum(counts - n_positive_at)])
    n_pos, n_neg = tp[-1], fp[-1]
    if values[0] == 1:  # nothing is above it: no threshold predicts none of the records
        between, tp, fp = between[1:], tp[1:], fp[1:]
    if rule.rule == "sensitivity":
        return float(between[np.argmax(tp >= rule.sensitivity * n_pos - 1e-9)])
    if rule.rule == "specificity":
        enough = np.flatnonzero(n_neg - fp >= rule.specificity * n_neg - 1e-9)
        return float(between[enough[-1]]) if len(enough) else None
    value = {
        "f1": 2 * tp / (tp + fp + n_pos),
        "youden": tp / n_pos - fp / n_neg,
        "cost": -(fp + rule.cost_ratio * (n_pos - tp)),
    }[rule.rule]
    return float(between[int(np.argmax(value))])
