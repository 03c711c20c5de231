"""The records of the data set as WFDB files: ``.hea`` and ``.dat``, format 16, microvolt.

Reference: WFDB header format, https://physionet.org/physiotools/wag/header-5.htm
"""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ecgcls.data.synthetic.leads import LEADS
from ecgcls.data.synthetic.plan import PlannedRecord
from ecgcls.data.synthetic.signal import simulate_ecg


def name_record(ecg_id: int, sampling_rate_hz: int) -> str:
    """Return a record's path below the data set's folder, without an extension.

    Examples
    --------
    >>> name_record(1234, 100)
    'records100/01000/01234_lr'
    """
    suffix = "lr" if sampling_rate_hz == 100 else "hr"
    return f"records{sampling_rate_hz}/{ecg_id // 1000 * 1000:05d}/{ecg_id:05d}_{suffix}"


def write_records(
    folder: Path,
    records: list[PlannedRecord],
    *,
    seed: int,
    sampling_rate_hz: Literal[100, 500],
    show_progress: bool,
) -> None:
    """Simulate all records and write them into `folder`, a temporary ``records100`` or ``records500``."""
    folder.mkdir()
    progress = tqdm(records, desc="Writing synthetic ECGs", unit=" records", disable=None if show_progress else True)
    for record in progress:
        # Without 'records100/': the folder still has its temporary name.
        stem = folder / name_record(record.spec.ecg_id, sampling_rate_hz).split("/", 1)[1]
        stem.parent.mkdir(exist_ok=True)
        ecg_uv = simulate_ecg(record.spec, seed=seed, sampling_rate_hz=sampling_rate_hz)
        _write_wfdb(stem, ecg_uv, sampling_rate_hz)


def _write_wfdb(stem: Path, ecg_uv: NDArray[np.int16], sampling_rate_hz: int) -> None:
    """Write ``stem.dat`` (format 16, sample by sample) and ``stem.hea``; wfdb.wrsamp is ten times slower."""
    file = f"{stem.name}.dat"
    checksums = (ecg_uv.sum(axis=0, dtype=np.int64) % 65536).tolist()
    lines = [f"{stem.name} {len(LEADS)} {sampling_rate_hz} {len(ecg_uv)}"]
    for lead, first, checksum in zip(LEADS, ecg_uv[0].tolist(), checksums, strict=True):
        lines.append(f"{file} 16 1000.0(0)/mV 16 0 {first} {checksum} 0 {lead}")
    stem.with_name(file).write_bytes(ecg_uv.astype("<i2").tobytes())
    stem.with_name(f"{stem.name}.hea").write_text("\n".join(lines) + "\n", encoding="ascii")
