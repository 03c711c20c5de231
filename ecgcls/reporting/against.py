"""One configuration, named beforehand, against each other one of an experiment.

All comparisons of a metric are one family, whose p-values are adjusted so that the chance of a false claim in it stays
below 1 - level. A reference that was chosen without these test scores has one comparison with each other configuration,
and these are adjusted by Holm's method. ``reference=best`` is chosen by the very scores that are compared, so any pair
of configurations could have been compared: each p-value counts for all pairs (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.comparison import compare
from ecgcls.evaluation.metrics import OVERALL, RANKING
from ecgcls.identity import suggest
from ecgcls.runs.configuration import Configuration

BEST = "best"
"""As the reference: the configuration with the best test score."""


def choose_reference(configurations: Sequence[Configuration], asked: str | None = None) -> Configuration:
    """Return the configuration that all others are compared with.

    Parameters
    ----------
    configurations
        The best test score first.
    asked
        The name, the folder or the model of one of them, or ``best``. None: the first baseline by name, or where there
        is none the first configuration by name. Anything else, or a model of several, is a `ConfigError`.
    """
    if asked is None:
        return min(configurations, key=lambda one: (one.info.kind != "baseline", one.name))
    if asked == BEST:
        return configurations[0]
    named = [one for one in configurations if asked == one.name]
    placed = [one for one in configurations if _is_folder(one.folder, asked)]
    of_model = [one for one in configurations if asked == one.info.model]
    found = named or placed or of_model
    if len(found) == 1:
        return found[0]
    names = [one.name for one in found or configurations]
    if found:
        raise ConfigError(
            f"reference: {len(found)} configurations have the model {asked!r}; expected one of {', '.join(names)}"
        )
    raise ConfigError(
        f"reference: no finished configuration of this experiment is called {asked!r}{suggest(asked, [*names, BEST])}"
    )


def compare_with(
    reference: Configuration, configurations: Sequence[Configuration], *, is_best: bool = False
) -> list[dict[str, Any]]:
    """Compare the reference with each other configuration, on macro PR-AUC and ROC-AUC.

    Each line has the ``number`` of the other one among `configurations`, its ``name``, and either ``reason``, why they
    cannot be compared, or ``metrics``: by metric the row of `ecgcls.evaluation.comparison.compare` (reference - other)
    with ``p_family``, adjusted for all comparisons, its ``verdict`` by that, in the models' names, and ``why`` it
    cannot be told. `is_best` says that the reference was chosen by its test score.
    """
    level = reference.evaluation.intervals.level
    lines: list[dict[str, Any]] = []
    for number, other in enumerate(configurations):
        if other is not reference:
            lines.append({"number": number, "name": other.name, "reason": "", "metrics": {}})
            try:
                table = compare([reference.tested], [other.tested], reference.evaluation.intervals)
            except DataError as error:
                lines[-1]["reason"] = f"{reference.name} (a) and {other.name} (b): {error}"
                continue
            rows = table.to_dict(orient="index")
            lines[-1]["metrics"] = {metric: dict(rows[OVERALL, metric]) for metric in RANKING}
    for metric in RANKING:
        family = [line for line in lines if line["metrics"]]
        p = np.array([line["metrics"][metric]["p"] for line in family])
        n_pairs = len(configurations) * (len(configurations) - 1) // 2
        adjusted = np.minimum(1.0, n_pairs * p) if is_best else adjust_holm(p)
        for line, p_family in zip(family, adjusted.tolist(), strict=True):
            row = line["metrics"][metric]
            names = {"a better": f"{reference.name} is better", "b better": f"{line['name']} is better"}
            is_told = p_family < 1 - level
            why = (
                row.get("why", "")
                if row["verdict"] not in names
                else ""
                if is_told
                else "too many comparisons for its p"
            )
            verdict = names.get(row["verdict"], "cannot be told") if is_told else "cannot be told"
            row |= {"p_family": p_family, "verdict": verdict, "why": why}
    return lines


def adjust_holm(p: np.ndarray) -> np.ndarray:
    """Adjust p-values by Holm's method; nan is no comparison, and stays."""
    from statsmodels.stats.multitest import multipletests  # takes a second to import

    adjusted, is_defined = p.copy(), ~np.isnan(p)
    if is_defined.any():
        adjusted[is_defined] = multipletests(p[is_defined], method="holm")[1]
    return adjusted


def _is_folder(folder: Path, asked: str) -> bool:
    """Whether a folder is the one that was typed: whole, or its end below the experiment's."""
    path = Path(asked)
    return folder.resolve() == path.resolve() or (bool(path.parts) and folder.parts[-len(path.parts) :] == path.parts)
