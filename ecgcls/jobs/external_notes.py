"""What is told of a net on another data set, beside the scores; without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecgcls.evaluation.case_mix import format_case_mix
from ecgcls.jobs.rescore import Rescored


def find_data_set(data: Mapping[str, Any]) -> Path | None:
    """Return what a node ``data`` names: a manifest or a folder; None where it names no other data set."""
    path = data.get("manifest") or data.get("root")
    return None if path is None else Path(path)


def format_notes(rescored: Rescored) -> str:
    """Return which classes are not scored, which are near to others only, the case mix, and what was learned there."""
    source, lines = rescored.source, []
    if names := source["classes_not_scored"]:
        lines.append(f"Not scored, for no statement there says them: {', '.join(names)}.")
    if names := source["classes_broader"]:
        lines.append(f"Near to, but not the same as what is said there: {', '.join(names)} (crosswalk.csv).")
    if "case_mix.csv" in rescored.tables:
        lines.append(f"Case mix:\n{format_case_mix(rescored.tables['case_mix.csv'])}\n")
    elif "bundle" in source:
        lines.append(
            "The case mix cannot be compared: a bundle does not hold the records that its nets were tested on."
        )
    if update := source.get("local_update"):
        lines.append(
            f"Learned on {update['n_records']} records of {update['n_patients']} patients there, which are not scored"
            " (local_update_records.csv); calibration.csv has both, before and after."
        )
    return "\n".join(lines)
