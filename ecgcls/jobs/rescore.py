"""Score again: a run's stored predictions, those of all folds, or predictions from anywhere."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import check_ids
from ecgcls.evaluation.decisions import Decisions, learn_decisions
from ecgcls.evaluation.metrics import Scores
from ecgcls.evaluation.pooling import pool
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import EvaluationSettings
from ecgcls.files import encode_csv, name_file, restore, write_atomically
from ecgcls.jobs.certainty import Certainty, form_own_sets, write_certainty
from ecgcls.jobs.results import write_confusion_matrices, write_results
from ecgcls.outputs import name_output
from ecgcls.runs.configuration import PARTS, Configuration
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo
from ecgcls.runs.predictions_csv import read_arrays, read_predictions, write_csv

log = logging.getLogger(__name__)

_TABLES = ("case_mix.csv", "crosswalk.csv", "local_update_records.csv")
_LEARNED = ("calibration", "thresholds")  # settings that are learned on the validation set


@dataclass(frozen=True)
class Rescored:
    """Predictions of one split, what they are (for a figure, and for ``metrics.json``), and how they are evaluated.

    `threshold` is one for all or one per class; None where the predictions carry the decisions themselves.
    `uncalibrated`, `groups` (subgroups by ecg_id), `known` (records of another data set that a net has seen, see
    `ecgcls.data.seen.SeenRecords.find`) and `likelihoods` (of labels, see `label_noise`) are None where they are not
    known. `not_tuned` are the classes to which the rule for thresholds was not applied, in any of the runs. `certainty`
    has the sets at a stated error rate. `tables` are further results, by the name of the file.
    """

    predictions: Predictions
    title: str
    source: dict[str, Any]
    settings: EvaluationSettings = EvaluationSettings()
    threshold: float | list[float] | None = None
    uncalibrated: Predictions | None = None
    groups: pd.DataFrame | None = None
    known: pd.DataFrame | None = None
    not_tuned: tuple[str, ...] = ()
    likelihoods: pd.DataFrame | None = None
    certainty: Certainty | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def own_tests(self) -> list[int]:
        """Of another data set: which of the run's own test records are in it."""
        return [] if self.known is None else self.known.loc[self.known["part"] == "test", "known_ecg_id"].tolist()

    def narrow(self, ecg_ids: Sequence[int] | Sequence[str]) -> "Rescored":
        """Keep only these records; one that is not among the predictions is a `DataError`."""
        return replace(
            self,
            predictions=self.predictions.take(ecg_ids),
            uncalibrated=None if self.uncalibrated is None else self.uncalibrated.take(ecg_ids),
            title=f"{self.title}, {len(ecg_ids)} chosen records",
            source=self.source | {"n_chosen_records": len(ecg_ids)},
        )


def rescore(
    one: Configuration, *, split: str, overrides: Mapping[str, Any], error_rate: float | None = None
) -> Rescored:
    """Return the stored predictions of a run, or of all folds together, each decided as its own run decides.

    `overrides` is what differs from the runs' own settings, as `EvaluationSettings.replace_with` takes it. Another
    calibration or threshold rule is learned on each run's own validation set, and so are sets at a stated error rate.
    """
    if error_rate is not None and split != "test":
        raise ConfigError(
            f"error_rate: the sets are learned on the validation records, so split={split} cannot test them"
        )
    settings = one.evaluation.replace_with(overrides)
    settings.thresholds.refuse_unused(overrides.get("thresholds", {}))
    uncalibrated = one.pooled(split, is_calibrated=False)
    learned = [decide(run, info, settings) for run, info in zip(one.runs, one.infos, strict=True)]
    predictions = [
        decisions.apply(run.read_predictions(split, is_calibrated=False)).take_classes(one.class_names)
        for run, decisions in zip(one.runs, learned, strict=True)
    ]
    runs = [{"path": str(run.path), "predictions_sha256": run.hash_predictions()} for run in one.runs]
    source: dict[str, Any] = {"runs": runs, "split": split}
    threshold = None
    if one.is_single_run:
        source["decisions"] = learned[0].to_dict()
        threshold = simplify([learned[0].thresholds[name] for name in one.class_names])
    else:
        source |= {"left_out_classes": one.left_out_classes, "n_folds": one.n_folds}
    title = f"{one.title}, {PARTS[split]}"
    not_tuned = [name for name in one.class_names if any(name in decisions.not_tuned for decisions in learned)]
    return Rescored(
        pool(predictions, [info.fold for info in one.infos]),
        title,
        source,
        settings,
        threshold,
        uncalibrated,
        one.groups,
        not_tuned=tuple(not_tuned),
        likelihoods=one.likelihoods,
        certainty=None if error_rate is None else form_own_sets(one, error_rate),
    )


def decide(run: RunDirectory, info: RunInfo, settings: EvaluationSettings) -> Decisions:
    """Return the run's own decisions, or others learned on its validation part if the settings ask for others."""
    own, validation = info.read_decisions(), run.read_predictions("val", is_calibrated=False)
    if (settings.calibration, settings.thresholds) == (info.evaluation.calibration, info.evaluation.thresholds):
        return own
    return learn_decisions(
        validation,
        calibration=settings.calibration,
        thresholds=settings.thresholds,
        pos_weight=info.pos_weight,
        own_thresholds=info.own_thresholds,
    )


def simplify(thresholds: list[float]) -> float | list[float]:
    """Return one threshold where those of all classes are the same."""
    return thresholds[0] if len(set(thresholds)) == 1 else thresholds


def refuse_learning(overrides: Mapping[str, Any], where: str) -> None:
    """Refuse another calibration or threshold rule where there is no validation set to learn it on."""
    if any(value is not None for key in _LEARNED for value in overrides.get(key, {}).values()):
        raise ConfigError(f"calibration and thresholds are learned on a run's validation set, not {where}")


def read_predictions_files(
    predictions: Path | None,
    y_true: Path | None,
    y_prob: Path | None,
    *,
    class_names: str | None,
    patient_id: Path | None,
    values: Literal["probabilities", "logits"],
    split: str,
    overrides: Mapping[str, Any],
) -> tuple[Rescored, Path]:
    """Read predictions that were made elsewhere, of the wanted split, and return them with the file that names them.

    They are a table, or arrays as `ecgcls.runs.predictions_csv.read_arrays` takes them; `class_names` is ``NORM,MI``.
    """
    refuse_learning(overrides, "on predictions files")
    if predictions is not None:
        if values == "logits":
            raise ConfigError("values=logits is for y_prob=FILE.npy; in a CSV file, name the columns y_logit_<CLASS>")
        path = predictions
        read, assumptions = read_predictions(path)
        read = read.select(split)
    elif y_true is None or y_prob is None or class_names is None:
        missing = "y_true" if y_true is None else "y_prob" if y_prob is None else "class_names"
        raise ConfigError(f"{missing} is missing: y_true, y_prob and class_names go together")
    else:
        path, names = y_prob, [name.strip() for name in class_names.strip("[]").split(",")]
        read, assumptions = read_arrays(y_true, y_prob, names, patient_id_path=patient_id, values=values)
    for assumption in assumptions:
        log.warning("%s: %s", path, assumption)
    if read.fold is not None:
        n_folds = len(np.unique(read.fold))
        log.info("%s has a column fold: every metric is measured within its %d folds and averaged", path, n_folds)
    settings = EvaluationSettings().replace_with(overrides)
    return Rescored(read, path.name, {"predictions": str(path), "assumptions": assumptions}, settings), path


def name_folder(
    split: str,
    overrides: Mapping[str, Any],
    *,
    root: Path | None,
    records: str | None,
    error_rate: float | None = None,
    local: Mapping[str, Any] | None = None,
) -> str:
    """Name the folder of results after what is scored; what has other predictions, decisions or records has another."""
    parts = [split]
    if root is not None:
        parts.append(name_output(root))
    parts += [str(value) for key in _LEARNED for value in overrides[key].values() if value is not None]
    parts += [f"{name}-{value:g}" for name, value in (local or {}).items() if value is not None]
    if overrides["prevalence"] is not None:
        parts.append(f"prevalence-{json.dumps(overrides['prevalence'])}")
    if error_rate is not None:
        parts.append(f"error_rate-{error_rate:g}")
    if records is not None:
        parts.append(f"records-{name_output(records)}")
    return name_file("-".join(parts))


def write_rescored(rescored: Rescored, folder: Path) -> Scores:
    """Write predictions, scores, figures and a confusion matrix per class."""
    write_csv(rescored.predictions, folder / "predictions.csv")
    if rescored.known is not None and len(rescored.known):
        write_atomically(folder / "known_records.csv", encode_csv(rescored.known, index=False))
    for name in _TABLES:  # of an earlier evaluation
        (folder / name).unlink(missing_ok=True)
    for name, table in rescored.tables.items():
        write_atomically(folder / name, encode_csv(table, index=False))
    scores = write_results(
        folder,
        rescored.predictions,
        title=rescored.title,
        settings=rescored.settings,
        draw=str(rescored.predictions.split[0]),
        threshold=rescored.threshold,
        uncalibrated=rescored.uncalibrated,
        groups=rescored.groups,
        likelihoods=rescored.likelihoods,
        more={"source": rescored.source},
    )
    write_confusion_matrices(
        folder / "figures", rescored.predictions, threshold=rescored.threshold, title=rescored.title
    )
    if rescored.certainty is not None:
        write_certainty(
            folder,
            rescored.predictions,
            rescored.certainty,
            groups=rescored.groups,
            min_records=rescored.settings.subgroups.min_records,
            title=f"{rescored.title}, error rate {rescored.certainty.error_rate:g}",
        )
    return scores


def parse_records(text: str) -> list[int] | list[str]:
    """Read ecg_ids as typed, ``17,25,99`` or ``JS00001,JS00002``, or from a CSV file.

    The file has a column ``ecg_id``, or only one.
    """
    ids = text.strip().strip("[]").replace(",", " ").split()
    where = "records"
    if not ids or Path(text).is_file() or Path(text).suffix or len(Path(text).parts) > 1:
        try:
            table = pd.read_csv(text, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"records must be ecg_ids, as in 17,25,99, or a CSV file with a column ecg_id, got {text!r} "
                f"({str(error).splitlines()[0]})"
            ) from error
        column = "ecg_id" if "ecg_id" in table else table.columns[0] if table.shape[1] == 1 else None
        if column is None:
            raise ConfigError(f"records: {text} has no column ecg_id, got {', '.join(map(str, table.columns))}")
        if table.empty:
            raise ConfigError(f"records: {text} has no record below the header")
        ids, where = [restore(each) for each in table[column]], f"records: {text}: {column}"
    try:
        found: dict[Any, None] = dict.fromkeys(check_ids(where, ids).tolist())
    except DataError as error:
        raise ConfigError(str(error)) from None
    return list(found)
