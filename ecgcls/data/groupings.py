"""Subgroups of records, from the columns of PTB-XL's table: by patient, device, site and noise."""

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
_SEXES = {0: "male", 1: "female"}  # as PTB-XL codes it
_NOISES = ("baseline_drift", "static_noise", "burst_noise", "electrodes_problems")  # text if there is some, else empty


def name_groups(records: pd.DataFrame) -> pd.DataFrame:
    """Return the subgroup of each record, by name.

    Parameters
    ----------
    records
        By ecg_id, with any of the columns of `GROUPINGS`.

    Returns
    -------
    DataFrame
        By ecg_id, one column of names for each of `GROUPINGS` that the table has.
    """
    return pd.DataFrame({column: _name(records[column], column) for column in GROUPINGS if column in records})


def order_groups(groups: pd.Series) -> list[str]:
    """List the subgroups that occur, by number and name; ``unknown`` comes last."""
    return sorted(groups.dropna().unique(), key=lambda group: (group == "unknown", _leading_number(group), group))


def _name(values: pd.Series, column: str) -> pd.Series:
    if column == "sex":
        return values.map(_SEXES).fillna("unknown")
    if column == "age":
        return pd.to_numeric(values, errors="coerce").map(_name_decade)
    if column == "site":
        return values.map(lambda site: "unknown" if pd.isna(site) else f"{site:g}" if _is_number(site) else str(site))
    if column == "validated_by_human":
        return values.map({True: "yes", False: "no"}).fillna("unknown")
    if column in _NOISES:
        return values.notna().map({True: "yes", False: "no"})
    return values.map(lambda value: "unknown" if pd.isna(value) else " ".join(str(value).split()))


def _name_decade(age: float) -> str:
    if np.isnan(age):
        return "unknown"
    if age >= 90:  # PTB-XL writes 300 for patients older than 89, whose age could identify them
        return "90 or older"
    decade = int(age // 10) * 10
    return f"{decade} to {decade + 9}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number)


def _leading_number(text: str) -> float:
    first = text.split(" ")[0]
    return float(first) if first.replace(".", "", 1).isdigit() else 999.0
