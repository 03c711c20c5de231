"""``run.json``: what a run records about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, get_type_hints

import numpy as np
from scipy.special import expit

from ecgcls.errors import ConfigError
from ecgcls.evaluation.blending import Average, Blend, Weights
from ecgcls.evaluation.decisions import Decisions
from ecgcls.evaluation.logits import to_logits
from ecgcls.evaluation.settings import Bootstrap, CalibrationRule, EvaluationSettings, Subgroups, ThresholdRule
from ecgcls.runs.saved import Node, check_types, damaged

NAME = "run.json"

_PART = {
    "n_records": int,
    "n_patients": int,
    "records_sha256": str,
    "signals_sha256": str,
    "n_positive": dict[str, int],
    "n_unknown": dict[str, int],
}
_INNER: dict[str, Any] = {  # of the keys that are nodes themselves; one that is missing is found when it is needed
    "data": {
        "root": str, "class_names": list[str], "lead_names": list[str], "sampling_rate_hz": int | float,
        "n_samples": int, "n_records": int, "n_without_label": int, "n_missing_files": int, "n_copies_left_out": int,
        "n_copies_within": dict[str, int],
        "n_records_with_a_flat_lead": int, "may_lack_leads": bool, "absent_classes": list[str], "labels_sha256": str,
        "windows": {"n_samples": int, "pooling": str},
        "n_folds": int, "held_out": str, "ids": str, "n_of_tested_patients": int,
        "n_untrained": int, "n_untrained_patients": int,
        "fingerprint": dict[str, str], "parts": {"train": _PART, "val": _PART, "test": _PART},
    },
    "decisions": {
        "calibrator": {"method": str, "by_class": dict[str, dict[str, str | float | list[float]]]},
        "threshold_rule": {"rule": str}, "not_tuned": dict[str, str],
        "learned_on": {"n_records": int, "records_sha256": str},
    },
    "init": {
        "source": {"path": str, "weights_sha256": str, "model": str, "experiment": str, "variant": str, "fold": int},
        "earlier": list[dict[str, Any]], "standardizer": str, "notes": list[str],
        "taken": {"layers": list[str], "by_lead": dict[str, str], "left_out": dict[str, str], "unused": list[str]},
        "known_records": {"n_compared": int, "in_test": int, "n_left_out_of_test": int, "in_val": dict[str, int],
                          "unchecked": list[str]},
    },
    "distill": {
        "source": {"path": str, "weights_sha256": str, "model": str, "experiment": str, "variant": str, "fold": int},
        "weight": float,
        "known_records": {"n_compared": int, "in_test": int, "n_left_out_of_test": int, "in_val": dict[str, int],
                          "unchecked": list[str]},
    },
    "ensemble": {
        "average": Average, "weights": Weights, "is_exclusive": bool,
        "members": list[dict[str, Any]],
    },
    "git": {"commit": str, "modified": bool},
    "machine": {"platform": str, "n_cpus": int | None},
    "leakage": {"patients": dict, "waveforms": dict, "standardizer": dict, "calibrator_and_thresholds": dict,
                "official_test_fold": dict[str, int] | None},
    "evaluation": {
        "intervals": get_type_hints(Bootstrap), "calibration": get_type_hints(CalibrationRule),
        "thresholds": get_type_hints(ThresholdRule), "subgroups": get_type_hints(Subgroups),
        "prevalence": float | dict[str, float] | None,
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The schema of ``run.json``; each attribute is a key.

    A run writes it three times: when it starts, and when it ends or is stopped. What is only known at the end is None,
    empty or 0 until then.

    Attributes
    ----------
    status
        Running, finished, interrupted (it can be resumed) or failed; a run whose process was killed stays running.
    error
        Why it was interrupted or failed.
    experiment, model, variant, fold, seed
        What names the run: the choice of the group ``model``, and what differs from the defaults.
    kind
        ``net`` or ``baseline``: which fitter trained it; or ``ensemble``: the mean of other runs, nothing was trained.
    synthetic
        Whether the ECGs are simulated.
    started, finished
        ISO 8601, UTC.
    n_starts
        How often it was started: one more than it was resumed.
    tracking_id
        What it is known by in an experiment tracker.
    n_processes, n_threads
        Processes that trained together, and threads of each; the threads of the last start.
    command, process, machine, versions, git
        Where the result comes from; see `ecgcls.runs.provenance`.
    data
        What the data were: root, leads, sampling rate, classes, counts and fingerprints by part.
    evaluation
        How the run is evaluated, wherever it is scored.
    n_parameters
        Trainable parameters of the net, or fitted numbers of a baseline; of an ensemble the sum over its members.
    n_epochs, best_epoch
        Epochs that were trained, and the one, from 0, whose weights were kept.
    standardized_on
        Fingerprint of the standardizer: its values, and the records and signals that it was fitted on; of a baseline
        that of the records.
    fingerprints
        Of what else results come from: ``net`` (its weights), ``predictions`` (before recalibration), ``config``.
    pos_weight
        By class, in their order: how much more the loss weighed positive records; None: it did not.
    thresholds, decisions
        Threshold per class; the calibrator and how both were chosen, see `ecgcls.evaluation.decisions`.
    leakage
        What was checked; see `ecgcls.runs.leaks`.
    init
        What a fine-tuned net started from, what of it was taken, and whether it had seen any test record; see
        `ecgcls.jobs.initialize`. Empty: nothing.
    distill
        Which run's answers the net has learned from; see `ecgcls.jobs.distill`. Empty: of none.
    ensemble
        What is averaged and with which weights, and the members: where each is, seen from the run's folder, what names
        it, its weight, and fingerprints of what it predicts. Empty: of any other run.
    stages_s
        Wall time of each stage, s; of an ensemble ``fit`` is the sum over its members.
    """

    status: Literal["running", "finished", "interrupted", "failed"]
    error: str | None = None
    experiment: str = ""
    model: str = ""
    variant: str = ""
    fold: int = 0
    seed: int = 0
    kind: Literal["net", "baseline", "ensemble"] = "net"
    synthetic: bool = False
    started: str = ""
    finished: str | None = None
    n_starts: int = 1
    tracking_id: str = ""
    n_processes: int = 1
    n_threads: int = 1
    command: list[str] = field(default_factory=list)
    process: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    evaluation: EvaluationSettings = EvaluationSettings()
    n_parameters: int = 0
    n_epochs: int = 0
    best_epoch: int = 0
    standardized_on: str = ""
    fingerprints: dict[str, str] = field(default_factory=dict)
    pos_weight: list[float] | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    decisions: dict[str, Any] = field(default_factory=dict)
    leakage: dict[str, Any] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)
    distill: dict[str, Any] = field(default_factory=dict)
    ensemble: dict[str, Any] = field(default_factory=dict)
    stages_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], *, where: str = NAME) -> RunInfo:
        """Build what `to_dict` returned; an unknown key, or a value of another type, is a `DataError`."""
        hints = get_type_hints(cls)
        if unknown := [key for key in stored if key not in hints]:
            raise damaged(where, f"unknown key {unknown[0]!r}")
        if "status" not in stored:
            raise damaged(where, "'status' is missing")
        check_types(stored, hints | {"evaluation": {}}, where=where)
        check_types(stored, {key: inner for key, inner in _INNER.items() if stored.get(key) is not None}, where=where)
        data = stored.get("data", {})
        for key in ("started", "finished"):
            try:
                datetime.fromisoformat(stored.get(key) or "2026-01-01")
            except ValueError as error:
                raise damaged(where, f"{key}: {error}") from error
        for key in ("class_names", "lead_names"):
            if key in data and not 0 < len(data[key]) == len({*data[key]}):
                raise damaged(where, f"data.{key} must be different names, got {data[key]}")
        for key in ("sampling_rate_hz", "n_samples"):
            if key in data and not data[key] > 0:
                raise damaged(where, f"data.{key} must be above 0, got {data[key]}")
        if (windows := data.get("windows")) and not 0 < windows.get("n_samples", 0) < data.get("n_samples", 0):
            raise damaged(where, f"data.windows must be shorter than data.n_samples, got {windows}")
        try:
            evaluation = EvaluationSettings().replace_with(stored.get("evaluation", {}))
        except (ConfigError, TypeError, ValueError) as error:
            raise damaged(where, f"evaluation: {error}") from error
        absent = {
            key: Node({}, where) for key in ("data", "decisions", "stages_s", "machine", "init", "distill", "ensemble")
        }
        return cls(**{**absent, **stored, "evaluation": evaluation})

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and text for `json.dump`."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        for key in ("distill", "ensemble"):  # of any other run, as it was before there were these
            if not plain[key]:
                del plain[key]
        return {**plain, "evaluation": asdict(self.evaluation)}

    @property
    def is_finished(self) -> bool:
        """Whether the run ended and its results are all there."""
        return self.status == "finished"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return tuple(self.data["class_names"])

    @property
    def title(self) -> str:
        """The run's name in the title of a figure."""
        held_out = f" ({self.held_out})" if self.held_out else ""
        return f"{self.model}, fold {self.fold}{held_out}{self.simulated}"

    @property
    def held_out(self) -> str:
        """The group of records that the fold tests, such as ``site 3``; empty where folds are drawn at random."""
        return str(self.data.get("held_out", "")).partition(":")[0]

    @property
    def is_one_group(self) -> bool:
        """Whether it is a single one, not the small ones that are tested together."""
        return bool(self.held_out) and not self.held_out.startswith("other ")

    @property
    def simulated(self) -> str:
        """A mark for titles of results from simulated ECGs; empty otherwise."""
        return " (simulated ECGs)" if self.synthetic else ""

    @property
    def covers_content(self) -> bool:
        """Whether its fingerprints are of contents; those of runs of earlier versions are of ecg_ids alone."""
        return "signals_sha256" in self.data.get("parts", {}).get("train", {})

    def hash_part(self, part: str, of: Literal["records", "signals"] = "records") -> str:
        """Return a fingerprint of ``train``, ``val`` or ``test``: ids, patients and labels, or ids and signals."""
        fingerprint: str = self.data["parts"][part][f"{of}_sha256"]
        return fingerprint

    @property
    def own_thresholds(self) -> list[float] | None:
        """Of an ensemble the mean of its members' thresholds by class; of any other run None."""
        if not self.ensemble:
            return None
        members = self.ensemble["members"]
        blend = Blend(tuple(each["weight"] for each in members), self.ensemble["average"])
        at = np.array([[[each["thresholds"][name] for name in self.class_names]] for each in members])
        mean: list[float] = expit(blend.apply(to_logits(at)))[0].tolist()
        return mean

    def read_decisions(self) -> Decisions:
        """Return the run's own calibrator and thresholds; that they are not there for each class is a `DataError`."""
        where = getattr(self.data, "where", NAME)
        if absent := [name for name in self.class_names if name not in self.thresholds]:
            raise damaged(where, f"no threshold of {absent[0]}")
        try:
            decisions = Decisions.from_dict(self.decisions, self.thresholds)
            decisions.calibrator.apply([[0.5] * len(self.class_names)], self.class_names)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(where, f"decisions: {error}") from error
        return decisions
