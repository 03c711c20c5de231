r"""Score-type limits: intervals that hold near 0 and 1, for few patients, and for means over classes.

Conventions
    - The limits of a metric :math:`\hat\theta` are the values :math:`\theta` that differ from it by just
      :math:`q \sqrt{V(\theta)}`, with the variance *there*, not at :math:`\hat\theta`: it is not 0 where all of 25
      records are right.
    - Records of one patient resemble one another, so a metric rests on an effective number of records: their number
      over the design effect, which is the variance of the metric from its influences (`influence`) summed by patient
      over that from single records [1]_. It is at least 1, and at most, as where all influences are 0, what it would be
      if a patient's records were alike.
    - *Rates* (sensitivity, ...) have :math:`V = \theta (1 - \theta) / n`, Wilson's interval [2]_, with the normal q. So
      has F1, through :math:`J = F_1 / (2 - F_1)`, the share of hits among the records that are positive or called so.
    - *ROC-AUC* has the V of Newcombe's method 5 [3]_, *average precision* :math:`\theta (1 - \theta) / n`, n being the
      positive records (the negative ones, if these are fewer), as in the binomial interval [4]_; so has *MCC* at
      :math:`\hat\theta`, and that of a rate, (1 + MCC) / 2, elsewhere. These are models: V is scaled by how the
      variance from the influences compares with V at :math:`\hat\theta`. A ratio below 1 is drawn towards 1, as if
      another 20 patients had shown 1: with few patients, it is small where the metric happens to be near its bound.
      q is Student's, with one degree of freedom less than there are effective records.
    - Average precision of few positive records is too high: its lower limit is that of `Estimate.center`.
    - The limits of a *mean over classes* come from those of the classes and the correlation of their influences
      (MOVER [5]_), those of a class of one patient included, which are nearly as wide as can be.
    - `benchmarks/coverage.py` measures how often the limits hold.

References
----------
.. [1] J. N. K. Rao, A. J. Scott, "A simple method for the analysis of clustered binary data", Biometrics 48(2), 1992,
       doi:10.2307/2532311.
.. [2] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
       Statistical Association 22, 1927, doi:10.1080/01621459.1927.10502953.
.. [3] R. G. Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2:
       asymptotic methods and evaluation", Statistics in Medicine 25(4), 2006, doi:10.1002/sim.2324.
.. [4] K. Boyd, K. H. Eng, C. D. Page, "Area under the precision-recall curve: point estimates and confidence
       intervals", ECML PKDD 2013, doi:10.1007/978-3-642-40994-3_29.
.. [5] G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures: a general approach", Statistics
       in Medicine 27(10), 2008, doi:10.1002/sim.3095.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from ecgcls.evaluation.influence import ESTIMATED, RATES, Estimate, estimate
from ecgcls.evaluation.metrics import OVERALL, overall_metrics
from ecgcls.evaluation.weighted import Array, Records

_PRIOR_PATIENTS = 20  # that V is right, whatever the influences say
_EDGE = 1e-12


@dataclass(frozen=True, eq=False)
class Limits:
    """The interval of one metric of one class; `by_patient` is its influences summed, ``(patient,)``."""

    value: float
    center: float
    low: float
    high: float
    by_patient: Array


def wilson(share: float, n: float, level: float) -> tuple[float, float]:
    """Return Wilson's interval of a share of n records; n may be an effective number.

    Examples
    --------
    >>> [round(limit, 3) for limit in wilson(1.0, 25, 0.95)]
    [0.867, 1.0]
    """
    return _wilson(share, n, float(stats.norm.ppf((1 + level) / 2)))


def newcombe(area: float, m: float, n: float, level: float) -> tuple[float, float]:
    """Return Newcombe's interval of a ROC-AUC of m positive and n negative records, by his method 5.

    Examples
    --------
    >>> [round(limit, 3) for limit in newcombe(1.0, 20, 1000, 0.95)]
    [0.95, 1.0]
    """
    q = float(stats.norm.ppf((1 + level) / 2))
    return _solve(area, lambda theta: q**2 * _newcombe_variance(theta, m, n))


def find_limits(key: str, found: Estimate, patient_of: NDArray[np.intp], level: float) -> Limits:
    """Return the limits of a metric of a class; patients are numbered, ``(record,)``."""
    n, n_patients = count_effective(found.influence, found.share, patient_of)
    by_patient = np.bincount(patient_of, found.influence).astype(float)
    if key in RATES:
        low, high = wilson(found.value, n, level)
    elif key == "f1":
        low, high = (2 * limit / (1 + limit) for limit in wilson(found.value / (2 - found.value), n, level))
    else:
        assert found.other_share is not None
        n_other, other_patients = count_effective(found.influence, found.other_share, patient_of)
        n_patients = min(n_patients, other_patients)
        variance = (by_patient**2).sum() * n_patients / max(n_patients - 1, 1)
        low, high = _modeled(key, found, variance, n, n_other, n_patients=n_patients, level=level)
    low, high = min(max(low, -1.0), found.value), max(min(high, 1.0), found.value)
    return Limits(found.value, found.center, low, high, by_patient)


def count_effective(influence: Array, share: Array, patient_of: NDArray[np.intp]) -> tuple[float, int]:
    """Return the effective number of records with a share, ``(record,)`` each, and how many patients have them."""
    rows = share > 0
    who, each = patient_of[rows], influence[rows]
    n = 1 / (share[rows] ** 2).sum()
    n_if_alike = 1 / (np.bincount(who, share[rows]) ** 2).sum()
    n_patients = len(np.unique(who))
    single, summed = (each**2).sum(), (np.bincount(who, each) ** 2).sum() * n_patients / max(n_patients - 1, 1)
    if single < _EDGE / n:
        return float(n_if_alike), n_patients
    return float(np.clip(n * single / summed if summed else n, n_if_alike, n)), n_patients


def combine(classes: Sequence[Limits]) -> tuple[float, float]:
    """Return the limits of the mean of a metric over classes."""
    moves = np.stack([each.by_patient for each in classes])
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.nan_to_num(moves @ moves.T / np.outer(*[np.sqrt((moves**2).sum(axis=1))] * 2))
    np.fill_diagonal(correlation, 1.0)
    value, center, low, high = np.array([[each.value, each.center, each.low, each.high] for each in classes]).T
    below, above = (np.sqrt(max(gap @ correlation @ gap, 0.0)) / len(classes) for gap in (center - low, high - value))
    return float(center.mean() - below), float(value.mean() + above)


def score_classes(
    records: Records, patient_of: NDArray[np.intp], class_names: Sequence[str], level: float
) -> dict[tuple[str, str], Limits]:
    """Return the limits of all metrics that have score-type limits, by class and metric, where they are defined."""
    return {
        (name, key): find_limits(key, found, patient_of, level)
        for column, name in enumerate(class_names)
        for key in ESTIMATED
        if (found := estimate(key, records, column, patient_of))
    }


def score_macros(classes: Mapping[tuple[str, str], Limits]) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the limits of the means over all classes, from theirs."""
    found = {}
    for metric in overall_metrics():
        if of_class := [limits for (_, key), limits in classes.items() if key == metric.macro_of]:
            found[OVERALL, metric.key] = combine(of_class)
    return found


def _modeled(
    key: str, found: Estimate, variance: float, m: float, n: float, *, n_patients: int, level: float
) -> tuple[float, float]:
    """Return limits by a model of the variance that is scaled; m and n are the effective numbers of both kinds."""
    value, rarer = found.value, min(m, n)
    q = float(stats.t.ppf((1 + level) / 2, max(rarer - 1, 1)))
    modeled = _newcombe_variance(value, m, n) if key == "roc_auc" else abs(value) * (1 - abs(value)) / rarer
    used = max(variance, (variance * n_patients + modeled * _PRIOR_PATIENTS) / (n_patients + _PRIOR_PATIENTS))
    ratio = used / modeled if modeled > _EDGE else 1.0
    if key == "roc_auc":
        return _solve(value, lambda theta: q**2 * ratio * _newcombe_variance(theta, m, n))
    if key == "mcc":
        n_signed = (1 - value**2) / used if used > _EDGE else 2 * rarer
        low, high = (2 * limit - 1 for limit in _wilson((1 + value) / 2, n_signed, q))
        return low, high
    return _wilson(found.center, rarer / ratio, q)[0], _wilson(value, rarer / ratio, q)[1]


def _wilson(share: float, n: float, q: float) -> tuple[float, float]:
    center, half = share + q**2 / (2 * n), q * np.sqrt(share * (1 - share) / n + (q / (2 * n)) ** 2)
    return float((center - half) / (1 + q**2 / n)), float((center + half) / (1 + q**2 / n))


def _newcombe_variance(theta: float, m: float, n: float) -> float:
    pairs = (m + n) / 2 - 1
    return theta * (1 - theta) / (m * n) * (1 + pairs * ((1 - theta) / (2 - theta) + theta / (1 + theta)))


def _solve(value: float, limit: Callable[[float], float]) -> tuple[float, float]:
    """Return the lowest and the highest theta of which the squared distance to the value is at most `limit(theta)`."""

    def excess(theta: float) -> float:
        return (theta - value) ** 2 - limit(theta)

    low = optimize.brentq(excess, 0.0, value * (1 - _EDGE)) if value > _EDGE else 0.0
    high = optimize.brentq(excess, value + (1 - value) * _EDGE, 1.0) if value < 1 - _EDGE else 1.0
    return float(low), float(high)
