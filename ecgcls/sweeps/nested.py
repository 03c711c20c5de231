"""A nested search: one search in every fold, whose best trial is tested on that fold.

No test record has a part in choosing the settings that it is tested with, so the mean over the folds is the result of
the whole procedure, search included; the folds' settings may differ.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecgcls.evaluation.folds import correct_folds
from ecgcls.evaluation.metrics import METRICS, overall_metrics
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.searched import Search


def describe_nested(searches: Sequence[Search]) -> str:
    """Return the result of searches of the same settings, or which folds it lacks; '' where there is one fold in all.

    Of several searches on one fold the last one counts. Test scores are told only when every fold has one.
    """
    by_fold = {search.fold: search for search in sorted(searches, key=lambda each: each.fold)}  # the last of a fold
    runs = {fold: RunDirectory(search.run) for fold, search in by_fold.items()}
    tested = searches[0].config.get("folds.test")
    n_folds = len(tested) if tested else int(next(iter(runs.values())).read_info().data.get("n_folds", 1))
    if n_folds == 1:
        return ""
    if missing := [str(fold) for fold in range(n_folds) if fold not in runs]:
        return (
            "The training part of a fold holds the test records of the others. For a result over all folds, search in "
            f"each of them (nested): repeat the search with fold={', fold='.join(missing)}.\n\n"
        )
    keys = {metric.key: metric.label for metric in overall_metrics(headline=True)}
    scores = {fold: run.read_metrics()["test"]["overall"] for fold, run in runs.items()}
    table = pd.DataFrame({label: [scores[fold][key] for fold in runs] for key, label in keys.items()}, dtype=float)
    infos = [run.read_info() for run in runs.values()]
    n_train, n_test = (
        sum(info.data["parts"][part]["n_records"] for info in infos) / n_folds for part in ("train", "test")
    )
    bounds = np.array([METRICS[key].bounds for key in keys]).T
    low, high = correct_folds(table.mean(), table.std(ddof=1), n_folds, n_train=n_train, n_test=n_test, bounds=bounds)
    texts = table.map("{:.3f}".format)
    texts.insert(0, "settings", [_format(search.settings) for search in by_fold.values()])
    texts.index = pd.Index([f"fold {fold}" for fold in runs])
    texts.loc["mean"] = ["", *map("{:.3f}".format, table.mean())]
    texts.loc["95%"] = ["", *(f"[{a:.3f}, {b:.3f}]" for a, b in zip(low, high, strict=True))]
    return (
        "Nested search, each fold tested with the settings that were searched in its own training and validation "
        f"parts:\n{texts.to_string()}\n\n"
    )


def _format(settings: Mapping[str, Any]) -> str:
    texts = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in settings.items()}
    return " ".join(f"{key}={text}" for key, text in texts.items())
