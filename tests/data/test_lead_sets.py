"""Subsets of the leads: how they are named, and what is read, stored, known again and checked of records with fewer."""

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecgcls.data.content import check_content
from ecgcls.data.content_screen import find_suspects
from ecgcls.data.copies import match
from ecgcls.data.lead_sets import CHALLENGE, INDEPENDENT, LEAD_SETS, LEADS, join_leads, parse_leads
from ecgcls.data.quality import describe_windows, find_noise
from ecgcls.data.reading import read_repaired
from ecgcls.data.recordings import Recording, prepare
from ecgcls.data.store import open_store
from ecgcls.data.usable import find_unusable
from ecgcls.data.waveforms import find_known, sign_waveforms
from ecgcls.errors import ConfigError, DataError
from tests.data.five_records import ECG_IDS, FILENAMES
from tests.data.modules import make
from tests.data.stores import hold


def choose(signals, leads):
    """The rows of some leads, of ``(record, lead, sample)``."""
    return np.ascontiguousarray(signals[:, [LEADS.index(lead) for lead in leads]])


def test_the_subsets_are_those_of_the_challenge_2021():
    assert [LEAD_SETS[name] for name in CHALLENGE] == [
        LEADS,
        ("I", "II", "III", "aVR", "aVL", "aVF"),
        ("I", "II", "III", "V2"),
        ("I", "II", "V2"),
        ("I", "II"),
    ]


@pytest.mark.parametrize("typed", [["II", "i"], "ii+I", "Challenge2", ["I", "II"]])
def test_leads_have_the_standard_order_however_they_are_typed(typed):
    assert parse_leads(typed) == ("I", "II")


@pytest.mark.parametrize("name", [*LEAD_SETS, "I+V2+V6"])
def test_leads_are_written_as_they_may_be_typed(name):
    assert parse_leads(join_leads(parse_leads(name))) == parse_leads(name)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["I", "II", "ii"], "data.leads names II twice"),
        (["I", "aVX"], r"data.leads: no lead 'aVX'; did you mean aV"),
        ("precordal", "no lead or set of leads 'precordal'; did you mean precordial"),
        (["I", "limb"], "limb is a set of leads, not a lead; type data.leads=limb without others"),
        ([], "data.leads names no lead; null takes all twelve"),
        ("", "no lead or set of leads ''; expected leads"),
    ],
)
def test_what_names_no_leads_is_refused(typed, message):
    with pytest.raises(ConfigError, match=message):
        parse_leads(typed)


def write_two_leads(folder, name="two", *, n_samples=200, names=("II", "I")):
    rng = np.random.default_rng(5)
    signal_uv = rng.integers(-900, 900, (n_samples, len(names)))
    wfdb.wrsamp(
        name, fs=100, units=["mV"] * len(names), sig_name=list(names), d_signal=signal_uv, fmt=["16"] * len(names),
        adc_gain=[1000.0] * len(names), baseline=[0] * len(names), write_dir=str(folder),
    )  # fmt: skip
    return folder / name, signal_uv.T


def test_a_record_needs_no_leads_but_those_that_are_asked_for(tmp_path):
    path, (two, one) = write_two_leads(tmp_path)
    reading = read_repaired(path, sampling_rate_hz=100, n_samples=200, lead_names=("I", "II", "III"))
    assert np.array_equal(reading.signal_uv, [one, two, two - one])
    assert reading.repairs == ("leads put in order", "derived III from I and II")
    with pytest.raises(DataError, match="the leads V1, V2, V3, V4, V5, V6 are missing, got II, I"):
        read_repaired(path, sampling_rate_hz=100, n_samples=200)
    alone, _ = write_two_leads(tmp_path, "alone", names=("V2", "C2"))
    with pytest.raises(DataError, match="the lead V2 is given twice"):
        read_repaired(alone, sampling_rate_hz=100, n_samples=200, lead_names=("V2",))


def test_what_is_wrong_with_a_lead_that_is_not_wanted_does_not_matter(tmp_path):
    path, signal_uv = write_two_leads(tmp_path, names=("II", "I", "V3"))
    header = path.with_suffix(".hea")
    header.write_text(header.read_text().replace("1000.0(0)/mV 16 0 " + str(signal_uv[2, 0]), "1000.0(0)/mmHg 16 0 0"))
    reading = read_repaired(path, sampling_rate_hz=100, n_samples=200, lead_names=("I", "II"))
    assert np.array_equal(reading.signal_uv, signal_uv[[1, 0]]) and reading.repairs == ("leads put in order",)
    with pytest.raises(DataError, match="mmHg"):
        read_repaired(path, sampling_rate_hz=100, n_samples=200, lead_names=("I", "V3"))


def test_some_leads_of_a_plain_record_are_its_rows_without_a_note(tmp_path, write_record):
    signal_uv = np.random.default_rng(0).integers(-900, 900, (12, 200))
    path = write_record(tmp_path / "r", signal_uv.T)
    reading = read_repaired(path, sampling_rate_hz=100, n_samples=200, lead_names=("II", "V6"))
    assert np.array_equal(reading.signal_uv, signal_uv[[1, 11]]) and reading.repairs == ()
    shuffled = write_record(tmp_path / "s", signal_uv[::-1].T, sig_name=list(LEADS[::-1]))
    again = read_repaired(shuffled, sampling_rate_hz=100, n_samples=200, lead_names=("II", "V6"))
    assert np.array_equal(again.signal_uv, signal_uv[[1, 11]]) and again.repairs == ("leads put in order",)


def test_each_set_of_leads_has_a_store_of_its_own(root, tmp_path, signals_uv):
    filenames = pd.Series(FILENAMES, index=ECG_IDS)
    how = {"sampling_rate_hz": 100, "store_dir": tmp_path / "stores"}
    some = open_store(root, filenames, lead_names=("I", "V2"), **how)
    whole = open_store(root, filenames, **how)
    assert np.array_equal(some.signals_uv, signals_uv[:, [0, 7]]) and some.lead_names == ("I", "V2")
    assert np.array_equal(whole.signals_uv, signals_uv) and whole.lead_names == LEADS
    assert np.array_equal(some.sums_uv, whole.sums_uv[:, [0, 7]])
    assert open_store(root, filenames, lead_names=("I", "V2"), **how).folder == some.folder != whole.folder
    assert whole.folder.exists() and "_I+V2-" in some.folder.name


def test_a_data_set_without_some_leads_is_told_how_to_be_used(root, tmp_path):
    for name in FILENAMES:
        write_two_leads(root / "records100", (root / name).name, n_samples=120)
    filenames = pd.Series(FILENAMES, index=ECG_IDS)
    store = open_store(root, filenames, sampling_rate_hz=100, store_dir=tmp_path / "stores")
    records = pd.DataFrame({"filename": filenames})
    with pytest.raises(DataError, match=r"data.leads=\[...\] trains on leads that all records have"):
        find_unusable(store, records, known_duplicates={}, bad_records="drop", repairs="note")


@pytest.fixture(scope="module")
def store(synthetic_root, tmp_path_factory):
    return make(synthetic_root, tmp_path_factory.mktemp("lead_sets")).store


def narrow(store, leads, **changed):
    """The same records with some of their leads."""
    return hold(
        store, choose(store.signals_uv, leads), manifest=store.manifest | {"lead_names": list(leads)}, **changed
    )


@pytest.mark.parametrize(
    "leads", [("I", "II"), ("V2",), ("III", "aVF"), ("aVR", "V1"), INDEPENDENT, ("I", "aVL")], ids="+".join
)
def test_records_are_known_across_sets_of_leads(store, leads):
    rows = np.arange(len(store.ecg_ids))
    some, whole = sign_waveforms(narrow(store, leads), rows), sign_waveforms(store, rows)
    for new, known in ((some, whole), (whole, some)):
        found = find_known(new, known)
        assert [each.ecg_id for each in found] == [each.known_id for each in found] == store.ecg_ids.tolist()
    first, second = rows[::2], rows[1::2]
    assert find_known(sign_waveforms(narrow(store, leads), first), sign_waveforms(store, second)) == []


def test_a_lead_that_gives_neither_i_nor_ii_is_known_by_its_samples_alone(store):
    rows = np.arange(5)
    some = sign_waveforms(narrow(store, ("aVL",)), rows)
    assert not some.signature.any() and len(find_known(some, some)) == 5
    assert find_known(some, sign_waveforms(store, rows)) == []


@pytest.mark.parametrize("leads", [("I", "II"), ("V2",)], ids="+".join)
def test_a_copy_is_found_by_few_leads_and_another_ecg_is_none(store, leads):
    one, other = choose(store.signals_uv[:2], leads)
    how = {"sampling_rate_hz": 100, "lead_names": leads}
    noise = np.random.default_rng(0).normal(0, 5, one.shape)
    assert match(one, (1.1 * one + noise).astype(np.int16), **how) > 0.98
    assert match(one, other, **how) is None


@pytest.mark.parametrize("leads", [("I", "II"), ("V2",), ("I", "II", "V2"), LEADS[6:], LEADS[:6]], ids="+".join)
def test_the_screen_misses_no_doubt_about_fewer_leads(store, leads):
    signals = choose(store.signals_uv[:20], leads).astype(np.int64)
    faults = {
        "volts": lambda one: one // 1000,
        "gain": lambda one: one * 8,
        "constant": lambda one: np.where(np.arange(one.shape[1]) < 300, one, one[:, 300:301]),
        "flat": lambda one: np.where(np.arange(len(one))[:, None] == 0, 7, one),
        "a copy": lambda one: np.concatenate([one[:-1], one[:1]]),
        "inverted": lambda one: np.where(np.arange(len(one))[:, None] == 2, -one, one),
        "sound": lambda one: one,
    }
    for name, change in faults.items():
        changed = np.stack([change(one) for one in signals]).clip(-32000, 32000).astype(np.int16)
        wide = changed.astype(np.int64)
        sums = wide.sum(axis=2), (wide**2).sum(axis=2)
        suspects = find_suspects(changed, *sums, sampling_rate_hz=100, lead_names=leads)
        noted = [bool(check_content(one / 1e3, leads, 100)) for one in changed]
        assert (suspects | ~np.array(noted)).all(), name
        assert any(noted) or name in ("sound", "a copy", "inverted") or (name == "gain" and len(leads) < 5), name


def test_sound_ecgs_of_few_leads_have_no_doubts(store):
    for leads in (("I",), ("I", "II"), ("V2",), ("I", "II", "V2")):
        assert [check_content(one / 1e3, leads, 100) for one in choose(store.signals_uv[:30], leads)] == [[]] * 30


def test_a_window_of_any_leads_is_described_as_in_all_of_them(store):
    windows = store.read_mv(np.arange(6))
    whole = describe_windows(windows, 100)
    some = describe_windows(choose(windows, ("II", "aVL", "V1")), 100, ("II", "aVL", "V1"))
    assert np.allclose(some["amplitude"], whole["amplitude"][:, [1, 4, 6]])
    assert some["leads"].shape == (6, 3) and not find_noise(some).any()
    one = describe_windows(choose(windows, ("III",)), 100, ("III",))
    assert one["leads"].shape == (6, 0)


def test_a_net_that_may_lack_leads_gets_nan_for_them():
    rng = np.random.default_rng(0)
    recording = Recording(rng.normal(0, 1, (2, 300)), 100, ("I", "DII"))
    form = {"lead_names": LEADS, "sampling_rate_hz": 100, "n_samples": 100}
    with pytest.raises(DataError, match="the leads V1, V2, V3, V4, V5, V6 are missing"):
        prepare(recording, **form)
    found = prepare(recording, **form, may_lack=True)
    assert np.isfinite(found.windows_mv[:, :6]).all() and np.isnan(found.windows_mv[:, 6:]).all()
    assert "without V1, V2, V3, V4, V5, V6, as the net has learned to do" in found.repairs
    assert np.allclose(found.windows_mv[0, 2], (recording.signal_mv[1] - recording.signal_mv[0])[:100], atol=1e-6)
    none = Recording(rng.normal(0, 1, (1, 300)), 100, ("aVF",))
    with pytest.raises(DataError, match="the lead V1 is missing"):
        prepare(none, **form | {"lead_names": ("V1",)}, may_lack=True)
    holed = Recording(np.where(np.arange(300) == 9, np.nan, recording.signal_mv), 100, ("I", "V1"))
    with pytest.raises(DataError, match="missing samples"):
        prepare(holed, **form, may_lack=True)
