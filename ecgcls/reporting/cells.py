"""Scores by subgroup: sex, age, device, site, whether a human validated the record, and kinds of noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgcls.data.groupings import GROUPINGS, name_groups, order_groups
from ecgcls.data.ptbxl import DATABASE_CSV, PTBXL
from ecgcls.errors import DataError
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.subgroups import score_subgroups
from ecgcls.runs.configuration import Configuration


def score_cells(
    configurations: Sequence[Configuration], *, data_root: Path | None
) -> tuple[list[tuple[str, list[dict[str, Any]]]], str]:
    """Score each subgroup of the pooled test records, for each configuration, as its runs evaluate subgroups.

    Parameters
    ----------
    configurations
        Those of the report.
    data_root
        The data set whose table says which subgroups there are; None: as the runs recorded them.

    Returns
    -------
    groupings
        For each a title and its subgroups: `group`, `n_records`, `n_patients`, `n_positive`, and in `scores` for each
        configuration's name the macro `pr_auc` and `roc_auc` over the `n_classes` that are defined there, with
        `pr_auc_interval` and `roc_auc_interval`; nan where the cell `is_too_small`. The counts are those of the
        configuration with the most test records.
    reason
        Why there is none; empty otherwise.
    """
    widest = max(configurations, key=lambda one: len(one.tested))
    if len({one.info.data["fingerprint"][DATABASE_CSV] for one in configurations}) > 1:
        return [], "The runs were trained on different data sets, so they have no subgroups in common."
    groups = widest.groups
    if data_root is not None:
        table, reason = _read_table(widest, data_root)
        if table is None:
            return [], reason
        groups = name_groups(table)
    scored = {
        one.name: score_subgroups(
            one.tested, groups, settings=one.evaluation.subgroups, intervals=one.evaluation.intervals
        )
        for one in configurations
    }
    found = []
    for column in groups:
        tested = groups[column].reindex(widest.tested.ecg_id)
        lines = [_describe_cell(str(column), group, tested, widest, scored) for group in order_groups(tested)]
        found.append((GROUPINGS.get(str(column), str(column)), lines))
    return found, "" if found else "The data set has none of the columns that define subgroups."


def name_worst(
    configurations: Sequence[Configuration], groupings: Sequence[tuple[str, list[dict[str, Any]]]]
) -> dict[str, str]:
    """Name, for each configuration, the subgroup with the lowest macro ROC-AUC."""
    found = {}
    for one in configurations:
        cells = [
            (line["scores"][one.name], title, line["group"])
            for title, lines in groupings
            for line in lines
            if sum(not other["scores"][one.name]["is_too_small"] for other in lines) > 1
            and not np.isnan(line["scores"][one.name]["roc_auc"])
        ]
        if cells:
            score, title, group = min(cells, key=lambda cell: cell[0]["roc_auc"])
            low, high = score["roc_auc_interval"]
            found[one.name] = f"{title}: {group}, ROC-AUC {score['roc_auc']:.3f} [{low:.3f}, {high:.3f}]"
    return found


def _describe_cell(
    column: str, group: str, tested: pd.Series, widest: Configuration, scored: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    rows = np.flatnonzero(tested.to_numpy() == group)
    line: dict[str, Any] = {
        "group": group,
        "n_records": len(rows),
        "n_patients": len(np.unique(widest.tested.patient_id[rows])),
        "n_positive": int(widest.tested.y_true[rows].sum()),
        "scores": {},
    }
    for name, table in scored.items():
        cell = table[(table["grouping"] == column) & (table["group"] == group) & (table["class"] == OVERALL)]
        rows_of: dict[Any, dict[Any, Any]] = cell.set_index("metric").to_dict(orient="index")
        nothing = {"value": np.nan, "low": np.nan, "high": np.nan, "is_too_small": True, "n_classes": 0}
        scores: dict[str, Any] = {}
        for metric in ("pr_auc", "roc_auc"):
            row = rows_of.get(metric, nothing)
            scores |= {metric: row["value"], f"{metric}_interval": (row["low"], row["high"])}
            scores |= {"is_too_small": bool(row["is_too_small"]), "n_classes": row["n_classes"]}
        line["scores"][name] = scores
    return line


def _read_table(one: Configuration, root: Path) -> tuple[pd.DataFrame | None, str]:
    """Read the table that the runs were trained on, or return why it cannot be used."""
    source = PTBXL(root=root, sampling_rate_hz=one.info.data["sampling_rate_hz"])
    try:
        if source.fingerprint()[DATABASE_CSV] != one.info.data["fingerprint"][DATABASE_CSV]:
            return None, f"{root / DATABASE_CSV} is not the table that the runs were trained on."
        return source.read_records(), ""
    except (OSError, DataError):
        return None, f"There is no readable data set at {root}."
