"""What is said of one recording: the predictor's answer, with what is drawn and what it depends on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.lead_names import standardize_names
from ecgcls.data.metadata import take_values
from ecgcls.data.recordings import Prepared, Recording
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.conformal import check_error_rate
from ecgcls.explanation.occlusion import LEAD_STRETCH_S, STEP_S, STRETCH_S, UNIT, Steps, occlude_leads, occlude_time
from ecgcls.jobs.prediction import Prediction
from ecgcls.serving.answers import (
    Band,
    Certainty,
    ClassAnswer,
    LeadBand,
    PredictAnswer,
    RecordingAnswer,
    WindowAnswer,
)
from ecgcls.serving.drawing import draw

if TYPE_CHECKING:
    from ecgcls.jobs.predictor import Predictor

NOTICE = "For research. Not a medical device: not for diagnosis or treatment, whatever it says."
CAVEAT = (
    "It shows what the nets' answer depends on, not what is wrong with the heart. A flat stretch is itself unlike any "
    "ECG, and what is there in each beat can be covered in one without effect."
)
MAX_ATTRIBUTED = 5
"""Classes for which it may be asked at once what they depend on: each takes hundreds of the nets' answers."""
_LEADS_S = 5.0  # how long the leads one by one may take


@dataclass(frozen=True)
class Wishes:
    """What is asked of a recording beside its probabilities.

    Attributes
    ----------
    metadata
        What the user says of the patient; it counts more than what the file says.
    error_rate
        For yes, no or not certain; None: not asked for.
    attribution
        The classes for which it is asked what they depend on.
    draws, draw_from_s
        Whether a part of the signal is wanted for drawing, and where it begins.
    """

    metadata: Mapping[str, float | None] = field(default_factory=dict)
    error_rate: float | None = None
    attribution: tuple[str, ...] = ()
    draws: bool = True
    draw_from_s: float = 0.0

    def check(self, predictor: "Predictor") -> None:
        """Refuse with ConfigError what the predictor cannot do for any recording."""
        take_values(self.metadata, predictor.metadata_names)
        if self.error_rate is not None:
            check_error_rate(self.error_rate)
        if len(self.attribution) > MAX_ATTRIBUTED:
            raise ConfigError(f"attribution: at most {MAX_ATTRIBUTED} classes at once, got {len(self.attribution)}")
        for name in self.attribution:
            if name not in predictor.class_names:
                raise ConfigError(
                    f"attribution: there is no class {name!r}; there are {', '.join(predictor.class_names)}"
                )
        if not np.isfinite(self.draw_from_s) or self.draw_from_s < 0:
            raise ConfigError(f"draw_from_s must be 0 or more, s, got {self.draw_from_s:g}")


def find_certainty(predictor: "Predictor") -> str:
    """Return why a predictor cannot say yes, no or not certain; empty if it can."""
    try:
        return "" if predictor.conformals else "the bundle holds no scores of validation records"
    except (DataError, OSError):
        return "the bundle holds no scores of validation records"


def answer(
    predictor: "Predictor",
    recording: Recording,
    name: str,
    wishes: Wishes,
    *,
    beside: Mapping[str, float],
    why_not_certain: str = "",
) -> PredictAnswer:
    """Say everything that is wanted of a recording.

    `beside` is what its file says of the patient, nan: nothing; `why_not_certain` is that of `find_certainty`.

    Raises
    ------
    DataError
        If the recording cannot be used.
    ConfigError
        If what is wished cannot be done for it.
    """
    values = take_values({**beside, **wishes.metadata}, predictor.metadata_names)
    prepared = predictor.prepare(recording)
    error_rate = None if why_not_certain else wishes.error_rate
    prediction = predictor.predict_prepared(prepared, values, error_rate=error_rate)
    told = {
        column: None if np.isnan(value) else value
        for column, value in zip(predictor.metadata_names, values.tolist(), strict=True)
    }
    return PredictAnswer(
        recording=RecordingAnswer(
            name=name,
            sampling_rate_hz=recording.sampling_rate_hz,
            duration_s=recording.signal_mv.shape[1] / recording.sampling_rate_hz,
            lead_names=_spell(recording.lead_names),
            metadata=told,
        ),
        signal=draw(recording, predictor.lead_names, from_s=wishes.draw_from_s) if wishes.draws else None,
        classes=_describe_classes(predictor, prediction, wishes.error_rate, why_not_certain),
        repairs=[text for text in prediction.repairs if text not in prepared.doubts],
        doubts=[text for text in prepared.doubts if not any(text in other for other in prediction.unusable)],
        unusable=list(prediction.unusable),
        known=prediction.known,
        error_rate=error_rate,
        windows=[
            WindowAnswer(
                start_s=start_s,
                duration_s=predictor.n_samples / predictor.sampling_rate_hz,
                probabilities=y_prob,
            )
            for start_s, y_prob in zip(prediction.starts_s, prediction.windows.tolist(), strict=True)
        ],
        attribution=attribute(predictor, prepared, prediction, values, wishes.attribution),
        is_synthetic=predictor.info.synthetic,
        notice=NOTICE,
    )


def _spell(lead_names: Sequence[str]) -> list[str]:
    """Return leads in their usual spelling, one that is not known as it is."""
    known = standardize_names(tuple(lead_names))
    return [name or own for name, own in zip(known, lead_names, strict=True)]


def _describe_classes(
    predictor: "Predictor", prediction: Prediction, error_rate: float | None, why_not: str
) -> list[ClassAnswer]:
    unstated = [] if error_rate is None or why_not else predictor.list_unstated(error_rate)
    classes = []
    for name, y_prob in prediction.y_prob.items():
        certainty, note = None, ""
        if error_rate is not None:
            note = why_not
            if name in unstated:
                note = f"too few validation patients to state an error rate of {error_rate:.0%}"
            elif not why_not:
                certainty = cast(Certainty, prediction.y_set[name])
        classes.append(
            ClassAnswer(
                name=name,
                probability=y_prob,
                logit=prediction.y_logit[name],
                threshold=prediction.thresholds[name],
                is_predicted=prediction.y_pred[name],
                certainty=certainty,
                certainty_note=note,
            )
        )
    return classes


def attribute(
    predictor: "Predictor",
    prepared: Prepared,
    prediction: Prediction,
    values: NDArray[np.float64],
    class_names: Sequence[str],
    *,
    leads_s: float = _LEADS_S,
) -> list[Band]:
    """Return what classes depend on in the window of a recording in which each is most probable.

    Each lead alone takes many more answers of the nets: it is left out where that would take longer than `leads_s`.
    """
    columns = {name: predictor.class_names.index(name) for name in class_names}
    window = {name: int(prediction.windows[:, column].argmax()) for name, column in columns.items()}
    bands: dict[str, Band] = {}
    for number in sorted({*window.values()}):
        chosen = {name: columns[name] for name in columns if window[name] == number}
        signal_mv, start_s = prepared.windows_mv[number], prediction.starts_s[number]
        bands |= _occlude(predictor, signal_mv, values, chosen, start_s, leads_s)
    return [bands[name] for name in columns]


def _occlude(
    predictor: "Predictor",
    signal_mv: NDArray[np.float32],
    values: NDArray[np.float64],
    columns: Mapping[str, int],
    start_s: float,
    leads_s: float,
) -> dict[str, Band]:
    rate_hz, n_samples = predictor.sampling_rate_hz, signal_mv.shape[1]
    predict = partial(_predict, predictor, values)
    steps = Steps.cut(n_samples, rate_hz, stretch_s=STRETCH_S, step_s=STEP_S)
    began_s = time.monotonic()
    falls = occlude_time(predict, signal_mv, steps)
    took_s = time.monotonic() - began_s
    by_lead = Steps.cut(n_samples, rate_hz, stretch_s=LEAD_STRETCH_S, step_s=LEAD_STRETCH_S)
    expected_s = took_s * len(by_lead.starts) * len(signal_mv) / len(steps.starts)
    lead_falls = occlude_leads(predict, signal_mv, by_lead) if expected_s <= leads_s else None
    return {
        name: Band(
            class_name=name,
            start_s=start_s,
            end_s=start_s + n_samples / rate_hz,
            stretch_s=steps.stretch / rate_hz,
            step_s=steps.step / rate_hz,
            values=_round(falls[:, column]),
            lead_step_s=None if lead_falls is None else by_lead.step / rate_hz,
            leads=None
            if lead_falls is None
            else [
                LeadBand(name=lead, values=_round(lead_falls[:, row, column]))
                for row, lead in enumerate(predictor.lead_names)
            ],
            unit=UNIT,
            note="" if lead_falls is not None else f"each lead alone would take about {expected_s:.0f} s: left out",
            caveat=CAVEAT,
        )
        for name, column in columns.items()
    }


def _predict(
    predictor: "Predictor", values: NDArray[np.float64], windows_mv: NDArray[np.float32]
) -> NDArray[np.float64]:
    beside = np.tile(values, (len(windows_mv), 1)) if len(values) else None
    return predictor.predict_windows(windows_mv, beside)


def _round(values: NDArray[np.float64]) -> list[float]:
    rounded: list[float] = np.round(values, 5).tolist()
    return rounded
