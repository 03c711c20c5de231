import json
import logging

import numpy as np
import pytest

from ecgcls.data import leakage
from ecgcls.data.folds import FoldTable
from ecgcls.data.leakage import find_copies
from ecgcls.errors import DataError
from tests.data.modules import make, read_mv, read_truth
from tests.data.stores import hold


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda signal: signal, "every sample equal"),
        (
            lambda signal: signal + np.random.default_rng(0).normal(0, 20, signal.shape).round(),
            r"correlation [01]\.\d+",
        ),
        (lambda signal: (0.8 * signal).round() + 40, r"correlation (0\.999|1\.000)"),
        (lambda signal: np.roll(signal, 240, axis=0), r"correlation [01]\.\d+"),
    ],
    ids=["exact", "noise", "gain and offset", "shifted"],
)
def test_a_copy_in_another_set_is_an_error_or_left_out(copied_root, tmp_path, write_record, change, how):
    members = read_truth(copied_root)
    trained = next(member for member in members if member["part"] == "train")
    tested = next(member for member in members if member["part"] == "test")
    signal_uv = (1000 * read_mv(trained["path"])).round().T  # (sample, lead)
    write_record(tested["path"], change(signal_uv).astype(int))
    ids = [int(member["path"].name.partition("_")[0]) for member in (trained, tested)]
    expected = (
        rf"val and test: ecg_id {ids[0]} \(train\) and ecg_id {ids[1]} \(test\), {how}; 1 such pairs .*copies=drop"
    )
    with pytest.raises(DataError, match=expected):
        make(copied_root, tmp_path)
    data = make(copied_root, tmp_path, copies="drop")
    assert ids[0] not in data.cohort.records.index
    assert ids[1] in data.cohort.records.index
    described = data.describe()
    assert described["n_copies_left_out"] == 1
    assert described["n_records"] == len(members) - 1


def test_copies_within_a_set_are_told_and_stay(copied_root, tmp_path, write_record, caplog):
    members = read_truth(copied_root)
    first, second = [member["path"] for member in members if member["part"] == "train"][:2]
    write_record(second, (900 * read_mv(first)).round().T.astype(int))
    with caplog.at_level(logging.WARNING):
        described = make(copied_root, tmp_path).describe()
    assert (described["n_copies_left_out"], described["n_records"]) == (0, len(members))
    assert described["n_copies_within"] == {"train": 1, "val": 0, "test": 0}
    ids = [int(path.name.partition("_")[0]) for path in (first, second)]
    assert f"1 records repeat another one of the same set, and stay: ecg_id {ids[0]} (train)" in caplog.text
    told = json.loads(next(tmp_path.glob("*/*/copies.json")).read_text())["pairs"]
    assert [(pair["ecg_id"], pair["other_id"], pair["is_exact"]) for pair in told] == [(*ids, False)]


def test_the_real_records_have_no_copy_in_two_sets(ptbxl_root, tmp_path):
    folds = FoldTable(val=[[1], [3], [5], [7], [9]], test=[[2], [4], [6], [8], [10]])
    for fold in range(5):
        assert make(ptbxl_root, tmp_path, folds=folds, fold=fold).describe()["n_copies_left_out"] == 0


@pytest.fixture
def store(synthetic_root, tmp_path):
    return make(synthetic_root, tmp_path).store


def repeat(store, sources: dict[int, int]):
    """The store with some rows replaced: each is a copy, half as large, of another row."""
    signals = store.signals_uv.copy()
    for row, source in sources.items():
        signals[row] = signals[source] // 2
    return hold(store, signals, manifest=store.manifest | {"content_sha256": str(sources)})


def test_an_ecg_that_is_there_four_times_makes_three_pairs_with_its_first_record_in_the_latest_part(store):
    rows = np.arange(10)
    part = np.array(["train"] * 4 + ["val"] * 3 + ["test"] * 3)
    copies = find_copies(repeat(store, {2: 1, 5: 1, 8: 1, 9: 1}), rows, part)
    ids = store.ecg_ids
    found = [(copy.ecg_id, copy.other_id, copy.part, copy.other_part) for copy in copies]
    assert found == [
        (ids[1], ids[8], "train", "test"),
        (ids[2], ids[8], "train", "test"),
        (ids[5], ids[8], "val", "test"),
        (ids[8], ids[9], "test", "test"),
    ]
    assert [copy.is_exact for copy in copies] == [False, True, True, True]  # equal to row 8, but for row 1


def test_only_records_that_take_part_are_copies(store):
    changed = repeat(store, {2: 1, 5: 1})
    copies = find_copies(changed, np.array([2, 3, 5]), np.array(["test", "train", "train"]))
    assert [(copy.ecg_id, copy.other_id) for copy in copies] == [(store.ecg_ids[5], store.ecg_ids[2])]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "content_sha256": "{2: 1}", "pairs": [3]}'])
def test_the_search_is_kept_until_the_signals_are_others_or_it_is_damaged(store, monkeypatch, content):
    searches = []
    search = leakage.find_pairs
    monkeypatch.setattr(leakage, "find_pairs", lambda *a, **how: searches.append(1) or search(*a, **how))
    rows, part = np.arange(4), np.array(["train"] * 4)
    (store.folder / "copies.json").unlink()
    found = find_copies(repeat(store, {2: 1}), rows, part)
    assert len(found) == 1
    assert find_copies(repeat(store, {2: 1}), rows, part) == found
    assert len(searches) == 1
    assert len(find_copies(repeat(store, {2: 1, 3: 1}), rows, part)) == 2
    (store.folder / "copies.json").write_text(content)
    assert find_copies(repeat(store, {2: 1}), rows, part) == found
    assert len(searches) == 3
