import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb

from ecgcls.data import store
from ecgcls.data.store import open_store
from ecgcls.errors import DataError
from tests.data.five_records import (
    ECG_IDS,
    FILENAMES,
    N_READS,
    N_SAMPLES,
    open_100hz,
    stores,
    swap_samples,
)

# --- what a store holds


def test_equals_what_was_written(root, signals_uv):
    opened = open_100hz(root)
    assert np.array_equal(opened.signals_uv, signals_uv) and opened.signals_uv.dtype == np.int16
    assert opened.ecg_ids.tolist() == ECG_IDS
    assert opened.n_samples == N_SAMPLES
    assert np.array_equal(opened.sums_uv, signals_uv.sum(axis=2))
    assert np.array_equal(opened.squares_uv, (signals_uv**2).sum(axis=2))
    assert opened.manifest["n_without_checksum"] == 0
    assert stores(root / ".ecgcls") == [f"signals_100hz-{opened.manifest['fingerprint'][:16]}"]


@pytest.mark.parametrize(
    ("name", "column", "rate", "n_records"),
    [
        ("synthetic_root", "filename_lr", 100, 60),
        ("ptbxl_root", "filename_lr", 100, 356),
        ("ptbxl_root", "filename_hr", 500, 60),
    ],
)
def test_a_data_set_equals_wfdb_bit_for_bit(request, tmp_path, name, column, rate, n_records):
    root = request.getfixturevalue(name)
    files_before = sorted(root.rglob("*"))
    filenames = pd.read_csv(root / "ptbxl_database.csv", index_col="ecg_id")[column].head(n_records)
    opened = open_store(root, filenames, sampling_rate_hz=rate, store_dir=tmp_path)
    truth = np.stack([wfdb.rdrecord(str(root / name), physical=False).d_signal.T for name in filenames])
    assert np.array_equal(opened.signals_uv, truth)
    assert opened.ecg_ids.tolist() == filenames.index.tolist()

    rows = np.arange(0, n_records, 3)
    mean, sd = opened.mean_sd_mv(rows)
    np.testing.assert_allclose(mean, (truth[rows] / 1000).mean(axis=(0, 2)), rtol=1e-9)
    np.testing.assert_allclose(sd, (truth[rows] / 1000).std(axis=(0, 2)), rtol=1e-9)
    flat = {
        ecg_id: np.array(store.LEADS)[np.ptp(signal, axis=1) == 0].tolist()
        for ecg_id, signal in zip(filenames.index, truth, strict=True)
        if (np.ptp(signal, axis=1) == 0).any()
    }
    assert opened.find_flat_leads() == flat
    assert sorted(root.rglob("*")) == files_before  # nothing is written there if it is to be written elsewhere


def test_signals_in_mv_are_single_precision_in_aligned_memory(root, signals_uv):
    opened = open_100hz(root)
    signals_mv = opened.read_mv(np.array([3, 0]))
    assert signals_mv.dtype == np.float32 and signals_mv.ctypes.data % 64 == 0
    assert np.array_equal(signals_mv, signals_uv[[3, 0]].astype(np.float32) * np.float32(1e-3))
    assert np.array_equal(signals_mv, torch.from_numpy(opened.signals_uv[[3, 0]]).float().mul_(1e-3).numpy())
    assert torch.from_numpy(signals_mv).data_ptr() == signals_mv.ctypes.data  # not copied on the way to a net


def test_records_beside_the_tables(tmp_path, pristine):
    root = Path(shutil.copytree(pristine / "records100", tmp_path / "flat"))
    filenames = FILENAMES.str.removeprefix("records100/")
    assert open_100hz(root, filenames=filenames).ecg_ids.tolist() == ECG_IDS


def test_rows_are_found_by_ecg_id(root, signals_uv):
    opened = open_100hz(root)
    rows = opened.find_rows([20, 7])
    assert rows.tolist() == [3, 0]
    assert np.array_equal(opened.signals_uv[rows], signals_uv[[3, 0]])


def test_mean_and_standard_deviation_are_those_of_numpy_in_any_order(root, signals_uv):
    opened = open_100hz(root)
    mean, sd = opened.mean_sd_mv(np.array([4, 0, 2]))
    np.testing.assert_allclose(mean, (signals_uv[[0, 2, 4]] / 1000).mean(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(sd, (signals_uv[[0, 2, 4]] / 1000).std(axis=(0, 2)), rtol=1e-12)
    again = opened.mean_sd_mv(np.array([0, 2, 4]))
    assert np.array_equal(mean, again[0]) and np.array_equal(sd, again[1])


def test_sums_of_the_largest_samples_do_not_overflow(root, write_record):
    signal_uv = np.tile(np.array([[32767, -32767, 32767]]), (12, 40)).T
    write_record(root / FILENAMES[7], signal_uv)
    mean, sd = open_100hz(root).mean_sd_mv(np.array([0]))
    np.testing.assert_allclose(mean, 32.767 / 3, rtol=1e-12)  # two up, one down
    np.testing.assert_allclose(sd, 32.767 * np.sqrt(8) / 3, rtol=1e-12)


def test_signals_are_mapped_read_only(root):
    opened = open_100hz(root)
    base = opened.signals_uv
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        opened.signals_uv[0, 0, 0] = 1


def test_one_flat_lead_is_named(root, signals_uv, write_record):
    for ecg_id, leads in {3: [4], 20: [0, 11]}.items():
        signal_uv = signals_uv[ECG_IDS.index(ecg_id)].copy()
        signal_uv[leads] = -37  # flat, but not at zero
        write_record(root / FILENAMES[ecg_id], signal_uv.T)
    assert open_100hz(root).find_flat_leads() == {3: ["aVL"], 20: ["I", "V6"]}


def test_no_flat_leads(root):
    assert open_100hz(root).find_flat_leads() == {}


def test_records_without_checksums_are_counted_and_reported(root, caplog):
    header = root / f"{FILENAMES[5]}.hea"
    record_line, *lines = header.read_text().splitlines()
    header.write_text("\n".join([record_line, *(" ".join(x.split()[:3] + x.split()[-1:]) for x in lines)]))
    assert open_100hz(root).manifest["n_without_checksum"] == 1
    assert "1 records carry no checksum" in caplog.text


# --- when a store is built again


def test_opened_again_nothing_is_read(root, reads, signals_uv):
    first = open_100hz(root)
    assert reads == [root / name for name in FILENAMES]
    second = open_100hz(root)
    assert len(reads) == N_READS
    assert np.array_equal(second.signals_uv, signals_uv) and np.array_equal(second.ecg_ids, first.ecg_ids)
    assert np.array_equal(second.sums_uv, first.sums_uv) and np.array_equal(second.squares_uv, first.squares_uv)
    assert second.manifest == first.manifest


@pytest.mark.parametrize("put_mtime_back", [False, True])
def test_a_changed_signal_is_read_again(root, reads, signals_uv, put_mtime_back):
    first = open_100hz(root)
    dat_path = root / f"{FILENAMES[11]}.dat"
    stat = dat_path.stat()
    swap_samples(dat_path)
    if put_mtime_back:
        os.utime(dat_path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert dat_path.stat().st_mtime_ns == stat.st_mtime_ns
    assert dat_path.stat().st_size == stat.st_size
    second = open_100hz(root)
    assert len(reads) == 2 * N_READS
    assert np.array_equal(second.signals_uv[2, :, :2], signals_uv[2, :, [1, 0]].T)
    assert second.manifest["content_sha256"] != first.manifest["content_sha256"]
    assert stores(root / ".ecgcls") == [f"signals_100hz-{second.manifest['fingerprint'][:16]}"]  # the old one is gone


def test_a_touched_header_is_read_again_and_gives_the_same(root, reads):
    first = open_100hz(root)
    os.utime(root / f"{FILENAMES[11]}.hea", ns=(0, 10**18))
    second = open_100hz(root)
    assert len(reads) == 2 * N_READS
    assert second.manifest["fingerprint"] != first.manifest["fingerprint"]
    assert second.manifest["content_sha256"] == first.manifest["content_sha256"]


def test_an_added_record_is_read(root, signals_uv, write_record):
    open_100hz(root)
    write_record(root / "records100/00099_lr", signals_uv[0].T + 1)
    filenames = pd.concat([FILENAMES, pd.Series({99: "records100/00099_lr"})])
    opened = open_100hz(root, filenames=filenames)
    assert opened.ecg_ids.tolist() == [*ECG_IDS, 99]
    assert np.array_equal(opened.signals_uv, [*signals_uv, signals_uv[0] + 1])


def test_other_ecg_ids_for_the_same_files_are_another_store(root):
    first = open_100hz(root)
    second = open_100hz(root, filenames=FILENAMES.set_axis([1, 2, 3, 4, 5]))
    assert second.ecg_ids.tolist() == [1, 2, 3, 4, 5]
    assert second.manifest["content_sha256"] != first.manifest["content_sha256"]


def test_the_same_signals_elsewhere_have_the_same_content_hash(root, tmp_path):
    elsewhere = Path(shutil.copytree(root, tmp_path / "elsewhere"))
    first, second = open_100hz(root), open_100hz(elsewhere)
    assert first.manifest["content_sha256"] == second.manifest["content_sha256"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("signals.npy", cut),
        ("signals.npy", flip_a_byte),
        ("signals.npy", Path.unlink),
        ("records.npz", cut),
        ("records.npz", empty),
        ("records.npz", Path.unlink),
        ("manifest.json", cut),
        ("manifest.json", empty),
        ("manifest.json", lambda path: path.write_text("[]")),
        ("manifest.json", Path.unlink),
    ],
)
def test_a_damaged_store_is_built_again(root, reads, signals_uv, file, damage):
    open_100hz(root)
    (folder,) = (root / ".ecgcls").glob("signals_100hz-*")
    damage(folder / file)
    again = open_100hz(root)
    assert len(reads) == 2 * N_READS
    assert np.array_equal(again.signals_uv, signals_uv)
    open_100hz(root)
    assert len(reads) == 2 * N_READS


def test_a_store_of_another_layout_is_built_again(root, reads):
    open_100hz(root)
    (path,) = (root / ".ecgcls").glob("signals_100hz-*/manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layout_version": 0}))
    open_100hz(root)
    assert len(reads) == 2 * N_READS


# --- where it is


def test_one_folder_holds_the_stores_of_two_data_sets(root, tmp_path, reads, signals_uv, write_record):
    other = Path(shutil.copytree(root, tmp_path / "other" / "ecgs"))  # of the same name
    write_record(other / FILENAMES[7], signals_uv[0].T + 1)
    together = tmp_path / "stores"
    for _ in range(2):
        assert np.array_equal(open_100hz(root, store_dir=together).signals_uv[0], signals_uv[0])
        assert np.array_equal(open_100hz(other, store_dir=together).signals_uv[0], signals_uv[0] + 1)
    assert len(reads) == 2 * N_READS
    assert not (root / ".ecgcls").exists() and len(stores(together)) == 2


def test_both_sampling_rates_are_side_by_side(root, reads, signals_uv, write_record):
    (root / "records500").mkdir()
    write_record(root / "records500/00007_hr", signals_uv[1].T, fs=500)
    fast = pd.Series({7: "records500/00007_hr"})
    for _ in range(2):
        assert np.array_equal(open_100hz(root).signals_uv, signals_uv)
        assert np.array_equal(open_100hz(root, filenames=fast, sampling_rate_hz=500).signals_uv, signals_uv[[1]])
    assert len(reads) == N_READS + 1


def test_it_is_in_the_cache_folder_if_the_data_folder_is_read_only(root, tmp_path, monkeypatch, reads, signals_uv):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (root / ".ecgcls").write_text("in the way")
    for _ in range(2):
        assert np.array_equal(open_100hz(root).signals_uv, signals_uv)
    assert len(reads) == N_READS
    assert len(list((tmp_path / "cache" / "ecgcls").glob("ecgs-*/signals_100hz-*/manifest.json"))) == 1
    assert (root / ".ecgcls").read_text() == "in the way"
    (root / ".ecgcls").unlink()
    open_100hz(root)  # it can be written now, but the store is there
    assert len(reads) == N_READS and not (root / ".ecgcls").exists()


def test_no_place_for_it(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("in the way")
    (root / ".ecgcls").write_text("in the way")
    with pytest.raises(DataError, match=r"no place for the signal store: .*\.ecgcls.* set data\.store_dir=PATH"):
        open_100hz(root)
