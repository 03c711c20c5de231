"""Records of another data set that a run has learned from, whatever their ids, labels, patients and folds are there."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.initial import KnownRecords
from ecgcls.data.seen import describe_found, merge
from ecgcls.data.store import SignalStore
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.predictions import Predictions
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.runs.configuration import Configuration

log = logging.getLogger(__name__)

_MAX_DIFFERENCE = 0.05  # of probabilities, which half precision, as a GPU may have computed in, does not reach


def find_known(net: LoadedRun, one: Configuration, store: SignalStore, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Find the records in these rows of a store that any of the nets has seen; see `ecgcls.data.seen`.

    Where a run's whole training part is there, the standardizer is fitted again; another one is a `DataError`.
    """
    seen = merge([run.read_seen() for run in net.learned or one.runs])
    known, _, unchecked = seen.find_in(store, rows)
    for what in unchecked:
        log.warning("Cannot tell whether records were learned from: %s", what)
    trained = known[known["is_exact"] & (known["part"] == "train")].drop_duplicates("known_ecg_id")
    is_refitted = one.info.kind == "net" and one.info.init.get("standardizer", "refit") == "refit"
    if one.is_single_run and is_refitted and len(trained) == len(seen.groups["train"]):
        mean, sd = store.mean_sd_mv(store.find_rows(trained["ecg_id"]))
        own = [values.cpu().numpy().ravel() for values in next(net.nets[0].children()).state_dict().values()]
        if not np.allclose(own, [mean, np.where(sd > 0, sd, 1)], rtol=1e-5, atol=1e-7):
            raise DataError(
                f"leak: {one.folder}: its standardizer is not what its training records give when it is fitted again "
                f"(signals in {store.folder}): best.ckpt was changed; retrain with overwrite=true"
            )
    return known


def choose_unseen(
    known: pd.DataFrame, ecg_ids: pd.Index, *, one: Configuration, split: str, known_records: KnownRecords, root: Path
) -> pd.Index:
    """Return which records may be scored: none that a net was trained or validated on.

    With ``split=val`` they are the run's own validation records, in their own data set. If some have to be left out and
    `known_records` is ``error``, or if all have to, it is a `DataError`.
    """
    learned_from = known[known["part"] != "test"]
    if split == "val" and one.is_single_run:
        own = ecg_ids[ecg_ids.isin(known.loc[known["part"] == "val", "ecg_id"])]
        if own.empty:
            raise ConfigError(f"split=val: {root} is another data set than the run's own, all of it is test")
        return own
    if learned_from.empty:
        return ecg_ids
    amount = "all" if len(learned_from) == len(ecg_ids) else f"{len(learned_from)} of"
    told = f"the run has learned from {amount} the {len(ecg_ids)} labeled records ({describe_found(learned_from)})"
    unseen = ecg_ids[~ecg_ids.isin(learned_from["ecg_id"])]
    if unseen.empty and not one.is_single_run:
        raise ConfigError(
            f"data.root: {root} holds the records that the nets were trained on, so their mean says nothing there; "
            "without data.root, fold=all scores each record by the net that has not seen it"
        )
    if unseen.empty:
        raise DataError(f"{root}: nothing to test {one.folder} on: {told}; name a data set from elsewhere")
    if known_records == "error":
        raise DataError(f"{root}: not external to {one.folder}: {told}; data.known_records=drop leaves them out")
    log.warning("%s: %s; they are left out, and listed in known_records.csv", root, told)
    return unseen


def check_own_tests(predictions: Predictions, known: pd.DataFrame, one: Configuration) -> None:
    """Refuse a run whose net does not predict of its own test records what the run has stored of them."""
    own = known[known["is_exact"] & (known["part"] == "test") & known["ecg_id"].isin(predictions.ecg_id)]
    if own.empty or not one.is_single_run or one.info.data.get("metadata"):
        return
    stored = one.runs[0].read_predictions("test")
    there = pd.Index(stored.ecg_id).get_indexer(own["known_ecg_id"])
    here = pd.Index(predictions.ecg_id).get_indexer(own["ecg_id"])
    difference = np.abs(stored.y_prob[there] - predictions.y_prob[here]).max(axis=1)
    if difference[row := int(difference.argmax())] > _MAX_DIFFERENCE:
        raise DataError(
            f"{one.folder}: its net predicts its own test record {stored.ecg_id[there[row]]} otherwise than its "
            f"predictions.csv (probabilities differ by up to {difference[row]:.2g}, expected at most "
            f"{_MAX_DIFFERENCE}): the net or the predictions were changed; retrain with overwrite=true"
        )
    is_other = (stored.y_true[there] != predictions.y_true[here]) & (predictions.y_true[here] != UNKNOWN)
    if n_relabeled := int(is_other.any(axis=1).sum()):
        log.warning("%d of the run's %d own test records have other labels here", n_relabeled, len(own))
