r"""Folds: how a metric varies over the folds of a cross-validation, and what its mean can be relied on for.

The folds' training sets overlap, so their results vary less than those of independent experiments. Intervals and tests
of a mean over folds take its variance as :math:`(1/J + n_{test}/n_{train}) s^2` over J folds, with J - 1 degrees of
freedom [1]_, as for repeated cross-validation, whose repetitions have other folds [2]_. Seeds of a fold are no
repetition of this kind: they are averaged first. The interval of a metric with bounds is taken on a scale without any,
by the delta method, and so does not leave them.

References
----------
.. [1] C. Nadeau, Y. Bengio, "Inference for the generalization error", Machine Learning 52, 2003,
       doi:10.1023/A:1024068626366.
.. [2] R. R. Bouckaert, E. Frank, "Evaluating the replicability of significance tests for comparing learning
       algorithms", PAKDD 2004, doi:10.1007/978-3-540-24775-3_3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ecgcls.errors import DataError
from ecgcls.evaluation.checks import describe_difference
from ecgcls.evaluation.metrics import OVERALL, Scores
from ecgcls.evaluation.scales import bound, slope, unbound
from ecgcls.evaluation.weighted import Array


def summarize_folds(scores: Sequence[Scores]) -> pd.DataFrame:
    """Return the mean and the spread of each metric over folds, one `Scores` each, of the same classes.

    Returns
    -------
    pandas.DataFrame
        Indexed by `class` ('overall' for all classes together) and `metric`. Columns: `mean` and `sd` (n - 1 in the
        denominator; nan for a single fold) over the `n` folds whose value is not nan, of `n_folds`.

    Examples
    --------
    >>> from ecgcls.evaluation.metrics import score
    >>> folds = [score([[1], [0]], [[0.9], [0.2]], ["MI"]), score([[0], [0]], [[0.3], [0.4]], ["MI"])]
    >>> summarize_folds(folds).loc[("MI", "pr_auc"), ["mean", "n", "n_folds"]].tolist()
    [1.0, 1.0, 2.0]
    """
    if not scores:
        raise DataError("there are no scores to summarize: expected one per fold, got none")
    tables = [_stack(fold) for fold in scores]
    for number, table in enumerate(tables[1:], start=1):
        if not table.index.equals(tables[0].index):
            difference = describe_difference(
                [" ".join(key) for key in table.index], [" ".join(key) for key in tables[0].index]
            )
            raise DataError(f"the scores of fold {number} differ from fold 0's: {difference}")
    values = pd.concat(tables, axis=1)  # (class and metric, fold)
    return pd.DataFrame(
        {
            "mean": values.mean(axis=1),
            "sd": values.std(axis=1, ddof=1),
            "n": values.notna().sum(axis=1),
            "n_folds": len(scores),
        }
    )


def correct_folds(
    mean: ArrayLike,
    sd: ArrayLike,
    n_folds: ArrayLike,
    *,
    n_train: float,
    n_test: float,
    level: float = 0.95,
    bounds: ArrayLike = (-np.inf, np.inf),
) -> tuple[Array, Array]:
    """Return the corrected interval of a metric's mean over the folds of a cross-validation.

    Parameters
    ----------
    mean, sd, n_folds
        Of the folds' values: their mean, their standard deviation (n - 1 in the denominator), and how many they are;
        numbers, or arrays of one shape.
    n_train, n_test
        Records in a fold's training and test set, on average.
    bounds
        The metric's lowest and highest value, numbers or arrays as above. With two finite ones the interval is computed
        on the logit's scale, with a finite lowest one on the logarithm's.

    Returns
    -------
    low, high
        nan where there are fewer than two folds, or where all of them are at a bound, which tells nothing about how far
        from it the mean may be.

    Examples
    --------
    >>> low, high = correct_folds(0.72, 0.0158, 5, n_train=700, n_test=200)
    >>> round(float(low), 4), round(float(high), 4)
    (0.6894, 0.7506)
    """
    mean, sd, n_folds = (np.asarray(each, dtype=float) for each in (mean, sd, n_folds))
    with np.errstate(invalid="ignore", divide="ignore"):
        half = stats.t.ppf((1 + level) / 2, n_folds - 1) * sd * np.sqrt(1 / n_folds + n_test / n_train)
        low, high = (bound(unbound(mean, bounds) + sign * half * slope(mean, bounds), bounds) for sign in (-1, 1))
    return low, high


def compare_folds(
    a: ArrayLike, b: ArrayLike, fold: ArrayLike | None = None, *, n_train: float, n_test: float, level: float = 0.95
) -> dict[str, float]:
    """Compare two models over folds and seeds with the corrected resampled t-test.

    The seeds of a fold share its training and test set, so their mean is one observation, however many they are: taken
    as independent, they would make the test reject too often.

    Parameters
    ----------
    a, b
        ``(run,)``: a metric of each model in the same runs.
    fold
        ``(run,)``: the fold of each run; None: each run is a fold.
    n_train, n_test
        Records in a run's training and test set, on average.

    Returns
    -------
    dict
        ``mean``, ``sd`` over folds, ``low``, ``high``, ``t``, ``p``, ``n_runs`` (folds) of the difference a - b, nan
        with one fold; ``seed_sd``, the standard deviation over the seeds within a fold, nan with one seed.

    Examples
    --------
    >>> found = compare_folds([0.72, 0.74, 0.71], [0.70, 0.71, 0.70], n_train=700, n_test=200)
    >>> round(found["mean"], 3), round(found["p"], 3)
    (0.02, 0.126)
    """
    runs = pd.Series(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).dropna()
    by_fold = runs.groupby(runs.index.to_numpy() if fold is None else np.asarray(fold)[runs.index])
    difference, n_runs = by_fold.mean(), by_fold.ngroups
    found = {
        "mean": float(difference.mean()),
        "n_runs": n_runs,
        "seed_sd": float(np.sqrt(by_fold.var(ddof=1).mean())),
    }
    if n_runs < 2:
        return found | dict.fromkeys(("sd", "low", "high", "t", "p"), float("nan"))
    sd = float(difference.std(ddof=1))
    low, high = correct_folds(found["mean"], sd, n_runs, n_train=n_train, n_test=n_test, level=level)
    error = sd * np.sqrt(1 / n_runs + n_test / n_train)
    t = found["mean"] / error if error else np.sign(found["mean"]) * np.inf if found["mean"] else 0.0
    return found | {
        "sd": sd, "low": float(low), "high": float(high), "t": float(t), "p": float(2 * stats.t.sf(abs(t), n_runs - 1)),
    }  # fmt: skip


def _stack(scores: Scores) -> pd.Series:
    """Return all numbers, indexed by class and metric."""
    if OVERALL in scores.by_class.index:
        raise DataError(f"no class may be called {OVERALL!r}, the summary uses that name")
    rows = {OVERALL: pd.Series(scores.overall), **dict(scores.by_class.iterrows())}
    return pd.concat(rows, names=["class", "metric"]).astype(float)
