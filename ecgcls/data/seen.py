"""The records that a run has seen, known again by their waveforms wherever they turn up, whatever their ids there.

A record without a label in the run's task took no part, but it belongs to a patient who may have: where its fold would
have put it into the training or validation part, it counts as `UNLABELED`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.folds import PARTS
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.store import SignalStore
from ecgcls.data.waveforms import Waveforms, find_known, read_waveforms, sign_waveforms
from ecgcls.files import hash_signals

UNLABELED = "unlabeled"
"""Records without a label that would have been trained or validated on."""
LEARNED_FROM = ("train", "val")
GROUPS = (*PARTS, UNLABELED)
"""All groups: of several that hold the same waveform, the first one counts."""
COLUMNS = ("ecg_id", "part", "known_ecg_id", "similarity", "is_exact")


@dataclass(frozen=True, eq=False)
class SeenRecords:
    """The waveforms of train, val, test and unlabeled records."""

    groups: dict[str, Waveforms]

    def find(self, new: Waveforms) -> pd.DataFrame:
        """Find which records are known; a row for each of them, in the order of the new ones.

        Columns are `ecg_id`, of the new record; `part`, one of `GROUPS`, and `known_ecg_id` of the run's own; and
        `similarity` and `is_exact` as of `ecgcls.data.waveforms.Known`.
        """
        found: dict[int | str, tuple[int | str, str, int | str, float, bool]] = {}
        for part, known in self.groups.items():
            rest = _take(new, ~pd.Index(new.ecg_ids).isin(list(found)))
            for each in find_known(rest, known):
                found[each.ecg_id] = each.ecg_id, part, each.known_id, each.similarity, each.is_exact
        return pd.DataFrame(
            [found[ecg_id] for ecg_id in new.ecg_ids.tolist() if ecg_id in found], columns=list(COLUMNS)
        )

    def recognize(
        self, windows_mv: NDArray[np.float32], *, sampling_rate_hz: int, lead_names: Sequence[str] = LEADS
    ) -> NDArray[np.str_]:
        """Say of each window which ECG that was learned from it is, as ``42 (train)``; empty where it is none.

        `windows_mv` are ``(window, lead, sample)`` in the form that the run's nets take; a lead of nan is not there.
        """
        learned_from = SeenRecords({part: self.groups[part] for part in LEARNED_FROM})
        found = learned_from.find(_sign_windows(windows_mv, sampling_rate_hz, lead_names)).set_index("ecg_id")
        texts = found["known_ecg_id"].astype(str) + " (" + found["part"].astype(str) + ")"
        return texts.reindex(range(len(windows_mv)), fill_value="").to_numpy(dtype=np.str_)

    def hash_signals(self, ecg_ids: Iterable[int | str]) -> str:
        """Return the SHA-256 of labeled records with their signals, in any order."""
        parts = [self.groups[part] for part in PARTS]
        known = pd.Index(np.concatenate([each.ecg_ids for each in parts]))
        rows = known.get_indexer(pd.Index(list(ecg_ids)))
        return hash_signals(known[rows], np.concatenate([each.sha256 for each in parts])[rows])

    def write(self, folder: Path) -> None:
        """Write a file of each group."""
        for part, waveforms in self.groups.items():
            waveforms.write(folder / name_group(part))


def name_group(part: str) -> str:
    """Return the name of the file of a group."""
    return f"{part}.npz"


def read_seen(paths: Sequence[Path]) -> SeenRecords:
    """Read the files of the groups, in their order."""
    return SeenRecords(dict(zip(GROUPS, map(read_waveforms, paths), strict=True)))


def list_seen(store: SignalStore, part: pd.Series, *, is_used: pd.Series) -> SeenRecords:
    """List the records of a data set; of each, by ecg_id, the part that its fold says, and whether it is labeled."""
    every = sign_waveforms(store, store.find_rows(part.index))
    groups = {name: _take(every, ((part == name) & is_used).to_numpy()) for name in PARTS}
    is_beside = part.isin(LEARNED_FROM) & ~is_used
    return SeenRecords(groups | {UNLABELED: _take(every, is_beside.to_numpy())})


def merge(every: Sequence[SeenRecords]) -> SeenRecords:
    """Return what any of several nets has seen; a waveform that several have in one part is in it once."""
    merged = {}
    for part in GROUPS:
        each = [seen.groups[part] for seen in every]
        ids, sha256 = (np.concatenate([getattr(one, name) for one in each]) for name in ("ecg_ids", "sha256"))
        _, rows = np.unique(sha256, axis=0, return_index=True)
        signature = np.concatenate([one.signature for one in each])
        merged[part] = replace(each[0], ecg_ids=ids[rows], sha256=sha256[rows], signature=signature[rows])
    return SeenRecords(merged)


def _sign_windows(windows_mv: NDArray[np.float32], sampling_rate_hz: int, lead_names: Sequence[str]) -> Waveforms:
    """Sign windows as records of their numbers: in microvolt they are as they were in a store."""
    n_windows = len(windows_mv)
    scaled = np.nan_to_num(windows_mv * np.float32(1e3), copy=False, nan=0.0)
    signals_uv = np.rint(scaled, out=scaled).clip(-32768, 32767, out=scaled).astype(np.int16)
    manifest = {"sampling_rate_hz": sampling_rate_hz, "lead_names": list(lead_names)}
    numbers, none = np.arange(n_windows), pd.DataFrame({"ecg_id": []})
    store = SignalStore(signals_uv, numbers, numbers, numbers, manifest, none, none, Path())
    return sign_waveforms(store, numbers)


def _take(waveforms: Waveforms, rows: NDArray[np.bool_]) -> Waveforms:
    arrays = {name: getattr(waveforms, name)[rows] for name in ("ecg_ids", "sha256", "signature")}
    return replace(waveforms, **arrays)
