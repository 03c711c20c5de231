"""Many records read and checked together: those of which nothing is to be told.

Most records of a folder have PTB-XL's own form (`ecgcls.data.reading.read_plain`) and nothing in them is doubtful
(`ecgcls.data.content_screen`). `ecgcls.data.recordings.prepare` would return their samples as they are, without a
repair, but takes a millisecond for each; whole batches take a tenth. It says whatever there is to say of the others.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.content_screen import find_suspects
from ecgcls.data.formats import SUFFIXES
from ecgcls.data.reading import read_plain
from ecgcls.data.signals import to_millivolt
from ecgcls.data.store_journal import sum_signals

_N_SCREENED = 64  # records at a time, which fit a processor's cache
_NAMED_OTHERWISE = (*SUFFIXES, ".hea", ".dat")  # not, or not certainly, records without an extension


def read_plain_records(
    paths: Sequence[Path], *, lead_names: Sequence[str], sampling_rate_hz: float, n_samples: int
) -> list[NDArray[np.float32] | None]:
    """Return the window ``(1, lead, sample)`` in mV of each record of which nothing is to be told; None for the others.

    None also stands for whatever cannot be read: reading it alone says why.
    """
    found: list[NDArray[np.float32] | None] = [None] * len(paths)
    signals_uv = np.empty((len(paths), len(lead_names), n_samples), np.int16)
    numbers: list[int] = []
    for number, path in enumerate(paths):
        if (signal_uv := _read(path, lead_names, sampling_rate_hz, n_samples)) is not None:
            signals_uv[len(numbers)] = signal_uv
            numbers.append(number)
    windows_mv = to_millivolt(signals_uv[: len(numbers)])
    for start in range(0, len(numbers), _N_SCREENED):
        some_uv = signals_uv[start : min(start + _N_SCREENED, len(numbers))]
        suspects = find_suspects(
            some_uv, *sum_signals(some_uv), sampling_rate_hz=sampling_rate_hz, lead_names=lead_names
        )
        for row in np.flatnonzero(~suspects).tolist():
            found[numbers[start + row]] = windows_mv[start + row : start + row + 1]
    return found


def _read(path: Path, lead_names: Sequence[str], sampling_rate_hz: float, n_samples: int) -> NDArray[np.int16] | None:
    name = str(path)
    if name.lower().endswith(_NAMED_OTHERWISE) or os.path.exists(name):  # noqa: PTH110 (a text: twice as fast)
        return None
    try:
        reading = read_plain(path, sampling_rate_hz, n_samples, lead_names)
    except Exception:
        return None
    return None if reading is None or reading.repairs or reading.guesses else reading.signal_uv
