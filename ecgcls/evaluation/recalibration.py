r"""Recalibration: from a net's probabilities to ones that can be read as frequencies.

A loss that weights positive records more, or an overconfident net, gives probabilities that rank records well but are
too high or too extreme. `fit_calibrator` learns a correction, class by class, on records that are not tested.

Conventions
    - With l the logit of a class's probability, *temperature* gives :math:`\sigma(l/T)` [1]_, *platt*
      :math:`\sigma(al + b)` with Platt's smoothed targets [2]_, *isotonic* the rising step function that fits best,
      interpolated linearly [3]_, *intercept* :math:`\sigma(l + b)`, whose mean is the prevalence (recalibration in the
      large, the least that a net needs in another place [5]_), *best* the one of the first three (or *none*) with the
      lowest log loss in a patient-wise cross-validation of the records it is fitted on. A class with enough of them for
      a fit is fitted in each fold, too.
    - None of them reverses a class's order. Temperature and Platt keep it, and with it every ranking metric (of the
      recalibrated logits: probabilities close to 1 may round to it); isotonic makes ties. Where Platt's slope is not
      positive, and where a class has fewer than `min_positives` positive (or negative) records, nothing is fitted: the
      class is only *unweighted*. A loss that weights positives w times leads to odds that are w times too high, so
      log w is subtracted from the logit [4]_. That needs no validation record, and moves all folds of a
      cross-validation nearly alike.
    - Classes that exclude each other are recalibrated together, so that a record's probabilities still sum to 1
      (`exclusive`).

References
----------
.. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017,
       arXiv:1706.04599.
.. [2] J. C. Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
       methods", Advances in Large Margin Classifiers, 1999.
.. [3] B. Zadrozny, C. Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002,
       doi:10.1145/775047.775151.
.. [4] C. Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.
.. [5] Y. Vergouwe et al., "A closed testing procedure to select an appropriate method for updating prediction models",
       Statistics in Medicine 36 (2017) 4529-4539, doi:10.1002/sim.7179.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ecgcls.errors import DataError
from ecgcls.evaluation import exclusive
from ecgcls.evaluation.checks import UNKNOWN, check_arrays, check_logits
from ecgcls.evaluation.logits import cross_entropy_of_logits, place_certain, to_logits
from ecgcls.evaluation.settings import CalibrationRule
from ecgcls.evaluation.weighted import Array, cross_entropy

_LARGEST = 40.0  # the size of logits to which larger ones are scaled before a temperature is searched for


@dataclass(frozen=True)
class Calibrator:
    """Recalibrates probabilities, class by class.

    Attributes
    ----------
    method
        The requested one, or the best one found.
    by_class
        For each class ``{"method": "platt", "slope": a, "intercept": b}`` (also of ``temperature``, whose slope is
        1/T, and ``unweighted``), or ``{"method": "isotonic", "prob": [...], "calibrated": [...]}``, with ``logit`` in
        place of ``prob`` where it was fitted on logits.
    log_loss
        By method its cross-validated log loss, where the best one was searched for.
    is_exclusive
        True where the classes exclude each other: the slope is of all log probabilities, and the intercepts are theirs.
    """

    method: str
    by_class: Mapping[str, Mapping[str, Any]]
    log_loss: Mapping[str, float] | None = None
    is_exclusive: bool | None = None

    def apply(self, y_prob: ArrayLike, class_names: Sequence[str]) -> Array:
        """Recalibrate probabilities, ``(record, class)``; refuse a class that was not fitted.

        What was close to 1 may be rounded to 1: what ranks the records is `apply_logits` of their logits.
        """
        if self.is_exclusive and self.method != "none":
            prob: Array = expit(self.apply_logits(to_logits(np.asarray(y_prob, dtype=float)), class_names))
            return prob
        return self._apply(np.asarray(y_prob, dtype=float), class_names, _recalibrate)

    def apply_logits(self, logits: ArrayLike, class_names: Sequence[str]) -> Array:
        """Recalibrate logits, ``(record, class)``, to logits: as `apply`, but for logits of any size."""
        if self.is_exclusive and self.method != "none":
            if set(class_names) != set(self.by_class):
                raise DataError(
                    f"classes exclude each other: all of {', '.join(self.by_class)} are recalibrated together"
                )
            fitted = [self.by_class[name] for name in class_names]
            offsets = np.array([one["intercept"] for one in fitted])
            return exclusive.recalibrate(np.asarray(logits, dtype=float), fitted[0]["slope"], offsets)
        return self._apply(np.asarray(logits, dtype=float), class_names, _recalibrate_logits)

    def _apply(
        self, values: Array, class_names: Sequence[str], recalibrate: Callable[[Mapping[str, Any], Array], Array]
    ) -> Array:
        unknown = [name for name in class_names if name not in self.by_class]
        if unknown:
            raise DataError(f"the calibrator does not know the class {unknown[0]}, it has {', '.join(self.by_class)}")
        columns = [recalibrate(self.by_class[name], values[:, column]) for column, name in enumerate(class_names)]
        return np.column_stack(columns)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and text for `json.dump`."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Calibrator:
        """Build what `to_dict` gave."""
        return cls(**stored)


def fit_calibrator(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    patient_id: ArrayLike,
    class_names: Sequence[str],
    rule: CalibrationRule = CalibrationRule(),
    *,
    pos_weight: ArrayLike | None = None,
    y_logit: ArrayLike | None = None,
) -> Calibrator:
    """Fit a calibrator.

    Parameters
    ----------
    y_true, y_prob
        0 or 1 (-1 or nan: not annotated, not fitted on), and probabilities; ``(record, class)``. Never of records that
        are tested.
    patient_id
        ``(record,)``: whose records they are; they are kept together in the cross-validation for ``best``, without
        which fewer than `n_folds` patients are recalibrated by ``platt``.
    pos_weight
        ``(class,)``: how much more the loss weighed positive records; None: not at all.
    y_logit
        The logits of `y_prob`, of any size, which it is then fitted on.

    Examples
    --------
    >>> y_true, y_prob = [[1], [1], [0], [0]] * 10, [[0.9], [0.6], [0.6], [0.5]] * 10
    >>> found = fit_calibrator(y_true, y_prob, range(40), ["MI"])
    >>> found.apply([[0.6]], ["MI"]).round(3)
    array([[0.41]])
    """
    weights = np.broadcast_to(np.asarray(1.0 if pos_weight is None else pos_weight, dtype=float), len(class_names))
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    logits = None if y_logit is None else check_logits(y_logit, y_prob, class_names)
    if exclusive.are_exclusive(y_true, y_prob):
        logits = to_logits(place_certain(y_prob)) if logits is None else logits
        return _fit_exclusive(y_true, logits, class_names, rule, weights)
    n_rarest = np.minimum((y_true == 1).sum(axis=0), (y_true == 0).sum(axis=0))
    records = _Records(y_true, y_prob, logits, class_names, n_rarest >= rule.min_positives, weights)
    patients = np.asarray(patient_id)
    if rule.method != "best":
        return records.fit(rule.method)
    if len(np.unique(patients)) < rule.n_folds:
        return records.fit("platt")
    log_loss = _cross_validate(records, patients, rule.n_folds)
    return replace(records.fit(min(log_loss, key=log_loss.__getitem__)), log_loss=log_loss)


@dataclass(frozen=True)
class _Records:
    """What a calibrator is fitted on, ``(record, class)``; a class that has not enough is only unweighted."""

    y_true: NDArray[np.int8]
    y_prob: Array
    y_logit: Array | None
    class_names: Sequence[str]
    has_enough: NDArray[np.bool_]
    weights: Array

    def take(self, rows: NDArray[np.intp]) -> _Records:
        """Keep some of the records; whether a class has enough of them is still said of all."""
        y_logit = None if self.y_logit is None else self.y_logit[rows]
        return replace(self, y_true=self.y_true[rows], y_prob=self.y_prob[rows], y_logit=y_logit)

    def fit(self, method: str) -> Calibrator:
        """Fit each class."""
        by_class = {}
        for column, name in enumerate(self.class_names):
            known = self.y_true[:, column] != UNKNOWN
            truth, prob, logits = self.y_true[known, column], None, None
            if self.y_logit is None:
                prob = self.y_prob[known, column]
                logits = to_logits(place_certain(prob))
            else:
                logits = self.y_logit[known, column]
            used = method if method == "none" or self.has_enough[column] else "unweighted"
            by_class[str(name)] = _fit(truth, logits, prob, used, float(self.weights[column]))
        return Calibrator(method, by_class)


def _fit_exclusive(
    y_true: NDArray, logits: Array, class_names: Sequence[str], rule: CalibrationRule, weights: Array
) -> Calibrator:
    method: str = rule.method if rule.method in ("none", "temperature", "intercept") else "platt"
    slope, offsets, log_weight = 1.0, np.zeros(len(class_names)), np.log(weights)
    if method != "none" and len(y_true) < rule.min_positives:
        method, offsets = "unweighted", -log_weight
    elif method == "temperature":
        slope, offsets = exclusive.fit(y_true, logits, has_offset=np.zeros(len(class_names), dtype=bool))
    elif method == "intercept":
        offsets = exclusive.fit_offsets(y_true, logits, has_offset=y_true.sum(axis=0) >= rule.min_positives)
    elif method == "platt":
        unweighted = exclusive.recalibrate(logits, 1.0, -log_weight)
        slope, offsets = exclusive.fit(y_true, unweighted, has_offset=y_true.sum(axis=0) >= rule.min_positives)
        offsets = offsets - slope * log_weight
    by_class = {
        str(name): {"method": method, "slope": slope, "intercept": float(offset)}
        for name, offset in zip(class_names, offsets, strict=True)
    }
    return Calibrator(method, by_class, is_exclusive=True)


def _fit(truth: NDArray[np.int8], logits: Array, prob: Array | None, method: str, weight: float) -> dict[str, Any]:
    """Fit one class; the probabilities are given where they, and not the logits, are what is known."""
    if method == "none":
        return {"method": "none", "slope": 1.0, "intercept": 0.0}
    n_pos = int(truth.sum())
    n_neg = len(truth) - n_pos
    unweighted = {"method": "unweighted", "slope": 1.0, "intercept": -float(np.log(weight))}
    if method == "unweighted" or min(n_pos, n_neg) == 0 or np.ptp(logits) == 0:
        return unweighted
    if method == "temperature":
        from scipy.optimize import minimize_scalar  # what only applies a calibrator does without all of this

        scale = max(1.0, np.abs(logits).max() / _LARGEST)
        found = minimize_scalar(
            lambda log_slope: cross_entropy_of_logits(truth, logits / scale * np.exp(log_slope)).mean(), bounds=(-4, 4)
        )
        return {"method": "temperature", "slope": float(np.exp(found.x) / scale), "intercept": 0.0}
    if method == "intercept":
        return {"method": "intercept", "slope": 1.0, "intercept": find_intercept(logits, float(truth.mean()))}
    if method == "platt":
        targets = np.where(truth == 1, (n_pos + 1) / (n_pos + 2), 1 / (n_neg + 2))
        twice = np.concatenate([logits, logits])  # each record as a positive and as a negative one, weighted
        labels = np.repeat([1, 0], len(logits))
        slope, intercept = _regress_logistic(twice, labels, np.concatenate([targets, 1 - targets]))
        return {"method": "platt", "slope": slope, "intercept": intercept} if slope > 0 else unweighted
    from sklearn.isotonic import IsotonicRegression  # scikit-learn takes a second to import

    steps = IsotonicRegression(out_of_bounds="clip").fit(logits if prob is None else prob, truth)
    least = 1 / (len(truth) + 2)  # never 0 or 1: no number of records proves that
    calibrated = np.clip(steps.y_thresholds_, least, 1 - least)
    at = "logit" if prob is None else "prob"
    return {"method": "isotonic", at: steps.X_thresholds_.tolist(), "calibrated": calibrated.tolist()}


def find_intercept(logits: Array, prevalence: float) -> float:
    """Return what is to be added to logits so that their mean probability is a prevalence, in (0, 1).

    Examples
    --------
    >>> round(find_intercept(np.array([-1.0, -1.0]), 0.5), 6)
    1.0
    """
    from scipy.optimize import brentq

    target = float(to_logits(np.array([prevalence]))[0])
    ends = target - float(logits.max()), target - float(logits.min())
    return ends[0] if ends[0] == ends[1] else float(brentq(lambda b: expit(logits + b).mean() - prevalence, *ends))


def _regress_logistic(logits: Array, truth: NDArray, weights: Array | None = None) -> tuple[float, float]:
    """Return slope and intercept of an unpenalized logistic regression; the logits may be of any size."""
    from sklearn.linear_model import LogisticRegression

    center, spread = logits.mean(), logits.std() or 1.0
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit((logits[:, None] - center) / spread, truth, sample_weight=weights)
    slope = float(model.coef_[0, 0] / spread)
    return slope, float(model.intercept_[0] - slope * center)


def _recalibrate(fitted: Mapping[str, Any], prob: Array) -> Array:
    if fitted["method"] == "none":
        return prob
    if "prob" in fitted:
        return np.interp(prob, fitted["prob"], fitted["calibrated"])
    recalibrated: Array = expit(_recalibrate_logits(fitted, to_logits(prob)))
    return recalibrated


def _recalibrate_logits(fitted: Mapping[str, Any], logits: Array) -> Array:
    if "prob" in fitted:
        return to_logits(_recalibrate(fitted, expit(logits)))
    if fitted["method"] == "isotonic":
        return to_logits(np.interp(logits, fitted["logit"], fitted["calibrated"]))
    recalibrated: Array = fitted["slope"] * logits + fitted["intercept"]
    return recalibrated


def _cross_validate(records: _Records, patients: NDArray, n_folds: int) -> dict[str, float]:
    """Return each method's log loss on patients that it was not fitted on."""
    from sklearn.model_selection import GroupKFold

    methods = [
        name for name in get_args(get_type_hints(CalibrationRule)["method"]) if name not in ("best", "intercept")
    ]
    losses: dict[str, float] = dict.fromkeys(methods, 0.0)
    known, names = records.y_true != UNKNOWN, records.class_names
    for kept, left_out in GroupKFold(n_folds, shuffle=True, random_state=0).split(known, groups=patients):
        for method in methods:
            fitted, held = records.take(kept).fit(method), records.take(left_out)
            if held.y_logit is None:
                loss = cross_entropy(held.y_true, fitted.apply(held.y_prob, names))
            else:
                loss = cross_entropy_of_logits(held.y_true, fitted.apply_logits(held.y_logit, names))
            losses[method] += float(loss[known[left_out]].sum() / max(known.sum(), 1))
    return losses
