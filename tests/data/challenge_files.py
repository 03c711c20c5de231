"""Records as the Challenges ship them: headers with comments, and MATLAB v4 files with the samples, made of noise."""

import struct
from pathlib import Path

import numpy as np

from ecgcls.data.signals import LEADS


def write_record(folder: Path, name: str, comments: str = "#Age: 56\n#Sex: Female\n#Dx: 426783006", *, seed=0) -> Path:
    """Write 10 s at 100 Hz; return the record's path. The record line is one that the wfdb package refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-900, 900, (len(LEADS), 1000)).astype("<i2")
    matrix = struct.pack("<5i", 30, *samples.shape, 0, 4) + b"val\0" + samples.tobytes(order="F")
    (folder / f"{name}.mat").write_bytes(matrix)
    sums = (samples.sum(axis=1, dtype=int) + 2**15) % 2**16 - 2**15
    lines = [
        f"{name}.mat 16+24 1000.0(0)/mV 16 0 {row[0]} {sum_} 0 {lead}"
        for lead, row, sum_ in zip(LEADS, samples, sums, strict=True)
    ]
    record_line = f"{name}.mat 12 100 1000 05-May-2020 14:50:55"
    (folder / f"{name}.hea").write_text("\n".join([record_line, *lines, comments, ""]))
    return folder / name
