from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ecgcls.data import store_writer
from ecgcls.data.usable import find_unusable
from ecgcls.errors import ConfigError, DataError
from tests.data.modules import make, read_mv, read_truth


@pytest.fixture
def bad_root(copied_root, write_record):
    """A data set whose records 2 and 5 cannot be used."""
    dat_path = copied_root / "records100/00000/00002_lr.dat"
    dat_path.write_bytes(dat_path.read_bytes()[:-100])
    samples = (1000 * read_mv(copied_root / "records100/00000/00005_lr")).round().astype(int).T
    samples[100:300, 3] = -32768
    write_record(copied_root / "records100/00000/00005_lr", samples)
    return copied_root


def test_bad_records_are_refused_in_one_line_that_names_the_list(bad_root, tmp_path):
    expected = (
        r"^2 of 60 records cannot be used \(ecg_id 2: records100/00000/00002_lr\.dat: truncated .*; ecg_id 5: "
        r".*missing samples .*\); all are in (.*bad_records\.csv)\. Repair them, or leave them out with "
        r"data\.bad_records=drop$"
    )
    with pytest.raises(DataError, match=expected) as caught:
        make(bad_root, tmp_path)
    path = str(caught.value).split("all are in ")[1].split(". Repair")[0]
    assert pd.read_csv(path)["file"].tolist() == ["records100/00000/00002_lr", "records100/00000/00005_lr"]


def test_bad_records_are_left_out_and_counted_on_request(bad_root, tmp_path, caplog):
    data = make(bad_root, tmp_path, bad_records="drop")
    labeled = [int(member["path"].name[:5]) for member in read_truth(bad_root)]
    assert data.cohort.records.index.tolist() == [ecg_id for ecg_id in labeled if ecg_id not in (2, 5)]
    assert data.describe()["n_bad_records"] == 2
    assert data.left_out["ecg_id"].tolist() == [2, 5]
    assert "Left out: 2 of 60 records cannot be used" in caplog.text


def test_no_usable_record_is_an_error_whatever_is_asked(copied_root, tmp_path):
    for path in copied_root.rglob("*.dat"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"^60 of 60 records cannot be used \(.*; and 57 more\)"):
        make(copied_root, tmp_path, bad_records="drop")


def test_repairs_are_counted_and_doubtful_records_refused_on_request(copied_root, tmp_path, monkeypatch, write_record):
    path = copied_root / "records100/00000/00002_lr"
    samples = (1000 * read_mv(path)).round().astype(int).T
    write_record(path, np.concatenate([samples, samples]))
    loudest = np.abs(read_mv(copied_root / "records100/00000/00003_lr")).max()
    monkeypatch.setattr(store_writer, "find_suspects", lambda signals_uv, *_, **__: np.ones(len(signals_uv), bool))
    monkeypatch.setattr(
        store_writer,
        "check_content",
        lambda signal_mv, names, rate: ["doubtful"] if np.isclose(np.abs(signal_mv).max(), loudest) else [],
    )
    data = make(copied_root, tmp_path)
    assert data.noted.to_numpy().tolist() == [[2, "cut to the first 10 s", False], [3, "doubtful", True]]
    assert data.describe()["repairs"] == {"cut to the first 10 s": 1, "doubtful": 1}
    for repairs in ("refuse_doubtful", "refuse"):  # a record that is cut is as it was recorded
        with pytest.raises(DataError, match=rf"1 of 60 .*ecg_id 3: doubtful.*repairs\.csv .*data\.repairs={repairs} r"):
            make(copied_root, tmp_path, repairs=repairs)
    assert make(copied_root, tmp_path, repairs="refuse", bad_records="drop").describe()["n_bad_records"] == 1


@pytest.mark.parametrize(
    ("what", "is_refused"),
    [
        ("leads put in order", False),
        ("left out RESP", False),
        ("cut to the first 10 s", False),
        ("cut off the last 1 s: a calibration pulse of 1 mV in all leads", False),
        ("resampled from 500 to 100 Hz", True),
        ("derived III, aVR, aVL, aVF from I and II", True),
        ("padded from 7 to 10 s with the mean of each lead", True),
        ("leads put in order by a guess", True),
    ],
)
def test_a_record_that_is_not_used_as_recorded_is_refused_on_request(synthetic_root, tmp_path, what, is_refused):
    data = make(synthetic_root, tmp_path)
    noted = replace(data.store, repairs=pd.DataFrame([[2, what, False]], columns=["ecg_id", "what", "is_doubtful"]))
    how = {"known_duplicates": {}, "bad_records": "drop"}
    records = data.cohort.records
    assert not find_unusable(noted, records, repairs="refuse_doubtful", **how).bad
    assert find_unusable(noted, records, repairs="refuse", **how).bad == ({2: what} if is_refused else {})


def test_short_records_are_padded_on_request(copied_root, tmp_path, write_record):
    path = copied_root / "records100/00000/00002_lr"
    write_record(path, (1000 * read_mv(path)).round().astype(int).T[:700])
    with pytest.raises(
        DataError, match=r"ecg_id 2: too short: 7 s.*data\.shorter=pad fills up those that are too short"
    ):
        make(copied_root, tmp_path)
    data = make(copied_root, tmp_path, shorter="pad")
    assert data.describe()["repairs"] == {"padded from 7 to 10 s with the mean of each lead": 1}
    with pytest.raises(ConfigError, match=r"data\.shorter must be refuse or pad, got 'cut'"):
        make(copied_root, tmp_path, shorter="cut")


def test_the_duration_is_what_is_asked_for(synthetic_root, tmp_path):
    data = make(synthetic_root, tmp_path, duration_s=4)
    assert data.n_samples == 400 and data.store.repairs["what"].unique().tolist() == ["cut to the first 4 s"]
    first = read_truth(synthetic_root)[0]["path"]
    np.testing.assert_allclose(data.store.read_mv(np.array([0]))[0], read_mv(first)[:, :400], rtol=1e-6)
    with pytest.raises(ConfigError, match=r"data\.duration_s must be 0\.5 to 600 s, or null, got 0"):
        make(synthetic_root, tmp_path, duration_s=0)


# --- records that repeat another


def rename(root, ecg_ids: dict[int, int], **columns) -> None:
    """Change ecg_ids, and other columns of those rows."""
    path = root / "ptbxl_database.csv"
    table = pd.read_csv(path)
    for old, new in ecg_ids.items():
        rows = table["ecg_id"] == old
        for column, values in columns.items():
            table.loc[rows, column] = values[old]
        table.loc[rows, "ecg_id"] = new
    table.to_csv(path, index=False)


def copy_signal(root, ecg_id: int, other: int) -> None:
    for suffix in ("hea", "dat"):
        folder = root / "records100/00000"
        content = (folder / f"{ecg_id:05d}_lr.{suffix}").read_bytes()
        (folder / f"{other:05d}_lr.{suffix}").write_bytes(content.replace(b"%05d" % ecg_id, b"%05d" % other))


def test_known_duplicates_of_ptbxl_1_0_1_are_left_out(copied_root, tmp_path, caplog):
    copy_signal(copied_root, 3, 4)
    copy_signal(copied_root, 7, 8)
    new = {3: 145, 4: 463, 5: 139, 6: 7781, 7: 137, 8: 138}
    rename(copied_root, new, strat_fold={3: 9, 4: 1, 5: 1, 6: 4, 7: 8, 8: 8})
    data = make(copied_root, tmp_path)  # 145 validates, 463 is trained on: not refused as a leak
    assert {*new.values()} - {*data.cohort.records.index} == {145, 137}  # 139 and 7781 are no copies here
    assert data.describe()["n_duplicates_left_out"] == 2
    assert data.left_out.to_numpy().tolist() == [[137, "repeats ecg_id 138"], [145, "repeats ecg_id 463"]]
    assert "Left out 2 records that repeat another, such as ecg_id 137 (138), 145 (463)" in caplog.text


def test_known_duplicates_of_one_strat_fold_alone_stay(copied_root, tmp_path):
    copy_signal(copied_root, 7, 8)
    rename(copied_root, {7: 137, 8: 138}, strat_fold={7: 8, 8: 8})
    assert make(copied_root, tmp_path).left_out.empty
