"""The nets of a run, or of a bundle, on another data set; without torch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from tqdm import tqdm

from ecgcls.data.cohort import leave_out_missing
from ecgcls.data.groupings import list_groupings, name_groups
from ecgcls.data.metadata import read_columns
from ecgcls.data.seen import count_parts
from ecgcls.data.source import is_simulated
from ecgcls.data.store import SignalStore, open_store
from ecgcls.data.store_writer import count_kinds
from ecgcls.data.usable import find_unusable
from ecgcls.errors import DataError
from ecgcls.evaluation.case_mix import compare_case_mix
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import LocalCalibration
from ecgcls.files import type_ids
from ecgcls.jobs.external_notes import find_data_set
from ecgcls.jobs.known_records import check_own_tests, choose_unseen, find_known, is_of_training
from ecgcls.jobs.local_update import read_rule, update
from ecgcls.jobs.other_data import build_source, label_records
from ecgcls.jobs.parts import build_part
from ecgcls.jobs.predictor import Predictor
from ecgcls.jobs.rescore import Rescored, refuse_learning, simplify
from ecgcls.jobs.tested import Tested

log = logging.getLogger(__name__)

_BATCH_SIZE = 1024  # records that are in memory at once


def predict_data_set(
    tested: Tested,
    *,
    data: Mapping[str, Any],
    split: str,
    overrides: Mapping[str, Any],
    local: Mapping[str, Any] | None = None,
    error_rate: float | None = None,
) -> Rescored:
    """Predict another data set with the net of a run, the mean of all folds' nets, or a bundle.

    Every labeled record is predicted but those that a net was trained or validated on, or that are of the same
    strat_folds and had no label: they are known by their waveforms (`ecgcls.data.seen`). Of the run's own data set
    there remains its test part; with ``split=val``, its validation part alone is predicted. Classes that the other data
    set does not have are left out of the scores, and told.

    Parameters
    ----------
    data
        The node ``data`` of ``conf/evaluate.yaml``; what is not in it is as there.
    local
        ``share`` and ``seed`` of `ecgcls.evaluation.settings.LocalCalibration`: if `overrides` has a calibration or a
        rule for thresholds, it is learned on that part of the patients, and the others are scored.
    """
    usual = {"missing_records": "error", "bad_records": "error", "repairs": "note", "shorter": "refuse"}
    data = usual | {"known_records": "drop"} | dict(data)
    if split == "val":
        refuse_learning(overrides, "with split=val on another data set")
    rule = read_rule(overrides, local or {})
    net, info = tested.net, tested.net.info
    source = build_source(data, int(net.sampling_rate_hz))
    every = source.read_records()
    root = find_data_set(data) or source.root
    database, statements = leave_out_missing(source, every), source.read_statements()
    task = build_part("task", tested.task)
    absent = tuple(info.data["absent_classes"])
    found = label_records(task, net.class_names, absent, database["scp_codes"], statements)
    is_labeled, y_true = found.is_labeled, found.labels.y_true[:, : len(net.class_names)]
    if not is_labeled.any():
        raise DataError(f"{root}: no record to score: none has a label in the run's task")
    if not is_labeled.all():
        log.info("Left out %d records without a label in the task", (~is_labeled).sum())
    store = open_store(
        source.root,
        database["filename"],
        sampling_rate_hz=int(net.sampling_rate_hz),
        n_samples=net.n_samples,
        lead_names=net.lead_names,
        shorter=data["shorter"],
        store_dir=data.get("store_dir"),
    )
    left_out = find_unusable(
        store,
        database,
        known_duplicates=getattr(source, "known_duplicates", {}),
        bad_records=data["bad_records"],
        repairs=data["repairs"],
    )
    usable = database.index[is_labeled & ~database.index.isin(list(left_out.ecg_ids))]
    if usable.empty:
        raise DataError(f"{root}: no record to score: none that can be used has a label in the run's task")
    seen = find_known(tested, store, store.find_rows(usable))
    scored = choose_unseen(seen, usable, tested=tested, split=split, known_records=data["known_records"], root=root)
    is_scored = database.index.isin(scored)
    records = database[is_scored]
    rows = store.find_rows(records.index)
    metadata = _read_metadata(records, net.metadata_names, root)
    raw = _apply_nets(net, store, rows, metadata)
    logits = net.average(raw)
    certainty = None if error_rate is None else net.form_sets(type_ids(records.index), raw, error_rate)
    n_unknown = dict(zip(net.metadata_names, np.isnan(metadata).sum(axis=0).tolist(), strict=True))
    predictions = Predictions(
        ecg_id=type_ids(records.index),
        patient_id=records["patient_id"].to_numpy(),
        strat_fold=records["strat_fold"].to_numpy() if "strat_fold" in records else np.zeros(len(records), dtype=int),
        split=np.full(len(records), split),
        y_true=y_true[is_scored],
        y_prob=expit(logits),
        y_logit=logits,
        class_names=net.class_names,
    )
    check_own_tests(predictions, seen, tested)
    if n_own := int((seen["ecg_id"].isin(predictions.ecg_id) & (seen["part"] == "test")).sum()):
        log.warning("%d of the %d scored records are the run's own test records: not external", n_own, len(predictions))
    simulated = source.is_synthetic or is_simulated(source.root)
    trained = " (trained on simulated ECGs)" if info.synthetic and not simulated else ""
    includes_training = is_of_training(tested, store)
    included = " (includes the nets' training records)" if includes_training else ""
    groups = name_groups(records, list_groupings(source))
    rescored = Rescored(
        predictions.take_classes(found.class_names),
        f"{tested.title}{trained}, on {root.resolve().name}{' (simulated ECGs)' if simulated else ''}{included}",
        {
            "bundle" if tested.own is None else "runs": [str(net.path)],
            "split": split,
            "data_root": str(root if root.name else root.resolve()),  # "." names nothing
            "data": str(data.get("_target_", "")).rpartition(".")[2] or "PTBXL",
            "n_records": len(predictions),
            "classes_not_scored": [name for name in net.class_names if name not in found.class_names],
            "classes_broader": found.broader,
            "known_records": count_parts(seen),
            "n_known_left_out": int((~seen["ecg_id"].isin(scored)).sum()),
            "n_own_test_records": n_own,
            "includes_training_records": includes_training,
            "is_simulated": simulated,
            "trained_on_simulated_ecgs": info.synthetic,
            "n_without_label": int((~is_labeled).sum()),
            "n_missing_files": len(every) - len(database),
            "n_bad_records": len(left_out.bad),
            "n_duplicates_left_out": len(left_out.duplicates),
            **({"n_unknown_metadata": n_unknown} if n_unknown else {}),
            "repairs": dict(count_kinds(store.repairs["what"][store.repairs["ecg_id"].isin(records.index)])),
            "signals_sha256": store.manifest["content_sha256"],
        },
        info.evaluation.replace_with(overrides),
        simplify([net.thresholds[name] for name in found.class_names]),
        groups=groups,
        known=seen,
        likelihoods=task.find_likelihoods(found.class_names, records["scp_codes"], statements),
        certainty=None if certainty is None else certainty.take_columns(found.columns),
    )
    rescored = replace(rescored, tables={"crosswalk.csv": found.tabulate(records["scp_codes"])})
    rescored = rescored if rule is None else _update(rescored, rule, overrides, net)
    if split == "test" and (own := tested.own) is not None:  # of the records that are scored, as the net itself says
        mix = compare_case_mix(own.tested, rescored.uncalibrated or rescored.predictions, own.groups, groups)
        rescored = replace(rescored, tables=dict(rescored.tables) | {"case_mix.csv": mix})
    return rescored


def _apply_nets(
    net: Predictor, store: SignalStore, rows: NDArray[np.int64], metadata: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the nets' own logits, ``(net, record, class)``."""
    batches = np.array_split(np.arange(len(rows)), -(-len(rows) // _BATCH_SIZE))
    shown = tqdm(batches, desc="Predicting", unit=" batches", disable=None)
    return np.concatenate([net.apply_nets(store.read_mv(rows[batch]), metadata[batch]) for batch in shown], axis=1)


def _update(rescored: Rescored, rule: LocalCalibration, overrides: Mapping[str, Any], net: Predictor) -> Rescored:
    """Recalibrate on a part of the records, and keep the others."""
    found = update(
        rescored.predictions,
        rule,
        settings=rescored.settings,
        asked=overrides.get("thresholds", {}),
        thresholds=[net.thresholds[name] for name in rescored.predictions.class_names],
    )
    n_learned = len(found.learned_on)
    if found.not_recalibrated:
        text = "Too few positive or negative records among the %d for recalibration: %s stay as they were"
        log.warning(text, n_learned, ", ".join(found.not_recalibrated))
    certainty, what = rescored.certainty, "thresholds" if rule.method == "none" else rule.method
    return replace(
        rescored,
        predictions=found.after,
        uncalibrated=found.before,
        threshold=simplify(list(found.thresholds)),
        title=f"{rescored.title}, {what} learned on {n_learned} there",
        source=rescored.source | {"local_update": found.describe()},
        certainty=None if certainty is None else certainty.take(found.after.ecg_id),
        tables=dict(rescored.tables) | {"local_update_records.csv": found.tabulate()},
    )


def _read_metadata(records: pd.DataFrame, columns: Sequence[str], root: Path) -> NDArray[np.float64]:
    """Return ``(record, column)`` of the table, nan where it has no such column or no number in it, and say so."""
    values = read_columns(records.reindex(columns=list(columns)), columns, key="model.metadata")
    for column, n_unknown in zip(columns, np.isnan(values).sum(axis=0), strict=True):
        if n_unknown:
            log.warning(
                "%s: the %s of %d of %d records is not known: taken as the median of the nets' training sets",
                root,
                column,
                n_unknown,
                len(values),
            )
    return values
