"""Scores by subgroup: sex, age, device, site, whether a human validated the record, and kinds of noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ecgcls.data.groupings import GROUPINGS, list_groupings, name_groups, order_groups
from ecgcls.data.source import Source, split_settings
from ecgcls.errors import DataError
from ecgcls.evaluation.metrics import OVERALL, RANKING
from ecgcls.evaluation.subgroups import describe_worst, score_subgroups
from ecgcls.jobs.parts import build_part
from ecgcls.jobs.trust import take_trusted
from ecgcls.runs.configuration import Configuration

Groupings = list[tuple[str, list[dict[str, Any]]]]


def score_cells(
    configurations: Sequence[Configuration], *, data_root: Path | None
) -> tuple[Groupings, dict[str, str], str]:
    """Score each subgroup of the pooled test records, for each configuration, as its runs evaluate subgroups.

    The table of the data set at `data_root` says which subgroups there are; None: as the runs recorded them.

    Return the groupings, each a title and its subgroups: `group`, the counts `n_records`, `n_patients` and `n_positive`
    of the configuration with the most test records, and in `scores`, by the configuration's name and by `RANKING`, the
    row of `score_subgroups` over all classes (None where the configuration has no record of the subgroup). Then, by the
    configuration's name, which subgroup is worse than the rest, in words; and why there is no grouping, else ''.
    """
    if len({repr(_tables(one)) for one in configurations}) > 1:
        return [], {}, "The runs were trained on different data sets, so they have no subgroups in common."
    widest = max(configurations, key=lambda one: len(one.tested))
    groups, reason = _read_groups(widest, data_root)
    if groups.empty:
        return [], {}, reason
    scored: dict[str, Any] = {}
    worst = {}
    for one in configurations:
        settings = one.evaluation
        table = score_subgroups(one.tested, groups, settings=settings.subgroups, intervals=settings.intervals)
        cells = table[table["class"] == OVERALL].set_index(["grouping", "group", "metric"])
        scored[one.name] = cells.to_dict(orient="index")
        if text := describe_worst(table, GROUPINGS, settings.intervals):
            worst[one.name] = text
    groupings: Groupings = []
    for column, group_of in groups.reindex(widest.tested.ecg_id).items():
        lines = []
        for group in order_groups(group_of):
            keys = {metric: (str(column), group, metric) for metric in RANKING}
            scores = {name: {metric: rows.get(key) for metric, key in keys.items()} for name, rows in scored.items()}
            lines.append({**scored[widest.name][keys["roc_auc"]], "group": group, "scores": scores})
        groupings.append((GROUPINGS.get(str(column), str(column)), lines))
    return groupings, worst, ""


def _read_groups(one: Configuration, root: Path | None) -> tuple[pd.DataFrame, str]:
    """Read the subgroups by ecg_id; the text says why there are none, where there are none."""
    none = "The data set has none of the columns that define subgroups."
    if root is None:
        return one.groups, none
    source: Source = build_part(
        "data", split_settings(take_trusted(one.runs[0].read_config(), "data"))[0] | {"root": str(root)}
    )
    try:
        if source.fingerprint() == _tables(one):
            return name_groups(source.read_records(), list_groupings(source)), none
    except (OSError, DataError):
        return pd.DataFrame(), f"There is no readable data set at {root}."
    return pd.DataFrame(), f"The tables at {root} are not those that the runs were trained on."


def _tables(one: Configuration) -> dict[str, str]:
    """Return the fingerprints of the tables that a configuration was trained on."""
    return {name: digest for name, digest in one.info.data["fingerprint"].items() if name != "signals"}
