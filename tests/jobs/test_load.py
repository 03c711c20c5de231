import subprocess
import sys
from dataclasses import replace
from decimal import Context, Decimal, localcontext

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from torch import nn

import ecgcls
from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.jobs.load import load_net, load_run
from ecgcls.runs.directory import RunDirectory

NO_CHANGE = {"slope": 1.0, "intercept": 0.0}
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


def test_logits_rank_where_probabilities_round_to_one(configuration, signals_mv):
    """Logits of the nets near 50 and 900: the mean of the nets' probabilities, worked out in exact numbers."""
    whole = load_run(configuration)

    def shift(net, add):
        changed = nn.Sequential(*net)
        changed.forward = lambda signal: net(signal) + add
        return changed

    nets = tuple(shift(net, add) for net, add in zip(whole.nets, (50.0, 50.0, 900.0, 50.0, 50.0), strict=True))
    plain = Calibrator("none", {name: {"method": "none"} | NO_CHANGE for name in whole.class_names}, None)
    run = replace(whole, nets=nets, calibrators=(plain,) * 5)
    found = [run.predict(signal_mv, **FORM) for signal_mv in signals_mv]
    assert {prob for each in found for prob in each.y_prob.values()} == {1.0}
    windows = torch.from_numpy(np.stack(signals_mv).astype(np.float32))
    logits = np.stack([net(windows).numpy() for net in nets]).astype(float)
    with localcontext(Context(prec=500)):
        for row, each in enumerate(found):
            for column, y_logit in enumerate(each.y_logit.values()):
                against = [1 / (1 + Decimal(logit).exp()) for logit in logits[:, row, column].tolist()]
                mean = sum(against) / 5  # 1 - the mean probability
                assert y_logit == pytest.approx(float(((1 - mean) / mean).ln()), rel=1e-12)
    assert len({round(each.y_logit["MI"], 9) for each in found}) == len(found)


def test_logits_that_are_not_finite_are_refused_before_any_probability(run, signals_mv):
    """An infinite logit would be a probability of 1."""
    odd = nn.Sequential(*run.nets[0])
    odd.forward = lambda signal: torch.full((len(signal), 5), torch.inf)
    with pytest.raises(DataError, match="the net's logits are not finite"):
        replace(run, nets=(odd,)).predict(signals_mv[0], **FORM)


def test_masked_samples_are_missing_samples(run, signals_mv):
    signal_mv = signals_mv[0]
    whole = run.predict(np.ma.array(signal_mv), **FORM)
    assert whole.y_prob == run.predict(signal_mv, **FORM).y_prob
    mask = np.zeros(signal_mv.shape, dtype=bool)
    mask[1, 3:5] = True
    masked = np.ma.array(signal_mv, mask=mask)
    in_microvolt = np.ma.array(np.rint(signal_mv).astype(np.int16), mask=mask)
    for given in (masked, list(masked), masked.astype(np.float32), in_microvolt):
        with pytest.raises(DataError, match=r"missing samples .* in II \(2\)$"):
            run.predict(given, **FORM)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sampling_rate_hz": float("nan")}, "the sampling rate must be at least 50 Hz .* got nan"),
        ({"sampling_rate_hz": float("inf")}, "the sampling rate must be .* got inf"),
        ({"sampling_rate_hz": -100}, "the sampling rate must be .* got -100"),
        ({"sampling_rate_hz": "fast"}, "the sampling rate must be a number of Hz, got 'fast'"),
        ({"lead_names": LEADS[:11]}, r"a name for each lead, got \(12, 1000\) and 11 names"),
        ({"lead_names": None}, "the lead names must be a list of texts"),
        ({"lead_names": "I,II,III"}, "the lead names must be a list of texts"),
        ({"signal_mv": np.full((12, 1000), np.nan)}, r"missing samples .* in I \(1000\)"),
        ({"signal_mv": [[1.0], [1.0, 2.0]]}, r"the signal must be an array \(lead, sample\) in mV"),
        ({"signal_mv": None}, "must be real numbers in mV, got an array of object"),
    ],
)
def test_what_cannot_be_a_recording_is_one_line(run, signals_mv, changed, message):
    with pytest.raises(DataError, match=message) as refused:
        run.predict(**{"signal_mv": signals_mv[0], **FORM, **changed})
    assert "\n" not in str(refused.value)


def test_doubts_are_noted_or_refused(run, signals_mv):
    assert "wrong gain" in run.predict(10 * signals_mv[0], **FORM).repairs[0]
    with pytest.raises(DataError, match="refused, as repairs=refuse_doubtful asks: too large"):
        run.predict(10 * signals_mv[0], **FORM, repairs="refuse_doubtful")


def test_the_rebuilt_net_is_the_trained_one(configuration):
    directory = RunDirectory(configuration / "fold_0")
    stored = torch.load(directory.best_checkpoint, weights_only=True)["state_dict"]
    for key, value in load_net(directory).state_dict().items():
        assert torch.equal(value, stored[key]), key


def test_stored_thresholds_decide(run, signals_mv):
    assert run.thresholds == run.info.thresholds
    thresholds = {"NORM": 0.0, "MI": 1.0, "STTC": 0.5, "CD": 0.5, "HYP": 0.5}
    found = replace(run, thresholds=thresholds).predict(signals_mv[0], **FORM)
    assert (found.y_pred["NORM"], found.y_pred["MI"]) == (True, False)


def test_a_checkpoint_of_another_net_is_refused(copied):
    copied.best_checkpoint.unlink()
    copied.best_checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"best\.ckpt: not the file that the run wrote"):
        load_run(copied.path)
    copied.seal()
    with pytest.raises(ConfigError, match=r"best\.ckpt: cannot be loaded into this run's net"):
        load_run(copied.path)


def test_a_net_of_any_size_is_refused_before_it_takes_memory(copied):
    text = (copied.path / ".hydra" / "config.yaml").read_text()
    (copied.path / ".hydra").unlink()
    copied.write_config(text.replace("width: 32", "width: 100000"))  # 300 GB
    copied.seal()
    with pytest.raises(ConfigError, match=r"it has shape \(\d+, 12, 1, 7\), not \(100000, 12, 1, 7\), of features\.0"):
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
