import itertools
import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch

from ecgcls.data.module import ECGDataModule
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.seen import GROUPS, name_group, read_seen
from ecgcls.data.signals import LEADS
from ecgcls.data.synthetic import Synthetic
from ecgcls.data.tasks import UNKNOWN
from ecgcls.errors import ConfigError, DataError
from tests.data.modules import SUPERCLASSES, build, make, read_mv, read_truth, record_order


@pytest.fixture(scope="module")
def data(synthetic_root, tmp_path_factory) -> ECGDataModule:
    return make(synthetic_root, tmp_path_factory.mktemp("stores"), batch_size=7)


# --- batches


@pytest.mark.parametrize("name", ["synthetic_root", "ptbxl_root"])
def test_every_batch_holds_what_the_files_say(request, tmp_path, name):
    root = request.getfixturevalue(name)
    data, truth = make(root, tmp_path, batch_size=16), read_truth(root)
    assert data.class_names == SUPERCLASSES and data.lead_names == LEADS
    assert data.n_samples == 1000
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    for part, loader in loaders.items():
        n_seen = 0
        for batch in loader:
            signal, target, record = batch["signal"], batch["target"], batch["record"]
            assert set(batch) == {"signal", "target", "record"}
            assert signal.shape == (len(record), 12, 1000) and signal.dtype == torch.float32
            assert target.shape == (len(record), 5) and target.dtype == torch.float32
            assert record.dtype == torch.int64
            expected = [truth[row] for row in record.tolist()]  # row numbers of the cohort
            assert {member["part"] for member in expected} == {part}
            assert target.tolist() == [member["target"] for member in expected]
            signal_mv = np.stack([read_mv(member["path"]) for member in expected])
            np.testing.assert_allclose(signal.numpy(), signal_mv, rtol=1e-6)
            n_seen += len(record)
        assert n_seen == sum(member["part"] == part for member in truth) > 0


def test_the_last_batch_may_be_smaller(synthetic_root, tmp_path):
    n_train = sum(member["part"] == "train" for member in read_truth(synthetic_root))
    loader = make(synthetic_root, tmp_path, batch_size=n_train - 3).train_dataloader()
    assert [len(batch["record"]) for batch in loader] == [n_train - 3, 3]
    assert len(loader) == 2


def test_changing_a_batch_does_not_change_the_data(data):
    batch = next(iter(data.val_dataloader()))
    before = batch["signal"].clone()
    batch["signal"].add_(1)
    batch["target"].add_(1)
    again = next(iter(data.val_dataloader()))
    assert torch.equal(again["signal"], before) and set(again["target"].flatten().tolist()) <= {0.0, 1.0}


# --- order


@pytest.mark.parametrize("part", ["val", "test"])
def test_validation_and_test_are_complete_and_in_the_order_of_the_data_set(data, part):
    loader = {"val": data.val_dataloader, "test": data.test_dataloader}[part]
    rows = [row for row, member in enumerate(read_truth(data.source.root)) if member["part"] == part]
    assert record_order(loader()) == record_order(loader()) == rows
    assert record_order(data.predict_dataloader()[["val", "test"].index(part)]) == rows


def test_the_training_order_depends_on_seed_and_epoch_alone(data, synthetic_root, tmp_path):
    rows = [row for row, member in enumerate(read_truth(data.source.root)) if member["part"] == "train"]
    orders = {epoch: record_order(data.train_dataloader(), epoch) for epoch in range(3)}
    for order in orders.values():
        assert sorted(order) == rows and order != rows  # each record exactly once, shuffled
    assert len({tuple(order) for order in orders.values()}) == 3

    torch.manual_seed(123)  # the global generators do not matter
    np.random.seed(123)
    again = make(synthetic_root, tmp_path, batch_size=16)
    assert {epoch: record_order(again.train_dataloader(), epoch) for epoch in (2, 0, 1)} == orders
    other = make(synthetic_root, tmp_path, seed=1)  # not the orders of seed 0, an epoch later
    assert not [epoch for epoch in range(3) if record_order(other.train_dataloader(), epoch) in orders.values()]


# --- what is fitted on the training set


def test_pos_weight_is_negatives_over_positives_of_train(data):
    train = np.array([member["target"] for member in read_truth(data.source.root) if member["part"] == "train"])
    expected = [(column == 0).sum() / (column == 1).sum() for column in train.T]
    assert data.pos_weight.dtype == torch.float32
    np.testing.assert_allclose(data.pos_weight.numpy(), expected, rtol=1e-6)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("name", ["synthetic_root", "ptbxl_root"])
def test_mean_and_standard_deviation_are_those_of_numpy_over_train(request, tmp_path, name):
    root = request.getfixturevalue(name)
    fitted = make(root, tmp_path).standardization
    mean, sd = fitted.mean_mv, fitted.sd_mv
    signal_mv = np.stack([read_mv(member["path"]) for member in read_truth(root) if member["part"] == "train"])
    assert mean.shape == sd.shape == (12,) and mean.dtype == sd.dtype == torch.float32
    np.testing.assert_allclose(mean.numpy(), signal_mv.mean(axis=(0, 2)), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(sd.numpy(), signal_mv.std(axis=(0, 2)), rtol=1e-6)


@pytest.mark.parametrize(("part", "is_fitted_on"), [("train", True), ("val", False), ("test", False)])
def test_only_training_records_change_mean_and_standard_deviation(
    copied_root, tmp_path, write_record, part, is_fitted_on
):
    before = make(copied_root, tmp_path)
    mean, sd = before.standardization.mean_mv, before.standardization.sd_mv
    path = next(member["path"] for member in read_truth(copied_root) if member["part"] == part)
    write_record(path, np.round(3000 * read_mv(path)).T.astype(int) + 100)
    after = make(copied_root, tmp_path)
    assert after.describe()["fingerprint"]["signals"] != before.describe()["fingerprint"]["signals"]
    mean_after, sd_after = after.standardization.mean_mv, after.standardization.sd_mv
    assert torch.equal(mean_after, mean) is not is_fitted_on
    assert torch.equal(sd_after, sd) is not is_fitted_on


# --- files


def test_preparing_twice_reads_nothing_again(synthetic_root, tmp_path, reads):
    data = make(synthetic_root, tmp_path)
    assert len(set(reads)) == 60
    data.prepare_data()
    data.setup("fit")
    again = make(synthetic_root, tmp_path)
    assert len(set(reads)) == 60
    assert again.describe() == data.describe()


def test_the_description_is_strict_json(data):
    description = json.loads(json.dumps(data.describe(), allow_nan=False))
    truth = read_truth(data.source.root)
    assert description["root"] == str(data.source.root) and description["sampling_rate_hz"] == 100
    assert description["n_samples"] == 1000 and description["lead_names"] == list(LEADS)
    assert description["n_records"] == len(truth) and description["n_without_label"] == 60 - len(truth)
    for part in ("train", "val", "test"):
        assert description["parts"][part]["n_records"] == sum(member["part"] == part for member in truth)
    digests = description["fingerprint"]
    assert set(digests) == {"signals", "ptbxl_database.csv", "scp_statements.csv"}
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in digests.values())


def test_missing_records_are_dropped_on_request(copied_root, tmp_path):
    truth = read_truth(copied_root)
    gone = next(row for row, member in enumerate(truth) if member["part"] == "val")
    truth[gone]["path"].with_suffix(".dat").unlink()
    with pytest.raises(DataError, match="1 of 60 records lack theirs"):
        make(copied_root, tmp_path)
    data = make(copied_root, tmp_path, missing_records="drop")
    assert data.describe()["n_missing_files"] == 1
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            for row, signal in zip(batch["record"].tolist(), batch["signal"], strict=True):
                member = truth[row + (row >= gone)]
                np.testing.assert_allclose(signal.numpy(), read_mv(member["path"]), rtol=1e-6)


def test_a_flat_lead_is_reported(copied_root, tmp_path, write_record, caplog):
    samples = np.round(1000 * read_mv(copied_root / "records100/00000/00002_lr")).T.astype(int)
    samples[:, 7] = 12
    write_record(copied_root / "records100/00000/00002_lr", samples)
    data = make(copied_root, tmp_path)
    assert "A lead is flat in 1 of the records, the first ecg_id 2 (V2)" in caplog.text
    assert data.describe()["n_records_with_a_flat_lead"] == 1


def test_the_constructor_touches_no_file(tmp_path):
    root, store_dir = tmp_path / "nowhere", tmp_path / "stores"
    data = build(PTBXL(root=root), store_dir)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="there is no folder"):
        data.prepare_data()


def test_an_impossible_split_is_an_error_before_a_signal_is_read(synthetic_root, tmp_path, reads):
    data = build(PTBXL(root=synthetic_root), tmp_path, fold=7)
    with pytest.raises(ConfigError, match=r"fold must be 0, got 7"):
        data.prepare_data()
    assert reads == []


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_below_one(tmp_path, batch_size):
    with pytest.raises(ConfigError, match=rf"data\.batch_size must be at least 1, got {batch_size}"):
        build(PTBXL(root=tmp_path), tmp_path, batch_size=batch_size)


# --- the simulated data set


def test_the_simulated_data_set_is_written_then_read(tmp_path, synthetic_root, caplog, reads):
    root, store_dir = tmp_path / "ecgs", tmp_path / "stores"
    data = build(Synthetic(root=root, n_records=60), store_dir)
    assert not root.exists()
    data.prepare_data()
    assert "simulated ECGs, not patients'" in caplog.text
    assert (root / "ptbxl_database.csv").read_bytes() == (synthetic_root / "ptbxl_database.csv").read_bytes()
    assert len(set(reads)) == 60

    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    data.prepare_data()
    again = build(Synthetic(root=root, n_records=60), store_dir)
    again.prepare_data()
    again.setup()
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert len(set(reads)) == 60
    batch = next(iter(again.test_dataloader()))
    member = next(member for member in read_truth(root) if member["part"] == "test")
    np.testing.assert_allclose(batch["signal"][0].numpy(), read_mv(member["path"]), rtol=1e-6)


def test_simulated_patients_are_announced_once(tmp_path, caplog):
    data = build(Synthetic(root=tmp_path / "ecgs", n_records=50), tmp_path / "stores")
    for _ in range(2):  # a trainer calls this again for each of fit, test and predict
        data.prepare_data()
    (warning,) = [record for record in caplog.records if "data=synthetic" in record.getMessage()]
    assert warning.levelno == logging.WARNING


def test_a_last_batch_of_one_record_joins_the_one_before(synthetic_root, tmp_path):
    data = make(synthetic_root, tmp_path)
    n_records = len(data.cohort.find_part("train"))
    size = next(size for size in range(3, n_records) if n_records % size == 1)
    for batch_size in (size, size + n_records):
        data = make(synthetic_root, tmp_path, batch_size=batch_size)
        loader = data.train_dataloader()
        batches = [batch["record"].tolist() for batch in loader]
        assert len(batches) == len(loader)
        assert sorted(itertools.chain(*batches)) == data.cohort.find_part("train").tolist()
        assert len(batches[-1]) == (size + 1 if batch_size == size else n_records)


# --- names and unknown labels


class Named(PTBXL):
    """The same records under names, of named patients; of every third one nobody knows whether it is an infarction."""

    def read_records(self):
        records = super().read_records()
        names = [f"r{ecg_id}" for ecg_id in records.index]
        statements = self.read_statements()
        infarctions = dict.fromkeys(statements.index[statements["diagnostic_class"] == "MI"], float("nan"))
        codes = [
            {name: value for name, value in of_record.items() if name not in infarctions} | infarctions
            if number % 3 == 0
            else of_record
            for number, of_record in enumerate(records["scp_codes"])
        ]
        records["patient_id"] = "p" + records["patient_id"].astype(str)
        return records.assign(scp_codes=codes).set_index(pd.Index(names, name="ecg_id"))


def test_records_and_patients_may_have_names_and_labels_be_unknown(synthetic_root, tmp_path, caplog):
    plain = make(synthetic_root, tmp_path)
    named = build(Named(root=synthetic_root), tmp_path / "named")
    named.prepare_data()
    assert set(named.cohort.records.index) <= {f"r{ecg_id}" for ecg_id in plain.cohort.records.index}
    number = {name: row for row, name in enumerate(named.source.read_records().index)}
    y_mi = named.cohort.y_true[:, named.class_names.index("MI")]
    is_third = np.array([number[name] % 3 == 0 for name in named.cohort.records.index])
    assert (y_mi == UNKNOWN).tolist() == is_third.tolist()
    told = named.describe()["parts"]["train"]
    in_train = named.cohort.find_part("train")
    assert told["n_unknown"] == dict.fromkeys(SUPERCLASSES, 0) | {"MI": int(is_third[in_train].sum())}
    assert told["n_positive"]["MI"] == int((y_mi[in_train] == 1).sum())
    first = next(iter(named.val_dataloader()))
    ids = named.cohort.records.index[first["record"].numpy()]
    rows = plain.store.find_rows([int(name[1:]) for name in ids])
    np.testing.assert_array_equal(first["signal"].numpy(), plain.store.read_mv(rows))
    assert ((first["target"] < 0).any(dim=1)).tolist() == [number[name] % 3 == 0 for name in ids]
    named.seen.write(tmp_path / "seen")
    again = read_seen([tmp_path / "seen" / name_group(part) for part in GROUPS])
    found = again.find(plain.seen.groups["test"])
    assert (found["known_ecg_id"] == "r" + found["ecg_id"].astype(str)).all() and len(found)
