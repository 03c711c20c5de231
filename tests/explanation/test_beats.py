"""Beats against the simulated data set, whose beats are known, and shares against cases worked by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest

from ecgcls.data.signals import LEADS, read_record
from ecgcls.data.synthetic.plan import plan_records
from ecgcls.data.synthetic.rhythm import draw_rhythm
from ecgcls.data.synthetic.signal import simulate_ecg
from ecgcls.data.synthetic.spec import RECORD_STREAM
from ecgcls.errors import ConfigError
from ecgcls.explanation.beats import align_beats, find_r_peaks, phase_shares


def simulate(record, rate_hz):
    """(lead, sample) in mV, and the seconds at which its beats have their R peak."""
    rng = np.random.default_rng([0, RECORD_STREAM, record.spec.ecg_id])
    r_s = draw_rhythm(record.spec.severity, rng).r_s
    return simulate_ecg(record.spec, seed=0, sampling_rate_hz=rate_hz).T / 1000, r_s[(r_s > 0) & (r_s < 10)]


@pytest.mark.parametrize(("rate_hz", "n_records"), [(100, 60), (500, 20)])
def test_simulated_beats_are_found_where_they_are(rate_hz, n_records):
    n_true = n_found = n_named = n_wrong = 0
    errors_s = []
    for record in plan_records(60, 0)[:n_records]:
        signal_mv, r_s = simulate(record, rate_hz)
        found_s = find_r_peaks(signal_mv, sampling_rate_hz=rate_hz, lead_names=LEADS) / rate_hz
        distance_s = np.abs(found_s[:, None] - r_s)  # (found, true)
        true, named = (r_s > 0.3) & (r_s < 9.7), (found_s > 0.3) & (found_s < 9.7)
        nearest_s = distance_s.min(axis=0)[true]
        n_true, n_found = n_true + true.sum(), n_found + (nearest_s < 0.1).sum()
        n_named, n_wrong = n_named + named.sum(), n_wrong + (distance_s.min(axis=1)[named] > 0.1).sum()
        errors_s += nearest_s[nearest_s < 0.1].tolist()
    assert n_found >= 0.99 * n_true
    assert n_wrong <= 0.01 * n_named
    assert np.median(errors_s) <= 0.005
    assert np.percentile(errors_s, 95) <= 0.03


def test_real_beats_make_a_plausible_rhythm(ptbxl_root):
    rows = pd.read_csv(ptbxl_root / "ptbxl_database.csv")[:60]
    ratios = []
    for name in rows["filename_lr"]:
        signal_mv = read_record(ptbxl_root / name).signal_uv / 1000
        interval_s = np.diff(find_r_peaks(signal_mv, sampling_rate_hz=100, lead_names=LEADS)) / 100
        assert 30 < 60 / np.median(interval_s) < 180
        ratios += (interval_s / np.median(interval_s)).tolist()
    odd = (np.array(ratios) > 1.7) | (np.array(ratios) < 0.6)
    assert odd.mean() < 0.02


def pulses(n_leads, rate_hz, peaks_s, *, lead=None):
    """Narrow Gaussian pulses in ten seconds of one lead, or of all."""
    t = np.arange(10 * rate_hz) / rate_hz
    pulse_mv = sum(np.exp(-0.5 * ((t - peak) / 0.015) ** 2) for peak in peaks_s)
    signal_mv = np.zeros((n_leads, len(t)))
    signal_mv[slice(None) if lead is None else lead] = pulse_mv
    return signal_mv


@pytest.mark.parametrize("rate_hz", [100, 250, 500, 257])
@pytest.mark.parametrize("sign", [1, -1])
def test_pulses_are_found_to_the_sample(rate_hz, sign):
    peaks_s = np.arange(0.6, 9.8, 0.9)
    found = find_r_peaks(sign * pulses(3, rate_hz, peaks_s), sampling_rate_hz=rate_hz, lead_names=["I", "II", "V1"])
    assert found.dtype == np.int64
    assert np.abs(found - peaks_s * rate_hz).max() <= 0.5 + 1e-9


def test_no_lead_has_to_be_a_good_one():
    peaks_s = np.arange(0.6, 9.8, 0.8)
    rng = np.random.default_rng(0)
    for lead in (0, 7, 11):
        signal_mv = pulses(12, 100, peaks_s, lead=lead) + 0.01 * rng.standard_normal((12, 1000)) + 3.0  # an offset
        found = find_r_peaks(signal_mv, sampling_rate_hz=100, lead_names=LEADS)
        assert found.tolist() == pytest.approx(peaks_s * 100, abs=1)


def test_computed_leads_are_left_out_unless_there_are_no_others():
    signal_mv = pulses(4, 100, np.arange(0.6, 9.8, 0.8))
    signal_mv[2] = 50 * pulses(1, 100, np.arange(1.0, 9.8, 0.8))[0]
    ours = find_r_peaks(signal_mv, sampling_rate_hz=100, lead_names=["I", "II", "AVR", "V1"])
    assert ours.tolist() == pytest.approx(np.arange(60, 980, 80), abs=1)
    theirs = find_r_peaks(signal_mv[2:3], sampling_rate_hz=100, lead_names=["aVR"])
    assert theirs.tolist() == pytest.approx(np.arange(100, 980, 80), abs=1)


@pytest.mark.parametrize(
    "signal_mv",
    [
        np.zeros((2, 1000)),
        np.full((2, 1000), 1.5),
        np.repeat(np.linspace(0, 1, 1000)[None], 2, axis=0),
        np.ones((2, 5)),
        np.empty((2, 0)),
    ],
    ids=["zero", "constant", "ramp", "short", "empty"],
)
def test_a_signal_without_beats_has_none_and_nothing_is_printed(signal_mv, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_r_peaks(signal_mv, sampling_rate_hz=100, lead_names=["I", "II"])
    assert found.shape == (0,) and found.dtype == np.int64
    assert capsys.readouterr() == ("", "")


def test_noise_causes_no_warning(capsys):
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n_samples in (100, 137, 1000):
            found = find_r_peaks(rng.standard_normal((2, n_samples)), sampling_rate_hz=100, lead_names=["I", "II"])
            assert (np.diff(found) > 0).all() and ((found >= 0) & (found < n_samples)).all()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("signal_mv", "rate_hz", "match"),
    [
        (np.zeros(1000), 100, r"must be \(lead, sample\) with 2 leads, got \(1000,\)"),
        (np.zeros((3, 1000)), 100, r"must be \(lead, sample\) with 2 leads, got \(3, 1000\)"),
        (np.zeros((2, 1000)), 40, "sampling_rate_hz must be at least 50 to find beats, got 40"),
    ],
)
def test_what_is_no_record_is_refused(signal_mv, rate_hz, match):
    with pytest.raises(ConfigError, match=match):
        find_r_peaks(signal_mv, sampling_rate_hz=rate_hz, lead_names=["I", "II"])


def test_beats_are_cut_around_their_peaks():
    values = np.arange(200).reshape(2, 100)
    times_s, beats = align_beats(values, [2, 3, 50, 94, 95], sampling_rate_hz=10)
    assert times_s.tolist() == [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert beats.shape == (3, 2, 9)  # those at 2 and 95 reach beyond the ends
    assert beats[0, 0].tolist() == list(range(9))
    assert beats[2, 1].tolist() == list(range(191, 200))
    assert beats[:, 0, 3].tolist() == [3, 50, 94]


def test_a_record_without_a_whole_beat_has_no_beats():
    for peaks in ([], [0, 99]):
        times_s, beats = align_beats(np.zeros((12, 100)), peaks, sampling_rate_hz=100)
        assert beats.shape == (0, 12, len(times_s)) and len(times_s) == 81


def test_shares_by_hand():
    values = np.zeros((2, 300))
    values[0, 100] = -6  # QRS of the first beat
    values[1, 88] = 1  # 120 ms before it: P
    values[0, 130] = 2  # 300 ms after it: ST-T
    values[0, 20] = 1  # before any beat
    assert phase_shares(values, [100, 200], sampling_rate_hz=100) == {"P": 0.1, "QRS": 0.6, "ST-T": 0.2, "rest": 0.1}


def test_windows_are_half_open_and_qrs_goes_before_p_before_st_t():
    ones = np.ones((1, 300))
    alone = phase_shares(ones, [100], sampling_rate_hz=100)
    assert {name: round(300 * share) for name, share in alone.items()} == {"P": 14, "QRS": 12, "ST-T": 34, "rest": 240}
    # At 150 beats a minute, P (14 samples, from 20 after the last peak) and QRS (the last 6) lie on ST-T.
    fast = phase_shares(ones, [100, 140], sampling_rate_hz=100)
    assert {name: round(300 * share) for name, share in fast.items()} == {"P": 28, "QRS": 24, "ST-T": 48, "rest": 200}


def test_a_map_of_zeros_has_no_shares_and_without_beats_all_is_rest():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shares = phase_shares(np.zeros((2, 100)), [50], sampling_rate_hz=100)
    assert np.isnan(list(shares.values())).all() and len(shares) == 4
    assert phase_shares(np.ones((2, 100)), [], sampling_rate_hz=100) == {"P": 0, "QRS": 0, "ST-T": 0, "rest": 1}
