r"""Paired tests: DeLong's of two ROC-AUCs and McNemar's of two models' decisions, on the same records of patients.

Conventions
    - DeLong's test [1]_ has the form for clustered records [2]_, the clusters being patients. Of the folds of a
      cross-validation, it compares the means of the folds' areas: a record is ranked among those that the same net
      predicted [3]_. The reference is Student's t with Satterthwaite's degrees of freedom from the positive and the
      negative patients, as in Brunner and Munzel's test [4]_; with many patients it is DeLong's normal distribution.
    - McNemar's test [5]_ asks, of the records that one model gets right and the other wrong, whether it is more often
      the same model. Here it is exact and by patient: if the models are alike, a patient's difference (how many records
      a alone gets right, less those of b alone) is as likely with the other sign, so the sum over patients is compared
      with its distribution over all signs. With one record a patient, this is McNemar's exact (binomial) test; its
      statistic is that of Obuchowski's test for clustered proportions [6]_.

References
----------
.. [1] E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
       operating characteristic curves: a nonparametric approach", Biometrics 44(3), 1988, doi:10.2307/2531595.
.. [2] N. A. Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53(2), 1997,
       doi:10.2307/2533958.
.. [3] E. LeDell, M. Petersen, M. van der Laan, "Computationally efficient confidence intervals for cross-validated area
       under the ROC curve estimates", Electronic Journal of Statistics 9(1), 2015, doi:10.1214/15-EJS1035.
.. [4] E. Brunner, U. Munzel, "The nonparametric Behrens-Fisher problem: asymptotic theory and a small-sample
       approximation", Biometrical Journal 42(1), 2000.
.. [5] Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
       Psychometrika 12, 1947, doi:10.1007/BF02295996.
.. [6] N. A. Obuchowski, "On the comparison of correlated proportions for clustered data", Statistics in Medicine
       17(13), 1998. See also V. L. Durkalski et al., "Analysis of clustered matched-pair data", Statistics in Medicine
       22(15), 2003, doi:10.1002/sim.1438.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ecgcls.evaluation.differences import combine_df


def delong(
    y_true: ArrayLike,
    y_score_a: ArrayLike,
    y_score_b: ArrayLike,
    patient_id: ArrayLike,
    fold: ArrayLike | None = None,
) -> tuple[float, float, float]:
    """Compare two ROC-AUCs on the same records, ``(record,)``; where each patient has one, this is DeLong's own test.

    A score is whatever ranks the records: a probability, a logit. With folds, the areas are the means over the folds
    that have a positive and a negative record.

    Returns
    -------
    difference, standard_error, p
        Of ROC-AUC, a - b; two-sided. nan without a positive and a negative record, or where the patients of either kind
        are not more than the folds; p is nan where the difference does not vary, and 1 where both rank all pairs alike.
    """
    truth, scores = np.asarray(y_true) == 1, [np.asarray(each, dtype=float) for each in (y_score_a, y_score_b)]
    patients = np.unique(np.asarray(patient_id), return_inverse=True)[1]
    folds = np.zeros(len(truth), int) if fold is None else np.unique(np.asarray(fold), return_inverse=True)[1]
    rows = [np.flatnonzero(folds == number) for number in range(int(folds.max(initial=-1)) + 1)]
    rows = [each for each in rows if 0 < truth[each].sum() < len(each)]
    nothing = float("nan"), float("nan"), float("nan")
    if not rows:
        return nothing
    kinds, everyone = (truth, ~truth, np.ones_like(truth)), patients[np.concatenate(rows)]
    n_patients = np.array([[len(set(patients[each][kind[each]])) for each in rows] for kind in kinds])  # (kind, fold)
    n_left = n_patients.sum(axis=1) - len(rows)
    if n_left.min() < 1:
        return nothing
    difference, products, weights = 0.0, np.zeros(3), np.zeros((3, len(rows)))
    for number, each in enumerate(rows):
        placed = np.subtract(*(_place(truth[each], score[each]) for score in scores))
        difference += placed[truth[each]].mean() / len(rows)
        positive, negative = (  # (patient,) sums of their records
            np.bincount(patients[each][kind], placed[kind] - placed[kind].mean(), everyone.max() + 1)
            for kind in (truth[each], ~truth[each])
        )
        products += (positive**2).sum(), (negative**2).sum(), 2 * (positive * negative).sum()
        n_positive, n_negative = truth[each].sum(), (~truth[each]).sum()
        weights[:, number] = 1 / n_positive**2, 1 / n_negative**2, 1 / (n_positive * n_negative)
    # a patient's variance is that of all folds: a fold with one positive patient shows none of its own
    variances = products / n_left * (n_patients * weights).sum(axis=1) / len(rows) ** 2
    error = float(np.sqrt(max(variances.sum(), 0.0)))
    if error < 1e-12:
        return float(difference), 0.0, 1.0 if abs(difference) < 1e-12 else float("nan")
    df = combine_df(variances[:2], n_left[:2].astype(float))
    return float(difference), error, float(2 * stats.t.sf(abs(difference) / error, df))


def mcnemar(y_true: ArrayLike, y_pred_a: ArrayLike, y_pred_b: ArrayLike, patient_id: ArrayLike | None = None) -> float:
    """Return the exact p-value of McNemar's test by patient, two-sided; 0 or 1, ``(record,)`` each.

    Without patients, each record is one.
    """
    is_correct_a, is_correct_b = (np.asarray(y_pred) == np.asarray(y_true) for y_pred in (y_pred_a, y_pred_b))
    gained = is_correct_a.astype(float) - is_correct_b
    if patient_id is not None:
        gained = np.bincount(np.unique(np.asarray(patient_id), return_inverse=True)[1], gained)
    sizes, counts = np.unique(abs(gained[gained != 0]).astype(int), return_counts=True)
    below = np.ones(1)  # chances of each sum of the patients with a negative sign
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        of_size = np.zeros(size * count + 1)
        of_size[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        below = np.convolve(below, of_size)
    at = round(
        (len(below) - 1 - abs(gained.sum())) / 2
    )  # the sum of all is the positive signs' less the negative ones'
    return float(min(1.0, 2 * below[: at + 1].sum()))


def _place(truth: NDArray[np.bool_], y_score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each record's share of records of the other kind that it is correctly ranked against; ties count half."""
    placed = np.empty(len(truth))
    everyone = stats.rankdata(y_score)
    for is_kind in (truth, ~truth):
        n_others = (~is_kind).sum()
        placed[is_kind] = (everyone[is_kind] - stats.rankdata(y_score[is_kind])) / n_others  # others below
    placed[~truth] = 1 - placed[~truth]
    return placed
