import numpy as np
import pytest
import wfdb

from ecgcls.data.reading import read_repaired
from ecgcls.data.recordings import Recording, prepare, read_recording
from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import DataError

WANTED = {"lead_names": LEADS, "sampling_rate_hz": 100, "n_samples": 1000}


@pytest.fixture(scope="module")
def path(synthetic_root):
    return sorted(synthetic_root.glob("records100/*/*.hea"))[0].with_suffix("")


@pytest.fixture(scope="module")
def signal_mv(path):
    return read_record(path).signal_uv * 1e-3


def recording(signal_mv, lead_names=LEADS, rate_hz=100.0):
    return Recording(np.asarray(signal_mv), rate_hz, tuple(lead_names))


def take(signal_mv, names):
    return np.stack([signal_mv[LEADS.index(name)] for name in names])


def test_a_record_that_fits_is_not_changed_by_a_bit(path):
    prepared = prepare(read_recording(path), **WANTED)
    as_in_training = read_record(path).signal_uv.astype(np.float32) * np.float32(1e-3)
    assert prepared.windows_mv.dtype == np.float32
    np.testing.assert_array_equal(prepared.windows_mv, as_in_training[None])
    assert prepared.repairs == ()
    assert prepared.starts_s == (0.0,)


@pytest.mark.parametrize("rate_hz", [100, 250])
def test_a_short_recording_is_padded_as_the_store_pads_it(write_record, tmp_path, rate_hz):
    samples = np.random.default_rng(0).integers(-800, 900, (6 * rate_hz, 12)).cumsum(axis=0) // 50
    path = write_record(tmp_path / "short", samples, fs=rate_hz)
    stored = read_repaired(path, sampling_rate_hz=100, n_samples=1000, shorter="pad")
    prepared = prepare(read_recording(path), **WANTED, pads=True)
    np.testing.assert_allclose(prepared.windows_mv[0], stored.signal_uv * 1e-3, atol=1.1e-3)
    assert prepared.repairs[-1] == stored.repairs[-1] == "padded from 6 to 10 s with the mean of each lead"
    assert prepared.starts_s == (0.0,)
    with pytest.raises(DataError, match="too short: 6 s"):
        prepare(read_recording(path), **WANTED)
    with pytest.raises(DataError, match=r"too short: 0\.9 s"):
        prepare(recording(samples.T[:, : 9 * rate_hz // 10] * 1e-3, rate_hz=float(rate_hz)), **WANTED, pads=True)


@pytest.mark.parametrize("spelling", ["{}", " {} ", "lead {}", "ECG_{}", "EKG {}", "MDC_ECG_LEAD_{}"])
def test_leads_are_matched_by_name_and_put_in_order(signal_mv, spelling):
    names = [spelling.format(name.upper()) for name in reversed(LEADS)]
    prepared = prepare(recording(signal_mv[::-1], names), **WANTED)
    np.testing.assert_array_equal(prepared.windows_mv[0], signal_mv.astype(np.float32))
    assert prepared.repairs == ("leads put in order",)


def test_limb_leads_are_derived_as_by_hand(signal_mv):
    precordial = take(signal_mv, LEADS[6:])
    lead_i, lead_ii = np.full(1000, 0.5), np.linspace(-1, 1, 1000)
    given = np.concatenate([[lead_i, lead_ii], precordial])
    prepared = prepare(recording(given, ("I", "II", *LEADS[6:])), **WANTED)
    iii, avr, avl, avf = prepared.windows_mv[0][2:6]
    np.testing.assert_allclose(iii, lead_ii - 0.5, atol=1e-6)
    np.testing.assert_allclose(avr, -(0.5 + lead_ii) / 2, atol=1e-6)
    np.testing.assert_allclose(avl, 0.5 - lead_ii / 2, atol=1e-6)
    np.testing.assert_allclose(avf, lead_ii - 0.25, atol=1e-6)
    assert prepared.repairs == ("derived III, aVR, aVL, aVF from I and II", "lead I is flat")


@pytest.mark.parametrize("kept", [("I", "II"), ("I", "III"), ("II", "III")])
def test_derived_leads_are_those_that_were_recorded(ptbxl_root, kept):
    """PTB-XL's own limb leads obey Einthoven and Goldberger, except for rounding to steps of 5 microvolts."""
    for header in sorted(ptbxl_root.glob("records100/*/*.hea"))[:20]:
        signal_mv = read_record(header.with_suffix("")).signal_uv * 1e-3
        names = (*kept, *LEADS[6:])
        prepared = prepare(recording(take(signal_mv, names), names), **WANTED)
        assert np.abs(prepared.windows_mv[0] - signal_mv).max() <= 0.0051


def test_signals_that_are_not_ecg_leads_are_left_out_whatever_they_hold(tmp_path, signal_mv):
    pressure = np.where(np.arange(1000) < 500, np.nan, 80.0)
    samples = np.concatenate([signal_mv, pressure[None]]).T
    wfdb.wrsamp(
        "extra",
        fs=100,
        units=["mV"] * 12 + ["mmHg"],
        sig_name=[*LEADS, "ABP"],
        p_signal=samples,
        fmt=["16"] * 13,
        write_dir=str(tmp_path),
    )
    prepared = prepare(read_recording(tmp_path / "extra"), **WANTED)
    assert prepared.repairs == ("left out ABP",)
    np.testing.assert_allclose(prepared.windows_mv[0], signal_mv, atol=0.002)


def test_units_come_from_the_header(tmp_path, write_record):
    counts = np.random.default_rng(0).integers(-500, 500, size=(1000, 12))
    write_record(tmp_path / "mv", counts)
    write_record(tmp_path / "uv", counts, units=["uV"] * 12, adc_gain=[1.0] * 12)
    in_mv, in_uv = (prepare(read_recording(tmp_path / name), **WANTED) for name in ("mv", "uv"))
    np.testing.assert_array_equal(in_mv.windows_mv, in_uv.windows_mv)
    np.testing.assert_allclose(in_mv.windows_mv[0], counts.T / 1000, rtol=1e-6)


@pytest.mark.parametrize("rate_hz", [500.0, 257.0, 250.0, 128.0, 360.0, 499.5])
def test_resampling_keeps_a_sine(rate_hz):
    times_s = np.arange(int(np.ceil(10 * rate_hz))) / rate_hz
    sine = np.tile(np.sin(2 * np.pi * 7 * times_s), (12, 1))
    prepared = prepare(recording(sine, rate_hz=rate_hz), **WANTED)
    expected = np.sin(2 * np.pi * 7 * np.arange(1000) / 100)
    np.testing.assert_allclose(prepared.windows_mv[0, 0, 50:-50], expected[50:-50], atol=0.01)
    assert prepared.repairs[-1] == f"resampled from {rate_hz:g} to 100 Hz"


@pytest.mark.parametrize(
    ("changed", "refused_for"),
    [
        (lambda ecg: recording(ecg), None),
        (lambda ecg: recording(ecg[::-1], LEADS[::-1]), None),  # put in order: the samples are those recorded
        (lambda ecg: recording(np.tile(ecg, 2)), None),  # cut into two windows
        (lambda ecg: recording(ecg, rate_hz=101.0), "resampled from 101 to 100 Hz"),
        (lambda ecg: recording(ecg[[0, 1, *range(6, 12)]], LEADS[:2] + LEADS[6:]), "derived III, aVR, aVL, aVF"),
        (lambda ecg: recording(ecg[:, :500]), "padded from 5 to 10 s"),
    ],
)
def test_what_is_not_as_it_was_recorded_is_refused_where_asked(changed, refused_for):
    ecg = np.cumsum(np.random.default_rng(0).normal(0, 0.05, (12, 1010)), axis=1)[:, :1000]
    ecg[2:6] = ecg[1] - ecg[0], -(ecg[0] + ecg[1]) / 2, ecg[0] - ecg[1] / 2, ecg[1] - ecg[0] / 2
    prepare(changed(ecg), **WANTED, pads=True, repairs="refuse_doubtful")
    if refused_for is None:
        prepare(changed(ecg), **WANTED, pads=True, repairs="refuse")
        return
    with pytest.raises(DataError, match=f"refused, as repairs=refuse asks: {refused_for}"):
        prepare(changed(ecg), **WANTED, pads=True, repairs="refuse")


def test_resampling_filters_out_what_would_alias():
    times_s = np.arange(5000) / 500
    tone = np.tile(np.sin(2 * np.pi * 80 * times_s), (12, 1))  # would appear at 20 Hz
    prepared = prepare(recording(tone, rate_hz=500.0), **WANTED)
    assert np.abs(prepared.windows_mv[0, :, 50:-50]).max() < 0.01


def test_500_hz_becomes_what_the_data_set_has_at_100_hz(ptbxl_root):
    for header in sorted(ptbxl_root.glob("records500/*/*.hea"))[:15]:
        name = str(header.with_suffix("")).replace("records500", "records100").replace("_hr", "_lr")
        expected = read_record(type(header)(name)).signal_uv * 1e-3
        found = prepare(read_recording(header.with_suffix("")), **WANTED).windows_mv[0]
        # The last tenth of a second is left out: there the data set's own 100 Hz signals ring.
        assert np.corrcoef(found[:, :-10].ravel(), expected[:, :-10].ravel())[0, 1] > 0.99


@pytest.mark.parametrize(("n_samples", "starts_s"), [(1000, (0.0,)), (1001, (0.0, 0.01)), (2500, (0.0, 10.0, 15.0))])
def test_long_recordings_are_cut_without_leaving_a_sample_out(n_samples, starts_s):
    signal = np.random.default_rng(0).normal(size=(12, n_samples))
    prepared = prepare(recording(signal), **WANTED)
    assert prepared.starts_s == starts_s
    for window, start_s in zip(prepared.windows_mv, starts_s, strict=True):
        start = round(start_s * 100)
        np.testing.assert_array_equal(window, signal[:, start : start + 1000].astype(np.float32))
    assert (round(starts_s[-1] * 100) + 1000) == n_samples


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: recording(s[:11], LEADS[:11]), "the lead V6 is missing, got I, II"),
        (lambda s: recording(take(s, ("I", *LEADS[3:])), ("I", *LEADS[3:])), "the leads II, III are missing"),
        (lambda s: recording(s, ("I", "i", *LEADS[2:])), "the lead I is given twice"),
        (lambda s: recording(s[:, :999]), r"too short: 9\.99 s, the net needs 10 s"),
        (lambda s: recording(np.where(np.arange(1000) == 3, np.nan, s)), r"missing samples .* in I \(1\), II \(1\)"),
        (lambda s: recording(s * 1000), "are the values microvolts"),
        (lambda s: recording(0 * s), "a flat line in all leads"),
        (lambda s: recording(s, rate_hz=20.0), "the sampling rate must be at least 50 Hz and at most 10000 Hz, got 20"),
        (lambda s: recording(s, rate_hz=float("nan")), "the sampling rate must be at least 50 .* got nan"),
        (lambda s: recording(s.T), r"the signal must be \(lead, sample\)"),
        (lambda s: recording(s[:, :0]), "the recording has no sample"),
        (lambda s: recording(s, rate_hz=1e9), r"at most 10000 Hz, got 1e\+09"),
        (lambda s: recording(s, rate_hz=None), "the sampling rate must be a number of Hz, got None"),
        (lambda s: recording(s / 1000), r"within 0\.00\d+ mV; an ECG has at least 0\.02 mV: are they volts"),
        (lambda s: recording(s + 0j), "must be real numbers in mV, got an array of complex128"),
        (lambda s: recording(s > 0), "must be real numbers in mV, got an array of bool"),
        (lambda s: recording(s.astype(object)), "must be real numbers in mV, got an array of object"),
        (lambda s: recording(np.full_like(s, np.nan)), r"missing samples .* in I \(1000\)"),
        (lambda s: recording(s, range(12)), "the lead names must be a list of texts"),
    ],
)
def test_what_cannot_be_repaired_is_refused(signal_mv, change, message):
    with pytest.raises(DataError, match=message):
        prepare(change(signal_mv), **WANTED)


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_file_without_a_standard_lead_is_refused(tmp_path, write_record, fmt):
    names = [f"EEG {number}" for number in range(12)]
    path = write_record(tmp_path / "r", np.ones((1000, 12), dtype=int), sig_name=names, fmt=[fmt] * 12)
    with pytest.raises(DataError, match=r"no standard lead .* got EEG 0, EEG 1"):
        prepare(read_recording(path), **WANTED)
