r"""Gaps: how far a subgroup's macro ROC-AUC is from that of all other records, and whether that is more than chance.

Conventions
    - The gap of a cell is cell minus rest, the rest being the records in the other cells of its grouping. It is the
      mean over the classes that have enough patients with and without them on both sides; a cell without such a class
      has no gap.
    - Its standard error is that of the difference of two ROC-AUCs from the records' placements [1]_, summed over the
      records of each patient, as `comparison.delong` does for two models. A small cell whose records happen to be
      ranked almost perfectly would seem to have almost no error: a side has at least the variance that it would have
      if its placements varied as those of both sides together, which they do where there is no gap; and a side of few
      patients not much more.
    - Many cells are looked at, so the limits are simultaneous: the chance that any gap of the whole family (all cells
      of all groupings) lies outside of its limits is 1 - level. They are the largest of all standardized gaps
      in draws of normal weights for the patients, the same ones for all cells [2]_, which have the gaps' own
      correlation.
    - Where several nets predicted the records, each its own fold, ranks are compared within a fold. Folds weigh as much
      as they tell: :math:`1/(1/e_{cell} + 1/e_{rest})` with :math:`e = n_+ n_- / (n_+ + n_-)`.

References
----------
.. [1] N. A. Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53(2), 1997,
       doi:10.2307/2533958.
.. [2] V. Chernozhukov, D. Chetverikov, K. Kato, "Gaussian approximations and multiplier bootstrap for maxima of sums of
       high-dimensional random vectors", Annals of Statistics 41(6), 2013, doi:10.1214/13-AOS1161.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap

Array = NDArray[np.float64]
_N_DRAWS = 20_000  # they cost nothing
_ENOUGH = 100  # patients, from which a side's own variance says more than that of both sides
_MAX_FACTOR = 3.0

COLUMNS = ["gap", "gap_low", "gap_high", "gap_n_classes"]
"""Of `measure_gaps`."""


@dataclass(frozen=True, eq=False)
class _Side:
    """The ROC-AUC of one class on one side, in one fold."""

    area: float
    influence: Array  # (patient,), its sum of squares is the variance of the area
    n: Array  # (kind,) records with and without the class
    spread: Array  # (kind,) sums of squares over the patients, each the sum of how far its records lie from the area
    positive: NDArray[np.intp]  # the patients who show the class
    negative: NDArray[np.intp]

    @property
    def effective_size(self) -> float:
        return float(self.n.prod() / self.n.sum())


def measure_gaps(predictions: Predictions, groups: pd.DataFrame, settings: Bootstrap) -> pd.DataFrame:
    """Measure the gap of every cell.

    Parameters
    ----------
    groups
        ``(record, grouping)``, in the order of the predictions: a text, or missing where the record is in no cell.
    settings
        The level, the seed, and how many patients with (and without) a class are enough.

    Returns
    -------
    DataFrame
        Indexed by ``grouping`` and ``group``: ``gap``, ``gap_low``, ``gap_high`` (nan without a class, or where nothing
        varies) and ``gap_n_classes``.
    """
    patient_of = np.unique(predictions.patient_id, return_inverse=True)[1]
    index, rows, influences, more = [], [], [], []
    for grouping, group_of in groups.items():
        is_in_cell = group_of.notna().to_numpy()
        for group in group_of.dropna().unique():
            inside = is_in_cell & (group_of == group).to_numpy()
            gaps = [
                found
                for column in range(len(predictions.class_names))
                if (found := _measure_class(predictions, column, patient_of, inside, is_in_cell & ~inside, settings))
            ]
            index.append((str(grouping), group))
            influences.append(sum((each for _, each, _ in gaps), np.zeros(patient_of.max() + 1)) / max(len(gaps), 1))
            rows.append((np.mean([gap for gap, *_ in gaps]) if gaps else np.nan, len(gaps)))
            more.append(sum(each for *_, each in gaps) / max(len(gaps), 1) ** 2)
    table = pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(index, names=["grouping", "group"]), dtype=float)
    table.columns = pd.Index(["gap", "gap_n_classes"])
    half = _find_halves(np.stack(influences, axis=1), np.array(more), settings)
    return table.assign(gap_low=table["gap"] - half, gap_high=table["gap"] + half)[COLUMNS]


def _find_halves(influences: Array, more: Array, settings: Bootstrap) -> Array:
    """Return half the width of the simultaneous limits of each cell; nan without variance.

    The variances are the sums of squares of the influences ``(patient, cell)``, and `more` beside them, ``(cell,)``.
    """
    errors = np.sqrt((influences**2).sum(axis=0) + more)
    varies = errors > 0
    if not varies.any():
        return np.full(len(errors), np.nan)
    standardized = influences[:, varies] / errors[varies]
    correlation = standardized.T @ standardized
    np.fill_diagonal(correlation, 1)
    generator = np.random.default_rng(settings.seed)
    drawn = generator.multivariate_normal(np.zeros(len(correlation)), correlation, _N_DRAWS, method="eigh")
    factor = np.quantile(np.abs(drawn).max(axis=1), settings.level)
    return np.where(varies, factor * errors, np.nan)


def _measure_class(
    predictions: Predictions,
    column: int,
    patient_of: NDArray[np.intp],
    inside: NDArray[np.bool_],
    outside: NDArray[np.bool_],
    settings: Bootstrap,
) -> tuple[float, Array, float] | None:
    """Return the gap of one class, its influence ``(patient,)`` and further variance; None with too few patients."""
    truth, score = predictions.y_true[:, column], predictions.y_score[:, column]
    known, folds = truth != UNKNOWN, np.zeros(len(truth)) if predictions.fold is None else predictions.fold
    enough = max(settings.min_positives, 2)
    if min((side & (truth == kind)).sum() for side in (inside, outside) for kind in (0, 1)) < enough:
        return None  # no more patients than records: rare classes need no ranking
    found = []
    for fold in np.unique(folds):
        sides = [
            _measure_side(truth[rows] == 1, score[rows], patient_of[rows], int(patient_of.max()) + 1)
            for rows in (np.flatnonzero(side & known & (folds == fold)) for side in (inside, outside))
        ]
        if sides[0] is not None and sides[1] is not None:
            found.append((sides[0], sides[1]))
    for side in zip(*found, strict=True):
        for kind in ("positive", "negative"):
            patients = np.concatenate([getattr(each, kind) for each in side])
            if len(np.unique(patients)) < enough:
                return None
    if not found:
        return None
    weights = np.array([1 / (1 / cell.effective_size + 1 / rest.effective_size) for cell, rest in found])
    weights /= weights.sum()
    gaps = np.array([cell.area - rest.area for cell, rest in found])
    spread = sum(side.spread for pair in found for side in pair) / sum(side.n for pair in found for side in pair)
    steadied = [[_steady(side, float((spread / side.n).sum())) for side in pair] for pair in found]
    influences = np.stack([cell[0] - rest[0] for cell, rest in steadied])
    return (
        float(weights @ gaps),
        weights @ influences,
        float(weights**2 @ [cell[1] + rest[1] for cell, rest in steadied]),
    )


def _steady(side: _Side, together: float) -> tuple[Array, float]:
    """Scale the influence of a side to its variance, or return the rest of it that no scaling gives.

    `together` is the variance if its placements varied as those of both sides.
    """
    own = float((side.influence**2).sum())
    n_patients = min(len(side.positive), len(side.negative))
    share = n_patients / (n_patients + _ENOUGH)
    variance = max(together, share * own + (1 - share) * together)
    factor = min(np.sqrt(variance / own), _MAX_FACTOR) if own else 1.0
    return factor * side.influence, variance - factor**2 * own


def _measure_side(truth: NDArray[np.bool_], score: Array, patient: NDArray[np.intp], n_patients: int) -> _Side | None:
    """Measure the records of one side, ``(record,)``; None with fewer than two patients with or without the class."""
    positive, negative = np.unique(patient[truth]), np.unique(patient[~truth])
    if min(len(positive), len(negative)) < 2:
        return None
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    ranks = stats.rankdata(score)
    below = np.empty(len(truth))  # how many of the other kind have a lower score, ties count half
    for is_kind in (truth, ~truth):
        below[is_kind] = ranks[is_kind] - stats.rankdata(score[is_kind])
    placed = np.where(truth, below / n_negative, 1 - below / n_positive)
    area = float(placed[truth].mean())
    far = placed - area
    far *= np.sqrt([n / (n - 1) for n in (len(negative), len(positive))])[truth.astype(int)]  # few patients
    sums = [np.bincount(patient[is_kind], far[is_kind], n_patients) for is_kind in (truth, ~truth)]  # (patient,) each
    return _Side(
        area,
        sums[0] / n_positive + sums[1] / n_negative,
        np.array([n_positive, n_negative], dtype=float),
        np.array([(each**2).sum() for each in sums]),
        positive,
        negative,
    )
