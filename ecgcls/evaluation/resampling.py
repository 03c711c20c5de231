"""Resampling: every metric under draws of patients.

Patients are drawn with replacement, each with all of their records: records of one patient resemble one another. Two
models of the same patients get the same draws from the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import DataError
from ecgcls.evaluation.metrics import METRICS, OVERALL
from ecgcls.evaluation.weighted import Array, Measured, Records, measure

_MAX_DRAWS = 200  # of a resample for a class that it lost
_CHUNK = 4_000_000  # weights in memory at once


def resample(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    y_pred: ArrayLike,
    patient_id: ArrayLike,
    class_names: Sequence[str],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure resamples of the patients.

    Parameters
    ----------
    y_true, y_prob, y_pred
        0 or 1, probabilities, and decisions; ``(record, class)``.
    patient_id
        ``(record,)``: whose records they are.
    class_names
        One name per class.
    n_resamples, seed
        How many draws of as many patients as there are, and their seed.

    Returns
    -------
    DataFrame
        Indexed by ``class`` and ``metric``: the column ``value``, and one per resample, from 0. nan where a resample
        lost the class.
    """
    records = Records.check(y_true, y_prob, class_names, y_pred=y_pred)
    patient_of = number_patients(patient_id, len(records.y_true))
    counts = draw(patient_of, n_resamples, np.random.default_rng(seed))
    table = stack(measure_patients(records, counts, patient_of), class_names)
    table.insert(0, "value", stack(measure_all(records), class_names)[0])
    return table


def number_patients(patient_id: ArrayLike, n_records: int) -> NDArray[np.intp]:
    """Number the patients from 0, ``(record,)``.

    Raises
    ------
    DataError
        If there are not as many as records, or all records are of one patient.
    """
    patients, patient_of = np.unique(np.asarray(patient_id), return_inverse=True)
    if patient_of.shape != (n_records,):
        raise DataError(f"patient_id must have shape ({n_records},) like y_true, got {np.shape(patient_id)}")
    if len(patients) < 2:
        raise DataError(f"intervals need at least two patients, got {len(patients)}")
    return patient_of


def draw(patient_of: NDArray[np.intp], n_resamples: int, generator: np.random.Generator) -> Array:
    """Draw as many patients as there are with replacement; how often each is drawn, ``(patient, resample)``."""
    n_patients = int(patient_of.max()) + 1
    return generator.multinomial(n_patients, np.full(n_patients, 1 / n_patients), n_resamples).T.astype(float)


def measure_all(records: Records) -> Measured:
    """Measure the records as they are."""
    return measure(records, np.ones((len(records.y_true), 1)), METRICS)


def measure_patients(records: Records, counts: Array, patient_of: NDArray[np.intp]) -> Measured:
    """Measure resamples.

    Parameters
    ----------
    counts
        ``(patient, resample)``: how often a patient counts.
    patient_of
        ``(record,)``: the number of its patient.
    """
    step = max(1, _CHUNK // len(patient_of))
    starts = range(0, counts.shape[1], step)
    parts = [measure(records, counts[:, start : start + step][patient_of], METRICS) for start in starts]
    return Measured(
        METRICS,
        {key: np.concatenate([part.by_class[key] for part in parts], axis=1) for key in parts[0].by_class},
        {key: np.concatenate([part.pooled[key] for part in parts]) for key in parts[0].pooled},
        np.concatenate([part.is_defined for part in parts], axis=1),
    )


def redraw_lost(
    measured: Measured, records: Records, patient_of: NDArray[np.intp], generator: np.random.Generator
) -> None:
    """Draw the patients again, class by class, in the resamples that lost the class; `measured` is changed."""
    for column, truth in enumerate(records.y_true.T):
        if truth.all() or not truth.any():
            continue
        alone = records.take_class(column)
        for _ in range(_MAX_DRAWS):
            lost = np.flatnonzero(~measured.is_defined[column])
            if not len(lost):
                break
            again = measure(alone, draw(patient_of, len(lost), generator)[patient_of], METRICS)
            measured.is_defined[column, lost] = again.is_defined[0]
            for key, values in again.by_class.items():
                measured.by_class[key][column, lost] = values[0]


def stack(measured: Measured, class_names: Sequence[str]) -> pd.DataFrame:
    """Return everything measured in one table.

    Returns
    -------
    DataFrame
        Indexed by ``class``, 'overall' first, and ``metric``; a column per resample. nan where a resample has no
        positive or no negative record of the class.
    """
    rows = {(OVERALL, key): values for key, values in measured.average().items()}
    for column, name in enumerate(map(str, class_names)):
        for key, values in measured.by_class.items():
            rows[name, key] = np.where(measured.is_defined[column], values[column], np.nan)
    return pd.DataFrame(np.stack(list(rows.values())), index=pd.MultiIndex.from_tuples(rows, names=["class", "metric"]))


def count_support(index: pd.Index, n_positive: Mapping[str, int], n_records: int) -> pd.DataFrame:
    """Return on how many records each row of a table of metrics relies.

    Parameters
    ----------
    index
        Class and metric of each row.
    n_positive
        By class, of `n_records`.

    Returns
    -------
    DataFrame
        ``n_positive``; and ``n_rarest``, the positive records, or the negative ones if those are fewer. A macro mean is
        as uncertain as the rarest class in it; pooled metrics rely on the positive records of all classes.
    """
    rarest_of = {name: min(n, n_records - n) for name, n in n_positive.items()}
    rarest, total = min((n for n in rarest_of.values() if n > 0), default=0), sum(n_positive.values())
    rows = [
        (n_positive.get(name, total), rarest_of.get(name, rarest if METRICS[key].macro_of else total))
        for name, key in index
    ]
    return pd.DataFrame(rows, index=index, columns=["n_positive", "n_rarest"])
