"""Scores: the numbers that `metrics.score` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Scores:
    """The result of `ecgcls.evaluation.metrics.score`.

    Parameters
    ----------
    overall
        By key the `overall_metrics`, `loss` when a `pos_weight` was given, and the counts `n_records`, `n_classes`,
        `n_defined_classes`, `n_positive` (positive labels over all classes), `n_unknown` (labels that nobody annotated)
        and `prevalence` (the positive labels' share of the annotated ones).
    by_class
        One row per class: `n_positive`, `n_negative`, `n_unknown`, `prevalence`, the `class_metrics` by key, `tp`,
        `fp`, `fn`, `tn`.
    undefined
        For each undefined class its reason: 'no positive record', 'no negative record', 'no annotated record' or 'no
        fold with a positive and a negative record'.
    threshold
        A record is predicted positive where `y_prob >= threshold`: one for all classes, or one per class; None where
        the decisions were given.
    """

    overall: dict[str, float]
    by_class: pd.DataFrame
    undefined: dict[str, str]
    threshold: float | dict[str, float] | None

    @property
    def threshold_by_class(self) -> dict[str, float]:
        """The threshold of each class; empty where the decisions were given."""
        if self.threshold is None or isinstance(self.threshold, dict):
            return self.threshold or {}
        return dict.fromkeys(map(str, self.by_class.index), self.threshold)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and text for `json.dump`: nan becomes None, keys keep their order."""
        return {
            "threshold": self.threshold,
            "overall": _drop_nan(self.overall),
            "undefined": dict(self.undefined),
            "by_class": {str(name): _drop_nan(row) for name, row in self.by_class.to_dict(orient="index").items()},
        }


def explain_undefined(
    class_names: Sequence[str], n_positive: NDArray, n_negative: NDArray, is_defined: NDArray[np.bool_]
) -> dict[str, str]:
    """Return by class, of those that are not defined, why; the arrays are ``(class,)``."""
    counts = zip(class_names, n_positive, n_negative, is_defined, strict=True)
    return {str(name): _explain(positive, negative) for name, positive, negative, is_there in counts if not is_there}


def _explain(n_positive: int, n_negative: int) -> str:
    if n_positive and n_negative:
        return "no fold with a positive and a negative record"
    return "no negative record" if n_positive else "no positive record" if n_negative else "no annotated record"


def _drop_nan(values: Mapping[Any, float]) -> dict[str, float | None]:
    return {key: None if value != value else value for key, value in values.items()}
