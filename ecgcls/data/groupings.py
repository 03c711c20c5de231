"""Subgroups of records, from the columns of PTB-XL's table: by patient, device, site and noise."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

GROUPINGS = {
    "sex": "Sex",
    "age": "Age (decade)",
    "device": "Device",
    "site": "Site",
    "validated_by_human": "Validated by a human",
    "baseline_drift": "Baseline drift",
    "static_noise": "Static noise",
    "burst_noise": "Burst noise",
    "electrodes_problems": "Electrode problems",
}
"""Columns of the table by which records are grouped, and their titles."""
_NAMES: dict[str, dict[Any, str]] = {"sex": {0: "male", 1: "female"}, "validated_by_human": {True: "yes", False: "no"}}
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_NOISES = ("baseline_drift", "static_noise", "burst_noise", "electrodes_problems")  # text if there is some, else empty


def list_groupings(source: Any) -> dict[str, str]:
    """Return the columns by which a source's records are grouped, and their titles: `GROUPINGS`, and its own."""
    return {**GROUPINGS, **getattr(source, "groupings", {})}


def name_groups(records: pd.DataFrame, groupings: Mapping[str, str] = GROUPINGS) -> pd.DataFrame:
    """Return the name of each record's subgroup, one column for each grouping that the table has."""
    columns = {column: name_group(records[column], column) for column in groupings if column in records}
    return pd.DataFrame(columns, index=records.index)  # with all records, even without a column


def order_groups(groups: pd.Series) -> list[str]:
    """List the subgroups that occur, by number and name; ``unknown`` comes last."""
    return sorted(groups.dropna().unique(), key=lambda group: (group == "unknown", _leading_number(group), group))


def name_group(values: pd.Series, column: str) -> pd.Series:
    """Return the names of the subgroups of one column."""
    if column in _NAMES:
        return values.map(_NAMES[column]).fillna("unknown")
    if column == "age":
        return pd.to_numeric(values, errors="coerce").map(_name_decade)
    if column in _NOISES:
        return values.notna().map({True: "yes", False: "no"})
    return values.map(_name_value)


def _name_decade(age: float) -> str:
    if np.isnan(age):
        return "unknown"
    if age >= 90:  # PTB-XL writes 300 for patients older than 89, whose age could identify them
        return "90 or older"
    decade = int(age // 10) * 10
    return f"{decade} to {decade + 9}"


def _name_value(value: Any) -> str:
    if pd.isna(value):
        return "unknown"
    return f"{value:.15g}" if isinstance(value, int | float | np.number) else " ".join(str(value).split())


def _leading_number(text: str) -> float:
    first = text.removeprefix("above ").split(" ")[0]
    return float(first) + 1e-9 * text.startswith("above ") if _NUMBER.fullmatch(first) else 999.0
