"""Subgroups: every metric, with its interval, in each cell of a grouping of the records.

Conventions
    - A grouping (sex, device, ...) cuts the records into cells. A cell with fewer than `min_records` records or fewer
      than two patients is too small: its size is reported, its metrics are not.
    - Macro averages are over the classes that have a positive and a negative record in the cell, so two cells may
      average over different classes; `n_classes` is how many.
    - PR-AUC depends on how frequent a class is, and cells differ in that: compare cells by ROC-AUC. The worst cell is
      the one with the lowest macro ROC-AUC of all cells of all groupings that are not too small. The lowest of many
      values is low by chance too; judge it by its interval.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import METRICS, OVERALL, overall_metrics
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap, Subgroups

_COLUMNS = [
    "grouping", "group", "class", "metric", "n_records", "n_patients", "n_positive", "n_classes", "is_too_small",
    "value", "low", "high", "is_supported",
]  # fmt: skip


def score_subgroups(
    predictions: Predictions,
    groups: pd.DataFrame,
    *,
    settings: Subgroups = Subgroups(),
    intervals: Bootstrap = Bootstrap(),
) -> pd.DataFrame:
    """Score each cell of each grouping.

    Parameters
    ----------
    predictions
        Of one split.
    groups
        Indexed by ecg_id, a column of text for each grouping; records without a text are in no cell.
    intervals
        How these are computed, but for the number of resamples.

    Returns
    -------
    DataFrame
        One row per cell, class ('overall' for all together) and metric: ``grouping``, ``group``, ``class``, ``metric``,
        ``n_records``, ``n_patients``, ``n_positive``, ``n_classes`` (defined in the cell), ``is_too_small``,
        ``value``, ``low``, ``high``, ``is_supported``. A cell that is too small has the rows of 'overall' alone, with
        nan.
    """
    groups = groups.reindex(predictions.ecg_id)
    how = replace(intervals, n_resamples=settings.n_resamples)
    tables = []
    for grouping, group_of in groups.items():
        for group in group_of.dropna().unique():
            rows = np.flatnonzero(group_of.to_numpy() == group)
            cell = _score_cell(predictions, rows, settings, how)
            tables.append(cell.assign(grouping=str(grouping), group=group))
    if not tables:
        return pd.DataFrame(columns=_COLUMNS)
    return pd.concat(tables, ignore_index=True)[_COLUMNS]


def find_worst(table: pd.DataFrame) -> pd.Series | None:
    """Return the row of the cell with the lowest macro ROC-AUC; None where there are not two cells to compare."""
    rows = table[(table["class"] == OVERALL) & (table["metric"] == "roc_auc") & table["value"].notna()]
    rows = rows[rows.groupby("grouping")["group"].transform("count") > 1]
    return None if rows.empty else rows.iloc[int(rows["value"].to_numpy().argmin())]


def format_worst(row: pd.Series, title: str) -> str:
    """Return a sentence that names the worst cell, with the title of its grouping."""
    return (
        f"{title}: {row['group']}, macro {METRICS[row['metric']].label} {row['value']:.3f} "
        f"[{row['low']:.3f}, {row['high']:.3f}] over {row['n_classes']} classes ({row['n_records']} records of "
        f"{row['n_patients']} patients)"
    )


def _score_cell(predictions: Predictions, rows: np.ndarray, settings: Subgroups, intervals: Bootstrap) -> pd.DataFrame:
    y_true, patients = predictions.y_true[rows], predictions.patient_id[rows]
    n_patients = len(np.unique(patients))
    n_positive, n_negative = (y_true == 1).sum(axis=0), (y_true == 0).sum(axis=0)
    size = {
        "n_records": len(rows),
        "n_patients": n_patients,
        "n_classes": int(((n_positive > 0) & (n_negative > 0)).sum()),
        "is_too_small": len(rows) < settings.min_records or n_patients < 2,
    }
    if size["is_too_small"]:
        keys = [metric.key for metric in overall_metrics()]
        index = pd.MultiIndex.from_product([[OVERALL], keys], names=["class", "metric"])
        empty = {"value": np.nan, "low": np.nan, "high": np.nan, "is_supported": False}
        return pd.DataFrame(empty, index=index).reset_index().assign(n_positive=int(n_positive.sum()), **size)
    names = ("y_pred", "y_logit", "fold")
    more = {name: array[rows] for name in names if (array := getattr(predictions, name)) is not None}
    found = bootstrap(y_true, predictions.y_prob[rows], patients, predictions.class_names, **more, settings=intervals)
    return found[["value", "low", "high", "n_positive", "is_supported"]].reset_index().assign(**size)
