r"""Differences: what a difference of two models and its standard error say, as interval, test and detectable size.

Conventions
    - A difference has a standard error from resampled patients and degrees of freedom from the patients that it
      relies on, n, of K folds: Student's t with n - K is the reference [1]_, and the error is :math:`\sqrt{n/(n-1)}`
      times the resamples' own standard deviation, whose denominators are n. (In folds, each lacks more than that of its
      own variance, but a resample that loses a fold's positives is the mean of the others, which adds about as much:
      `benchmarks.verdicts`.) The tail has no floor, as the share of resamples beyond 0 has: Holm's correction over a
      hundred classes leaves room to reject.
    - Interval and test come from the same numbers: the p-value is below 1 - level where the interval leaves out 0.
    - A limit ends where the metric does, and a detectable difference beyond that is none.
    - Where all resamples give the same difference d, their spread says nothing. With q the share of patients unlike
      those seen, at most :math:`1-(\alpha/2)^{1/n}` (exactly, for a proportion of 0 of n [2]_), and their difference
      at most 1 the other way, the interval is :math:`d \pm q(1+|d|)`; if d is 1 in all, p is that of a sign test.
    - The sum of several differences (a macro mean) has Satterthwaite's degrees of freedom [3]_, near those of the class
      that contributes most of the variance.

References
----------
.. [1] B. Efron, R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall, 1993.
.. [2] C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
       Biometrika 26(4), 1934, doi:10.1093/biomet/26.4.404.
.. [3] F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics Bulletin 2(6),
       1946, doi:10.2307/3002019.
.. [4] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2),
       1979.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from ecgcls.evaluation.metrics import OVERALL

SUPPORTED = "overall, supported classes"
"""What tables of differences call the macro mean over the classes with enough patients, where some have not."""
OVERALLS = (OVERALL, SUPPORTED)

Array = NDArray[np.float64]

_POWER = 0.8
_SAME = 1e-12  # resamples that differ by less are the same but for rounding


@dataclass(frozen=True, eq=False)
class Differences:
    """Differences with their uncertainty, ``(row,)`` each; nan where there is none.

    Parameters
    ----------
    value, error
        The differences and their standard errors; an error of 0 means that all resamples were the same.
    n_patients, df
        The patients that each relies on, and the degrees of freedom of its error; below 1, nothing can be said.
    span
        The largest difference there can be.

    Examples
    --------
    >>> found = Differences(np.array([0.04]), np.array([0.01]), np.array([21.0]), np.array([20.0]),
    ...                     np.array([1.0]))
    >>> [round(float(limit[0]), 4) for limit in found.limits(0.95)], round(float(found.test()[0]), 5)
    ([0.0191, 0.0609], 0.0007)
    """

    value: Array
    error: Array
    n_patients: Array
    df: Array
    span: Array

    def __neg__(self) -> Differences:
        return self.orient(-1)

    def orient(self, sign: ArrayLike) -> Differences:
        """Multiply by 1 or -1, one for each row."""
        return replace(self, value=self.value * np.asarray(sign))

    def limits(self, level: float) -> tuple[Array, Array]:
        """Return the two-sided interval."""
        with np.errstate(invalid="ignore", divide="ignore"):
            half = stats.t.ppf((1 + level) / 2, self._df) * self.error
            unseen = 1 - ((1 - level) / 2) ** (1 / self.n_patients)
        half = np.where(self._is_same, unseen * (1 + abs(self.value)), half)
        half = np.where(np.isnan(self._df), np.nan, half)
        return np.maximum(self.value - half, -self.span), np.minimum(self.value + half, self.span)

    def exceed(self, bound: float) -> Array:
        """Return the one-sided p-value of the hypothesis that the true difference is at most `bound`."""
        beyond = self.value - bound
        with np.errstate(invalid="ignore", divide="ignore"):
            p = stats.t.sf(beyond / self.error, self._df)
        of_same = (1 - np.clip(beyond / (1 + abs(self.value)), 0, 1)) ** self.n_patients
        return np.where(np.isnan(self._df), np.nan, np.where(self._is_same, of_same, p))

    def test(self) -> Array:
        """Return the two-sided p-value of no difference."""
        return np.minimum(1.0, 2 * np.minimum(self.exceed(0.0), (-self).exceed(0.0)))

    def detect(self, alpha: ArrayLike) -> Array:
        """Return the difference that a two-sided test of size `alpha`, ``(row,)``, finds with a power of 80%.

        nan where no possible difference is found so often.
        """
        critical = stats.t.ppf(1 - np.asarray(alpha) / 2, self._df)
        found = special.nctdtrinc(self._df, 1 - _POWER, critical) * self.error
        return np.where(self._is_same | (found > self.span), np.nan, found)

    @property
    def _is_same(self) -> NDArray[np.bool_]:
        return self.error < _SAME

    @property
    def _df(self) -> Array:
        return np.where(self.df >= 1, self.df, np.nan)


def combine_df(variances: Array, df: Array) -> float:
    """Return the degrees of freedom of a sum of independent terms, ``(term,)``; of terms that vary none at all, the
    fewest.
    """
    total = variances.sum()
    return float(total**2 / (variances**2 / df).sum()) if total > 0 else float(df.min(initial=np.inf))


def adjust_classes(p: pd.Series, is_supported: pd.Series) -> pd.Series:
    """Adjust the p-values of each metric over its supported classes by Holm's procedure [4]_.

    Both are indexed by ``class`` and ``metric``. The rows over all classes stay as they are; a class without support is
    in no family, and nan, since nothing is claimed about it.
    """
    is_class = ~p.index.get_level_values("class").isin(OVERALLS)
    adjusted = p.mask(is_class)
    for _, family in p[is_class & is_supported].dropna().groupby("metric"):
        order = np.argsort(family.to_numpy())  # statsmodels' own collects all garbage in each call: 0.2 s
        steps = family.to_numpy()[order] * np.arange(len(family), 0, -1)
        adjusted[family.index[order]] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted
