"""The settings of an evaluation: everything a run's scores depend on besides its predictions.

Each refuses a value out of its range with a `ConfigError` that names the setting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ecgcls.errors import ConfigError


def _check(settings: Any, section: str, **least: float) -> None:
    """Refuse settings that are not among the choices of their `Literal` annotation, or too small.

    `section` is what the settings are called in the configuration, `least` the least value of a field.
    """
    for name, hint in get_type_hints(type(settings)).items():
        if get_origin(hint) is Literal and getattr(settings, name) not in get_args(hint):
            choices = ", ".join(map(str, get_args(hint)))
            raise ConfigError(f"{section}.{name} must be one of {choices}, got {getattr(settings, name)!r}")
    for name, smallest in least.items():
        if not getattr(settings, name) >= smallest:
            raise ConfigError(f"{section}.{name} must be at least {smallest}, got {getattr(settings, name)}")


@dataclass(frozen=True)
class Bootstrap:
    """How to resample; see `intervals`.

    Parameters
    ----------
    n_resamples, seed
        Draws of as many patients as there are, and their seed.
    level
        The confidence, such as 0.95.
    lost_class
        What happens to a resample without a positive or without a negative record of a class.
    method
        Score-type limits (`score_limits`), with *expanded* for the metrics that have none; or limits from the resamples
        alone.
    min_positives
        Metrics that rely on fewer patients, such as those with a positive record, are marked as not supported.
    """

    n_resamples: int = 1000
    level: float = 0.95
    method: Literal["score", "expanded", "percentile", "bca"] = "score"
    lost_class: Literal["redraw", "nan"] = "redraw"
    min_positives: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, "intervals", n_resamples=2, min_positives=0)
        if not 0 < self.level < 1:
            raise ConfigError(f"intervals.level must be between 0 and 1, got {self.level:g}")

    def describe(self) -> dict[str, float | str]:
        """Return what a table of intervals states about how they were computed."""
        return {"level": self.level, "method": self.method, "n_resamples": self.n_resamples}


@dataclass(frozen=True)
class CalibrationRule:
    """How probabilities are recalibrated; see `recalibration`.

    Parameters
    ----------
    min_positives
        Classes with fewer positive (or negative) records are only unweighted.
    n_folds
        Of the cross-validation for ``best``.
    """

    method: Literal["none", "temperature", "platt", "isotonic", "intercept", "best"] = "platt"
    min_positives: int = 20
    n_folds: int = 5

    def __post_init__(self) -> None:
        _check(self, "calibration", min_positives=1, n_folds=2)


@dataclass(frozen=True)
class LocalCalibration(CalibrationRule):
    """How probabilities are recalibrated on a part of another data set, which is not scored.

    Parameters
    ----------
    share
        Of its patients, in (0, 1): those on whose records it is learned.
    seed
        Of their choice.
    """

    share: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "calibration", seed=0)
        if not 0 < self.share < 1:
            raise ConfigError(f"calibration.share must be between 0 and 1, got {self.share:g}")


_RULE_OF = {"sensitivity": "sensitivity", "specificity": "specificity", "cost_ratio": "cost", "fixed": "fixed"}


@dataclass(frozen=True)
class ThresholdRule:
    """How thresholds are chosen; see `thresholds`.

    Parameters
    ----------
    sensitivity, specificity
        In (0, 1]: the value that the rule of that name keeps.
    cost_ratio
        The cost of a missed positive record, in false positives.
    fixed
        In [0, 1]: the threshold of classes that are not tuned.
    min_positives
        Classes with fewer positive (or negative) records are not tuned.
    """

    rule: Literal["f1", "youden", "sensitivity", "specificity", "cost", "fixed"] = "f1"
    sensitivity: float = 0.9
    specificity: float = 0.9
    cost_ratio: float = 1.0
    fixed: float = 0.5
    min_positives: int = 10

    def __post_init__(self) -> None:
        _check(self, "thresholds", min_positives=1)
        for name in ("sensitivity", "specificity"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"thresholds.{name} must be in (0, 1], got {getattr(self, name):g}")
        if not (self.cost_ratio > 0 and math.isfinite(self.cost_ratio)):
            raise ConfigError(f"thresholds.cost_ratio must be above 0, got {self.cost_ratio:g}")
        if not 0 <= self.fixed <= 1:
            raise ConfigError(f"thresholds.fixed must be in [0, 1], got {self.fixed:g}")

    def refuse_unused(self, asked: Mapping[str, Any] | None = None) -> None:
        """Refuse what was asked for another rule; without `asked`, what is not at its default."""
        if asked is None:
            asked = {each.name: each.default for each in fields(self) if getattr(self, each.name) != each.default}
        for name, rule in _RULE_OF.items():
            if asked.get(name) is not None and self.rule != rule:
                raise ConfigError(
                    f"thresholds.{name}={getattr(self, name):g} has no effect with thresholds.rule={self.rule}: "
                    f"set thresholds.rule={rule}, too"
                )

    def describe(self) -> dict[str, Any]:
        """Return the settings that the rule uses."""
        own = "cost_ratio" if self.rule == "cost" else self.rule
        used = {"rule", "fixed", own} | ({"min_positives"} if self.rule != "fixed" else set())
        return {name: value for name, value in asdict(self).items() if name in used}


@dataclass(frozen=True)
class Subgroups:
    """How subgroups are scored: the records that a cell needs, and the draws of patients for its intervals.

    None: as many draws as for the other intervals; none for score limits, which need none.
    """

    min_records: int = 30
    n_resamples: int | None = None

    def __post_init__(self) -> None:
        _check(self, "subgroups", min_records=1, **({} if self.n_resamples is None else {"n_resamples": 2}))


@dataclass(frozen=True)
class Anticipated:
    """The performance that a model is hoped to have in each class; see `precision`.

    Parameters
    ----------
    roc_auc
        In (0.5, 1).
    sensitivity
        In (0, 1).
    level
        The confidence of the intervals, in (0, 1).
    """

    roc_auc: float = 0.9
    sensitivity: float = 0.8
    level: float = 0.95

    def __post_init__(self) -> None:
        for name, low in (("roc_auc", 0.5), ("sensitivity", 0.0), ("level", 0.0)):
            if not low < getattr(self, name) < 1:
                raise ConfigError(f"anticipated.{name} must be between {low:g} and 1, got {getattr(self, name):g}")


@dataclass(frozen=True)
class EvaluationSettings:
    """How predictions are recalibrated, thresholded and scored.

    Parameters
    ----------
    prevalence
        In (0, 1), of all classes or by class: predictive values are reported at it too. None: at the observed one only.
    """

    intervals: Bootstrap = Bootstrap()
    calibration: CalibrationRule = CalibrationRule()
    thresholds: ThresholdRule = ThresholdRule()
    subgroups: Subgroups = Subgroups()
    prevalence: float | dict[str, float] | None = None

    def __post_init__(self) -> None:
        if self.prevalence is None:
            return
        stated = self.prevalence if isinstance(self.prevalence, Mapping) else {"all classes": self.prevalence}
        for name, value in stated.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise ConfigError(f"prevalence of {name} must be between 0 and 1, got {value!r}")

    def prevalence_by_class(self, class_names: tuple[str, ...]) -> dict[str, float]:
        """Return the stated prevalence of each class that has one; refuse one of an unknown class."""
        if not isinstance(self.prevalence, Mapping):
            return {} if self.prevalence is None else dict.fromkeys(class_names, float(self.prevalence))
        if unknown := [name for name in self.prevalence if name not in class_names]:
            known = ", ".join(class_names)
            raise ConfigError(f"prevalence: there is no class {unknown[0]}, expected one of {known}")
        return {name: float(value) for name, value in self.prevalence.items()}

    def replace_with(self, overrides: Mapping[str, Any]) -> EvaluationSettings:
        """Replace some of the settings, or build them from what `dataclasses.asdict` gave; refuse unknown keys.

        Parameters
        ----------
        overrides
            Such as ``{"intervals": {"level": 0.8, "method": None}, "prevalence": None}``; None keeps the current value.
            A prevalence is replaced as a whole.

        Examples
        --------
        >>> EvaluationSettings().replace_with({"intervals": {"level": 0.8, "method": None}}).intervals.level
        0.8
        """
        changed: EvaluationSettings = _replace(self, overrides, "")
        return changed


def _replace(settings: Any, overrides: Mapping[str, Any], prefix: str) -> Any:
    known = [field.name for field in fields(settings)]
    changes = {}
    for name, value in overrides.items():
        if name not in known:
            raise ConfigError(f"{prefix}{name}: no such setting; expected one of {', '.join(known)}")
        current = getattr(settings, name)
        if is_dataclass(current) and value is not None:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{name} must be a mapping of settings, got {value!r}")
            value = _replace(current, value, f"{prefix}{name}.")
        changes[name] = current if value is None else value
    return replace(settings, **changes)
