import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgcls.data.synthetic import write_synthetic


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory) -> Path:
    """60 simulated records at 100 Hz. Read it; to change a file, copy it first."""
    root = tmp_path_factory.mktemp("synthetic") / "ecgs"
    write_synthetic(root, n_records=60, seed=0, sampling_rate_hz=100)
    return root


@pytest.fixture(scope="session")
def ptbxl_root() -> Path:
    """The folder of real PTB-XL records that the environment names."""
    if "ECGCLS_PTBXL_ROOT" not in os.environ:
        pytest.skip("ECGCLS_PTBXL_ROOT names no folder of real PTB-XL records")
    return Path(os.environ["ECGCLS_PTBXL_ROOT"])


@pytest.fixture(scope="session")
def write_record() -> Callable[..., Path]:
    """Write a twelve-lead record with the wfdb package, by default in PTB-XL's own layout; return its path."""

    def write(path: Path, samples: np.ndarray, **changed) -> Path:
        """Write `samples`, ``(sample, lead)`` integers; `changed` are arguments of `wfdb.wrsamp`."""
        leads = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
        arguments = {
            "fs": 100,
            "sig_name": leads,
            "units": ["mV"] * 12,
            "fmt": ["16"] * 12,
            "adc_gain": [1000.0] * 12,
            "baseline": [0] * 12,
        }
        wfdb.wrsamp(path.name, d_signal=samples, write_dir=str(path.parent), **(arguments | changed))
        return path

    return write
