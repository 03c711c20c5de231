import pandas as pd
import pytest
from numpy.testing import assert_allclose

from ecgcls.data.recordings import read_recording
from ecgcls.errors import ConfigError
from ecgcls.jobs.load import load_run
from tests.in_process import fit

QUICK = ("trainer.max_epochs=1", "model.width=4", "+preset=benchmark", "data.batch_size=16")


@pytest.mark.slow
def test_a_run_of_windows_predicts_whole_records_as_it_tested_them(synthetic_root, tmp_path):
    run = fit(
        tmp_path / "fold_0", synthetic_root, "data=synthetic", "data.n_records=60", *QUICK, "data.window_pooling=max"
    )
    tested = run.read_predictions().select("test")
    loaded = load_run(run.path)
    assert loaded.n_samples == 1000 and run.read_info().data["windows"] == {"n_samples": 250, "pooling": "max"}
    cohort = pd.read_csv(synthetic_root / "ptbxl_database.csv", index_col="ecg_id")
    record = read_recording(synthetic_root / cohort.loc[tested.ecg_id[0], "filename_lr"])
    found = loaded.predict(record.signal_mv, sampling_rate_hz=record.sampling_rate_hz, lead_names=record.lead_names)
    assert_allclose([*found.y_prob.values()], tested.y_prob[0], atol=1e-5)


@pytest.mark.parametrize("window_s", [0, 10, 30])
def test_a_window_that_is_no_part_of_a_record_is_refused(synthetic_root, tmp_path, window_s):
    with pytest.raises(ConfigError, match=rf"data\.window_s must be .* less than the records' 10 s, got {window_s}"):
        fit(
            tmp_path / "fold_0",
            synthetic_root,
            "data=synthetic",
            "data.n_records=60",
            *QUICK,
            f"data.window_s={window_s}",
        )
