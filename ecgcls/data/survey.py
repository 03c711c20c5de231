"""What the files of a data set are, told from a few of them before any is trained on."""

from collections import Counter
from pathlib import Path

import pandas as pd

from ecgcls.data import formats
from ecgcls.data.reading import spread
from ecgcls.data.record_files import find_missing
from ecgcls.data.recordings import iter_recording
from ecgcls.errors import DataError

_N_READ = 20  # files that are opened, spread over the manifest


def survey_files(root: Path, filenames: pd.Series) -> list[str]:
    """Say how many files are there, and of some of them the format, sampling rate, duration and number of leads."""
    missing = find_missing(root, filenames)
    lines = [f"{len(filenames) - len(missing)} of {len(filenames)} files are there"]
    if len(missing):
        lines[0] += f"; the first missing one is {missing.iloc[0]} of {missing.index[0]}"
    there = filenames[~filenames.index.isin(missing.index)]
    if there.empty:
        return lines
    chosen = spread([root / name for name in there], _N_READ)
    kinds = Counter(map(_describe, chosen))
    told = "; ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    return [*lines, f"of {len(chosen)} of them: {told}"]


def _describe(path: Path) -> str:
    try:
        recording = next(iter_recording(path))
    except DataError as error:
        return f"not readable ({str(error).removeprefix(f'{path}: ')[:80]})"
    kind = "WFDB" if formats.is_wfdb(path) else formats.recognize(path) or "another format"
    n_leads, n_samples = recording.signal_mv.shape
    rate_hz = recording.sampling_rate_hz
    return f"{kind}, {rate_hz:g} Hz, {n_samples / rate_hz:g} s, {n_leads} leads"
