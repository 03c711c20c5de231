"""Label noise: the headline beside its value where only statements of a stated likelihood count.

Conventions
    - A positive label has the likelihood, in percent, of the most likely of its class's statements. A reading, such as
      'at least 50', makes a positive label of a lower likelihood *not annotated*, never negative: a reader who was 35 %
      sure did not say that the class is absent. The record's other labels stay.
    - A likelihood of 0 means that none was stated, as for nearly every form and rhythm statement of PTB-XL. Such a
      label, or one of several statements of which one has none, stays as it is in each reading, and so do negative
      ones, about which likelihoods say nothing.
    - What is uncertain to a reader is often what is hard to tell, so stricter readings are of an easier set of records.
      A model gains nothing by a higher value there; how far the values differ tells how much they depend on which
      statements are believed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ecgcls.errors import DataError
from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.metrics import OVERALL, score_predictions
from ecgcls.evaluation.predictions import Predictions

READINGS = (50, 100)
"""The least likelihoods, in percent, of the stricter readings."""
AS_LISTED = 0
"""The reading in which every listed statement counts."""
HEADLINE = {"pr_auc": "pr_auc", "roc_auc": "roc_auc", "f1": "f1_macro"}
"""By the key of a class's metric that of the macro mean."""


def reread(predictions: Predictions, likelihoods: pd.DataFrame, *, at_least: float) -> Predictions:
    """Take positive labels whose stated likelihood is lower as not annotated.

    `likelihoods` has a row for each positive label of less than 100: ``ecg_id``, ``class`` and ``likelihood`` (0 where
    none was stated). Rows of other records and classes are passed over.

    Raises
    ------
    DataError
        If a likelihood is of a label that is not positive.

    Examples
    --------
    >>> one = Predictions([7, 8], [1, 2], [1, 1], ["test"] * 2, [[1], [1]], [[0.9], [0.4]], ("MI",))
    >>> likelihoods = pd.DataFrame({"ecg_id": [7, 8], "class": "MI", "likelihood": [35.0, 0.0]})
    >>> reread(one, likelihoods, at_least=50).y_true.tolist()
    [[-1], [1]]
    """
    row_of = {str(ecg_id): row for row, ecg_id in enumerate(predictions.ecg_id.tolist())}
    column_of = {name: column for column, name in enumerate(predictions.class_names)}
    low = likelihoods[likelihoods["likelihood"].between(0, at_least, inclusive="neither")]
    cells = [
        (row_of[ecg_id], column_of[name])
        for ecg_id, name in zip(map(str, low["ecg_id"].tolist()), low["class"].tolist(), strict=True)
        if ecg_id in row_of and name in column_of
    ]
    y_true = predictions.y_true.copy()
    for row, column in cells:
        if y_true[row, column] != 1:
            raise DataError(
                f"likelihoods: ecg_id {predictions.ecg_id[row]} has one of {predictions.class_names[column]}, of which "
                "it is not a positive record"
            )
        y_true[row, column] = UNKNOWN
    return replace(predictions, y_true=y_true)


def score_readings(predictions: Predictions, likelihoods: pd.DataFrame) -> pd.DataFrame | None:
    """Score the records of one split under each reading; None where all are the same.

    Returns
    -------
    DataFrame
        Indexed by ``at_least`` (0: as listed) and ``class``, 'overall' first: ``pr_auc``, ``roc_auc`` and ``f1`` (of
        'overall' the macro means), ``n_positive``, ``n_left_out`` (the positive labels that are not annotated in the
        reading) and ``n_records_left_out`` (the records that have such a label).
    """
    tables = {}
    for at_least in (AS_LISTED, *READINGS):
        read = predictions if at_least == AS_LISTED else reread(predictions, likelihoods, at_least=at_least)
        is_left_out = read.y_true != predictions.y_true
        scores = score_predictions(read)
        table = scores.by_class[[*HEADLINE, "n_positive"]].astype(float)
        table["n_left_out"] = is_left_out.sum(axis=0)
        table["n_records_left_out"] = is_left_out.sum(axis=0)
        of_all = [*(scores.overall[key] for key in HEADLINE.values()), scores.overall["n_positive"]]
        table.loc[OVERALL] = [*of_all, is_left_out.sum(), is_left_out.any(axis=1).sum()]
        tables[at_least] = table.loc[[OVERALL, *predictions.class_names]]
    found = pd.concat(tables, names=["at_least", "class"])
    counts = ["n_positive", "n_left_out", "n_records_left_out"]
    found[counts] = found[counts].astype(np.int64)
    return found if found["n_left_out"].any() else None


def format_readings(table: pd.DataFrame) -> str:
    """Return a line on the headline under each stricter reading, from the table of `score_readings`.

    Examples
    --------
    >>> ids = np.arange(4)
    >>> one = Predictions(ids, ids, ids, ["test"] * 4, [[1], [1], [0], [0]], [[0.9], [0.3], [0.4], [0.1]], ("MI",))
    >>> found = score_readings(one, pd.DataFrame({"ecg_id": [1], "class": ["MI"], "likelihood": [80.0]}))
    >>> print(format_readings(found))
    Statements of a likelihood of at least 100 alone: PR-AUC 1.000, ROC-AUC 1.000, F1 1.000 (left out: 1 label)
    """
    lines = []
    for at in READINGS:
        row: Any = table.loc[(at, OVERALL)]
        if row["n_left_out"]:
            n_left_out = int(row["n_left_out"])
            values = ", ".join(
                f"{label} {row[key]:.3f}" for key, label in (("pr_auc", "PR-AUC"), ("roc_auc", "ROC-AUC"), ("f1", "F1"))
            )
            labels = f"{n_left_out} label{'s' * (n_left_out > 1)}"
            lines.append(f"Statements of a likelihood of at least {at} alone: {values} (left out: {labels})")
    return "\n".join(lines)
