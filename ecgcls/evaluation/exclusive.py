r"""Classes that exclude each other: each record has exactly one, and its probabilities sum to 1, as a softmax's do.

Conventions
    - Logits are log odds of one class against the others, :math:`\log p_c - \log(1 - p_c)`, so each class is ranked and
      thresholded like any other. A record's class is the one with the highest probability.
    - Recalibration keeps the sum: *temperature* is :math:`\mathrm{softmax}(\log p / T)` with one T for all classes
      [1]_, *platt* (which stands for *isotonic* and *best*, too) first undoes the weights of the loss, then adds an
      offset for each class with at least `min_positives` records [2]_. The offsets have mean 0, so that the other
      classes are only unweighted, and are penalized slightly.
    - Cohen's kappa is the agreement beyond that of chance [3]_, balanced accuracy the mean sensitivity of the classes
      that have a record.

References
----------
.. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017,
       arXiv:1706.04599.
.. [2] A. Alexandari, A. Kundaje, A. Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at
       label shift adaptation", ICML 2020, arXiv:1901.06852.
.. [3] J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20(1), 1960,
       doi:10.1177/001316446002000104.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from ecgcls.evaluation.predictions import Predictions

Array = NDArray[np.float64]
_SUM_TOLERANCE = 1e-4  # float32 probabilities of many classes
_PENALTY = 0.05  # of the squared offsets, in records
_MAX_STEPS, _STEP_TOLERANCE = 1000, 1e-9  # of offsets alone


def are_exclusive(y_true: NDArray, y_prob: Array) -> bool:
    """Whether each record has exactly one class, of at least two, and probabilities that sum to 1."""
    has_one = y_true.shape[1] > 1 and bool(((y_true >= 0).all(axis=1) & ((y_true == 1).sum(axis=1) == 1)).all())
    return has_one and bool((np.abs(y_prob.sum(axis=1) - 1) < _SUM_TOLERANCE).all())


def against_the_rest(scores: Array) -> Array:
    """Turn scores ``(record, class)``, of which the softmax is the probability, into log odds against the others.

    Examples
    --------
    >>> against_the_rest(np.array([[0.0, 0.0, 100.0]])).round(2)
    array([[-100.  , -100.  ,   99.31]])
    """
    others = np.where(np.eye(scores.shape[1], dtype=bool), -np.inf, scores[:, None, :])  # (record, class, other)
    log_odds: Array = scores - logsumexp(others, axis=2)
    return log_odds


def recalibrate(logits: Array, slope: float, offsets: Array) -> Array:
    """Return the recalibrated log odds of log odds, ``(record, class)``; `offsets` is ``(class,)``."""
    return against_the_rest(slope * _log_prob(logits) + offsets)


def fit(y_true: NDArray, logits: Array, *, has_offset: NDArray[np.bool_]) -> tuple[float, Array]:
    """Return the slope 1/T and the offset of each class that fit labels to log odds best, ``(record, class)`` both.

    `has_offset`, ``(class,)``, says which classes have one that is not 0.
    """
    log_prob, n_offsets = _log_prob(logits), int(has_offset.sum())

    def spread(parameters: Array) -> Array:
        offsets = np.zeros(len(has_offset))
        offsets[has_offset] = parameters - parameters.mean() if n_offsets else parameters
        return offsets

    def loss(parameters: Array) -> tuple[float, Array]:
        slope, offsets = np.exp(parameters[0]), spread(parameters[1:])
        scores = slope * log_prob + offsets
        excess = softmax(scores, axis=1) - y_true
        penalty = _PENALTY / len(y_true)
        value = (logsumexp(scores, axis=1) - (scores * y_true).sum(axis=1)).mean() + penalty * (offsets**2).sum()
        by_offset = (excess.mean(axis=0) + 2 * penalty * offsets)[has_offset]
        gradient = [slope * (excess * log_prob).sum(axis=1).mean(), *(by_offset - by_offset.sum() / max(n_offsets, 1))]
        return float(value), np.array(gradient)

    from scipy.optimize import minimize  # which applying does without

    found = minimize(loss, np.zeros(1 + n_offsets), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), spread(found[1:])


def fit_offsets(y_true: NDArray, logits: Array, *, has_offset: NDArray[np.bool_]) -> Array:
    """Return the offset of each class, ``(class,)``, with which the mean probability is its share, as `fit` without T.

    Those that `has_offset` leaves out keep an offset of 0.
    """
    log_prob, offsets = _log_prob(logits), np.zeros(len(has_offset))
    shares = y_true.mean(axis=0)[has_offset]
    for _ in range(_MAX_STEPS if has_offset.any() else 0):
        change = np.log(shares / softmax(log_prob + offsets, axis=1).mean(axis=0)[has_offset])
        offsets[has_offset] += change
        if np.abs(change).max() < _STEP_TOLERANCE:
            break
    return offsets


def count_confusions(predictions: Predictions) -> pd.DataFrame:
    """Return how often each class (row) is taken for each class (column), the one with the highest probability.

    Examples
    --------
    >>> three = Predictions([1, 2, 3], [1, 2, 3], [1] * 3, ["test"] * 3, [[1, 0], [1, 0], [0, 1]],
    ...                     [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], ("NORM", "MI"))
    >>> count_confusions(three).to_numpy().tolist()
    [[1, 1], [0, 1]]
    """
    names = list(predictions.class_names)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (predictions.y_true.argmax(axis=1), predictions.y_score.argmax(axis=1)), 1)
    return pd.DataFrame(counts, index=pd.Index(names, name="actual"), columns=pd.Index(names, name="predicted"))


def summarize_confusions(counts: pd.DataFrame) -> dict[str, float]:
    """Return ``accuracy``, ``balanced_accuracy`` and ``kappa``; nan where undefined."""
    matrix = counts.to_numpy(dtype=float)
    total, right = matrix.sum(), matrix.diagonal()
    actual, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    by_chance = (actual * predicted).sum() / total**2
    accuracy = right.sum() / total
    return {
        "accuracy": float(accuracy),
        "balanced_accuracy": float((right[actual > 0] / actual[actual > 0]).mean()),
        "kappa": float((accuracy - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan"),
    }


def _log_prob(logits: Array) -> Array:
    log_prob: Array = -np.logaddexp(0.0, -logits)
    return log_prob
