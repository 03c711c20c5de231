import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from ecgcls.inference import load_net, load_run, predict_files

import ecgcls
from ecgcls.data.signals import read_record
from ecgcls.errors import ConfigError, DataError
from ecgcls.runs.directory import RunDirectory

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.fixture(scope="module")
def run(configuration):
    return load_run(configuration / "fold_0")


@pytest.fixture(scope="module")
def stored(configuration):
    """What the run itself wrote about its test part, by ecg_id."""
    table = pd.read_csv(configuration / "fold_0" / "predictions.csv").set_index("ecg_id")
    return table[table["split"] == "test"].filter(like="y_prob_")


@pytest.fixture(scope="module")
def filenames(synthetic_root):
    return pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id")["filename_lr"]


def test_two_lines_give_the_probabilities_of_the_run(configuration, stored, filenames, synthetic_root):
    ecg_id = stored.index[0]
    signal_mv, fields = wfdb.rdsamp(str(synthetic_root / filenames[ecg_id]))
    run = ecgcls.load_run(configuration / "fold_0")
    said = run.predict(signal_mv.T, sampling_rate_hz=fields["fs"], lead_names=fields["sig_name"])
    assert list(said.y_prob) == [name.removeprefix("y_prob_") for name in stored.columns]
    np.testing.assert_allclose(list(said.y_prob.values()), stored.loc[ecg_id], rtol=1e-4)
    thresholds = json.loads((configuration / "fold_0" / "run.json").read_text())["thresholds"]
    assert said.y_pred == {name: prob >= thresholds[name] for name, prob in said.y_prob.items()}
    assert said.starts_s == (0.0,)


def test_files_are_predicted_as_the_run_did(run, stored, filenames, synthetic_root):
    paths = [synthetic_root / filenames[ecg_id] for ecg_id in stored.index]
    found = list(predict_files(run, paths))
    assert [path for path, _ in found] == paths
    y_prob = [list(said.y_prob.values()) for _, said in found]
    np.testing.assert_allclose(y_prob, stored.to_numpy(), rtol=1e-4)


def test_a_damaged_file_does_not_stop_the_others(run, filenames, synthetic_root, tmp_path):
    good, absent = synthetic_root / filenames.iloc[0], tmp_path / "absent"
    (first, said), (second, refused), (third, again) = predict_files(run, [good, absent, good])
    assert (first, second, third) == (good, absent, good)
    assert isinstance(refused, DataError)
    assert "absent.hea" in str(refused)
    assert said.y_prob == again.y_prob


def test_folds_together_give_their_mean(configuration, filenames, synthetic_root):
    signal_mv = read_record(synthetic_root / filenames.iloc[3]).signal_uv * 1e-3
    told = {"sampling_rate_hz": 100, "lead_names": LEADS}
    single = [load_run(configuration / f"fold_{fold}").predict(signal_mv, **told) for fold in range(5)]
    together = load_run(configuration).predict(signal_mv, **told)
    mean = np.mean([list(said.y_prob.values()) for said in single], axis=0)
    np.testing.assert_allclose(list(together.y_prob.values()), mean, rtol=1e-6)


def test_windows_of_a_long_recording_are_averaged(run, filenames, synthetic_root):
    halves = [read_record(synthetic_root / filenames.iloc[row]).signal_uv * 1e-3 for row in (0, 1)]
    told = {"sampling_rate_hz": 100, "lead_names": LEADS}
    apart = [list(run.predict(half, **told).y_prob.values()) for half in halves]
    said = run.predict(np.concatenate(halves, axis=1), **told)
    assert said.starts_s == (0.0, 10.0)
    np.testing.assert_allclose(said.windows, apart, rtol=1e-5)
    np.testing.assert_allclose(list(said.y_prob.values()), np.mean(apart, axis=0), rtol=1e-5)
    written = json.loads(json.dumps(said.to_dict()))
    assert [window["start_s"] for window in written["windows"]] == [0.0, 10.0]


def test_the_rebuilt_net_is_the_trained_one(configuration):
    directory = RunDirectory(configuration / "fold_0")
    stored = torch.load(directory.best_checkpoint, weights_only=True)["state_dict"]
    for key, value in load_net(directory).state_dict().items():
        assert torch.equal(value, stored[key]), key


def test_stored_thresholds_decide(configuration, filenames, synthetic_root, tmp_path):
    path = tmp_path / "fold_0"
    path.mkdir()
    for entry in (configuration / "fold_0").iterdir():
        (path / entry.name).symlink_to(entry)
    info = RunDirectory(path).read_info()
    (path / "run.json").unlink()
    RunDirectory(path).write_info(info | {"thresholds": {"NORM": 0.0, "MI": 1.0}})
    run = load_run(path)
    assert run.thresholds == {"NORM": 0.0, "MI": 1.0, "STTC": 0.5, "CD": 0.5, "HYP": 0.5}
    signal_mv = read_record(synthetic_root / filenames.iloc[0]).signal_uv * 1e-3
    said = run.predict(signal_mv, sampling_rate_hz=100, lead_names=LEADS)
    assert (said.y_pred["NORM"], said.y_pred["MI"]) == (True, False)


def test_a_checkpoint_of_another_net_is_refused(configuration, tmp_path):
    path = tmp_path / "fold_0"
    path.mkdir()
    for entry in (configuration / "fold_0").iterdir():
        (path / entry.name).symlink_to(entry)
    (path / "best.ckpt").unlink()
    (path / "best.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match=r"best\.ckpt: cannot be loaded into ecgcls\.models\.cnn1d\.CNN1D"):
        load_run(path)


def test_an_absent_device_is_told(configuration):
    with pytest.raises(ConfigError, match="device=nowhere"):
        load_run(configuration / "fold_0", device="nowhere")


def test_loading_needs_neither_lightning_nor_the_training_data(configuration):
    code = (
        "import sys, numpy, ecgcls\n"
        f"run = ecgcls.load_run({str(configuration / 'fold_0')!r})\n"
        f"run.predict(numpy.random.default_rng(0).normal(size=(12, 5000)), sampling_rate_hz=500, lead_names={LEADS})\n"
        "assert 'pytorch_lightning' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=configuration, timeout=120)
