r"""Comparison: whether one model is better than another on the same records, or the records do not decide it.

Conventions
    - Differences are a - b; the registry of metrics defines which sign is better.
    - The interval and the p-value of a difference come from drawing patients, the same ones for both models; resamples
      that lost a class are left out for it. The p-value is twice the smaller share of resamples on one side of 0,
      with one added to both counts [1]_; so it is never below 2 / (n_resamples + 1).
    - DeLong's test [2]_ compares two ROC-AUCs, in the form for clustered records [3]_, the clusters being patients.
      McNemar's test [4]_ compares the decisions of a class: of the records that one model gets right and the other
      wrong, is it more often the same model? It takes records as independent.
    - *Holm* [5]_: the p-values of one test and metric over the classes are one family, and are adjusted so that the
      chance of a false claim in the family stays below 1 - level. The metrics over all classes are not adjusted:
      decide beforehand on which one you rely.
    - *detectable*: the difference that would be found with a power of 80% in a test of that level, from the standard
      error of the resampled differences: :math:`(z_{1-\alpha/2} + z_{0.8})\,SE`.
    - *verdict*: `a better` or `b better` where the (adjusted) p-value is below 1 - level, else `cannot be told`; which
      does not mean that they are equal.

References
----------
.. [1] B. Efron, R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall, 1993.
.. [2] E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
       operating characteristic curves: a nonparametric approach", Biometrics 44(3), 1988, doi:10.2307/2531595.
.. [3] N. A. Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53(2), 1997,
       doi:10.2307/2533958.
.. [4] Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
       Psychometrika 12, 1947, doi:10.1007/BF02295996.
.. [5] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2),
       1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ecgcls.errors import DataError
from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.intervals import resample
from ecgcls.evaluation.metrics import METRICS, OVERALL
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.support import count_support

VERDICTS = ("a better", "b better", "cannot be told")
_POWER = 0.8
_COLUMNS = [
    "a", "b", "difference", "low", "high", "p", "p_holm", "delong_p", "delong_p_holm", "mcnemar_p", "mcnemar_p_holm",
    "detectable", "n_positive", "is_supported", "verdict",
]  # fmt: skip


def compare(a: Sequence[Predictions], b: Sequence[Predictions], settings: Bootstrap = Bootstrap()) -> pd.DataFrame:
    """Compare two models on the same records.

    Parameters
    ----------
    a, b
        Predictions of each model: one, or one per seed, all as `check_same_records` wants them. With several seeds
        every metric is the mean over them, and DeLong's and McNemar's tests are left out.

    Returns
    -------
    DataFrame
        Indexed by ``class`` ('overall' for all together) and ``metric``: ``a``, ``b``, ``difference``, ``low``,
        ``high``, ``p``, ``p_holm`` (``p`` itself for 'overall'), ``delong_p``, ``delong_p_holm`` (rows of roc_auc),
        ``mcnemar_p``, ``mcnemar_p_holm`` (rows of f1), ``detectable``, ``n_positive``, ``is_supported``, ``verdict``.
    """
    first = a[0]
    for other in (*a[1:], *b):
        check_same_records(first, other)
    resamples = (reduce(add, (resample(one, settings) for one in model)) / len(model) for model in (a, b))
    table = _describe_difference(*resamples, level=settings.level)
    table["delong_p"] = table["mcnemar_p"] = np.nan
    if len(a) == len(b) == 1:
        _add_tests(table, first, b[0])
    for column in ("p", "delong_p", "mcnemar_p"):
        table[f"{column}_holm"] = _adjust_holm(table[column])
    support = count_support(table.index, first.class_names, first.y_true, first.patient_id)
    table["n_positive"] = support["n_positive"]
    table["is_supported"] = support["n_rarest"] >= settings.min_positives
    sign = [1 if METRICS[key].higher_is_better else -1 for _, key in table.index] * np.sign(table["difference"])
    is_significant = table["p_holm"] < 1 - settings.level
    table["verdict"] = np.select([is_significant & (sign > 0), is_significant & (sign < 0)], VERDICTS[:2], VERDICTS[2])
    return table[_COLUMNS]


def check_same_records(a: Predictions, b: Predictions) -> None:
    """Refuse predictions that are not of the same records with the same patients, labels and classes."""
    only_a, only_b = np.setdiff1d(a.ecg_id, b.ecg_id), np.setdiff1d(b.ecg_id, a.ecg_id)
    if len(only_a) or len(only_b):
        one = (only_a if len(only_a) else only_b)[0]
        raise DataError(
            f"a and b must be of the same records: {len(only_a)} are in a only and {len(only_b)} in b only, such as "
            f"ecg_id {one}; compare runs of the same task and folds, all of them finished"
        )
    if a.class_names != b.class_names:
        raise DataError(
            f"a and b must have the same classes: {', '.join(a.class_names)} and {', '.join(b.class_names)}"
        )
    if not np.array_equal(a.ecg_id, b.ecg_id):
        raise DataError("a and b have the same records in another order")
    for name in ("patient_id", "y_true"):
        differs = getattr(a, name) != getattr(b, name)
        if differs.any():
            row = int(np.argwhere(differs)[0][0])
            raise DataError(
                f"a and b differ in {name} of ecg_id {a.ecg_id[row]}: they were not tested on the same data"
            )


def delong(
    y_true: ArrayLike, y_score_a: ArrayLike, y_score_b: ArrayLike, patient_id: ArrayLike
) -> tuple[float, float, float]:
    """Compare two ROC-AUCs on the same records, ``(record,)``; where each patient has one, this is DeLong's own test.

    A score is whatever ranks the records: a probability, a logit.

    Returns
    -------
    difference, standard_error, p
        Of ROC-AUC, a - b; two-sided. nan without a positive and a negative record, or with fewer than two patients of
        either; p is 1 where both rank every pair alike.
    """
    truth = np.asarray(y_true) == 1
    patients = np.unique(np.asarray(patient_id), return_inverse=True)[1]
    n_pos, n_neg = int(truth.sum()), int((~truth).sum())
    of_positive, of_negative = len(set(patients[truth])), len(set(patients[~truth]))
    if min(of_positive, of_negative) < 2:
        return float("nan"), float("nan"), float("nan")
    components = [_place(truth, np.asarray(y_score, dtype=float)) for y_score in (y_score_a, y_score_b)]
    area = [placed[truth].mean() for placed in components]
    centered = (components[0] - area[0]) - (components[1] - area[1])  # (record,)
    n_patients = int(patients.max()) + 1
    positive = np.bincount(patients[truth], centered[truth], n_patients)  # (patient,) sums
    negative = np.bincount(patients[~truth], centered[~truth], n_patients)
    variance = (
        of_positive / (of_positive - 1) * (positive**2).sum() / n_pos**2
        + of_negative / (of_negative - 1) * (negative**2).sum() / n_neg**2
        + 2 * n_patients / (n_patients - 1) * (positive * negative).sum() / (n_pos * n_neg)
    )
    difference, error = float(area[0] - area[1]), float(np.sqrt(max(variance, 0.0)))
    if error == 0:
        return difference, 0.0, 1.0 if difference == 0 else 0.0
    return difference, error, float(2 * stats.norm.sf(abs(difference) / error))


def mcnemar(y_true: ArrayLike, y_pred_a: ArrayLike, y_pred_b: ArrayLike) -> float:
    """Return the exact p-value of McNemar's test, two-sided; 0 or 1, ``(record,)`` each."""
    is_correct_a, is_correct_b = (np.asarray(y_pred) == np.asarray(y_true) for y_pred in (y_pred_a, y_pred_b))
    a_alone, b_alone = int((is_correct_a & ~is_correct_b).sum()), int((is_correct_b & ~is_correct_a).sum())
    return float(min(1.0, 2 * stats.binom.cdf(min(a_alone, b_alone), a_alone + b_alone, 0.5)))


def _describe_difference(a: pd.DataFrame, b: pd.DataFrame, *, level: float) -> pd.DataFrame:
    """Return interval, p-value and detectable size of the differences of two tables of resamples."""
    value, resampled = a["value"] - b["value"], (a - b).drop(columns="value").to_numpy()
    n_left = (~np.isnan(resampled)).sum(axis=1)
    low, high, error = np.full((3, len(value)), np.nan)
    for row in np.flatnonzero(n_left):
        kept = resampled[row][~np.isnan(resampled[row])]
        low[row], high[row] = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
        error[row] = kept.std(ddof=1) if len(kept) > 1 else np.nan
    n_below, n_above = (resampled <= 0).sum(axis=1), (resampled >= 0).sum(axis=1)  # nan is neither
    p = np.minimum(1.0, 2 * (np.minimum(n_below, n_above) + 1) / (n_left + 1))
    return pd.DataFrame(
        {
            "a": a["value"],
            "b": b["value"],
            "difference": value,
            "low": np.where(value.isna(), np.nan, low),
            "high": np.where(value.isna(), np.nan, high),
            "p": np.where(value.isna() | (n_left < 2), np.nan, p),
            "detectable": (stats.norm.ppf((1 + level) / 2) + stats.norm.ppf(_POWER)) * error,
        }
    )


def _add_tests(table: pd.DataFrame, a: Predictions, b: Predictions) -> None:
    """Add the p-values of DeLong's and McNemar's tests."""
    for column, name in enumerate(map(str, a.class_names)):
        known = a.y_true[:, column] != UNKNOWN
        truth, (score_a, score_b), (pred_a, pred_b) = (
            a.y_true[known, column],
            [each.y_score[known, column] for each in (a, b)],
            [each.y_pred[known, column] for each in (a, b)],
        )
        if 0 < truth.sum() < len(truth):
            table.loc[(name, "roc_auc"), "delong_p"] = delong(truth, score_a, score_b, a.patient_id[known])[2]
            table.loc[(name, "f1"), "mcnemar_p"] = mcnemar(truth, pred_a, pred_b)


def _adjust_holm(p: pd.Series) -> pd.Series:
    """Adjust the p-values of each metric over the classes; those of 'overall' stay."""
    from statsmodels.stats.multitest import multipletests  # takes a second to import

    adjusted = p.copy()
    of_classes = p.drop(index=OVERALL, level="class").dropna()
    for _, family in of_classes.groupby("metric"):
        adjusted[family.index] = multipletests(family, method="holm")[1]
    return adjusted


def _place(truth: NDArray[np.bool_], y_score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each record's share of records of the other kind that it is correctly ranked against; ties count half."""
    placed = np.empty(len(truth))
    everyone = stats.rankdata(y_score)
    for is_kind in (truth, ~truth):
        n_others = (~is_kind).sum()
        placed[is_kind] = (everyone[is_kind] - stats.rankdata(y_score[is_kind])) / n_others  # others below
    placed[~truth] = 1 - placed[~truth]
    return placed
