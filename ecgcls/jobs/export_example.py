"""The example in a bundle: a simulated ECG as a table of samples, and what the nets say of it."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.resampling import resample_beginning
from ecgcls.data.sample_tables import read_table
from ecgcls.data.synthetic.signal import simulate_ecg
from ecgcls.data.synthetic.spec import DURATION_S, EcgSpec
from ecgcls.files import write_atomically, write_json
from ecgcls.jobs.check_bundle import EXAMPLE, EXPECTED
from ecgcls.jobs.loaded import LoadedRun

_SEVERITY = {"SR": 0.5, "IMI": 0.9, "LVH": 0.6}  # by SCP statement
_RATES_HZ: tuple[Literal[100, 500], ...] = (100, 500)  # of the simulation


def write_example(folder: Path, run: LoadedRun) -> list[Path]:
    """Write ``example.csv`` and ``example_expected.json``: the same ECG for every run of this rate and these leads.

    What is expected are the probabilities and decisions of the nets as torch computes them from that file, with
    metadata not known.
    """
    table, expected = folder / EXAMPLE, folder / EXPECTED
    write_atomically(table, format_example(run.lead_names, run.sampling_rate_hz, run.n_samples).encode())
    recording = read_table(table)
    found = run.predict(
        recording.signal_mv, sampling_rate_hz=recording.sampling_rate_hz, lead_names=recording.lead_names
    )
    content = {
        "note": "a simulated ECG, not a patient's; probabilities as the nets give them in torch",
        "input": EXAMPLE,
        "sampling_rate_hz": recording.sampling_rate_hz,
        "probabilities": found.y_prob,
        "decisions": found.y_pred,
    }
    write_json(expected, content)
    return [table, expected]


def format_example(lead_names: tuple[str, ...], sampling_rate_hz: float, n_samples: int) -> str:
    """Return a simulated ECG as CSV that `ecgcls.data.sample_tables` reads: the time in s, and each lead in mV.

    Examples
    --------
    >>> print(format_example(("I", "II"), 100, 3))
    time_s,I_mV,II_mV
    0.0,-0.006,0.007
    0.01,-0.008,0.014
    0.02,-0.002,0.034
    <BLANKLINE>
    """
    signal_mv = _simulate(lead_names, sampling_rate_hz, n_samples)
    rows = [",".join(["time_s", *(f"{name}_mV" for name in lead_names)])]
    for number, sample in enumerate(signal_mv.T.tolist()):
        rows.append(",".join(map(str, [round(number / sampling_rate_hz, 6), *(round(value, 3) for value in sample)])))
    return "\n".join([*rows, ""])


def _simulate(lead_names: tuple[str, ...], sampling_rate_hz: float, n_samples: int) -> NDArray[np.float64]:
    """Return ``(lead, sample)`` in mV, of as many simulated records of one patient as the length takes."""
    made_hz = next((rate for rate in _RATES_HZ if rate == sampling_rate_hz), _RATES_HZ[-1])
    n_records = -(-n_samples // round(DURATION_S * sampling_rate_hz))
    specs = [EcgSpec(ecg_id=1 + number, patient_id=1, age=60, severity=_SEVERITY) for number in range(n_records)]
    simulated = np.concatenate([simulate_ecg(spec, seed=0, sampling_rate_hz=made_hz) for spec in specs])
    rows = [LEADS.index(name) for name in lead_names]
    return resample_beginning(simulated.T[rows] / 1000, n_samples, from_hz=made_hz, to_hz=sampling_rate_hz)
