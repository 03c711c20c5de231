"""Score again: a run's stored predictions, the pooled folds, or the net of a run on another data set."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from tqdm import tqdm

from ecgcls.cross_validation import read_folds
from ecgcls.data.cohort import leave_out_missing
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.store import open_store
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.decisions import Decisions, learn_decisions
from ecgcls.evaluation.predictions import Predictions, pool
from ecgcls.evaluation.recalibration import CalibrationRule
from ecgcls.evaluation.thresholds import ThresholdRule
from ecgcls.files import hash_records
from ecgcls.runs import RunDirectory, list_folds, open_run, say_title

if TYPE_CHECKING:
    from ecgcls.inference import LoadedRun

log = logging.getLogger(__name__)

_BATCH_SIZE = 1024  # records that are in memory at once


@dataclass(frozen=True)
class Evaluated:
    """Predictions and where they come from.

    Attributes
    ----------
    predictions
        Of one split.
    title
        Names them in a figure.
    source
        The same for ``metrics.json``.
    thresholds
        By class: from what probability on it is predicted; empty where the predictions say it themselves.
    uncalibrated
        The same records before recalibration; None where there was none, or it is not known.
    """

    predictions: Predictions
    title: str
    source: dict[str, Any]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    uncalibrated: Predictions | None = None

    @property
    def threshold(self) -> float | list[float] | None:
        """The thresholds in the order of the classes, or one for all; None where there are none."""
        if not self.thresholds:
            return None
        at = [self.thresholds[name] for name in self.predictions.class_names]
        return at[0] if len(set(at)) == 1 else at


def read_run(
    path: Path, *, split: str, calibration: CalibrationRule | None = None, thresholds: ThresholdRule | None = None
) -> Evaluated:
    """Read what the best net of a run said about its validation or test part.

    Parameters
    ----------
    path
        The run's folder.
    split
        'val' or 'test'.
    calibration, thresholds
        How to learn calibrator and thresholds anew on the validation part; both None: the run's own.

    Raises
    ------
    DataError
        If the run's own were learned on other records than its validation part.
    """
    run = open_run(path)
    info = run.read_info()
    part = {"val": "validation", "test": "test"}[split]
    decisions = _choose_decisions(run, calibration, thresholds)
    uncalibrated = run.read_uncalibrated().select(split)
    if decisions is None:
        return Evaluated(uncalibrated, f"{say_title(info)}, {part}", {"runs": [_describe(run)], "split": split})
    return Evaluated(
        decisions.apply(uncalibrated),
        f"{say_title(info)}, {part}",
        {"runs": [_describe(run)], "split": split, "decisions": decisions.to_dict()},
        decisions.thresholds,
        uncalibrated,
    )


def read_cross_validation(
    configuration: Path,
    *,
    split: str,
    calibration: CalibrationRule | None = None,
    thresholds: ThresholdRule | None = None,
) -> Evaluated:
    """Pool what the nets of all folds said, each about its own validation or test part, decided at its own thresholds.

    Parameters and errors are those of `read_run`.
    """
    runs = list_folds(configuration)
    before, left_out = read_folds(runs, split=split, is_calibrated=False)
    parts = []
    for run, said in zip(runs, before, strict=True):
        decisions = _choose_decisions(run, calibration, thresholds)
        parts.append(said if decisions is None else decisions.apply(said))
    info = runs[0].read_info()
    part = {"val": "validation", "test": "test"}[split]
    simulated = " (simulated ECGs)" if info["synthetic"] else ""
    return Evaluated(
        pool(parts),
        f"{info['model']}, {len(runs)} folds{simulated}, {part} pooled",
        {"runs": [_describe(run) for run in runs], "split": split, "left_out_classes": left_out},
        uncalibrated=pool(before),
    )


def _choose_decisions(
    run: RunDirectory, calibration: CalibrationRule | None, thresholds: ThresholdRule | None
) -> Decisions | None:
    """Return the run's own decisions, or others learned on its validation part."""
    own, info = run.read_decisions(), run.read_info()
    validation = run.read_uncalibrated().select("val")
    expected = info["data"]["parts"]["val"].get("records_sha256")
    if own is not None and expected is not None:
        own.check_learned_on(expected)
        own.check_learned_on(hash_records(validation.ecg_id))
    if calibration is None and thresholds is None:
        return own
    evaluation = run.read_config().get("evaluation") or {}

    def build(name: str, default: Any) -> Any:
        return instantiate(evaluation[name]) if name in evaluation else default

    return learn_decisions(
        validation,
        calibration=calibration or build("calibration", CalibrationRule("none")),
        thresholds=thresholds or build("thresholds", ThresholdRule("fixed")),
        pos_weight=info.get("pos_weight"),
    )


def predict_data_set(
    path: Path,
    *,
    root: Path,
    split: str,
    missing_records: Literal["error", "drop"],
    store_dir: Path | None,
    device: str,
) -> Evaluated:
    """Predict another data set in PTB-XL's layout with the net of a run, or the mean of all folds' nets.

    Every labelled record is predicted, unless the data set turns out to be the one that the run was trained on (or a
    part of it, or one that contains it): then only the records of the run's own test or validation part are.

    Parameters
    ----------
    path
        The run's folder, or that of a configuration.
    root
        The data set's folder.
    split
        'test' or 'val'; 'val' only if the data set is the run's own.
    missing_records
        What to do with a row whose signal file is missing: ``error`` refuses, ``drop`` leaves it out and counts it.
    store_dir
        Where its signal store lies; None: beside the data, or in the user's cache folder.
    device
        Where the net computes.

    Raises
    ------
    ConfigError
        If nets would be tested on records that they were trained on, or the data set lacks a class of the run.
    DataError
        If the data set cannot be read, or its signals have another length than the net takes.
    """
    from ecgcls.inference import load_run  # torch: stored predictions are scored without it

    run = load_run(path, device=device)
    config = (open_run(path) if len(run.nets) == 1 else list_folds(path)[0]).read_config()
    source = PTBXL(root=root, sampling_rate_hz=config.data.sampling_rate_hz, missing_records=missing_records)
    database = source.read_records()
    n_rows = len(database)
    database = leave_out_missing(source, database)
    known = (*run.class_names, *run.info["data"]["absent_classes"])
    labels = instantiate(config.task).label_as(known, database["scp_codes"], source.read_statements())
    has_label = labels.has_label
    y_true = labels.y_true[:, : len(run.class_names)]
    is_own = _is_own_data(run, database, y_true)
    is_scored = has_label.copy()
    if is_own:
        if len(run.nets) > 1:
            raise ConfigError(
                f"data.root: {root} holds the records that the nets were trained on, so their mean says nothing there; "
                "without data.root, fold=all scores each record by the net that has not seen it"
            )
        part = instantiate(config.folds).split(database["strat_fold"].to_numpy(), fold=config.fold)
        is_scored &= part == split
        log.info("%s is the run's own data set: scored are the %d records of its %s part", root, is_scored.sum(), split)
    elif split != "test":
        raise ConfigError(f"split={split}: {root} is another data set than the run's own, all of it is test")
    if not is_scored.any():
        raise DataError(f"{root}: no record to score: none has a label in the run's task")
    if not has_label.all():
        log.info("Left out %d records without a label in the task", (~has_label).sum())
    store = open_store(root, database["filename"], sampling_rate_hz=config.data.sampling_rate_hz, store_dir=store_dir)
    if store.n_samples != run.n_samples:
        raise DataError(f"{root}: {store.n_samples} samples a lead, the net takes {run.n_samples}")
    records = database[is_scored]
    rows = store.find_rows(records.index)
    n_batches = -(-len(rows) // _BATCH_SIZE)
    batches = tqdm(np.array_split(rows, n_batches), desc="Predicting", unit=" batches", disable=None)
    y_prob = [run.predict_windows(store.read_mv(batch)) for batch in batches]
    predictions = Predictions(
        ecg_id=records.index.to_numpy(),
        patient_id=records["patient_id"].to_numpy(),
        strat_fold=records["strat_fold"].to_numpy() if "strat_fold" in records else np.zeros(len(records), dtype=int),
        split=np.full(len(records), split),
        y_true=y_true[is_scored],
        y_prob=np.concatenate(y_prob),
        class_names=run.class_names,
    )
    folds = f"fold {run.info['fold']}" if len(run.nets) == 1 else f"mean of {len(run.nets)} folds"
    return Evaluated(
        predictions,
        f"{run.info['model']}, {folds}, on {root.resolve().name}",
        {
            "runs": [str(path)],
            "split": split,
            "data_root": str(root),
            "is_own_data_set": is_own,
            "n_without_label": int((~has_label).sum()),
            "n_missing_files": n_rows - len(database),
            "signals_sha256": store.manifest["content_sha256"],
        },
        run.thresholds,
    )


def parse_records(text: str) -> list[int]:
    """Read ecg_ids as typed, ``17,25,99``, or from a CSV file with a column ``ecg_id`` (or only one column).

    Raises
    ------
    ConfigError
        If it is neither.
    """
    items = text.strip().strip("[]").replace(",", " ").split()
    if items and all(item.isdecimal() for item in items):
        return list(dict.fromkeys(int(item) for item in items))
    try:
        table = pd.read_csv(text)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"records must be ecg_ids, as in 17,25,99, or a CSV file with a column ecg_id, got {text!r} "
            f"({str(error).splitlines()[0]})"
        ) from error
    column = "ecg_id" if "ecg_id" in table else table.columns[0] if table.shape[1] == 1 else None
    if column is None:
        raise ConfigError(f"records: {text} has no column ecg_id, got {', '.join(map(str, table.columns))}")
    numbers = pd.to_numeric(table[column], errors="coerce")
    if numbers.isna().any() or (numbers % 1 != 0).any() or table.empty:
        raise ConfigError(f"records: {text} must have a whole number in each row of {column}")
    return list(dict.fromkeys(numbers.astype(int).tolist()))


def narrow(evaluated: Evaluated, ecg_ids: Sequence[int]) -> Evaluated:
    """Keep only these records.

    Raises
    ------
    DataError
        If one of them is not among the predictions.
    """
    return replace(
        evaluated,
        predictions=evaluated.predictions.take(ecg_ids),
        title=f"{evaluated.title}, {len(ecg_ids)} chosen records",
        source=evaluated.source | {"n_chosen_records": len(ecg_ids)},
    )


def _describe(run: RunDirectory) -> dict[str, Any]:
    content = (run.path / "predictions.csv").read_bytes()
    return {"path": str(run.path), "predictions_sha256": hashlib.sha256(content).hexdigest()}


def _is_own_data(run: "LoadedRun", database: pd.DataFrame, y_true: np.ndarray) -> bool:
    """Whether these are records of the data set that the run was trained on: same number, patient, fold and labels.

    Compared are the records of the validation and test parts, which the run keeps; different data sets may use the
    same numbers, but not for the same patients in the same folds with the same labels.
    """
    if "strat_fold" not in database:
        return False
    first = run.path if (run.path / "run.json").is_file() else run.path / "fold_0"
    own = RunDirectory(first).read_predictions()
    shared, there, here = np.intersect1d(own.ecg_id, database.index.to_numpy(), return_indices=True)
    if not len(shared):
        return False
    agrees = (
        (own.patient_id[there] == database["patient_id"].to_numpy()[here])
        & (own.strat_fold[there] == database["strat_fold"].to_numpy()[here])
        & (own.y_true[there] == y_true[here]).all(axis=1)
    )
    return bool(agrees.mean() > 0.9)
