r"""Smooth calibration curves: how often a class is true at each probability, with a band, and the ICI.

Conventions
    - The curve is a logistic regression of the truth on a restricted cubic spline of the logit [1]_: 4 knots from 100
      patients of the rarer label on, 3 from 20 on, and below a straight line. The knots are quantiles of the records
      weighted by what they say about the curve, q(1 - q) of the line's probability q: of a rare class, most records lie
      where nothing happens.
    - The *pointwise* band holds the true curve at each one probability in 95 of 100 data sets; the band *everywhere*
      holds the whole curve, so it tells whether the diagonal may be the truth. Both allow for several records of a
      patient (`logistic`). They are about the curve of this form that is closest to the truth: a truth that bends
      beyond the outermost knots is held less often.
    - ICI is the mean distance between curve and diagonal over the records, E50 and E90 its median and its 90% quantile
      [2]_. Of a perfectly calibrated class they are not 0, as no estimated curve is the diagonal:
      ``ici_by_chance`` is the mean ICI that a curve as uncertain as this one has then, and ``p_calibrated`` the p-value
      of a test that the curve is the diagonal.

References
----------
.. [1] F. E. Harrell, "Regression Modeling Strategies", 2nd ed., Springer 2015, doi:10.1007/978-3-319-19425-7.
.. [2] P. C. Austin, E. W. Steyerberg, "The Integrated Calibration Index (ICI) and related metrics for quantifying the
       calibration of logistic regression models", Statistics in Medicine 38(21), 2019, doi:10.1002/sim.8281.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import expit

from ecgcls.evaluation.checks import UNKNOWN, check_arrays, check_logits
from ecgcls.evaluation.logistic import (
    count_rarest_patients,
    fit_logistic,
    number_patients,
    robust_covariance,
    t_quantile,
)
from ecgcls.evaluation.logits import place_certain, to_logits
from ecgcls.evaluation.weighted import Array

_KNOTS = {100: (0.05, 0.35, 0.65, 0.95), 20: (0.1, 0.5, 0.9)}
"""Quantiles at which there is a knot, from so many patients of the rarer label on."""
_N_POINTS, _N_DRAWS = 60, 2000
_OUTERMOST = 5  # the curve ends at the fifth lowest and the fifth highest probability: nothing is known further out


@dataclass(frozen=True)
class SmoothCurve:
    """The calibration curve of one class.

    Attributes
    ----------
    center, spread, knots
        How a logit is turned into the columns of the design.
    coefficients, covariance
        Of the design's columns.
    n_patients
        Patients that show the rarer label.
    """

    center: float
    spread: float
    knots: Array
    coefficients: Array
    covariance: Array
    n_patients: int

    @classmethod
    def fit(cls, truth: Array, logits: Array, patient_of: NDArray[np.intp]) -> SmoothCurve | None:
        """Fit the curve to labels and logits ``(record,)``; None where a class is separated or has no two patients."""
        center, spread = float(logits.mean()), float(logits.std()) or 1.0
        n_patients = count_rarest_patients(truth == 1, patient_of)
        line = fit_logistic(_expand((logits - center) / spread, np.empty(0)), truth) if n_patients > 1 else None
        if line is None:
            return None
        x = (logits - center) / spread
        prob = expit(line[0] + line[1] * x)
        at = next((quantiles for fewest, quantiles in _KNOTS.items() if n_patients >= fewest), ())
        for knots in (_find_knots(x, prob * (1 - prob), at), np.empty(0)):
            design = _expand(x, knots)
            coefficients = fit_logistic(design, truth)
            if coefficients is not None:
                covariance = robust_covariance(design, truth, coefficients, patient_of)
                return cls(center, spread, knots, coefficients, covariance, n_patients)
        return None

    def predict(self, logits: Array) -> tuple[Array, Array]:
        """Return the log odds that a class is true at each logit, and their standard error."""
        design = self._expand(logits)
        variance = np.einsum("ij,jk,ik->i", design, self.covariance, design)
        return design @ self.coefficients, np.sqrt(np.maximum(variance, 0.0))

    def test_calibrated(self) -> float:
        """Return the p-value of the hypothesis that the curve is the diagonal, from Hotelling's T squared."""
        k, n_units = len(self.coefficients), self.n_patients - 1
        diagonal = np.zeros(k)
        diagonal[:2] = self.center, self.spread  # the logit itself
        off = self.coefficients - diagonal
        statistic = float(off @ np.linalg.solve(self.covariance, off))
        return float(stats.f.sf(statistic * (n_units - k + 1) / (n_units * k), k, n_units - k + 1))

    def critical_values(self, logits: Array, level: float) -> tuple[float, float]:
        """Return how many standard errors the pointwise band is wide to each side, and the one everywhere.

        The latter is a quantile of the largest deviation among the logits, from 2,000 draws of the coefficients.
        """
        pointwise = t_quantile(self.n_patients, level)
        design, (_, error) = self._expand(logits), self.predict(logits)
        generator = np.random.default_rng(0)
        draws = generator.multivariate_normal(np.zeros(len(self.coefficients)), self.covariance, _N_DRAWS, method="svd")
        scale = np.sqrt(generator.chisquare(self.n_patients - 1, _N_DRAWS) / (self.n_patients - 1))
        largest = np.abs(draws @ design.T / np.maximum(error, 1e-300)).max(axis=1) / scale
        return pointwise, max(pointwise, float(np.quantile(largest, level)))

    def _expand(self, logits: Array) -> Array:
        return _expand((logits - self.center) / self.spread, self.knots)


def smooth_curves(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    patient_id: ArrayLike,
    class_names: Sequence[str],
    *,
    y_logit: ArrayLike | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the smooth calibration curve of each class that has one, with its bands.

    Parameters
    ----------
    y_true, y_prob, y_logit
        0 or 1 (-1 or nan: not annotated), probabilities, and their logits or None; ``(record, class)``.
    patient_id
        ``(record,)``: whose records they are.

    Returns
    -------
    DataFrame
        A row per class and probability, at most 60 of them: ``class``, ``prob``, ``share_positive``, ``low`` and
        ``high`` (the pointwise band), ``low_everywhere`` and ``high_everywhere``.
    """
    labels, probs = check_arrays(y_true, y_prob, class_names)
    logits = None if y_logit is None else check_logits(y_logit, probs, class_names)
    patients, tables = np.asarray(patient_id), []
    for column, name in enumerate(class_names):
        known = labels[:, column] != UNKNOWN
        if not known.any():
            continue
        x = to_logits(place_certain(probs[known, column])) if logits is None else logits[known, column]
        curve = SmoothCurve.fit(labels[known, column].astype(float), x, number_patients(patients[known]))
        if curve is not None:
            tables.append(_tabulate(curve, x, level).assign(**{"class": name}))
    columns = ["class", "prob", "share_positive", "low", "high", "low_everywhere", "high_everywhere"]
    if not tables:
        return pd.DataFrame(columns=columns, dtype=float)
    return pd.concat(tables, ignore_index=True)[columns]


def measure_distance(curve: SmoothCurve | None, logits: Array) -> dict[str, float]:
    """Return ``ici``, ``ici_by_chance``, ``e50``, ``e90`` and ``p_calibrated`` over records with these logits.

    All are nan without a curve.
    """
    if curve is None:
        return dict.fromkeys(("ici", "ici_by_chance", "e50", "e90", "p_calibrated"), np.nan)
    log_odds, error = curve.predict(logits)
    prob = expit(logits)
    distance = np.abs(expit(log_odds) - prob)
    truth = expit(log_odds)
    by_chance = np.sqrt(2 / np.pi) * (truth * (1 - truth) * error).mean()  # the mean size of a normal deviation
    e50, e90 = np.quantile(distance, [0.5, 0.9])
    return {
        "ici": float(distance.mean()),
        "ici_by_chance": float(by_chance),
        "e50": float(e50),
        "e90": float(e90),
        "p_calibrated": curve.test_calibrated(),
    }


def _tabulate(curve: SmoothCurve, logits: Array, level: float) -> pd.DataFrame:
    ordered = np.sort(logits)
    outermost = min(_OUTERMOST, (len(ordered) + 1) // 2)
    low, high = ordered[outermost - 1], ordered[-outermost]
    by_logit = np.linspace(low, high, _N_POINTS // 2)
    by_prob = to_logits(np.linspace(expit(low), expit(high), _N_POINTS // 2))  # both, for a curve without corners
    at = np.unique(np.clip(np.concatenate([by_logit, by_prob]), low, high))
    log_odds, error = curve.predict(at)
    pointwise, everywhere = curve.critical_values(at, level)
    columns = {"prob": expit(at), "share_positive": expit(log_odds)}
    for suffix, width in (("", pointwise), ("_everywhere", everywhere)):
        columns |= {f"low{suffix}": expit(log_odds - width * error), f"high{suffix}": expit(log_odds + width * error)}
    return pd.DataFrame(columns)


def _find_knots(x: Array, weights: Array, quantiles: Sequence[float]) -> Array:
    """Return weighted quantiles of ``(record,)``; none where two of them coincide."""
    order = np.argsort(x, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    knots = x[order][np.searchsorted(share, quantiles)] if len(quantiles) else np.empty(0)
    return knots if len(np.unique(knots)) == len(knots) else np.empty(0)


def _expand(x: Array, knots: Array) -> Array:
    """Return the design ``(record, column)`` of a restricted cubic spline: 1, x, and one column less than knots - 1."""
    columns = [np.ones_like(x), x]
    if len(knots) > 2:
        before, last = knots[-2:]
        for knot in knots[:-2]:
            cubes = [np.maximum(x - at, 0.0) ** 3 for at in (knot, before, last)]
            of_before, of_last = (last - knot) / (last - before), (before - knot) / (last - before)
            columns.append((cubes[0] - cubes[1] * of_before + cubes[2] * of_last) / (last - knots[0]) ** 2)
    return np.stack(columns, axis=1)
