"""The formulas of metrics, from weighted sums and curves to ``(resample,)``; `metrics` says what each one is.

They may divide by 0: a metric that is undefined is nan.
"""

import numpy as np

from ecgcls.evaluation.weighted import Array, Totals, Weighted


def average_precision(records: Weighted) -> Array:
    """PR-AUC."""
    curve = records.curve
    n_above = np.maximum(curve.tp + curve.fp, np.finfo(float).tiny)  # 0 only where no positive record counts
    area: Array = (curve.new_tp * curve.tp / n_above).sum(axis=0)
    return area / records.n_positive


def roc_auc(records: Weighted) -> Array:
    """ROC-AUC: the share of pairs of a positive and a negative record that are ranked correctly; ties count half."""
    curve, n_negative = records.curve, records.n_negative
    n_pairs: Array = (curve.new_tp * (n_negative - curve.fp + curve.new_fp / 2)).sum(axis=0)
    return n_pairs / (records.n_positive * n_negative)


def f1(totals: Totals) -> Array:
    """F1: the harmonic mean of precision and sensitivity."""
    return 2 * totals.tp / (2 * totals.tp + totals.fp + totals.fn)


def f1_max(records: Weighted) -> Array:
    """Return the highest F1 over all thresholds; a positive record is always the last one above the best of them."""
    curve = records.curve
    highest: Array = (2 * curve.tp / (curve.tp + curve.fp + records.n_positive)).max(axis=0, initial=0.0)
    return highest


def mcc(totals: Totals) -> Array:
    """Matthews correlation coefficient; 0 where all records are predicted alike, as in scikit-learn."""
    tp, fp, fn, tn = totals.tp, totals.fp, totals.fn, totals.tn
    spread = np.sqrt((tp + fp) * totals.n_positive * totals.n_negative * (tn + fn))
    return np.where(spread > 0, (tp * tn - fp * fn) / spread, 0.0)
