"""Significance tests of two models on the same records, and their correction for testing many classes.

References
----------
.. [1] E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
       operating characteristic curves: a nonparametric approach", Biometrics 44(3), 1988, doi:10.2307/2531595.
.. [2] N. A. Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53(2), 1997,
       doi:10.2307/2533958.
.. [3] Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
       Psychometrika 12, 1947, doi:10.1007/BF02295996.
.. [4] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2),
       1979.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ecgcls.evaluation.metrics import OVERALL


def delong(
    y_true: ArrayLike, y_prob_a: ArrayLike, y_prob_b: ArrayLike, patient_id: ArrayLike
) -> tuple[float, float, float]:
    """Compare two ROC-AUCs on the same records by DeLong's test [1]_, in the form for clustered records [2]_.

    Clusters are patients; where each has one record, the test is DeLong's own.

    Parameters
    ----------
    y_true
        0 or 1, ``(record,)``.
    y_prob_a, y_prob_b
        Probabilities, or any scores that rank the records; ``(record,)``.
    patient_id
        ``(record,)``: whose records they are.

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
    components = [_place(truth, np.asarray(y_prob, dtype=float)) for y_prob in (y_prob_a, y_prob_b)]
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
    """Return the exact p-value of McNemar's test [3]_, two-sided.

    Of the records that one model gets right and the other wrong, is it more often the same model? Records are taken as
    independent.

    Parameters
    ----------
    y_true, y_pred_a, y_pred_b
        0 or 1, ``(record,)``.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_test  # takes a second to import

    truth = np.asarray(y_true)
    is_correct = [np.asarray(y_pred) == truth for y_pred in (y_pred_a, y_pred_b)]
    table = [
        [int((is_correct[0] == one) @ (is_correct[1] == other).astype(int)) for other in (True, False)]
        for one in (True, False)
    ]
    return float(exact_test(table, exact=True).pvalue) if table[0][1] + table[1][0] else 1.0


def adjust_holm(p: pd.Series) -> pd.Series:
    """Adjust the p-values of each metric over the classes [4]_; those of 'overall' stay.

    Parameters
    ----------
    p
        Indexed by ``class`` and ``metric``.
    """
    from statsmodels.stats.multitest import multipletests  # takes a second to import

    adjusted = p.copy()
    is_class = p.index.get_level_values("class") != OVERALL
    for metric in p.index.get_level_values("metric").unique():
        family = is_class & (p.index.get_level_values("metric") == metric) & p.notna().to_numpy()
        if family.any():
            adjusted[family] = multipletests(p[family], method="holm")[1]
    return adjusted


def _place(truth: NDArray[np.bool_], y_prob: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each record's share of records of the other kind that it is correctly ranked against; ties count half."""
    placed = np.empty(len(truth))
    everyone = stats.rankdata(y_prob)
    for is_kind in (truth, ~truth):
        n_others = (~is_kind).sum()
        placed[is_kind] = (everyone[is_kind] - stats.rankdata(y_prob[is_kind])) / n_others  # others below
    placed[~truth] = 1 - placed[~truth]
    return placed
