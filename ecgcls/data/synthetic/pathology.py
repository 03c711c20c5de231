"""How SCP-ECG statements change a beat: they turn, scale, widen or add lobes.

A statement's severity in 0..1 (0 is subtle, never absent) sets the size of the change. Statements are applied in a
fixed order: first what voltage and conduction do to QRS, then what infarction and ischemia do to Q waves and ST-T.
"""

from collections.abc import Mapping

import numpy as np

from ecgcls.data.synthetic.beat import Beat, Lobe, normal_beat
from ecgcls.data.synthetic.leads import Vector
from ecgcls.data.synthetic.spec import PATIENT_STREAM, EcgSpec

Severity = Mapping[str, float]

# Where the first 40 ms of QRS point if a territory is dead: away from it.
_INFARCTS: dict[str, tuple[float, float, float]] = {
    "IMI": (0.05, -0.50, 0.0),
    "ILMI": (-0.30, -0.45, -0.05),
    "ASMI": (0.05, 0.05, 0.52),
    "AMI": (-0.22, 0.09, 0.42),
    "ALMI": (-0.50, 0.05, 0.22),
    "LMI": (-0.48, 0.20, -0.16),
}
# Where an ischemic T points: (x, y, z) in mV at full severity.
_ISCHEMIC_T: dict[str, tuple[float, float, float]] = {
    "ISC_": (-0.30, -0.20, 0.02),
    "ISCAL": (-0.38, 0.04, 0.12),
    "ISCIN": (0.18, -0.36, -0.10),
}
_LATERAL = np.array([0.85, 0.5, 0.0])


def patient_beat(spec: EcgSpec, *, seed: int) -> Beat:
    """Return the patient's beat as changed by all statements; it is the same in each of the patient's records."""
    rng = np.random.default_rng([seed, PATIENT_STREAM, spec.patient_id])
    beat = normal_beat(rng, spec.age)
    _change_chambers(beat, spec.severity)
    size = float(np.exp(rng.normal(0, 0.12)))
    _slow_conduction(beat, spec.severity, size, rng)
    _block_bundles(beat, spec.severity, size, rng)
    _infarct(beat, spec.severity, spec.infarction_stage, rng)
    _change_st_t(beat, spec.severity)
    _notch_qrs(beat, spec.severity, rng)
    if "AFIB" in spec.severity:
        beat.p = {}
    return beat


def _change_chambers(beat: Beat, severity: Severity) -> None:
    """Change the voltage, the right ventricle and the left atrium."""
    q, t = beat.qrs, beat.st_t["t"]
    if (s := severity.get("LVH")) is not None:
        q["apex"].scale(1.30 + 0.45 * s)
        q["free_wall"].scale(1.45 + 0.55 * s)
        q["free_wall"].push((0.25 + 0.3 * s) * np.array([0.6, -0.2, 0.5]))
        beat.stretch_qrs(1.06 + 0.06 * s)
        t.scale(0.85 - 0.25 * s)
    if (s := severity.get("VCLVH")) is not None:
        beat.scale_qrs(1.22 + 0.25 * s)
    if (s := severity.get("LVOLT")) is not None:
        beat.scale_qrs(0.50 - 0.15 * s)
        t.scale(0.65)
    if (s := severity.get("RVH")) is not None:
        q["septum"].push((0.05, 0.05, -0.15))
        q["apex"].vector = np.array([0.25 - 0.2 * s, 0.45, -0.35 - 0.2 * s])
        q["free_wall"].vector = np.array([-0.30 - 0.20 * s, 0.35, -0.42 - 0.25 * s])
        q["base"].vector = np.array([-0.50 - 0.2 * s, 0.0, 0.15])
        t.push((0.12, 0.02, 0.22 + 0.12 * s))
        beat.st_t["late_st"].push((0.0, 0.0, 0.05))
    if (s := severity.get("LAO/LAE")) is not None:
        left = beat.p["left_atrium"]
        left.at_s += 0.016 + 0.016 * s
        left.scale(1.15 + 0.3 * s)
        left.push((0.02, 0.01, 0.045 + 0.035 * s))
        beat.pr_s += 0.015


def _slow_conduction(beat: Beat, severity: Severity, size: float, rng: np.random.Generator) -> None:
    """Block fascicles, slow the ventricles, delay the AV node."""
    q = beat.qrs
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
        q["slur"] = Lobe.from_ms(34, 13, (0.25, 0.12, 0.2))
        q["slur"].scale(rng.uniform(0.7, 1.3))
        beat.j_s += 0.010
    if (s := severity.get("LPR")) is not None:
        beat.pr_s = 0.206 + 0.018 * s
    if (s := severity.get("1AVB")) is not None:
        beat.pr_s = 0.222 + 0.088 * s


def _block_bundles(beat: Beat, severity: Severity, size: float, rng: np.random.Generator) -> None:
    """Delay the right ventricle: r' to the right and front. Or let QRS go slowly from right to left, ST-T back."""
    q = beat.qrs
    if (s := severity.get("IRBBB")) is not None:
        q["base"].scale(0.5)
        q["r_prime"] = Lobe.from_ms(38 + 3 * s, 9 + s, (-0.24 - 0.13 * s, -0.05, -0.38 - 0.16 * s))
        q["r_prime"].scale(size)
        beat.j_s = max(beat.j_s, 0.060)
    if (s := severity.get("CRBBB")) is not None:
        q["free_wall"].scale(0.8)
        q["base"].scale(0.3)
        r_prime = (-0.42 - 0.12 * s, -0.06, -0.62 - 0.25 * s)
        q["r_prime"] = Lobe.from_ms(50 + 8 * s, 14 + 3 * s, r_prime, 17 + 3 * s)
        q["r_prime"].scale(size)
        beat.j_s = max(beat.j_s, 0.094 + 0.014 * s)
        beat.st_t["t"].push((0.06, 0.0, 0.20))
        beat.st_t["late_st"].push((0.02, 0.0, 0.06))
    if (s := severity.get("CLBBB")) is not None:
        y = rng.uniform(-0.35, 0.30)
        gain = size * float(np.exp(rng.normal(0, 0.12)))
        beat.qrs = {
            "first": Lobe.from_ms(-38, 13, (0.30, 0.10, 0.16)),
            "septum": Lobe.from_ms(-6, 16, (0.58, y, 0.85)),
            "free_wall": Lobe.from_ms(36, 17, (0.80, y, 0.45 + 0.2 * s)),
        }
        beat.scale_qrs(gain)
        beat.onset_s, beat.j_s = -0.070, 0.082
        beat.stretch_qrs(0.96 + 0.12 * s)
        beat.st_t["early_st"].vector = gain * np.array([-0.07, -0.1 * y, -0.16])
        beat.st_t["late_st"].vector = gain * np.array([-0.12, -0.15 * y, -0.16])
        beat.st_t["t"].vector = gain * np.array([-0.26, -0.3 * y, -0.34])


def _infarct(beat: Beat, severity: Severity, stage: int, rng: np.random.Generator) -> None:
    deeper = 1.25 if "QWAVE" in severity else 1.0
    found = [name for name in _INFARCTS if name in severity]
    onset_s = beat.onset_s
    for name in found:
        extent, away = severity[name], np.array(_INFARCTS[name])
        beat.onset_s = onset_s
        voltage = float(np.clip(np.linalg.norm(beat.qrs["free_wall"].vector), 0.6, 1.2))
        _add_q_wave(beat, away, (0.50 + 0.60 * extent) * deeper * voltage, 0.0125, loss=0.55 + 0.35 * extent)
        _scar_st_t(beat, -away / np.linalg.norm(away), extent, stage, rng)
    if (s := severity.get("QWAVE")) is not None and not found:
        away = np.array(_INFARCTS["IMI" if rng.random() < 0.6 else "LMI"])
        _add_q_wave(beat, away, 0.36 + 0.20 * s, 0.0095, loss=0.4)
    if (s := severity.get("INJAS")) is not None:
        beat.st_t["early_st"].push((0.0, 0.02, 0.10 + 0.07 * s))
        beat.st_t["late_st"].push((0.0, 0.02, 0.14 + 0.09 * s))
        beat.st_t["t"].scale(0.8)
        beat.st_t["t"].push((0.0, 0.0, 0.10))


def _add_q_wave(beat: Beat, away: Vector, size: float, width_s: float, *, loss: float) -> None:
    """Add a Q wave: the first forces point away from the scar, and those that pointed to it are lost.

    Septum and apex make the small r of V1..V3: an anterior scar removes it and leaves a smooth QS.
    """
    unit = away / np.linalg.norm(away)
    for name in ("septum", "apex", "first"):
        if name in beat.qrs:
            lobe = beat.qrs[name]
            lobe.push(unit * loss * max(0.0, -float(lobe.vector @ unit)))
    at_s = beat.onset_s + 0.012
    name = "q" if "q" not in beat.qrs else "q2"
    anterior = max(0.0, float(unit[2]))
    beat.qrs[name] = Lobe(at_s, width_s, width_s * (1 + 0.45 * anterior), away * size)
    if "apex" in beat.qrs:
        beat.qrs["apex"].push(0.55 * anterior * size * away)
    beat.onset_s = at_s - 2.2 * width_s


def _scar_st_t(beat: Beat, to_scar: Vector, extent: float, stage: int, rng: np.random.Generator) -> None:
    """Raise ST over an acute infarct (stage 1); later T turns away from it (2) and partly returns (3)."""
    t = beat.st_t["t"]
    if stage == 1:
        rise = 0.12 + 0.22 * extent
        beat.st_t["early_st"].push(0.8 * rise * to_scar)
        beat.st_t["late_st"].push(rise * to_scar)
        t.push(0.25 * to_scar)
        return
    fade = 1.0 if stage == 2 else rng.uniform(0.3, 0.8)
    toward = max(0.0, float(t.vector @ to_scar))
    t.push(-fade * (toward + 0.10 + 0.14 * extent) * to_scar)
    lift = (0.06 + 0.05 * extent) if stage == 2 else 0.025
    beat.st_t["early_st"].push(lift * to_scar)


def _change_st_t(beat: Beat, severity: Severity) -> None:
    early, late, t = beat.st_t["early_st"], beat.st_t["late_st"], beat.st_t["t"]
    if (s := severity.get("NDT")) is not None:
        t.scale(0.34 - 0.30 * s)
        t.push(-0.05 * s * _LATERAL)
        late.scale(0.4)
    if (s := severity.get("NST_")) is not None:
        early.push(-(0.045 + 0.045 * s) * _LATERAL)
        late.push(-(0.060 + 0.050 * s) * _LATERAL)
        t.scale(0.75)
    for name, target in _ISCHEMIC_T.items():
        if (s := severity.get(name)) is not None:
            t.scale(0.15 - 0.15 * s)
            t.push((0.5 + 0.5 * s) * np.array(target))
            depression = (0.05 + 0.07 * s) if name == "ISC_" else (0.02 + 0.03 * s)
            late.vector = 0.3 * late.vector + depression / 0.35 * np.array(target)
            early.push(0.6 * depression / 0.35 * np.array(target))
            t.rise_s = 0.042
    if (s := severity.get("STD_")) is not None:
        early.push(-(0.07 + 0.05 * s) * _LATERAL)
        late.push(-(0.09 + 0.06 * s) * _LATERAL)
    if (s := severity.get("INVT")) is not None:
        t.push(-(max(0.0, float(t.vector @ _LATERAL)) + 0.10 + 0.12 * s) * _LATERAL)
    if (s := severity.get("LNGQT")) is not None:
        later_s = 0.075 + 0.07 * s
        beat.jt_s += later_s
        for lobe in beat.st_t.values():
            lobe.at_s += later_s if lobe is not early else 0.0
        t.rise_s *= 1.2


def _notch_qrs(beat: Beat, severity: Severity, rng: np.random.Generator) -> None:
    if (s := severity.get("ABQRS")) is not None:
        at_s = rng.uniform(-0.012, 0.036)
        notch = rng.normal(0, 1, 3)
        notch *= (0.20 + 0.18 * s) / np.linalg.norm(notch)
        beat.qrs["notch_up"] = Lobe(at_s, 0.0075, 0.0075, notch)
        beat.qrs["notch_down"] = Lobe(at_s + 0.019, 0.0075, 0.0075, -0.8 * notch)
