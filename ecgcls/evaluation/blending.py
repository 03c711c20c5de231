r"""Blending: several nets' predictions of the same records as those of one.

What is averaged are the nets' recalibrated logits, whose scale is alike: a net whose probabilities are too extreme, or
whose loss weighed positive records more, would otherwise count for more than it knows. With weights :math:`w_m \ge 0`
that sum to 1, the mean of M nets is

.. math:: \bar z = \sum_m w_m z_m \quad \text{(logits)}, \qquad
          \bar z = \mathrm{logit} \sum_m w_m \sigma(z_m) \quad \text{(probabilities)}

The mean of probabilities is the linear opinion pool, that of logits the logarithmic one [1]_. Where classes exclude
each other, the logarithmic pool is that of all their log probabilities together, so that they still sum to 1. Neither
mean is calibrated itself [2]_: it is recalibrated as a net is (`recalibration`).

A blend's weights minimize the binary cross entropy of the mean (stacking with weights that are not negative and sum to
1 [3]_). They are fitted on validation records and never on tested ones. Calibrator and thresholds are learned on the
same records afterwards, so what a validation set says of a blend is optimistic; of M nets there are M - 1 more numbers.

References
----------
.. [1] C. Genest, J. V. Zidek, "Combining probability distributions: a critique and an annotated bibliography",
       Statistical Science 1(1), 1986, doi:10.1214/ss/1177013825.
.. [2] R. Ranjan, T. Gneiting, "Combining probability forecasts", Journal of the Royal Statistical Society B 72(1),
       2010, doi:10.1111/j.1467-9868.2009.00726.x.
.. [3] L. Breiman, "Stacked regressions", Machine Learning 24, 1996, doi:10.1007/BF00117832.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from ecgcls.evaluation import exclusive
from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.logits import cross_entropy_of_logits
from ecgcls.evaluation.weighted import Array

Average = Literal["logits", "probabilities"]
"""What is averaged."""
Weights = Literal["equal", "validation"]
"""How much each net counts: all alike, or as fitted on the validation set."""

_DIGITS = 6  # of a weight: more differ between machines


@dataclass(frozen=True)
class Blend:
    """A weighted mean of nets.

    Parameters
    ----------
    weights
        ``(net,)``: not negative, with the sum 1.
    average
        What is averaged.
    is_exclusive
        Whether the classes exclude each other.

    Examples
    --------
    >>> Blend((0.5, 0.5)).apply([[[0.0]], [[4.0]]]).tolist()
    [[2.0]]
    >>> Blend((0.25, 0.75), "probabilities").apply([[[np.log(3)]], [[-np.log(3)]]]).round(4).tolist()  # of 3/8
    [[-0.5108]]
    """

    weights: tuple[float, ...]
    average: Average = "logits"
    is_exclusive: bool = False

    def apply(self, logits: ArrayLike) -> Array:
        """Turn logits ``(net, record, class)`` into those of their mean, ``(record, class)``."""
        every, weights = np.asarray(logits, dtype=np.float64), np.asarray(self.weights)
        if self.average == "probabilities":
            positive, negative = -np.logaddexp(0.0, -every), -np.logaddexp(0.0, every)
            share = weights[:, None, None]
            mean: Array = logsumexp(positive, axis=0, b=share) - logsumexp(negative, axis=0, b=share)
            return mean
        if self.is_exclusive:
            log_prob = -np.logaddexp(0.0, -every)
            return exclusive.against_the_rest(np.tensordot(weights, log_prob, axes=1))
        mean = np.tensordot(weights, every, axes=1)
        return mean


def blend_equally(n_nets: int, average: Average = "logits", *, is_exclusive: bool = False) -> Blend:
    """Return the plain mean of some nets."""
    return Blend((1 / n_nets,) * n_nets, average, is_exclusive)


def fit_blend(
    y_true: NDArray, logits: Sequence[Array], average: Average = "logits", *, is_exclusive: bool = False
) -> Blend:
    """Fit the weights of nets to validation records; they are rounded to six digits.

    Parameters
    ----------
    y_true
        0 or 1 (-1: not annotated, not fitted on), ``(record, class)``. Never of records that are tested.
    logits
        ``(record, class)`` of each net.
    """
    from scipy.optimize import minimize  # which averaging does without

    every, known = np.asarray(logits, dtype=np.float64), np.asarray(y_true) != UNKNOWN
    n_nets = len(every)

    def loss(weights: Array) -> float:
        clipped = np.clip(weights, 0, None)
        mean = Blend(tuple(clipped / clipped.sum()), average, is_exclusive).apply(every)
        return float(cross_entropy_of_logits(y_true, mean)[known].mean())

    found = minimize(
        loss,
        np.full(n_nets, 1 / n_nets),
        method="SLSQP",
        bounds=[(0, 1)] * n_nets,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-10, "maxiter": 200},
    ).x
    weights = np.clip(found, 0, None).round(_DIGITS)
    return Blend(tuple((weights / weights.sum()).tolist()), average, is_exclusive)
