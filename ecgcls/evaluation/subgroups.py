"""Subgroups: every metric, with its interval, in each cell of a grouping of the records.

Conventions
    - A grouping (sex, device, ...) cuts the records into cells. A cell with fewer than `min_records` records or fewer
      than two patients is too small: its size is reported, its metrics are not.
    - Macro averages are over the classes that have a positive and a negative record in the cell, so two cells may
      average over different classes; `n_classes` is how many.
    - Score limits need no draws of patients, and draws for a hundred cells take a minute: metrics that have no score
      limits (Fmax, the highest F1, micro F1, Brier score, log loss) have none in a cell, unless their number is stated.
    - PR-AUC depends on how frequent a class is, and cells differ in that: compare cells by ROC-AUC. The lowest of many
      values is low by chance too, so a cell is only called worse than the rest where its gap to the rest, with limits
      that hold for all cells of all groupings together, lies below 0 (`gaps`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.gaps import COLUMNS, measure_gaps
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import METRICS, OVERALL, overall_metrics
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap, Subgroups

_JUDGED = "roc_auc"
_COLUMNS = [
    "grouping", "group", "class", "metric", "n_records", "n_patients", "n_positive", "n_unknown", "n_classes",
    "is_too_small", "value", "low", "high", "is_supported", *COLUMNS,
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
        How these are computed; the number of resamples is that of `settings`, if it states one. If it does not, the
        score method draws none.

    Returns
    -------
    DataFrame
        One row per cell, class ('overall' for all together) and metric: ``grouping``, ``group``, ``class``, ``metric``,
        ``n_records``, ``n_patients``, ``n_positive``, ``n_unknown``, ``n_classes`` (defined in the cell),
        ``is_too_small``, ``value``, ``low``, ``high``, ``is_supported``; in the rows of overall ROC-AUC ``gap``,
        ``gap_low``, ``gap_high`` and ``gap_n_classes``, as by `gaps.measure_gaps`. A cell that is too small has the
        rows of 'overall' alone, with nan.
    """
    groups = groups.reindex(predictions.ecg_id)
    how = replace(intervals, n_resamples=settings.n_resamples or intervals.n_resamples)
    is_resampled = intervals.method != "score" or settings.n_resamples is not None
    tables = []
    for grouping, group_of in groups.items():
        for group in group_of.dropna().unique():
            rows = np.flatnonzero(group_of.to_numpy() == group)
            cell = _score_cell(predictions, rows, settings, how, is_resampled=is_resampled)
            tables.append(cell.assign(grouping=str(grouping), group=group))
    if not tables:
        return pd.DataFrame(columns=_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    gaps = measure_gaps(predictions, groups, intervals)
    of_rows = gaps.reindex(pd.MultiIndex.from_frame(table[["grouping", "group"]])).to_numpy()
    has_gap = (table["class"] == OVERALL) & (table["metric"] == _JUDGED) & ~table["is_too_small"].astype(bool)
    table[COLUMNS] = np.where(has_gap.to_numpy()[:, None], of_rows, np.nan)
    return table[_COLUMNS]


def find_worst(table: pd.DataFrame) -> pd.Series | None:
    """Return the row of the cell with the largest gap below the rest; None where no cell has one.

    A cell whose limits lie below 0 comes before any that may be as good as the rest.
    """
    rows = table[table["gap_high"].notna()]
    rows = rows[rows["gap_high"] < 0] if (rows["gap_high"] < 0).any() else rows
    return None if rows.empty else rows.iloc[int(rows["gap"].to_numpy().argmin())]


def describe_worst(table: pd.DataFrame, titles: Mapping[str, str], settings: Bootstrap = Bootstrap()) -> str:
    """Say which cell is worse than the rest, or that none can be told from it; empty without two cells to compare.

    `titles` are those of the groupings.
    """
    if not (table.groupby("grouping")["group"].nunique() > 1).any():
        return ""
    row = find_worst(table)
    if row is None:
        return (
            f"no subgroup can be told from the rest: none has {settings.min_positives} patients with and without a "
            "class, in it and in the rest"
        )
    name = f"{titles.get(row['grouping'], row['grouping'])}: {row['group']}"
    gap = (
        f"{row['gap']:+.3f} [{row['gap_low']:+.3f}, {row['gap_high']:+.3f}] in macro {METRICS[_JUDGED].label} against "
        f"all other records, over {row['gap_n_classes']:.0f} of its {row['n_classes']} classes "
        f"({row['n_records']} records of {row['n_patients']} patients; limits for all "
        f"{table['gap_high'].notna().sum()} subgroups together)"
    )
    if row["gap_high"] < 0:
        n_others = int((table["gap_high"] < 0).sum()) - 1
        others = f"; so {'is' if n_others == 1 else 'are'} {n_others} more" if n_others else ""
        return f"worse than the rest is {name}, {gap}{others}"
    return f"no subgroup can be told from the rest; the largest gap is that of {name}, {gap}"


def _score_cell(
    predictions: Predictions, rows: np.ndarray, settings: Subgroups, intervals: Bootstrap, *, is_resampled: bool
) -> pd.DataFrame:
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
        keys = [metric.key for metric in overall_metrics(predictions.class_names)]
        index = pd.MultiIndex.from_product([[OVERALL], keys], names=["class", "metric"])
        empty = {"value": np.nan, "low": np.nan, "high": np.nan, "is_supported": False}
        return (
            pd.DataFrame(empty, index=index)
            .reset_index()
            .assign(n_positive=int(n_positive.sum()), n_unknown=int((y_true == UNKNOWN).sum()), **size)
        )
    names = ("y_pred", "y_logit", "fold")
    more = {name: array[rows] for name in names if (array := getattr(predictions, name)) is not None}
    arrays = y_true, predictions.y_prob[rows], patients
    found = bootstrap(*arrays, predictions.class_names, **more, settings=intervals, is_resampled=is_resampled)
    return found[["value", "low", "high", "n_positive", "n_unknown", "is_supported"]].reset_index().assign(**size)
