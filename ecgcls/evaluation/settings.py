"""The settings of an evaluation: everything a run's scores depend on besides its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any

from ecgcls.errors import ConfigError
from ecgcls.evaluation.intervals import Bootstrap
from ecgcls.evaluation.recalibration import CalibrationRule
from ecgcls.evaluation.subgroups import Subgroups
from ecgcls.evaluation.thresholds import ThresholdRule


@dataclass(frozen=True)
class EvaluationSettings:
    """How predictions are recalibrated, thresholded and scored.

    Parameters
    ----------
    intervals, calibration, thresholds, subgroups
        How each of these is computed.
    prevalence
        In (0, 1), of all classes or by class: predictive values are reported at it too. None: at the observed one only.

    Raises
    ------
    ConfigError
        If a prevalence is out of its range.

    Examples
    --------
    >>> settings = EvaluationSettings(prevalence={"MI": 0.02})
    >>> EvaluationSettings.from_dict(settings.to_dict()) == settings
    True
    """

    intervals: Bootstrap = Bootstrap()
    calibration: CalibrationRule = CalibrationRule()
    thresholds: ThresholdRule = ThresholdRule()
    subgroups: Subgroups = Subgroups()
    prevalence: float | dict[str, float] | None = None

    def __post_init__(self) -> None:
        """Check the range of the prevalence."""
        if self.prevalence is None:
            return
        stated = self.prevalence if isinstance(self.prevalence, Mapping) else {"all classes": self.prevalence}
        for name, value in stated.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise ConfigError(f"prevalence of {name} must be between 0 and 1, got {value!r}")

    def prevalence_by_class(self, class_names: tuple[str, ...]) -> dict[str, float]:
        """Return the stated prevalence of each class that has one.

        Raises
        ------
        ConfigError
            If one is stated of an unknown class.
        """
        if not isinstance(self.prevalence, Mapping):
            return {} if self.prevalence is None else dict.fromkeys(class_names, float(self.prevalence))
        if unknown := [name for name in self.prevalence if name not in class_names]:
            known = ", ".join(class_names)
            raise ConfigError(f"prevalence: there is no class {unknown[0]}, expected one of {known}")
        return {name: float(value) for name, value in self.prevalence.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and text for `json.dump`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> EvaluationSettings:
        """Build what `to_dict` gave; what is absent takes its default.

        Raises
        ------
        ConfigError
            If a key is unknown or a value is out of its range.
        """
        return cls().replace_with(stored)

    def replace_with(self, overrides: Mapping[str, Any]) -> EvaluationSettings:
        """Replace some of the settings.

        Parameters
        ----------
        overrides
            Such as ``{"intervals": {"level": 0.8, "method": None}, "prevalence": None}``; None keeps the current value.
            A prevalence is replaced as a whole.

        Raises
        ------
        ConfigError
            If a key is unknown or a value is out of its range.

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
