"""The records that a run has seen, known again by their waveforms wherever they turn up, whatever their ids there.

A record without a label in the run's task took no part, but it belongs to a patient who may have: where its fold would
have put it into the training or validation part, it counts as `UNLABELED`. Where a net was not trained from scratch,
what the net that it started from has learned from was seen as well, and what that one started from: `INIT`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.folds import PARTS
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.store import SignalStore
from ecgcls.data.waveforms import Waveforms, can_compare, find_known, read_waveforms, sign_waveforms
from ecgcls.errors import DataError
from ecgcls.files import hash_signals

UNLABELED = "unlabeled"
"""Records without a label that would have been trained or validated on."""
INIT = "init"
"""Records that the net's first weights were trained or chosen on, or that are beside these."""
LEARNED_FROM = ("train", "val")
GROUPS = (*PARTS, UNLABELED)
"""All groups: of several that hold the same waveform, the first one counts."""
COLUMNS = ("ecg_id", "part", "known_ecg_id", "similarity", "is_exact")
INIT_FILES = ("init.npz", "init_1.npz", "init_2.npz", "init_3.npz")
"""Of the records of `INIT`, one file for each duration."""
_N_SHOWN = 3
_N_SCALED = 8  # windows at a time, which fit a processor's cache


@dataclass(frozen=True, eq=False)
class SeenRecords:
    """The waveforms of train, val, test and unlabeled records."""

    groups: dict[str, Waveforms]
    init: tuple[Waveforms, ...] = ()
    """Those of `INIT`, of one duration each."""

    def find(self, new: Waveforms) -> pd.DataFrame:
        """Find which records are known; a row for each of them, in the order of the new ones.

        Columns are `ecg_id`, of the new record; `part`, one of `GROUPS` or `INIT`, and `known_ecg_id` of the run's own;
        and `similarity` and `is_exact` as of `ecgcls.data.waveforms.Known`. Of `INIT` only records of the same duration
        are compared.
        """
        pairs = [(part, new, known) for part, known in self if part != INIT or known.duration_s == new.duration_s]
        return _find(pairs, new.ecg_ids)

    def find_in(
        self, store: SignalStore, rows: NDArray[np.int64], open_longer: Callable[[int], SignalStore] | None = None
    ) -> Found:
        """Find which records in these rows of a store are known, as `find`; and what could not be compared.

        Known records that are shorter are compared with the beginnings of the new ones: longer recordings are cut so.
        For longer ones `open_longer` opens a store with so many samples of each new record, those that have as many.
        What cannot be compared are longer ones without it, and those that have no lead in common.
        """
        signed: dict[Fraction, Waveforms] = {}
        ids = pd.Index(store.ecg_ids[rows])
        pairs, unchecked = [], []
        for part, known in self:
            rate_hz = int(store.manifest["sampling_rate_hz"])
            n_samples = known.duration_s * rate_hz
            if not len(known):
                continue
            is_longer = n_samples > store.n_samples
            if n_samples.denominator > 1 or (is_longer and open_longer is None):
                own_s, there_s = store.n_samples / rate_hz, float(known.duration_s)
                unchecked.append(f"{len(known)} records ({part}) of {there_s:g} s, the new ones have {own_s:g} s")
                continue
            if known.duration_s not in signed:
                whole = open_longer(int(n_samples)) if is_longer and open_longer is not None else store
                cut = replace(whole, signals_uv=whole.signals_uv[:, :, : int(n_samples)])
                there = ids[ids.isin(whole.ecg_ids) & ~ids.isin(whole.bad_records["ecg_id"])]
                signed[known.duration_s] = sign_waveforms(cut, whole.find_rows(there))
            if n_short := len(rows) - len(signed[known.duration_s]):
                unchecked.append(f"{len(known)} records ({part}) among {n_short} new ones, which are shorter")
            if not can_compare(signed[known.duration_s], known):
                unchecked.append(f"{len(known)} records ({part}) that have no lead in common")
                continue
            pairs.append((part, signed[known.duration_s], known))
        compared = np.concatenate([np.zeros((0, 16), np.uint8), *(known.sha256 for _, _, known in pairs)])
        return Found(_find(pairs, store.ecg_ids[rows]), len(np.unique(compared, axis=0)), tuple(unchecked))

    def __iter__(self) -> Iterator[tuple[str, Waveforms]]:
        """Yield part and waveforms; of several that hold the same waveform, the first one counts."""
        order = [*LEARNED_FROM, INIT, *GROUPS[len(LEARNED_FROM) :]]
        for part in order:
            every = self.init if part == INIT else [self.groups[part]] if part in self.groups else []
            yield from ((part, each) for each in every)

    @property
    def learned_from(self) -> SeenRecords:
        """Without the test part."""
        return replace(self, groups={part: each for part, each in self.groups.items() if part != "test"})

    def to_init(self) -> tuple[Waveforms, ...]:
        """Return all but the test part as what a net has seen that starts from this run's, by duration."""
        by_duration: dict[Fraction, list[Waveforms]] = {}
        for part, each in self:
            if part != "test" and len(each):
                by_duration.setdefault(each.duration_s, []).append(each)
        if len(by_duration) > len(INIT_FILES):
            raise DataError(f"a run keeps records of {len(INIT_FILES)} durations, got {len(by_duration)}")
        return tuple(_join(every) for every in by_duration.values())

    def recognize(
        self, windows_mv: NDArray[np.float32], *, sampling_rate_hz: int, lead_names: Sequence[str] = LEADS
    ) -> NDArray[np.str_]:
        """Say of each window which ECG that was learned from it is, as ``42 (train)``; empty where it is none.

        `windows_mv` are ``(window, lead, sample)`` in the form that the run's nets take; a lead of nan is not there.
        """
        learned_from = SeenRecords({part: self.groups[part] for part in LEARNED_FROM}, self.init)
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
        for number, name in enumerate(INIT_FILES):
            if number < len(self.init):
                self.init[number].write(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)


class Found(NamedTuple):
    """What `SeenRecords.find_in` has found."""

    known: pd.DataFrame
    """As `SeenRecords.find`."""
    n_compared: int
    """Known waveforms that were looked for."""
    unchecked: tuple[str, ...]
    """What could not be compared, in words."""


def name_group(part: str) -> str:
    """Return the name of the file of a group."""
    return f"{part}.npz"


def read_seen(paths: Sequence[Path], init: Sequence[Path] = ()) -> SeenRecords:
    """Read the files of the groups, in their order, and those of `INIT`."""
    groups = dict(zip(GROUPS, map(read_waveforms, paths), strict=True))
    return SeenRecords(groups, tuple(map(read_waveforms, init)))


def count_parts(found: pd.DataFrame) -> dict[str, int]:
    """Count what `SeenRecords.find` has found, by part."""
    return {str(part): int(count) for part, count in found["part"].value_counts(sort=False).items()}


def describe_found(found: pd.DataFrame, *, whose: str = "the run's") -> str:
    """Return counts by part of what `SeenRecords.find` has found, and the first few records."""
    counts = ", ".join(f"{count} {part}" for part, count in count_parts(found).items())
    first = [
        f"{row.ecg_id} is {whose} {row.known_ecg_id} ({row.part}, "
        + ("every sample equal)" if row.is_exact else f"similarity {row.similarity:.2f})")
        for row in found.head(_N_SHOWN).itertuples()
    ]
    return f"{counts}: ecg_id {'; '.join(first)}{'; ...' * (len(found) > _N_SHOWN)}"


def list_seen(store: SignalStore, part: pd.Series, *, is_used: pd.Series) -> SeenRecords:
    """List the records of a data set; of each, by ecg_id, the part that its fold says, and whether it is labeled."""
    every = sign_waveforms(store, store.find_rows(part.index))
    groups = {name: _take(every, ((part == name) & is_used).to_numpy()) for name in PARTS}
    is_beside = part.isin(LEARNED_FROM) & ~is_used
    return SeenRecords(groups | {UNLABELED: _take(every, is_beside.to_numpy())})


def merge(every: Sequence[SeenRecords]) -> SeenRecords:
    """Return what any of several nets has seen; a waveform that several have in one part is in it once."""
    merged = {part: _join([seen.groups[part] for seen in every]) for part in GROUPS}
    of_init = SeenRecords({}, tuple(each for seen in every for each in seen.init))
    return SeenRecords(merged, of_init.to_init())


def _join(every: Sequence[Waveforms]) -> Waveforms:
    """Put waveforms of one duration together, each once."""
    ids, sha256 = (np.concatenate([getattr(one, name) for one in every]) for name in ("ecg_ids", "sha256"))
    _, rows = np.unique(sha256, axis=0, return_index=True)
    signature = np.concatenate([one.signature for one in every])
    return replace(every[0], ecg_ids=ids[rows], sha256=sha256[rows], signature=signature[rows])


def _find(pairs: Sequence[tuple[str, Waveforms, Waveforms]], ecg_ids: NDArray) -> pd.DataFrame:
    """Find new records among known ones: by part both, where the first part that has a record counts."""
    found: dict[int | str, tuple[int | str, str, int | str, float, bool]] = {}
    for part, new, known in pairs:
        rest = _take(new, ~pd.Index(new.ecg_ids).isin(list(found)))
        for each in find_known(rest, known):
            found[each.ecg_id] = each.ecg_id, part, each.known_id, each.similarity, each.is_exact
    return pd.DataFrame([found[ecg_id] for ecg_id in ecg_ids.tolist() if ecg_id in found], columns=list(COLUMNS))


def _sign_windows(windows_mv: NDArray[np.float32], sampling_rate_hz: int, lead_names: Sequence[str]) -> Waveforms:
    """Sign windows as records of their numbers: in microvolt they are as they were in a store."""
    n_windows = len(windows_mv)
    signals_uv = np.empty(windows_mv.shape, np.int16)
    for start in range(0, n_windows, _N_SCALED):
        scaled = windows_mv[start : start + _N_SCALED] * np.float32(1e3)
        if np.isnan(scaled.min()):
            scaled[np.isnan(scaled)] = 0
        signals_uv[start : start + _N_SCALED] = np.rint(scaled, out=scaled).clip(-32768, 32767, out=scaled)
    manifest = {"sampling_rate_hz": sampling_rate_hz, "lead_names": list(lead_names)}
    numbers, none = np.arange(n_windows), pd.DataFrame({"ecg_id": []})
    store = SignalStore(signals_uv, numbers, numbers, numbers, manifest, none, none, Path())
    return sign_waveforms(store, numbers)


def _take(waveforms: Waveforms, rows: NDArray[np.bool_]) -> Waveforms:
    arrays = {name: getattr(waveforms, name)[rows] for name in ("ecg_ids", "sha256", "signature")}
    return replace(waveforms, **arrays)
