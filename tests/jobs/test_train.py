"""Training on simulated ECGs: what a run directory holds and whether it can be believed."""

import ast
import json
import logging
import re
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
import yaml
from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score

from ecgcls.config import check_arguments
from ecgcls.data.module import ECGDataModule
from ecgcls.data.synthetic import write_synthetic
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.evaluation.label_noise import score_readings
from ecgcls.jobs.build import build_job
from ecgcls.jobs.logs import hold_log
from ecgcls.jobs.rescore import rescore
from ecgcls.jobs.results import nest
from ecgcls.jobs.score_table import format_table, tabulate
from ecgcls.jobs.train import train
from ecgcls.run import run as run_command
from ecgcls.runs.configuration import read_single
from ecgcls.runs.directory import RunDirectory
from ecgcls.training.standardizer import Standardizer
from tests.in_process import configure, fit, train_in

EPOCHS = 3


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "simulated"
    write_synthetic(root, n_records=80, seed=1, sampling_rate_hz=100, show_progress=False)
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_root):
    """A finished run, and how often its net was applied to each record, by ecg_id."""
    logging.getLogger("ecgcls").setLevel(logging.INFO)
    counts = Counter()
    forward = Standardizer.forward

    def count(standardizer, signal_mv):
        counts.update(signal.tobytes() for signal in signal_mv.numpy())
        return forward(standardizer, signal_mv)

    run = RunDirectory(tmp_path_factory.mktemp("run") / "fold_0")
    with pytest.MonkeyPatch.context() as patched, hold_log() as early:
        patched.setattr(Standardizer, "forward", count)
        job = build_job(configure(data_root), run, model="cnn1d")
        train(job, early)
    store, ecg_ids = job.data.store, job.data.cohort.records.index
    signals = store.read_mv(store.find_rows(ecg_ids))
    by_record = {ecg_id: counts[signal.tobytes()] for ecg_id, signal in zip(ecg_ids, signals, strict=True)}
    assert sum(by_record.values()) == counts.total()  # no other signal was seen
    return run, by_record


@pytest.fixture(scope="module")
def run(trained):
    return trained[0]


@pytest.fixture
def copy(run, tmp_path):
    """The finished run, to be changed."""
    shutil.copytree(run.path, tmp_path / "fold_0")
    return RunDirectory(tmp_path / "fold_0")


def test_a_run_directory_holds_what_the_contract_says(run):
    files = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert {
        ".hydra/config.yaml",
        "best.ckpt",
        "last.ckpt",
        "predictions.csv",
        "predictions_uncalibrated.csv",
        "groups.csv",
        "likelihoods.csv",
        "label_noise.csv",
        "metrics.json",
        "metrics_by_class.csv",
        "intervals.csv",
        "subgroups.csv",
        "calibration.csv",
        "calibration_curves.csv",
        "decision_curves.csv",
        "reliability.csv",
        "history.csv",
        "run.json",
        "run.log",
        "waveforms/train.npz",
        "waveforms/val.npz",
        "waveforms/test.npz",
        "waveforms/unlabeled.npz",
        "figures/training_curves.png",
        "figures/pr_curves.png",
        "figures/roc_curves.png",
        "figures/confusion_matrices.png",
        "figures/reliability_curves.png",
        "figures/decision_curves.png",
        "figures/calibration.png",
    } <= files
    assert not [name for name in files if name.endswith(".tmp")]


def test_the_headline_under_stricter_labels_is_kept_and_scored_again_without_the_data(run, data_root):
    database = pd.read_csv(data_root / "ptbxl_database.csv", index_col="ecg_id")
    predictions, metrics = run.read_predictions("test"), run.read_metrics()["test"]
    codes = [ast.literal_eval(text) for text in database.loc[predictions.ecg_id, "scp_codes"]]
    column = predictions.class_names.index("NORM")
    norm = np.array([of_record.get("NORM", -1.0) for of_record in codes])
    assert ((norm >= 0) == (predictions.y_true[:, column] == 1)).all()
    read = metrics["label_noise"]["100"]
    assert read["NORM"]["n_left_out"] == ((norm > 0) & (norm < 100)).sum() > 0
    kept = (norm < 0) | (norm == 100)
    expected = roc_auc_score(norm[kept] > 0, predictions.y_prob[kept, column])
    assert read["NORM"]["roc_auc"] == pytest.approx(expected)
    assert metrics["label_noise"]["0"]["overall"]["pr_auc"] == metrics["overall"]["pr_auc"]
    again = rescore(read_single(run), split="test", overrides={})
    assert nest(score_readings(again.predictions, again.likelihoods)) == metrics["label_noise"]
    assert "at least 100 alone: PR-AUC" in format_table(tabulate(run.path, "test"))


def test_the_net_sees_each_test_record_once(trained):
    run, n_passes = trained
    predictions = run.read_predictions()
    part = dict(zip(predictions.ecg_id, predictions.split, strict=True))
    expected = {"val": EPOCHS + 1, "test": 1}
    assert n_passes == {ecg_id: expected[part[ecg_id]] if ecg_id in part else EPOCHS for ecg_id in n_passes}
    assert Counter(n_passes.values()) == {
        expected.get(name, EPOCHS): counts["n_records"] for name, counts in run.read_info().data["parts"].items()
    }


def test_predictions_cover_validation_and_test_once_with_the_true_labels(run, data_root):
    table = pd.read_csv(run.path / "predictions.csv")
    database = pd.read_csv(data_root / "ptbxl_database.csv", index_col="ecg_id")
    statements = pd.read_csv(data_root / "scp_statements.csv", index_col=0)
    superclass = statements.loc[statements["diagnostic"] == 1, "diagnostic_class"].to_dict()
    for ecg_id, codes in database["scp_codes"].items():
        classes = {superclass[code] for code in eval(codes) if code in superclass}
        fold = database.loc[ecg_id, "strat_fold"]
        expected = {1: "test", 2: "test", 3: "val"}.get(fold) if classes else None
        rows = table[table["ecg_id"] == ecg_id]
        assert rows["split"].tolist() == ([expected] if expected else [])
        if expected:
            assert {c for c in ("NORM", "MI", "STTC", "CD", "HYP") if rows.iloc[0][f"y_true_{c}"]} == classes
            assert rows.iloc[0]["patient_id"] == database.loc[ecg_id, "patient_id"]


def test_metrics_are_those_of_the_predictions_file(run):
    table = pd.read_csv(run.path / "predictions.csv")
    metrics = json.loads((run.path / "metrics.json").read_text())
    for split in ("val", "test"):
        part = table[table["split"] == split]
        y_true = part.filter(like="y_true_").to_numpy()
        y_prob, y_pred = (part.filter(like=name).to_numpy() for name in ("y_prob_", "y_pred_"))
        overall = metrics[split]["overall"]
        assert overall["pr_auc"] == pytest.approx(average_precision_score(y_true, y_prob), abs=1e-9)
        assert overall["roc_auc"] == pytest.approx(roc_auc_score(y_true, y_prob), abs=1e-9)
        assert overall["f1_macro"] == pytest.approx(
            f1_score(y_true, y_pred, average="macro", zero_division=0), abs=1e-9
        )
        assert overall["f1_micro"] == pytest.approx(f1_score(y_true, y_pred, average="micro"), abs=1e-9)
        assert overall["log_loss"] == pytest.approx(
            np.mean([log_loss(y_true[:, c], y_prob[:, c]) for c in range(5)]), abs=1e-6
        )


def test_the_logged_validation_metrics_are_those_of_the_best_epoch(run):
    best_epoch = run.read_info().best_epoch
    history = pd.read_csv(run.path / "history.csv").set_index("epoch")
    assert history["val/pr_auc"].idxmax() == best_epoch
    overall = run.read_metrics()["val"]["overall"]
    for metric in ("pr_auc", "roc_auc", "loss"):  # what recalibration does not change, or what is measured before it
        assert history.loc[best_epoch, f"val/{metric}"] == pytest.approx(overall[metric], abs=1e-5)
    uncalibrated = run.read_predictions("val", is_calibrated=False)
    for average in ("macro", "micro"):
        expected = f1_score(uncalibrated.y_true, uncalibrated.y_prob >= 0.5, average=average)
        assert history.loc[best_epoch, f"val/f1_{average}"] == pytest.approx(expected, abs=1e-5)


def test_decisions_are_learned_on_validation_and_travel_with_the_run(run):
    info, uncalibrated = run.read_info(), run.read_predictions(is_calibrated=False)
    assert info.read_decisions().records_sha256 == info.hash_part("val")
    again = learn_decisions(uncalibrated.select("val"), pos_weight=info.pos_weight)
    assert again.thresholds == info.thresholds
    stored = run.read_predictions()
    np.testing.assert_allclose(stored.y_prob, again.apply(uncalibrated).y_prob, atol=1e-12)
    np.testing.assert_array_equal(stored.y_pred, again.apply(uncalibrated).y_pred)
    assert info.leakage["standardizer"]["sha256"] == info.standardized_on
    assert info.leakage["standardizer"]["records_sha256"] == info.hash_part("train")
    assert info.leakage["waveforms"]["in_two_parts"] == info.leakage["patients"]["in_two_parts"] == 0
    with pytest.raises(DataError, match=r"leak: decisions are learned on the validation .* alone, ecg_id"):
        learn_decisions(uncalibrated)


def test_decisions_learned_elsewhere_are_found_out(copy):
    tested = copy.read_predictions("test", is_calibrated=False)
    leaked = learn_decisions(replace(tested, split=np.full(len(tested), "val")))
    planted = replace(copy.read_info(), decisions=leaked.to_dict(), thresholds=dict(leaked.thresholds))
    copy.write_info(planted)
    with pytest.raises(DataError, match="leak: calibrator and thresholds were learned on other records"):
        rescore(read_single(copy), split="test", overrides={})


def test_a_run_of_an_earlier_version_gets_its_waveforms_without_training(copy, data_root):
    def read_listed():
        return json.loads((copy.path / "manifest.json").read_text())["sha256"]

    seen, listed, checkpoint = copy.read_seen(), read_listed(), copy.best_checkpoint.stat().st_mtime_ns
    shutil.rmtree(copy.path / "waveforms")
    copy.seal()
    assert not copy.has_seen and len(read_listed()) == len(listed) - 4
    train_in(copy.path, configure(data_root))
    again = copy.read_seen()
    assert {part: each.ecg_ids.tolist() for part, each in again.groups.items()} == {
        part: each.ecg_ids.tolist() for part, each in seen.groups.items()
    }
    assert read_listed() == listed and copy.best_checkpoint.stat().st_mtime_ns == checkpoint
    info = copy.read_info()
    for part in ("train", "val", "test"):
        assert len(again.groups[part].ecg_ids) == info.data["parts"][part]["n_records"]


def test_a_standardizer_fitted_on_all_records_is_found_out(data_root, tmp_path, monkeypatch):
    everyone = property(lambda data: data.fit_standardization(np.arange(len(data.cohort.records))))
    monkeypatch.setattr(ECGDataModule, "standardization", everyone)
    with pytest.raises(DataError, match="leak: the standardizer was fitted on other records"):
        fit(tmp_path / "fold_0", data_root, "trainer.max_epochs=1")


def test_the_checkpoint_opens_without_this_package_and_carries_its_preprocessing(run, data_root):
    checkpoint = torch.load(run.best_checkpoint, weights_only=True)
    state = checkpoint["state_dict"]
    assert checkpoint["ecgcls_class_names"] == ["NORM", "MI", "STTC", "CD", "HYP"]
    database = pd.read_csv(data_root / "ptbxl_database.csv", index_col="ecg_id")
    in_training = database["strat_fold"].between(4, 10)
    labels = run.read_info().data["parts"]["train"]
    weight = [
        (labels["n_records"] - labels["n_positive"][c]) / labels["n_positive"][c]
        for c in checkpoint["ecgcls_class_names"]
    ]
    assert in_training.sum() >= labels["n_records"]
    np.testing.assert_allclose(state["loss.pos_weight"].numpy(), np.minimum(weight, 20), rtol=1e-6)
    assert state["standardizer.sd_mv"].shape == (12, 1)


def test_run_json_records_where_the_result_comes_from(run):
    info = run.read_info()
    assert info.is_finished
    assert info.error is None
    assert info.kind == "net"
    assert info.n_parameters == 46_757
    assert info.n_epochs == EPOCHS
    assert set(info.stages_s) == {"data", "fit", "test", "score"}
    assert info.versions["torch"] == torch.__version__
    assert set(info.data["fingerprint"]) == {"signals", "ptbxl_database.csv", "scp_statements.csv"}
    assert info.data["n_records"] + info.data["n_without_label"] == 80
    assert sum(part["n_records"] for part in info.data["parts"].values()) == info.data["n_records"]
    assert info.evaluation.intervals.n_resamples == 50


def test_the_log_of_the_time_before_the_folder_is_kept(run):
    n_without_label = run.read_info().data["n_without_label"]
    assert n_without_label > 0  # otherwise nothing would have been logged of them
    before, _, after = (run.path / "run.log").read_text().partition(f"Left out {n_without_label} records without")
    assert after, before
    assert "Reading 80 records" in before  # the signals, also before the folder is made
    assert re.search(r"Intervals \(score, 50 resamples\)", after)


def test_the_saved_configuration_is_resolved_and_trains_the_same_run_again(run, tmp_path):
    text = (run.path / ".hydra" / "config.yaml").read_text()
    assert "${" not in text
    saved = check_arguments(run_command, yaml.safe_load(text))
    again = train_in(tmp_path / "fold_0", saved)
    assert (again.path / "predictions.csv").read_bytes() == (run.path / "predictions.csv").read_bytes()
    assert (again.path / "history.csv").read_bytes() == (run.path / "history.csv").read_bytes()


@pytest.mark.slow
def test_a_run_stopped_between_epochs_ends_as_an_uninterrupted_one(data_root, tmp_path):
    settings = ("scheduler=cosine", "callbacks=early_stopping")
    whole = fit(tmp_path / "whole", data_root, *settings)
    with pytest.raises(Stopped):
        fit(tmp_path / "stopped", data_root, *settings, f"+callbacks.stop={{_target_: {__name__}.StopInSecondEpoch}}")
    stopped = RunDirectory(tmp_path / "stopped")
    assert stopped.read_info().status == "failed"
    stopped.write_config((whole.path / ".hydra" / "config.yaml").read_text())
    fit(stopped.path, data_root, *settings)
    for name in ("predictions.csv", "history.csv"):
        assert (stopped.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert stopped.read_info().n_starts == 2
    assert stopped.read_info().tracking_id != whole.read_info().tracking_id


class Stopped(Exception):
    pass


class StopInSecondEpoch(pl.Callback):
    """Stops as a fault would, in the second epoch's second batch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 1:
            raise Stopped


@pytest.mark.slow
def test_early_stopping_stops(data_root, tmp_path):
    run = fit(
        tmp_path / "fold_0",
        data_root,
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "optimizer.lr=1e-12",
        "trainer.max_epochs=8",
    )
    assert run.read_info().n_epochs < 8


def test_overwrite_retrains_and_leaves_nothing_of_the_previous_run(run, copy, data_root):
    (copy.path / "figures" / "left_over.png").touch()
    fit(copy.path, data_root, "seed=1", "overwrite=true", "trainer.max_epochs=1")
    assert not (copy.path / "figures" / "left_over.png").exists()
    info = copy.read_info()
    assert (info.seed, info.n_epochs, info.n_starts) == (1, 1, 1)
    assert info.tracking_id != run.read_info().tracking_id
    epochs, before = copy.read_history(), run.read_history()
    assert epochs.loc[0, "val/loss"] != before.loc[0, "val/loss"]  # another seed gives another net


def test_another_configuration_in_the_same_folder_is_refused(run, data_root):
    before = (run.path / "predictions.csv").read_bytes()
    with pytest.raises(ConfigError, match=r"another configuration \(optimizer\.lr: 0\.001 there, 0\.1 requested\)"):
        fit(run.path, data_root, "optimizer.lr=0.1")
    assert (run.path / "predictions.csv").read_bytes() == before


def test_a_run_is_not_resumed_with_other_data(copy, data_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data_root, root, ignore=shutil.ignore_patterns(".ecgcls"))
    database = pd.read_csv(root / "ptbxl_database.csv")
    database.iloc[:-1].to_csv(root / "ptbxl_database.csv", index=False)
    copy.write_info(replace(copy.read_info(), status="running"))
    with pytest.raises(ConfigError, match=r"trained on other data \(.*ptbxl_database\.csv.* differ\): retrain with"):
        fit(copy.path, root)


def test_diverged_training_is_an_error_not_a_result(data_root, tmp_path):
    with pytest.raises(DataError, match=r"training diverged; try a smaller optimizer\.lr"):
        fit(tmp_path / "fold_0", data_root, "optimizer.lr=1e30", "model.dropout=0.0", "trainer.max_epochs=1")
    run = RunDirectory(tmp_path / "fold_0")
    info = run.read_info()
    assert info.status == "failed"
    assert "diverged" in info.error
    assert not (run.path / "predictions.csv").exists()
