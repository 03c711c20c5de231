"""Ten seconds of a 12-lead ECG that a cardiologist would read as SCP-ECG statements say, at 100 or 500 Hz.

`pathology` makes the patient's beat, `rhythm` places it in time, `leads.DOWER` projects it, noise is added.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.synthetic.beat import Beat, ectopic_beat
from ecgcls.data.synthetic.leads import DOWER, Vector, complete_leads, draw_noise
from ecgcls.data.synthetic.pathology import patient_beat
from ecgcls.data.synthetic.rhythm import draw_rhythm, fibrillation
from ecgcls.data.synthetic.spec import DURATION_S, RECORD_STREAM, EcgSpec

_MARGIN_S = 2  # before and after the record, for beats that reach into it


def simulate_ecg(spec: EcgSpec, *, seed: int, sampling_rate_hz: Literal[100, 500]) -> NDArray[np.int16]:
    """Simulate ten seconds of a 12-lead ECG, (sample, lead) in microvolt, leads as in `leads.LEADS`.

    Generators are seeded by `seed` (0 or more), the patient_id and the ecg_id; 100 and 500 Hz give the same ECG.

    Examples
    --------
    >>> spec = EcgSpec(ecg_id=1, patient_id=7, age=60, severity={"SR": 0.5})
    >>> ecg_uv = simulate_ecg(spec, seed=0, sampling_rate_hz=100)
    >>> ecg_uv.shape
    (1000, 12)
    >>> bool((ecg_uv[:, 2] == ecg_uv[:, 1] - ecg_uv[:, 0]).all())  # III = II - I
    True
    """
    rng = np.random.default_rng([seed, RECORD_STREAM, spec.ecg_id])
    beat = patient_beat(spec, seed=seed)
    rhythm = draw_rhythm(spec.severity, rng)
    breath = np.sin(2 * np.pi * (rhythm.breath_hz * rhythm.r_s + rng.random()))
    gain = 1 + rng.uniform(0.01, 0.05) * breath + 0.01 * rng.standard_normal(len(rhythm.r_s))

    n_samples, margin = DURATION_S * sampling_rate_hz, _MARGIN_S * sampling_rate_hz
    padded_mv = np.zeros((8, n_samples + 2 * margin))
    premature = ectopic_beat(rng, beat.lead_gain)  # drawn whether or not it occurs
    for each, here in ((beat, ~rhythm.ectopic), (premature, rhythm.ectopic)):
        if here.any():
            _add_beats(padded_mv, each, rhythm.r_s[here], rhythm.rr_before_s[here], gain[here], sampling_rate_hz)
    leads_mv = padded_mv[:, margin : margin + n_samples]
    t_s = np.arange(n_samples) / sampling_rate_hz
    if "AFIB" in spec.severity:
        leads_mv += fibrillation(spec.severity["AFIB"], rng, t_s)
    leads_mv += draw_noise(spec, seed=seed, rng=rng, t_s=t_s, breath_hz=rhythm.breath_hz)
    return complete_leads(leads_mv)


def frontal_axis_deg(spec: EcgSpec, *, seed: int) -> float:
    """Return the mean QRS axis in the frontal plane, from the areas under QRS in I and AVF; -180..180 degrees."""
    beat = patient_beat(spec, seed=seed)
    area = sum((lobe.vector * (lobe.rise_s + lobe.fall_s) for lobe in beat.qrs.values()), np.zeros(3))
    i, ii = DOWER[:2] @ area * beat.lead_gain[:2]
    # AVF is an augmented lead: 2 / sqrt(3) scales it to lead I.
    return float(np.degrees(np.arctan2((ii - i / 2) * 2 / np.sqrt(3), i)))


def _add_beats(leads_mv: Vector, beat: Beat, r_s: Vector, rr_s: Vector, gain: Vector, sampling_rate_hz: int) -> None:
    """Add this beat at every R time to `leads_mv`, (8, margin + samples + margin)."""
    window = int(1.45 * sampling_rate_hz)
    first = np.round(r_s * sampling_rate_hz).astype(int) - int(0.50 * sampling_rate_hz)
    t = (first[:, None] + np.arange(window)) / sampling_rate_hz - r_s[:, None]  # (beat, sample)
    x = _lobes_over_time(beat, rr_s, t)
    lobes = [*beat.qrs.values(), *beat.p.values(), *beat.st_t.values()]
    vectors = DOWER @ np.array([lobe.vector for lobe in lobes]).T * beat.lead_gain[:, None]  # (lead, lobe)
    waves = (vectors @ x) * gain[:, None, None]  # (beat, lead, sample)
    for start, wave in zip(first + _MARGIN_S * sampling_rate_hz, waves, strict=True):
        if 0 <= start <= leads_mv.shape[1] - window:
            leads_mv[:, start : start + window] += wave


def _lobes_over_time(beat: Beat, rr_s: Vector, t_s: Vector) -> Vector:
    """Return the Gaussian of each lobe, QRS then P then ST-T, at these times from R: (beat, lobe, sample), 0..1."""
    lobes = [*beat.qrs.values(), *beat.p.values(), *beat.st_t.values()]
    p_start = beat.onset_s - beat.pr_s
    offset = np.array([0.0] * len(beat.qrs) + [p_start] * len(beat.p) + [beat.j_s] * len(beat.st_t))
    at = np.array([lobe.at_s for lobe in lobes])
    rise, fall = np.array([lobe.rise_s for lobe in lobes]), np.array([lobe.fall_s for lobe in lobes])
    # QT = QTc * RR^(1/3) (Fridericia); QRS keeps its width, so J-T takes up the change.
    qrs_s = beat.j_s - beat.onset_s
    qtc_s = qrs_s + beat.jt_s
    stretch = np.ones((len(rr_s), len(lobes)))
    jt_stretch = np.maximum((qtc_s * np.cbrt(rr_s) - qrs_s) / beat.jt_s, 0.4)
    stretch[:, len(lobes) - len(beat.st_t) :] = jt_stretch[:, None]
    center = offset + at * stretch  # (beat, lobe)

    x = t_s[:, None, :] - center[:, :, None]
    x /= np.where(x < 0, (rise * stretch)[:, :, None], (fall * stretch)[:, :, None])
    np.square(x, out=x)
    x *= -0.5
    return np.exp(x, out=x)
