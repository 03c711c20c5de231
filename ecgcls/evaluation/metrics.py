r"""Metrics: how well probabilities rank and classify records, class by class and over all classes.

Task
    Multi-label classification: each record has any number of `n_classes` classes, and a model gives one
    probability a class. `score` turns labels and probabilities into numbers; `summarise_folds` tells how they
    vary over folds.

Conventions
    - Arrays are `(record, class)`; `y_true` is 0 or 1, `y_prob` in [0, 1], and
      `y_pred = y_prob >= threshold`.
    - PR-AUC is average precision, :math:`AP = \sum_k (R_k - R_{k-1}) P_k` over the distinct probabilities in
      falling order. It is not the trapezoid under the curve: precision does not vary linearly between two
      points, and the trapezoid is too hopeful [1]_. Its chance level is the prevalence, so it speaks about
      rare classes where the ROC curve looks well [2]_. ROC-AUC is the trapezoid under the ROC curve, where
      that is exact [3]_.
    - F1 is :math:`2 TP / (2 TP + FP + FN)`. `f1_macro` is the mean of the classes' F1s, not the F1 of the
      mean precision and recall [4]_; `f1_micro` comes from the counts of all classes together.
    - A class without a positive or without a negative record is *undefined*: its pr_auc, roc_auc and f1 are
      nan, it is named in `Scores.undefined`, and the macro means go over the other classes. A class with
      positives of which none is predicted has an F1 of 0. A ratio whose denominator is 0 (precision where
      nothing is predicted) is nan.
    - MCC is the Matthews correlation coefficient of truth and decision, in [-1, 1] [5]_; `mcc` over all classes is the
      mean of theirs. The Brier score is the mean of :math:`(p - y)^2`, 0 at best [6]_.
    - `log_loss` is the binary cross entropy in nats, the mean over all records and classes, of probabilities
      clipped to [eps, 1 - eps] with the eps of float64, 2.2e-16, as scikit-learn does: 36.04 at worst for one
      entry.

References
----------
.. [1] J. Davis, M. Goadrich, "The relationship between Precision-Recall and ROC curves", ICML 2006,
       doi:10.1145/1143844.1143874.
.. [2] T. Saito, M. Rehmsmeier, "The precision-recall plot is more informative than the ROC plot when
       evaluating binary classifiers on imbalanced datasets", PLOS ONE 10(3), 2015,
       doi:10.1371/journal.pone.0118432.
.. [3] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006,
       doi:10.1016/j.patrec.2005.10.010.
.. [4] J. Opitz, S. Burst, "Macro F1 and Macro F1", 2019, arXiv:1911.03347.
.. [5] D. Chicco, G. Jurman, "The advantages of the Matthews correlation coefficient (MCC) over F1 score and accuracy
       in binary classification evaluation", BMC Genomics 21, 2020, doi:10.1186/s12864-019-6413-7.
.. [6] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78(1), 1950,
       doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, confusion_matrix, matthews_corrcoef, roc_auc_score

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import check_arrays, describe_difference

NO_POSITIVE = "no positive record"
NO_NEGATIVE = "no negative record"
OVERALL = "overall"
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Scores:
    """What `score` found.

    Parameters
    ----------
    overall
        `pr_auc`, `roc_auc`, `f1_macro`, `mcc` (means over the defined classes), `f1_micro`, `brier` and `log_loss`
        (means over all records and classes), `loss` when a `pos_weight` was given, and the counts `n_records`,
        `n_classes`, `n_defined_classes`, `n_positive` (positive labels over all classes) and `prevalence` (their share
        of all labels).
    by_class
        One row a class: `n_positive`, `n_negative`, `prevalence`, `pr_auc`, `roc_auc`, and at the threshold
        `f1`, `mcc`, `sensitivity`, `specificity`, `precision` (positive predictive value), `npv`, and `brier`, `tp`,
        `fp`, `fn`, `tn`.
    undefined
        For each undefined class its reason: 'no positive record' or 'no negative record'.
    threshold
        A record is predicted positive where `y_prob >= threshold`: one for all classes, or one a class; None where
        the decisions were given.
    """

    overall: dict[str, float]
    by_class: pd.DataFrame
    undefined: dict[str, str]
    threshold: float | tuple[float, ...] | None

    @property
    def threshold_by_class(self) -> dict[str, float]:
        """The threshold of each class; empty where the decisions were given."""
        if self.threshold is None:
            return {}
        names = [str(name) for name in self.by_class.index]
        each = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,) * len(names)
        return dict(zip(names, each, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text for `json.dump`: nan becomes None, keys keep their order.

        `threshold` is a number, or the classes' thresholds by name where each has its own.
        """
        columns = self.by_class.columns
        return {
            "threshold": self.threshold_by_class if isinstance(self.threshold, tuple) else self.threshold,
            "overall": {name: _plain(value) for name, value in self.overall.items()},
            "undefined": dict(self.undefined),
            "by_class": {
                str(name): {str(column): _plain(value) for column, value in zip(columns, row, strict=True)}
                for name, *row in self.by_class.itertuples()
            },
        }


def score(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    class_names: Sequence[str],
    *,
    threshold: float | Sequence[float] = 0.5,
    y_pred: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
) -> Scores:
    r"""Score probabilities against labels.

    Parameters
    ----------
    y_true
        0 or 1, shape `(n_records, n_classes)`.
    y_prob
        Probabilities in [0, 1], same shape.
    class_names
        One name a class.
    threshold
        In [0, 1], one for all or one a class; a record is predicted positive where `y_prob >= threshold`.
    y_pred
        The decisions themselves, 0 or 1, same shape as `y_true`; `threshold` then says nothing.
    pos_weight
        One positive weight a class, or one for all. With it, `overall["loss"]` is the mean over all records
        and classes of :math:`-w_c y \log p - (1 - y) \log(1 - p)`, which is what
        `torch.nn.BCEWithLogitsLoss(pos_weight=w)` gives for the logits of these probabilities, as long as
        none of them is rounded to 0 or 1.

    Raises
    ------
    DataError
        There is no record, the shapes disagree, or a value is out of its range.
    ConfigError
        `threshold` or `pos_weight` is out of its range, or not one a class.

    Examples
    --------
    Sorted by falling probability the labels are 1, 0, 1, 0, so AP = (1/1 + 2/3) / 2.

    >>> found = score([[1], [0], [1], [0]], [[0.9], [0.8], [0.7], [0.1]], ["AFIB"])
    >>> round(found.overall["pr_auc"], 4), found.overall["roc_auc"]
    (0.8333, 0.75)
    >>> score([[1, 0], [0, 0]], [[0.9, 0.2], [0.1, 0.4]], ["NORM", "HYP"]).undefined
    {'HYP': 'no positive record'}
    """
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    thresholds = check_threshold(threshold, class_names)
    decided = y_prob >= thresholds
    if y_pred is not None:
        decided = check_arrays(y_pred, y_prob, class_names, name="y_pred")[0] == 1
    by_class = _score_classes(y_true, decided, y_prob, class_names)
    reasons = by_class.apply(lambda row: _say_why_undefined(row.n_positive, row.n_negative), axis=1)
    tp, fp, fn = (int(by_class[name].sum()) for name in ("tp", "fp", "fn"))
    overall = {
        "pr_auc": float(by_class["pr_auc"].mean()),  # pandas leaves the nan classes out
        "roc_auc": float(by_class["roc_auc"].mean()),
        "f1_macro": float(by_class["f1"].mean()),
        "f1_micro": _divide(2 * tp, 2 * tp + fp + fn),
        "mcc": float(by_class["mcc"].mean()),
        "brier": float(by_class["brier"].mean()),
        "log_loss": _mean_cross_entropy(y_true, y_prob, np.ones(1)),
    }
    if pos_weight is not None:
        overall["loss"] = _mean_cross_entropy(y_true, y_prob, _check_pos_weight(pos_weight, len(class_names)))
    overall |= {
        "n_records": len(y_true),
        "n_classes": len(class_names),
        "n_defined_classes": int((reasons == "").sum()),
        "n_positive": int(y_true.sum()),
        "prevalence": float(y_true.mean()),
    }
    undefined = {str(name): reason for name, reason in reasons.items() if reason}
    kept = tuple(thresholds.tolist()) if thresholds.ndim else float(thresholds)
    return Scores(overall, by_class, undefined, None if y_pred is not None else kept)


def summarise_folds(scores: Sequence[Scores]) -> pd.DataFrame:
    """Tell how each metric varies over folds.

    Parameters
    ----------
    scores
        One a fold, of the same classes.

    Returns
    -------
    pandas.DataFrame
        Indexed by `class` and `metric`; the metrics over all classes stand under the class 'overall'.
        Columns: `mean` and `sd` (n - 1 in the denominator; nan for a single fold) over the `n` folds whose
        value is not nan, of `n_folds`.

    Raises
    ------
    DataError
        There are no scores, or the folds differ in their classes or metrics.

    Examples
    --------
    >>> folds = [score([[1], [0]], [[0.9], [0.2]], ["MI"]), score([[0], [0]], [[0.3], [0.4]], ["MI"])]
    >>> summarise_folds(folds).loc[("MI", "pr_auc"), ["mean", "n", "n_folds"]].tolist()
    [1.0, 1.0, 2.0]
    """
    if not scores:
        raise DataError("there are no scores to summarise: expected one a fold, got none")
    tables = [_tabulate(fold) for fold in scores]
    for number, table in enumerate(tables[1:], start=1):
        if not table.index.equals(tables[0].index):
            difference = describe_difference(
                [" ".join(key) for key in table.index], [" ".join(key) for key in tables[0].index]
            )
            raise DataError(f"the scores of fold {number} differ from fold 0's: {difference}")
    values = pd.concat(tables, axis=1)  # (class and metric, fold)
    return pd.DataFrame(
        {
            "mean": values.mean(axis=1),
            "sd": values.std(axis=1, ddof=1),
            "n": values.notna().sum(axis=1),
            "n_folds": len(scores),
        }
    )


def _score_classes(
    y_true: NDArray[np.int8],
    y_pred: NDArray[np.bool_],
    y_prob: NDArray[np.float64],
    class_names: Sequence[str],
) -> pd.DataFrame:
    rows = []
    for column in range(len(class_names)):
        truth = y_true[:, column]
        (tn, fp), (fn, tp) = confusion_matrix(truth, y_pred[:, column], labels=[0, 1]).tolist()
        defined = not _say_why_undefined(tp + fn, tn + fp)
        rows.append(
            {
                "n_positive": tp + fn,
                "n_negative": tn + fp,
                "prevalence": (tp + fn) / len(truth),
                "pr_auc": float(average_precision_score(truth, y_prob[:, column])) if defined else np.nan,
                "roc_auc": float(roc_auc_score(truth, y_prob[:, column])) if defined else np.nan,
                "f1": 2 * tp / (2 * tp + fp + fn) if defined else np.nan,
                "mcc": float(matthews_corrcoef(truth, y_pred[:, column])) if defined else np.nan,
                "sensitivity": _divide(tp, tp + fn),
                "specificity": _divide(tn, tn + fp),
                "precision": _divide(tp, tp + fp),
                "npv": _divide(tn, tn + fn),
                "brier": float(np.mean((y_prob[:, column] - truth) ** 2)),
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "tn": tn,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(list(class_names), name="class"))


def _say_why_undefined(n_positive: float, n_negative: float) -> str:
    if not n_positive:
        return NO_POSITIVE
    return "" if n_negative else NO_NEGATIVE


def _divide(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _mean_cross_entropy(
    y_true: NDArray[np.int8], y_prob: NDArray[np.float64], pos_weight: NDArray[np.float64]
) -> float:
    clipped = np.clip(y_prob, _EPS, 1 - _EPS)
    return float(np.where(y_true == 1, -pos_weight * np.log(clipped), -np.log1p(-clipped)).mean())


def check_threshold(threshold: float | Sequence[float], class_names: Sequence[str]) -> NDArray[np.float64]:
    """Refuse what is not one threshold in [0, 1], or one a class."""
    thresholds = np.asarray(threshold, dtype=np.float64)
    if thresholds.shape not in {(), (len(class_names),)}:
        raise ConfigError(f"threshold must be one number or one a class ({len(class_names)}), got {thresholds.shape}")
    outside = thresholds[~((thresholds >= 0) & (thresholds <= 1))]  # nan is outside
    if outside.size:
        raise ConfigError(f"threshold must be in [0, 1], got {outside.flat[0]:g}")
    return thresholds


def _check_pos_weight(pos_weight: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    weights = np.atleast_1d(np.asarray(pos_weight, dtype=np.float64))
    if weights.shape not in {(1,), (n_classes,)}:
        raise ConfigError(f"pos_weight must be one number or one a class ({n_classes}), got {weights.shape}")
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise ConfigError(f"pos_weight must be finite and above 0, got {weights.tolist()}")
    return weights


def _tabulate(scores: Scores) -> pd.Series:
    if OVERALL in scores.by_class.index:
        raise DataError(f"no class may be called {OVERALL!r}, the summary uses that name")
    values = {(OVERALL, metric): value for metric, value in scores.overall.items()}
    for name, row in scores.by_class.iterrows():
        values |= {(str(name), str(metric)): value for metric, value in row.items()}
    index = pd.MultiIndex.from_tuples(list(values), names=["class", "metric"])
    return pd.Series(list(values.values()), index=index, dtype=np.float64)


def _plain(value: float) -> float | int | None:
    number = value.item() if isinstance(value, np.generic) else value
    return None if number != number else number
