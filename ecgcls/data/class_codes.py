"""What the classes of a task are called elsewhere: in words, as PTB-XL's SCP statements, and as SNOMED CT codes.

The relation of a code to a class is ``exact`` where both say the same, ``member`` where the class is made of several
codes and this is one of them (MI has myocardial infarctions of every place), and ``broader`` where the crosswalk
(`ecgcls.data.crosswalks`) has the two as near, but one of both says more than the other.

References
----------
.. [1] Wagner et al. PTB-XL, a large publicly available electrocardiography dataset. Scientific Data 7 (2020) 154.
   doi:10.1038/s41597-020-0495-6 (the superclasses and subclasses)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ecgcls.data.crosswalks import read_scp, read_snomed

_CLASSES = {
    "NORM": "normal ECG", "MI": "myocardial infarction", "STTC": "ST/T change", "CD": "conduction disturbance",
    "HYP": "hypertrophy",
}  # fmt: skip
_SUBCLASSES = {
    "LAFB/LPFB": "left anterior or left posterior fascicular block", "_AVB": "AV block",
    "ISCA": "ischemic in anterior leads", "ISCI": "ischemic in inferior leads", "STTC": "ST-T changes",
}  # fmt: skip


def describe_classes(
    class_names: Sequence[str], task: Mapping[str, Any], *, has_own_labels: bool = False
) -> list[dict[str, Any]]:
    """Say of each class what it is called elsewhere.

    Parameters
    ----------
    task
        A configuration's node ``task``: what a class is.
    has_own_labels
        Whether classes are somebody's own labels, which mean what their owner says, not what a statement of the same
        name does; a class that is called by a SNOMED CT code is that code all the same.

    Returns
    -------
    list of dict
        By class, in order: ``name``; ``description``, empty where none is known; ``scp_codes``, the statements of
        PTB-XL that are of the class; ``snomed_ct``, codes with ``code``, ``name`` and ``relation``.

    Examples
    --------
    >>> describe_classes(["AFIB"], {"statements": "rhythm", "classes": "statement"})[0]["snomed_ct"]
    [{'code': '164889003', 'name': 'atrial fibrillation', 'relation': 'exact'}]
    """
    scp, snomed, kind = read_scp(), read_snomed(), task["classes"]
    if kind == "challenge_class":
        return [_describe_challenge_class(name, scp, snomed) for name in class_names]
    if kind in ("diagnostic_class", "diagnostic_subclass"):
        return [_describe_group(name, kind, scp, snomed) for name in class_names]
    return [_describe_statement(name, scp.iloc[:0] if has_own_labels else scp, snomed) for name in class_names]


def _describe_statement(name: str, scp: pd.DataFrame, snomed: pd.DataFrame) -> dict[str, Any]:
    """Describe a class that is a statement, or a SNOMED CT code."""
    if name in scp.index:
        row: Any = scp.loc[name]
        codes = {row["snomed_code"]: row["relation"]} if row["snomed_code"] else {}
        return _describe(name, row["description"], [name], codes, snomed)
    if name in snomed.index:
        row = snomed.loc[name]
        same = [row["scp"]] if row["relation"] == "exact" and row["scp"] in scp.index else []
        return _describe(name, row["name"], same, {name: "exact"}, snomed)
    return _describe(name, "", [], {}, snomed)


def _describe_group(name: str, kind: str, scp: pd.DataFrame, snomed: pd.DataFrame) -> dict[str, Any]:
    """Describe a diagnostic superclass or subclass, which several statements, and codes, are of."""
    own = scp[scp["diagnostic"] & (scp[kind] == name)]
    named = _CLASSES if kind == "diagnostic_class" else _SUBCLASSES
    description = named.get(name) or (own["description"][name] if name in own.index else "")
    codes = dict.fromkeys(snomed.index[snomed[kind] == name], "member")
    for code, relation in zip(own["snomed_code"], own["relation"], strict=True):
        if code:
            codes.setdefault(code, relation if len(own) == 1 else "broader")
    same = own.loc[own["relation"] == "exact", "snomed_code"].tolist() if len(own) == 1 else []
    if kind == "diagnostic_class":
        same += snomed.index[snomed["name"] == description].tolist()
    codes |= dict.fromkeys(same, "exact")
    return _describe(name, description, own.index.tolist(), codes, snomed)


def _describe_challenge_class(name: str, scp: pd.DataFrame, snomed: pd.DataFrame) -> dict[str, Any]:
    """Describe a class of the Challenge 2021, which may have two codes."""
    own = snomed[snomed["challenge_class"] == name]
    description = own.loc[own["abbreviation"] == name, "name"]
    codes = dict.fromkeys(own.index, "exact" if len(own) == 1 else "member")
    statements = scp.index[scp["snomed_code"].isin(own.index)].tolist()
    return _describe(name, "" if description.empty else description.iloc[0], statements, codes, snomed)


def _describe(
    name: str, description: str, scp_codes: list[str], codes: Mapping[str, str], snomed: pd.DataFrame
) -> dict[str, Any]:
    snomed_ct = [
        {"code": code, "name": str(snomed["name"].get(code, "")), "relation": relation}
        for code, relation in codes.items()
    ]
    return {"name": name, "description": description, "scp_codes": scp_codes, "snomed_ct": snomed_ct}
