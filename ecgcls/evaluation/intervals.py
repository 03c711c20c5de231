r"""Intervals: how far a metric would move with another draw of patients.

Conventions
    - Patients are drawn with replacement, each with all of their records: records of one patient resemble one another,
      and intervals from drawing records are too narrow [1]_. Two models of the same patients get the same draws from
      the same seed. Of the folds of a cross-validation, each keeps its number of patients: they are drawn within folds,
      as the metrics are measured [4]_.
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
.. [4] E. LeDell, M. Petersen, M. van der Laan, "Computationally efficient confidence intervals for cross-validated area
       under the ROC curve estimates", Electronic Journal of Statistics 9(1), 2015, doi:10.1214/15-EJS1035.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ecgcls.errors import DataError
from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.metrics import METRICS, OVERALL, Measured, measure
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.weighted import Array, Records

_MAX_DRAWS = 200  # of a resample for a class that it lost
_CHUNK = 4_000_000  # weights in memory at once


def bootstrap(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    patient_id: ArrayLike,
    class_names: Sequence[str],
    *,
    threshold: float | Sequence[float] = 0.5,
    y_pred: ArrayLike | None = None,
    y_logit: ArrayLike | None = None,
    fold: ArrayLike | None = None,
    settings: Bootstrap = Bootstrap(),
) -> pd.DataFrame:
    """Return the interval of every metric, per class and over all classes.

    Parameters
    ----------
    y_true, y_prob, y_pred, y_logit
        0 or 1 (-1 or nan: not annotated), probabilities, decisions, and what ranks the records; ``(record, class)``.
        Without decisions, the threshold makes them; without logits, the probabilities rank.
    patient_id
        ``(record,)``: whose records they are; two patients at least.
    threshold
        One for all classes, or one per class.
    fold
        ``(record,)``: which net of a cross-validation predicted the record; None: all the same.

    Returns
    -------
    DataFrame
        Indexed by ``class`` ('overall' for all together) and ``metric``. Columns: ``value``; ``low`` and ``high``
        (nan where the value is); ``n_positive``; ``n_lost``, the resamples that lost the class; ``is_supported``,
        whether the class, or for a macro mean the rarest class in it, has enough positive and negative records;
        ``contains_value``.
    """
    records = Records.check(y_true, y_prob, class_names, threshold=threshold, y_pred=y_pred, y_logit=y_logit, fold=fold)
    patient_of = _number_patients(patient_id, len(records.y_true))
    generator = np.random.default_rng(settings.seed)
    drawn = _measure_patients(records, patient_of, _draw(patient_of, settings.n_resamples, generator, records.fold))
    names = [*map(str, class_names)]
    n_lost = dict(zip(names, (~drawn.is_defined).sum(axis=1).tolist(), strict=True))
    if settings.lost_class == "redraw":
        _redraw_lost(drawn, records, patient_of, generator)
    resamples = _stack(drawn, names)
    value = _stack(measure(records), names)[0]
    left_out = [None] * len(value)
    if settings.method == "bca":
        left_out = [*_stack(_measure_patients(records, patient_of, 1 - np.eye(patient_of.max() + 1)), names).to_numpy()]
    n_units = {
        name: min(len(set(patient_of[truth])), len(set(patient_of[negative])))
        for name, truth, negative in zip(names, records.y_true.T, records.is_negative.T, strict=True)
    }
    n_units[OVERALL] = len(set(patient_of[records.y_true.any(axis=1)]))
    limits = [
        _limits(of_all, drawn_values, jackknife, n_units[name], settings)
        for (name, _), of_all, drawn_values, jackknife in zip(
            value.index, value, resamples.to_numpy(), left_out, strict=True
        )
    ]
    low, high = np.array(limits).T
    support = count_support(value.index, names, np.where(records.is_known, records.y_true, UNKNOWN))
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


def resample(predictions: Predictions, settings: Bootstrap) -> pd.DataFrame:
    """Measure resamples of the patients; nan where one lost the class.

    Returns
    -------
    DataFrame
        Indexed by ``class`` and ``metric``: the column ``value``, and one per resample, from 0.
    """
    names = predictions.class_names
    arrays, fold = (predictions.y_true, predictions.y_prob), predictions.fold
    records = Records.check(*arrays, names, y_pred=predictions.y_pred, y_logit=predictions.y_logit, fold=fold)
    patient_of = _number_patients(predictions.patient_id, len(predictions))
    counts = _draw(patient_of, settings.n_resamples, np.random.default_rng(settings.seed), fold)
    table = _stack(_measure_patients(records, patient_of, counts), names)
    table.insert(0, "value", _stack(measure(records), names)[0])
    return table


def count_support(index: pd.Index, class_names: Sequence[str], y_true: NDArray) -> pd.DataFrame:
    """Return on how many records each row (class and metric) of a table relies.

    Returns
    -------
    DataFrame
        ``n_positive``; and ``n_rarest``, the positive records, or the negative ones if those are fewer. A macro mean is
        as uncertain as the rarest class in it; pooled metrics rely on the positive records of all classes.
    """
    n_positive, n_negative = (
        dict(zip(map(str, class_names), (y_true == label).sum(axis=0).tolist(), strict=True)) for label in (1, 0)
    )
    rarest_of = {name: min(n, n_negative[name]) for name, n in n_positive.items()}
    rarest, total = min((n for n in rarest_of.values() if n > 0), default=0), sum(n_positive.values())
    rows = [
        (n_positive.get(name, total), rarest_of.get(name, rarest if METRICS[key].macro_of else total))
        for name, key in index
    ]
    return pd.DataFrame(rows, index=index, columns=["n_positive", "n_rarest"])


def _number_patients(patient_id: ArrayLike, n_records: int) -> NDArray[np.intp]:
    """Number the patients from 0, ``(record,)``."""
    patients, patient_of = np.unique(np.asarray(patient_id), return_inverse=True)
    if patient_of.shape != (n_records,):
        raise DataError(f"patient_id must have shape ({n_records},) like y_true, got {np.shape(patient_id)}")
    if len(patients) < 2:
        raise DataError(f"intervals need at least two patients, got {len(patients)}")
    return patient_of


def _draw(
    patient_of: NDArray[np.intp],
    n_resamples: int,
    generator: np.random.Generator,
    fold: NDArray[np.int64] | None = None,
) -> Array:
    """Draw as many patients as each fold has with replacement; how often each is drawn, ``(patient, resample)``.

    A patient of several folds is drawn with those of the first of them, and counts in all.
    """
    n_patients = int(patient_of.max()) + 1
    fold_of = np.zeros(n_patients, dtype=np.int64)
    if fold is not None:
        fold_of[patient_of[::-1]] = fold[::-1]
    counts = np.empty((n_patients, n_resamples))
    for number in np.unique(fold_of):
        rows = np.flatnonzero(fold_of == number)
        counts[rows] = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), n_resamples).T
    return counts


def _measure_patients(records: Records, patient_of: NDArray[np.intp], counts: Array) -> Measured:
    """Measure resamples, in which each patient counts so often: ``(patient, resample)``."""
    step = max(1, _CHUNK // len(patient_of))
    starts = range(0, counts.shape[1], step)
    parts = [measure(records, counts[:, start : start + step][patient_of]) for start in starts]
    return Measured(
        {key: np.concatenate([part.by_class[key] for part in parts], axis=1) for key in parts[0].by_class},
        {key: np.concatenate([part.pooled[key] for part in parts]) for key in parts[0].pooled},
        np.concatenate([part.is_defined for part in parts], axis=1),
    )


def _redraw_lost(
    measured: Measured, records: Records, patient_of: NDArray[np.intp], generator: np.random.Generator
) -> None:
    """Draw the patients again, class by class, in the resamples that lost the class; `measured` is changed."""
    for column in range(records.y_true.shape[1]):
        if not (records.y_true[:, column].any() and records.is_negative[:, column].any()):
            continue
        alone = records.take_class(column)
        for _ in range(_MAX_DRAWS):
            lost = np.flatnonzero(~measured.is_defined[column])
            if not len(lost):
                break
            counts = _draw(patient_of, len(lost), generator, records.fold)
            again = measure(alone, counts[patient_of], together=False)
            measured.is_defined[column, lost] = again.is_defined[0]
            for key, values in again.by_class.items():
                measured.by_class[key][column, lost] = values[0]


def _stack(measured: Measured, class_names: Sequence[str]) -> pd.DataFrame:
    """Return a table by class, 'overall' first, and metric; a column per resample, nan where it lost the class."""
    rows = {(OVERALL, key): values for key, values in measured.average().items()}
    for column, name in enumerate(map(str, class_names)):
        for key, values in measured.by_class.items():
            rows[name, key] = np.where(measured.is_defined[column], values[column], np.nan)
    return pd.DataFrame(np.stack(list(rows.values())), index=pd.MultiIndex.from_tuples(rows, names=["class", "metric"]))


def _limits(
    value: float, resamples: Array, jackknife: Array | None, n_units: int, settings: Bootstrap
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
