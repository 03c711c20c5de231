r"""Recalibration: from a net's probabilities to ones that can be read as frequencies.

Task
    A loss that weighs positive records more, or a net that is too sure, gives probabilities that rank records well and
    promise too much. `fit_calibrator` learns from records that are not tested how to translate them, class by class;
    `measure_calibration` tells how far probabilities are from frequencies.

Conventions
    - With l the logit of a class's probability, *temperature* gives :math:`\sigma(l/T)` [1]_, *platt*
      :math:`\sigma(al + b)` with Platt's smoothed targets [2]_, *isotonic* the rising step function that fits best,
      joined by straight lines [3]_, *best* the one of these (or *none*) with the lowest log loss in a patient-wise
      cross-validation of the records it is fitted on.
    - None of them reverses a class's order. Temperature and Platt keep it, and with it every ranking metric; isotonic
      makes ties. Where Platt's slope is not positive, and where a class has fewer than `min_positives` positive (or
      negative) records, nothing is fitted: the class is only *unweighted*. A loss that weighs positives w times teaches
      odds that are w times too high, so log w is taken off the logit [4]_. That needs no validation record, and moves
      all folds of a cross-validation nearly alike.
    - The expected calibration error (ECE) is the mean distance between a bin's mean probability and its share of
      positive records, weighted by its records, with bins of equal width or equal mass [5]_. It is never below 0 and
      grows with the number of bins, so it has no interval here: compare it at equal numbers only.
    - Brier score = reliability - resolution + uncertainty + within bins [6]_, with bins of equal mass: reliability is
      the squared distance from the diagonal, resolution how far the bins' shares are from the prevalence, uncertainty
      the variance of the truth; the last is what lies within the bins.
    - Calibration slope: of a logistic regression of the truth on the logit, 1 at best; below 1 the probabilities are
      too extreme. Intercept: what must be added to all logits for the mean probability to be the prevalence, 0 at best;
      below 0 the probabilities are too high [7]_. nan where the probabilities separate the class perfectly.

References
----------
.. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017,
       arXiv:1706.04599.
.. [2] J. C. Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
       methods", Advances in Large Margin Classifiers, 1999.
.. [3] B. Zadrozny, C. Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002,
       doi:10.1145/775047.775151.
.. [4] C. Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.
.. [5] M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
       AAAI 2015, doi:10.1609/aaai.v29i1.9602.
.. [6] D. B. Stephenson, C. A. S. Coelho, I. T. Jolliffe, "Two extra components in the Brier score decomposition",
       Weather and Forecasting 23(4), 2008, doi:10.1175/2007WAF2006116.1.
.. [7] B. Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17, 2019,
       doi:10.1186/s12916-019-1466-7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from ecgcls.errors import DataError
from ecgcls.evaluation.calibration import reliability_curve
from ecgcls.evaluation.checks import check_arrays, check_settings
from ecgcls.evaluation.metrics import OVERALL

_METHODS: tuple[Literal["none", "temperature", "platt", "isotonic"], ...] = ("none", "temperature", "platt", "isotonic")
_EPS = 1e-7  # of a probability; a float32 sigmoid rounds to 0 or 1 not far beyond
_WIDEST = 40.0  # an offset of logits beyond this changes nothing more


@dataclass(frozen=True)
class CalibrationRule:
    """How probabilities are recalibrated.

    Parameters
    ----------
    method
        ``none``, ``temperature``, ``platt``, ``isotonic`` or ``best``.
    min_positives
        Classes with fewer positive (or negative) records are only unweighted.
    n_folds
        Of the cross-validation for ``best``.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    method: Literal["none", "temperature", "platt", "isotonic", "best"] = "platt"
    min_positives: int = 20
    n_folds: int = 5

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_settings(self, "calibration", min_positives=1, n_folds=2)


@dataclass(frozen=True)
class Calibrator:
    """Translates probabilities, class by class.

    Attributes
    ----------
    method
        What was asked for, or found best.
    by_class
        For each class ``{"method": "platt", "slope": a, "intercept": b}`` (also of ``temperature``, whose slope is
        1/T, and ``unweighted``), or ``{"method": "isotonic", "prob": [...], "calibrated": [...]}``.
    log_loss
        By method its cross-validated log loss, where the best one was looked for.
    """

    method: str
    by_class: Mapping[str, Mapping[str, Any]]
    log_loss: Mapping[str, float] | None = None

    def apply(self, y_prob: ArrayLike, class_names: Sequence[str]) -> NDArray[np.float64]:
        """Translate probabilities ``(record, class)``.

        Raises
        ------
        DataError
            If the calibrator does not know a class.
        """
        y_prob = np.asarray(y_prob, dtype=float)
        unknown = [name for name in class_names if name not in self.by_class]
        if unknown:
            raise DataError(f"the calibrator does not know the class {unknown[0]}, it has {', '.join(self.by_class)}")
        columns = [_translate(self.by_class[name], y_prob[:, column]) for column, name in enumerate(class_names)]
        return np.column_stack(columns)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text for `json.dump`."""
        found: dict[str, Any] = {"method": self.method}
        if self.log_loss is not None:
            found["log_loss"] = dict(self.log_loss)
        return found | {"by_class": {name: dict(fitted) for name, fitted in self.by_class.items()}}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Calibrator:
        """Build what `to_dict` gave."""
        return cls(stored["method"], stored["by_class"], stored.get("log_loss"))


def fit_calibrator(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    patient_id: ArrayLike,
    class_names: Sequence[str],
    rule: CalibrationRule = CalibrationRule(),
    *,
    pos_weight: ArrayLike | None = None,
) -> Calibrator:
    """Learn how to translate probabilities.

    Parameters
    ----------
    y_true, y_prob
        0 or 1, and probabilities; ``(record, class)``. Never of records that are tested.
    patient_id
        ``(record,)``: whose records they are; they are kept together in the cross-validation for ``best``.
    class_names
        One name a class.
    rule
        How to translate.
    pos_weight
        ``(class,)``: how much more the loss weighed positive records; None: not at all.

    Raises
    ------
    DataError
        If the arrays do not fit together.

    Examples
    --------
    >>> y_true, y_prob = [[1], [1], [0], [0]] * 10, [[0.9], [0.6], [0.6], [0.5]] * 10
    >>> found = fit_calibrator(y_true, y_prob, range(40), ["MI"])
    >>> found.apply([[0.6]], ["MI"]).round(3)
    array([[0.41]])
    """
    weights = (
        np.ones(len(class_names))
        if pos_weight is None
        else np.broadcast_to(np.asarray(pos_weight, dtype=float), len(class_names))
    )
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    patients = np.asarray(patient_id)
    method, log_loss = rule.method, None
    if method == "best":
        n_patients = len(np.unique(patients))
        if n_patients < rule.n_folds:
            method = "platt"
        else:
            log_loss = _cross_validate(y_true, y_prob, patients, class_names, rule, weights)
            method = min(_METHODS, key=log_loss.__getitem__)
    by_class = {
        str(name): _fit(y_true[:, column], y_prob[:, column], method, rule.min_positives, float(weights[column]))
        for column, name in enumerate(class_names)
    }
    return Calibrator(method, by_class, log_loss)


def measure_calibration(
    y_true: ArrayLike, y_prob: ArrayLike, class_names: Sequence[str], *, n_bins: int = 10
) -> pd.DataFrame:
    """Tell how far probabilities are from frequencies.

    Parameters
    ----------
    y_true, y_prob
        0 or 1, and probabilities; ``(record, class)``.
    class_names
        One name a class.
    n_bins
        The most bins a class may have; see `ecgcls.evaluation.calibration.reliability_curve`.

    Returns
    -------
    DataFrame
        Indexed by class, and 'overall' for their mean: ``ece_width``, ``ece_mass``, ``brier``, ``reliability``,
        ``resolution``, ``uncertainty``, ``within_bins``, ``slope``, ``intercept``, ``log_loss``.
    """
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    by_mass = reliability_curve(y_true, y_prob, class_names, n_bins=n_bins)
    by_width = reliability_curve(y_true, y_prob, class_names, n_bins=n_bins, strategy="equal_width")
    rows = []
    for column, name in enumerate(class_names):
        truth, prob = y_true[:, column], y_prob[:, column]
        mass, width = (table[table["class"] == name] for table in (by_mass, by_width))
        prevalence, share = truth.mean(), mass["n_records"] / len(truth)
        brier = float(np.mean((prob - truth) ** 2))
        reliability = float((share * (mass["mean_prob"] - mass["share_positive"]) ** 2).sum())
        resolution = float((share * (mass["share_positive"] - prevalence) ** 2).sum())
        uncertainty = float(prevalence * (1 - prevalence))
        slope, intercept = _regress(truth, prob)
        rows.append(
            {
                "ece_width": _mean_distance(width),
                "ece_mass": _mean_distance(mass),
                "brier": brier,
                "reliability": reliability,
                "resolution": resolution,
                "uncertainty": uncertainty,
                "within_bins": brier - (reliability - resolution + uncertainty),
                "slope": slope,
                "intercept": intercept,
                "log_loss": _log_loss(truth, prob),
            }
        )
    table = pd.DataFrame(rows, index=pd.Index(list(class_names), name="class"))
    table.loc[OVERALL] = table.mean()
    return table


def _mean_distance(bins: pd.DataFrame) -> float:
    distance = (bins["mean_prob"] - bins["share_positive"]).abs()
    return float((distance * bins["n_records"]).sum() / bins["n_records"].sum())


def _regress(truth: NDArray[np.int8], prob: NDArray[np.float64]) -> tuple[float, float]:
    """Return calibration slope and intercept; nan where the probabilities separate the class, or it is undefined."""
    is_true, logits = truth == 1, _logit(prob)
    if is_true.all() or not is_true.any():
        return float("nan"), float("nan")
    slope = float("nan")
    overlaps = logits[is_true].min() <= logits[~is_true].max() and logits[~is_true].min() <= logits[is_true].max()
    if overlaps and np.ptp(logits) > 0:
        slope = _regress_logistic(logits, truth)[0]
    return slope, _find_offset(logits, float(truth.mean()))


def _regress_logistic(
    logits: NDArray[np.float64], truth: NDArray, weights: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """Return slope and intercept of an unpenalised logistic regression."""
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(logits[:, None], truth, sample_weight=weights)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _fit(
    truth: NDArray[np.int8], prob: NDArray[np.float64], method: str, min_positives: int, weight: float
) -> dict[str, Any]:
    """Fit one class."""
    if method == "none":
        return {"method": "none", "slope": 1.0, "intercept": 0.0}
    n_pos = int(truth.sum())
    n_neg = len(truth) - n_pos
    logits = _logit(prob)
    unweighted = {"method": "unweighted", "slope": 1.0, "intercept": -float(np.log(weight))}
    if min(n_pos, n_neg) < min_positives or np.ptp(logits) == 0:
        return unweighted
    if method == "temperature":
        found = minimize_scalar(
            lambda log_slope: _log_loss(truth, expit(logits * np.exp(log_slope))), bounds=(-4, 4), method="bounded"
        )
        return {"method": "temperature", "slope": float(np.exp(found.x)), "intercept": 0.0}
    if method == "platt":
        targets = np.where(truth == 1, (n_pos + 1) / (n_pos + 2), 1 / (n_neg + 2))
        twice = np.concatenate([logits, logits])  # each record as a positive and a negative one, with its shares
        labels = np.repeat([1, 0], len(logits))
        slope, intercept = _regress_logistic(twice, labels, np.concatenate([targets, 1 - targets]))
        return {"method": "platt", "slope": slope, "intercept": intercept} if slope > 0 else unweighted
    steps = IsotonicRegression(out_of_bounds="clip").fit(prob, truth)
    least = 1 / (len(truth) + 2)  # never 0 or 1: no number of records proves that
    calibrated = np.clip(steps.y_thresholds_, least, 1 - least)
    return {"method": "isotonic", "prob": steps.X_thresholds_.tolist(), "calibrated": calibrated.tolist()}


def _translate(fitted: Mapping[str, Any], prob: NDArray[np.float64]) -> NDArray[np.float64]:
    if fitted["method"] == "none":
        return prob
    if fitted["method"] == "isotonic":
        return np.interp(prob, fitted["prob"], fitted["calibrated"])
    translated: NDArray[np.float64] = expit(fitted["slope"] * _logit(prob) + fitted["intercept"])
    return translated


def _find_offset(logits: NDArray[np.float64], mean: float) -> float:
    """Return what must be added to the logits for the mean probability to be `mean`."""
    return float(brentq(lambda offset: expit(logits + offset).mean() - mean, -_WIDEST, _WIDEST))


def _cross_validate(
    y_true: NDArray[np.int8],
    y_prob: NDArray[np.float64],
    patients: NDArray,
    class_names: Sequence[str],
    rule: CalibrationRule,
    weights: NDArray[np.float64],
) -> dict[str, float]:
    """Return each method's log loss on patients that it was not fitted on."""
    losses: dict[str, float] = dict.fromkeys(_METHODS, 0.0)
    for kept, left_out in GroupKFold(rule.n_folds, shuffle=True, random_state=0).split(y_prob, groups=patients):
        for method in _METHODS:
            settings = replace(rule, method=method)
            fitted = fit_calibrator(
                y_true[kept], y_prob[kept], patients[kept], class_names, settings, pos_weight=weights
            )
            held = fitted.apply(y_prob[left_out], class_names)
            losses[method] += _log_loss(y_true[left_out], held) * len(left_out) / len(y_true)
    return losses


def _logit(prob: NDArray[np.float64]) -> NDArray[np.float64]:
    logits: NDArray[np.float64] = logit(np.clip(prob, _EPS, 1 - _EPS))
    return logits


def _log_loss(truth: NDArray, prob: NDArray[np.float64]) -> float:
    clipped = np.clip(prob, _EPS, 1 - _EPS)
    return float(-np.where(truth == 1, np.log(clipped), np.log1p(-clipped)).mean())
