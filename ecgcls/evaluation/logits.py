"""Logits: probabilities as log odds, which do not round to 1.

A float32 probability is 1 from a logit of 17 on, a float64 one from 37 on; records beyond would tie. What ranks records
is therefore kept, averaged and recalibrated as a logit, whose probability is only what a reader is shown.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from ecgcls.evaluation.weighted import Array

_EPS = 1e-7  # of a probability before its logit; a float32 sigmoid rounds to 0 or 1 not far beyond


def to_logits(y_prob: Array) -> Array:
    """Return the logits of probabilities, which are kept 1e-7 away from 0 and 1."""
    logits: Array = logit(np.clip(y_prob, _EPS, 1 - _EPS))
    return logits


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
