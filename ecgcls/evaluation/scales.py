r"""Scales without bounds, on which a metric's uncertainty is added and taken away.

A metric between two finite bounds goes to the logit of its place between them, one with a lowest value alone to the
logarithm of its distance, any other stays as it is; a standard error goes with it by the delta method: it is multiplied
by the `slope`. A value at a bound is infinite there.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

Array = NDArray[np.float64]


def unbound(value: ArrayLike, bounds: ArrayLike) -> Array:
    """Return values on the scale without bounds; `bounds` are their lowest and highest values, of their shape or one.

    Examples
    --------
    >>> unbound(0.5, (0, 1)).item(), bound(unbound(-0.9, (-1, 1)), (-1, 1)).round(3).item()
    (0.0, -0.9)
    """
    value, lowest, highest, between, above = _sort(value, bounds)
    with np.errstate(invalid="ignore", divide="ignore"):
        place = logit((value - lowest) / (highest - lowest))
        return np.where(between, place, np.where(above, np.log(value - lowest), value))


def slope(value: ArrayLike, bounds: ArrayLike) -> Array:
    """Return how much longer a small step is on the scale without bounds."""
    value, lowest, highest, between, above = _sort(value, bounds)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.where(between, 1 / (highest - value), 0.0)
        return np.where(between | above, 1 / (value - lowest) + below, 1.0)


def bound(free: ArrayLike, bounds: ArrayLike) -> Array:
    """Return to the metric's own scale."""
    free, lowest, highest, between, above = _sort(free, bounds)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(
            between, lowest + (highest - lowest) * expit(free), np.where(above, lowest + np.exp(free), free)
        )


def _sort(value: ArrayLike, bounds: ArrayLike) -> tuple[Array, Array, Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return values and bounds as arrays of one shape, and whether a value has two bounds, or the lowest alone."""
    lowest, highest = np.asarray(bounds, dtype=float)
    value, lowest, highest = np.broadcast_arrays(np.asarray(value, dtype=float), lowest, highest)
    above = np.isfinite(lowest)
    between = above & np.isfinite(highest)
    return value, lowest, highest, between, above & ~between
