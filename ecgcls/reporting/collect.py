"""From an experiment's folder to what its report says.

Every number is computed anew from the runs' ``predictions.csv``, by the functions that scored the runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ecgcls.cross_validation import read_folds
from ecgcls.errors import ConfigError
from ecgcls.evaluation.metrics import Scores, score, summarise_folds
from ecgcls.evaluation.predictions import Predictions, pool
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
        """One a class: from what probability on it is predicted."""
        return list(read_thresholds(self.runs, self.pooled.class_names).values())

    @cached_property
    def scores(self) -> Scores:
        """Scores of the pooled predictions."""
        return self._score(self.pooled)

    @cached_property
    def over_folds(self) -> pd.DataFrame:
        """Mean and sd over the finished folds, by class and metric."""
        return summarise_folds([self._score(fold) for fold in self._tested[0]])

    @cached_property
    def histories(self) -> list[pd.DataFrame]:
        """Losses and metrics of each epoch, one table a fold."""
        return [pd.read_csv(run.path / "history.csv") for run in self.runs]

    @property
    def fit_s(self) -> float:
        """Time spent in training, s, over the finished folds."""
        return math.fsum(info["stages_s"]["fit"] for info in self.infos)

    def _score(self, predictions: Predictions) -> Scores:
        return score(predictions.y_true, predictions.y_prob, predictions.class_names, threshold=self.thresholds)

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
    unfinished
        Path and status of every run that is not finished, below the experiment's folder.
    """

    name: str
    shared: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    unfinished: dict[str, str]

    @property
    def is_synthetic(self) -> bool:
        """Whether a run was trained on simulated ECGs."""
        return any(info["synthetic"] for one in self.configurations for info in one.infos)

    @property
    def class_names(self) -> list[str]:
        """Every class of every configuration, in order."""
        return list(dict.fromkeys(name for one in self.configurations for name in one.pooled.class_names))


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
    found = [_read_configuration(place) for place in places]
    unfinished = {
        str((one.folder / f"fold_{fold}").relative_to(folder)): status
        for one in found
        for fold, status in one.unfinished.items()
    }
    usable = [one for one in found if one.runs]
    if not usable:
        states = "; ".join(f"{path}: {status}" for path, status in unfinished.items()) or "there is none"
        raise ConfigError(f"{folder}: no finished run to report ({states})")
    variants = [one.variant.split(",") if one.variant else [] for one in usable]
    shared = [part for part in variants[0] if all(part in parts for parts in variants)]
    named = [
        replace(one, name=" ".join([one.model, *(part for part in parts if part not in shared)]))
        for one, parts in zip(usable, variants, strict=True)
    ]
    best_first = sorted(named, key=lambda one: -_nan_last(one.scores.overall["pr_auc"]))
    return Experiment(folder.name, tuple(shared), tuple(best_first), unfinished)


def _read_configuration(folder: Path) -> Configuration:
    runs = {
        int(path.parent.name.removeprefix("fold_")): RunDirectory(path.parent)
        for path in folder.glob("fold_*/run.json")
    }
    infos = {fold: run.read_info() for fold, run in sorted(runs.items())}
    first = next(iter(runs.values()))
    info = next(iter(infos.values()))
    return Configuration(
        folder=folder,
        model=info.get("model", folder.name),
        variant=info.get("variant", ""),
        name=f"{info.get('model', folder.name)} {info.get('variant', '')}".strip(),
        runs=tuple(runs[fold] for fold, info in infos.items() if info["status"] == "finished"),
        unfinished={
            fold: f"{info['status']}" + (f" ({info['error']})" if info.get("error") else "")
            for fold, info in infos.items()
            if info["status"] != "finished"
        },
        n_folds=_count_folds(first, len(runs)),
    )


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
        limits.append("The ECGs are simulated. No number here says anything about patients.")
    few = {
        f"{name} ({row.n_positive:.0f})"
        for one in experiment.configurations
        for name, row in one.scores.by_class.iterrows()
        if row.n_positive < _FEW
    }
    if few:
        limits.append(
            f"Fewer than {_FEW} positive test records: {', '.join(sorted(few))}. Their scores, and the macro averages, "
            "may change much with a few other records."
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
    if any("WeightedBCE" in one.runs[0].read_config().loss.get("_target_", "") for one in experiment.configurations):
        limits.append(
            "The loss weighs positive records more, which shifts the probabilities of rare classes upwards: they rank "
            "records, they are not frequencies. See the reliability curves."
        )
    if any(0.5 in one.thresholds for one in experiment.configurations):
        limits.append(
            "F1, sensitivity, specificity and the confusion matrices use a threshold of 0.5, which is not tuned."
        )
    limits.append("No interval is given: whether one model is better than another is not tested here.")
    limits.append(
        "All records come from one data set: how the models do on ECGs of other devices or patients is not known."
    )
    return limits


def _nan_last(value: float) -> float:
    return -math.inf if math.isnan(value) else value
