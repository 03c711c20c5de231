"""Logits: probabilities as log odds, which do not round to 1.

A float32 probability is 1 from a logit of 17 on, a float64 one from 37 on; records beyond would tie. What ranks records
is therefore kept, averaged and recalibrated as a logit, whose probability is only what a reader is shown.
"""

import numpy as np
from numpy.typing import ArrayLike

from ecgcls.evaluation.weighted import Array


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
