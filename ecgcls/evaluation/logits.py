"""Logits: probabilities as log odds, which do not round to 1.

A float32 probability is 1 from a logit of 17 on, a float64 one from 37 on; records beyond would tie. What ranks records
is therefore kept, averaged and recalibrated as a logit, whose probability is only what a reader is shown.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from ecgcls.evaluation.weighted import Array

_TINY, _REST = 2.0**-1074, 2.0**-53  # the least float64 above 0, and 1 minus the greatest one below 1


def to_logits(y_prob: Array) -> Array:
    """Return the logits of probabilities, in float64.

    They are finite and keep the order of the probabilities: 0 and 1 are half as far from the ends as any other number.

    Examples
    --------
    >>> to_logits(np.array([0.0, 1e-300, 0.5, 1 - 1e-15, 1.0])).round(2).tolist()
    [-745.13, -690.78, 0.0, 34.54, 37.43]
    """
    prob = np.asarray(y_prob, dtype=np.float64)
    inside: Array = logit(np.clip(prob, _TINY, 1 - _REST))
    return inside + np.log(2) * ((prob == 1).astype(float) - (prob == 0))


def place_certain(y_prob: Array) -> Array:
    """Return the probabilities ``(record,)`` or ``(record, class)`` to fit a line to, in which none is 0 or 1.

    A probability of exactly 0 is most often a small one that was rounded; the logit of 0 would outweigh all others. It
    is taken as half of the class's lowest other probability, and 1 in the same way.

    Examples
    --------
    >>> place_certain(np.array([[0.0], [0.01], [0.5], [1.0]])).tolist()
    [[0.005], [0.01], [0.5], [0.75]]
    """
    prob = np.asarray(y_prob, dtype=np.float64)
    least = np.where(prob > 0, prob, 1.0).min(axis=0)
    rest = np.where(prob < 1, 1 - prob, 1.0).min(axis=0)
    return np.where(prob == 0, np.maximum(least / 2, _TINY), np.where(prob == 1, 1 - np.maximum(rest / 2, _REST), prob))


def cross_entropy_of_logits(y_true: NDArray, logits: Array) -> Array:
    """Return the binary cross entropy of the probability of each logit, in nats; never rounded or clipped."""
    entropy: Array = np.logaddexp(0.0, np.where(y_true == 1, -logits, logits))
    return entropy


def mean_of_probabilities(logits: ArrayLike, *, axis: int = 0) -> Array:
    r"""Return the logit of the mean of the probabilities along an axis, without computing any probability.

    .. math:: \log \sum_k \sigma(z_k) - \log \sum_k \sigma(-z_k)

    Examples
    --------
    >>> mean_of_probabilities([0.0, 0.0]), mean_of_probabilities([40.0, 60.0]).round(3)
    (np.float64(0.0), np.float64(40.693))
    """
    values = np.asarray(logits, dtype=np.float64)
    positive = np.logaddexp.reduce(-np.logaddexp(0.0, -values), axis=axis)
    negative = np.logaddexp.reduce(-np.logaddexp(0.0, values), axis=axis)
    odds: Array = positive - negative
    return odds
