r"""Comparison: whether one model is better than another on the same records, or the records do not decide it.

Conventions
    - Differences are a - b; the registry of metrics defines which sign is better. Records of several folds are compared
      within folds: each difference is the mean over the folds, and patients are drawn within them [1]_, since
      probabilities of different nets do not rank one another's records. The differences of the pooled records stand
      beside it. Where only one model has folds, the other is measured within the same.
    - Interval and p-value of a difference come from its standard error over resamples of the patients, the same ones
      for both models, with Student's t of the patients of the rarer kind (`differences`). So they agree: the interval
      leaves out 0 where the p-value is below 1 - level.
    - A resample that lost a class takes that class's value from another resample, for the macro mean, too, which is
      always over the same classes. `SUPPORTED` is the macro mean over the classes with enough patients, where some have
      too few; nobody's result has a part in the choice.
    - DeLong's and McNemar's tests, both by patient, stand beside these (`paired_tests`).
    - The p-values of one test and metric over the classes with enough patients are one family, adjusted so that the
      chance of a false claim in it stays below 1 - level (Holm). The metrics over all classes are not adjusted: decide
      beforehand on which one you rely.
    - *detectable*: the difference that would be found with a power of 80% in a class's first step of Holm's procedure,
      the hardest, at (1 - level) over the number of classes (by the noncentral t distribution).
    - *verdict*: `a better` or `b better` where the (adjusted) p-value is below 1 - level and there are `min_positives`
      patients of the rarer kind, else `cannot be told`, which does not mean that they are equal; ``why`` gives the
      reason.

References
----------
.. [1] E. LeDell, M. Petersen, M. van der Laan, "Computationally efficient confidence intervals for cross-validated area
       under the ROC curve estimates", Electronic Journal of Statistics 9(1), 2015, doi:10.1214/15-EJS1035. See also
       A. Airola et al., "A comparison of AUC estimators in small-sample studies", MLSB 2009 (PMLR 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.errors import DataError
from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.differences import OVERALLS, SUPPORTED, Differences, adjust_classes, combine_df
from ecgcls.evaluation.intervals import resample
from ecgcls.evaluation.margins import check_margin, judge_margin
from ecgcls.evaluation.metrics import METRICS, OVERALL, overall_metrics, score_predictions
from ecgcls.evaluation.paired_tests import delong, mcnemar
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.support import count_support
from ecgcls.evaluation.weighted import Array

VERDICTS = ("a better", "b better", "cannot be told")
HOLDS_NONE = "the interval holds 0"
_COLUMNS = [
    "a", "b", "difference", "low", "high", "p", "p_holm", "delong_p", "delong_p_holm", "mcnemar_p", "mcnemar_p_holm",
    "detectable", "n_positive", "n_rarest_patients", "is_supported", "verdict", "why",
]  # fmt: skip
_POOLED = ["pooled_a", "pooled_b", "pooled_difference"]


def compare(
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    settings: Bootstrap = Bootstrap(),
    *,
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare two models on the same records.

    Parameters
    ----------
    a, b
        Predictions of each model: one, or one per seed, all as `check_same_records` wants them. With several seeds
        every metric is the mean over them, and DeLong's and McNemar's tests are left out.
    margin
        The largest loss that does not matter, to tell whether a is not inferior or equivalent to b (`margins`).

    Returns
    -------
    DataFrame
        Indexed by ``class`` ('overall' for all together) and ``metric``: ``a``, ``b``, ``difference``, ``low``,
        ``high``, ``p``, ``p_holm`` (``p`` itself for 'overall', nan for a class with too few patients), ``delong_p``,
        ``delong_p_holm`` (rows of roc_auc), ``mcnemar_p``, ``mcnemar_p_holm`` (rows of f1), ``detectable``,
        ``n_positive``, ``n_rarest_patients``, ``is_supported``, ``verdict``, ``why`` it cannot be told. Of several
        folds, ``pooled_a``, ``pooled_b`` and ``pooled_difference``, of all records ranked together; with a margin, the
        columns of `margins.judge_margin`.
    """
    if margin is not None:
        check_margin(margin, settings.level)
    for other in (*a[1:], *b):
        check_same_records(a[0], other)
    a, b = _share_folds(a, b)
    of_a, of_b = (reduce(add, (resample(one, settings) for one in model)) / len(model) for model in (a, b))
    table = _describe(of_a, of_b, _count_patients(of_a.index, [*a, *b]), settings)
    table["is_supported"] = table["n_rarest_patients"] >= settings.min_positives
    table["span"] = [np.ptp(METRICS[key].bounds) for _, key in table.index]
    numbers = ("difference", "error", "n_rarest_patients", "df", "span")
    differences = Differences(*(table[name].to_numpy() for name in numbers))
    table["low"], table["high"] = differences.limits(settings.level)
    table["p"], table["delong_p"], table["mcnemar_p"] = differences.test(), np.nan, np.nan
    if len(a) == len(b) == 1:
        _add_tests(table, a[0], b[0])
    for column in ("p", "delong_p", "mcnemar_p"):
        table[f"{column}_holm"] = adjust_classes(table[column], table["is_supported"])
    n_tests = _count_tests(table)
    table["detectable"] = differences.detect((1 - settings.level) / np.maximum(n_tests, 1))
    table["verdict"], table["why"] = _judge(table, n_tests, settings)
    columns = list(_COLUMNS)
    if a[0].fold is not None:
        _add_pooled(table, a, b)
        columns += _POOLED
    if margin is not None:
        judged = judge_margin(table, differences, margin, settings.level)
        return table[columns].join(judged)
    return table[columns]


def check_same_records(a: Predictions, b: Predictions) -> None:
    """Refuse predictions that are not of the same records with the same patients, labels, classes and folds."""
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
    if a.fold is None or b.fold is None:
        return
    pairs = np.unique(np.stack([a.fold, b.fold]), axis=1)
    if pairs.shape[1] > min(len(np.unique(one)) for one in pairs):
        raise DataError(
            "a and b have other folds: a metric is measured within the records that one net predicted, which are not "
            "the same; give predictions files without the column fold to compare the pooled records"
        )


def _share_folds(a: Sequence[Predictions], b: Sequence[Predictions]) -> tuple[list[Predictions], list[Predictions]]:
    """Give all the folds of the first that has any."""
    fold = next((one.fold for one in (*a, *b) if one.fold is not None), None)
    if fold is None or len(np.unique(fold)) == 1:
        return [one.merge_folds() for one in a], [one.merge_folds() for one in b]
    return [replace(one, fold=fold) for one in a], [replace(one, fold=fold) for one in b]


def _count_patients(index: pd.Index, models: Sequence[Predictions]) -> pd.DataFrame:
    """Count by row positive records, patients that the metric relies on, and folds with both kinds of record.

    Where the models' decisions count (precision, NPV), it is the patients of the model that has fewest.
    """
    first = models[0]
    counts = [
        count_support(index, first.class_names, first.y_true, first.patient_id, y_pred=one.y_pred) for one in models
    ]
    fold = np.zeros(len(first), int) if first.fold is None else first.fold
    n_folds = {OVERALL: len(np.unique(fold))}
    for name, truth in zip(map(str, first.class_names), first.y_true.T, strict=True):
        n_folds[name] = len(np.intersect1d(fold[truth == 0], fold[truth == 1]))
    return pd.DataFrame(
        {
            "n_positive": counts[0]["n_positive"],
            "n_rarest_patients": np.min([one["n_rarest_patients"] for one in counts], axis=0),
            "n_folds": [n_folds[name] for name in index.get_level_values("class")],
        }
    )


def _describe(a: pd.DataFrame, b: pd.DataFrame, rows: pd.DataFrame, settings: Bootstrap) -> pd.DataFrame:
    """Return values, patients, and the differences' standard errors with their degrees of freedom, by row."""
    classes, metrics = (a.index.get_level_values(name) for name in ("class", "metric"))
    rows = rows.assign(df=rows["n_rarest_patients"] - rows["n_folds"])
    drawn = _center((a - b).drop(columns="value").to_numpy(), np.random.default_rng(settings.seed))
    n_patients = rows[["n_rarest_patients"]].to_numpy()
    drawn *= np.sqrt(n_patients / np.maximum(n_patients - 1, 1))  # see `differences`
    rows = rows.assign(a=a["value"], b=b["value"], error=drawn.std(axis=1, ddof=1)).astype(float)
    found: dict[Any, dict[Any, float]] = rows.to_dict("index")
    for metric in (each for each in overall_metrics() if each.macro_of):
        is_one = (metrics == metric.macro_of) & (classes != OVERALL) & rows["a"].notna() & rows["b"].notna()
        is_supported = is_one & (rows["n_rarest_patients"] >= settings.min_positives)
        found[OVERALL, metric.key] = _average(rows[is_one], drawn[is_one])
        if 0 < is_supported.sum() < is_one.sum():
            found[SUPPORTED, metric.key] = _average(rows[is_supported], drawn[is_supported])
    order = sorted(found, key=lambda key: [*OVERALLS, key[0]].index(key[0]))  # those over all classes first
    names = pd.MultiIndex.from_tuples(order, names=["class", "metric"])
    table = pd.DataFrame([found[key] for key in order], index=names)
    return table.assign(difference=table["a"] - table["b"])


def _average(rows: pd.DataFrame, drawn: Array) -> dict[Any, float]:
    """Return the row of the mean over classes: as uncertain as their resamples together, with the rarest's patients."""
    counts = {"n_positive": rows["n_positive"].sum(), "n_rarest_patients": rows["n_rarest_patients"].min()}
    error = drawn.mean(axis=0).std(ddof=1) if len(rows) else np.nan
    df = combine_df(rows["error"].to_numpy() ** 2, rows["df"].clip(lower=1).to_numpy())
    return {"a": rows["a"].mean(), "b": rows["b"].mean(), **counts, "error": float(error), "df": df}


def _center(drawn: Array, generator: np.random.Generator) -> Array:
    """Return how far each resample is from its row's mean; one that lost the class is as far as another of the row."""
    centered = np.full_like(drawn, np.nan)
    for row, values in enumerate(drawn):
        kept = values[~np.isnan(values)]
        if len(kept) > 1:
            filled = np.where(np.isnan(values), generator.choice(kept, len(values)), values)
            centered[row] = filled - filled.mean()
    return centered


def _add_tests(table: pd.DataFrame, a: Predictions, b: Predictions) -> None:
    """Add the p-values of DeLong's and McNemar's tests."""
    found: dict[str, dict[tuple[str, str], float]] = {"delong_p": {}, "mcnemar_p": {}}
    for column, name in enumerate(map(str, a.class_names)):
        known = a.y_true[:, column] != UNKNOWN
        truth, patients = a.y_true[known, column], a.patient_id[known]
        (score_a, score_b), (pred_a, pred_b) = (
            [each.y_score[known, column] for each in (a, b)],
            [each.y_pred[known, column] for each in (a, b)],
        )
        if 0 < truth.sum() < len(truth):
            fold = None if a.fold is None else a.fold[known]
            found["delong_p"][name, "roc_auc"] = delong(truth, score_a, score_b, patients, fold)[2]
            found["mcnemar_p"][name, "f1"] = mcnemar(truth, pred_a, pred_b, patients)
    for test, values in found.items():
        table[test] = [values.get(key, np.nan) for key in table.index]


def _add_pooled(table: pd.DataFrame, a: Sequence[Predictions], b: Sequence[Predictions]) -> None:
    """Add the values of all records measured together, whichever net predicted them."""
    for name, model in (("pooled_a", a), ("pooled_b", b)):
        table[name] = 0.0
        for one in model:
            scores = score_predictions(one.merge_folds())
            values = {OVERALL: pd.Series(scores.overall), **dict(scores.by_class.iterrows())}
            stacked = pd.concat(values)
            table[name] += stacked.reindex(table.index) / len(model)
    table["pooled_difference"] = table["pooled_a"] - table["pooled_b"]


def _count_tests(table: pd.DataFrame) -> pd.Series:
    """Return how many tests the family of each row has: the metric's supported classes, or itself alone."""
    is_test = table["is_supported"] & ~table.index.get_level_values("class").isin(OVERALLS) & table["p"].notna()
    n_tests = is_test.groupby(level="metric").transform("sum")
    return n_tests.where(~table.index.get_level_values("class").isin(OVERALLS), 1)


def _judge(table: pd.DataFrame, n_tests: pd.Series, settings: Bootstrap) -> tuple[NDArray, NDArray]:
    """Return the verdict of each row, and why it cannot be told."""
    alpha = 1 - settings.level
    sign = [1 if METRICS[key].higher_is_better else -1 for _, key in table.index] * np.sign(table["difference"])
    is_significant = table["is_supported"] & (table["p_holm"] < alpha)
    verdict = np.select([is_significant & (sign > 0), is_significant & (sign < 0)], VERDICTS[:2], VERDICTS[2])
    reasons = [
        _explain(*row, alpha=alpha, needed=settings.min_positives)
        for row in zip(
            table.index.get_level_values("class"), *(table[name] for name in ("difference", "p", "is_supported")),
            table["n_rarest_patients"], n_tests, strict=True,
        )
    ]  # fmt: skip
    return verdict, np.where(verdict == VERDICTS[2], reasons, "")


def _explain(
    name: str, difference: float, p: float, is_supported: bool, n_patients: float, n_tests: int, *, alpha: float,
    needed: int,
) -> str:  # fmt: skip
    if np.isnan(difference):
        return "undefined"
    if not is_supported:
        of_rarest = "the rarest class has " if name in OVERALLS else ""
        return f"{of_rarest}{n_patients:.0f} of the {needed} patients needed"
    if np.isnan(p):
        return "no more patients than folds"
    return f"not after correction for {n_tests} classes" if p < alpha else HOLDS_NONE
