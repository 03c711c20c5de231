"""From the heart's dipole and the nine electrodes to the twelve leads, and the noise that the electrodes add.

The axes of a dipole ``(x, y, z)`` in mV point to the left, to the feet and to the back (Frank's axes). Eight leads are
independent: I, II and V1..V6. III and the augmented leads are computed from the *rounded* I and II, so that
Einthoven's and Goldberger's relations hold in the file.

Noise (muscles, bursts, baseline wander, mains hum) is generated at the electrodes, as in reality: a bad left-arm
electrode shows in I, III and AVL, and through Wilson's terminal a little in every chest lead. Muscle noise is drawn as
a spectrum; the 100 Hz record gets what is below 50 Hz, so that both rates show the same ECG.

References
----------
- Dower, Machado, Osborne. On deriving the electrocardiogram from vectorcardiographic leads.
  Clin. Cardiol. 3 (1980).
"""

import numpy as np
from numpy.typing import NDArray

from ecgcls.data import signals
from ecgcls.data.synthetic.spec import DURATION_S, FAST_NOISE_STREAM, EcgSpec

Vector = NDArray[np.float64]

LEADS = tuple(lead.upper() for lead in signals.LEADS)
"""The leads of a file, in its order and in PTB-XL's spelling."""
ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")

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
"""From dipole to leads: rows I, II, V1..V6, columns x, y, z (Dower et al. 1980)."""

ELECTRODES_TO_LEADS = np.zeros((8, 9))
"""Rows I = LA - RA, II = LL - RA, Vn = electrode - (RA + LA + LL) / 3, columns `ELECTRODES`."""
ELECTRODES_TO_LEADS[0, :3] = -1, 1, 0
ELECTRODES_TO_LEADS[1, :3] = -1, 0, 1
ELECTRODES_TO_LEADS[2:, :3] = -1 / 3
ELECTRODES_TO_LEADS[2:, 3:] = np.eye(6)

_N_SLOW = DURATION_S * 50  # frequencies below 50 Hz, and 0
# (electrode,): the limbs tremble more than the chest
_TREMOR_MV = np.array([1, 1, 1, 0.55, 0.55, 0.55, 0.55, 0.55, 0.55]) * 0.0028


def complete_leads(independent_mv: Vector) -> NDArray[np.int16]:
    """Round I, II, V1..V6 in mV, (8, sample), to microvolts and add the other leads: (sample, lead) as in `LEADS`."""
    ecg_uv = np.empty((independent_mv.shape[1], len(LEADS)), np.int16)
    independent_uv = np.rint(independent_mv * 1000).astype(np.int32)
    i, ii = independent_uv[0], independent_uv[1]
    ecg_uv[:, 0], ecg_uv[:, 1], ecg_uv[:, 2] = i, ii, ii - i
    ecg_uv[:, 3], ecg_uv[:, 4], ecg_uv[:, 5] = -((i + ii) // 2), i - ii // 2, ii - i // 2
    ecg_uv[:, 6:] = independent_uv[2:].T
    return ecg_uv


def draw_noise(spec: EcgSpec, *, seed: int, rng: np.random.Generator, t_s: Vector, breath_hz: float) -> Vector:
    """Draw the noise of one record in the eight independent leads, (8, sample), in mV.

    `rng` is the record's generator; `seed`, the data set's, is for the noise above 50 Hz. `t_s`, (sample,), starts with
    the record; breathing moves the chest.
    """
    # Everything is drawn, used or not, so that a flag changes its own noise and nothing else.
    sd = _TREMOR_MV * np.exp(rng.normal(0, 0.45, 9))
    louder = rng.uniform(3.5, 7)
    sd *= louder if spec.static_noise else 1.0
    burst_at_s, burst_width_s = rng.uniform(2, 8), rng.uniform(0.3, 0.8)
    wander_hz = np.array([rng.uniform(0.05, 0.12), rng.uniform(0.13, 0.35), breath_hz])
    wander_phase = rng.random((3, 1))
    wander_mv = np.abs(rng.normal(0, [0.020, 0.010, 0.008], (9, 3)))  # (electrode, tone)
    drift_mv = rng.uniform(0.08, 0.25, 3)
    if spec.drift_electrode is not None:
        wander_mv[spec.drift_electrode] += drift_mv

    noise = _draw_muscle_noise(spec, seed, rng, len(t_s), sd)
    if spec.burst_electrode is not None:
        noise[spec.burst_electrode] *= 1 + 12 * np.exp(-0.5 * ((t_s - burst_at_s) / burst_width_s) ** 2)
    noise += wander_mv @ np.sin(2 * np.pi * (wander_hz[:, None] * t_s + wander_phase))
    return ELECTRODES_TO_LEADS @ noise


def _draw_muscle_noise(spec: EcgSpec, seed: int, rng: np.random.Generator, n_samples: int, sd: Vector) -> Vector:
    """(electrode, sample) in mV, with this standard deviation below 50 Hz; at 500 Hz with mains hum."""
    spectrum = np.zeros((9, n_samples // 2 + 1), np.complex64)
    spectrum[:, 1:_N_SLOW] = _complex_normal(rng, _N_SLOW - 1)
    hz = np.fft.rfftfreq(n_samples, DURATION_S / n_samples)
    color = np.sqrt((0.15 + (hz / 30) ** 2 / (1 + (hz / 30) ** 2)) / (1 + (hz / 110) ** 6))
    color /= np.sqrt(np.sum(color[1:_N_SLOW] ** 2))
    # Mains hum at 50 Hz is half the rate of a 100 Hz record: the anti-aliasing filter removes it there.
    if n_samples > 2 * _N_SLOW:
        fast = np.random.default_rng([seed, FAST_NOISE_STREAM, spec.ecg_id])
        spectrum[:, _N_SLOW:] = _complex_normal(fast, spectrum.shape[1] - _N_SLOW)
        hum = fast.uniform(0.4, 1.4, 9) * (6.0 if spec.static_noise else 0.8) * 0.0025
        spectrum[:, _N_SLOW] = hum / (sd * color[_N_SLOW]) * np.exp(2j * np.pi * fast.random())
    return np.fft.irfft(spectrum * (color * (n_samples / 2)), n_samples, axis=1) * sd[:, None]


def _complex_normal(rng: np.random.Generator, n: int) -> np.ndarray:
    """(electrode, n), complex64."""
    return rng.standard_normal((9, n, 2), dtype=np.float32).view(np.complex64)[..., 0]
