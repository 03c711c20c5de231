import numpy as np
import pytest
import wfdb

from ecgcls.data.reading import find_common_length, read_repaired
from ecgcls.data.recordings import prepare, read_recording
from ecgcls.data.signals import LEADS
from ecgcls.errors import DataError

WANTED = {"sampling_rate_hz": 100, "n_samples": 200}


@pytest.fixture
def signal_uv() -> np.ndarray:
    """``(lead, sample)`` of 2 s at 100 Hz; the limb leads obey Einthoven and Goldberger."""
    rng = np.random.default_rng(3)
    one, two = 4 * rng.integers(-200, 200, (2, 200))
    limb = [one, two, two - one, -(one + two) // 2, one - two // 2, two - one // 2]
    return np.concatenate([limb, rng.integers(-900, 900, (6, 200))])


def test_a_plain_record_is_taken_as_it_is(tmp_path, signal_uv, write_record):
    reading = read_repaired(write_record(tmp_path / "r", signal_uv.T), **WANTED)
    assert np.array_equal(reading.signal_uv, signal_uv) and reading.signal_uv.dtype == np.int16
    assert reading.repairs == () and reading.has_checksums


def test_a_gain_that_the_header_does_not_say_is_a_doubt(tmp_path, signal_uv, write_record):
    path = write_record(tmp_path / "r", signal_uv.T // 10)
    header = path.with_name("r.hea")
    header.write_text(header.read_text().replace(" 1000.0(0)/mV ", " 0(0)/mV "))
    guess = "gain 0 in the header: uncalibrated, taken as 200 adu/mV"  # so header(5) says
    reading = read_repaired(path, **WANTED)
    assert reading.guesses == (guess,) and reading.repairs == ()
    assert np.array_equal(reading.signal_uv, 5 * (signal_uv // 10))
    recording, wanted = read_recording(path), {"lead_names": LEADS, **WANTED}
    assert guess in prepare(recording, **wanted).doubts
    with pytest.raises(DataError, match="refused, as repairs=refuse_doubtful asks: gain 0 in the header"):
        prepare(recording, **wanted, repairs="refuse_doubtful")


@pytest.mark.parametrize(
    "names",
    [
        [f"MDC_ECG_LEAD_{lead}" for lead in LEADS],
        ["DI", "DII", "DIII", "aVR", "aVL", "aVF", "C1", "C2", "C3", "C4", "C5", "C6"],
        [f"Lead {lead}" for lead in LEADS],
        [lead.lower() for lead in LEADS],
    ],
    ids=lambda names: names[1],
)
def test_leads_by_any_known_name_in_any_order(tmp_path, signal_uv, write_record, names):
    as_named = write_record(tmp_path / "named", signal_uv.T, sig_name=names)
    assert np.array_equal(read_repaired(as_named, **WANTED).signal_uv, signal_uv)
    backwards = write_record(tmp_path / "back", signal_uv[::-1].T, sig_name=names[::-1])
    reading = read_repaired(backwards, **WANTED)
    assert np.array_equal(reading.signal_uv, signal_uv) and reading.repairs == ("leads put in order",)


def test_limb_leads_are_derived_and_other_signals_left_out(tmp_path, signal_uv):
    kept = [0, 1, *range(6, 12)]
    samples = np.concatenate([signal_uv[kept], signal_uv[:1]]).T
    names = [*(LEADS[lead] for lead in kept), "RESP"]
    how = {"fmt": ["16"] * 9, "adc_gain": [1000.0] * 9, "baseline": [0] * 9, "units": ["mV"] * 8 + ["NU"]}
    wfdb.wrsamp("r", fs=100, sig_name=names, d_signal=samples, write_dir=str(tmp_path), **how)
    reading = read_repaired(tmp_path / "r", **WANTED)
    assert np.array_equal(reading.signal_uv, signal_uv)
    assert reading.repairs == ("left out RESP", "derived III, aVR, aVL, aVF from I and II")


@pytest.mark.parametrize("rate_hz", [500, 360, 257])
def test_another_rate_and_length_is_what_predict_makes_of_it(tmp_path, write_record, rate_hz):
    times_s = np.arange(3 * rate_hz) / rate_hz
    tones = [1000 * np.sin(2 * np.pi * (3 + lead) * times_s) + lead + 1 for lead in range(12)]
    path = write_record(tmp_path / "r", np.round(tones).astype(int).T, fs=rate_hz)
    reading = read_repaired(path, **WANTED)
    expected = [1000 * np.sin(2 * np.pi * (3 + lead) * np.arange(200) / 100) + lead + 1 for lead in range(12)]
    assert np.abs(reading.signal_uv - expected)[:, 50:].max() < 15
    assert reading.repairs[-2:] == (f"resampled from {rate_hz} to 100 Hz", "cut to the first 2 s")
    predicted = prepare(read_recording(path), lead_names=LEADS, sampling_rate_hz=100, n_samples=200).windows_mv[0]
    assert np.array_equal(reading.signal_uv, np.rint(1000 * predicted))


def test_what_cannot_be_used(tmp_path, signal_uv, write_record):
    with pytest.raises(DataError, match=r"^too short: 1\.5 s, data\.duration_s takes 2 s$"):
        read_repaired(write_record(tmp_path / "short", signal_uv.T[:150]), **WANTED)
    with pytest.raises(DataError, match="the lead V3 is missing"):
        read_repaired(write_record(tmp_path / "v3", signal_uv.T, sig_name=[*LEADS[:8], "X", *LEADS[9:]]), **WANTED)
    overshoot = np.tile(np.repeat([32_000, -32_000], 50), (12, 10)).T
    with pytest.raises(DataError, match=r"mV after resampling; an ECG stays within 32\.767 mV"):
        read_repaired(write_record(tmp_path / "square", overshoot, fs=500), **WANTED)


def test_the_common_length_is_that_of_most_records_and_the_shorter_of_two(tmp_path, signal_uv, write_record):
    paths = [
        write_record(tmp_path / name, signal_uv.T[:n_samples], fs=fs)
        for name, n_samples, fs in [("a", 180, 100), ("b", 150, 100), ("c", 90, 50), ("d", 75, 50), ("e", 75, 100)]
    ]
    paths.insert(0, tmp_path / "missing")
    assert find_common_length(paths, sampling_rate_hz=100) == 150  # two of 1.8 s, two of 1.5 s
    assert find_common_length([*paths, paths[1]], sampling_rate_hz=100) == 180
    assert find_common_length(paths[:1], sampling_rate_hz=100) == 1000
