"""A configuration: the runs that differ in nothing but the fold."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.folds import summarize_folds
from ecgcls.evaluation.metrics import Scores, score_predictions
from ecgcls.evaluation.pooling import pool
from ecgcls.evaluation.predictions import THRESHOLD, Predictions
from ecgcls.evaluation.settings import EvaluationSettings
from ecgcls.identity import identify
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo

log = logging.getLogger(__name__)

PARTS = {"val": "validation (optimistic)", "test": "test"}
"""What the scored parts are called in titles."""


@dataclass(frozen=True)
class Configuration:
    """The folds of one configuration; every number is computed from the runs' predictions when it is requested.

    Attributes
    ----------
    folder
        Holds ``fold_<k>/`` and, if complete, ``cv/``; of a single run its own folder.
    runs, n_folds
        The finished folds, in order, and how many folds there are in all.
    unfinished
        Status and error of each other fold that was started.
    name
        What tables call it, when it is set beside others.
    """

    folder: Path
    runs: tuple[RunDirectory, ...]
    n_folds: int
    unfinished: dict[int, str] = field(default_factory=dict)
    name: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether every fold is finished."""
        return 0 < len(self.runs) == self.n_folds

    @cached_property
    def infos(self) -> tuple[RunInfo, ...]:
        """``run.json`` of each finished fold."""
        return tuple(run.read_info() for run in self.runs)

    @property
    def info(self) -> RunInfo:
        """``run.json`` of the first finished fold, for what all folds share."""
        return self.infos[0]

    @property
    def evaluation(self) -> EvaluationSettings:
        """How every result of the configuration is evaluated."""
        return self.info.evaluation

    @property
    def is_single_run(self) -> bool:
        """Whether it was opened as one run, whatever other folds there are."""
        return self.folder == self.runs[0].path

    @property
    def title(self) -> str:
        """The configuration's name in the title of a figure."""
        if self.is_single_run:
            return self.info.title
        return f"{self.info.model}, {self.folds}{self.info.simulated}"

    @property
    def folds(self) -> str:
        """How many folds every number is of, in words; of how many in all, if some are missing."""
        if self.is_complete:
            return f"{self.n_folds} fold{'s' * (self.n_folds > 1)}"
        return f"{len(self.runs)}/{self.n_folds} folds"

    @property
    def missing(self) -> str:
        """Which folds are missing, in words."""
        folds = [str(fold) for fold in range(self.n_folds) if fold not in {info.fold for info in self.infos}]
        return f"{len(self.runs)} of {self.n_folds} folds finished, fold={','.join(folds)} missing"

    @property
    def state(self) -> str:
        """What became of the folds that are not finished, in a few words; empty if all are."""
        counts = Counter(status.partition(" ")[0] for status in self.unfinished.values())
        n_missing = self.n_folds - len(self.runs) - len(self.unfinished)
        return ", ".join(f"{count} {status}" for status, count in {**counts, "missing": n_missing}.items() if count > 0)

    @property
    def fit_s(self) -> float:
        """Time spent on training, s, over the finished folds."""
        return math.fsum(info.stages_s["fit"] for info in self.infos)

    def predictions(self, split: str, *, is_calibrated: bool = True) -> list[Predictions]:
        """Return the ``val`` or ``test`` predictions of each finished fold, of the classes that all folds have.

        Folds of different configurations are a `ConfigError`, of different data a `DataError`.
        """
        self._check_same()
        if self.left_out_classes:
            names = ", ".join(self.left_out_classes)
            log.warning("%s: left out of the pooled result, absent in a fold: %s", self.folder, names)
        read = [run.read_predictions(split, is_calibrated=is_calibrated) for run in self.runs]
        return [predictions.take_classes(self.class_names) for predictions in read]

    def pooled(self, split: str, *, is_calibrated: bool = True) -> Predictions:
        """Return the predictions of all finished folds, each record once, with the fold that predicted it."""
        folds = [info.fold for info in self.infos]
        return pool(self.predictions(split, is_calibrated=is_calibrated), folds)

    @cached_property
    def tested(self) -> Predictions:
        """The test predictions of all folds, which are scored within folds."""
        return self.pooled("test")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that all folds have; with ``task.absent_classes=drop`` they may differ."""
        common = tuple(name for name in self.info.class_names if all(name in info.class_names for info in self.infos))
        if not common:
            raise DataError(f"{self.folder}: the folds have no class in common")
        return common

    @property
    def left_out_classes(self) -> list[str]:
        """The classes that some folds do not have."""
        every = dict.fromkeys(name for info in self.infos for name in info.class_names)
        return [name for name in every if name not in self.class_names]

    @property
    def thresholds(self) -> dict[str, float]:
        """Threshold by class: the mean over the folds, each of which has its own."""
        own = [info.thresholds for info in self.infos]
        return {name: sum(each.get(name, THRESHOLD) for each in own) / len(own) for name in self.class_names}

    @cached_property
    def groups(self) -> pd.DataFrame:
        """The subgroups of the predicted records of all folds, by ecg_id."""
        tables = pd.concat([run.read_groups() for run in self.runs])
        return tables[~tables.index.duplicated()]

    @cached_property
    def likelihoods(self) -> pd.DataFrame | None:
        """The likelihoods of the predicted records' labels; None where a run has kept none."""
        tables = [run.read_likelihoods() for run in self.runs]
        kept = [table for table in tables if table is not None]
        return pd.concat(kept).drop_duplicates(["ecg_id", "class"]) if len(kept) == len(tables) else None

    @cached_property
    def scores(self) -> Scores:
        """Test scores: of several folds, measured within each and averaged."""
        return score_predictions(self.tested)

    @cached_property
    def pooled_scores(self) -> Scores:
        """Test scores of the records of all folds ranked together, though different nets predicted them."""
        return score_predictions(self.tested.merge_folds())

    @cached_property
    def by_fold(self) -> list[Scores]:
        """Test scores of each finished fold."""
        return [score_predictions(predictions) for predictions in self.predictions("test")]

    @cached_property
    def over_folds(self) -> pd.DataFrame:
        """Mean and standard deviation over the finished folds, by class and metric."""
        return summarize_folds(self.by_fold)

    @cached_property
    def histories(self) -> list[pd.DataFrame]:
        """Losses and metrics of each epoch, one table per fold."""
        return [run.read_history() for run in self.runs]

    def count_records(self, part: str) -> float:
        """Return how many records ``train``, ``val`` or ``test`` has, on average over the folds."""
        return float(np.mean([info.data["parts"][part]["n_records"] for info in self.infos]))

    def _check_same(self) -> None:
        first = self.infos[0]
        for info in self.infos:
            if info.data["fingerprint"] != first.data["fingerprint"]:
                raise DataError(
                    f"{self.folder}: folds {first.fold} and {info.fold} were trained on different data (fingerprints "
                    "in run.json differ): retrain them with overwrite=true"
                )
        identity = identify(self.runs[0].read_config())
        for run, info in zip(self.runs, self.infos, strict=True):
            run.check_same_config(identity | {"fold": info.fold})


def read_configuration(folder: Path) -> Configuration:
    """Read which folds of a configuration are there, and which are finished."""
    runs = {_read_fold(path.parent): RunDirectory(path.parent) for path in folder.glob("fold_*/run.json")}
    infos = {fold: runs[fold].read_info() for fold in sorted(runs)}
    finished = tuple(runs[fold] for fold, info in infos.items() if info.is_finished)
    return Configuration(
        folder=folder,
        runs=finished,
        n_folds=_count_folds(finished[0]) if finished else len(runs),
        unfinished={
            fold: info.status + (f" ({info.error})" if info.error else "")
            for fold, info in infos.items()
            if not info.is_finished
        },
    )


def read_single(run: RunDirectory) -> Configuration:
    """Treat one finished run as the only fold of its configuration that is there."""
    return Configuration(folder=run.path, runs=(run,), n_folds=_count_folds(run))


def name_apart(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Name each configuration by its model and what not all others have; two never share a name."""
    shared = find_shared(configurations)
    named: list[Configuration] = []
    for one in configurations:
        model, variant = describe_place(one)
        name = " ".join([model, *(part for part in variant.split(",") if part and part not in shared)])
        if any(name == other.name for other in named):
            name = f"{name} ({one.folder.name})"
        named.append(replace(one, name=name))
    return named


def find_shared(configurations: Sequence[Configuration]) -> tuple[str, ...]:
    """Return the parts of the variant that all configurations have."""
    parts = [describe_place(one)[1].split(",") for one in configurations]
    return tuple(part for part in parts[0] if part and all(part in others for others in parts)) if parts else ()


def describe_place(one: Configuration) -> tuple[str, str]:
    """Return model and variant of a configuration, of which no fold need be finished."""
    run = next(iter(one.runs), None) or RunDirectory(one.folder / f"fold_{next(iter(one.unfinished))}")
    info = run.read_info()
    return info.model, info.variant


def _count_folds(run: RunDirectory) -> int:
    """Return how many folds a run's configuration has; the run says it where that depends on the data."""
    data, folds = run.read_info().data, run.read_config()["folds"]
    n_folds: int = data["n_folds"] if "n_folds" in data else len(folds["test"])
    return n_folds


def _read_fold(path: Path) -> int:
    number = path.name.removeprefix("fold_")
    if not (number.isascii() and number.isdigit()):
        raise ConfigError(f"{path}: a run's folder is called fold_<k>, such as fold_0; move other folders elsewhere")
    return int(number)
