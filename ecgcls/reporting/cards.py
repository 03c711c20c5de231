"""A model card and a TRIPOD+AI checklist of a configuration, as Markdown, from what its runs recorded.

What the runs cannot answer is marked as open; nothing is made up. The texts are in ``*.md.jinja``.

References
----------
.. [1] M. Mitchell et al., "Model cards for model reporting", FAT* 2019, doi:10.1145/3287560.3287596.
.. [2] G. S. Collins et al., "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
       regression or machine learning methods", BMJ 385, 2024, doi:10.1136/bmj-2023-078378. The items are abbreviated
       here; the statement has their full text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment

from ecgcls.files import write_atomically
from ecgcls.identity import flatten
from ecgcls.reporting.statistics import list_class_columns, list_leaderboard
from ecgcls.runs.configuration import Configuration

CARDS = ("model_card.md", "tripod_ai.md")
"""Files of a configuration's folder."""


def write_cards(
    one: Configuration,
    environment: Environment,
    *,
    intervals: Mapping[str, tuple[float, float] | None],
    worst: str,
    limits: Sequence[str],
) -> list[Path]:
    """Write the model card and the checklist into the folder of a configuration; return the files.

    `intervals` are by metric of the leaderboard; `worst` names the worst subgroup; `limits` are what the numbers cannot
    show, in sentences.
    """
    info = one.info
    content = {
        "one": one,
        "info": info,
        "data": info.data,
        "config": dict(flatten(one.runs[0].read_config())),
        "is_weighted": any(weight != 1 for weight in info.pos_weight or ()),
        "n_patients": len(np.unique(one.tested.patient_id)),
        "level": f"{100 * info.evaluation.intervals.level:g} %",
        "leaderboard": list_leaderboard(),
        "by_class": list_class_columns(),
        "intervals": intervals,
        "worst": worst,
        "limit_sentences": limits,
    }
    paths = [one.folder / name for name in CARDS]
    for path in paths:
        write_atomically(path, environment.get_template(f"{path.name}.jinja").render(content).encode())
    return paths
