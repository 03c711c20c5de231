"""What a run predicts of one recording, and what is doubtful about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Prediction:
    """A run's prediction of one recording.

    Attributes
    ----------
    y_prob
        Probability by class: the mean over the windows, and over the nets of an ensemble.
    y_logit
        The logit of that mean by class, which ranks recordings whose probabilities round to 1.
    y_pred
        By class whether the probability is at least the run's threshold.
    thresholds
        Threshold by class.
    windows
        ``(window, class)``: the probabilities of each window.
    starts_s
        Where each window begins, s.
    repairs
        What was changed before the net saw the recording, and what is doubtful in it, in words; empty if nothing.
    unusable
        Why it may be no usable ECG, or how it is unlike the training data, in words; empty if nothing is found.
    known
        Which ECG it is of those that the nets were trained or validated on, in words; empty if none.
    y_set
        By class ``yes``, ``no``, ``not certain`` or ``neither`` at a stated error rate, see
        `ecgcls.evaluation.conformal`; empty where none was stated.
    """

    y_prob: dict[str, float]
    y_logit: dict[str, float]
    y_pred: dict[str, bool]
    thresholds: dict[str, float]
    windows: NDArray[np.float64]
    starts_s: tuple[float, ...]
    repairs: tuple[str, ...]
    unusable: tuple[str, ...] = ()
    known: str = ""
    y_set: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text for `json.dump`."""
        return {
            "y_prob": self.y_prob,
            "y_logit": self.y_logit,
            "y_pred": self.y_pred,
            **({"y_set": dict(self.y_set)} if self.y_set else {}),
            "windows": [
                {"start_s": start_s, "y_prob": dict(zip(self.y_prob, y_prob, strict=True))}
                for start_s, y_prob in zip(self.starts_s, self.windows.tolist(), strict=True)
            ],
            "repairs": list(self.repairs),
            "unusable": list(self.unusable),
            "known": self.known,
        }
