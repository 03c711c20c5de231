"""Baselines: what can be predicted without looking at the ECG. A net that is not better has learned nothing from it.

They take the place of a net (``model=prevalence``, ``model=age_sex``), are fitted in closed form or nearly so on the
training part, and are then recalibrated, cut and scored as any net is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ecgcls.data.metadata import read_columns, refuse_empty

_KEY = "model.columns"


class MetadataBaseline:
    """A logistic regression of each class on columns of the table; without columns, the class's prevalence.

    Ages above 89, which PTB-XL writes as 300, count as 90. A missing value becomes the training part's median, and a
    column that says so; all columns are standardized.

    Parameters
    ----------
    columns
        Of ``ptbxl_database.csv``, such as ``age`` and ``sex``; they must hold numbers.
    """

    def __init__(self, *, columns: Sequence[str] = ()) -> None:
        self.columns = tuple(columns)
        self._prevalence: NDArray[np.float64] | None = None
        self._models: list[Pipeline] = []

    @property
    def n_parameters(self) -> int:
        """How many numbers were fitted: intercepts and coefficients."""
        if self._models:
            return sum(model[-1].coef_.size + 1 for model in self._models)
        return 0 if self._prevalence is None else len(self._prevalence)

    def fit(self, records: pd.DataFrame, y_true: NDArray[np.int8]) -> None:
        """Fit every class on rows of the table and ``(record, class)``, with positives and negatives of each class."""
        self._prevalence = np.array([of_class[of_class >= 0].mean() for of_class in y_true.T])  # below 0: not known
        values = read_columns(records, self.columns, key=_KEY)
        refuse_empty(values, self.columns, key=_KEY)
        imputer = SimpleImputer(strategy="median", add_indicator=True)
        whole = make_pipeline(imputer, StandardScaler(), LogisticRegression(max_iter=1000))
        known = [(values[of_class >= 0], of_class[of_class >= 0]) for of_class in y_true.T if self.columns]
        self._models = [clone(whole).fit(*of_class) for of_class in known]

    def predict(self, records: pd.DataFrame) -> NDArray[np.float64]:
        """Return probabilities ``(record, class)``."""
        assert self._prevalence is not None, "fit first"
        if not self.columns:
            return np.tile(self._prevalence, (len(records), 1))
        values = read_columns(records, self.columns, key=_KEY)
        return np.column_stack([model.predict_proba(values)[:, 1] for model in self._models])

    def describe(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return what was fitted, ready for JSON: intercept and coefficients of the standardized columns, by class."""
        assert self._prevalence is not None, "fit first"
        found: dict[str, Any] = {"columns": list(self.columns), "classes": {}}
        for column, name in enumerate(class_names):
            fitted: dict[str, Any] = {"prevalence": float(self._prevalence[column])}
            if self._models:
                last = self._models[column][-1]
                fitted |= {"intercept": float(last.intercept_[0]), "coefficients": last.coef_[0].tolist()}
            found["classes"][name] = fitted
        return found
