r"""Metrics: how well probabilities rank and classify records, per class and over all classes.

Task
    Multi-label classification: a record has any number of classes, and a model gives one probability per class.
    `METRICS` is the registry: one row per metric. Scores, intervals, comparisons, subgroups and tables take from it
    which metrics there are, in which order, and what they are called; a new row appears in all of them.

Conventions
    - Arrays are `(record, class)`; `y_true` is 0 or 1, `y_prob` in [0, 1], and `y_pred = y_prob >= threshold`. Where
      there are logits they rank the records, as probabilities near 1 round to the same number. A `y_true` of -1 or nan
      is not annotated: the record takes no part in the numbers of that class (`n_unknown` counts it).
    - PR-AUC is average precision, :math:`AP = \sum_k (R_k - R_{k-1}) P_k` over the distinct scores in
      falling order. It is not the trapezoid under the curve: precision does not vary linearly between two
      points, and the trapezoid is too optimistic [1]_. Its chance level is the prevalence, so it is informative for
      rare classes, whose ROC curves look good [2]_. ROC-AUC is the trapezoid under the ROC curve, where
      that is exact [3]_.
    - F1 is :math:`2 TP / (2 TP + FP + FN)`. `f1_macro` is the mean of the classes' F1s, not the F1 of the
      mean precision and recall [4]_; `f1_micro` comes from the counts of all classes together.
    - `f1_max` is the highest F1 of a class over all thresholds. `fmax` is that of the benchmark on PTB-XL, from each
      record's precision and recall at one threshold for all classes (`by_record`). The thresholds are chosen on the
      records that are scored, so both are more than any threshold that is chosen beforehand would give; and a mean of
      `f1_max` over many rare classes would lie below its own interval, as each resample chooses again.
    - A class without a positive or without a negative record is *undefined*: its pr_auc, roc_auc, f1 and mcc are nan,
      it is named in `Scores.undefined`, and the macro means are over the other classes. A class with positives of
      which none is predicted has an F1 of 0. A ratio whose denominator is 0 (precision where nothing is predicted) is
      nan.
    - MCC is the Matthews correlation coefficient of truth and decision, in [-1, 1] [5]_, and 0 where all records are
      predicted alike; over all classes it is a macro mean. The Brier score is the mean of :math:`(p - y)^2`, 0 at
      best [6]_.
    - `log_loss` is the mean binary cross entropy in nats of all records and classes (`weighted.cross_entropy`).
    - `challenge` is the metric of the Challenge 2021, where the classes are its classes (`challenge`).
    - Where several nets predicted the records of a cross-validation (`Predictions.fold`), every metric is measured
      *within folds*: of each fold's records alone, and averaged over the folds in which it is defined, each with the
      same weight; a macro mean is over the classes of these. Ranked together, the probabilities of one net would be
      compared with those of another, which no user of either does, and which lowers the areas [7]_ [8]_. One rule holds
      for all metrics, though F1 and other ratios of counts are steadier from the counts of all folds where a fold has
      few positives [9]_: `Predictions.merge_folds` gives those. Counts are of all records.

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
.. [7] E. LeDell, M. Petersen, M. van der Laan, "Computationally efficient confidence intervals for cross-validated area
       under the ROC curve estimates", Electronic Journal of Statistics 9(1), 2015, doi:10.1214/15-EJS1035.
.. [8] A. Airola, T. Pahikkala, W. Waegeman, B. De Baets, T. Salakoski, "A comparison of AUC estimators in small-sample
       studies", Machine Learning in Systems Biology 2009, Proceedings of Machine Learning Research 8.
.. [9] G. Forman, M. Scholz, "Apples-to-apples in cross-validation studies: pitfalls in classifier performance
       measurement", ACM SIGKDD Explorations 12(1), 2010, doi:10.1145/1882471.1882479.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecgcls.evaluation.by_record import ByRecord
from ecgcls.evaluation.challenge import is_scored, normalize_credits
from ecgcls.evaluation.checks import check_pos_weight, check_threshold
from ecgcls.evaluation.formulas import average_precision, f1, f1_max, mcc, roc_auc
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.scores import Scores, explain_undefined
from ecgcls.evaluation.weighted import Array, Records, Totals, Weighted, average_defined

OVERALL = "overall"
"""What tables call all classes together."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of the registry.

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
    by_record
        Over all classes, the metric is this function of the records with their weights, ``(record, resample)``.
    by_credit
        Over all classes, the metric is this function of the sums of what the records earn (`challenge`). There is none
        in a task with other classes than the Challenge's.
    needs_both
        Whether the metric of a class without positive or without negative records is nan, whatever `by_class` returns.
    is_headline
        Whether short tables, such as a leaderboard, show the metric.
    bounds
        The lowest and the highest value.
    """

    key: str
    label: str
    by_class: Callable[[Weighted], Array] | None = None
    macro_of: str | None = None
    pooled: Callable[[Totals], Array] | None = None
    by_record: Callable[[ByRecord, Array], Array] | None = None
    by_credit: Callable[[Array], Array] | None = None
    higher_is_better: bool = True
    needs_both: bool = True
    is_headline: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric(key="pr_auc", label="PR-AUC", by_class=average_precision, macro_of="pr_auc", is_headline=True),
        Metric(key="roc_auc", label="ROC-AUC", by_class=roc_auc, macro_of="roc_auc", is_headline=True),
        Metric(key="f1", label="F1", by_class=f1, is_headline=True),
        Metric(key="f1_macro", label="F1 macro", macro_of="f1", is_headline=True),
        Metric(key="f1_micro", label="F1 micro", pooled=f1),
        Metric(key="f1_max", label="Maximal F1", by_class=f1_max),
        Metric(key="fmax", label="Fmax", by_record=ByRecord.measure_fmax),
        Metric(key="mcc", label="MCC", by_class=mcc, macro_of="mcc", bounds=(-1.0, 1.0)),
        Metric(key="sensitivity", label="Sensitivity", by_class=lambda c: c.tp / c.n_positive, needs_both=False),
        Metric(key="specificity", label="Specificity", by_class=lambda c: c.tn / c.n_negative, needs_both=False),
        Metric(key="precision", label="Precision", by_class=lambda c: c.tp / (c.tp + c.fp), needs_both=False),
        Metric(key="npv", label="NPV", by_class=lambda c: c.tn / (c.tn + c.fn), needs_both=False),
        Metric(
            key="brier", label="Brier score", higher_is_better=False, needs_both=False,
            by_class=lambda c: c.squared_error / c.n_labels, pooled=lambda c: c.squared_error / c.n_labels,
        ),
        Metric(
            key="log_loss", label="Log loss", higher_is_better=False, bounds=(0.0, np.inf),
            pooled=lambda c: c.cross_entropy / c.n_labels,
        ),
        Metric(
            key="challenge", label="Challenge metric", by_credit=normalize_credits, bounds=(-np.inf, 1.0),
            is_headline=True,
        ),
    )
}  # fmt: skip
"""The registry: every metric, by its key, in the order of the tables."""

RANKING = ("pr_auc", "roc_auc")
"""The areas under curves: they come from the ranking alone, no threshold changes them."""


def class_metrics(*, headline: bool = False) -> list[Metric]:
    """Select the metrics that have a value per class; or of these the headline ones."""
    return [each for each in METRICS.values() if each.by_class and (each.is_headline or not headline)]


def overall_metrics(class_names: Sequence[str] = (), *, headline: bool = False) -> list[Metric]:
    """Select the metrics that have a value over all classes; or of these the headline ones.

    Without `class_names`, they are those of any task; with them, also what only a task with these classes has.
    """
    found = [each for each in METRICS.values() if each.macro_of or each.pooled or each.by_record]
    if is_scored(class_names):
        found += [each for each in METRICS.values() if each.by_credit]
    return [each for each in found if each.is_headline or not headline]


def find_macro(key: str) -> Metric | None:
    """Return the metric that is the macro mean of a class metric, as 'f1_macro' of 'f1'; None where there is none."""
    return next((each for each in METRICS.values() if each.macro_of == key), None)


@dataclass(frozen=True, eq=False)
class Measured:
    """Metrics of weighted records, by key: per class ``(class, resample)``, and pooled or by record ``(resample,)``.

    `is_defined`, ``(class, resample)``, is whether the class has positive and negative records, in any of the folds.
    """

    by_class: dict[str, Array]
    pooled: dict[str, Array]
    is_defined: NDArray[np.bool_]

    def average(self) -> dict[str, Array]:
        """Return the metrics over all classes, by key ``(resample,)``; a macro mean leaves out what is undefined."""
        found = {}
        for key, metric in METRICS.items():
            if metric.macro_of:
                found[key] = average_defined(np.where(self.is_defined, self.by_class[metric.macro_of], np.nan))
            elif key in self.pooled:
                found[key] = self.pooled[key]
        return found


def measure(records: Records, weights: Array | None = None, *, together: bool = True) -> Measured:
    """Measure records with their weights, ``(record, resample)``; None: once, as they are.

    Records of several folds are measured within each, and the folds' values averaged. `together` is whether to measure
    all classes together, too.
    """
    if weights is None:
        weights = np.ones((len(records.y_true), 1))
    if records.fold is None:
        return _measure(records, weights, together=together)
    folds = [_measure(of_fold, weights[rows], together=together) for rows, of_fold in records.by_fold]
    return Measured(
        {key: average_defined([fold.by_class[key] for fold in folds]) for key in folds[0].by_class},
        {key: average_defined([fold.pooled[key] for fold in folds]) for key in folds[0].pooled},
        np.any([fold.is_defined for fold in folds], axis=0),
    )


def _measure(records: Records, weights: Array, *, together: bool) -> Measured:
    sums = records.quantities @ weights  # (quantity, class, resample)
    by_class = {metric.key: np.empty(sums.shape[1:]) for metric in class_metrics()}
    is_defined = np.empty(sums.shape[1:], dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        for column, ranking in enumerate(records.rankings):
            one = Weighted(*sums[:, column], ranking.count(weights))  # type: ignore[call-arg]
            is_defined[column] = (one.n_positive > 0) & (one.n_negative > 0)
            for key, values in by_class.items():
                has_value = is_defined[column] | (not METRICS[key].needs_both)
                values[column] = np.where(has_value, METRICS[key].by_class(one), np.nan)  # type: ignore[misc]
        totals = Totals(*sums.sum(axis=1))
        pooled = {key: metric.pooled(totals) for key, metric in METRICS.items() if metric.pooled and together}
    for key, metric in METRICS.items():
        if metric.by_record and together:
            pooled[key] = metric.by_record(records.by_record, weights)
        if metric.by_credit and together and records.credits is not None:
            pooled[key] = metric.by_credit(records.credits @ weights)
    return Measured(by_class, pooled, is_defined)


def score(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    class_names: Sequence[str],
    *,
    threshold: float | Sequence[float] = 0.5,
    y_pred: ArrayLike | None = None,
    y_logit: ArrayLike | None = None,
    fold: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
) -> Scores:
    r"""Score probabilities against labels.

    Parameters
    ----------
    y_true, y_prob
        0 or 1 (-1 or nan: not annotated, and left out of the class's numbers), and probabilities; `(record, class)`.
    threshold
        In [0, 1], one for all or one per class; a record is predicted positive where `y_prob >= threshold`.
    y_pred
        The decisions themselves, 0 or 1, `(record, class)`; `threshold` is then ignored.
    y_logit
        The logits of `y_prob`, which then rank the records, `(record, class)`.
    fold
        Which net of a cross-validation predicted the record, `(record,)`: every metric is measured within folds. None:
        all were predicted by the same.
    pos_weight
        One positive weight per class, or one for all. With it, `overall["loss"]` is the mean over all records
        and classes of :math:`-w_c y \log p - (1 - y) \log(1 - p)`, which is what
        `torch.nn.BCEWithLogitsLoss(pos_weight=w)` gives for the logits of these probabilities, as long as
        none of them is rounded to 0 or 1.

    Examples
    --------
    Sorted by falling probability the labels are 1, 0, 1, 0, so AP = (1/1 + 2/3) / 2.

    >>> found = score([[1], [0], [1], [0]], [[0.9], [0.8], [0.7], [0.1]], ["AFIB"])
    >>> round(found.overall["pr_auc"], 4), found.overall["roc_auc"]
    (0.8333, 0.75)
    >>> score([[1, 0], [0, 0]], [[0.9, 0.2], [0.1, 0.4]], ["NORM", "HYP"]).undefined
    {'HYP': 'no positive record'}
    """
    records = Records.check(y_true, y_prob, class_names, threshold=threshold, y_pred=y_pred, y_logit=y_logit, fold=fold)
    n_records, names = len(records.y_true), list(class_names)
    found = measure(records)
    tp, fp, fn, tn = records.quantities[:4].sum(axis=2).astype(int)  # (class,)
    columns = {
        "n_positive": tp + fn,
        "n_negative": fp + tn,
        "n_unknown": (~records.is_known).sum(axis=0),
        "prevalence": (tp + fn) / np.where(records.is_known.any(axis=0), records.is_known.sum(axis=0), np.nan),
        **{key: values[:, 0] for key, values in found.by_class.items()},
        **{"tp": tp, "fp": fp, "fn": fn, "tn": tn},
    }
    overall = {key: values.item() for key, values in found.average().items()}
    if pos_weight is not None:
        weight = check_pos_weight(pos_weight, len(names))
        overall["loss"] = records.average_loss(weight)
    overall |= {
        "n_records": n_records,
        "n_classes": len(names),
        "n_defined_classes": int(found.is_defined.sum()),
        "n_positive": int(records.y_true.sum()),
        "n_unknown": int((~records.is_known).sum()),
        "prevalence": float(records.y_true.sum() / n_known) if (n_known := records.is_known.sum()) else np.nan,
    }
    thresholds = check_threshold(threshold, names)
    at = thresholds.item() if thresholds.ndim == 0 else dict(zip(map(str, names), thresholds.tolist(), strict=True))
    by_class = pd.DataFrame(columns, index=pd.Index(names, name="class"))
    undefined = explain_undefined(names, tp + fn, fp + tn, found.is_defined[:, 0])
    return Scores(overall, by_class, undefined, None if y_pred is not None else at)


def score_predictions(
    predictions: Predictions,
    *,
    threshold: float | Sequence[float] | None = None,
    pos_weight: ArrayLike | None = None,
    uncalibrated: Predictions | None = None,
) -> Scores:
    """Score the records of one split; those of several folds within folds.

    Parameters
    ----------
    threshold
        In [0, 1], one for all or one per class; None: the decisions are `predictions.y_pred`.
    pos_weight
        ``(class,)``: the weights of the training loss, for the metric ``loss``.
    uncalibrated
        The same records before recalibration, which the metric ``loss`` is of.
    """
    names = predictions.class_names
    decided = {"y_pred": predictions.y_pred} if threshold is None else {"threshold": threshold}
    arrays = predictions.y_true, predictions.y_prob
    scores = score(*arrays, names, y_logit=predictions.y_logit, fold=predictions.fold, **decided)
    if pos_weight is not None:
        trained, weight = uncalibrated or predictions, check_pos_weight(pos_weight, len(names))
        scores.overall["loss"] = Records.check(trained.y_true, trained.y_prob, names).average_loss(weight)
    return scores
