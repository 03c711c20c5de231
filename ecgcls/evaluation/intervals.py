r"""Intervals: how far a metric would move with another draw of patients.

Task
    `bootstrap` resamples patients and gives every metric, per class and over all classes, an interval at a stated
    confidence.

Conventions
    - Patients are drawn with replacement, each with all of their records: records of one patient resemble one another,
      and intervals from drawing records are too narrow [1]_.
    - *percentile* takes the quantiles of the resamples; *expanded* takes quantiles further out, as far as Student's t
      is from the normal distribution with as many patients as have the class (or do not, if those are fewer) [3]_;
      *bca* corrects for bias and skewness [2]_, with the acceleration from leaving out one patient at a time.
    - A resample may lose the last positive (or negative) record of a rare class, where ranking metrics mean nothing.
      ``lost_class="redraw"`` draws the patients of such a resample again for that class, so its interval is
      conditional on the class being there; ``"nan"`` leaves the resample out for that class and counts it. Either way
      the macro mean of a resample is over the classes that it has.
    - A class with fewer than `min_positives` positive records (or negative ones) has an interval, marked as
      not supported: bootstrap limits of a handful of records cover the truth less often than stated.

References
----------
.. [1] C. A. Field, A. H. Welsh, "Bootstrapping clustered data", Journal of the Royal Statistical Society B 69(3),
       2007, doi:10.1111/j.1467-9868.2007.00593.x.
.. [2] B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association 82(397),
       1987, doi:10.1080/01621459.1987.10478410.
.. [3] T. C. Hesterberg, "What teachers should know about the bootstrap: resampling in the undergraduate statistics
       curriculum", The American Statistician 69(4), 2015, doi:10.1080/00031305.2015.1089789.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.resampling import (
    count_support,
    draw,
    measure_all,
    measure_patients,
    number_patients,
    redraw_lost,
    stack,
)
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.weighted import Array, Records


def bootstrap(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    patient_id: ArrayLike,
    class_names: Sequence[str],
    *,
    threshold: float | Sequence[float] = 0.5,
    y_pred: ArrayLike | None = None,
    settings: Bootstrap = Bootstrap(),
) -> pd.DataFrame:
    """Return the interval of every metric.

    Parameters
    ----------
    y_true, y_prob
        0 or 1, and probabilities; ``(record, class)``.
    patient_id
        ``(record,)``: whose records they are.
    class_names
        One name per class.
    threshold
        One for all classes, or one per class.
    y_pred
        The decisions themselves, 0 or 1, ``(record, class)``; `threshold` is then ignored.
    settings
        How to resample.

    Returns
    -------
    DataFrame
        Indexed by ``class`` ('overall' for all together) and ``metric``. Columns: ``value``; ``low`` and ``high``
        (nan where the value is); ``n_positive``; ``n_lost``, the resamples that lost the class; ``is_supported``,
        whether the class, or for a macro mean the rarest class in it, has enough positive and negative records;
        ``contains_value``.

    Raises
    ------
    DataError
        If the arrays do not fit together.
    """
    records = Records.check(y_true, y_prob, class_names, threshold=threshold, y_pred=y_pred)
    n_records = len(records.y_true)
    patient_of = number_patients(patient_id, n_records)
    generator = np.random.default_rng(settings.seed)
    drawn = measure_patients(records, draw(patient_of, settings.n_resamples, generator), patient_of)
    names = [*map(str, class_names)]
    n_lost = dict(zip(names, (~drawn.is_defined).sum(axis=1).tolist(), strict=True))
    if settings.lost_class == "redraw":
        redraw_lost(drawn, records, patient_of, generator)
    resamples = stack(drawn, names)
    value = stack(measure_all(records), names)[0]
    left_out = None
    if settings.method == "bca":
        left_out = stack(measure_patients(records, 1 - np.eye(patient_of.max() + 1), patient_of), names).to_numpy()
    n_units = {
        name: min(len(set(patient_of[truth])), len(set(patient_of[~truth])))
        for name, truth in zip(names, records.y_true.T, strict=True)
    }
    n_units[OVERALL] = len(set(patient_of[records.y_true.any(axis=1)]))
    limits = [
        _limits(value.iloc[row], drawn_values, None if left_out is None else left_out[row], n_units[name], settings)
        for row, ((name, _), drawn_values) in enumerate(zip(resamples.index, resamples.to_numpy(), strict=True))
    ]
    low, high = np.array(limits).T
    support = count_support(value.index, dict(zip(names, records.y_true.sum(axis=0).tolist(), strict=True)), n_records)
    return pd.DataFrame(
        {
            "value": value,
            "low": low,
            "high": high,
            "n_positive": support["n_positive"],
            "n_lost": [n_lost.get(name, 0) for name, _ in value.index],
            "is_supported": support["n_rarest"] >= settings.min_positives,
            "contains_value": (low <= value) & (value <= high),
        }
    )


def _limits(
    value: float,
    resamples: Array,
    jackknife: Array | None,
    n_units: int,
    settings: Bootstrap,
) -> tuple[float, float]:
    """Return an interval's limits; nan where the value is nan or no resample is left."""
    found = resamples[~np.isnan(resamples)]
    if np.isnan(value) or not len(found):
        return np.nan, np.nan
    shares = np.array([(1 - settings.level) / 2, (1 + settings.level) / 2])
    if settings.method == "expanded" and n_units > 1:
        shares = stats.norm.cdf(np.sqrt(n_units / (n_units - 1)) * stats.t.ppf(shares, n_units - 1))
    if jackknife is not None:
        corrected = _correct_shares(shares, value, found, jackknife[~np.isnan(jackknife)])
        shares = shares if np.isnan(corrected).any() else corrected  # where all resamples lie on one side of the value
    low, high = np.quantile(found, shares)
    return float(low), float(high)


def _correct_shares(shares: Array, value: float, resamples: Array, jackknife: Array) -> Array:
    """Return which quantiles of the resamples are the limits, after bias and skewness [2]_; nan where undefined."""
    below = (np.mean(resamples < value) + np.mean(resamples <= value)) / 2
    bias = stats.norm.ppf(below)
    deviations = jackknife.mean() - jackknife
    spread = (deviations**2).sum() ** 1.5
    acceleration = (deviations**3).sum() / (6 * spread) if spread else 0.0
    moved = bias + stats.norm.ppf(shares)
    with np.errstate(invalid="ignore"):
        return stats.norm.cdf(bias + moved / (1 - acceleration * moved))
