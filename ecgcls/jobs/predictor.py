"""What predicts ECGs: everything between a recording and its prediction, but for the nets themselves.

Neither torch nor Lightning is needed here: a run brings its nets (`ecgcls.jobs.loaded`), a bundle its graph
(`ecgcls.jobs.load_bundle`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ecgcls.data.likeness import Likeness
from ecgcls.data.metadata import describe_unknown, take_values
from ecgcls.data.recordings import Prepared, Recording, Repairs, prepare
from ecgcls.data.seen import SeenRecords
from ecgcls.data.signal_checks import as_signal
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.conformal import SETS, Conformal, can_be_stated, form_sets
from ecgcls.evaluation.logits import mean_of_probabilities
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.jobs.prediction import Prediction
from ecgcls.jobs.scored import (
    UNLIKE_RATE,
    Inspected,
    Scored,
    average_p_values,
    describe_known,
    describe_unusable,
    recognize,
    score_quality,
)
from ecgcls.runs.info import RunInfo

if TYPE_CHECKING:
    from ecgcls.jobs.certainty import Certainty  # which draws

BATCH_SIZE = 256
"""Windows in one forward pass."""

Unusable = Literal["note", "refuse"]
"""What happens to a recording that is no usable ECG, or unlike the training data."""


@dataclass(frozen=True, eq=False, repr=False)
class Predictor(ABC):
    """One net or several, ready to be applied to ECGs.

    Attributes
    ----------
    path
        The folder that it comes from.
    class_names
        The classes, in the order of the logits.
    lead_names, sampling_rate_hz, n_samples
        What the nets take.
    thresholds
        By class: from what probability on it is predicted.
    calibrators
        One per net: recalibrates its probabilities.
    info
        The (first) run's ``run.json``.
    metadata_names
        Columns that the nets take beside the signal, such as age and sex; mostly none.
    may_lack_leads
        Whether the nets were trained to do without some of the leads.
    pads
        Whether they were trained with shorter records filled up (``data.shorter=pad``), as shorter ones are then.
    folds
        Of a configuration, how many folds the nets are of, in words: ``5 folds``, or ``3/5 folds`` if some are missing.
    """

    path: Path
    class_names: tuple[str, ...]
    lead_names: tuple[str, ...]
    sampling_rate_hz: float
    n_samples: int
    thresholds: dict[str, float]
    calibrators: tuple[Calibrator, ...]
    info: RunInfo
    folds: str = ""
    metadata_names: tuple[str, ...] = ()
    may_lack_leads: bool = False
    pads: bool = False

    @abstractmethod
    def apply_nets(
        self, windows_mv: NDArray[np.float32], metadata: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the nets' own logits of windows, before recalibration: ``(net, window, class)``, all finite.

        A lead that is nan is not there: a net that may lack leads gets it as 0, standardized, as in its training.
        """

    @abstractmethod
    def _learn_conformals(self) -> Sequence[Conformal]: ...

    @abstractmethod
    def _read_likenesses(self) -> Sequence[Likeness | None]: ...

    def __repr__(self) -> str:
        what = f"{len(self.class_names)} classes, {len(self.lead_names)} leads at {self.sampling_rate_hz:g} Hz"
        return f"<{type(self).__name__} {self.path}: {self.info.model}, {self.n_nets} net(s), {what}>"

    @property
    def choice(self) -> str:
        """What names these nets on the command line, where they are of several folds."""
        return "fold=all"

    @property
    def n_nets(self) -> int:
        """How many nets are averaged."""
        return len(self.calibrators)

    @cached_property
    def conformals(self) -> tuple[Conformal, ...]:
        """One per net: what its scores were on its own validation records."""
        return tuple(self._learn_conformals())

    @cached_property
    def likenesses(self) -> tuple[Likeness, ...]:
        """One per net: what its training records look like; empty if a run has kept none, or too few to say so."""
        return () if self.why_no_likeness else tuple(one for one in self.kept_likenesses if one is not None)

    @cached_property
    def why_no_likeness(self) -> str:
        """Why there are no `likenesses`, in words; empty if there are."""
        kept = [one for one in self.kept_likenesses if one is not None]
        if not kept or len(kept) < len(self.kept_likenesses):
            return "the run has no likeness.npz, as baselines and older runs have none"
        fewest = min(kept, key=lambda one: one.n_patients)
        if fewest.can_state(UNLIKE_RATE):
            return ""
        return f"that takes {1 / UNLIKE_RATE - 1:.0f} validation patients, and the run has {fewest.n_patients}"

    @cached_property
    def kept_likenesses(self) -> tuple[Likeness | None, ...]:
        """What is kept of `likenesses`, also of too few patients to say so; None for a run that has kept none."""
        return tuple(self._read_likenesses())

    @property
    @abstractmethod
    def seen(self) -> SeenRecords | None:
        """The waveforms of the nets' data sets; None if they have not been kept."""

    @cached_property
    def n_known(self) -> NDArray[np.int64]:
        """``(class, 2)``: validation patients with a negative and with a positive record, the fewest of all nets."""
        return np.min([conformal.n_patients for conformal in self.conformals], axis=0)

    def list_unstated(self, error_rate: float) -> list[str]:
        """Name the classes for which the validation patients are too few to state an error rate."""
        enough = can_be_stated(self.n_known, error_rate)
        return [name for name, is_stated in zip(self.class_names, enough, strict=True) if not is_stated]

    def form_sets(self, ecg_ids: NDArray, logits: NDArray[np.float64], error_rate: float) -> Certainty:
        """Form the sets of records of one window, given the nets' own logits ``(net, record, class)``."""
        from ecgcls.jobs.certainty import Certainty

        sets = form_sets(average_p_values(self.conformals, logits), self.n_known, error_rate)
        return Certainty(error_rate, ecg_ids, sets, self.n_known)

    def predict(
        self,
        signal_mv: ArrayLike,
        *,
        sampling_rate_hz: float,
        lead_names: Sequence[str],
        metadata: Mapping[str, float | None] | None = None,
        repairs: Repairs = "note",
        error_rate: float | None = None,
        unusable: Unusable = "note",
    ) -> Prediction:
        """Predict one recording.

        Parameters
        ----------
        signal_mv
            ``(lead, sample)``, mV. A masked sample is a missing one.
        sampling_rate_hz
            Its sampling rate; resampled to the run's, if that is another.
        lead_names
            The name of each row, in any order; missing limb leads are derived where that is exact. A net that was
            trained with lead dropout takes a recording without some of its leads.
        metadata
            Values of the run's `metadata_names`, as the training set's table has them: ``{"age": 63, "sex": 1}``. What
            is not known is taken as the training set's median, and noted in the prediction's `repairs`.
        repairs
            Whether doubts about the scale or content are noted in the prediction's `repairs`, or refused.
        error_rate
            Above 0 and below 0.5: the prediction also says yes, no or not certain by class (`Prediction.y_set`), and
            leaves out the true answer at most this often, among positive and among negative recordings of new patients.
        unusable
            Whether a recording that is no usable ECG, or unlike the training data, is noted or refused.

        Raises
        ------
        DataError
            If the recording cannot be repaired: too short, a lead missing that cannot be derived, missing samples; or
            if it is refused.
        ConfigError
            If the run takes no such metadata, or a value is no number or not in its range.
        """
        values = take_values(metadata, self.metadata_names)
        recording = Recording(as_signal(signal_mv, lead_names), sampling_rate_hz, tuple(lead_names))
        parts = self.list_parts()
        with_sets = error_rate is not None and len(parts) == 1
        seen = []
        for part in parts:
            prepared = part.prepare(recording, repairs=repairs)
            own = values[[self.metadata_names.index(name) for name in part.metadata_names]]
            seen.append((prepared, part.score_prepared(prepared, own, with_sets=with_sets), own))
        return self.conclude(seen, error_rate=error_rate, unusable=unusable)

    def prepare(self, recording: Recording, *, repairs: Repairs = "note") -> Prepared:
        """Check a recording and bring it into the form that the nets take."""
        return prepare(
            recording,
            lead_names=self.lead_names,
            sampling_rate_hz=self.sampling_rate_hz,
            n_samples=self.n_samples,
            repairs=repairs,
            may_lack=self.may_lack_leads,
            pads=self.pads,
        )

    def predict_prepared(
        self, prepared: Prepared, metadata: NDArray[np.float64], *, error_rate: float | None = None
    ) -> Prediction:
        """Predict a recording in the form that the nets take, and its metadata ``(column,)``, nan where not known."""
        scored = self.score_prepared(prepared, metadata, with_sets=error_rate is not None)
        return self.summarize(prepared, scored, metadata, error_rate=error_rate)

    def score_prepared(self, prepared: Prepared, metadata: NDArray[np.float64], *, with_sets: bool) -> Scored:
        """Return all that is told of a recording in the form that the nets take, with its metadata ``(column,)``."""
        windows_mv = prepared.windows_mv
        return self.score_windows(windows_mv, np.tile(metadata, (len(windows_mv), 1)), with_sets=with_sets)

    def score_windows(
        self,
        windows_mv: NDArray[np.float32],
        metadata: NDArray[np.float64] | None,
        *,
        with_sets: bool = False,
        inspected: Inspected | None = None,
    ) -> Scored:
        """Return all that is told of windows ``(window, lead, sample)`` in mV; `with_sets` gives them p-values.

        What `inspect_windows` has told of them already may be given.
        """
        raw = self.apply_nets(windows_mv, metadata)
        p_values = average_p_values(self.conformals, raw) if with_sets else np.empty((len(windows_mv), 0, 2))
        return Scored(self.average(raw), p_values, *(inspected or self.inspect_windows(windows_mv)))

    def inspect_windows(self, windows_mv: NDArray[np.float32]) -> Inspected:
        """Return what is told of windows ``(window, lead, sample)`` in mV without the nets."""
        quality = score_quality(windows_mv, self.sampling_rate_hz, self.likenesses, self.lead_names)
        return Inspected(*quality, recognize(windows_mv, self.sampling_rate_hz, self.seen, self.lead_names))

    def predict_windows(
        self, windows_mv: NDArray[np.float32], metadata: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Turn ``(window, lead, sample)`` in mV into logits ``(window, class)``, those of the nets' mean probability.

        Each net's logits are recalibrated first, as its run did with its own. All must be finite. Without `metadata`,
        ``(window, column)``, a run that takes such knows none of them.
        """
        return self.average(self.apply_nets(windows_mv, metadata))

    def average(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logits ``(window, class)`` of the nets' mean recalibrated probability, given their own logits."""
        pairs = zip(self.calibrators, logits, strict=True)
        return mean_of_probabilities([calibrator.apply_logits(own, self.class_names) for calibrator, own in pairs])

    def summarize(
        self,
        prepared: Prepared,
        scored: Scored,
        metadata: NDArray[np.float64] | None = None,
        *,
        error_rate: float | None = None,
        unusable: Unusable = "note",
    ) -> Prediction:
        """Average the windows of a recording, and decide at the thresholds and at a stated error rate.

        Which of its metadata ``(column,)`` are not known is said among the repairs. With ``unusable=refuse`` a
        recording of which most windows are no usable ECG, or unlike the training data, is a `DataError`.
        """
        if unusable not in get_args(Unusable):
            raise ConfigError(f"unusable must be {' or '.join(get_args(Unusable))}, got {unusable!r}")
        doubts, is_most = describe_unusable(scored, prepared.lost)
        if unusable == "refuse" and is_most:
            raise DataError(f"refused, as unusable=refuse asks: {'; '.join(doubts)}")
        if metadata is not None:
            repairs = (*prepared.repairs, *describe_unknown(metadata, self.metadata_names))
            prepared = replace(prepared, repairs=repairs)
        return self.decide(scored, prepared, doubts, describe_known(scored), error_rate)

    def decide(
        self, scored: Scored, prepared: Prepared, doubts: tuple[str, ...], known: str, error_rate: float | None
    ) -> Prediction:
        """Average the windows of a recording, and decide; what is told of it is given."""
        mean = mean_of_probabilities(scored.logits)
        y_prob = dict(zip(self.class_names, expit(mean).tolist(), strict=True))
        y_logit = dict(zip(self.class_names, mean.tolist(), strict=True))
        y_pred = {name: prob >= self.thresholds[name] for name, prob in y_prob.items()}
        y_set = {}
        if error_rate is not None:
            sets = form_sets(scored.p_values.mean(axis=0), self.n_known, error_rate)
            y_set = {name: SETS[number] for name, number in zip(self.class_names, sets.tolist(), strict=True)}
        told = prepared.starts_s, prepared.repairs, doubts, known, y_set
        return Prediction(y_prob, y_logit, y_pred, self.thresholds, expit(scored.logits), *told)

    def list_parts(self) -> Sequence[Predictor]:
        """Return those that take a recording in one form each; more than one where nets take different input."""
        return (self,)

    def conclude(
        self,
        seen: Sequence[tuple[Prepared, Scored, NDArray[np.float64]]],
        *,
        error_rate: float | None = None,
        unusable: Unusable = "note",
    ) -> Prediction:
        """Decide about a recording, given for each part its form, what is known of its windows, and the metadata."""
        ((prepared, scored, metadata),) = seen
        return self.summarize(prepared, scored, metadata, error_rate=error_rate, unusable=unusable)
