"""A 12-lead ECG model: Gaussian lobes of the heart's electrical axis, changed by diagnosis.

Task
----
Turn a list of SCP-ECG statements (``{'IMI': 0.7, 'SBRAD': 0.4}``: statement and severity) into ten seconds of
a 12-lead ECG that a cardiologist would read that way, at 100 or 500 Hz. Nothing here is a patient.

Model
-----
The heart is one moving dipole ``(x, y, z)`` in mV: x to the left, y to the feet, z to the back (Frank's
axes). Each wave is one or more lobes: a fixed direction times a Gaussian of the time from the beat's R peak,
with its own rise and fall. A normal beat has ten: two P (right and left atrium), four QRS (septum, apex, free
wall, base), an early and a late ST, T and U. Statements turn, scale, widen or add lobes; heart rate moves
the ST-T lobes (QT by Fridericia's cube root). The Gaussian waves follow McSharry et al., the dipole Sameni et
al.; Dower's matrix projects it to I, II and V1..V6. III and the augmented leads are computed from the
*rounded* I and II, so that Einthoven's and Goldberger's relations hold in the file. The sizes and widths of
the lobes were set by hand, until pictures and amplitudes looked like textbook and PTB-XL ECGs, and fitted
to no patient.

Noise is made at nine electrodes (RA, LA, LL, V1..V6), as in life: a bad left-arm electrode shows in I, III
and AVL, and through Wilson's terminal a little in every chest lead. Muscle noise is drawn as a spectrum, and
the 100 Hz record gets just the part of it below 50 Hz, so both rates show one and the same ECG.

References
----------
- McSharry, Clifford, Tarassenko, Smith. A dynamical model for generating synthetic electrocardiogram signals.
  IEEE Trans. Biomed. Eng. 50 (2003). https://doi.org/10.1109/TBME.2003.808805
- Sameni, Clifford, Jutten, Shamsollahi. Multichannel ECG and noise modeling: application to maternal and
  fetal ECG signals. EURASIP J. Adv. Signal Process. (2007). https://doi.org/10.1155/2007/43407
- Dower, Machado, Osborne. On deriving the electrocardiogram from vectorcardiographic leads.
  Clin. Cardiol. 3 (1980).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

DURATION_S = 10
LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")

# Rows I, II, V1..V6; columns x, y, z (Dower et al. 1980).
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
# I = LA - RA, II = LL - RA, Vn = electrode - (RA + LA + LL) / 3: rows I, II, V1..V6, columns ELECTRODES.
ELECTRODES_TO_LEADS = np.zeros((8, 9))
ELECTRODES_TO_LEADS[0, :3] = -1, 1, 0
ELECTRODES_TO_LEADS[1, :3] = -1, 0, 1
ELECTRODES_TO_LEADS[2:, :3] = -1 / 3
ELECTRODES_TO_LEADS[2:, 3:] = np.eye(6)

# Where the first 40 ms of QRS point once a territory is dead: away from it.
INFARCTS: dict[str, tuple[float, float, float]] = {
    "IMI": (0.05, -0.50, 0.0),
    "ILMI": (-0.30, -0.45, -0.05),
    "ASMI": (0.05, 0.05, 0.52),
    "AMI": (-0.22, 0.09, 0.42),
    "ALMI": (-0.50, 0.05, 0.22),
    "LMI": (-0.48, 0.20, -0.16),
}
# Where an ischaemic T points: (x, y, z) in mV at full severity.
ISCHAEMIC_T: dict[str, tuple[float, float, float]] = {
    "ISC_": (-0.30, -0.20, 0.02),
    "ISCAL": (-0.38, 0.04, 0.12),
    "ISCIN": (0.18, -0.36, -0.10),
}

_PATIENT_STREAM, _RECORD_STREAM, _FAST_NOISE_STREAM = 1, 2, 3

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class EcgSpec:
    """What one record shall show; with the seed it fixes every sample.

    Parameters
    ----------
    ecg_id, patient_id
        Records of one patient share the heart's geometry, not rate and noise.
    age
        Years.
    severity
        SCP-ECG statement to severity in 0..1 (0 is subtle, never absent).
    infarction_stage
        1 acute (ST elevation), 2 subacute (T inversion), 3 old (Q waves alone, or nearly).
    drift_electrode, burst_electrode
        Position in `ELECTRODES` of the one with baseline wander or a burst of muscle noise, None without.
    static_noise
        Whether muscle noise and mains hum are strong in every electrode.
    """

    ecg_id: int
    patient_id: int
    age: float
    severity: Mapping[str, float] = field(default_factory=dict)
    infarction_stage: int = 3
    drift_electrode: int | None = None
    burst_electrode: int | None = None
    static_noise: bool = False


@dataclass
class _Lobe:
    at_s: float
    rise_s: float
    fall_s: float
    vector: Vector  # (x, y, z) in mV

    def push(self, vector: ArrayLike) -> None:
        """Add (x, y, z) in mV."""
        self.vector = self.vector + np.asarray(vector)


@dataclass
class _Beat:
    """Lobes by name; QRS lobes are timed from R, P lobes from P's onset, ST-T lobes from the J point."""

    p: dict[str, _Lobe]
    qrs: dict[str, _Lobe]
    st_t: dict[str, _Lobe]
    onset_s: float  # of QRS, from R: negative
    j_s: float  # end of QRS, from R
    pr_s: float
    jt_s: float  # J point to the end of T at one beat a second
    lead_gain: Vector  # (8,): where the electrodes sit on this chest

    def scale_qrs(self, gain: float) -> None:
        for lobe in self.qrs.values():
            lobe.vector = lobe.vector * gain

    def stretch_qrs(self, factor: float) -> None:
        for lobe in self.qrs.values():
            lobe.at_s *= factor
            lobe.rise_s *= factor
            lobe.fall_s *= factor
        self.onset_s *= factor
        self.j_s *= factor


def _lobe(at_ms: float, rise_ms: float, vector: tuple[float, float, float], fall_ms: float | None = None) -> _Lobe:
    fall_ms = rise_ms if fall_ms is None else fall_ms
    return _Lobe(at_ms / 1000, rise_ms / 1000, fall_ms / 1000, np.array(vector))


def _rotation(rng: np.random.Generator, sd_deg: tuple[float, float, float]) -> Vector:
    """Rotation matrix with small random turns about x, y and z."""
    a, b, c = np.radians(rng.normal(0, sd_deg))
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return turn_z @ turn_y @ turn_x


def _normal_beat(rng: np.random.Generator, age: float) -> _Beat:
    """A healthy beat of one patient: voltage, axis, widths and intervals vary from patient to patient."""
    p = {
        "right_atrium": _lobe(34, 17, (0.035, 0.085, -0.045)),
        "left_atrium": _lobe(64, 18, (0.055, 0.050, 0.032)),
    }
    qrs = {
        "septum": _lobe(-26, 8.5, (-0.13, -0.04, -0.24)),
        "apex": _lobe(-5, 9, (0.86, 0.53, -0.24)),
        "free_wall": _lobe(9, 9.5, (0.52, 0.34, 0.86)),
        "base": _lobe(28, 8.5, (-0.14, -0.11, 0.36)),
    }
    t_end_ms = rng.normal(310, 12)  # from the J point
    fall_ms = rng.normal(32, 3)
    t_ms = t_end_ms - 2.2 * fall_ms
    st_t = {
        "early_st": _lobe(48, 24, (0.0, 0.0, 0.0), 46),
        "late_st": _lobe(t_ms - 100, 44, (0.030, 0.018, -0.038), 52),
        "t": _lobe(t_ms, 50 + rng.normal(0, 4), (0.28, 0.16, -0.19), fall_ms),
        "u": _lobe(t_end_ms + 95, 28, (0.010, 0.007, -0.016)),
    }
    beat = _Beat(p, qrs, st_t, -0.046, 0.046, rng.normal(0.155, 0.016), t_end_ms / 1000, np.ones(8))
    # Older hearts lie more horizontally: axis from about 60 degrees at 20 years to 30 at 80.
    lie = np.radians(-0.5 * (age - 45) + rng.normal(0, 13))
    frontal = np.array([[np.cos(lie), -np.sin(lie), 0], [np.sin(lie), np.cos(lie), 0], [0, 0, 1]])
    turn = _rotation(rng, (5, 11, 0)) @ frontal
    t_turn = _rotation(rng, (7, 10, 7)) @ _rotation(rng, (3, 6, 4))
    voltage = np.exp(rng.normal(0.06 - 0.002 * (age - 45), 0.17))
    for lobe in qrs.values():
        lobe.vector = turn @ lobe.vector * voltage * np.exp(rng.normal(0, 0.13))
    half_turn = 0.5 * (turn + np.eye(3))
    t_gain = np.exp(rng.normal(0.05 - 0.003 * (age - 45), 0.25))
    for lobe in st_t.values():
        lobe.vector = t_turn @ half_turn @ lobe.vector * t_gain
    p_gain = np.exp(rng.normal(0, 0.22))
    p_turn = _rotation(rng, (5, 8, 8))
    for lobe in p.values():
        lobe.vector = p_turn @ lobe.vector * p_gain
    beat.stretch_qrs(float(np.clip(rng.normal(1.0, 0.06), 0.86, 1.13)))
    chest = np.array([0.85, 1.1, 1, 1, 1, 1]) * np.exp(np.interp(np.arange(6), [0, 2.5, 5], rng.normal(0, 0.13, 3)))
    beat.lead_gain = np.concatenate([np.exp(rng.normal(0, 0.05, 2)), chest])
    beat.pr_s = float(np.clip(beat.pr_s, 0.125, 0.192))
    return beat


def _hypertrophy(beat: _Beat, severity: Mapping[str, float], rng: np.random.Generator) -> None:
    q = beat.qrs
    if (s := severity.get("LVH")) is not None:
        q["apex"].vector = q["apex"].vector * (1.30 + 0.45 * s)
        q["free_wall"].vector = q["free_wall"].vector * (1.45 + 0.55 * s) + (0.25 + 0.3 * s) * np.array(
            [0.6, -0.2, 0.5]
        )
        beat.stretch_qrs(1.06 + 0.06 * s)
        beat.st_t["t"].vector = beat.st_t["t"].vector * (0.85 - 0.25 * s)
    if (s := severity.get("VCLVH")) is not None:
        beat.scale_qrs(1.22 + 0.25 * s)
    if (s := severity.get("LVOLT")) is not None:
        beat.scale_qrs(0.50 - 0.15 * s)
        beat.st_t["t"].vector = beat.st_t["t"].vector * 0.65
    if (s := severity.get("RVH")) is not None:
        q["septum"].push((0.05, 0.05, -0.15))
        q["apex"].vector = np.array([0.25 - 0.2 * s, 0.45, -0.35 - 0.2 * s])
        q["free_wall"].vector = np.array([-0.30 - 0.20 * s, 0.35, -0.42 - 0.25 * s])
        q["base"].vector = np.array([-0.50 - 0.2 * s, 0.0, 0.15])
        beat.st_t["t"].push((0.12, 0.02, 0.22 + 0.12 * s))
        beat.st_t["late_st"].push((0.0, 0.0, 0.05))
    if (s := severity.get("LAO/LAE")) is not None:
        left = beat.p["left_atrium"]
        left.at_s += 0.016 + 0.016 * s
        left.vector = left.vector * (1.15 + 0.3 * s) + (0.02, 0.01, 0.045 + 0.035 * s)
        beat.pr_s += 0.015


def _conduction(beat: _Beat, severity: Mapping[str, float], rng: np.random.Generator) -> None:
    q = beat.qrs
    size = float(np.exp(rng.normal(0, 0.12)))
    if (s := severity.get("LAFB")) is not None:
        q["septum"].vector = size * np.array([-0.16, 0.26, -0.12])
        q["apex"].vector = size * np.array([0.62, -0.18 - 0.15 * s, -0.20])
        q["free_wall"].vector = size * np.array([0.52, -0.55 - 0.25 * s, 0.42])
        q["base"].vector = size * np.array([0.02, -0.36 - 0.15 * s, 0.34])
        beat.stretch_qrs(1.08)
    if (s := severity.get("LPFB")) is not None:
        q["septum"].vector = size * np.array([0.14, -0.20, -0.14])
        q["apex"].vector = size * np.array([0.22, 0.55, -0.22])
        q["free_wall"].vector = size * np.array([-0.14 - 0.12 * s, 0.85 + 0.2 * s, 0.46])
        q["base"].vector = size * np.array([-0.42 - 0.1 * s, 0.28, 0.22])
        beat.stretch_qrs(1.06)
    if (s := severity.get("IVCD")) is not None:
        beat.stretch_qrs(1.24 + 0.16 * s)
        q["slur"] = _lobe(34, 13, (0.25, 0.12, 0.2))
        q["slur"].vector = q["slur"].vector * rng.uniform(0.7, 1.3)
        beat.j_s += 0.010
    if (s := severity.get("IRBBB")) is not None:
        q["base"].vector = q["base"].vector * 0.5
        q["r_prime"] = _lobe(38 + 3 * s, 9 + s, (-0.24 - 0.13 * s, -0.05, -0.38 - 0.16 * s))
        q["r_prime"].vector = q["r_prime"].vector * size
        beat.j_s = max(beat.j_s, 0.060)
    if (s := severity.get("CRBBB")) is not None:
        q["free_wall"].vector = q["free_wall"].vector * 0.8
        q["base"].vector = q["base"].vector * 0.3
        q["r_prime"] = _lobe(50 + 8 * s, 14 + 3 * s, (-0.42 - 0.12 * s, -0.06, -0.62 - 0.25 * s), 17 + 3 * s)
        q["r_prime"].vector = q["r_prime"].vector * size
        beat.j_s = max(beat.j_s, 0.094 + 0.014 * s)
        beat.st_t["t"].push((0.06, 0.0, 0.20))
        beat.st_t["late_st"].push((0.02, 0.0, 0.06))
    if (s := severity.get("CLBBB")) is not None:
        y = rng.uniform(-0.35, 0.30)
        gain = size * float(np.exp(rng.normal(0, 0.12)))
        beat.qrs = {
            "first": _lobe(-38, 13, (0.30, 0.10, 0.16)),
            "septum": _lobe(-6, 16, (0.58, y, 0.85)),
            "free_wall": _lobe(36, 17, (0.80, y, 0.45 + 0.2 * s)),
        }
        for lobe in beat.qrs.values():
            lobe.vector = lobe.vector * gain
        beat.onset_s, beat.j_s = -0.070, 0.082
        beat.stretch_qrs(0.96 + 0.12 * s)
        beat.st_t["early_st"].vector = gain * np.array([-0.07, -0.1 * y, -0.16])
        beat.st_t["late_st"].vector = gain * np.array([-0.12, -0.15 * y, -0.16])
        beat.st_t["t"].vector = gain * np.array([-0.26, -0.3 * y, -0.34])
    if (s := severity.get("LPR")) is not None:
        beat.pr_s = 0.206 + 0.018 * s
    if (s := severity.get("1AVB")) is not None:
        beat.pr_s = 0.222 + 0.088 * s


def _infarct(beat: _Beat, away: Vector, size: float, width_s: float, *, loss: float) -> None:
    """Q wave: the first forces point away from the scar, and what pointed to it is lost.

    Septum and apex carry the small r of V1..V3: an anterior scar takes it and leaves one smooth QS.
    """
    unit = away / np.linalg.norm(away)
    for name in ("septum", "apex", "first"):
        if name in beat.qrs:
            lobe = beat.qrs[name]
            lobe.push(unit * loss * max(0.0, -float(lobe.vector @ unit)))
    at_s = beat.onset_s + 0.012
    name = "q" if "q" not in beat.qrs else "q2"
    anterior = max(0.0, float(unit[2]))
    beat.qrs[name] = _Lobe(at_s, width_s, width_s * (1 + 0.45 * anterior), away * size)
    if "apex" in beat.qrs:
        beat.qrs["apex"].push(0.55 * anterior * size * away)
    beat.onset_s = at_s - 2.2 * width_s


def _infarction(beat: _Beat, severity: Mapping[str, float], stage: int, rng: np.random.Generator) -> None:
    deeper = 1.25 if "QWAVE" in severity else 1.0
    found = [name for name in INFARCTS if name in severity]
    onset_s = beat.onset_s
    for name in found:
        extent, away = severity[name], np.array(INFARCTS[name])
        beat.onset_s = onset_s
        voltage = float(np.clip(np.linalg.norm(beat.qrs["free_wall"].vector), 0.6, 1.2))
        _infarct(beat, away, (0.50 + 0.60 * extent) * deeper * voltage, 0.0125, loss=0.55 + 0.35 * extent)
        to_scar = -away / np.linalg.norm(away)
        if stage == 1:
            rise = 0.12 + 0.22 * extent
            beat.st_t["early_st"].push(0.8 * rise * to_scar)
            beat.st_t["late_st"].push(rise * to_scar)
            beat.st_t["t"].push(0.25 * to_scar)
        else:
            fade = 1.0 if stage == 2 else rng.uniform(0.3, 0.8)
            t = beat.st_t["t"]
            toward = max(0.0, float(t.vector @ to_scar))
            t.push(-fade * (toward + 0.10 + 0.14 * extent) * to_scar)
            lift = (0.06 + 0.05 * extent) if stage == 2 else 0.025
            beat.st_t["early_st"].push(lift * to_scar)
    if (s := severity.get("QWAVE")) is not None and not found:
        away = np.array(INFARCTS["IMI" if rng.random() < 0.6 else "LMI"])
        _infarct(beat, away, 0.36 + 0.20 * s, 0.0095, loss=0.4)
    if (s := severity.get("INJAS")) is not None:
        beat.st_t["early_st"].push((0.0, 0.02, 0.10 + 0.07 * s))
        beat.st_t["late_st"].push((0.0, 0.02, 0.14 + 0.09 * s))
        beat.st_t["t"].vector = beat.st_t["t"].vector * 0.8 + (0.0, 0.0, 0.10)


def _repolarisation(beat: _Beat, severity: Mapping[str, float], rng: np.random.Generator) -> None:
    early, late, t = beat.st_t["early_st"], beat.st_t["late_st"], beat.st_t["t"]
    lateral = np.array([0.85, 0.5, 0.0])
    if (s := severity.get("NDT")) is not None:
        t.vector = t.vector * (0.34 - 0.30 * s) - 0.05 * s * lateral
        late.vector = late.vector * 0.4
    if (s := severity.get("NST_")) is not None:
        early.push(-(0.045 + 0.045 * s) * lateral)
        late.push(-(0.060 + 0.050 * s) * lateral)
        t.vector = t.vector * 0.75
    for name, target in ISCHAEMIC_T.items():
        if (s := severity.get(name)) is not None:
            t.vector = t.vector * (0.15 - 0.15 * s) + (0.5 + 0.5 * s) * np.array(target)
            depression = (0.05 + 0.07 * s) if name == "ISC_" else (0.02 + 0.03 * s)
            late.vector = 0.3 * late.vector + depression / 0.35 * np.array(target)
            early.push(0.6 * depression / 0.35 * np.array(target))
            t.rise_s = 0.042
    if (s := severity.get("STD_")) is not None:
        early.push(-(0.07 + 0.05 * s) * lateral)
        late.push(-(0.09 + 0.06 * s) * lateral)
    if (s := severity.get("INVT")) is not None:
        t.push(-(max(0.0, float(t.vector @ lateral)) + 0.10 + 0.12 * s) * lateral)
    if (s := severity.get("LNGQT")) is not None:
        later_s = 0.075 + 0.07 * s
        beat.jt_s += later_s
        for lobe in beat.st_t.values():
            lobe.at_s += later_s if lobe is not early else 0.0
        t.rise_s *= 1.2
    if (s := severity.get("ABQRS")) is not None:
        at_s = rng.uniform(-0.012, 0.036)
        notch = rng.normal(0, 1, 3)
        notch *= (0.20 + 0.18 * s) / np.linalg.norm(notch)
        beat.qrs["notch_up"] = _Lobe(at_s, 0.0075, 0.0075, notch)
        beat.qrs["notch_down"] = _Lobe(at_s + 0.019, 0.0075, 0.0075, -0.8 * notch)


def _patient_beat(spec: EcgSpec, seed: int) -> _Beat:
    """The patient's beat with all that his statements change; the same in each of his records."""
    rng = np.random.default_rng([seed, _PATIENT_STREAM, spec.patient_id])
    beat = _normal_beat(rng, spec.age)
    _hypertrophy(beat, spec.severity, rng)
    _conduction(beat, spec.severity, rng)
    _infarction(beat, spec.severity, spec.infarction_stage, rng)
    _repolarisation(beat, spec.severity, rng)
    if "AFIB" in spec.severity:
        beat.p = {}
    return beat


def _ectopic_beat(rng: np.random.Generator, lead_gain: Vector) -> _Beat:
    """A ventricular ectopic beat: no P, QRS of about 150 ms from one wall to the other, T the other way."""
    side = 1.0 if rng.random() < 0.6 else -1.0  # from the right ventricle to the left, or back
    main = rng.uniform(0.9, 1.35) * np.array([0.75 * side, rng.uniform(-0.8, 0.8), 0.7 * side])
    early = 0.55 * main + rng.normal(0, 0.12, 3)
    qrs = {
        "first": _Lobe(-0.038, 0.018, 0.020, early),
        "main": _Lobe(0.010, 0.022, 0.026, main),
        "last": _Lobe(0.052, 0.018, 0.018, 0.25 * main),
    }
    st_t = {"late_st": _Lobe(0.06, 0.04, 0.05, -0.18 * main), "t": _Lobe(0.19, 0.06, 0.05, -0.38 * main)}
    return _Beat({}, qrs, st_t, -0.075, 0.085, 0.15, 0.31, lead_gain)


def _beat_times(spec: EcgSpec, rng: np.random.Generator) -> tuple[Vector, float, NDArray[np.bool_], float]:
    """R times (s) from before the record to after it, mean RR (s), which beats are ectopic, breaths (Hz)."""
    s = spec.severity
    if "SBRAD" in s:
        rate_bpm = 56 - 13 * s["SBRAD"]
    elif "STACH" in s:
        rate_bpm = 104 + 34 * s["STACH"]
    elif "AFIB" in s:
        rate_bpm = rng.uniform(65, 125)
    else:
        rate_bpm = float(np.clip(rng.normal(74, 10), 61, 97))
    rr_s = 60 / rate_bpm
    n_beats = int(13.5 / rr_s) + 4
    breath_hz = rng.uniform(0.17, 0.3)
    beats = np.arange(n_beats)
    if "AFIB" in s:
        rr = rr_s * np.clip(1 + (0.20 + 0.08 * s["AFIB"]) * rng.standard_normal(n_beats), 0.55, 1.8)
    else:
        depth = 0.11 + 0.10 * s["SARRH"] if "SARRH" in s else rng.uniform(0.005, 0.035)
        breath = np.sin(2 * np.pi * (breath_hz * beats * rr_s + rng.random()))
        rr = rr_s * (1 + depth * breath + 0.008 * rng.standard_normal(n_beats))
    r_s = -1.6 + rr_s * rng.random() + np.cumsum(rr)
    ectopic = np.zeros(n_beats, bool)
    if "PVC" in s:
        inside = np.flatnonzero((r_s > 1.2) & (r_s < 9.3))
        first = rng.integers(0, 3)
        n_ectopic = 1 + int(2.99 * s["PVC"] * rng.random())
        for k in inside[first :: rng.integers(2, 5)][:n_ectopic]:
            interval_s = r_s[k] - r_s[k - 1]
            r_s[k] = r_s[k - 1] + max(rng.uniform(0.58, 0.70) * interval_s, min(0.37, 0.85 * interval_s))
            ectopic[k] = True
    return r_s, rr_s, ectopic, breath_hz


def _add_beats(leads_mv: Vector, beat: _Beat, r_s: Vector, rr_s: Vector, gain: Vector, sampling_rate_hz: int) -> None:
    """Add this beat at every R time to `leads_mv`, (8, margin + samples + margin), all of them at once."""
    window = int(1.45 * sampling_rate_hz)
    before = int(0.50 * sampling_rate_hz)
    n_qrs = len(beat.qrs) + len(beat.p)
    p_start = beat.onset_s - beat.pr_s
    lobes = [*beat.qrs.values(), *beat.p.values(), *beat.st_t.values()]
    offset = np.array([0.0] * len(beat.qrs) + [p_start] * len(beat.p) + [beat.j_s] * len(beat.st_t))
    at = np.array([lobe.at_s for lobe in lobes])
    rise, fall = np.array([lobe.rise_s for lobe in lobes]), np.array([lobe.fall_s for lobe in lobes])
    # QT = QTc * RR^(1/3) (Fridericia); QRS keeps its width, so J-T takes up the change.
    qrs_s = beat.j_s - beat.onset_s
    qtc_s = qrs_s + beat.jt_s
    stretch = np.ones((len(r_s), len(lobes)))
    stretch[:, n_qrs:] = np.maximum((qtc_s * np.cbrt(rr_s) - qrs_s) / beat.jt_s, 0.4)[:, None]
    centre = offset + at * stretch  # (beat, lobe)

    first = np.round(r_s * sampling_rate_hz).astype(int) - before
    t = (first[:, None] + np.arange(window)) / sampling_rate_hz - r_s[:, None]  # (beat, sample)
    x = t[:, None, :] - centre[:, :, None]  # (beat, lobe, sample)
    x /= np.where(x < 0, (rise * stretch)[:, :, None], (fall * stretch)[:, :, None])
    np.square(x, out=x)
    x *= -0.5
    np.exp(x, out=x)
    vectors = DOWER @ np.array([lobe.vector for lobe in lobes]).T * beat.lead_gain[:, None]  # (lead, lobe)
    waves = (vectors @ x) * gain[:, None, None]  # (beat, lead, sample)
    margin = (leads_mv.shape[1] - DURATION_S * sampling_rate_hz) // 2
    for start, wave in zip(first + margin, waves, strict=True):
        if 0 <= start <= leads_mv.shape[1] - window:
            leads_mv[:, start : start + window] += wave


def _fibrillation(s: float, rng: np.random.Generator, t: Vector) -> Vector:
    """Fibrillatory waves, (8, samples): two wandering tones of 4 to 8 Hz, largest in V1."""
    wave = np.zeros_like(t)
    for hz, size in ((rng.uniform(5, 7.5), 1.0), (rng.uniform(3.8, 5), 0.5)):
        wander = rng.uniform(0.8, 2.2) * np.sin(2 * np.pi * (rng.uniform(0.2, 0.7) * t + rng.random()))
        wave += size * (1 + 0.4 * np.sin(2 * np.pi * (0.31 * t + rng.random()))) * np.sin(2 * np.pi * hz * t + wander)
    vector = DOWER @ np.array([0.005, 0.6, -0.7]) * (0.035 + 0.05 * s)
    return vector[:, None] * wave


def _noise(spec: EcgSpec, seed: int, rng: np.random.Generator, t: Vector, breath_hz: float, rate_hz: int) -> Vector:
    """Muscle noise, wander and (at 500 Hz) mains hum of the eight independent leads, (8, samples), in mV."""
    n_samples, n_slow = len(t), DURATION_S * 50
    # (electrode,): the limbs tremble more than the chest
    sd = np.array([1, 1, 1, 0.55, 0.55, 0.55, 0.55, 0.55, 0.55]) * 0.0028 * np.exp(rng.normal(0, 0.45, 9))
    # All is drawn, whatever is used, so that a flag changes its own noise and nothing else.
    louder = rng.uniform(3.5, 7)
    sd *= louder if spec.static_noise else 1.0
    burst = rng.uniform(2, 8), rng.uniform(0.3, 0.8)  # centre and width in s
    wander_hz = np.array([rng.uniform(0.05, 0.12), rng.uniform(0.13, 0.35), breath_hz])
    wander_phase = rng.random((3, 1))
    wander_mv = np.abs(rng.normal(0, [0.020, 0.010, 0.008], (9, 3)))  # (electrode, tone)
    drift_mv = rng.uniform(0.08, 0.25, 3)
    if spec.drift_electrode is not None:
        wander_mv[spec.drift_electrode] += drift_mv
    slow = rng.standard_normal((9, n_slow - 1, 2), dtype=np.float32).view(np.complex64)[..., 0]

    spectrum = np.zeros((9, n_samples // 2 + 1), np.complex64)
    hz = np.fft.rfftfreq(n_samples, 1 / rate_hz)
    colour = np.sqrt((0.15 + (hz / 30) ** 2 / (1 + (hz / 30) ** 2)) / (1 + (hz / 110) ** 6))
    colour /= np.sqrt(np.sum(colour[1:n_slow] ** 2))
    spectrum[:, 1:n_slow] = slow
    if rate_hz == 500:
        fast = np.random.default_rng([seed, _FAST_NOISE_STREAM, spec.ecg_id])
        rest = (9, spectrum.shape[1] - n_slow, 2)
        spectrum[:, n_slow:] = fast.standard_normal(rest, dtype=np.float32).view(np.complex64)[..., 0]
        hum = fast.uniform(0.4, 1.4, 9) * (6.0 if spec.static_noise else 0.8) * 0.0025
        # Mains at 50 Hz: half the rate of a 100 Hz record, whose anti-aliasing filter takes it away.
        spectrum[:, n_slow] = hum / (sd * colour[n_slow]) * np.exp(2j * np.pi * fast.random())
    noise = np.fft.irfft(spectrum * (colour * (n_samples / 2)), n_samples, axis=1) * sd[:, None]
    if spec.burst_electrode is not None:
        noise[spec.burst_electrode] *= 1 + 12 * np.exp(-0.5 * ((t - burst[0]) / burst[1]) ** 2)
    noise += wander_mv @ np.sin(2 * np.pi * (wander_hz[:, None] * t + wander_phase))
    return ELECTRODES_TO_LEADS @ noise


def simulate_ecg(spec: EcgSpec, *, seed: int, sampling_rate_hz: Literal[100, 500]) -> NDArray[np.int16]:
    """Ten seconds of a 12-lead ECG.

    Parameters
    ----------
    spec
        What it shall show.
    seed
        With ``spec.patient_id`` and ``spec.ecg_id`` it seeds the generators; 0 or more.
    sampling_rate_hz
        100 and 500 give the same ECG.

    Returns
    -------
    numpy.ndarray
        (sample, lead) in microvolt, leads as in `LEADS`.

    Examples
    --------
    >>> spec = EcgSpec(ecg_id=1, patient_id=7, age=60, severity={"SR": 0.5})
    >>> ecg_uv = simulate_ecg(spec, seed=0, sampling_rate_hz=100)
    >>> ecg_uv.shape
    (1000, 12)
    >>> bool((ecg_uv[:, 2] == ecg_uv[:, 1] - ecg_uv[:, 0]).all())  # III = II - I
    True
    """
    rng = np.random.default_rng([seed, _RECORD_STREAM, spec.ecg_id])
    beat = _patient_beat(spec, seed)
    r_s, rr_s, ectopic, breath_hz = _beat_times(spec, rng)
    breath = np.sin(2 * np.pi * (breath_hz * r_s + rng.random()))
    gain = 1 + rng.uniform(0.01, 0.05) * breath + 0.01 * rng.standard_normal(len(r_s))
    ectopic_beat = _ectopic_beat(rng, beat.lead_gain)

    n_samples, margin = DURATION_S * sampling_rate_hz, 2 * sampling_rate_hz
    t = np.arange(n_samples) / sampling_rate_hz
    padded_mv = np.zeros((8, n_samples + 2 * margin))
    # QT follows the mean rate and only a little the beat before.
    rr_before_s = np.clip(0.8 * rr_s + 0.2 * np.diff(r_s, prepend=r_s[0] - rr_s), 0.35, 1.6)
    _add_beats(padded_mv, beat, r_s[~ectopic], rr_before_s[~ectopic], gain[~ectopic], sampling_rate_hz)
    if ectopic.any():
        _add_beats(padded_mv, ectopic_beat, r_s[ectopic], rr_before_s[ectopic], gain[ectopic], sampling_rate_hz)
    leads_mv = padded_mv[:, margin : margin + n_samples]
    if "AFIB" in spec.severity:
        leads_mv += _fibrillation(spec.severity["AFIB"], rng, t)
    leads_mv += _noise(spec, seed, rng, t, breath_hz, sampling_rate_hz)

    ecg_uv = np.empty((n_samples, 12), np.int16)
    independent_uv = np.rint(leads_mv * 1000).astype(np.int32)
    i, ii = independent_uv[0], independent_uv[1]
    ecg_uv[:, 0], ecg_uv[:, 1], ecg_uv[:, 2] = i, ii, ii - i
    ecg_uv[:, 3], ecg_uv[:, 4], ecg_uv[:, 5] = -((i + ii) // 2), i - ii // 2, ii - i // 2
    ecg_uv[:, 6:] = independent_uv[2:].T
    return ecg_uv


def frontal_axis_deg(spec: EcgSpec, *, seed: int) -> float:
    """Mean QRS axis in the frontal plane, from the areas under QRS in I and AVF; -180..180 degrees."""
    beat = _patient_beat(spec, seed)
    area = sum((lobe.vector * (lobe.rise_s + lobe.fall_s) for lobe in beat.qrs.values()), np.zeros(3))
    i, ii = DOWER[:2] @ area * beat.lead_gain[:2]
    # AVF is an augmented lead: 2 / sqrt(3) brings it to the scale of I.
    return float(np.degrees(np.arctan2((ii - i / 2) * 2 / np.sqrt(3), i)))
