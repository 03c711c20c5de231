r"""'Not certain': a set of labels for each record and class, which misses the true one at a stated rate.

Conventions
    - Each class is a question of its own with two labels. The set of a record may hold the label *yes*, *no*, both
      (*not certain*) or none (*neither*: unlike the known positive and the known negative records).
    - Split conformal prediction, conditional on the label (Mondrian) [1]_ [2]_: a label is kept unless the record's
      score is among the most extreme of the known records with that label. Among the positive records of new
      patients, at most the error rate :math:`\alpha` lack *yes* in their sets, and among the negative ones at most
      :math:`\alpha` lack *no*, whatever the net and however rare the class is.
    - Patients, not records, are exchangeable. The :math:`n_k` known records of patient k that have the label share
      the weight of one, of K + 1 [3]_:

      .. math:: p = \frac{1 + \sum_k \frac{1}{n_k} \sum_i [s_{ki} \text{ at least as extreme as } s]}{K + 1},

      and the label is kept where :math:`p > \alpha`. This holds exactly for one record of a new patient.
    - With fewer than :math:`1 / \alpha - 1` patients p cannot fall to :math:`\alpha`. A class of which one label has
      so few known patients is *not certain* for every record.
    - Several nets, or several windows of a recording, each have their own p, and the mean is used (cross-conformal
      prediction [4]_). Whatever their dependence, twice the mean is valid [5]_, so the sets miss the true label at most
      :math:`2 \alpha` of the time; where nets agree, it is about :math:`\alpha` or less.

The scores are the net's own, before recalibration. The known records must not have taken part in its training, and
nothing may have been fitted on them that changes the scores: a calibrator that is learned on the same records does not.

References
----------
.. [1] V. Vovk, "Conditional validity of inductive conformal predictors", Machine Learning 92, 2013,
       doi:10.1007/s10994-013-5355-6.
.. [2] A. N. Angelopoulos, S. Bates, "Conformal prediction: a gentle introduction", Foundations and Trends in Machine
       Learning 16(4), 2023, doi:10.1561/2200000101.
.. [3] Y. Lee, R. F. Barber, R. Willett, "Distribution-free inference with hierarchical data", 2023, arXiv:2306.06342.
.. [4] V. Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74, 2015,
       doi:10.1007/s10472-013-9368-4.
.. [5] V. Vovk, R. Wang, "Combining p-values via averaging", Biometrika 107(4), 2020, doi:10.1093/biomet/asaa027.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import UNKNOWN

SETS = ("neither", "no", "yes", "not certain")
"""The sets, by their number: 1 if it holds *no*, plus 2 if it holds *yes*."""
_NOT_CERTAIN = 3


@dataclass(frozen=True, eq=False)
class _Known:
    """The sorted scores of the records with one label, and the weight of those up to each."""

    scores: NDArray[np.float64]
    weights: NDArray[np.float64]
    """``(record + 1,)``: the sum over the first 0, 1, ... records."""
    n_patients: int

    def find_p(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        below = self.weights[np.searchsorted(self.scores, scores, side="right")]
        p: NDArray[np.float64] = (1 + below) / (self.n_patients + 1)
        return p


@dataclass(frozen=True, eq=False)
class Conformal:
    """What the scores of one net are among known records of each class and label; see `learn_conformal`."""

    known: tuple[tuple[_Known, _Known], ...]
    """By class: the negative records, their scores with the opposite sign, and the positive ones."""

    @property
    def n_patients(self) -> NDArray[np.int64]:
        """``(class, 2)``: patients with a known negative, and with a known positive record."""
        return np.array([[label.n_patients for label in labels] for labels in self.known])

    def find_p(self, y_score: ArrayLike) -> NDArray[np.float64]:
        """Return the p-values ``(..., class, 2)`` of the labels *no* and *yes*, of scores ``(..., class)``."""
        scores = np.asarray(y_score, dtype=np.float64)
        columns = [
            np.stack([negative.find_p(-scores[..., column]), positive.find_p(scores[..., column])], axis=-1)
            for column, (negative, positive) in enumerate(self.known)
        ]
        return np.stack(columns, axis=-2)

    def to_arrays(self) -> dict[str, NDArray]:
        """Return everything as plain arrays by name, for `numpy.savez`: scores and weights, and of how many each."""
        every = [label for labels in self.known for label in labels]
        return {
            "n_records": np.array([len(label.scores) for label in every]),
            "n_patients": np.array([label.n_patients for label in every]),
            "scores": np.concatenate([label.scores for label in every]),
            "weights": np.concatenate([label.weights[1:] for label in every]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> Conformal:
        """Build what `to_arrays` gave; arrays that do not fit are a `DataError`."""
        try:
            counts = [arrays[name].astype(np.float64) for name in ("n_records", "n_patients")]
            scores, weights = (arrays[name].astype(np.float64) for name in ("scores", "weights"))
        except (KeyError, ValueError) as error:
            raise DataError(f"scores of known records: {error}") from error
        is_whole = counts[0].ndim == 1 and len(counts[0]) % 2 == 0 and counts[0].shape == counts[1].shape
        is_whole = is_whole and all(((each >= 0) & (each <= scores.size)).all() for each in counts)
        n_records, n_patients = (each.astype(np.int64) if is_whole else np.zeros(1, np.int64) for each in counts)
        if not is_whole or not scores.shape == weights.shape == (n_records.sum(),):
            raise DataError("scores of known records: the arrays do not fit each other")
        stops = np.cumsum(n_records)
        every = [
            _Known(scores[stop - n : stop], np.concatenate([[0.0], weights[stop - n : stop]]), int(patients))
            for stop, n, patients in zip(stops, n_records, n_patients, strict=True)
        ]
        for label in every:
            rises = [np.isfinite(each).all() and (np.diff(each) >= 0).all() for each in (label.scores, label.weights)]
            if not all(rises) or abs(label.weights[-1] - label.n_patients) > 1e-6 * len(label.weights):
                raise DataError("scores of known records: they are not sorted numbers with the weights of patients")
        return cls(tuple(zip(every[::2], every[1::2], strict=True)))


def learn_conformal(y_true: ArrayLike, y_score: ArrayLike, patient_id: ArrayLike) -> Conformal:
    """Learn from known records, which the net has not learned from, what the scores of either label are.

    Parameters
    ----------
    y_true, y_score
        ``(record, class)``: 0 or 1, or -1 where not annotated; and what ranks the records, such as logits.
    patient_id
        ``(record,)``.

    Examples
    --------
    The second of four positive patients: two of five, itself and the one below, are at most as high.

    >>> known = learn_conformal([[1], [1], [1], [1], [0]], [[1.0], [2.0], [3.0], [4.0], [0.0]], [1, 2, 3, 4, 5])
    >>> known.find_p([1.5]).round(2).tolist()
    [[0.5, 0.4]]
    """
    truth, scores, patients = np.asarray(y_true), np.asarray(y_score, dtype=np.float64), np.asarray(patient_id)
    if truth.shape != scores.shape or truth.shape[:1] != patients.shape or truth.ndim != 2:
        raise DataError(
            f"y_true and y_score must be (record, class) and patient_id (record,), got {truth.shape}, {scores.shape} "
            f"and {patients.shape}"
        )
    return Conformal(
        tuple(
            (_know(-own[is_of == 0], patients[is_of == 0]), _know(own[is_of == 1], patients[is_of == 1]))
            for is_of, own in zip(truth.T, scores.T, strict=True)
        )
    )


def _know(scores: NDArray[np.float64], patients: NDArray) -> _Known:
    _, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    weights = (1 / counts)[patient][order]
    return _Known(scores[order], np.concatenate([[0.0], np.cumsum(weights)]), len(counts))


def check_error_rate(error_rate: float) -> float:
    """Return the error rate; ConfigError if it is not above 0 and below 0.5."""
    if not 0 < error_rate < 0.5:
        raise ConfigError(f"error_rate must be above 0 and below 0.5, got {error_rate:g}")
    return float(error_rate)


def can_be_stated(n_patients: ArrayLike, error_rate: float) -> NDArray[np.bool_]:
    """Return for ``(class, 2)`` known patients of the two labels, by class, whether they suffice for an error rate."""
    enough: NDArray[np.bool_] = (np.asarray(n_patients).min(axis=-1) + 1) * error_rate >= 1 - 1e-9
    return enough


def form_sets(p_values: ArrayLike, n_patients: ArrayLike, error_rate: float) -> NDArray[np.int8]:
    """Return the set of each record and class, ``(record, class)``, as a number of `SETS`.

    Parameters
    ----------
    p_values
        ``(record, class, 2)``, as `Conformal.find_p` gives them; the mean of those of several nets or windows.
    n_patients
        ``(class, 2)``, or the smallest of several nets: a class that has too few is not certain.
    """
    is_kept = np.asarray(p_values) > check_error_rate(error_rate) + 1e-12
    sets = is_kept[..., 0] + 2 * is_kept[..., 1]
    return np.where(can_be_stated(n_patients, error_rate), sets, _NOT_CERTAIN).astype(np.int8)


def measure_sets(
    y_true: ArrayLike, sets: ArrayLike, patient_id: ArrayLike, class_names: Sequence[str], *, level: float = 0.95
) -> pd.DataFrame:
    """Measure by class how often the sets hold the true label, and how often they say something.

    Parameters
    ----------
    y_true, sets
        ``(record, class)``: 0 or 1 (-1: not annotated, takes no part), and numbers of `SETS`.

    Returns
    -------
    DataFrame
        A row per class: ``n_positive`` and ``n_negative`` records; ``coverage_positive`` and ``coverage_negative``, the
        share of them whose set holds their label, and ``not_certain_positive`` and ``not_certain_negative``; the shares
        of all records that are ``yes``, ``no``, ``not_certain`` and ``neither``; ``error_certain``, the share of the
        records that are yes or no and have the other label. The coverages and the error have an interval (``_low``,
        ``_high``) that respects patients; nan where there is no record.
    """
    truth, sets, patients = np.asarray(y_true), np.asarray(sets), np.asarray(patient_id)
    rows = []
    for column, name in enumerate(class_names):
        is_known = truth[:, column] != UNKNOWN
        own, found, whose = truth[is_known, column], sets[is_known, column], patients[is_known]
        holds = ((found >> own) & 1).astype(bool)
        is_certain = (found == SETS.index("yes")) | (found == SETS.index("no"))
        row = {"class": str(name), "n_positive": int((own == 1).sum()), "n_negative": int((own == 0).sum())}
        is_open = found == _NOT_CERTAIN
        for label, name_of in ((1, "positive"), (0, "negative")):
            row[f"not_certain_{name_of}"] = is_open[own == label].mean() if (own == label).any() else np.nan
        for key, hits, among in (
            ("coverage_positive", holds, own == 1),
            ("coverage_negative", holds, own == 0),
            ("error_certain", ~holds, is_certain),
        ):
            row |= _describe(key, hits[among], whose[among], level)
        shares = {text.replace(" ", "_"): found == number for number, text in enumerate(SETS)}
        row |= {text: is_it.mean() if len(found) else np.nan for text, is_it in reversed(shares.items())}
        rows.append(row)
    return pd.DataFrame(rows)


def _describe(key: str, hits: NDArray[np.bool_], patients: NDArray, level: float) -> dict[str, float]:
    low, high = _find_limits(hits, patients, level)
    return {key: hits.mean() if len(hits) else np.nan, f"{key}_low": low, f"{key}_high": high}


def _find_limits(hits: NDArray[np.bool_], patients: NDArray, level: float) -> tuple[float, float]:
    """Return Wilson's limits of a share, with as many records as the patients' records are worth."""
    if not len(hits):
        return np.nan, np.nan
    share, (_, patient) = hits.mean(), np.unique(patients, return_inverse=True)
    n_patients = int(patient.max()) + 1
    n_worth = float(n_patients)
    if 0 < share < 1 and n_patients > 1:
        residuals = np.bincount(patient, weights=hits - share)
        variance = (residuals**2).sum() / len(hits) ** 2
        n_worth = min(float(len(hits)), share * (1 - share) / variance) if variance > 0 else n_worth
    z2 = ndtri((1 + level) / 2) ** 2
    center, half = share + z2 / (2 * n_worth), np.sqrt(z2 * (share * (1 - share) + z2 / (4 * n_worth)) / n_worth)
    return float((center - half) / (1 + z2 / n_worth)), float((center + half) / (1 + z2 / n_worth))
