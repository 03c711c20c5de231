"""What one record shows, and the streams of random numbers that supply the rest.

Every generator is seeded by the data set's seed, one of the streams below and an ecg_id or a patient_id, so that one
record can be simulated without the others, and a change to one module does not change the draws of another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DURATION_S = 10

PLAN_STREAM, PATIENT_STREAM, RECORD_STREAM, FAST_NOISE_STREAM = range(4)


@dataclass(frozen=True)
class EcgSpec:
    """What one record shows; with the seed it determines every sample.

    Records of one patient share the heart's geometry, not rate and noise.
    """

    ecg_id: int
    patient_id: int
    age: float  # years
    severity: Mapping[str, float] = field(default_factory=dict)  # by SCP-ECG statement, 0..1: 0 is subtle, not absent
    infarction_stage: int = 3  # 1 acute (ST elevation), 2 subacute (T inversion), 3 old (Q waves alone, or nearly)
    drift_electrode: int | None = None  # position in `leads.ELECTRODES` of the one with baseline wander
    burst_electrode: int | None = None  # the same for a burst of muscle noise
    static_noise: bool = False  # strong muscle noise and mains hum in every electrode
