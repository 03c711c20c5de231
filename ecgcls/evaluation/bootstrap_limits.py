"""Bootstrap limits: an interval from the values of a metric in resamples; `intervals` says how they are drawn."""

from __future__ import annotations

import numpy as np
from scipy import stats

from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.weighted import Array


def find_quantiles(
    value: float, resamples: Array, jackknife: Array | None, n_units: int, settings: Bootstrap
) -> tuple[float, float]:
    """Return an interval's limits; nan where the value is nan or no resample is left.

    Parameters
    ----------
    value, resamples, jackknife
        The metric, its values in resamples, ``(resample,)``, and without each patient in turn, which bca alone needs.
    n_units
        Of Student's t: the patients that the metric relies on.
    """
    found = resamples[~np.isnan(resamples)]
    if np.isnan(value) or not len(found):
        return np.nan, np.nan
    shares = np.array([(1 - settings.level) / 2, (1 + settings.level) / 2])
    if settings.method in ("score", "expanded") and n_units > 1:
        shares = stats.norm.cdf(np.sqrt(n_units / (n_units - 1)) * stats.t.ppf(shares, n_units - 1))
    if jackknife is not None:
        corrected = _correct_shares(shares, value, found, jackknife[~np.isnan(jackknife)])
        shares = shares if np.isnan(corrected).any() else corrected  # where all resamples lie on one side of the value
    low, high = np.quantile(found, shares)
    return float(low), float(high)


def _correct_shares(shares: Array, value: float, resamples: Array, jackknife: Array) -> Array:
    """Return which quantiles of the resamples are the limits, after bias and skewness (BCa); nan where undefined."""
    below = (np.mean(resamples < value) + np.mean(resamples <= value)) / 2
    bias = stats.norm.ppf(below)
    deviations = jackknife.mean() - jackknife
    spread = (deviations**2).sum() ** 1.5
    acceleration = (deviations**3).sum() / (6 * spread) if spread else 0.0
    moved = bias + stats.norm.ppf(shares)
    with np.errstate(invalid="ignore"):
        return stats.norm.cdf(bias + moved / (1 - acceleration * moved))
