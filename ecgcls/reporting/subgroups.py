"""Scores by subgroup: sex, age, device, site and whether a human validated the record."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgcls.data.ptbxl import DATABASE_CSV, hash_tables, read_database
from ecgcls.errors import DataError
from ecgcls.reporting.collect import Configuration

GROUPINGS = {
    "sex": "Sex",
    "age": "Age (decade)",
    "device": "Device",
    "site": "Site",
    "validated_by_human": "Validated by a human",
}
_SEXES = {0: "male", 1: "female"}  # as PTB-XL codes it


def score_subgroups(
    configurations: Sequence[Configuration], *, data_root: Path | None
) -> tuple[list[tuple[str, list[dict[str, Any]]]], str]:
    """Score each subgroup of the pooled test records, for each configuration.

    Parameters
    ----------
    configurations
        Those of the report.
    data_root
        Where the runs' data set lies now; None: where it lay in training.

    Returns
    -------
    groupings
        For each a title and its subgroups: `group`, `n_records`, `n_patients`, `n_positive`, and in `scores` for each
        configuration's name the macro `pr_auc` and `roc_auc` over the classes that are defined there, with the
        `undefined` ones. The counts are those of the configuration with the most test records.
    reason
        Why there is none; empty otherwise.
    """
    database, reason = _find_database(configurations, data_root)
    if database is None:
        return [], reason
    widest = max(configurations, key=lambda one: len(one.pooled))
    found = []
    for column, title in GROUPINGS.items():
        if column in database:
            groups = _name_groups(database[column], column)
            lines = [_score_group(group, groups, configurations, widest) for group in _order(groups, widest)]
            found.append((title, lines))
    return found, "" if found else "The data set's table has none of the columns that subgroups are made of."


def _score_group(
    group: str, groups: pd.Series, configurations: Sequence[Configuration], widest: Configuration
) -> dict[str, Any]:
    rows = _find_rows(group, groups, widest)
    line: dict[str, Any] = {
        "group": group,
        "n_records": len(rows),
        "n_patients": len(np.unique(widest.pooled.patient_id[rows])),
        "n_positive": int(widest.pooled.y_true[rows].sum()),
        "scores": {},
    }
    for one in configurations:
        rows = _find_rows(group, groups, one)
        y_true, y_prob = one.pooled.y_true[rows], one.pooled.y_prob[rows]
        n_positive = y_true.sum(axis=0)
        is_defined = (n_positive > 0) & (n_positive < len(rows))
        line["scores"][one.name] = {
            "pr_auc": _average(average_precision_score, y_true[:, is_defined], y_prob[:, is_defined]),
            "roc_auc": _average(roc_auc_score, y_true[:, is_defined], y_prob[:, is_defined]),
            "undefined": [one.pooled.class_names[column] for column in np.flatnonzero(~is_defined)],
        }
    return line


def _average(metric: Callable[..., float], y_true: NDArray[np.int8], y_prob: NDArray[np.float64]) -> float:
    """Return the macro average, nan over no class; `score` would count confusions too, which takes twice as long."""
    return float(metric(y_true, y_prob, average="macro")) if y_true.shape[1] else float("nan")


def _find_rows(group: str, groups: pd.Series, one: Configuration) -> NDArray[np.intp]:
    return np.flatnonzero(groups.reindex(one.pooled.ecg_id).to_numpy() == group)


def _find_database(configurations: Sequence[Configuration], data_root: Path | None) -> tuple[pd.DataFrame | None, str]:
    """Read the table that all the runs were trained on, or say why it cannot be had."""
    prints = {info["data"]["fingerprint"][DATABASE_CSV] for one in configurations for info in one.infos}
    if len(prints) > 1:
        return None, "The runs were trained on different data sets, so there is no common table of patients."
    config = configurations[0].runs[0].read_config()
    root = data_root or Path(config.data.root)
    try:
        if hash_tables(root)[DATABASE_CSV] not in prints:
            return None, f"{root / DATABASE_CSV} is not the table that the runs were trained on."
        return read_database(root, sampling_rate_hz=config.data.sampling_rate_hz), ""
    except (OSError, DataError):
        return None, f"The data set is not at {root}; data.root=PATH says where it is."


def _name_groups(values: pd.Series, column: str) -> pd.Series:
    """Return the subgroup of each record in words."""
    if column == "sex":
        return values.map(_SEXES).fillna("unknown")
    if column == "age":
        ages = pd.to_numeric(values, errors="coerce")
        return ages.map(_name_decade)
    if column == "site":
        return values.map(lambda site: "unknown" if pd.isna(site) else f"{site:g}" if _is_number(site) else str(site))
    if column == "validated_by_human":
        return values.map({True: "yes", False: "no"}).fillna("unknown")
    return values.map(lambda value: "unknown" if pd.isna(value) else " ".join(str(value).split()))


def _name_decade(age: float) -> str:
    if np.isnan(age):
        return "unknown"
    if age >= 90:  # PTB-XL writes 300 for patients older than 89, whose age would identify them
        return "90 or older"
    decade = int(age // 10) * 10
    return f"{decade} to {decade + 9}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number)


def _order(groups: pd.Series, one: Configuration) -> list[str]:
    """List the subgroups that the tested records have: by name, the unknown last."""
    tested = groups.reindex(one.pooled.ecg_id).dropna().unique()
    return sorted(tested, key=lambda group: (group == "unknown", _leading_number(group), group))


def _leading_number(text: str) -> float:
    first = text.split(" ")[0]
    return float(first) if first.replace(".", "", 1).isdigit() else 999.0
