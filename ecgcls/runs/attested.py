"""Whether a finished run's results follow from one another: found out by doing it again, not by what a file says.

Records, patients and labels of the predictions must be those that ``run.json`` has a fingerprint of, the net's own
predictions those that it wrote. From them the calibrator and the thresholds are learned again by the run's own rule,
and applied again: thresholds that were chosen elsewhere, or predictions that were changed since, do not come out.

What this cannot find is a net that was trained on other data and a folder that was made consistent afterwards: whoever
knows the code can write every fingerprint anew. Training again tells.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ecgcls import __version__
from ecgcls.data.folds import PARTS
from ecgcls.data.seen import SeenRecords, name_group
from ecgcls.errors import DataError
from ecgcls.evaluation.decisions import Decisions, learn_decisions
from ecgcls.evaluation.predictions import Predictions
from ecgcls.files import encode_ids, hash_records
from ecgcls.runs.info import RunInfo
from ecgcls.runs.manifest import hash_file
from ecgcls.runs.saved import damaged

log = logging.getLogger(__name__)

CHECKPOINTS = ("best.ckpt", "baseline.json")
"""What a run keeps of a trained net, or of a fitted baseline."""
_CURE = "get the run's own files, or retrain with overwrite=true"
_RELATIVE, _ABSOLUTE = 1e-3, 1e-6  # of probabilities: another machine, or SciPy, ends its search elsewhere


def attest(
    info: RunInfo,
    *,
    run_json: Path,
    config: tuple[Path, Mapping[str, Any]],
    uncalibrated: tuple[Path, Predictions],
    calibrated: tuple[Path, Predictions],
) -> None:
    """Refuse a finished run whose results do not follow from one another; each file comes with its path.

    Of a run of an earlier version, whose fingerprints are of ecg_ids alone, the decisions are compared and no more.
    """
    try:
        if info.covers_content:
            check_records(*uncalibrated, info)
            check_records(*calibrated, info)
            check_net(*uncalibrated, info)
            check_checkpoint(run_json.parent, info)
            check_settings(*config, info)
        decisions = check_decisions(run_json, uncalibrated[1], info)
        if info.covers_content:
            check_decided(*calibrated, decisions.apply(uncalibrated[1]), decisions.thresholds)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise damaged(run_json, error) from error


def hash_uncalibrated(uncalibrated: Predictions) -> str:
    """Return the SHA-256 of what a net predicted, in the order of the records."""
    content = hashlib.sha256(encode_ids(uncalibrated.ecg_id))
    content.update(uncalibrated.y_score.astype("<f8").tobytes())
    return content.hexdigest()


def check_records(path: Path, predictions: Predictions, info: RunInfo) -> None:
    """Refuse predictions of other records than the run's, or with other patients or labels."""
    for part in ("val", "test"):
        found, expected = hash_predicted(predictions.select(part)), info.hash_part(part)
        if found != expected:
            raise DataError(
                f"{path}: its {part} records are not those of the run: other ids, patients or labels (fingerprint "
                f"{found[:12]}, expected {expected[:12]} by run.json); {_CURE}"
            )


def hash_predicted(predictions: Predictions) -> str:
    """Return the fingerprint of the records of predictions, with their patients and labels."""
    return hash_records(predictions.ecg_id, predictions.patient_id, predictions.y_true, predictions.class_names)


def check_seen(folder: Path, seen: SeenRecords, info: RunInfo) -> None:
    """Refuse waveforms of other records, or of other signals, than those of the run's parts."""
    for part in PARTS if info.covers_content else ():
        found, expected = seen.hash_signals(seen.groups[part].ecg_ids), info.hash_part(part, "signals")
        if found != expected:
            raise DataError(
                f"{folder / name_group(part)}: not of the records of the run's {part} part (fingerprint {found[:12]}, "
                f"expected {expected[:12]} by run.json); {_CURE}"
            )


def check_net(path: Path, uncalibrated: Predictions, info: RunInfo) -> None:
    """Refuse predictions before recalibration that are not those that the run's net wrote."""
    found, expected = hash_uncalibrated(uncalibrated), info.fingerprints.get("predictions", "")
    if found != expected:
        raise DataError(
            f"{path}: not what the run's net predicted (fingerprint {found[:12]}, expected {expected[:12]} by "
            f"run.json); {_CURE}"
        )


def check_checkpoint(folder: Path, info: RunInfo) -> None:
    """Refuse a checkpoint that is not the one that the predictions are from."""
    for name in CHECKPOINTS:
        expected = info.fingerprints.get(name)
        if expected and (folder / name).is_file() and (found := hash_file(folder / name)) != expected:
            raise DataError(
                f"{folder / name}: not what the run's predictions are from: weights or standardizer were changed since "
                f"(SHA-256 {found[:12]}, expected {expected[:12]} by run.json); {_CURE}"
            )


def check_decisions(where: Path, uncalibrated: Predictions, info: RunInfo) -> Decisions:
    """Learn the run's decisions again and return its own; refuse them if they differ.

    Of a run of another version of ecgcls, or an earlier state of this one, which may have learned otherwise, a
    difference is a warning.
    """
    own, validation = info.read_decisions(), uncalibrated.select("val")
    own.check_learned_on(info.hash_part("val"))
    settings = info.evaluation
    again = learn_decisions(
        validation,
        calibration=settings.calibration,
        thresholds=settings.thresholds,
        pos_weight=info.pos_weight,
        own_thresholds=info.own_thresholds,
    )
    differing = ""
    for name in info.class_names:
        if not np.isclose(own.thresholds[name], again.thresholds[name], _RELATIVE, _ABSOLUTE):
            differing = f"the threshold of {name} is {own.thresholds[name]:.4g}, expected {again.thresholds[name]:.4g}"
            break
    if not np.allclose(own.apply(validation).y_prob, again.apply(validation).y_prob, _RELATIVE, _ABSOLUTE):
        differing = "the calibrator is another"
    if differing:
        made_by = info.versions.get("ecgcls", __version__)
        text = f"{where}: the run's rules, applied to its validation records again, give other decisions: {differing}"
        if made_by == __version__ and info.covers_content:
            raise DataError(f"leak: {text}; they were chosen on other records, or changed since; {_CURE}")
        log.warning("%s (the run is of an earlier ecgcls, %s, this is %s)", text, made_by, __version__)
    return own


def check_decided(path: Path, decided: Predictions, expected: Predictions, thresholds: Mapping[str, float]) -> None:
    """Refuse recalibrated predictions and decisions that are not those of the run's calibrator and thresholds."""
    same = np.isclose(decided.y_prob, expected.y_prob, rtol=1e-6, atol=1e-9)
    if decided.y_logit is not None and expected.y_logit is not None:
        same &= np.isclose(decided.y_logit, expected.y_logit, rtol=1e-6, atol=1e-6)
    at = np.array([thresholds[name] for name in expected.class_names])
    same &= (decided.y_pred == expected.y_pred) | np.isclose(expected.y_prob, at, rtol=1e-9, atol=0)
    if not same.all():
        row, column = np.argwhere(~same)[0]
        raise DataError(
            f"{path}: not what the run's calibrator and thresholds make of the net's predictions (ecg_id "
            f"{expected.ecg_id[row]}, {expected.class_names[column]}: probability {decided.y_prob[row, column]:.4g}, "
            f"expected {expected.y_prob[row, column]:.4g}); {_CURE}"
        )


def check_settings(path: Path, config: Mapping[str, Any], info: RunInfo) -> None:
    """Refuse a configuration, from this file, that is not the run's, or evaluates otherwise than ``run.json`` says."""
    found, expected = hash_file(path), info.fingerprints.get("config", "")
    if found != expected:
        raise DataError(
            f"{path}: not the configuration that the run was trained with (fingerprint {found[:12]}, expected "
            f"{expected[:12]} by run.json); {_CURE}"
        )
    said, asked = asdict(info.evaluation), config.get("evaluation")
    if asked is not None and (differing := _find_difference(asked, said)):
        raise damaged(path, f"evaluation.{differing} is not as in run.json")


def _find_difference(asked: Mapping[str, Any], said: Mapping[str, Any], above: str = "") -> str:
    """Return the first key of which two nodes have different values; empty if there is none."""
    for key, value in said.items():
        if isinstance(value, Mapping) and isinstance(asked.get(key), Mapping) and key != "prevalence":
            if inner := _find_difference(asked[key], value, f"{above}{key}."):
                return inner
        elif asked.get(key, value) != value:
            return above + key
    return ""
