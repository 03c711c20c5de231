"""How the runs of a configuration recalibrated and decided, as each of them recorded it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecgcls.runs.configuration import Configuration
from ecgcls.runs.info import RunInfo

_CALIBRATED = {
    "platt": "recalibrated by Platt scaling",
    "temperature": "recalibrated by a temperature",
    "isotonic": "recalibrated by isotonic regression",
    "none": "as the model gives them",
    "unweighted": "with the loss's weight taken out but not recalibrated, too few records",
    "untouched": "as the model gives them, too few records",
}
_RULES = {
    "f1": "with the highest F1",
    "youden": "with the highest sensitivity + specificity",
    "sensitivity": "that keep a sensitivity of {sensitivity:g}",
    "specificity": "that keep a specificity of {specificity:g}",
    "cost": "with the lowest cost, a missed record as {cost_ratio:g} false alarms",
    "fixed": "fixed at {fixed:g}, not tuned",
}


@dataclass(frozen=True)
class Threshold:
    """The thresholds of a class over the finished folds, and in how many of these it was not tuned."""

    values: tuple[float, ...]
    n_untuned: int

    @property
    def mean(self) -> float:
        """The mean over the folds."""
        return sum(self.values) / len(self.values)

    @property
    def text(self) -> str:
        """The value or the range, and what was not tuned."""
        ends = [f"{value:.2f}" for value in (min(self.values), max(self.values))]
        shown = ends[0] if ends[0] == ends[1] else " to ".join(ends)
        if not self.n_untuned:
            return shown
        return f"{shown} (not tuned{f' in {self.n_untuned} of {len(self.values)} folds' * (len(self.values) > 1)})"


def read_thresholds(one: Configuration) -> dict[str, Threshold]:
    """Return the thresholds of each class."""
    return {
        name: Threshold(
            tuple(info.thresholds[name] for info in one.infos), sum(is_untuned(info, name) for info in one.infos)
        )
        for name in one.class_names
    }


def is_untuned(info: RunInfo, class_name: str) -> bool:
    """Whether the threshold of a class was not tuned on the validation set."""
    return info.decisions["threshold_rule"]["rule"] == "fixed" or class_name in info.decisions["not_tuned"]


def list_weights(info: RunInfo) -> dict[str, float]:
    """Return by class how much more the loss weighed positive records; empty where it weighed all alike."""
    weights = dict(zip(info.class_names, info.pos_weight or (), strict=False))
    return weights if any(weight != 1 for weight in weights.values()) else {}


def describe_decisions(one: Configuration) -> list[str]:
    """Say in a sentence per finished fold how its probabilities were recalibrated and its thresholds chosen."""
    return [_describe_fold(info) for info in one.infos]


def describe_calibrators(one: Configuration) -> str:
    """Say for how many classes, over all finished folds, probabilities were recalibrated in which way."""
    kinds = [kind for info in one.infos for kind in _calibrated_by(info).values()]
    counts = {kind: kinds.count(kind) for kind in _CALIBRATED if kind in kinds}
    return "; ".join(f"{_CALIBRATED[kind]} ({count} of {len(kinds)})" for kind, count in counts.items())


def describe_rule(info: RunInfo) -> str:
    """Say by which rule thresholds were chosen, as what they have: ``with the highest F1``."""
    rule = info.decisions["threshold_rule"]
    return _RULES[rule["rule"]].format(**rule)


def _describe_fold(info: RunInfo) -> str:
    decisions = info.decisions
    kinds = _calibrated_by(info)
    names = {kind: [name for name, own in kinds.items() if own == kind] for kind in _CALIBRATED}
    calibrated = "; ".join(f"{_CALIBRATED[kind]} ({', '.join(own)})" for kind, own in names.items() if own)
    tuned = {name: at for name, at in info.thresholds.items() if name not in decisions["not_tuned"]}
    parts = []
    if tuned:
        parts.append(f"thresholds {describe_rule(info)}: {_list_values(tuned)}")
    if untuned := {name: at for name, at in info.thresholds.items() if name not in tuned}:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in decisions["not_tuned"].items())
        own = "the model's own probability is 0.5"
        where = "at the mean of the members' thresholds" if info.ensemble else f"where {own}"
        parts.append(f"thresholds not tuned, {where}: {_list_values(untuned)} ({reasons})")
    n_records = decisions["learned_on"]["n_records"]
    return f"Fold {info.fold}, on its {n_records} validation records: probabilities {calibrated}; {'; '.join(parts)}."


def _calibrated_by(info: RunInfo) -> dict[str, str]:
    """Return by class the key of `_CALIBRATED` that holds for it."""
    fitted: Mapping[str, Any] = info.decisions["calibrator"]["by_class"]
    weights = list_weights(info)
    kinds = {name: str(fitted[name]["method"]) for name in info.class_names}
    is_left = {name: kind == "unweighted" and weights.get(name, 1) == 1 for name, kind in kinds.items()}
    return {name: "untouched" if is_left[name] else kind for name, kind in kinds.items()}


def _list_values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())
