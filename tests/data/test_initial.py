"""Test records that the first weights of a net have learned from, of noise: each resembles no other."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgcls.data.cohort import Cohort
from ecgcls.data.initial import Initial, settle_initial
from ecgcls.data.seen import SeenRecords, list_seen, merge
from ecgcls.data.store import SignalStore
from ecgcls.errors import DataError

N = 8
FIRST = ("train", "train", "val", "val", "test", "test", "train", "")  # of the run that the weights are from
LABELED = (True, True, True, True, True, True, False, True)
SIGNALS_UV = np.random.default_rng(0).normal(0, 300, (N, 12, 1000)).astype(np.int16)


def make_store(signals_uv=SIGNALS_UV, rate_hz=100, start=100):
    ids, none = np.arange(start, start + N), pd.DataFrame({"ecg_id": []})
    return SignalStore(signals_uv, ids, ids, ids, {"sampling_rate_hz": rate_hz}, none, none, Path())


def see(store=None, parts=FIRST):
    store = store or make_store(start=10)
    return list_seen(store, pd.Series(parts, store.ecg_ids), is_used=pd.Series(LABELED, store.ecg_ids))


def make_cohort(parts, start=100):
    records = pd.DataFrame({"patient_id": range(N), "part": parts}, index=np.arange(start, start + N))
    y_true = np.ones((N, 1), np.int8)
    return Cohort(
        records=records, y_true=y_true, class_names=("A",), absent_classes=(), n_without_label=0, unscored_classes={}
    )


def settle(parts, *, seen, known_records="error", store=None, open_longer=None):
    initial = Initial("cnn1d, fold 0", seen, known_records)
    store = store or make_store()
    return settle_initial(make_cohort(parts), store, initial, root=Path("there"), open_longer=open_longer)


def test_the_fold_of_the_first_run_may_be_tested(caplog):
    parts = ("train", "train", "val", "train", "test", "test", "train", "test")
    cohort, compared = settle(parts, seen=see())
    assert len(cohort.records) == N
    assert (compared.n_compared, compared.unchecked, compared.n_val) == (5, (), {"val": 1})
    assert not compared.dropped
    assert not caplog.text  # that both chose their epoch on a record says nothing of the test


def test_a_test_record_that_was_learned_from_is_an_error_or_left_out(caplog):
    parts = ("test", "val", "test", "train", "test", "train", "test", "test")  # trained, chosen on, beside these
    with pytest.raises(DataError) as refused:
        settle(parts, seen=see())
    assert str(refused.value) == (
        "there: leak: 3 of the 5 test records are among those that init (cnn1d, fold 0) has learned from "
        "(1 train, 1 val, 1 unlabeled: ecg_id 100 is its 10 (train, every sample equal); 102 is its 12 (val, every "
        "sample equal); 106 is its 16 (unlabeled, every sample equal)): test on the fold of that run, or start from "
        "another one; init.known_records=drop leaves them out"
    )
    with caplog.at_level(logging.WARNING):
        cohort, compared = settle(parts, seen=see(), known_records="drop")
    assert cohort.records.index.tolist() == [101, 103, 104, 105, 107]
    assert len(cohort.y_true) == 5
    assert compared.dropped == {100, 102, 106}
    assert compared.describe()["n_left_out_of_test"] == 3
    assert "Left out 3 of 5 test records" in caplog.text
    assert "1 of 1 validation records are among those that cnn1d, fold 0 was trained on" in caplog.text
    all_known = ("test", "test", *["train"] * 5, "val")
    with pytest.raises(DataError, match=r"leak: 2 of the 2 test records .*; no other is left"):
        settle(all_known, seen=see(), known_records="drop")


def test_what_the_net_before_that_one_has_learned_from_counts_as_well():
    second = replace(see(make_store(SIGNALS_UV[[7, 6, 0, 1, 4, 5, 2, 3]], start=50)), init=see().to_init())
    third = SeenRecords({}, merge([second]).to_init())
    assert sum(map(len, third.init)) == 6  # five of the first, five of the second, of which four are the same
    _, compared = settle(["test"] * N, seen=third, known_records="drop")
    assert compared.dropped == {100, 101, 102, 103, 106, 107}  # not what both have only tested on, or left out
    assert {*compared.known["part"]} == {"init"}


def test_records_at_another_rate_or_cut_out_of_longer_ones_are_known():
    parts = ("test", *["train"] * 5, "test", "test")
    longer = np.random.default_rng(1).normal(0, 300, (N, 12, 2000)).astype(np.int16)
    longer[:, :, :1000] = SIGNALS_UV
    faster = np.repeat(SIGNALS_UV, 5, axis=-1)
    for store in (make_store(longer), make_store(faster, 500)):
        with pytest.raises(DataError, match=r"2 of the 3 test records .*ecg_id 100 is its 10"):
            settle(parts, seen=see(), store=store)


def test_longer_known_records_are_looked_for_in_the_whole_of_the_new_ones():
    short, whole = make_store(SIGNALS_UV[:, :, :500].copy()), make_store()
    bad = replace(whole, bad_records=pd.DataFrame({"ecg_id": [106], "reason": ["too short"]}))
    opened = []

    def open_longer(n_samples):
        opened.append(n_samples)
        return bad

    parts = ("test", *["train"] * 5, "test", "test")
    with pytest.raises(DataError, match=r"leak: 1 of the 3 test records .*ecg_id 100 is its 10 \(train, every sample"):
        settle(parts, seen=see(), store=short, open_longer=open_longer)
    assert opened == [1000]  # once for all parts
    _, compared = settle(["train"] * 6 + ["test", "test"], seen=see(), store=short, open_longer=open_longer)
    assert compared.unchecked[0] == "2 records (train) among 1 new ones, which are shorter"


def test_what_cannot_be_compared_is_told_and_recorded(caplog):
    parts = ("test", *["train"] * 7)
    with caplog.at_level(logging.WARNING):
        _, compared = settle(parts, seen=see(), store=make_store(SIGNALS_UV[:, :, :500].copy()))
    assert compared.unchecked[0] == "2 records (train) of 10 s, the new ones have 5 s"
    assert "init: the test part was not searched for 2 records (train) of 10 s" in caplog.text
    one, other = SIGNALS_UV.copy(), SIGNALS_UV.copy()
    one[:, 2:], other[:, :8] = 0, 0  # I and II alone, V3 to V6 alone
    _, compared = settle(parts, seen=see(make_store(one, start=10)), store=make_store(other))
    assert compared.unchecked[0] == "2 records (train) that have no lead in common"
    _, compared = settle(parts, seen=None)
    assert compared.unchecked == ("all: nothing is known",)
    assert "nobody can tell whether it has seen the test records" in caplog.text
