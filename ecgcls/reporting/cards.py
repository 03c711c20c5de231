"""The model card and the TRIPOD+AI checklist of a configuration, filled in from what its runs recorded."""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgcls.evaluation.metrics import METRICS
from ecgcls.evaluation.precision import describe_precision, expect_precision
from ecgcls.files import write_atomically
from ecgcls.identity import flatten
from ecgcls.reporting import facts
from ecgcls.reporting.decided import describe_decisions, list_weights
from ecgcls.reporting.markup import quote_code
from ecgcls.runs.configuration import Configuration


def write_cards(
    one: Configuration,
    folder: Path,
    *,
    intervals: Mapping[str, tuple[float, float, bool] | None],
    worst: str,
    limits: Sequence[str],
    readings: str = "",
) -> list[Path]:
    """Write both into a folder; what the runs cannot answer is open. Files are cited relative to the configuration's.

    `intervals` are by metric of the leaderboard, `worst` names the worst subgroup, `limits` are sentences, `readings`
    the scores under stricter readings of the labels.
    """
    environment = facts.open_templates()
    content = collect_content(one, intervals=intervals, worst=worst, limits=limits, readings=readings)
    paths = [folder / "model_card.md", folder / "tripod_ai.md"]
    for path in paths:
        write_atomically(path, environment.get_template(f"{path.name}.jinja").render(content).encode())
    return paths


def collect_content(
    one: Configuration,
    *,
    intervals: Mapping[str, tuple[float, float, bool] | None],
    worst: str,
    limits: Sequence[str],
    readings: str = "",
) -> dict[str, Any]:
    """Return what the templates of the cards say, as for `write_cards`."""
    info = one.info
    checked = [each.leakage for each in one.infos if each.leakage]
    return {
        "one": one,
        "info": info,
        "data": info.data,
        "config": defaultdict(lambda: "not recorded", flatten(one.runs[0].read_config())),
        "folds": [each.fold for each in one.infos],
        "weights": list_weights(info),
        "decided": describe_decisions(one),
        "n_checked": len(checked),
        "n_copies": sum(each["patients"]["in_two_parts"] + each["waveforms"]["in_two_parts"] for each in checked),
        "commands": list(dict.fromkeys(shlex.join(each.command) for each in one.infos)),
        "n_patients": len(np.unique(one.tested.patient_id)),
        "level": f"{100 * info.evaluation.intervals.level:g}%",
        "metric_labels": [METRICS[key].label for key in METRICS if key in one.scores.overall or METRICS[key].by_class],
        "leaderboard": facts.list_leaderboard(one.class_names),
        "by_class": facts.list_class_columns(),
        "intervals": intervals,
        "worst": worst,
        "readings": readings,
        "validated": facts.count_validated(one),
        "precision": describe_precision(expect_precision(one.tested.y_true, one.tested.patient_id, one.class_names)),
        "limit_sentences": limits,
        "pooled": lambda *names: _cite_pooled(one, names),
        "cite": lambda *names: _cite_folds(one, names),
    }


def _cite_pooled(one: Configuration, names: Sequence[str]) -> str:
    """Name those of the files that hold results of all records that are pooled here; empty where there is none."""
    folder = one.runs[0].path if len(one.runs) == 1 else one.folder / "cv"
    is_there = len(one.runs) == 1 or one.is_complete
    found = [folder / name for name in names if is_there and (folder / name).is_file()]
    return " and ".join(quote_code(path.relative_to(one.folder).as_posix()) for path in found)


def _cite_folds(one: Configuration, names: Sequence[str]) -> str:
    """Name those of the files that every finished fold has; empty where there is none."""
    found = [name for name in names if all((run.path / name).is_file() for run in one.runs)]
    where = quote_code(f"{one.runs[0].path.name}/") if len(one.runs) == 1 else "the folder of each finished fold"
    return f"{' and '.join(map(quote_code, found))} in {where}" if found else ""
