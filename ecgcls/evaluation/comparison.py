r"""Comparison: whether one model is better than another on the same records, or the records do not decide it.

Task
    Two models have predicted the same records of the same patients. `compare` puts every metric of one
    beside that of the other, with the interval of the difference, tests that fit the metric, and the difference that
    these records could have shown at all.

Conventions
    - Differences are a - b; the registry of metrics defines which sign is better.
    - The interval and the p-value of a difference come from drawing patients, the same ones for both models; resamples
      that lost a class are left out for it. The p-value is twice the smaller share of resamples on one side of 0,
      with one added to both counts [1]_; so it is never below 2 / (n_resamples + 1).
    - DeLong's test compares two ROC-AUCs, McNemar's the decisions of a class; see `ecgcls.evaluation.significance`.
    - *Holm*: the p-values of one test and metric over the classes are one family, and are adjusted so that the chance
      of a false claim in the family stays below 1 - level. The metrics over all classes are not adjusted: decide
      beforehand on which one you rely.
    - *detectable*: the difference that would be found with a power of 80 % in a test of that level, from the standard
      error of the resampled differences: :math:`(z_{1-\alpha/2} + z_{0.8})\,SE`.
    - *verdict*: `a better` or `b better` where the (adjusted) p-value is below 1 - level, else `cannot be told`; which
      does not mean that they are equal.

References
----------
.. [1] B. Efron, R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall, 1993.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ecgcls.errors import DataError
from ecgcls.evaluation.metrics import METRICS
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.resampling import count_support, resample
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.significance import adjust_holm, delong, mcnemar

VERDICTS = ("a better", "b better", "cannot be told")
_POWER = 0.8


def compare(a: Sequence[Predictions], b: Sequence[Predictions], settings: Bootstrap = Bootstrap()) -> pd.DataFrame:
    """Compare two models on the same records.

    Parameters
    ----------
    a, b
        Predictions of each model: one, or one per seed. With several seeds every metric is the mean over them, and
        DeLong's and McNemar's tests are left out.
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
    table = _describe_difference(*values, level=settings.level)
    table["delong_p"] = table["mcnemar_p"] = np.nan
    if len(a) == len(b) == 1:
        _add_tests(table, a[0], b[0])
    for column in ("p", "delong_p", "mcnemar_p"):
        table[f"{column}_holm"] = adjust_holm(table[column])
    return _judge(table, first, settings)


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


def _resample(model: Sequence[Predictions], names: Sequence[str], settings: Bootstrap) -> pd.DataFrame:
    """Measure resamples of the patients, the mean over seeds."""
    tables = [
        resample(
            one.y_true, one.y_prob, one.y_pred, one.patient_id, names,
            n_resamples=settings.n_resamples, seed=settings.seed,
        )
        for one in model
    ]  # fmt: skip
    total: pd.DataFrame = sum(tables[1:], start=tables[0])
    return total / len(tables)


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
        truth = a.y_true[:, column]
        if 0 < truth.sum() < len(truth):
            _, _, p = delong(truth, a.y_prob[:, column], b.y_prob[:, column], a.patient_id)
            table.loc[(name, "roc_auc"), "delong_p"] = p
            table.loc[(name, "f1"), "mcnemar_p"] = mcnemar(truth, a.y_pred[:, column], b.y_pred[:, column])


def _judge(table: pd.DataFrame, records: Predictions, settings: Bootstrap) -> pd.DataFrame:
    """Add support and verdict, and put the columns in order."""
    n_positive = dict(zip(map(str, records.class_names), records.y_true.sum(axis=0).tolist(), strict=True))
    support = count_support(table.index, n_positive, len(records))
    table["n_positive"] = support["n_positive"]
    table["is_supported"] = support["n_rarest"] >= settings.min_positives
    better = [1 if METRICS[key].higher_is_better else -1 for _, key in table.index]
    sign = better * np.sign(table["difference"].fillna(0))
    is_significant = table["p_holm"] < 1 - settings.level
    table["verdict"] = np.select([is_significant & (sign > 0), is_significant & (sign < 0)], VERDICTS[:2], VERDICTS[2])
    return table[
        [
            "a", "b", "difference", "low", "high", "p", "p_holm", "delong_p", "delong_p_holm", "mcnemar_p",
            "mcnemar_p_holm", "detectable", "n_positive", "is_supported", "verdict",
        ]
    ]  # fmt: skip
