"""When the beats of a record occur: heart rate, breathing, fibrillation and ectopic beats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.synthetic.leads import DOWER, Vector


@dataclass(frozen=True)
class Rhythm:
    """The beats of one record, from before its start to after its end."""

    r_s: Vector  # (beat,): R peaks
    mean_rr_s: float
    ectopic: NDArray[np.bool_]  # (beat,)
    breath_hz: float

    @property
    def rr_before_s(self) -> Vector:
        """(beat,): the RR interval that QT follows: mostly the mean, a little the one before the beat."""
        before_s = np.diff(self.r_s, prepend=self.r_s[0] - self.mean_rr_s)
        return np.clip(0.8 * self.mean_rr_s + 0.2 * before_s, 0.35, 1.6)


def draw_rhythm(severity: Mapping[str, float], rng: np.random.Generator) -> Rhythm:
    """Draw the beats of about 13.5 s, the first up to 1.6 s before the record."""
    mean_rr_s = 60 / _rate_bpm(severity, rng)
    n_beats = int(13.5 / mean_rr_s) + 4
    breath_hz = rng.uniform(0.17, 0.3)
    if "AFIB" in severity:
        irregular = (0.20 + 0.08 * severity["AFIB"]) * rng.standard_normal(n_beats)
        rr_s = mean_rr_s * np.clip(1 + irregular, 0.55, 1.8)
    else:
        depth = 0.11 + 0.10 * severity["SARRH"] if "SARRH" in severity else rng.uniform(0.005, 0.035)
        breath = np.sin(2 * np.pi * (breath_hz * np.arange(n_beats) * mean_rr_s + rng.random()))
        rr_s = mean_rr_s * (1 + depth * breath + 0.008 * rng.standard_normal(n_beats))
    r_s = -1.6 + mean_rr_s * rng.random() + np.cumsum(rr_s)
    ectopic = np.zeros(n_beats, bool)
    if "PVC" in severity:
        _make_ectopic(r_s, ectopic, severity["PVC"], rng)
    return Rhythm(r_s, mean_rr_s, ectopic, breath_hz)


def _rate_bpm(severity: Mapping[str, float], rng: np.random.Generator) -> float:
    if "SBRAD" in severity:
        return 56 - 13 * severity["SBRAD"]
    if "STACH" in severity:
        return 104 + 34 * severity["STACH"]
    if "AFIB" in severity:
        return rng.uniform(65, 125)
    return float(np.clip(rng.normal(74, 10), 61, 97))


def _make_ectopic(r_s: Vector, ectopic: NDArray[np.bool_], severity: float, rng: np.random.Generator) -> None:
    """Make one to three beats within the record early; the next one is on time: a full compensatory pause."""
    inside = np.flatnonzero((r_s > 1.2) & (r_s < 9.3))
    first = rng.integers(0, 3)
    n_ectopic = 1 + int(2.99 * severity * rng.random())
    for k in inside[first :: rng.integers(2, 5)][:n_ectopic]:
        interval_s = r_s[k] - r_s[k - 1]
        r_s[k] = r_s[k - 1] + max(rng.uniform(0.58, 0.70) * interval_s, min(0.37, 0.85 * interval_s))
        ectopic[k] = True


def fibrillation(severity: float, rng: np.random.Generator, t_s: Vector) -> Vector:
    """Draw fibrillatory waves, (8, sample) in mV: two wandering tones of 4 to 8 Hz, largest in V1."""
    wave = np.zeros_like(t_s)
    for hz, size in ((rng.uniform(5, 7.5), 1.0), (rng.uniform(3.8, 5), 0.5)):
        wander = rng.uniform(0.8, 2.2) * np.sin(2 * np.pi * (rng.uniform(0.2, 0.7) * t_s + rng.random()))
        swell = 1 + 0.4 * np.sin(2 * np.pi * (0.31 * t_s + rng.random()))
        wave += size * swell * np.sin(2 * np.pi * hz * t_s + wander)
    vector = DOWER @ np.array([0.005, 0.6, -0.7]) * (0.035 + 0.05 * severity)
    return vector[:, None] * wave
