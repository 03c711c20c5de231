import numpy as np
import pytest

from ecgcls.data.content import check_content, inspect_content
from ecgcls.data.recordings import Recording, prepare, prepare_blocks
from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import DataError

WANTED = {"lead_names": LEADS, "sampling_rate_hz": 100, "n_samples": 1000}


@pytest.fixture(scope="module")
def signals_mv(synthetic_root):
    headers = sorted(synthetic_root.glob("records100/*/*.hea"))
    return [read_record(header.with_suffix("")).signal_uv * np.float32(1e-3) for header in headers]


@pytest.fixture(scope="module")
def ecg(signals_mv):
    return signals_mv[0]


def rows(signal_mv, *names):
    return [LEADS.index(name) for name in names]


def change(signal_mv, **leads):
    """Replace leads."""
    changed = signal_mv.copy()
    for name, row in leads.items():
        changed[LEADS.index(name)] = row
    return changed


def take(signal_mv, name):
    return signal_mv[LEADS.index(name)]


def test_nothing_is_doubtful_in_what_the_model_simulates(signals_mv):
    assert {note for signal_mv in signals_mv for note in check_content(signal_mv, LEADS, 100)} == set()


def test_nothing_is_doubtful_in_real_records(ptbxl_root):
    headers = [*ptbxl_root.glob("records100/*/*.hea"), *ptbxl_root.glob("records500/*/*.hea")]
    records = [read_record(header.with_suffix("")) for header in headers]
    notes = [check_content(each.signal_uv * np.float32(1e-3), LEADS, each.sampling_rate_hz) for each in records]
    assert sum(map(len, notes)) == 0, [note for note in notes if note]


@pytest.mark.parametrize(
    ("doubt", "check", "words"),
    [
        (lambda s: s / 10, "scale", ("too small", "0.3 mV")),
        (lambda s: s * 10, "scale", ("too large", "4.5 mV")),
        (lambda s: (s - s.mean(1, keepdims=True)) / s.std(1, keepdims=True), "normalized", ("12 leads", "deviation 1")),
        (lambda s: (s - s.min(1, keepdims=True)) / np.ptp(s, axis=1, keepdims=True), "normalized", ("range (1,",)),
        (lambda s: (s - s.mean()) / s.std(), "normalized", ("all values together",)),
        (lambda s: (s - s.min()) / np.ptp(s), "normalized", ("exactly 0 to 1",)),
        (lambda s: 2 * (s - s.min()) / np.ptp(s) - 1, "normalized", ("exactly -1 to 1",)),
        (lambda s: change(s, V2=take(s, "V1")), "copies", ("V2 of V1",)),
        (lambda s: change(s, V4=0), "flat", ("lead V4 is flat",)),
        (lambda s: np.where(np.arange(1000) < 600, s, 0), "constant", ("all leads", "at 0 mV from 6.00 to 10.00 s")),
        (
            lambda s: change(s, V1=np.where(np.arange(1000) < 150, -0.5, take(s, "V1"))),
            "constant",
            ("V1 is constant at -0.5 mV from 0.00 to 1.50 s",),
        ),
        (lambda s: np.clip(s, -0.2, 0.3), "saturated", ("V2", "-0.2 mV")),
        (lambda s: change(s, II=np.minimum(take(s, "II"), 0.8 * take(s, "II").max())), "saturated", ("II (",)),
        (
            lambda s: np.where((np.arange(1000) > 900) & (np.arange(1000) <= 920), 1.0, s * (np.arange(1000) < 890)),
            "calibration",
            ("1 mV in all leads from 9.", " to 9.2"),
        ),
    ],
)
def test_what_is_doubtful_is_told_once_and_refused_where_asked(ecg, doubt, check, words):
    signal_mv = doubt(ecg)
    found = inspect_content(signal_mv, LEADS, 100)
    assert check in found, found
    assert all(word in found[check] for word in words), found
    assert {*found} <= {check, "limb leads", "constant" if check == "calibration" else check}
    recording = Recording(signal_mv, 100.0, LEADS)
    prepared = prepare(recording, **WANTED)
    assert prepared.repairs == prepared.doubts == tuple(found.values())
    with pytest.raises(DataError, match="refused, as repairs=refuse_doubtful asks: "):
        prepare(recording, **WANTED, repairs="refuse_doubtful")


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda s: change(s, aVR=take(s, "aVL"), aVL=take(s, "aVR")), "as if aVR and aVL had been swapped"),
        (lambda s: change(s, I=take(s, "III"), III=take(s, "I")), "as if I and III had been swapped"),
        (lambda s: change(s, aVF=-take(s, "aVF")), "as if aVF had been inverted"),
        (
            lambda s: change(s, I=take(s, "II"), II=take(s, "III"), III=take(s, "I")),
            "as if I, II, III had the names III, I, II",
        ),
    ],
)
def test_limb_leads_that_contradict_one_another(signals_mv, mistake, words):
    """By how much is worked out by hand: the root mean square of each relation's sides, in the median second."""
    told = 0
    for signal_mv in signals_mv:
        wrong = mistake(signal_mv)
        note = inspect_content(wrong, LEADS, 100).get("limb leads", "")
        one, two, three, avr, avl, avf = wrong[:6].astype(float)
        sums = [three - two + one, avr + (one + two) / 2, avl - (one - three) / 2, avf - (two + three) / 2]
        worst = max(np.median(np.sqrt((each.reshape(10, 100) ** 2).mean(axis=1))) for each in [*sums, avr + avl + avf])
        if note:
            assert f"differ by {worst:.3f} mV" in note
            told += note.endswith(words)
    assert told > 0.9 * len(signals_mv)


def test_reversed_electrodes_are_not_claimed(ecg):
    """Left and right arm reversed: I is inverted, II and III change places, and so do aVR and aVL."""
    one, two, three, avr, avl = (take(ecg, name) for name in ("I", "II", "III", "aVR", "aVL"))
    assert check_content(change(ecg, I=-one, II=three, III=two, aVR=avl, aVL=avr), LEADS, 100) == []


def test_leads_are_known_by_any_name(ecg):
    names = [f"MDC_ECG_LEAD_{name.upper()}" for name in LEADS]
    assert "as if aVF had been inverted" in check_content(change(ecg, aVF=-take(ecg, "aVF")), names, 100)[0]


def test_a_copied_limb_lead_contradicts_and_is_no_swap(ecg):
    found = inspect_content(change(ecg, III=take(ecg, "I")), LEADS, 100)
    assert found["copies"] == "copies: III of I to 0.002 mV"
    assert "as if" not in found["limb leads"]


def test_a_doubt_that_returns_is_told_once_with_its_number(ecg):
    """The last block, of two samples, says nothing."""
    blocks = [Recording(signal_mv, 100.0, LEADS) for signal_mv in (ecg, 10 * ecg, ecg, 10 * ecg, ecg[:, :2])]
    *parts, last = prepare_blocks(blocks, **WANTED)
    assert sum(len(part.windows_mv) for part in parts) == 5
    assert len(last.repairs) == 2
    assert last.repairs[0].startswith("too large")
    assert last.repairs[0].endswith("(and alike in 1 of 4 other parts)")
