"""Records that a run has seen, of noise: in which of its groups a new record is found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgcls.data.seen import GROUPS, list_seen, merge, name_group, read_seen
from ecgcls.data.store import SignalStore
from ecgcls.data.waveforms import sign_waveforms
from ecgcls.errors import DataError
from ecgcls.files import hash_signals

IDS = np.arange(10, 17)
PARTS = ("train", "val", "test", "train", "val", "test", "")


@pytest.fixture(scope="module")
def store():
    """Seven records that resemble one another in nothing."""
    signals_uv = np.random.default_rng(0).normal(0, 300, (7, 12, 1000)).astype(np.int16)
    none = pd.DataFrame({"ecg_id": []})
    return SignalStore(signals_uv, IDS, IDS, IDS, {"sampling_rate_hz": 100}, none, none, Path())


def see(store, parts=PARTS, *, labeled=(True, True, True, False, False, False, True)):
    return list_seen(store, pd.Series(parts, IDS), is_used=pd.Series(labeled, IDS))


def test_records_are_grouped_by_part_and_label(store):
    groups = {name: each.ecg_ids.tolist() for name, each in see(store).groups.items()}
    assert groups == {"train": [10], "val": [11], "test": [12], "unlabeled": [13, 14]}
    assert tuple(groups) == GROUPS


def test_each_record_is_found_in_the_first_group_that_has_its_waveform(store):
    new = sign_waveforms(replace(store, ecg_ids=IDS + 100), np.arange(7))
    found = see(store).find(new)
    assert found.columns.tolist() == ["ecg_id", "part", "known_ecg_id", "similarity", "is_exact"]
    assert found["ecg_id"].tolist() == [110, 111, 112, 113, 114]  # nothing was learned from the last two
    assert found["part"].tolist() == ["train", "val", "test", "unlabeled", "unlabeled"]
    assert found["known_ecg_id"].tolist() == [10, 11, 12, 13, 14] and found["is_exact"].all()
    twice = replace(store, signals_uv=store.signals_uv[[0, 0, 2, 2, 4, 5, 6]])  # unlabeled 13 is test record 12
    assert see(twice).find(sign_waveforms(twice, np.array([1, 3])))["part"].tolist() == ["train", "test"]


def test_what_any_of_several_nets_has_learned_from_is_known_as_such(store):
    others = ("test", "train", "val", "train", "val", "test", "")
    found = merge([see(store), see(store, others)]).find(sign_waveforms(store, np.arange(7)))
    assert found["part"].tolist() == ["train", "train", "val", "unlabeled", "unlabeled"]
    assert len(merge([see(store)] * 5).groups["train"].ecg_ids) == 1


def test_the_groups_are_read_as_they_were_written(store, tmp_path):
    seen = see(store)
    seen.write(tmp_path)
    paths = [tmp_path / name_group(part) for part in GROUPS]
    again = read_seen(paths)
    for part in GROUPS:
        for name in ("ecg_ids", "sha256", "signature"):
            np.testing.assert_array_equal(getattr(again.groups[part], name), getattr(seen.groups[part], name))
    assert again.hash_signals([12, 10]) == hash_signals([10, 12], sign_waveforms(store, np.array([0, 2])).sha256)
    paths[0].write_bytes(b"PK")
    with pytest.raises(DataError, match=r"train\.npz: "):
        read_seen(paths)


def test_a_recording_that_was_learned_from_is_recognized_by_its_windows(store):
    windows_mv = (store.signals_uv[[5, 1]] * np.float32(1e-3)).astype(np.float32)
    assert see(store).recognize(windows_mv, sampling_rate_hz=100).tolist() == ["", "11 (val)"]
    tested_mv = (store.signals_uv[[2]] * 1e-3).astype(np.float32)
    assert see(store).recognize(tested_mv, sampling_rate_hz=100).tolist() == [""]
