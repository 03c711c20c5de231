import shutil
from pathlib import Path

import numpy as np
import pytest

from ecgcls.data import store_writer
from tests.data.five_records import ECG_IDS, FILENAMES, N_SAMPLES


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The records that have been read from their WFDB files."""
    paths: list[Path] = []
    read = store_writer.read_repaired
    monkeypatch.setattr(store_writer, "read_repaired", lambda path, **how: paths.append(path) or read(path, **how))
    return paths


@pytest.fixture(scope="module")
def signals_uv() -> np.ndarray:
    """``(record, lead, sample)``, each lead with its own mean and spread."""
    rng = np.random.default_rng(1)
    spread = rng.uniform(20, 900, (1, 12, 1))
    offset = rng.integers(-500, 500, (1, 12, 1))
    return (rng.normal(0, spread, (len(ECG_IDS), 12, N_SAMPLES)) + offset).round().astype(int)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, signals_uv, write_record) -> Path:
    root = tmp_path_factory.mktemp("pristine") / "ecgs"
    (root / "records100").mkdir(parents=True)
    for filename, signal_uv in zip(FILENAMES, signals_uv, strict=True):
        write_record(root / filename, signal_uv.T)
    return root


@pytest.fixture
def root(tmp_path, pristine) -> Path:
    """Five records of 1.2 s at 100 Hz, a separate copy for each test."""
    return Path(shutil.copytree(pristine, tmp_path / "ecgs"))


@pytest.fixture
def copied_root(synthetic_root, tmp_path) -> Path:
    """A copy of the simulated data set, to be damaged."""
    return Path(shutil.copytree(synthetic_root, tmp_path / "ecgs"))
