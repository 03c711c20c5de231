"""From the heart's dipole and the nine electrodes to the twelve leads.

The axes of a dipole ``(x, y, z)`` in mV point to the left, to the feet and to the back (Frank's axes). Eight leads are
independent: I, II and V1..V6. III and the augmented leads are computed from the *rounded* I and II, so that
Einthoven's and Goldberger's relations hold in the file.

References
----------
- Dower, Machado, Osborne. On deriving the electrocardiogram from vectorcardiographic leads.
  Clin. Cardiol. 3 (1980).
"""

import numpy as np
from numpy.typing import NDArray

from ecgcls.data import signals

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


def complete_leads(independent_mv: NDArray[np.float64]) -> NDArray[np.int16]:
    """Round I, II, V1..V6 in mV, (8, sample), to microvolts and add the other leads: (sample, lead) as in `LEADS`."""
    ecg_uv = np.empty((independent_mv.shape[1], len(LEADS)), np.int16)
    independent_uv = np.rint(independent_mv * 1000).astype(np.int32)
    i, ii = independent_uv[0], independent_uv[1]
    ecg_uv[:, 0], ecg_uv[:, 1], ecg_uv[:, 2] = i, ii, ii - i
    ecg_uv[:, 3], ecg_uv[:, 4], ecg_uv[:, 5] = -((i + ii) // 2), i - ii // 2, ii - i // 2
    ecg_uv[:, 6:] = independent_uv[2:].T
    return ecg_uv
