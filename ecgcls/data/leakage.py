"""The same ECG twice: in two of train, val and test, where it is trained on and tested, or within one of them.

Copies are found in the signals, whatever the table says: see `ecgcls.data.copies`. The search takes all records of a
signal store at once, and its result is kept in the store's folder, so that the folds of a cross-validation, and later
runs, pay for it once.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ecgcls.data.alignment import MIN_CORRELATION
from ecgcls.data.cohort import Cohort
from ecgcls.data.copies import find_pairs, match
from ecgcls.data.folds import PARTS
from ecgcls.data.store import SignalStore
from ecgcls.errors import DataError
from ecgcls.files import write_json

__all__ = ["COPIES", "MIN_CORRELATION", "Copy", "find_copies", "find_duplicates", "settle_copies"]

log = logging.getLogger(__name__)

COPIES = "copies.json"
"""What the search found, in the store's folder."""
_N_SHOWN = 3  # copies in a warning
_VERSION = 3  # of the search: one with another result has another number


@dataclass(frozen=True)
class Copy:
    """Two records of one ECG; `part`, where the first is, is `other_part` or comes before it in train, val, test."""

    ecg_id: int | str
    other_id: int | str
    part: str
    other_part: str
    correlation: float
    """As of `ecgcls.data.alignment.correlate`; 1 if the samples are equal."""
    is_exact: bool
    """Whether every sample is the same."""

    def __str__(self) -> str:
        how = "every sample equal" if self.is_exact else f"correlation {self.correlation:.3f}"
        return f"ecg_id {self.ecg_id} ({self.part}) and ecg_id {self.other_id} ({self.other_part}), {how}"


def settle_copies(cohort: Cohort, store: SignalStore, *, copies: Literal["error", "drop"], root: Path) -> Cohort:
    """Refuse copies in two of train, val and test, or leave out the earlier one; count those within one of them.

    Raises
    ------
    DataError
        If an ECG is in two of them and `copies` is ``error``.
    """
    rows, part = store.find_rows(cohort.records.index), cohort.records["part"].to_numpy(dtype=np.str_)
    found = find_copies(store, rows, part)
    across = [copy for copy in found if copy.part != copy.other_part]
    within = [copy for copy in found if copy.part == copy.other_part]
    if across and copies == "error":
        raise DataError(
            f"{root}: the same waveform is in two of train, val and test: {across[0]}; {len(across)} such pairs "
            f"(all copies are in {store.folder / COPIES}). Put them into one strat_fold, or leave out the earlier one "
            "with data.copies=drop"
        )
    if across:
        left_out = {copy.ecg_id for copy in across}
        log.warning("Left out %d records whose waveform is also in a later one of train, val, test", len(left_out))
        cohort = cohort.leave_out(left_out)
    if within:
        shown = "; ".join(map(str, within[:_N_SHOWN]))
        text = "%d records repeat another one of the same set, and stay: %s; all in %s"
        log.warning(text, len(within), shown, store.folder / COPIES)
    return replace(cohort, n_copies_within={name: sum(copy.part == name for copy in within) for name in PARTS})


def find_copies(store: SignalStore, rows: NDArray[np.int64], part: NDArray[np.str_]) -> list[Copy]:
    """Find the ECGs that are there more than once, in the order of the records.

    An ECG that is there n times makes n - 1 pairs: one of its records, the first one in the latest part that it is in,
    is paired with each other. Without the earlier records of the pairs in two parts, it is in one part alone.

    Parameters
    ----------
    store, rows
        The signals, and the store's row of each record, ``(record,)``.
    part
        ``(record,)``: train, val or test.
    """
    pairs = _read(store)
    if pairs is None:
        pairs = _search(store)
        _write(store, pairs)
    if pairs.empty:
        return []
    position = pd.Series(np.arange(len(store.ecg_ids)), index=store.ecg_ids)
    first, second = (position[pairs[name]].to_numpy() for name in ("ecg_id", "other_id"))
    shape = 2 * (len(store.ecg_ids),)
    _, ecg = connected_components(coo_array((np.ones(len(pairs)), (first, second)), shape=shape), directed=False)
    records = pd.DataFrame(
        {"ecg": ecg[rows], "order": [PARTS.index(each) for each in part], "row": np.arange(len(rows))}
    )
    records = records[records["ecg"].isin(ecg[first])]  # all others are there once
    of_pair = {frozenset(pair[:2]): pair[2] for pair in pairs.itertuples(index=False)}
    least = pairs["correlation"].groupby(ecg[first]).min()  # for two that are copies by way of a third
    found = []
    for number, group in records.groupby("ecg"):
        latest, *others = group.sort_values(["order", "row"], ascending=[False, True])["row"].tolist()
        for row in others:
            one, other = (row, latest) if part[row] != part[latest] else (latest, row)
            ids = store.ecg_ids[rows[one]].item(), store.ecg_ids[rows[other]].item()
            is_exact = bool(np.array_equal(store.signals_uv[rows[one]], store.signals_uv[rows[other]]))
            correlation = 1.0 if is_exact else float(of_pair.get(frozenset(ids)) or least[number])
            found.append((one, Copy(*ids, str(part[one]), str(part[other]), correlation, is_exact)))
    return [copy for _, copy in sorted(found, key=lambda each: each[0])]


def find_duplicates(store: SignalStore, records: pd.DataFrame, known: Mapping[Any, Any]) -> dict[int | str, int | str]:
    """Find the known duplicates that are to be left out; return which record each repeats.

    They are those pairs whose signals are copies, if one of these pairs is in two strat_folds: then the data set is a
    version that still has them, and left out everywhere they give the records of the version that does not. Pairs in
    one strat_fold alone, as in a part of the data set, are never in two of train, val and test, and stay.

    Parameters
    ----------
    records
        Of a source, all in the store.
    known
        Which record to leave out of each pair, and which to keep.
    """
    present = {*records.index}
    rate_hz = store.manifest["sampling_rate_hz"]
    found = {}
    for ecg_id, kept in known.items():
        if {ecg_id, kept} <= present:
            one, other = store.signals_uv[store.find_rows([ecg_id, kept])]
            if match(one, other, sampling_rate_hz=rate_hz, lead_names=store.lead_names) is not None:
                found[ecg_id] = kept
    if "strat_fold" in records and all(records["strat_fold"][a] == records["strat_fold"][b] for a, b in found.items()):
        return {}
    return found


def _search(store: SignalStore) -> pd.DataFrame:
    """Search all records of a store that can be used."""
    rows = np.flatnonzero(~np.isin(store.ecg_ids, store.bad_records["ecg_id"]))
    if len(rows) > 5000:
        log.info("Looking for copies among %d records", len(rows))
    rate_hz = store.manifest["sampling_rate_hz"]
    pairs = find_pairs(store.signals_uv, rows, sampling_rate_hz=rate_hz, lead_names=store.lead_names)
    found = [(store.ecg_ids[pair.first].item(), store.ecg_ids[pair.second].item(), *pair[2:]) for pair in pairs]
    return pd.DataFrame(found, columns=["ecg_id", "other_id", "correlation", "is_exact"])


def _write(store: SignalStore, pairs: pd.DataFrame) -> None:
    content = {"version": _VERSION, "content_sha256": store.manifest["content_sha256"]}
    try:
        write_json(store.folder / COPIES, content | {"pairs": pairs.to_dict(orient="records")}, rows="pairs")
    except OSError as error:
        log.debug("%s: cannot be written (%s); the next run searches again", store.folder / COPIES, error.strerror)


def _read(store: SignalStore) -> pd.DataFrame | None:
    """Read what an earlier search found; None if there is none, or if it is of other signals or damaged."""
    try:
        content = json.loads((store.folder / COPIES).read_bytes())
        if (content["version"], content["content_sha256"]) != (_VERSION, store.manifest["content_sha256"]):
            return None
        pairs = pd.DataFrame(content["pairs"], columns=["ecg_id", "other_id", "correlation", "is_exact"])
        return pairs if pairs[["ecg_id", "other_id"]].isin(store.ecg_ids).all(axis=None) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
