"""An experiment: all configurations in its folder, ranked, named apart and checked for comparability.

Every number is computed from the runs' predictions, with the runs' own evaluation settings, by the functions that
scored the runs.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgcls.errors import ConfigError
from ecgcls.runs.configuration import Configuration, find_shared, name_apart
from ecgcls.runs.find import list_configurations


@dataclass(frozen=True)
class Experiment:
    """All runs of an experiment."""

    name: str
    shared: tuple[str, ...]  # what all configurations have that differs from the defaults
    configurations: tuple[Configuration, ...]  # with a finished fold, the best PR-AUC first
    begun: tuple[Configuration, ...]  # without one
    unfinished: dict[str, str]  # status of every other run, by its path below the experiment's folder

    @property
    def is_synthetic(self) -> bool:
        """Whether a run was trained on simulated ECGs."""
        return any(one.info.synthetic for one in self.configurations)

    @property
    def is_mixed(self) -> bool:
        """Whether other runs were trained on real ones."""
        return self.is_synthetic and not all(one.info.synthetic for one in self.configurations)

    @property
    def class_names(self) -> list[str]:
        """Every class of every configuration, in order."""
        return list(dict.fromkeys(name for one in self.configurations for name in one.class_names))

    @property
    def widest(self) -> Configuration:
        """The configuration with the most test records."""
        return max(self.configurations, key=lambda one: len(one.tested))

    @property
    def alike(self) -> list[int]:
        """The numbers of the configurations with the classes of the widest: scores of other classes do not compare."""
        names = {*self.widest.class_names}
        return [number for number, one in enumerate(self.configurations) if {*one.class_names} == names]

    @property
    def trained(self) -> tuple[str, str]:
        """When the first run began and the last one ended, as ISO 8601 in UTC."""
        infos = [info for one in self.configurations for info in one.infos]
        return min(info.started for info in infos), max(info.finished or "" for info in infos)

    @property
    def level(self) -> str:
        """The confidence level of the intervals, in percent; several if the configurations differ."""
        levels = sorted({one.evaluation.intervals.level for one in self.configurations})
        return " or ".join(f"{100 * level:g}%" for level in levels)

    @property
    def differences(self) -> list[str]:
        """Why a line of the leaderboard cannot be compared with another."""
        widest, found = self.widest, []
        for one in self.configurations:
            if set(one.class_names) != set(widest.class_names):
                found.append(f"{one.name} has other classes: {', '.join(one.class_names)}.")
            elif not np.array_equal(one.tested.ecg_id, widest.tested.ecg_id):
                found.append(f"{one.name} was tested on other records ({len(one.tested)} of them).")
            elif not np.array_equal(one.tested.take_classes(widest.class_names).y_true, widest.tested.y_true):
                found.append(f"{one.name} was tested against other labels of the same records.")
        if len({one.evaluation for one in self.configurations if one.evaluation.prevalence is None}) > 1:
            found.append("The configurations were not all evaluated with the same settings.")
        tested = f"All others were tested on the {len(widest.tested)} records of {widest.name}."
        return [*found, tested] if found else []


def collect(folder: Path) -> Experiment:
    """Read all runs of an experiment's folder; that none is finished is a `ConfigError`."""
    found = name_apart(list_configurations(folder))
    unfinished = {
        str((one.folder / f"fold_{fold}").relative_to(folder)): status
        for one in found
        for fold, status in one.unfinished.items()
    }
    usable = [one for one in found if one.runs]
    if not usable:
        states = "; ".join(f"{path}: {status}" for path, status in unfinished.items()) or "there is none"
        raise ConfigError(f"{folder}: no finished run to report ({states})")
    ranked = sorted(usable, key=lambda one: -np.nan_to_num(one.scores.overall["pr_auc"], nan=-math.inf))
    begun = tuple(one for one in found if not one.runs)
    return Experiment(folder.name, find_shared(found), tuple(ranked), begun, unfinished)
