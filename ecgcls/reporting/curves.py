"""The curves of one model and class: thin enough for a page, with the numbers that say the same in words.

Areas and operating points are computed from all points of a curve; only what is drawn is thinned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.evaluation.smooth_calibration import smooth_curves
from ecgcls.runs.configuration import Configuration

SENSITIVITY, SPECIFICITY = 0.8, 0.9
"""The sensitivity at which precision is reported, and the specificity at which sensitivity is."""

_MAX_POINTS, _MIN_POINTS = 300, 40  # a curve
_ALL_POINTS = 100_000  # of all curves of a chart, so that many classes do not make a page too large


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of one model and class, ``(point,)`` each, and numbers from them.

    Recall falls; the precision of a point holds from its recall down to that of the next, a step function whose area is
    the average precision. The precision at a sensitivity is the highest of all thresholds with at least `SENSITIVITY`;
    the sensitivity at a specificity likewise with `SPECIFICITY`.
    """

    recall: NDArray[np.float32]
    precision: NDArray[np.float32]
    fpr: NDArray[np.float32]  # rises
    tpr: NDArray[np.float32]
    bins: pd.DataFrame  # the reliability curve
    smooth: pd.DataFrame  # the same without bins: no row where there is none
    precision_at_sensitivity: float
    sensitivity_at_specificity: float
    mean_prob: float  # over all records; the prevalence, if the model is calibrated on the whole
    n_bins_off: int  # whose 95% interval does not hold their mean probability


def trace_curves(
    y_true: NDArray[np.int8],
    y_prob: NDArray[np.float64],
    y_logit: NDArray[np.float64] | None = None,
    *,
    patient_id: NDArray[np.int64] | None = None,
    n_points: int,
) -> Curves:
    """Trace the curves of one class, at most `n_points` each; all arrays are ``(record,)``.

    `y_logit`, the logits of `y_prob`, ranks the records; without it, the probabilities do. Without `patient_id` each
    record is of another patient.

    Examples
    --------
    >>> found = trace_curves(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]), n_points=100)
    >>> found.recall.tolist(), [round(float(value), 2) for value in found.precision]
    ([1.0, 1.0, 0.5, 0.5, 0.0], [0.5, 0.67, 0.5, 1.0, 1.0])
    >>> round(found.precision_at_sensitivity, 2), found.sensitivity_at_specificity
    (0.67, 0.5)
    """
    y_score = y_prob if y_logit is None else y_logit
    patients = np.arange(len(y_true)) if patient_id is None else patient_id
    logits = None if y_logit is None else y_logit[:, None]
    precision, recall, _ = precision_recall_curve(y_true, y_score, drop_intermediate=True)
    precision[-1] = precision[-2]  # scikit-learn ends at a precision of 1, which no threshold has
    fpr, tpr, _ = roc_curve(y_true, y_score)
    bins = reliability_curve(y_true[:, None], y_prob[:, None], ["class"])
    is_off = (bins["mean_prob"] < bins["share_low"]) | (bins["mean_prob"] > bins["share_high"])
    return Curves(
        *thin(recall, precision, n_points=n_points),
        *thin(fpr, tpr, n_points=n_points),
        bins=bins,
        smooth=smooth_curves(y_true[:, None], y_prob[:, None], patients, ["class"], y_logit=logits),
        precision_at_sensitivity=float(precision[recall >= SENSITIVITY].max()),
        sensitivity_at_specificity=float(tpr[1 - fpr >= SPECIFICITY].max()),
        mean_prob=float(y_prob.mean()),
        n_bins_off=int(is_off.sum()),
    )


def thin(x: NDArray[Any], y: NDArray[Any], *, n_points: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keep `n_points` (at least 4) of a curve ``(point,)``: both ends, the highest, the lowest, and even steps between.

    Even steps along the length, unlike every n-th threshold, keep the part where a rare class is found: most
    thresholds lie where nothing changes any more.
    """
    if len(x) > n_points:
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        even = np.searchsorted(length, np.linspace(0, length[-1], n_points - 3))
        kept = np.unique(np.concatenate([even, [len(x) - 1, y.argmin(), y.argmax()]]))
        x, y = x[kept], y[kept]
    return x.astype(np.float32), y.astype(np.float32)


AllCurves = dict[tuple[str, int], Curves]
"""By class and number of the configuration."""


def trace_all(configurations: Sequence[Configuration], class_names: Sequence[str]) -> AllCurves:
    """Trace the curves of every class and configuration in which it is defined."""
    defined = [
        (name, number)
        for name in class_names
        for number, one in enumerate(configurations)
        if name in one.class_names and name not in one.scores.undefined
    ]
    n_points = min(_MAX_POINTS, max(_MIN_POINTS, _ALL_POINTS // max(1, len(defined))))
    traced = {}
    for name, number in defined:
        known = configurations[number].tested.annotated(name)
        logits = None if known.y_logit is None else known.y_logit[:, 0]
        traced[name, number] = trace_curves(
            known.y_true[:, 0], known.y_prob[:, 0], logits, patient_id=known.patient_id, n_points=n_points
        )
    return traced
