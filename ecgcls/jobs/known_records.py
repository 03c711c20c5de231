"""Records of another data set that a run has learned from, whatever their ids, labels, patients and folds are there."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.initial import KnownRecords
from ecgcls.data.seen import COLUMNS, describe_found
from ecgcls.data.store import SignalStore
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.predictions import Predictions
from ecgcls.jobs.tested import Tested

log = logging.getLogger(__name__)

_MAX_DIFFERENCE = 0.05  # of probabilities, which half precision, as a GPU may have computed in, does not reach


def find_known(tested: Tested, store: SignalStore, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Find the records in these rows of a store that any of the nets has seen; see `ecgcls.data.seen`.

    Where a run's whole training part is there, the standardizer is fitted again; another one is a `DataError`.
    """
    if (seen := tested.seen) is None:
        if is_of_training(tested, store):
            log.warning(
                "%s: these are the very signals of the data set that the nets were trained on, so most records are "
                "not new to them and the scores are too good; without waveforms the bundle cannot tell which are: "
                "export with waveforms=true, or take other data",
                tested.net.path,
            )
            return pd.DataFrame(columns=list(COLUMNS))
        log.warning(
            "%s: has no waveforms, so whether the nets have learned from any of these %d records cannot be told; "
            "export with waveforms=true",
            tested.net.path,
            len(rows),
        )
        return pd.DataFrame(columns=list(COLUMNS))
    known, _, unchecked = seen.find_in(store, rows)
    for what in unchecked:
        log.warning("Cannot tell whether records were learned from: %s", what)
    trained = known[known["is_exact"] & (known["part"] == "train")].drop_duplicates("known_ecg_id")
    if tested.standardizer_mv is not None and len(trained) == len(seen.groups["train"]):
        mean, sd = store.mean_sd_mv(store.find_rows(trained["ecg_id"]))
        if not np.allclose(tested.standardizer_mv, [mean, np.where(sd > 0, sd, 1)], rtol=1e-5, atol=1e-7):
            raise DataError(
                f"leak: {tested.net.path}: its standardizer is not what its training records give when it is fitted "
                f"again (signals in {store.folder}): best.ckpt was changed; retrain with overwrite=true"
            )
    return known


def is_of_training(tested: Tested, store: SignalStore) -> bool:
    """Whether a store has the very signals, with their ids, of the data set that the nets were trained on.

    A run or bundle that keeps its waveforms leaves out what it has learned from, record by record: then it is False.
    """
    fingerprint = tested.net.info.data.get("fingerprint", {})
    return tested.seen is None and fingerprint.get("signals") == store.manifest["content_sha256"]


def choose_unseen(
    known: pd.DataFrame, ecg_ids: pd.Index, *, tested: Tested, split: str, known_records: KnownRecords, root: Path
) -> pd.Index:
    """Return which records may be scored: none that a net was trained or validated on.

    With ``split=val`` they are the run's own validation records, in their own data set. If some have to be left out and
    `known_records` is ``error``, or if all have to, it is a `DataError`.
    """
    learned_from = known[known["part"] != "test"]
    if split == "val" and tested.is_single_run:
        own = ecg_ids[ecg_ids.isin(known.loc[known["part"] == "val", "ecg_id"])]
        if own.empty:
            raise ConfigError(f"split=val: {root} is another data set than the run's own, all of it is test")
        return own
    if learned_from.empty:
        return ecg_ids
    amount = "all" if len(learned_from) == len(ecg_ids) else f"{len(learned_from)} of"
    told = f"the run has learned from {amount} the {len(ecg_ids)} labeled records ({describe_found(learned_from)})"
    unseen = ecg_ids[~ecg_ids.isin(learned_from["ecg_id"])]
    if unseen.empty and tested.own is not None and not tested.is_single_run:
        raise ConfigError(
            f"data.root: {root} holds the records that the nets were trained on, so their mean says nothing there; "
            "without data.root, fold=all scores each record by the net that has not seen it"
        )
    if unseen.empty:
        raise DataError(f"{root}: nothing to test {tested.net.path} on: {told}; name a data set from elsewhere")
    if known_records == "error":
        raise DataError(f"{root}: not external to {tested.net.path}: {told}; data.known_records=drop leaves them out")
    log.warning("%s: %s; they are left out, and listed in known_records.csv", root, told)
    return unseen


def check_own_tests(predictions: Predictions, known: pd.DataFrame, tested: Tested) -> None:
    """Refuse a run whose net does not predict of its own test records what the run has stored of them."""
    here_too = known[known["is_exact"] & (known["part"] == "test") & known["ecg_id"].isin(predictions.ecg_id)]
    if here_too.empty or tested.own is None or not tested.is_single_run or tested.net.metadata_names:
        return
    stored = tested.own.runs[0].read_predictions("test")
    there = pd.Index(stored.ecg_id).get_indexer(here_too["known_ecg_id"])
    here = pd.Index(predictions.ecg_id).get_indexer(here_too["ecg_id"])
    difference = np.abs(stored.y_prob[there] - predictions.y_prob[here]).max(axis=1)
    if difference[row := int(difference.argmax())] > _MAX_DIFFERENCE:
        raise DataError(
            f"{tested.net.path}: its net predicts its own test record {stored.ecg_id[there[row]]} otherwise than its "
            f"predictions.csv (probabilities differ by up to {difference[row]:.2g}, expected at most "
            f"{_MAX_DIFFERENCE}): the net or the predictions were changed; retrain with overwrite=true"
        )
    is_other = (stored.y_true[there] != predictions.y_true[here]) & (predictions.y_true[here] != UNKNOWN)
    if n_relabeled := int(is_other.any(axis=1).sum()):
        log.warning("%d of the run's %d own test records have other labels here", n_relabeled, len(here_too))
