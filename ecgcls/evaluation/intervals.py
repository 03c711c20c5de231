r"""Intervals: how far a metric would move with another draw of patients.

Conventions
    - *score*, the default, has limits that hold near 0 and 1, for few patients, and for macro means (`score_limits`);
      for metrics that have none (Fmax, the highest F1, micro F1, Brier score, log loss), those of *expanded*.
    - The others come from resamples. Patients are drawn with replacement, each with all of their records: records of
      one patient resemble one another, and intervals from drawing records are too narrow [1]_. Two models of the same
      patients get the same draws from the same seed. Of the folds of a cross-validation, each keeps its number of
      patients: they are drawn within folds, as the metrics are measured [4]_.
    - *percentile* takes the quantiles of the resamples; *expanded* takes quantiles further out, as far as Student's t
      is from the normal distribution with as many patients as the metric relies on [3]_; *bca* corrects for bias and
      skewness [2]_, with the acceleration from leaving out one patient at a time. Where all resamples are alike, as
      those of a class that is ranked perfectly, their interval has no width, and is not supported.
    - A resample may lose the last positive (or negative) record of a rare class, where ranking metrics mean nothing.
      ``lost_class="redraw"`` draws the patients of such a resample again for that class, so its interval is
      conditional on the class being there; ``"nan"`` leaves the resample out for that class and counts it. Either way
      the macro mean of a resample is over the classes that it has.
    - A metric that relies on fewer than `min_positives` patients (`support`) has an interval, marked as not supported:
      limits of a handful of patients cover the truth less often than stated. One that relies on a single patient has
      none, as nothing is known of how patients differ.
    - A macro mean is marked if any of its classes is. Beside it stands the macro mean over the classes with enough
      patients.

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

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import DataError
from ecgcls.evaluation.bootstrap_limits import find_quantiles
from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.metrics import METRICS, OVERALL, Measured, measure, overall_metrics
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.score_limits import Limits, combine, score_classes, score_macros
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.support import count_support
from ecgcls.evaluation.weighted import Array, Records

Row = tuple[str, str]
_MAX_DRAWS = 200  # of a resample for a class that it lost
_CHUNK = 4_000_000  # weights in memory at once
_ROUNDING = 1e-12  # of a mean that is the same in all resamples


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
    is_resampled: bool = True,
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
    is_resampled
        Whether to draw patients at all. It takes most of the time, and the score method needs it only for the metrics
        that have no score limits; without, these have no interval.

    Returns
    -------
    DataFrame
        Indexed by ``class`` ('overall' for all together) and ``metric``. Columns: ``value``; ``low`` and ``high`` (nan
        where the value is, and where a class's metric relies on a single patient); ``n_positive``; ``n_patients``, on
        whom the metric relies (`support`); ``n_lost``, the resamples that lost the class; ``is_supported``, whether
        these are enough patients, of a macro mean in its rarest class; ``contains_value``; and, in the rows of macro
        means, ``n_supported``, the classes with enough patients, with ``supported_value``, ``supported_low`` and
        ``supported_high``, the macro mean over these alone.
    """
    records = Records.check(y_true, y_prob, class_names, threshold=threshold, y_pred=y_pred, y_logit=y_logit, fold=fold)
    patient_of = _number_patients(patient_id, len(records.y_true))
    generator = np.random.default_rng(settings.seed)
    n_resamples = settings.n_resamples if is_resampled else 0
    drawn = _measure_patients(records, patient_of, _draw(patient_of, n_resamples, generator, records.fold))
    names = [*map(str, class_names)]
    n_lost = dict(zip(names, (~drawn.is_defined).sum(axis=1).tolist(), strict=True))
    if settings.lost_class == "redraw":
        _redraw_lost(drawn, records, patient_of, generator)
    value = _stack(measure(records), names)[0]
    labels = np.where(records.is_known, records.y_true, UNKNOWN)
    support = count_support(value.index, names, labels, patient_of, y_pred=records.y_pred)
    n_unknown = dict(zip(names, (labels == UNKNOWN).sum(axis=0).tolist(), strict=True))
    resamples = _stack(drawn, names)
    left_out = None
    if settings.method == "bca":
        left_out = _stack(_measure_patients(records, patient_of, 1 - np.eye(patient_of.max() + 1)), names)
    classes = score_classes(records, patient_of, names, settings.level) if settings.method == "score" else {}
    scored = score_macros(classes)
    scored |= {row: (found.low, found.high) for row, found in classes.items()}
    is_macro = np.array([name == OVERALL and METRICS[key].macro_of is not None for name, key in value.index])
    n_units = support["n_positive_patients"].where(is_macro, support["n_rarest_patients"])
    jackknives = [None] * len(value) if left_out is None else left_out.to_numpy()
    limits = [
        (np.nan, np.nan)
        if np.isnan(of_all) or n_patients < 2
        else scored.get(row) or find_quantiles(of_all, drawn_values, jackknife, n_patients, settings)
        for row, of_all, n_patients, drawn_values, jackknife in zip(
            value.index, value, n_units, resamples.to_numpy(), jackknives, strict=True
        )
    ]
    low, high = np.array(limits).T
    is_known = value.notna() & (n_units > 1)
    table = pd.DataFrame(
        {
            "value": value,
            "low": low,
            "high": high,
            "n_positive": support["n_positive"],
            "n_unknown": [n_unknown.get(name, sum(n_unknown.values())) for name, _ in value.index],
            "n_patients": support["n_rarest_patients"],
            "n_lost": [n_lost.get(name, 0) for name, _ in value.index],
            "is_supported": (support["n_rarest_patients"] >= settings.min_positives) & is_known & (low != high),
            "contains_value": (low <= value + _ROUNDING) & (value - _ROUNDING <= high),
        }
    )
    return table.join(_measure_supported(table, classes, resamples, left_out, settings))


def _measure_supported(
    table: pd.DataFrame,
    classes: Mapping[Row, Limits],
    resamples: pd.DataFrame,
    left_out: pd.DataFrame | None,
    settings: Bootstrap,
) -> pd.DataFrame:
    """Return the macro means over the classes with enough patients, in the rows of the macro means."""
    found = {}
    name_of, key_of = (table.index.get_level_values(level) for level in ("class", "metric"))
    is_counted = table["is_supported"] & table["value"].notna() & (name_of != OVERALL)
    for metric in overall_metrics():
        if metric.macro_of is None:
            continue
        of_class = table[is_counted & (key_of == metric.macro_of)]
        rows, value, low, high = of_class.index, float(of_class["value"].mean()), np.nan, np.nan
        if len(rows) and rows[0] in classes:
            low, high = combine([classes[row] for row in rows])
        elif len(rows):
            jackknife = None if left_out is None else left_out.loc[rows].mean().to_numpy()
            n_units = int(of_class["n_patients"].min())
            low, high = find_quantiles(value, resamples.loc[rows].mean().to_numpy(), jackknife, n_units, settings)
        found[OVERALL, metric.key] = len(rows), value, low, high
    columns = ["n_supported", "supported_value", "supported_low", "supported_high"]
    return pd.DataFrame(found.values(), index=pd.MultiIndex.from_tuples(found), columns=columns).reindex(table.index)


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
    starts = range(0, max(counts.shape[1], 1), step)
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
