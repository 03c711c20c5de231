import pandas as pd
import pytest

from ecgcls.jobs.load import load_run


@pytest.fixture(scope="module")
def run(configuration):
    return load_run(configuration / "fold_0")


@pytest.fixture(scope="module")
def filenames(synthetic_root):
    """The file of each record, by ecg_id."""
    names = pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id")["filename_lr"]
    return names.map(lambda name: synthetic_root / name)
