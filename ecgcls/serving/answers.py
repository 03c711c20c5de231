"""What the server answers, as types: the one place in which its JSON is defined.

Conventions: numbers are finite, or null where something is not known; times are s, signals mV; lists of probabilities
are in the order of the classes.
"""

from typing import Literal

from pydantic import BaseModel, Field

Certainty = Literal["yes", "no", "not certain", "neither"]
"""A set of `ecgcls.evaluation.conformal`."""


class Refusal(BaseModel):
    """Why a request is refused."""

    error: str = Field(description="one line: what, where, expected, got, what to do")


class Health(BaseModel):
    """The server is up."""

    status: Literal["ok"] = "ok"
    waiting: int = Field(description="requests that wait for the nets or are being answered")


class ClassOfBundle(BaseModel):
    """A class that the nets know."""

    name: str
    description: str = ""
    threshold: float = Field(description="from what probability on it is predicted")
    threshold_note: str = Field("", description="why the threshold was not tuned on validation records; empty: it was")
    scp_codes: list[str] = []
    snomed_ct: list[dict[str, str]] = Field([], description="code, name and relation")
    n_patients: list[int] | None = Field(
        None, description="validation patients with a negative and with a positive record; null: not known"
    )


class InputOfBundle(BaseModel):
    """What the nets take; another order of leads, sampling rate or length is converted if that needs no guess."""

    lead_names: list[str]
    sampling_rate_hz: float
    unit: Literal["mV"] = "mV"
    n_samples: int = Field(description="of one window; a longer recording is cut into several")
    duration_s: float
    metadata: list[str] = Field(description="what else they take, such as age (years) and sex (0 male, 1 female)")
    may_lack_leads: bool
    shorter: Literal["refuse", "pad"]


class Parity(BaseModel):
    """How far the bundle's probabilities are from those of the nets it was made of."""

    n_records: int | None = None
    records: str = ""
    largest_difference: float | None = None
    bound: float | None = None


class LimitsOfServer(BaseModel):
    """What a request may hold."""

    max_upload_mb: float
    max_files: int
    max_duration_s: float
    max_drawn_s: float
    max_drawn_hz: float
    max_waiting: int


class UnknownOfBundle(BaseModel):
    """Something that the nets cannot know."""

    topic: str = Field(description="such as Classes or Ages")
    says: str


class BundleAnswer(BaseModel):
    """What the bundle is."""

    name: str
    version: str = ""
    description: str = ""
    model: str = ""
    variant: str = Field("", description="how its run differed from the defaults")
    members: list[str] = Field([], description="the models of an ensemble")
    trained: str = Field("", description="the day on which the run ended, UTC")
    n_nets: int
    folds: str = ""
    classes: list[ClassOfBundle]
    threshold_rule: str = ""
    input: InputOfBundle
    can_be_certain: bool = Field(description="whether it can say yes, no or not certain at an error rate")
    why_not_certain: str = ""
    unknown: list[UnknownOfBundle] = Field(description="what the nets cannot know")
    training_data: str = ""
    is_synthetic: bool = Field(description="trained on made-up ECGs: good for trying out alone")
    license: str = ""
    intended_use: str = ""
    parity: Parity | None = None
    formats: list[str] = Field(description="what files are read")
    limits: LimitsOfServer
    notice: str


class RecordingAnswer(BaseModel):
    """The recording as it was found."""

    name: str = Field(description="of its file, as it was sent")
    sampling_rate_hz: float
    duration_s: float
    lead_names: list[str] = Field(description="in the order of the file, those that are known in their usual spelling")
    metadata: dict[str, float | None] = Field(description="what the nets were told beside it; null: not known")


class DrawnLead(BaseModel):
    """A lead, to be drawn."""

    name: str
    is_derived: bool = Field(description="computed from other limb leads")
    mv: list[float | None] = Field(description="mV, rounded to 0.001; null: missing, in a lead that the nets ignore")


class Drawing(BaseModel):
    """A part of the recording for drawing: the standard leads that it has, or that follow from those."""

    leads: list[DrawnLead]
    sampling_rate_hz: float
    start_s: float
    duration_s: float
    is_whole: bool = Field(description="whether this is all of the recording")
    is_resampled: bool = Field(description="whether it is drawn at a lower rate than it was recorded at")
    note: str = Field("", description="what drawing left out, in words; empty if nothing")


class ClassAnswer(BaseModel):
    """What the nets say of one class."""

    name: str
    probability: float = Field(description="the mean over windows and nets, after each net's calibrator")
    logit: float
    threshold: float
    is_predicted: bool = Field(description="whether the probability is at least the threshold")
    certainty: Certainty | None = Field(None, description="null where no error rate was asked for or can be stated")
    certainty_note: str = Field("", description="why it is null, if an error rate was asked for")


class WindowAnswer(BaseModel):
    """A part of a long recording."""

    start_s: float
    duration_s: float
    probabilities: list[float]


class LeadBand(BaseModel):
    """Attribution in one lead."""

    name: str
    values: list[float]


class Band(BaseModel):
    """How much a class depends on each stretch of time: the fall of its logit where the stretch is made flat.

    Value i stands for the time from ``start_s + i * step_s`` to ``start_s + (i + 1) * step_s`` (the last one may be
    shorter: it ends at `end_s`).
    """

    class_name: str
    start_s: float = Field(
        description="in the recording; of a long one, the window in which the class is most probable"
    )
    end_s: float
    stretch_s: float = Field(description="how much is made flat at once")
    step_s: float
    values: list[float] = Field(description="all leads together; above 0: it speaks for the class, below 0: against it")
    lead_step_s: float | None = None
    leads: list[LeadBand] | None = Field(None, description="each lead alone, in steps of lead_step_s; null: too slow")
    unit: str = "change of the logit"
    note: str = ""
    caveat: str


class PredictAnswer(BaseModel):
    """What the nets say of one recording."""

    recording: RecordingAnswer
    signal: Drawing | None
    classes: list[ClassAnswer]
    repairs: list[str] = Field(description="what was changed before the nets saw it; empty: nothing")
    doubts: list[str] = Field(description="what is doubtful in its scale or content")
    unusable: list[str] = Field(description="why it may be no usable ECG, or how it is unlike the training data")
    known: str = Field("", description="which ECG it is of those that the nets have learned from; empty: none")
    error_rate: float | None = None
    windows: list[WindowAnswer] = Field(description="one, or those that a longer recording is cut into")
    attribution: list[Band] = []
    is_synthetic: bool
    notice: str


class BatchLine(BaseModel):
    """One recording of a batch: an `answer` or an `error`."""

    number: int = Field(description="counted from 1")
    n_records: int
    record: str
    answer: PredictAnswer | None = None
    error: str | None = None
