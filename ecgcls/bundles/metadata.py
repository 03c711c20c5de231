"""``metadata.json``: what a bundle says of itself.

Its fields are those of MONAI's bundles where they fit; what a reader needs to bring an ECG into the graph's form, and
to decide by its answers, stands under ``input``, ``classes`` and ``decisions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ecgcls.data.lead_sets import LEADS
from ecgcls.errors import DataError
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.runs.info import RunInfo
from ecgcls.runs.saved import Node, check_types

FORMAT = "ecgcls bundle"
FORMAT_VERSION = 1
NAME = "metadata.json"

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
    "decisions": {"calibrators": list[dict[str, Any]]},
    "run": dict[str, Any],
    "task": dict[str, Any],
}  # fmt: skip


@dataclass(frozen=True, eq=False)
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
        check_types(content, _SCHEMA, where=where)
        if absent := [key for key in _SCHEMA if key not in content]:
            raise DataError(f"{where}: {absent[0]!r} is missing")
        form = content["input"]
        if unknown := [name for name in form["lead_names"] if name not in LEADS]:
            raise DataError(f"{where}: input.lead_names has {unknown[0]!r}, which is no standard lead")
        if not 0 < form["min_samples"] <= form["n_samples"] or not 0 < form["sampling_rate_hz"] < 1e5:
            raise DataError(
                f"{where}: input needs 0 < min_samples <= n_samples and a sampling rate in Hz, got "
                f"{form['min_samples']}, {form['n_samples']} and {form['sampling_rate_hz']}"
            )
        if form["unit"] != "mV" or form["shorter"] not in ("refuse", "pad"):
            raise DataError(f"{where}: input.unit must be 'mV' and input.shorter 'refuse' or 'pad'")
        for one in content["classes"]:
            check_types(one, {"name": str, "threshold": float | int}, where=f"{where}: classes")
            if not 0 <= Node(one, where)["threshold"] <= 1:
                raise DataError(f"{where}: the threshold of {one['name']} must be in 0..1, got {one['threshold']}")
        names = self.class_names
        if not 0 < len(names) == len({*names}):
            raise DataError(f"{where}: classes must have different names, got {list(names)}")
        for calibrator in self.calibrators:
            calibrator.apply_logits(np.zeros((1, len(names))), names)

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
