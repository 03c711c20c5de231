r"""Logistic regression without a penalty, and how uncertain it is where records are clustered by patient.

Conventions
    - A design is ``(record, column)``; the model is :math:`P(y = 1) = \sigma(x^T \beta)`.
    - The covariance is the sandwich of the scores summed by patient [1]_, times G/(G - 1) of G patients. Limits take
      Student's t with one less than the patients that show the rarer label, for these are what it rests on.

References
----------
.. [1] K.-Y. Liang, S. L. Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73(1), 1986,
       doi:10.1093/biomet/73.1.13.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from ecgcls.evaluation.weighted import Array

_MAX_STEPS = 60
_STEEPEST = 30.0  # a fitted log odds beyond this, of a standardized design, belongs to a class that is separated


def fit_logistic(design: Array, truth: Array) -> Array | None:
    """Return the coefficients ``(column,)`` that fit labels ``(record,)`` best; None where none do.

    The columns should be of similar size; where they separate the labels, or are linearly dependent, there is no fit.
    """
    coefficients = np.zeros(design.shape[1])
    deviance = _deviance(design, truth, coefficients)
    for _ in range(_MAX_STEPS):
        prob = expit(design @ coefficients)
        information = (design * (prob * (1 - prob))[:, None]).T @ design
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (truth - prob))
        while (found := _deviance(design, truth, coefficients + step)) > deviance * (1 + 1e-12):
            step = step / 2
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-9 * (1 + np.abs(coefficients).max()):
            return coefficients if np.abs(coefficients).max() < _STEEPEST else None
        deviance = found
    return None


def robust_covariance(design: Array, truth: Array, coefficients: Array, patient_of: NDArray[np.intp]) -> Array:
    """Return the covariance ``(column, column)`` of coefficients; `patient_of` numbers the patients from 0."""
    prob = expit(design @ coefficients)
    bread = np.linalg.inv((design * (prob * (1 - prob))[:, None]).T @ design)
    scores = sum_by_patient(design * (truth - prob)[:, None], patient_of)
    covariance: Array = bread @ (scores.T @ scores) @ bread * correct_for_patients(patient_of)
    return covariance


def sum_by_patient(values: Array, patient_of: NDArray[np.intp]) -> Array:
    """Sum ``(record, column)`` over the records of each patient, ``(patient, column)``."""
    n_patients = int(patient_of.max()) + 1
    return np.stack([np.bincount(patient_of, column, minlength=n_patients) for column in values.T], axis=1)


def correct_for_patients(patient_of: NDArray[np.intp]) -> float:
    """Return G/(G - 1) of G patients, at least two."""
    n_patients = int(patient_of.max()) + 1
    return n_patients / (n_patients - 1)


def number_patients(patient_id: NDArray) -> NDArray[np.intp]:
    """Number the patients from 0, ``(record,)``."""
    numbers: NDArray[np.intp] = np.unique(patient_id, return_inverse=True)[1]
    return numbers


def count_rarest_patients(is_positive: NDArray[np.bool_], patient_of: NDArray[np.intp]) -> int:
    """Count the patients with a positive record, or those with a negative one if these are fewer."""
    return min(len(np.unique(patient_of[is_positive])), len(np.unique(patient_of[~is_positive])))


def t_quantile(n_rarest_patients: int, level: float) -> float:
    """Return how many standard errors the limits at a level are away; nan of fewer than two patients."""
    return float(stats.t.ppf((1 + level) / 2, n_rarest_patients - 1)) if n_rarest_patients > 1 else np.nan


def _deviance(design: Array, truth: Array, coefficients: Array) -> float:
    log_odds = design @ coefficients
    return float((np.logaddexp(0.0, log_odds) - truth * log_odds).sum())
