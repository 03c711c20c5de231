import shutil

import numpy as np
import pandas as pd
import pytest
import wfdb

from tests.in_process import fit


@pytest.mark.slow
def test_a_run_keeps_the_lists_of_repairs_and_of_records_left_out(synthetic_root, tmp_path, write_record):
    root = shutil.copytree(synthetic_root, tmp_path / "ecgs", ignore=shutil.ignore_patterns(".ecgcls"))
    long, cut = (root / f"records100/00000/{number:05d}_lr" for number in (3, 4))
    samples = wfdb.rdrecord(str(long), physical=False).d_signal
    write_record(long, np.concatenate([samples, samples]))
    cut.with_suffix(".dat").write_bytes(b"")
    run = fit(tmp_path / "fold_0", root, "model=prevalence", "data.bad_records=drop")
    assert pd.read_csv(run.path / "repairs.csv").to_numpy().tolist() == [[3, "cut to the first 10 s", False]]
    left_out = pd.read_csv(run.path / "left_out.csv")
    assert left_out["ecg_id"].tolist() == [4] and left_out["reason"][0].startswith("records100/00000/00004_lr")
    data = run.read_info().data
    assert data["n_bad_records"] == 1 and data["repairs"] == {"cut to the first 10 s": 1}
