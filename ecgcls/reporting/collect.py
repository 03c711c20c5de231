"""From an experiment's folder to what its report says.

Every number is computed anew from the runs' ``predictions.csv``, by the functions that scored the runs.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.cross_validation import read_folds
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.folds import summarize_folds
from ecgcls.evaluation.metrics import Scores
from ecgcls.evaluation.predictions import Predictions, pool
from ecgcls.evaluation.results import score_split
from ecgcls.runs import RunDirectory, read_thresholds

SHOWN = {"pr_auc": "PR-AUC", "roc_auc": "ROC-AUC", "f1_macro": "F1"}
"""The leaderboard's metrics: macro averages over the classes."""

_FEW = 30  # positive records below which a class's scores are called uncertain


@dataclass(frozen=True)
class Configuration:
    """The runs of one configuration: one a fold.

    Attributes
    ----------
    folder
        Holds ``fold_<k>/``.
    model, variant
        The choice of the group ``model``, and what differs from the defaults.
    name
        The model, with what differs from the experiment's other configurations.
    runs
        The finished folds, in order.
    unfinished
        Number of each other fold, with its status and what went wrong.
    n_folds
        How many folds the configuration has.
    """

    folder: Path
    model: str
    variant: str
    name: str
    runs: tuple[RunDirectory, ...]
    unfinished: dict[int, str]
    n_folds: int

    @property
    def is_complete(self) -> bool:
        """Whether every fold is finished."""
        return len(self.runs) == self.n_folds

    @cached_property
    def infos(self) -> list[dict[str, Any]]:
        """``run.json`` of each finished fold."""
        return [run.read_info() for run in self.runs]

    @cached_property
    def _tested(self) -> tuple[list[Predictions], list[str]]:
        return read_folds(self.runs, split="test")

    @property
    def left_out_classes(self) -> list[str]:
        """Classes that not every fold has."""
        return self._tested[1]

    @cached_property
    def pooled(self) -> Predictions:
        """The test predictions of the finished folds, each record once."""
        return pool(self._tested[0])

    @cached_property
    def thresholds(self) -> list[float]:
        """One a class: from what probability on it is predicted, the mean over the folds, each of which has its own."""
        return list(read_thresholds(self.runs, self.pooled.class_names).values())

    @cached_property
    def scores(self) -> Scores:
        """Scores of the pooled predictions."""
        return self._score(self.pooled)

    @cached_property
    def over_folds(self) -> pd.DataFrame:
        """Mean and sd over the finished folds, by class and metric."""
        return summarize_folds([self._score(fold) for fold in self._tested[0]])

    @cached_property
    def histories(self) -> list[pd.DataFrame]:
        """Losses and metrics of each epoch, one table a fold."""
        return [_read_history(run.path / "history.csv") for run in self.runs]

    @cached_property
    def is_weighted(self) -> bool:
        """Whether the training loss weighs positive records more; its value is then kept beside the log loss."""
        return any("loss" in run.read_metrics()["test"]["overall"] for run in self.runs)

    @property
    def state(self) -> str:
        """What became of the folds that are not finished, in a few words; empty where all are."""
        words = Counter(status.partition(" ")[0] for status in self.unfinished.values())
        n_missing = self.n_folds - len(self.runs) - len(self.unfinished)
        return ", ".join(f"{number} {word}" for word, number in {**words, "missing": n_missing}.items() if number > 0)

    @property
    def fit_s(self) -> float:
        """Time spent in training, s, over the finished folds."""
        return math.fsum(info["stages_s"]["fit"] for info in self.infos)

    def _score(self, predictions: Predictions) -> Scores:
        return score_split(predictions)

    def tabulate(self) -> dict[str, Any]:
        """Return the configuration's line of the leaderboard, as numbers."""
        line: dict[str, Any] = {
            "name": self.name,
            "n_finished": len(self.runs),
            "n_folds": self.n_folds,
            "n_parameters": self.infos[0]["n_parameters"],
            "fit_s": self.fit_s,
        }
        for key in SHOWN:
            mean, sd = self.over_folds.loc[("overall", key), ["mean", "sd"]].astype(float)
            line[key] = {"mean": mean, "sd": sd, "pooled": self.scores.overall[key]}
        return line


@dataclass(frozen=True)
class Experiment:
    """All runs of an experiment.

    Attributes
    ----------
    name
        Of the experiment.
    shared
        What all configurations have that differs from the defaults.
    configurations
        Those with a finished fold, the best pooled PR-AUC first.
    begun
        Those without one.
    unfinished
        Path and status of every run that is not finished, below the experiment's folder.
    """

    name: str
    shared: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    begun: tuple[Configuration, ...]
    unfinished: dict[str, str]

    @property
    def is_synthetic(self) -> bool:
        """Whether a run was trained on simulated ECGs."""
        return any(one.infos[0]["synthetic"] for one in self.configurations)

    @property
    def is_mixed(self) -> bool:
        """Whether other runs were trained on real ones."""
        return self.is_synthetic and not all(one.infos[0]["synthetic"] for one in self.configurations)

    @property
    def class_names(self) -> list[str]:
        """Every class of every configuration, in order."""
        return list(dict.fromkeys(name for one in self.configurations for name in one.pooled.class_names))

    @property
    def widest(self) -> Configuration:
        """The configuration with the most test records."""
        return max(self.configurations, key=lambda one: len(one.pooled))

    @property
    def trained(self) -> tuple[str, str]:
        """When the first run began and the last one ended, as ISO 8601 in UTC."""
        infos = [info for one in self.configurations for info in one.infos]
        return min(info["started"] for info in infos), max(info["finished"] for info in infos)

    @property
    def differences(self) -> list[str]:
        """Why a line of the leaderboard should not be set beside another."""
        widest, found = self.widest, []
        for one in self.configurations:
            if set(one.pooled.class_names) != set(widest.pooled.class_names):
                found.append(f"{one.name} has other classes: {', '.join(one.pooled.class_names)}.")
            elif not np.array_equal(one.pooled.ecg_id, widest.pooled.ecg_id):
                found.append(f"{one.name} was tested on other records ({len(one.pooled)} of them).")
            elif not np.array_equal(_order_labels(one, widest), widest.pooled.y_true):
                found.append(f"{one.name} was tested against other labels of the same records.")
        return [*found, f"All others were tested on {len(widest.pooled)} records, as {widest.name}."] if found else []


def _order_labels(one: Configuration, other: Configuration) -> NDArray[np.int8]:
    """Return the labels ``(record, class)`` of one configuration, its classes in the order of another's."""
    return one.pooled.y_true[:, [one.pooled.class_names.index(name) for name in other.pooled.class_names]]


def collect(folder: Path) -> Experiment:
    """Read all runs of an experiment.

    Parameters
    ----------
    folder
        ``outputs/<experiment>``.

    Raises
    ------
    ConfigError
        If no run of it is finished.
    DataError
        If a run's files are damaged, or the folds of a configuration were trained on different data.
    """
    places = sorted({path.parent.parent for path in folder.rglob("fold_*/run.json")})
    found = _name_apart([_read_configuration(place, folder) for place in places])
    unfinished = {
        str((one.folder / f"fold_{fold}").relative_to(folder)): status
        for one in found
        for fold, status in one.unfinished.items()
    }
    usable = [one for one in found if one.runs]
    if not usable:
        states = "; ".join(f"{path}: {status}" for path, status in unfinished.items()) or "there is none"
        raise ConfigError(f"{folder}: no finished run to report ({states})")
    return Experiment(
        name=folder.name,
        shared=_find_shared(found),
        configurations=tuple(sorted(usable, key=lambda one: -_nan_last(one.scores.overall["pr_auc"]))),
        begun=tuple(one for one in found if not one.runs),
        unfinished=unfinished,
    )


def _read_configuration(folder: Path, experiment: Path) -> Configuration:
    runs = {_read_fold(path.parent): RunDirectory(path.parent) for path in folder.glob("fold_*/run.json")}
    infos = {fold: run.read_info() for fold, run in sorted(runs.items())}
    first = next(iter(runs.values()))
    info = next(iter(infos.values()))
    for run in runs.values():
        if run.is_finished and not (run.path / ".hydra" / "config.yaml").is_file():
            raise DataError(f"{run.path}: the finished run has lost its .hydra/config.yaml; move the folder elsewhere")
    model, *rest = folder.relative_to(experiment).parts or (experiment.name,)
    return Configuration(
        folder=folder,
        model=info.get("model", model),
        variant=info.get("variant", "/".join(rest)),
        name="",
        runs=tuple(runs[fold] for fold, info in infos.items() if info.get("status") == "finished"),
        unfinished={
            fold: f"{info.get('status', 'unknown')}" + (f" ({info['error']})" if info.get("error") else "")
            for fold, info in infos.items()
            if info.get("status") != "finished"
        },
        n_folds=_count_folds(first, len(runs)),
    )


def _read_fold(path: Path) -> int:
    """Return the number of a run's fold, as its folder says."""
    number = path.name.removeprefix("fold_")
    if not (number.isascii() and number.isdigit()):
        raise ConfigError(f"{path}: a run's folder is called fold_<k>, such as fold_0; move other folders elsewhere")
    return int(number)


def _find_shared(configurations: Sequence[Configuration]) -> tuple[str, ...]:
    """Return the parts of the variant that all configurations have."""
    parts = [one.variant.split(",") if one.variant else [] for one in configurations]
    return tuple(part for part in parts[0] if all(part in others for others in parts)) if parts else ()


def _name_apart(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Name each configuration by its model and what not all others have; two never share a name."""
    shared = _find_shared(configurations)
    named: list[Configuration] = []
    for one in configurations:
        name = " ".join([one.model, *(part for part in one.variant.split(",") if part and part not in shared)])
        if any(name == other.name for other in named):
            name = f"{name} ({one.folder.name})"
        named.append(replace(one, name=name))
    return named


def _read_history(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the run's table of epochs cannot be read ({error})") from error


def _count_folds(run: RunDirectory, n_found: int) -> int:
    try:
        return len(run.read_config().folds.test)
    except FileNotFoundError:
        return n_found


def describe_data(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return records, patients and class counts by fold and part, once for all configurations that share them."""
    groups: dict[str, dict[str, Any]] = {}
    for one in configurations:
        datas = [info["data"] for info in one.infos]
        key = repr([(data["fingerprint"], data["parts"], data["class_names"]) for data in datas])
        group = groups.setdefault(key, {"names": [], "data": datas[0], "folds": []})
        group["names"].append(one.name)
        group["folds"] = [
            {"fold": info["fold"], "part": part, **counts}
            for info in one.infos
            for part, counts in info["data"]["parts"].items()
        ]
        group["absent_classes"] = sorted({name for data in datas for name in data["absent_classes"]})
    return list(groups.values())


def compare_versions(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return versions, commit, machine and fingerprints: each with its values and the runs that have them."""
    seen: dict[str, dict[str, list[str]]] = {}
    for one in configurations:
        for info in one.infos:
            git = info.get("git") or {}
            facts = {
                **info["versions"],
                "git commit": f"{git.get('commit', 'unknown')}{' (modified)' if git.get('modified') else ''}",
                "platform": info["machine"]["platform"],
                "CPUs": info["machine"]["n_cpus"],
                **{f"sha256 of {name}": value for name, value in info["data"]["fingerprint"].items()},
            }
            for name, value in facts.items():
                seen.setdefault(name, {}).setdefault(str(value), []).append(f"{one.name}, fold {info['fold']}")
    return [{"name": name, "found": found, "differs": len(found) > 1} for name, found in seen.items()]


def list_limits(experiment: Experiment) -> list[str]:
    """Write what these numbers cannot say, from what the runs are."""
    limits = ["Research software, not a medical device. No number here is fit for decisions about patients."]
    if experiment.is_synthetic:
        which = "Some runs are of simulated ECGs" if experiment.is_mixed else "The ECGs are simulated"
        limits.append(f"{which}. No number from them says anything about patients.")
    counts = pd.concat([one.scores.by_class["n_positive"] for one in experiment.configurations])
    fewest = counts.groupby(level=0, sort=False).min()
    few = ", ".join(f"{name} ({count})" for name, count in fewest.items() if count < _FEW)
    if few:
        limits.append(
            f"Fewer than {_FEW} positive test records: {few}. Their scores, and the macro averages, may change much "
            "with a few other records."
        )
    for one in experiment.configurations:
        if not one.is_complete:
            limits.append(
                f"{one.name}: {len(one.runs)} of {one.n_folds} folds are finished, so not every record was tested."
            )
        if one.left_out_classes:
            limits.append(f"{one.name}: left out, since a fold lacks them: {', '.join(one.left_out_classes)}.")
    if all(one.n_folds == 1 for one in experiment.configurations):
        limits.append("One split only: how the scores vary with the split is not known.")
    seeds = {info["seed"] for one in experiment.configurations for info in one.infos}
    if len(seeds) == 1:
        limits.append(
            f"One seed only ({seeds.pop()}): what another seed would change is not told apart from what a model does."
        )
    if any(one.is_weighted for one in experiment.configurations):
        limits.append(
            "The loss weighs positive records more, which shifts the probabilities of rare classes upwards; each run "
            "recalibrates them on its validation part, and the reliability curves show what is left."
        )
    if any(0.5 in one.thresholds for one in experiment.configurations):
        limits.append(
            "F1, sensitivity, specificity and the confusion matrices use, for some classes, a threshold of 0.5 that is "
            "not tuned."
        )
    limits.append(
        "Intervals say how far a number would move with other patients like these, not with another seed, training set "
        "or hospital. A class with few records has one that holds the truth less often than it says."
    )
    limits.append(
        "All records come from one data set: how the models do on ECGs of other devices or patients is not known."
    )
    return limits


def _nan_last(value: float) -> float:
    return -math.inf if math.isnan(value) else value
