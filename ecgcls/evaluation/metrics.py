r"""Metrics: how well probabilities rank and classify records, per class and over all classes.

Task
    Multi-label classification: each record has any number of `n_classes` classes, and a model gives one
    probability per class. `score` turns labels and probabilities into numbers.

    `METRICS` is the registry: one row per metric. Scores, intervals, comparisons, subgroups and tables take from it
    which metrics there are, in which order, and what they are called; a new row appears in all of them.

Conventions
    - Arrays are `(record, class)`; `y_true` is 0 or 1, `y_prob` in [0, 1], and
      `y_pred = y_prob >= threshold`.
    - PR-AUC is average precision, :math:`AP = \sum_k (R_k - R_{k-1}) P_k` over the distinct probabilities in
      falling order. It is not the trapezoid under the curve: precision does not vary linearly between two
      points, and the trapezoid is too optimistic [1]_. Its chance level is the prevalence, so it is informative for
      rare classes, whose ROC curves look good [2]_. ROC-AUC is the trapezoid under the ROC curve, where
      that is exact [3]_.
    - F1 is :math:`2 TP / (2 TP + FP + FN)`. `f1_macro` is the mean of the classes' F1s, not the F1 of the
      mean precision and recall [4]_; `f1_micro` comes from the counts of all classes together.
    - A class without a positive or without a negative record is *undefined*: its pr_auc, roc_auc, f1 and mcc are
      nan, it is named in `Scores.undefined`, and the macro means are over the other classes. A class with
      positives of which none is predicted has an F1 of 0. A ratio whose denominator is 0 (precision where
      nothing is predicted) is nan.
    - MCC is the Matthews correlation coefficient of truth and decision, in [-1, 1] [5]_, and 0 where all records are
      predicted alike; over all classes it is a macro mean. The Brier score is the mean of :math:`(p - y)^2`, 0 at
      best [6]_.
    - `log_loss` is the binary cross entropy in nats, the mean over all records and classes; see
      `ecgcls.evaluation.weighted.cross_entropy`.

References
----------
.. [1] J. Davis, M. Goadrich, "The relationship between Precision-Recall and ROC curves", ICML 2006,
       doi:10.1145/1143844.1143874.
.. [2] T. Saito, M. Rehmsmeier, "The precision-recall plot is more informative than the ROC plot when
       evaluating binary classifiers on imbalanced datasets", PLOS ONE 10(3), 2015,
       doi:10.1371/journal.pone.0118432.
.. [3] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006,
       doi:10.1016/j.patrec.2005.10.010.
.. [4] J. Opitz, S. Burst, "Macro F1 and Macro F1", 2019, arXiv:1911.03347.
.. [5] D. Chicco, G. Jurman, "The advantages of the Matthews correlation coefficient (MCC) over F1 score and accuracy
       in binary classification evaluation", BMC Genomics 21, 2020, doi:10.1186/s12864-019-6413-7.
.. [6] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78(1), 1950,
       doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ecgcls.evaluation.checks import check_pos_weight, check_threshold
from ecgcls.evaluation.weighted import Array, Metric, Records, Totals, Weighted, cross_entropy, measure

NO_POSITIVE = "no positive record"
NO_NEGATIVE = "no negative record"
OVERALL = "overall"
"""What tables call all classes together."""


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


def mcc(totals: Totals) -> Array:
    """Matthews correlation coefficient; 0 where all records are predicted alike, as in scikit-learn."""
    tp, fp, fn, tn = totals.tp, totals.fp, totals.fn, totals.tn
    spread = np.sqrt((tp + fp) * totals.n_positive * totals.n_negative * (tn + fn))
    return np.where(spread > 0, (tp * tn - fp * fn) / spread, 0.0)


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric(key="pr_auc", label="PR-AUC", by_class=average_precision, macro_of="pr_auc", is_headline=True),
        Metric(key="roc_auc", label="ROC-AUC", by_class=roc_auc, macro_of="roc_auc", is_headline=True),
        Metric(key="f1", label="F1", by_class=f1, is_headline=True),
        Metric(key="f1_macro", label="F1 macro", macro_of="f1", is_headline=True),
        Metric(key="mcc", label="MCC", by_class=mcc, macro_of="mcc"),
        Metric(key="f1_micro", label="F1 micro", pooled=f1),
        Metric(key="sensitivity", label="Sensitivity", by_class=lambda c: c.tp / c.n_positive, needs_both=False),
        Metric(key="specificity", label="Specificity", by_class=lambda c: c.tn / c.n_negative, needs_both=False),
        Metric(key="precision", label="Precision", by_class=lambda c: c.tp / (c.tp + c.fp), needs_both=False),
        Metric(key="npv", label="NPV", by_class=lambda c: c.tn / (c.tn + c.fn), needs_both=False),
        Metric(
            key="brier", label="Brier score", higher_is_better=False, needs_both=False,
            by_class=lambda c: c.squared_error / c.n_labels, pooled=lambda c: c.squared_error / c.n_labels,
        ),
        Metric(
            key="log_loss", label="Log loss", higher_is_better=False, pooled=lambda c: c.cross_entropy / c.n_labels
        ),
    )
}  # fmt: skip
"""The registry: every metric, by its key, in the order of the tables."""

RANKING = ("pr_auc", "roc_auc")
"""The metrics of the ranking alone: no threshold changes them."""


def class_metrics(*, headline: bool = False) -> list[Metric]:
    """Select the metrics that have a value per class; or of these the headline ones."""
    return [each for each in METRICS.values() if each.by_class and (each.is_headline or not headline)]


def overall_metrics(*, headline: bool = False) -> list[Metric]:
    """Select the metrics that have a value over all classes; or of these the headline ones."""
    return [each for each in METRICS.values() if (each.macro_of or each.pooled) and (each.is_headline or not headline)]


def find_macro(key: str) -> Metric | None:
    """Return the metric that is the macro mean of a class metric; None where there is none.

    Examples
    --------
    >>> find_macro("f1").key
    'f1_macro'
    """
    return next((each for each in METRICS.values() if each.macro_of == key), None)


@dataclass(frozen=True, eq=False)
class Scores:
    """The result of `score`.

    Parameters
    ----------
    overall
        By key the `overall_metrics`, `loss` when a `pos_weight` was given, and the counts `n_records`, `n_classes`,
        `n_defined_classes`, `n_positive` (positive labels over all classes) and `prevalence` (their share of all
        labels).
    by_class
        One row per class: `n_positive`, `n_negative`, `prevalence`, the `class_metrics` by key, `tp`, `fp`, `fn`, `tn`.
    undefined
        For each undefined class its reason: 'no positive record' or 'no negative record'.
    threshold
        A record is predicted positive where `y_prob >= threshold`: one for all classes, or one per class; None where
        the decisions were given.
    """

    overall: dict[str, float]
    by_class: pd.DataFrame
    undefined: dict[str, str]
    threshold: float | tuple[float, ...] | None

    @property
    def threshold_by_class(self) -> dict[str, float]:
        """The threshold of each class; empty where the decisions were given."""
        if self.threshold is None:
            return {}
        names = [str(name) for name in self.by_class.index]
        each = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,) * len(names)
        return dict(zip(names, each, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text for `json.dump`: nan becomes None, keys keep their order.

        `threshold` is a number, or the classes' thresholds by name where each has its own.
        """
        columns = self.by_class.columns
        return {
            "threshold": self.threshold_by_class if isinstance(self.threshold, tuple) else self.threshold,
            "overall": {name: _plain(value) for name, value in self.overall.items()},
            "undefined": dict(self.undefined),
            "by_class": {
                str(name): {str(column): _plain(value) for column, value in zip(columns, row, strict=True)}
                for name, *row in self.by_class.itertuples()
            },
        }


def score(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    class_names: Sequence[str],
    *,
    threshold: float | Sequence[float] = 0.5,
    y_pred: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
) -> Scores:
    r"""Score probabilities against labels.

    Parameters
    ----------
    y_true
        0 or 1, shape `(n_records, n_classes)`.
    y_prob
        Probabilities in [0, 1], same shape.
    class_names
        One name per class.
    threshold
        In [0, 1], one for all or one per class; a record is predicted positive where `y_prob >= threshold`.
    y_pred
        The decisions themselves, 0 or 1, same shape as `y_true`; `threshold` is then ignored.
    pos_weight
        One positive weight per class, or one for all. With it, `overall["loss"]` is the mean over all records
        and classes of :math:`-w_c y \log p - (1 - y) \log(1 - p)`, which is what
        `torch.nn.BCEWithLogitsLoss(pos_weight=w)` gives for the logits of these probabilities, as long as
        none of them is rounded to 0 or 1.

    Raises
    ------
    DataError
        There is no record, the shapes disagree, or a value is out of its range.
    ConfigError
        `threshold` or `pos_weight` is out of its range, or not one per class.

    Examples
    --------
    Sorted by falling probability the labels are 1, 0, 1, 0, so AP = (1/1 + 2/3) / 2.

    >>> found = score([[1], [0], [1], [0]], [[0.9], [0.8], [0.7], [0.1]], ["AFIB"])
    >>> round(found.overall["pr_auc"], 4), found.overall["roc_auc"]
    (0.8333, 0.75)
    >>> score([[1, 0], [0, 0]], [[0.9, 0.2], [0.1, 0.4]], ["NORM", "HYP"]).undefined
    {'HYP': 'no positive record'}
    """
    records = Records.check(y_true, y_prob, class_names, threshold=threshold, y_pred=y_pred)
    found = measure(records, np.ones((len(records.y_true), 1)), METRICS)
    counts = pd.DataFrame(
        {
            "tp": (records.y_true & records.y_pred).sum(axis=0),
            "fp": (~records.y_true & records.y_pred).sum(axis=0),
            "fn": (records.y_true & ~records.y_pred).sum(axis=0),
            "tn": (~records.y_true & ~records.y_pred).sum(axis=0),
        },
        index=pd.Index(list(class_names), name="class"),
    )
    size = {"n_positive": counts["tp"] + counts["fn"], "n_negative": counts["fp"] + counts["tn"]}
    size["prevalence"] = size["n_positive"] / len(records.y_true)
    by_class = counts.assign(**size, **{key: values[:, 0] for key, values in found.by_class.items()})
    by_class = by_class[[*size, *found.by_class, *counts]]
    overall = {key: values.item() for key, values in found.average().items()}
    if pos_weight is not None:
        weight = check_pos_weight(pos_weight, len(class_names))
        overall["loss"] = float(cross_entropy(records.y_true, records.y_prob, weight).mean())
    overall |= {
        "n_records": len(records.y_true),
        "n_classes": len(class_names),
        "n_defined_classes": int(found.is_defined.sum()),
        "n_positive": int(records.y_true.sum()),
        "prevalence": float(records.y_true.mean()),
    }
    undefined = {
        str(name): NO_NEGATIVE if n_positive else NO_POSITIVE
        for name, n_positive, is_defined in zip(class_names, size["n_positive"], found.is_defined[:, 0], strict=True)
        if not is_defined
    }
    thresholds = check_threshold(threshold, class_names).tolist()
    kept = tuple(thresholds) if isinstance(thresholds, list) else thresholds
    return Scores(overall, by_class, undefined, None if y_pred is not None else kept)


def _plain(value: float) -> float | int | None:
    number = value.item() if isinstance(value, np.generic) else value
    return None if number != number else number
