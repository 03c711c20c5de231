"""The nets of a run on another data set."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from tqdm import tqdm

from ecgcls.data.cohort import leave_out_missing
from ecgcls.data.groupings import list_groupings, name_groups
from ecgcls.data.metadata import read_columns
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.source import is_simulated
from ecgcls.data.store import open_store
from ecgcls.data.store_writer import count_kinds
from ecgcls.data.usable import find_unusable
from ecgcls.errors import DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.files import type_ids
from ecgcls.jobs.known_records import KnownRecords, check_own_tests, choose_unseen, count_known, find_known
from ecgcls.jobs.load import load_configuration
from ecgcls.jobs.parts import build_part
from ecgcls.jobs.rescore import Rescored, refuse_learning, simplify
from ecgcls.jobs.trust import take_trusted
from ecgcls.runs.configuration import Configuration

log = logging.getLogger(__name__)

_BATCH_SIZE = 1024  # records that are in memory at once


def predict_data_set(
    one: Configuration,
    *,
    root: Path,
    split: str,
    missing_records: Literal["error", "drop"],
    bad_records: Literal["error", "drop"],
    repairs: Literal["note", "refuse_doubtful", "refuse"],
    known_records: KnownRecords = "drop",
    store_dir: Path | None,
    device: str,
    overrides: Mapping[str, Any],
    trust: Sequence[str] = (),
    error_rate: float | None = None,
) -> Rescored:
    """Predict another data set in PTB-XL's layout with the net of a run, or the mean of all folds' nets.

    Every labeled record is predicted but those that a net was trained or validated on, or that are of the same
    strat_folds and had no label: they are known by their waveforms (`ecgcls.data.seen`). Of the run's own data set
    there remains its test part; with ``split=val``, its validation part alone is predicted.
    """
    refuse_learning(overrides, "on another data set")
    net, config = load_configuration(one, device=device, trust=trust), one.runs[0].read_config()
    rate_hz = take_trusted(config, "data", trust=trust)["sampling_rate_hz"]
    source = PTBXL(root=root, sampling_rate_hz=rate_hz, missing_records=missing_records)
    every = source.read_records()
    database = leave_out_missing(source, every)
    known = (*net.class_names, *one.info.data["absent_classes"])
    task = build_part("task", take_trusted(config, "task", trust=trust))
    labels = task.label_as(known, database["scp_codes"], source.read_statements())
    is_labeled = labels.has_label
    y_true = labels.y_true[:, : len(net.class_names)]
    if task.exclusive:  # a record whose only class the run left out has none
        is_labeled = is_labeled & y_true.any(axis=1)
    if not is_labeled.any():
        raise DataError(f"{root}: no record to score: none has a label in the run's task")
    if not is_labeled.all():
        log.info("Left out %d records without a label in the task", (~is_labeled).sum())
    store = open_store(
        source.root,
        database["filename"],
        sampling_rate_hz=source.sampling_rate_hz,
        n_samples=net.n_samples,
        lead_names=net.lead_names,
        store_dir=store_dir,
    )
    left_out = find_unusable(
        store, database, known_duplicates=source.known_duplicates, bad_records=bad_records, repairs=repairs
    )
    usable = database.index[is_labeled & ~database.index.isin(list(left_out.ecg_ids))]
    if usable.empty:
        raise DataError(f"{root}: no record to score: none that can be used has a label in the run's task")
    seen = find_known(net, one, store, store.find_rows(usable))
    scored = choose_unseen(seen, usable, one=one, split=split, known_records=known_records, root=root)
    is_scored = database.index.isin(scored)
    records = database[is_scored]
    rows = store.find_rows(records.index)
    metadata = _read_metadata(records, net.metadata_names, root)
    batches = np.array_split(np.arange(len(rows)), -(-len(rows) // _BATCH_SIZE))
    shown = tqdm(batches, desc="Predicting", unit=" batches", disable=None)
    raw = np.concatenate([net.apply_nets(store.read_mv(rows[batch]), metadata[batch]) for batch in shown], axis=1)
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
    check_own_tests(predictions, seen, one)
    if n_own := int((seen["ecg_id"].isin(predictions.ecg_id) & (seen["part"] == "test")).sum()):
        log.warning("%d of the %d scored records are the run's own test records: not external", n_own, len(predictions))
    which = f"fold {one.info.fold}" if one.is_single_run else f"mean of {one.folds}"
    simulated = is_simulated(root)
    trained = " (trained on simulated ECGs)" if one.info.synthetic and not simulated else ""
    return Rescored(
        predictions,
        f"{one.info.model}, {which}{trained}, on {root.resolve().name}{' (simulated ECGs)' if simulated else ''}",
        {
            "runs": [str(one.folder)],
            "split": split,
            "data_root": str(root),
            "known_records": count_known(seen),
            "n_known_left_out": int((~seen["ecg_id"].isin(scored)).sum()),
            "is_simulated": simulated,
            "trained_on_simulated_ecgs": one.info.synthetic,
            "n_without_label": int((~is_labeled).sum()),
            "n_missing_files": len(every) - len(database),
            "n_bad_records": len(left_out.bad),
            "n_duplicates_left_out": len(left_out.duplicates),
            **({"n_unknown_metadata": n_unknown} if n_unknown else {}),
            "repairs": dict(count_kinds(store.repairs["what"][store.repairs["ecg_id"].isin(records.index)])),
            "signals_sha256": store.manifest["content_sha256"],
        },
        one.evaluation.replace_with(overrides),
        simplify([net.thresholds[name] for name in net.class_names]),
        groups=name_groups(records, list_groupings(source)),
        known=seen,
        likelihoods=task.find_likelihoods(net.class_names, records["scp_codes"], source.read_statements()),
        certainty=certainty,
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
