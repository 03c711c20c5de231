"""Decisions: a run's calibrator (`recalibration`) and thresholds (`thresholds`).

Both are learned on the run's validation set, stored together with a fingerprint of its records, and applied to whatever
the run predicts afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import ArrayLike
from scipy.special import expit

from ecgcls.errors import DataError
from ecgcls.evaluation.logits import to_logits
from ecgcls.evaluation.predictions import THRESHOLD, Predictions
from ecgcls.evaluation.recalibration import Calibrator, fit_calibrator
from ecgcls.evaluation.settings import CalibrationRule, ThresholdRule
from ecgcls.evaluation.thresholds import choose_thresholds
from ecgcls.files import hash_records


@dataclass(frozen=True)
class Decisions:
    """A calibrator and thresholds (by class, of recalibrated probabilities), and what they were learned on.

    `rule` is how the thresholds were chosen, `not_tuned` the reason for each class without a threshold of its own,
    `n_records` and `records_sha256` are the number and the fingerprint of the records, their patients and
    their labels.
    """

    calibrator: Calibrator
    thresholds: Mapping[str, float]
    rule: Mapping[str, Any]
    not_tuned: Mapping[str, str]
    n_records: int
    records_sha256: str

    def apply(self, uncalibrated: Predictions) -> Predictions:
        """Recalibrate probabilities and logits, and decide; logits rank what recalibrated probabilities round to 1."""
        names = uncalibrated.class_names
        if uncalibrated.y_logit is None and self.calibrator.method == "none":
            calibrated = uncalibrated
        elif uncalibrated.y_logit is None:
            y_logit = self.calibrator.apply_logits(to_logits(uncalibrated.y_prob), names)
            y_prob = self.calibrator.apply(uncalibrated.y_prob, names)
            calibrated = replace(uncalibrated, y_prob=y_prob, y_logit=y_logit)
        else:
            y_logit = self.calibrator.apply_logits(uncalibrated.y_logit, names)
            calibrated = replace(uncalibrated, y_prob=expit(y_logit), y_logit=y_logit)
        return calibrated.decide([self.thresholds[name] for name in names])

    def check_learned_on(self, records_sha256: str) -> None:
        """Refuse decisions that were learned on other records than the validation set."""
        if self.records_sha256 != records_sha256:
            raise DataError(
                "leak: calibrator and thresholds were learned on other records than the run's validation set "
                f"(fingerprint {self.records_sha256[:12]}, expected {records_sha256[:12]}): do not trust their scores; "
                "train again with overwrite=true"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the thresholds as plain numbers and text for `json.dump`."""
        return {
            "calibrator": self.calibrator.to_dict(),
            "threshold_rule": dict(self.rule),
            "not_tuned": dict(self.not_tuned),
            "learned_on": {"part": "val", "n_records": self.n_records, "records_sha256": self.records_sha256},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], thresholds: Mapping[str, float]) -> Decisions:
        """Build what `to_dict` gave."""
        learned_on = stored["learned_on"]
        return cls(
            calibrator=Calibrator.from_dict(stored["calibrator"]),
            thresholds=thresholds,
            rule=stored["threshold_rule"],
            not_tuned=stored["not_tuned"],
            n_records=learned_on["n_records"],
            records_sha256=learned_on["records_sha256"],
        )


def learn_decisions(
    validation: Predictions,
    *,
    calibration: CalibrationRule = CalibrationRule(),
    thresholds: ThresholdRule = ThresholdRule(),
    pos_weight: ArrayLike | None = None,
    own_thresholds: Sequence[float] | None = None,
) -> Decisions:
    """Learn a calibrator, and thresholds of recalibrated probabilities, on the net's predictions of the validation set.

    A class with too few records for a threshold of its own is predicted where the net's own probability is at least
    0.5: its threshold is that probability, recalibrated (0.5 itself where the classes exclude each other).

    Parameters
    ----------
    pos_weight
        ``(class,)``: how much more the loss weighed positive records; None: not at all.
    own_thresholds
        ``(class,)``: the probabilities before recalibration that stand in for 0.5; None: 0.5. Of an ensemble they are
        the mean of its members' thresholds.
    """
    if (validation.split != "val").any():
        row = int((validation.split != "val").argmax())
        raise DataError(
            f"leak: decisions are learned on the validation set alone, ecg_id {validation.ecg_id[row]} is in split "
            f"{str(validation.split[row])!r}"
        )
    names = validation.class_names
    arrays = validation.y_true, validation.y_prob, validation.patient_id
    calibrator = fit_calibrator(*arrays, names, calibration, pos_weight=pos_weight, y_logit=validation.y_logit)
    calibrated = calibrator.apply(validation.y_prob, names)
    if validation.y_logit is not None:
        calibrated = expit(calibrator.apply_logits(validation.y_logit, names))
    chosen, not_tuned = choose_thresholds(validation.y_true, calibrated, names, thresholds)
    own = [THRESHOLD] * len(names) if own_thresholds is None else list(own_thresholds)
    if not calibrator.is_exclusive:
        own = calibrator.apply([own], names)[0].tolist()
    chosen |= {name: at for name, at in zip(names, own, strict=True) if name in not_tuned}
    digest = hash_records(validation.ecg_id, validation.patient_id, validation.y_true, names)
    return Decisions(calibrator, chosen, thresholds.describe(), not_tuned, len(validation), digest)
