"""One beat as Gaussian lobes of the heart's dipole.

The heart is one moving dipole ``(x, y, z)`` in mV: x to the left, y to the feet, z to the back (Frank's axes). Each
wave is one or more lobes: a fixed direction times a Gaussian of the time from the beat's R peak, with its own rise and
fall. A normal beat has ten: two P (right and left atrium), four QRS (septum, apex, free wall, base), an early and a
late ST, T and U. The Gaussian waves follow McSharry et al., the dipole Sameni et al. The sizes and widths of the lobes
were set by hand until plots and amplitudes looked like textbook and PTB-XL ECGs; they are fitted to no patient.

References
----------
- McSharry, Clifford, Tarassenko, Smith. A dynamical model for generating synthetic electrocardiogram signals.
  IEEE Trans. Biomed. Eng. 50 (2003). https://doi.org/10.1109/TBME.2003.808805
- Sameni, Clifford, Jutten, Shamsollahi. Multichannel ECG and noise modeling: application to maternal and
  fetal ECG signals. EURASIP J. Adv. Signal Process. (2007). https://doi.org/10.1155/2007/43407
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ecgcls.data.synthetic.leads import Vector


@dataclass
class Lobe:
    """A direction times a Gaussian of time, with one standard deviation before its peak and one after it."""

    at_s: float
    rise_s: float
    fall_s: float
    vector: Vector  # (x, y, z) in mV

    @classmethod
    def from_ms(
        cls, at_ms: float, rise_ms: float, vector: tuple[float, float, float], fall_ms: float | None = None
    ) -> Lobe:
        """Make a lobe with times in milliseconds; by default it falls as it rises."""
        fall_ms = rise_ms if fall_ms is None else fall_ms
        return cls(at_ms / 1000, rise_ms / 1000, fall_ms / 1000, np.array(vector))

    def push(self, vector: ArrayLike) -> None:
        """Add (x, y, z) in mV."""
        self.vector = self.vector + np.asarray(vector)

    def scale(self, gain: float) -> None:
        """Multiply the voltage."""
        self.vector = self.vector * gain


@dataclass
class Beat:
    """Lobes by name; QRS lobes are timed from R, P lobes from P's onset, ST-T lobes from the J point."""

    p: dict[str, Lobe]
    qrs: dict[str, Lobe]
    st_t: dict[str, Lobe]
    onset_s: float  # of QRS, from R: negative
    j_s: float  # end of QRS, from R
    pr_s: float
    jt_s: float  # J point to the end of T at one beat a second
    lead_gain: Vector  # (8,): depends on where the electrodes are on this chest

    def scale_qrs(self, gain: float) -> None:
        """Multiply the voltage of QRS."""
        for lobe in self.qrs.values():
            lobe.scale(gain)

    def stretch_qrs(self, factor: float) -> None:
        """Multiply the duration of QRS."""
        for lobe in self.qrs.values():
            lobe.at_s *= factor
            lobe.rise_s *= factor
            lobe.fall_s *= factor
        self.onset_s *= factor
        self.j_s *= factor


def normal_beat(rng: np.random.Generator, age: float) -> Beat:
    """Draw a healthy patient's beat: voltage, axis, widths and intervals vary between patients."""
    beat = _textbook_beat(rng)
    # Older hearts lie more horizontally: axis from about 60 degrees at 20 years to 30 at 80.
    lie = np.radians(-0.5 * (age - 45) + rng.normal(0, 13))
    frontal = np.array([[np.cos(lie), -np.sin(lie), 0], [np.sin(lie), np.cos(lie), 0], [0, 0, 1]])
    turn = _rotation(rng, (5, 11, 0)) @ frontal
    t_turn = _rotation(rng, (7, 10, 7)) @ _rotation(rng, (3, 6, 4))
    voltage = np.exp(rng.normal(0.06 - 0.002 * (age - 45), 0.17))
    for lobe in beat.qrs.values():
        lobe.vector = turn @ lobe.vector * voltage * np.exp(rng.normal(0, 0.13))
    t_gain = np.exp(rng.normal(0.05 - 0.003 * (age - 45), 0.25))
    for lobe in beat.st_t.values():
        lobe.vector = t_turn @ (0.5 * (turn + np.eye(3))) @ lobe.vector * t_gain
    p_gain = np.exp(rng.normal(0, 0.22))
    p_turn = _rotation(rng, (5, 8, 8))
    for lobe in beat.p.values():
        lobe.vector = p_turn @ lobe.vector * p_gain
    beat.stretch_qrs(float(np.clip(rng.normal(1.0, 0.06), 0.86, 1.13)))
    chest = np.array([0.85, 1.1, 1, 1, 1, 1]) * np.exp(np.interp(np.arange(6), [0, 2.5, 5], rng.normal(0, 0.13, 3)))
    beat.lead_gain = np.concatenate([np.exp(rng.normal(0, 0.05, 2)), chest])
    return beat


def ectopic_beat(rng: np.random.Generator, lead_gain: Vector) -> Beat:
    """Draw a ventricular ectopic beat: no P, QRS of about 150 ms from one wall to the other, T opposite."""
    side = 1.0 if rng.random() < 0.6 else -1.0  # from the right ventricle to the left, or the reverse
    main = rng.uniform(0.9, 1.35) * np.array([0.75 * side, rng.uniform(-0.8, 0.8), 0.7 * side])
    early = 0.55 * main + rng.normal(0, 0.12, 3)
    qrs = {
        "first": Lobe(-0.038, 0.018, 0.020, early),
        "main": Lobe(0.010, 0.022, 0.026, main),
        "last": Lobe(0.052, 0.018, 0.018, 0.25 * main),
    }
    st_t = {"late_st": Lobe(0.06, 0.04, 0.05, -0.18 * main), "t": Lobe(0.19, 0.06, 0.05, -0.38 * main)}
    return Beat({}, qrs, st_t, -0.075, 0.085, 0.15, 0.31, lead_gain)


def _textbook_beat(rng: np.random.Generator) -> Beat:
    """Return the lobes of an average heart, with random intervals."""
    p = {
        "right_atrium": Lobe.from_ms(34, 17, (0.035, 0.085, -0.045)),
        "left_atrium": Lobe.from_ms(64, 18, (0.055, 0.050, 0.032)),
    }
    qrs = {
        "septum": Lobe.from_ms(-26, 8.5, (-0.13, -0.04, -0.24)),
        "apex": Lobe.from_ms(-5, 9, (0.86, 0.53, -0.24)),
        "free_wall": Lobe.from_ms(9, 9.5, (0.52, 0.34, 0.86)),
        "base": Lobe.from_ms(28, 8.5, (-0.14, -0.11, 0.36)),
    }
    t_end_ms = rng.normal(310, 12)  # from the J point
    fall_ms = rng.normal(32, 3)
    t_ms = t_end_ms - 2.2 * fall_ms
    st_t = {
        "early_st": Lobe.from_ms(48, 24, (0.0, 0.0, 0.0), 46),
        "late_st": Lobe.from_ms(t_ms - 100, 44, (0.030, 0.018, -0.038), 52),
        "t": Lobe.from_ms(t_ms, 50 + rng.normal(0, 4), (0.28, 0.16, -0.19), fall_ms),
        "u": Lobe.from_ms(t_end_ms + 95, 28, (0.010, 0.007, -0.016)),
    }
    pr_s = float(np.clip(rng.normal(0.155, 0.016), 0.125, 0.192))
    return Beat(p, qrs, st_t, -0.046, 0.046, pr_s, t_end_ms / 1000, np.ones(8))


def _rotation(rng: np.random.Generator, sd_deg: tuple[float, float, float]) -> Vector:
    """Draw a rotation matrix with small turns about x, y and z."""
    a, b, c = np.radians(rng.normal(0, sd_deg))
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return turn_z @ turn_y @ turn_x
