"""Recalibration on a part of another data set, which is then not scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.decisions import Decisions, learn_decisions
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import CalibrationRule, EvaluationSettings, LocalCalibration, ThresholdRule


@dataclass(frozen=True, eq=False)
class LocalUpdate:
    """What was learned on a part of another data set, and the predictions of the rest."""

    rule: LocalCalibration
    decisions: Decisions
    learned_on: Predictions
    before: Predictions
    after: Predictions
    thresholds: tuple[float, ...]
    """Of the classes, for `after`."""

    @property
    def not_recalibrated(self) -> list[str]:
        """The classes that had too few positive or negative records in the part, and stay as they were."""
        by_class = self.decisions.calibrator.by_class
        return [name for name, fitted in by_class.items() if fitted["method"] == "unweighted"]

    def describe(self) -> dict[str, Any]:
        """Return what was done, ready for JSON."""
        return {
            **asdict(self.rule),
            "n_records": len(self.learned_on),
            "n_patients": len(np.unique(self.learned_on.patient_id)),
            "n_positive": dict(
                zip(self.learned_on.class_names, (self.learned_on.y_true == 1).sum(axis=0).tolist(), strict=True)
            ),
            "not_recalibrated": self.not_recalibrated,
            "calibrator": self.decisions.calibrator.to_dict(),
        }

    def tabulate(self) -> pd.DataFrame:
        """Return the records that it was learned on."""
        return pd.DataFrame({"ecg_id": self.learned_on.ecg_id, "patient_id": self.learned_on.patient_id})


def read_rule(overrides: Mapping[str, Any], local: Mapping[str, Any]) -> LocalCalibration | None:
    """Return how to recalibrate on a part of another data set; None if nothing is to be learned there.

    `overrides` are those of the run's settings, `local` has ``share`` and ``seed``.
    """
    asked = {key: value for key, value in overrides.get("calibration", {}).items() if value is not None}
    given = {key: value for key, value in local.items() if value is not None}
    has_rule = any(value is not None for value in overrides.get("thresholds", {}).values())
    if asked.get("method", "none") == "none" and not has_rule:
        if unused := sorted({*asked, *given} - {"method"}):
            raise ConfigError(f"calibration.{unused[0]} has no effect without calibration.method= or thresholds.rule=")
        return None
    return LocalCalibration(**{"method": "none"} | asked | given)


def update(
    predictions: Predictions,
    rule: LocalCalibration,
    *,
    settings: EvaluationSettings,
    asked: Mapping[str, Any],
    thresholds: list[float],
) -> LocalUpdate:
    """Learn on a random part of the patients, and apply what was learned to the others.

    Parameters
    ----------
    predictions
        Of the whole data set, as the run decides.
    settings, asked
        What the rule for thresholds is; and what of it was asked for, without which the `thresholds` of the run stay.

    Raises
    ------
    DataError
        If there are not two patients.
    """
    patients = np.unique(predictions.patient_id)
    if len(patients) < 2:
        raise DataError("calibration: one patient can't be both learned from and tested on, expected two at least")
    n_learned = min(max(1, round(rule.share * len(patients))), len(patients) - 1)
    chosen = np.random.default_rng(rule.seed).permutation(patients)[:n_learned]
    is_learned = np.isin(predictions.patient_id, chosen)
    learned_on = predictions.take(predictions.ecg_id[is_learned])
    before = predictions.take(predictions.ecg_id[~is_learned])
    own = {key: value for key, value in asdict(rule).items() if key not in ("share", "seed")}
    has_rule = any(value is not None for value in asked.values())
    settings.thresholds.refuse_unused(asked)
    validation = replace(learned_on, split=np.full(len(learned_on), "val"))
    decisions = learn_decisions(
        validation, calibration=CalibrationRule(**own), thresholds=settings.thresholds if has_rule else ThresholdRule()
    )
    used = [decisions.thresholds[name] for name in predictions.class_names] if has_rule else thresholds
    after = decisions.apply(before).decide(used)
    return LocalUpdate(rule, decisions, learned_on, before.decide(thresholds), after, tuple(used))
