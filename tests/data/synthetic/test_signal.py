"""Physiology, measured from the simulated signals."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import wfdb.processing

from ecgcls.data.synthetic.leads import LEADS
from ecgcls.data.synthetic.signal import frontal_axis_deg, simulate_ecg
from ecgcls.data.synthetic.spec import EcgSpec
from ecgcls.data.synthetic.tables import read_statements


@cache
def simulate(statement: str | None, n: int = 12, rate: int = 500, **kwargs) -> np.ndarray:
    """(record, sample, lead) in mV of `n` patients of 55 years."""
    severity = {statement: 0.5} if statement else {}
    specs = [EcgSpec(ecg_id=k, patient_id=k, age=55, severity=severity, **kwargs) for k in range(n)]
    ecgs_mv = np.array([simulate_ecg(spec, seed=11, sampling_rate_hz=rate) for spec in specs]) / 1000
    ecgs_mv.flags.writeable = False  # shared by the tests
    return ecgs_mv


def r_peaks(ecg_mv: np.ndarray, rate: int = 500) -> np.ndarray:
    """Sample numbers by wfdb's own detector, in lead II, or in V2 where that is flat."""
    lead = 1 if np.ptp(ecg_mv[:, 1]) > 0.5 else 7
    return wfdb.processing.xqrs_detect(ecg_mv[:, lead], fs=rate, verbose=False)


def mean_beat(ecg_mv: np.ndarray, before_s: float = 0.35, after_s: float = 0.6) -> np.ndarray:
    """(sample, lead) at 500 Hz: median over the beats, aligned on the peak of the QRS's spatial magnitude."""
    slope = scipy.signal.sosfiltfilt(scipy.signal.butter(2, [5, 40], "band", fs=500, output="sos"), ecg_mv, axis=0)
    size = scipy.ndimage.gaussian_filter1d(np.sqrt((slope**2).sum(axis=1)), 8)
    peaks, _ = scipy.signal.find_peaks(size, height=0.5 * size.max(), distance=150)
    inside = [p for p in peaks if before_s * 500 <= p < len(ecg_mv) - after_s * 500]
    beats = np.array([ecg_mv[p - int(before_s * 500) : p + int(after_s * 500)] for p in inside])
    beat = np.median(beats, axis=0)
    onset = int(before_s * 500)
    return beat - np.median(beat[onset - 45 : onset - 38], axis=0)  # the PR segment is zero


def lead(beat: np.ndarray, name: str) -> np.ndarray:
    return beat[:, LEADS.index(name)]


def qrs_ms(ecg_mv: np.ndarray) -> float:
    """Time for which the leads together move fast: a QRS duration by slope, all leads at once."""
    beat = scipy.ndimage.gaussian_filter1d(mean_beat(ecg_mv), 1.5, axis=0)
    speed = np.abs(np.gradient(beat, axis=0)).sum(axis=1)
    window = speed[100:260]
    fast = np.flatnonzero(window > 0.12 * window.max())
    return float(fast[-1] - fast[0]) * 2


QRS = slice(175 - 45, 175 + 60)
T = slice(175 + 85, 175 + 210)


def median_of(statement: str | None, measure, **kwargs) -> float:
    return float(np.median([measure(ecg) for ecg in simulate(statement, **kwargs)]))


def test_a_normal_beat_is_physiological():
    beats = np.array([mean_beat(ecg) for ecg in simulate(None, 24)])
    highest = {name: np.median(beats[:, QRS, k].max(axis=1)) for k, name in enumerate(LEADS)}
    lowest = {name: np.median(beats[:, QRS, k].min(axis=1)) for k, name in enumerate(LEADS)}
    assert 0.9 < highest["V5"] < 1.7
    assert highest["V1"] < highest["V2"] < highest["V3"] < highest["V4"]  # R grows from V1 to V4
    assert lowest["V2"] < -0.7 and lowest["V2"] < lowest["V4"] < lowest["V6"]  # S shrinks
    assert lowest["AVR"] < -0.4 and highest["AVR"] < 0.2
    t_wave = {name: np.median(beats[:, T, k].max(axis=1)) for k, name in enumerate(LEADS)}
    assert all(0.08 < t_wave[name] < 0.9 for name in ("I", "II", "V2", "V3", "V4", "V5", "V6"))
    assert np.median(lead(beats[0], "AVR")[T]) < 0
    assert all(75 <= qrs_ms(ecg) <= 115 for ecg in simulate(None, 12))
    axes = [frontal_axis_deg(EcgSpec(ecg_id=k, patient_id=k, age=55), seed=11) for k in range(24)]
    assert 20 < np.median(axes) < 75 and min(axes) > -30 and max(axes) < 105


@pytest.mark.parametrize(
    ("statement", "at_least_ms"), [("CRBBB", 120), ("CLBBB", 125), ("IVCD", 108), ("PVC", 0), ("IRBBB", 95)]
)
def test_conduction_blocks_widen_qrs(statement, at_least_ms):
    width = median_of(statement, qrs_ms)
    if statement == "PVC":  # its other beats are narrow
        assert abs(width - median_of(None, qrs_ms)) < 10
    else:
        assert width > max(at_least_ms, median_of(None, qrs_ms) + 5)


def test_bundle_branch_blocks_have_their_shapes():
    for ecg in simulate("CRBBB", 8):
        beat = mean_beat(ecg)
        v1, v6 = lead(beat, "V1")[QRS], lead(beat, "V6")[QRS]
        s = v1.argmin()
        assert v1[s:].max() > 0.25 and v1[: s + 1].max() > 0.02  # rSR'
        assert v6[v6.argmax() :].min() < -0.15  # wide S
    for ecg in simulate("CLBBB", 8):
        beat = mean_beat(ecg)
        assert lead(beat, "V1")[QRS].min() < -0.5 and lead(beat, "V1")[QRS].max() < 0.3
        assert lead(beat, "V6")[QRS].max() > 0.4 and lead(beat, "V6")[QRS].min() > -0.15  # no septal q
        assert lead(beat, "V6")[T].min() < 0  # discordant


def test_fascicular_blocks_turn_the_axis():
    def axis(statement: str) -> float:
        specs = [EcgSpec(ecg_id=k, patient_id=k, age=55, severity={statement: 0.5}) for k in range(12)]
        return float(np.median([frontal_axis_deg(spec, seed=11) for spec in specs]))

    assert -80 < axis("LAFB") < -35
    assert 92 < axis("LPFB") < 130
    for ecg in simulate("LAFB", 6):  # measured, not computed: I up, II and AVF down
        beat = mean_beat(ecg)[QRS]
        assert lead(beat, "I").sum() > 0 > lead(beat, "AVF").sum() and lead(beat, "II").sum() < 0


def q_ms(beat: np.ndarray, name: str) -> float:
    """Duration of the negative start of QRS: before any R, deeper than 50 microvolt."""
    wave = lead(beat, name)[QRS]
    below = wave < -0.05
    first = int(below.argmax()) if below.any() else 0
    if not below.any() or wave[:first].max(initial=0) > 0.06:  # an r comes first
        return 0.0
    ends = np.flatnonzero(~below[first:])
    return 2.0 * float(ends[0] if len(ends) else len(below) - first)


@pytest.mark.parametrize(
    ("statement", "territory", "spared"),
    [
        ("IMI", ["II", "III", "AVF"], ["V2", "V5"]),
        ("ASMI", ["V1", "V2", "V3"], ["II", "V6"]),
        ("AMI", ["V2", "V3", "V4"], ["II"]),
        ("ALMI", ["V4", "V5", "V6"], ["AVF"]),
        ("LMI", ["I", "AVL", "V5", "V6"], ["AVF", "V1"]),
        ("ILMI", ["II", "AVF", "V6"], ["V1", "V2"]),
    ],
)
def test_infarctions_leave_q_waves_in_their_territory(statement, territory, spared):
    beats = [mean_beat(ecg) for ecg in simulate(statement, 10)]
    for name in territory:
        assert np.median([q_ms(beat, name) for beat in beats]) >= 28, name
    for name in spared:
        assert np.median([q_ms(beat, name) for beat in beats]) < 24, name
    normal = [mean_beat(ecg) for ecg in simulate(None, 10)]
    for name in set(territory) - {"V1"}:
        assert np.median([q_ms(beat, name) for beat in normal]) < 24, name


def test_an_acute_infarction_lifts_st():
    st = slice(175 + 50, 175 + 70)  # 100 to 140 ms after the middle of QRS
    acute = [mean_beat(ecg) for ecg in simulate("IMI", 8, infarction_stage=1)]
    old = [mean_beat(ecg) for ecg in simulate("IMI", 8, infarction_stage=3)]
    for name in ("II", "III", "AVF"):
        assert np.median([lead(beat, name)[st].mean() for beat in acute]) > 0.12
        assert np.median([lead(beat, name)[st].mean() for beat in old]) < 0.09
    assert np.median([lead(beat, "AVL")[st].mean() for beat in acute]) < 0  # reciprocal


def test_hypertrophy_raises_voltage_and_turns_the_right_heart_forward():
    def sokolow_mv(ecg):
        beat = mean_beat(ecg)[QRS]
        return max(lead(beat, "V5").max(), lead(beat, "V6").max()) - lead(beat, "V1").min()

    normal = median_of(None, sokolow_mv)
    assert 1.3 < normal < 3.0
    assert median_of("LVH", sokolow_mv) > 3.2
    assert median_of("VCLVH", sokolow_mv) > 1.15 * normal
    assert median_of("LVOLT", sokolow_mv) < 0.6 * normal
    limbs = [np.ptp(mean_beat(ecg)[QRS, :6], axis=0).max() for ecg in simulate("LVOLT", 10)]
    assert np.median(limbs) < 0.6
    for ecg in simulate("RVH", 8):
        v1 = lead(mean_beat(ecg), "V1")[QRS]
        assert v1.max() > -v1.min() and v1.max() > 0.3


def t_extreme(ecg: np.ndarray, name: str) -> float:
    wave = lead(mean_beat(ecg), name)[T]
    return float(wave[np.abs(wave).argmax()])


@pytest.mark.parametrize(
    ("statement", "inverted"),
    [
        ("ISC_", ["I", "V4", "V5", "V6"]),
        ("ISCAL", ["I", "V4", "V5"]),
        ("ISCIN", ["II", "III", "AVF"]),
        ("INVT", ["V5"]),
    ],
)
def test_ischemia_inverts_t(statement, inverted):
    for name in inverted:
        assert median_of(statement, lambda ecg, name=name: t_extreme(ecg, name)) < -0.04, name
        if name != "III":
            assert median_of(None, lambda ecg, name=name: t_extreme(ecg, name)) > 0.05, name


def test_other_st_t_statements():
    st = slice(175 + 40, 175 + 70)
    v5_t, v5_st = (lambda ecg: abs(t_extreme(ecg, "V5"))), (lambda ecg: lead(mean_beat(ecg), "V5")[st].mean())
    v2_st = lambda ecg: lead(mean_beat(ecg), "V2")[st].mean()  # noqa: E731
    assert median_of("NDT", v5_t) < 0.4 * median_of(None, v5_t)
    assert median_of("NST_", v5_st) < median_of(None, v5_st) - 0.04
    assert median_of("STD_", v5_st) < median_of(None, v5_st) - 0.06
    assert median_of("INJAS", v2_st) < median_of(None, v2_st) - 0.10

    def t_peak_ms(ecg):
        wave = lead(mean_beat(ecg, after_s=0.75), "V4")[260:]
        return 2.0 * float(wave.argmax())

    assert median_of("LNGQT", t_peak_ms) > median_of(None, t_peak_ms) + 60


def p_onset_ms(ecg: np.ndarray) -> float:
    """Time from the steepest rise of P to the R peak in II; a proxy for PR that needs no delineation."""
    before = scipy.ndimage.gaussian_filter1d(lead(mean_beat(ecg, before_s=0.45), "II"), 4)[: 225 - 35]
    return 2.0 * float(225 - before.argmax())


def test_av_block_and_long_pr_move_p_away():
    normal = median_of(None, p_onset_ms)
    assert 110 < normal < 200
    assert median_of("LPR", p_onset_ms) > normal + 35
    assert median_of("1AVB", p_onset_ms) > normal + 80


def test_left_atrial_enlargement_deepens_p_in_v1():
    def terminal(ecg):
        return lead(mean_beat(ecg), "V1")[175 - 85 : 175 - 38].min()

    assert median_of("LAO/LAE", terminal) < median_of(None, terminal) - 0.02


def rr_s(ecg: np.ndarray) -> np.ndarray:
    return np.diff(r_peaks(ecg)) / 500


def test_rates_and_rhythms():
    def rate_bpm(ecg):
        return 60 / np.median(rr_s(ecg))

    def spread(ecg):
        return np.std(rr_s(ecg)) / np.mean(rr_s(ecg))

    for ecg in simulate("SBRAD", 5):
        assert 38 < rate_bpm(ecg) < 60
    for ecg in simulate("STACH", 5):
        assert 100 < rate_bpm(ecg) < 145
    for ecg in simulate(None, 5):
        assert 58 < rate_bpm(ecg) < 100 and spread(ecg) < 0.06
    assert median_of("SARRH", spread, n=6) > 0.07
    assert median_of("AFIB", spread, n=6) > 0.13


def test_atrial_fibrillation_has_no_p_but_waves():
    def p_height(ecg):
        beat = scipy.ndimage.gaussian_filter1d(lead(mean_beat(ecg), "II"), 3)
        return np.ptp(beat[175 - 100 : 175 - 40])

    def power_4_to_9_hz(ecg):
        # between T and the next QRS, in V1, which in sinus rhythm is nearly flat there
        v1 = scipy.signal.sosfiltfilt(scipy.signal.butter(2, [3.5, 9], "band", fs=500, output="sos"), lead(ecg, "V1"))
        peaks = r_peaks(ecg)
        pieces = [v1[a + 220 : b - 130] for a, b in pairwise(peaks) if b - a > 400]
        return np.std(np.concatenate(pieces)) if pieces else np.nan

    assert median_of("AFIB", p_height, n=8) < 0.6 * median_of(None, p_height, n=8)
    af = np.nanmedian([power_4_to_9_hz(ecg) for ecg in simulate("AFIB", 8)])
    sinus = np.nanmedian([power_4_to_9_hz(ecg) for ecg in simulate("SBRAD", 8)])
    assert af > 1.5 * sinus


def test_ectopic_beats_are_early_large_wide_and_followed_by_a_pause():
    def between(ecg, a, b):
        """Largest swing of a lead between the T wave after `a` and the P wave before `b`, where, how wide."""
        piece = ecg[a + 150 : b - 110]
        k = int(np.ptp(piece, axis=0).argmax())
        wave = np.abs(piece[:, k] - np.median(piece[:, k]))
        return np.ptp(piece[:, k]), (150 + wave.argmax()) / (b - a), 2 * np.sum(wave > wave.max() / 2)

    for ecg in simulate("PVC", 6):
        peaks = r_peaks(ecg)  # wfdb's detector passes the wide beats by, and so shows the pause
        usual = np.median(np.diff(peaks))
        pauses = [(a, b) for a, b in pairwise(peaks) if b - a > 1.6 * usual]
        assert pauses
        for a, b in pauses:
            swing_mv, where, width_ms = between(ecg, a, b)
            assert b - a == pytest.approx(2 * usual, rel=0.08)  # fully compensatory
            assert swing_mv > 0.8 and 0.25 < where < 0.42 and width_ms > 45
        calm = [between(ecg, a, b)[0] for a, b in pairwise(peaks) if 290 < b - a < 1.2 * usual]
        assert np.median(calm) < 0.4
    for ecg in simulate(None, 4):
        assert np.diff(r_peaks(ecg)).max() < 1.2 * np.median(np.diff(r_peaks(ecg)))


@pytest.mark.parametrize("statement", sorted(set(read_statements()) - {"NORM", "SR"}))
def test_every_statement_changes_the_signal(statement):
    """Even at the lowest severity, and more at the highest."""

    def ecg(severity):
        spec = EcgSpec(ecg_id=5, patient_id=5, age=55, severity=severity)
        return simulate_ecg(spec, seed=2, sampling_rate_hz=100).astype(float)

    plain, subtle, plain_again = ecg({}), ecg({statement: 0.0}), ecg({})
    assert np.array_equal(plain, plain_again)
    assert np.abs(plain - subtle).max() > 30
    assert np.abs(subtle - ecg({statement: 1.0})).max() > 10


def test_patients_are_themselves_again_and_noise_flags_show():
    def ecg(**kwargs):
        return simulate_ecg(EcgSpec(age=60, **kwargs), seed=0, sampling_rate_hz=500) / 1000

    twice = [mean_beat(ecg(ecg_id=k, patient_id=9))[QRS].ravel() for k in (1, 2)]
    other = mean_beat(ecg(ecg_id=1, patient_id=10))[QRS].ravel()
    assert np.abs(twice[0] - twice[1]).mean() < 0.5 * np.abs(twice[0] - other).mean()
    plain, drift = ecg(ecg_id=1, patient_id=9), ecg(ecg_id=1, patient_id=9, drift_electrode=5)  # V3
    moved = np.ptp(drift - plain, axis=0)
    assert moved[LEADS.index("V3")] > 0.1 and np.delete(moved, LEADS.index("V3")).max() < 0.01
    noisy = ecg(ecg_id=1, patient_id=9, static_noise=True)
    assert np.abs(np.diff(noisy, 2, axis=0)).mean() > 2 * np.abs(np.diff(plain, 2, axis=0)).mean()
