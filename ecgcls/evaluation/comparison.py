r"""Comparison: whether one model is better than another on the same records, or it cannot be told.

Task
    Two models have said something about the same records of the same patients. `compare` sets every metric of one
    beside that of the other, with the interval of the difference, tests that fit the metric, and what difference these
    records could have shown at all.

Conventions
    - Differences are a - b. Every metric is better when it is higher, but for `brier` and `log_loss`.
    - The interval and the p-value of a difference come from drawing patients, the same ones for both models; resamples
      that lost the class are left out for it. The p-value is twice the smaller share of resamples on one side of 0,
      with one added to both counts [1]_; so it is never below 2 / (n_resamples + 1).
    - DeLong's test compares two ROC-AUCs [2]_, here in the form for records that come in clusters (patients) [3]_,
      which is DeLong's own where each patient has one record. McNemar's exact test compares the decisions of a class:
      of the records that one model gets right and the other wrong, is it more often the same model [4]_? It takes
      records as independent.
    - *Holm*: the p-values of one test and metric over the classes are one family, and are adjusted so that the chance
      of a false claim in the family stays below 1 - level [5]_. The metrics over all classes are not adjusted: decide
      beforehand on which one you rely.
    - *detectable*: the difference that would be found with a power of 80 % in a test of that level, from the standard
      error of the resampled differences: :math:`(z_{1-\alpha/2} + z_{0.8})\,SE`.
    - *verdict*: `a better` or `b better` where the (adjusted) p-value is below 1 - level, else `cannot be told`; which
      does not say that they are equal.
    - Over folds and seeds, `compare_folds` uses the corrected resampled t-test [6]_: the training parts of folds
      overlap, so the variance of the mean difference is taken as :math:`(1/J + n_{test}/n_{train}) s^2` over J runs.

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
.. [6] C. Nadeau, Y. Bengio, "Inference for the generalization error", Machine Learning 52, 2003,
       doi:10.1023/A:1024068626366; for repeated cross-validation R. R. Bouckaert, E. Frank, PAKDD 2004,
       doi:10.1007/978-3-540-24775-3_3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import check_settings
from ecgcls.evaluation.intervals import correct_folds, resample
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.predictions import Predictions

LOWER_IS_BETTER = ("brier", "log_loss")
"""Metrics that are better when lower."""
VERDICTS = ("a better", "b better", "cannot be told")
_POWER = 0.8


@dataclass(frozen=True)
class Comparing:
    """How to compare.

    Parameters
    ----------
    n_resamples
        Draws of as many patients as there are.
    level
        The confidence, such as 0.95.
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
    min_positives: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_settings(self, n_resamples=2, min_positives=0)
        if not 0 < self.level < 1:
            raise ConfigError(f"level must be between 0 and 1, got {self.level:g}")


def compare(a: Sequence[Predictions], b: Sequence[Predictions], settings: Comparing = Comparing()) -> pd.DataFrame:
    """Compare two models on the same records.

    Parameters
    ----------
    a, b
        What each model said about the records: one, or one a seed; with several seeds every metric is the mean over
        them, and DeLong's and McNemar's tests are left out.
    settings
        How.

    Returns
    -------
    DataFrame
        Indexed by ``class`` ('overall' for all together) and ``metric``: ``a``, ``b``, ``difference``, ``low``,
        ``high``, ``p``, ``p_holm`` (``p`` itself for 'overall'), ``delong_p``, ``delong_p_holm`` (rows of roc_auc),
        ``mcnemar_p``, ``mcnemar_p_holm`` (rows of f1), ``detectable``, ``n_positive``, ``is_supported``, ``verdict``.

    Raises
    ------
    DataError
        If the records, their patients, labels or classes differ.
    """
    first = a[0]
    for other in (*a[1:], *b):
        check_same_records(first, other)
    values = [_resample(model, first.class_names, settings) for model in (a, b)]
    difference = values[0] - values[1]
    resampled = difference.drop(columns="value").to_numpy()
    alpha = 1 - settings.level
    n_left = (~np.isnan(resampled)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        low, high = _quantiles(resampled, alpha / 2), _quantiles(resampled, 1 - alpha / 2)
        n_below, n_above = (resampled <= 0).sum(axis=1), (resampled >= 0).sum(axis=1)
        p = np.minimum(1.0, 2 * (np.minimum(n_below, n_above) + 1) / (n_left + 1))
        error = np.array(
            [
                row[~np.isnan(row)].std(ddof=1) if count > 1 else np.nan
                for row, count in zip(resampled, n_left, strict=True)
            ]
        )
    value = difference["value"].to_numpy()
    table = pd.DataFrame(
        {
            "a": values[0]["value"],
            "b": values[1]["value"],
            "difference": value,
            "low": np.where(np.isnan(value), np.nan, low),
            "high": np.where(np.isnan(value), np.nan, high),
            "p": np.where(np.isnan(value) | (n_left < 2), np.nan, p),
        }
    )
    table["detectable"] = (stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(_POWER)) * error
    if len(a) == len(b) == 1:
        _add_tests(table, a[0], b[0])
    else:
        table["delong_p"] = table["mcnemar_p"] = np.nan
    for column in ("p", "delong_p", "mcnemar_p"):
        table[f"{column}_holm"] = _adjust(table[column])
    return _judge(table, first, settings)


def delong(
    y_true: ArrayLike, y_prob_a: ArrayLike, y_prob_b: ArrayLike, patient_id: ArrayLike
) -> tuple[float, float, float]:
    """Compare two ROC-AUCs on the same records, which come in clusters.

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
    components = [_components(truth, np.asarray(y_prob, dtype=float)) for y_prob in (y_prob_a, y_prob_b)]
    area = [placed[truth].mean() for placed in components]
    centred = (components[0] - area[0]) - (components[1] - area[1])  # (record,)
    n_patients = int(patients.max()) + 1
    positive = np.bincount(patients[truth], centred[truth], n_patients)  # (patient,) sums
    negative = np.bincount(patients[~truth], centred[~truth], n_patients)
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
    """Return the exact p-value of McNemar's test, two-sided.

    Parameters
    ----------
    y_true, y_pred_a, y_pred_b
        0 or 1, ``(record,)``.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_test  # takes a second to import

    truth = np.asarray(y_true)
    is_right = [np.asarray(y_pred) == truth for y_pred in (y_pred_a, y_pred_b)]
    table = [
        [int((is_right[0] == one) @ (is_right[1] == other).astype(int)) for other in (True, False)]
        for one in (True, False)
    ]
    return float(exact_test(table, exact=True).pvalue) if table[0][1] + table[1][0] else 1.0


def compare_folds(
    a: ArrayLike, b: ArrayLike, *, n_train: float, n_test: float, level: float = 0.95
) -> dict[str, float]:
    """Compare two models over folds and seeds with the corrected resampled t-test.

    Parameters
    ----------
    a, b
        ``(run,)``: a metric of each model in the same runs.
    n_train, n_test
        Records of a run's training and test part, on average.
    level
        The confidence.

    Returns
    -------
    dict
        ``mean``, ``sd``, ``low``, ``high``, ``t``, ``p``, ``n_runs`` of the difference a - b; nan with one run.

    Examples
    --------
    >>> found = compare_folds([0.72, 0.74, 0.71], [0.70, 0.71, 0.70], n_train=700, n_test=200)
    >>> round(found["mean"], 3), round(found["p"], 3)
    (0.02, 0.126)
    """
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    difference = difference[~np.isnan(difference)]
    n_runs = len(difference)
    found = {"mean": float(difference.mean()) if n_runs else float("nan"), "n_runs": n_runs}
    if n_runs < 2:
        return found | dict.fromkeys(("sd", "low", "high", "t", "p"), float("nan"))
    sd = float(difference.std(ddof=1))
    low, high = correct_folds(found["mean"], sd, n_runs, n_train=n_train, n_test=n_test, level=level)
    error = sd * np.sqrt(1 / n_runs + n_test / n_train)
    t = found["mean"] / error if error else np.sign(found["mean"]) * np.inf if found["mean"] else 0.0
    return found | {
        "sd": sd, "low": float(low), "high": float(high), "t": float(t), "p": float(2 * stats.t.sf(abs(t), n_runs - 1)),
    }  # fmt: skip


def check_same_records(a: Predictions, b: Predictions) -> None:
    """Refuse predictions that are not of the same records.

    Raises
    ------
    DataError
        Naming what differs.
    """
    only_a, only_b = np.setdiff1d(a.ecg_id, b.ecg_id), np.setdiff1d(b.ecg_id, a.ecg_id)
    if len(only_a) or len(only_b):
        one = (only_a if len(only_a) else only_b)[0]
        raise DataError(
            f"a and b must be of the same records: {len(only_a)} are in a only and {len(only_b)} in b only, such as "
            f"ecg_id {one}; compare runs of the same task and fold"
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


def _resample(model: Sequence[Predictions], names: Sequence[str], settings: Comparing) -> pd.DataFrame:
    tables = [
        resample(
            said.y_true, said.y_prob, said.y_pred, said.patient_id, names,
            n_resamples=settings.n_resamples, seed=settings.seed,
        )
        for said in model
    ]  # fmt: skip
    total = tables[0]
    for table in tables[1:]:
        total = total + table
    return total / len(tables)


def _quantiles(resampled: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    found = np.full(len(resampled), np.nan)
    some = ~np.isnan(resampled).all(axis=1)
    found[some] = np.nanquantile(resampled[some], share, axis=1)
    return found


def _components(truth: NDArray[np.bool_], y_prob: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each record's share of records of the other kind that it is rightly ranked against; ties count half."""
    placed = np.empty(len(truth))
    everyone = stats.rankdata(y_prob)
    for is_kind in (truth, ~truth):
        n_others = (~is_kind).sum()
        placed[is_kind] = (everyone[is_kind] - stats.rankdata(y_prob[is_kind])) / n_others  # others below
    placed[~truth] = 1 - placed[~truth]
    return placed


def _add_tests(table: pd.DataFrame, a: Predictions, b: Predictions) -> None:
    """Add the p-values of DeLong's and McNemar's tests."""
    table["delong_p"] = table["mcnemar_p"] = np.nan
    for column, name in enumerate(map(str, a.class_names)):
        truth = a.y_true[:, column]
        if 0 < truth.sum() < len(truth):
            _, _, p = delong(truth, a.y_prob[:, column], b.y_prob[:, column], a.patient_id)
            table.loc[(name, "roc_auc"), "delong_p"] = p
            table.loc[(name, "f1"), "mcnemar_p"] = mcnemar(truth, a.y_pred[:, column], b.y_pred[:, column])


def _adjust(p: pd.Series) -> pd.Series:
    """Adjust the p-values of each metric over the classes."""
    from statsmodels.stats.multitest import multipletests  # takes a second to import

    adjusted = p.copy()
    is_class = p.index.get_level_values("class") != OVERALL
    for metric in p.index.get_level_values("metric").unique():
        family = is_class & (p.index.get_level_values("metric") == metric) & p.notna().to_numpy()
        if family.any():
            adjusted[family] = multipletests(p[family], method="holm")[1]
    return adjusted


def _judge(table: pd.DataFrame, records: Predictions, settings: Comparing) -> pd.DataFrame:
    """Add support and verdict, and put the columns in order."""
    n_positive = dict(zip(map(str, records.class_names), records.y_true.sum(axis=0).tolist(), strict=True))
    names, metrics = (table.index.get_level_values(level) for level in ("class", "metric"))
    table["n_positive"] = [n_positive.get(name, sum(n_positive.values())) for name in names]
    rarest_of = {name: min(n, len(records) - n) for name, n in n_positive.items()}
    rarest_scored = min((rarest for rarest in rarest_of.values() if rarest > 0), default=0)
    table["is_supported"] = [rarest_of.get(name, rarest_scored) >= settings.min_positives for name in names]
    sign = np.where(metrics.isin(LOWER_IS_BETTER), -1, 1) * np.sign(table["difference"].fillna(0))
    is_told = table["p_holm"] < 1 - settings.level
    table["verdict"] = np.select([is_told & (sign > 0), is_told & (sign < 0)], VERDICTS[:2], VERDICTS[2])
    return table[
        [
            "a", "b", "difference", "low", "high", "p", "p_holm", "delong_p", "delong_p_holm", "mcnemar_p",
            "mcnemar_p_holm", "detectable", "n_positive", "is_supported", "verdict",
        ]
    ]  # fmt: skip
