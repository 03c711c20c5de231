import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb

import ecgcls
from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.load import load_net, load_run
from ecgcls.runs.directory import RunDirectory

FORM = {"sampling_rate_hz": 100, "lead_names": LEADS}


@pytest.fixture(scope="module")
def run(configuration):
    return load_run(configuration / "fold_0")


@pytest.fixture(scope="module")
def signals_mv(synthetic_root):
    """The first four records, ``(record, lead, sample)``."""
    filenames = pd.read_csv(synthetic_root / "ptbxl_database.csv")["filename_lr"]
    return [read_record(synthetic_root / name).signal_uv * 1e-3 for name in filenames[:4]]


@pytest.fixture
def copied(configuration, tmp_path):
    """The files of a finished run, to be replaced."""
    path = tmp_path / "fold_0"
    path.mkdir()
    for entry in (configuration / "fold_0").iterdir():
        (path / entry.name).symlink_to(entry)
    return RunDirectory(path)


def test_two_lines_give_the_probabilities_of_the_run(configuration, synthetic_root):
    directory = RunDirectory(configuration / "fold_0")
    stored = directory.read_predictions("test")
    filenames = pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id")["filename_lr"]
    signal_mv, fields = wfdb.rdsamp(str(synthetic_root / filenames[stored.ecg_id[0]]))
    run = ecgcls.load_run(configuration / "fold_0")
    found = run.predict(signal_mv.T, sampling_rate_hz=fields["fs"], lead_names=fields["sig_name"])
    assert tuple(found.y_prob) == stored.class_names
    np.testing.assert_allclose(list(found.y_prob.values()), stored.y_prob[0], rtol=1e-4)
    thresholds = directory.read_info().thresholds
    assert found.thresholds == thresholds
    assert found.y_pred == {name: prob >= thresholds[name] for name, prob in found.y_prob.items()}
    assert found.starts_s == (0.0,)


def test_folds_together_give_their_mean(configuration, signals_mv):
    single = [load_run(configuration / f"fold_{fold}").predict(signals_mv[3], **FORM) for fold in range(5)]
    together = load_run(configuration).predict(signals_mv[3], **FORM)
    mean = np.mean([list(found.y_prob.values()) for found in single], axis=0)
    np.testing.assert_allclose(list(together.y_prob.values()), mean, rtol=1e-6)


def test_windows_of_a_long_recording_are_averaged(run, signals_mv):
    apart = [list(run.predict(half, **FORM).y_prob.values()) for half in signals_mv[:2]]
    found = run.predict(np.concatenate(signals_mv[:2], axis=1), **FORM)
    assert found.starts_s == (0.0, 10.0)
    np.testing.assert_allclose(found.windows, apart, rtol=1e-5)
    np.testing.assert_allclose(list(found.y_prob.values()), np.mean(apart, axis=0), rtol=1e-5)
    assert [window["start_s"] for window in found.to_dict()["windows"]] == [0.0, 10.0]


def test_the_rebuilt_net_is_the_trained_one(configuration):
    directory = RunDirectory(configuration / "fold_0")
    stored = torch.load(directory.best_checkpoint, weights_only=True)["state_dict"]
    for key, value in load_net(directory).state_dict().items():
        assert torch.equal(value, stored[key]), key


def test_stored_thresholds_decide(copied, signals_mv):
    info = copied.read_info()
    (copied.path / "run.json").unlink()
    thresholds = {"NORM": 0.0, "MI": 1.0, "STTC": 0.5, "CD": 0.5, "HYP": 0.5}
    copied.write_info(replace(info, thresholds=thresholds))
    run = load_run(copied.path)
    assert run.thresholds == thresholds
    found = run.predict(signals_mv[0], **FORM)
    assert (found.y_pred["NORM"], found.y_pred["MI"]) == (True, False)


def test_a_checkpoint_of_another_net_is_refused(copied):
    copied.best_checkpoint.unlink()
    copied.best_checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"best\.ckpt: not the file that the run wrote"):
        load_run(copied.path)
    copied.seal()
    with pytest.raises(ConfigError, match=r"best\.ckpt: cannot be loaded into this run's net"):
        load_run(copied.path)


def test_a_checkpoint_of_another_fold_is_refused(configuration, copied):
    copied.best_checkpoint.unlink()
    copied.best_checkpoint.symlink_to(configuration / "fold_1" / "best.ckpt")
    with pytest.raises(DataError, match=r"best\.ckpt: not the file that the run wrote"):
        load_run(copied.path)
    copied.seal()
    with pytest.raises(ValueError, match="leak: the standardizer was fitted on other records"):
        load_run(copied.path)


def test_folds_that_take_other_signals_are_not_averaged(configuration, copied):
    (copied.path.with_name("fold_1")).symlink_to(configuration / "fold_1")
    info = copied.read_info()
    (copied.path / "run.json").unlink()
    copied.write_info(replace(info, data=info.data | {"sampling_rate_hz": 500}))
    for fold in range(2, 5):
        copied.path.with_name(f"fold_{fold}").symlink_to(configuration / f"fold_{fold}")
    with pytest.raises(ConfigError, match=r"cannot be averaged, their sampling_rate_hz differ: 500 in fold_0, 100 in"):
        load_run(copied.path.parent)


def test_an_absent_device_is_reported(configuration):
    with pytest.raises(ConfigError, match="device=nowhere"):
        load_run(configuration / "fold_0", device="nowhere")


def test_loading_needs_neither_lightning_nor_the_training_data(configuration, tmp_path):
    code = (
        "import sys, numpy, ecgcls\n"
        f"run = ecgcls.load_run({str(configuration / 'fold_0')!r})\n"
        f"run.predict(numpy.random.default_rng(0).normal(size=(12, 5000)), sampling_rate_hz=500, lead_names={LEADS})\n"
        "assert 'pytorch_lightning' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)
