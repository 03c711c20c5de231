"""Settings that a search found: on which fold, and where they may be tested.

A search tunes on the training and validation part of one fold. The test part of that fold is in neither; the test
parts of the other folds are. So settings from a search are tested on its own fold alone, or searched in every fold
[1]_.

References
----------
.. [1] G. C. Cawley, N. L. C. Talbot, "On over-fitting in model selection and subsequent selection bias in performance
       evaluation", Journal of Machine Learning Research 11, 2010.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgcls.identity import flatten, identify
from ecgcls.runs.saved import read_yaml

OBJECTIVE = "val_pr_auc"
"""The column of the trials that is maximized: macro PR-AUC on the validation set."""
BEST = "best.yaml"
TRIALS = "trials.csv"
_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Search:
    """A finished search.

    Attributes
    ----------
    config
        The whole configuration that it found best, by dotted key.
    keys
        What it searched.
    fold
        Which it tuned on.
    run
        The folder of the best trial.
    """

    folder: Path
    config: Mapping[str, Any]
    keys: tuple[str, ...]
    fold: int
    run: Path

    @property
    def settings(self) -> dict[str, Any]:
        """What it found."""
        return {key: self.config.get(key) for key in self.keys}

    def is_like(self, other: Search) -> bool:
        """Whether another one searched the same settings of the same configuration, on whatever fold."""
        free = {"fold", *self.keys}
        own, others = ({k: v for k, v in identify(one.config).items() if k not in free} for one in (self, other))
        return set(self.keys) == set(other.keys) and own == others

    def found(self, config: Mapping[str, Any]) -> bool:
        """Whether a configuration has the same model with the settings that this search found."""
        flat = dict(flatten(config))
        keys = ("model._target_", *self.keys)
        return bool(self.keys) and all(flat.get(key) == self.config.get(key) for key in keys)


def list_searches(experiment_dir: Path) -> list[Search]:
    """Return the finished searches of an experiment, the oldest first."""
    found = []
    for path in sorted(experiment_dir.glob(f"search/*/{BEST}")):
        with contextlib.suppress(OSError, ValueError, KeyError):  # a damaged one is no finished search
            trials = pd.read_csv(path.with_name(TRIALS))
            columns = [str(column) for column in trials]
            keys = columns[columns.index("trial") + 1 : columns.index(OBJECTIVE)]
            best = trials.iloc[int(np.nanargmax(trials[OBJECTIVE].to_numpy()))]
            config = dict(flatten(read_yaml(path, max_bytes=_MAX_BYTES)))
            found.append(Search(path.parent, config, tuple(keys), int(config["fold"]), Path(str(best["run"]))))
    return found


def doubt_settings(experiment_dir: Path, config: Mapping[str, Any]) -> str:
    """Say why a test score is optimistic, where its settings were searched on other folds only; else ''."""
    searches = [search for search in list_searches(experiment_dir) if search.found(config)]
    folds = sorted({search.fold for search in searches})
    if not folds or config["fold"] in folds:
        return ""
    return (
        f"these settings were searched on fold {', '.join(map(str, folds))} ({searches[0].folder}), whose training and "
        f"validation parts hold the test records of fold {config['fold']}: its test score is optimistic; test them "
        f"with fold={folds[0]} alone, or search in fold={config['fold']}, too"
    )
