from pathlib import Path

import pytest

from ecgcls.data.synthetic import write_synthetic


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """A data set at both rates, for tests that only read it."""
    root = tmp_path_factory.mktemp("synthetic") / "ecgs"
    for sampling_rate_hz in (100, 500):
        write_synthetic(root, n_records=60, seed=0, sampling_rate_hz=sampling_rate_hz, show_progress=False)
    return root
