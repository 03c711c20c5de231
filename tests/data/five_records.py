"""Five records of 1.2 s at 100 Hz; the fixture ``root`` writes them."""

from pathlib import Path

import numpy as np
import pandas as pd

from ecgcls.data import store

ECG_IDS = [7, 3, 11, 20, 5]
FILENAMES = pd.Series([f"records100/{ecg_id:05d}_lr" for ecg_id in ECG_IDS], index=ECG_IDS)
N_SAMPLES = 120
N_READS = len(FILENAMES)  # of a build


def open_100hz(root: Path, **changed) -> store.SignalStore:
    return store.open_store(root, **({"filenames": FILENAMES, "sampling_rate_hz": 100} | changed))


def stores(folder: Path) -> list[str]:
    """The names of the entries of a folder of stores, except for locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def swap_samples(dat_path: Path) -> None:
    """Swap two time points: other content, but the same size and checksums; wait for another change time."""
    samples = np.fromfile(dat_path, "<i2").reshape(-1, 12)
    changed = samples[[1, 0, *range(2, len(samples))]]
    assert (changed != samples).any()
    before = dat_path.stat().st_ctime_ns
    while dat_path.stat().st_ctime_ns == before:  # the clock of a file system ticks every few milliseconds
        dat_path.write_bytes(changed.tobytes())


def damage_sample(root: Path, **_) -> None:
    data = bytearray((root / f"{FILENAMES[20]}.dat").read_bytes())
    data[100] ^= 4
    (root / f"{FILENAMES[20]}.dat").write_bytes(data)
