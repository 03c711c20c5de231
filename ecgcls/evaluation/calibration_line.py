r"""Calibration slope, intercept and O:E of one class, with their intervals.

Conventions
    - *Slope*: of a logistic regression of the truth on the logit, 1 at best; below 1 the probabilities are too extreme.
      *Intercept* (calibration in the large): what must be added to all logits for the mean probability to be the
      prevalence, 0 at best; below 0 the probabilities are too high. *O:E*: the observed over the expected number of
      positive records, 1 at best; below 1 the probabilities are too high [1]_.
    - Their limits allow for several records of a patient (`logistic`); those of O:E are symmetric for its logarithm.
    - Nothing is measured of a class without a positive or a negative record, no slope of one that the probabilities
      separate, no slope and intercept of probabilities of 0 and 1 alone, no limits where the rarer label is of one
      patient.

References
----------
.. [1] B. Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17, 2019,
       doi:10.1186/s12916-019-1466-7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from ecgcls.evaluation.logistic import (
    correct_for_patients,
    count_rarest_patients,
    fit_logistic,
    robust_covariance,
    sum_by_patient,
    t_quantile,
)
from ecgcls.evaluation.weighted import Array

LIMITED = ("slope", "intercept", "oe")
"""What has limits, as ``slope_low`` and ``slope_high``."""
_WIDEST = 40.0  # a logit beyond this is a probability of 0 or 1


def measure_line(
    truth: NDArray[np.bool_], prob: Array, logits: Array, patient_of: NDArray[np.intp], *, level: float
) -> tuple[dict[str, float], str]:
    """Return slope, intercept and O:E of records ``(record,)``, each with its limits, and why one is undefined.

    The reason is empty where all are defined.
    """
    keys = [f"{name}{end}" for name in LIMITED for end in ("", "_low", "_high")]
    if truth.all() or not truth.any():
        return dict.fromkeys(keys, np.nan), f"no {'negative' if truth.all() else 'positive'} record"
    width = t_quantile(count_rarest_patients(truth, patient_of), level)
    kind = "positive" if truth.sum() <= (~truth).sum() else "negative"
    reasons = [f"all {kind} records are of one patient: no limits"] if np.isnan(width) else []
    found, why = _regress(truth, logits, patient_of)
    reasons += [why] if why else []
    values = {"slope": found, "intercept": _shift(truth, logits, patient_of)}
    if np.isin(prob, (0, 1)).all() and not np.ptp(logits) > 0:  # decisions, whose logits are nowhere
        values = dict.fromkeys(values, (np.nan, np.nan))
        reasons[-1:] = ["all probabilities are 0 or 1: no slope, no intercept"]
    ratio = error = np.nan
    if prob.any():
        ratio, error = _compare_counts(truth, prob, patient_of)
    else:
        reasons.append("no positive record is expected: no O:E")
    result: dict[str, float] = {}
    for name, (value, spread) in values.items():
        result |= {name: value, f"{name}_low": value - width * spread, f"{name}_high": value + width * spread}
    result |= {"oe": ratio, "oe_low": ratio * np.exp(-width * error), "oe_high": ratio * np.exp(width * error)}
    return result, "; ".join(reasons)


def _regress(truth: NDArray[np.bool_], logits: Array, patient_of: NDArray[np.intp]) -> tuple[tuple[float, float], str]:
    """Return the slope and its standard error, or nan and the reason."""
    positive, negative = logits[truth], logits[~truth]
    if not np.ptp(logits) > 0:
        return (np.nan, np.nan), "all probabilities are equal: no slope"
    if positive.min() > negative.max() or negative.min() > positive.max():
        return (np.nan, np.nan), "the probabilities separate the class: no slope"
    spread = logits.std()
    design = np.stack([np.ones_like(logits), (logits - logits.mean()) / spread], axis=1)
    coefficients = fit_logistic(design, truth.astype(float))
    if coefficients is None:
        return (np.nan, np.nan), "the probabilities all but separate the class: no slope"
    if patient_of.max() == 0:
        return (float(coefficients[1] / spread), np.nan), ""
    error = np.sqrt(robust_covariance(design, truth.astype(float), coefficients, patient_of)[1, 1])
    return (float(coefficients[1] / spread), float(error / spread)), ""


def _shift(truth: NDArray[np.bool_], logits: Array, patient_of: NDArray[np.intp]) -> tuple[float, float]:
    """Return the intercept and its standard error."""
    mean, low, high = truth.mean(), -_WIDEST - logits.max(), _WIDEST - logits.min()
    offset = float(brentq(lambda offset: expit(logits + offset).mean() - mean, low, high))
    prob = expit(logits + offset)
    return offset, _sum_squares(truth - prob, patient_of) / float((prob * (1 - prob)).sum())


def _compare_counts(truth: NDArray[np.bool_], prob: Array, patient_of: NDArray[np.intp]) -> tuple[float, float]:
    """Return O:E and the standard error of its logarithm."""
    observed, expected = truth.sum(), prob.sum()
    return float(observed / expected), _sum_squares(truth / observed - prob / expected, patient_of)


def _sum_squares(values: Array, patient_of: NDArray[np.intp]) -> float:
    """Return the standard error of a sum over records that are clustered by patient; nan of one patient."""
    if patient_of.max() == 0:
        return np.nan
    sums = sum_by_patient(values[:, None], patient_of)
    return float(np.sqrt((sums**2).sum() * correct_for_patients(patient_of)))
