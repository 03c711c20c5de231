import numpy as np
import pandas as pd
import pytest

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.reading import read_repaired
from ecgcls.data.record_files import find_missing
from ecgcls.data.recordings import prepare, read_recording
from ecgcls.data.store import open_store
from ecgcls.errors import DataError
from tests.data.device_files import INDEPENDENT, write_aecg, write_csv, write_muse

RATE_HZ = 100


@pytest.fixture(scope="module")
def signal_uv(synthetic_root) -> np.ndarray:
    """``(lead, sample)`` of 4 s; III, aVR, aVL and aVF follow from I and II."""
    dat = np.fromfile(sorted(synthetic_root.glob("records100/*/*.dat"))[0], "<i2")
    signal = dat.reshape(-1, 12).T[:, :400].astype(float)
    one, two = np.rint(signal[:2] / 2) * 2
    signal[:6] = one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2
    return signal


@pytest.fixture
def folder(tmp_path, signal_uv, write_record):
    """Five ECGs that are one, by text ids: in three formats, two rates, three lengths."""
    root = tmp_path / "ecgs"
    root.mkdir()
    (tmp_path / "far").mkdir()
    fast = np.repeat(signal_uv, 5, axis=1) / 1e3
    rows = [LEADS.index(name) for name in INDEPENDENT]
    write_muse(root / "a.xml", signal_uv[rows] / 1e3, INDEPENDENT, RATE_HZ)
    write_aecg(root / "b.dat", fast, LEADS, 5 * RATE_HZ)  # whatever its name says
    write_csv(root / "c.csv", signal_uv[::-1, :300] / 1e3, LEADS[::-1], RATE_HZ)
    write_muse(tmp_path / "far" / "d", np.tile(fast, 2), LEADS, 5 * RATE_HZ)
    write_record(root / "e", signal_uv.T.astype(int))
    names = ["a.xml", "b.dat", "c.csv", str(tmp_path / "far" / "d"), "e"]
    return root, pd.Series(names, index=list("abcde"))


def test_any_file_is_read_and_what_was_changed_is_told(folder, signal_uv, caplog, tmp_path):
    root, filenames = folder
    (root / "f.xml").write_text("<restingECG>")
    filenames["f"] = "f.xml"
    with caplog.at_level("INFO"):
        opened = open_store(root, filenames, sampling_rate_hz=RATE_HZ, store_dir=tmp_path / "stores")
    assert opened.ecg_ids.tolist() == list("abcdef") and opened.n_samples == 400
    for ecg_id in "ae":
        assert np.array_equal(opened.signals_uv[opened.find_rows([ecg_id])[0]], signal_uv)
    told = opened.repairs[~opened.repairs["is_doubtful"]].groupby("ecg_id")["what"].agg(list).to_dict()
    assert told == {
        "a": ["derived III, aVR, aVL, aVF from I and II"],
        "b": ["resampled from 500 to 100 Hz"],
        "d": ["cut to the first 4 s", "resampled from 500 to 100 Hz"],
    }
    assert "Resampled 2 of 6 records from 500 Hz (2)" in caplog.text
    bad = opened.bad_records.set_index("ecg_id")
    assert bad.index.tolist() == ["c", "f"] and bad["file"].tolist() == ["c.csv", "f.xml"]
    assert bad["reason"]["c"] == "too short: 3 s, data.duration_s takes 4 s"
    assert bad["reason"]["f"].startswith("f.xml: not readable as GE MUSE XML: ")


def test_resampled_as_for_predict(folder, tmp_path):
    root, _ = folder
    reading = read_repaired(root / "b.dat", sampling_rate_hz=RATE_HZ, n_samples=300)
    windows_mv = prepare(
        read_recording(root / "b.dat"), lead_names=LEADS, sampling_rate_hz=RATE_HZ, n_samples=300
    ).windows_mv
    assert np.array_equal(reading.signal_uv, np.rint(windows_mv[0] * 1000))


def test_missing_files_are_found_whatever_they_are(folder, tmp_path):
    root, filenames = folder
    assert find_missing(root, filenames).empty
    (root / "a.xml").unlink()
    (root / "e.dat").unlink()
    (tmp_path / "far" / "d").unlink()
    (tmp_path / "far" / "d").mkdir()
    assert find_missing(root, filenames).index.tolist() == ["a", "d", "e"]


def test_other_files_beside_files_of_devices_do_not_matter(folder, reads, tmp_path):
    root, filenames = folder
    chosen = filenames[list("abd")]
    how = {"sampling_rate_hz": RATE_HZ, "store_dir": tmp_path / "stores"}
    first = open_store(root, chosen, **how)
    (root / "README.md").write_text("changed")
    n_reads = len(reads)
    assert open_store(root, chosen, **how).folder == first.folder and len(reads) == n_reads
    (root / "a.xml").write_text((root / "a.xml").read_text() + "\n")
    assert open_store(root, chosen, **how).folder != first.folder


# --- records that are shorter than the others


def test_a_short_record_is_padded_with_the_mean_of_each_lead(tmp_path):
    signal_uv = np.arange(12)[:, None] * 10 + np.tile([0, 0, 300, -99], 50)  # mean 50.25 above each lead's own
    path = write_csv(tmp_path / "short.csv", signal_uv / 1e3, LEADS, RATE_HZ)
    how = {"sampling_rate_hz": RATE_HZ, "n_samples": 350}
    with pytest.raises(DataError, match=r"too short: 2 s, data\.duration_s takes 3\.5 s"):
        read_repaired(path, **how)
    reading = read_repaired(path, **how, shorter="pad")
    assert reading.n_recorded == 200 and reading.signal_uv.shape == (12, 350)
    assert np.array_equal(reading.signal_uv[:, :200], signal_uv)
    assert reading.signal_uv[:, 200:].tolist() == [[50 + 10 * lead] * 150 for lead in range(12)]
    assert reading.repairs == ("padded from 2 to 3.5 s with the mean of each lead",)
    with pytest.raises(DataError, match=r"too short: 0\.8 s, data\.shorter=pad takes at least 1 s"):
        write_csv(path, signal_uv[:, :80] / 1e3, LEADS, RATE_HZ)
        read_repaired(path, **how, shorter="pad")


def test_padding_has_a_store_of_its_own_and_raises_no_doubt(folder, tmp_path, signal_uv):
    root, filenames = folder
    how = {"sampling_rate_hz": RATE_HZ, "store_dir": tmp_path / "stores", "n_samples": 390}
    refused = open_store(root, filenames[list("ace")], **how)
    padded = open_store(root, filenames[list("ace")], **how, shorter="pad")
    assert refused.bad_records["ecg_id"].tolist() == ["c"] and padded.bad_records.empty
    assert open_store(root, filenames[list("ace")], **how).folder == refused.folder != padded.folder
    doubts = padded.repairs[padded.repairs["is_doubtful"]].groupby("ecg_id")["what"].agg(list).to_dict()
    assert not any("constant" in doubt or "flat" in doubt for doubt in doubts.get("c", []))
    recorded = padded.signals_uv[1, :, :300]
    assert np.array_equal(recorded, signal_uv[:, :300])
    assert np.array_equal(padded.signals_uv[1, :, 389], np.rint(recorded.mean(axis=1)))
    assert np.array_equal(padded.sums_uv[1], padded.signals_uv[1].sum(axis=1))
