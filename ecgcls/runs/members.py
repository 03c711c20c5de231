"""The members of an ensemble: whether they were tested on the same records, and what they predict together.

An ensemble is a run whose own predictions are the mean of other runs' recalibrated ones (`ecgcls.evaluation.blending`).
Its ``run.json`` says where these runs are, seen from its own folder, and has fingerprints of what they predicted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.blending import Average, Blend, Weights, blend_equally, fit_blend
from ecgcls.evaluation.checks import describe_difference
from ecgcls.evaluation.exclusive import are_exclusive
from ecgcls.evaluation.logits import to_logits
from ecgcls.evaluation.predictions import SPLITS, Predictions
from ecgcls.files import printable
from ecgcls.identity import flatten
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo

log = logging.getLogger(__name__)

_CURE = "repeat the command that made the ensemble, evaluate run_dir=[A,B], which makes it anew"
_N_SHOWN = 3  # records in a message
_TOLERANCE = 1e-3  # of a weight that is fitted again: another machine, or SciPy, ends its search elsewhere


def check_same(runs: Sequence[RunDirectory]) -> None:
    """Refuse runs that cannot be averaged: of other classes, records, patients or labels, or evaluated otherwise."""
    first, info = runs[0], runs[0].read_info()
    for run in runs:
        if run.read_info().kind == "ensemble":
            raise ConfigError(f"{run.path} is an ensemble itself: name its members in its place")
    for run in runs[1:]:
        other = run.read_info()
        if other.class_names != info.class_names:
            found = describe_difference(other.class_names, info.class_names)
            raise ConfigError(f"{run.path} cannot be averaged with {first.path}, its classes differ: {found}")
        for split, name in zip(SPLITS, ("validation", "test"), strict=True):
            if other.hash_part(split) != info.hash_part(split):
                found = _tell_apart(first.read_predictions(split), run.read_predictions(split))
                raise ConfigError(
                    f"{run.path} cannot be averaged with {first.path}, its {name} records differ: {found}"
                )
        said, own = (dict(flatten(asdict(each.evaluation))) for each in (info, other))
        if differing := [key for key in said | own if said.get(key) != own.get(key)]:
            raise ConfigError(
                f"{run.path} is evaluated otherwise than {first.path}, evaluation.{differing[0]} is "
                f"{own.get(differing[0])} and {said.get(differing[0])}: an ensemble is evaluated as all its members"
            )


def blend_members(
    runs: Sequence[RunDirectory], *, average: Average = "logits", weights: Weights = "equal"
) -> tuple[Predictions, Blend]:
    """Return the mean of the recalibrated predictions of runs that `check_same` takes, and how it was taken.

    The records, of both parts, are in the order of the first run. Weights are fitted on the validation part.
    """
    every = [run.read_predictions() for run in runs]
    first, is_val = every[0], every[0].split == "val"
    aligned = [each.take_like(first) for each in every]
    logits = [to_logits(each.y_prob) if each.y_logit is None else each.y_logit for each in aligned]
    is_exclusive = all(are_exclusive(each.y_true[is_val], each.y_prob[is_val]) for each in aligned)
    blend = blend_equally(len(runs), average, is_exclusive=is_exclusive)
    if weights == "validation":
        own = [each[is_val] for each in logits]
        blend = fit_blend(first.y_true[is_val], own, average, is_exclusive=is_exclusive)
    mean = blend.apply(logits)
    return replace(first, y_prob=expit(mean), y_logit=mean, y_pred=None, fold=None), blend  # type: ignore[arg-type]


def describe_members(runs: Sequence[RunDirectory], blend: Blend, *, weights: Weights, folder: Path) -> dict[str, Any]:
    """Return what the ``run.json`` of an ensemble in a folder says of its members."""
    members = []
    for run, weight in zip(runs, blend.weights, strict=True):
        info = run.read_info()
        form = {key: info.data[key] for key in ("lead_names", "sampling_rate_hz", "n_samples")}
        members.append(
            {
                "path": Path(os.path.relpath(run.path.resolve(), folder.resolve())).as_posix(),
                "weight": weight,
                **{key: getattr(info, key) for key in ("experiment", "model", "variant", "fold", "seed", "kind")},
                "n_parameters": info.n_parameters,
                "thresholds": dict(info.thresholds),
                "n_train": info.data["parts"]["train"]["n_records"],
                "fingerprints": dict(info.fingerprints),
                "predictions_sha256": run.hash_predictions(),
                **form,
            }
        )
    return {"average": blend.average, "weights": weights, "is_exclusive": blend.is_exclusive, "members": members}


def read_blend(info: RunInfo) -> Blend:
    """Return how an ensemble takes the mean."""
    of = info.ensemble
    weights = tuple(float(member["weight"]) for member in of["members"])
    if not weights or min(weights) < 0 or not np.isclose(sum(weights), 1):
        raise DataError(
            f"{info.title}: the weights of an ensemble's members are not negative and sum to 1, got {weights}"
        )
    return Blend(weights, of["average"], of["is_exclusive"])


def locate_members(run: RunDirectory) -> list[RunDirectory]:
    """Return the folders of an ensemble's members, which need not be there."""
    here, members = run.path.resolve(), run.read_info().ensemble["members"]
    return [RunDirectory(_shorten(Path(os.path.normpath(here / member["path"])))) for member in members]


def open_members(run: RunDirectory) -> list[RunDirectory]:
    """Return an ensemble's members; one that is gone, or predicts otherwise than it did, is a `DataError`."""
    located = locate_members(run)
    for member, said in zip(located, run.read_info().ensemble["members"], strict=True):
        if not member.is_begun:
            raise DataError(f"{run.path}: its member {member.path} is not there; put it back, or {_CURE}")
        _check_unchanged(run, member, said)
    return located


def check_members(run: RunDirectory, uncalibrated: Predictions) -> None:
    """Refuse an ensemble whose members have changed, or whose predictions are not their mean, taken again.

    Of members that are not there any more nothing can be told, which is a warning.
    """
    located, info = locate_members(run), run.read_info()
    if gone := [member.path for member in located if not member.is_begun]:
        log.warning(
            "%s: its member %s is not there: that it is the mean of its members is not checked", run.path, gone[0]
        )
        return
    of = info.ensemble
    again, blend = blend_members(open_members(run), average=of["average"], weights=of["weights"])
    if not np.allclose(blend.weights, read_blend(info).weights, atol=_TOLERANCE):
        raise DataError(
            f"leak: {run.path}: fitted to the validation records again, the members' weights are {blend.weights}, not "
            f"{read_blend(info).weights}; {_CURE}"
        )
    mean = again.take_like(uncalibrated).y_prob
    if not np.allclose(mean, uncalibrated.y_prob, atol=_TOLERANCE):
        raise DataError(f"{run.path}: its predictions before recalibration are not the mean of its members'; {_CURE}")


def _check_unchanged(run: RunDirectory, member: RunDirectory, said: Mapping[str, Any]) -> None:
    info = member.read_info()
    if info.kind == "ensemble":
        raise DataError(f"{run.path}: its member {member.path} is an ensemble, which no member is; {_CURE}")
    found, expected = dict(info.fingerprints), dict(said["fingerprints"])
    differing = [key for key in ("net", "predictions", "config") if found.get(key) != expected.get(key)]
    if not info.is_finished or differing or member.hash_predictions() != said["predictions_sha256"]:
        what = differing[0] if differing else "predictions.csv"
        raise DataError(
            f"{run.path}: its member {member.path} is not the run that it was ({what} differs by its fingerprint): "
            f"trained again, or changed; {_CURE}"
        )


def _tell_apart(a: Predictions, b: Predictions) -> str:
    """Return in which records, patients or labels predictions of one part differ, the first of each kind."""
    more, less = (np.setdiff1d(*pair).tolist() for pair in ((b.ecg_id, a.ecg_id), (a.ecg_id, b.ecg_id)))
    if more or less:
        kinds = (("more", more), ("missing", less))
        return " and ".join(f"{len(ids)} {what} ({_list_ids(ids)})" for what, ids in kinds if ids)
    b = b.take_like(a)
    if (rows := np.flatnonzero(a.patient_id != b.patient_id)).size:
        row = rows[0]
        return f"the patient of ecg_id {a.ecg_id[row]} is {b.patient_id[row]}, not {a.patient_id[row]}"
    cells = np.argwhere(a.y_true != b.y_true)
    row, column = cells[0] if len(cells) else (0, 0)
    label = f"{printable(a.class_names[column])} of ecg_id {a.ecg_id[row]}"
    return f"{len(cells)} labels, of which {label} is {b.y_true[row, column]}, not {a.y_true[row, column]}"


def _list_ids(ecg_ids: Sequence[int | str]) -> str:
    shown = ", ".join(printable(str(ecg_id)) for ecg_id in ecg_ids[:_N_SHOWN])
    return f"ecg_id {shown}{', ...' * (len(ecg_ids) > _N_SHOWN)}"


def _shorten(path: Path) -> Path:
    """Name a path from the working folder, where it is below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
