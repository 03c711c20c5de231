"""``metadata.json``: what a bundle says of itself.

Its fields are those of MONAI's bundles where they fit; what a reader needs to bring an ECG into the graph's form, and
to decide by its answers, stands under ``input``, ``classes`` and ``decisions``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.signal_checks import check_rate
from ecgcls.errors import DataError
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.files import printable
from ecgcls.runs.info import RunInfo
from ecgcls.runs.saved import Node, check_types

FORMAT = "ecgcls bundle"
FORMAT_VERSION = 1
NAME = "metadata.json"

_MAX_NAMES, _MAX_NAME = 1000, 200  # of classes, leads or columns; characters of a name
_MAX_NETS = 100
_MAX_DURATION_S = 3600
_UNREADABLE = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
"""Control characters but for tab and newline, those that turn the direction of text, and halves of a character."""

_SCHEMA: dict[str, Any] = {
    "format": str,
    "format_version": int,
    "ecgcls_version": str,
    "name": str,
    "input": {
        "lead_names": list[str], "sampling_rate_hz": int | float, "unit": str, "n_samples": int, "min_samples": int,
        "metadata": list[str], "may_lack_leads": bool, "shorter": str,
    },
    "classes": list[dict[str, Any]],
    "nets": {"n": int, "model": str, "experiment": str, "variant": str, "folds": str},
    "decisions": {"calibrators": list[dict[str, Any]], "threshold_rule": dict[str, Any]},
    "run": dict[str, Any],
    "task": dict[str, Any],
}  # fmt: skip
_CLASS = {
    "name": str, "threshold": float | int, "description": str, "scp_codes": list[str],
    "snomed_ct": list[dict[str, str]],
}  # fmt: skip
_FOR_PEOPLE = {
    **dict.fromkeys(("version", "description", "license", "intended_use"), str),
    "training_data": {"name": str, "license": str},
    "parity": {"n_records": int, "records": str, "largest_difference": float | int, "bound": float | int},
}
"""What may be missing, and is shown where it is there."""


@dataclass(frozen=True, eq=False, repr=False)
class BundleInfo:
    """The content of ``metadata.json``, checked.

    Attributes
    ----------
    content
        All of it.
    where
        What errors call it.
    """

    content: Mapping[str, Any]
    where: str = NAME

    def __post_init__(self) -> None:
        content, where = self.content, self.where
        if content.get("format") != FORMAT:
            raise DataError(f"{where}: format must be {FORMAT!r}, got {content.get('format')!r}")
        if content.get("format_version") != FORMAT_VERSION:
            raise DataError(
                f"{where}: format_version {content.get('format_version')!r} is not one that this version of ecgcls "
                f"reads ({FORMAT_VERSION})"
            )
        check_types(content, _SCHEMA | _FOR_PEOPLE, where=where)
        if absent := [key for key in _SCHEMA if key not in content]:
            raise DataError(f"{where}: {absent[0]!r} is missing")
        self._check_text(content)
        self._check_input(content["input"])
        for one in content["classes"][: _MAX_NAMES + 1]:
            check_types(one, _CLASS, where=f"{where}: classes")
            if not 0 <= Node(one, where)["threshold"] <= 1:
                raise DataError(f"{where}: the threshold of {one['name']} must be in 0..1, got {one['threshold']}")
        self._check_names("classes", self.class_names)
        self._check_calibrators()
        form = content["input"]
        said = {key: form[key] for key in ("lead_names", "sampling_rate_hz", "n_samples")}
        for key, value in ({"class_names": list(self.class_names)} | said).items():
            if (of_run := self.run.data.get(key, value)) != value:
                raise DataError(f"{where}: {key} is {value}, and {of_run} by run.data")

    def __repr__(self) -> str:
        return f"<BundleInfo {self.where}: {self.content['name']}, {len(self.class_names)} classes>"

    def _check_text(self, value: Any) -> None:
        """Refuse text that would do something to a terminal, or turn around what stands beside it."""
        for each in (value, *value) if isinstance(value, Mapping) else (value,):
            if isinstance(each, str) and (found := _UNREADABLE.search(each)):
                raise DataError(f"{self.where}: text with a control character, {printable(found[0])}")
        for child in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
            self._check_text(child)

    def _check_names(self, key: str, names: Sequence[str]) -> None:
        if not len(names) == len({*names}) <= _MAX_NAMES:
            raise DataError(f"{self.where}: {key} must be up to {_MAX_NAMES} different names, got {len(names)} names")
        if odd := [name for name in names if not name.isprintable() or not 0 < len(name.strip()) <= _MAX_NAME]:
            raise DataError(f"{self.where}: {key}: a name must be 1 to {_MAX_NAME} characters, got {odd[0][:40]!r}")

    def _check_input(self, form: Mapping[str, Any]) -> None:
        """Refuse an input that no ECG has, or that would take any amount of memory."""
        for key in ("lead_names", "metadata"):
            self._check_names(f"input.{key}", form[key])
        if unknown := [name for name in form["lead_names"] if name not in LEADS]:
            raise DataError(f"{self.where}: input.lead_names has {unknown[0]!r}, which is no standard lead")
        rate_hz, n_samples = form["sampling_rate_hz"], form["n_samples"]
        try:
            check_rate(rate_hz)
        except DataError as error:
            raise DataError(f"{self.where}: input.sampling_rate_hz: {error}") from error
        if not form["lead_names"] or not 0 < form["min_samples"] <= n_samples <= _MAX_DURATION_S * rate_hz:
            raise DataError(
                f"{self.where}: input needs leads and 0 < min_samples <= n_samples, for {_MAX_DURATION_S} s at most, "
                f"got {len(form['lead_names'])} leads, {form['min_samples']} and {n_samples}"
            )
        if form["unit"] != "mV" or form["shorter"] not in ("refuse", "pad"):
            raise DataError(f"{self.where}: input.unit must be 'mV' and input.shorter 'refuse' or 'pad'")

    def _check_calibrators(self) -> None:
        """Refuse calibrators of other classes or of another number of nets, and what they cannot compute with."""
        names, n_nets = self.class_names, self.content["nets"]["n"]
        if not 0 < len(self.calibrators) == n_nets <= _MAX_NETS:
            raise DataError(f"{self.where}: {len(self.calibrators)} decisions.calibrators of {n_nets} nets")
        try:
            for calibrator in self.calibrators:
                with np.errstate(all="ignore"):
                    found = calibrator.apply_logits(np.array([[-50.0], [0.0], [50.0]]).repeat(len(names), 1), names)
                if not np.isfinite(found).all() or (np.diff(found, axis=0) < -1e-6).any():
                    raise DataError("it gives other than rising, finite logits")
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            why = printable(" ".join(str(error).split()))[:200]
            raise DataError(f"{self.where}: decisions.calibrators: {why or type(error).__name__}") from error

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the graph's outputs."""
        return tuple(one["name"] for one in self.content["classes"])

    @property
    def thresholds(self) -> dict[str, float]:
        """By class: from what probability on it is predicted."""
        return {one["name"]: float(one["threshold"]) for one in self.content["classes"]}

    @cached_property
    def calibrators(self) -> tuple[Calibrator, ...]:
        """One per net."""
        try:
            return tuple(Calibrator.from_dict(one) for one in self.content["decisions"]["calibrators"])
        except TypeError as error:
            raise DataError(f"{self.where}: decisions.calibrators: {error}") from error

    @cached_property
    def run(self) -> RunInfo:
        """What the (first) run said of itself, without its place and machine."""
        return RunInfo.from_dict(self.content["run"], where=f"{self.where}: run")
