"""Training in this process, on simulated ECGs: what a run directory holds and whether it can be believed."""

import json
import logging
import shutil
from dataclasses import replace

import hydra
import numpy as np
import pandas as pd
import pytest
import torch
from ecgcls.fit import train
from ecgcls.rescoring import read_run
from hydra import compose
from omegaconf import OmegaConf
from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score

from ecgcls.config import CONF_DIR
from ecgcls.data.module import ECGDataModule
from ecgcls.data.synthetic import write_synthetic
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.runs.directory import RunDirectory

EPOCHS = 3


def configure(root, *overrides):
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose(
            "config",
            overrides=[
                f"data.root={root}",
                f"trainer.max_epochs={EPOCHS}",
                "trainer.enable_progress_bar=false",
                "trainer.accelerator=cpu",
                *overrides,
            ],
        )


def fit(folder, root, *overrides):
    run = RunDirectory(folder)
    train(configure(root, *overrides), run, model="cnn1d", variant="")
    return run


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "simulated"
    write_synthetic(root, n_records=80, seed=1, sampling_rate_hz=100, show_progress=False)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_root):
    logging.getLogger("ecgcls").setLevel(logging.INFO)
    return fit(tmp_path_factory.mktemp("run") / "fold_0", data_root)


def test_a_run_directory_holds_what_the_contract_says(run):
    files = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert {
        ".hydra/config.yaml",
        "best.ckpt",
        "last.ckpt",
        "predictions.csv",
        "metrics.json",
        "metrics_by_class.csv",
        "history.csv",
        "run.json",
        "run.log",
        "figures/training_curves.png",
        "figures/pr_curves.png",
        "figures/roc_curves.png",
        "figures/confusion_matrices.png",
        "figures/reliability_curves.png",
        "reliability.csv",
    } <= files
    assert not [name for name in files if name.endswith(".tmp")]


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
    best_epoch = run.read_info()["best_epoch"]
    history = pd.read_csv(run.path / "history.csv").set_index("epoch")
    assert history["val/pr_auc"].idxmax() == best_epoch
    overall = run.read_metrics()["val"]["overall"]
    for metric in ("pr_auc", "roc_auc", "loss"):  # what recalibration leaves as it is, or is told of before
        assert history.loc[best_epoch, f"val/{metric}"] == pytest.approx(overall[metric], abs=1e-5)
    said = run.read_uncalibrated().select("val")
    for average in ("macro", "micro"):
        expected = f1_score(said.y_true, said.y_prob >= 0.5, average=average)
        assert history.loc[best_epoch, f"val/f1_{average}"] == pytest.approx(expected, abs=1e-5)


def test_decisions_are_learned_on_validation_and_travel_with_the_run(run):
    info, said = run.read_info(), run.read_uncalibrated()
    decisions = run.read_decisions()
    assert decisions.records_sha256 == info["data"]["parts"]["val"]["records_sha256"]
    again = learn_decisions(said.select("val"), pos_weight=info["pos_weight"])
    assert again.thresholds == info["thresholds"]
    stored = run.read_predictions()
    np.testing.assert_allclose(stored.y_prob, again.apply(said).y_prob, atol=1e-12)
    np.testing.assert_array_equal(stored.y_pred, again.apply(said).y_pred)
    assert info["leakage"]["standardizer"]["records_sha256"] == info["data"]["parts"]["train"]["records_sha256"]
    assert info["leakage"]["waveforms"]["in_two_parts"] == info["leakage"]["patients"]["in_two_parts"] == 0
    with pytest.raises(DataError, match="leak: decisions are learned on the validation set alone, ecg_id"):
        learn_decisions(said)


def test_decisions_learned_elsewhere_are_found_out(run, tmp_path):
    copy = tmp_path / "fold_0"
    shutil.copytree(run.path, copy)
    planted = RunDirectory(copy)
    info = planted.read_info()
    tested = planted.read_uncalibrated().select("test")
    leaked = learn_decisions(replace(tested, split=np.full(len(tested), "val")))
    planted.write_info(info | {"decisions": leaked.to_dict(), "thresholds": dict(leaked.thresholds)})
    with pytest.raises(DataError, match="leak: calibrator and thresholds were learned on other records"):
        read_run(copy, split="test")


def test_a_standardiser_fitted_on_all_records_is_found_out(data_root, tmp_path, monkeypatch):
    everyone = property(lambda data: data.fit_standardization(np.arange(len(data.cohort.records))))
    monkeypatch.setattr(ECGDataModule, "standardization", everyone)
    with pytest.raises(DataError, match="leak: the standardiser was fitted on other records"):
        fit(tmp_path / "fold_0", data_root, "trainer.max_epochs=1")


def test_the_checkpoint_opens_without_this_package_and_carries_its_preprocessing(run, data_root):
    checkpoint = torch.load(run.best_checkpoint, weights_only=True)
    state = checkpoint["state_dict"]
    assert checkpoint["ecgcls_class_names"] == ["NORM", "MI", "STTC", "CD", "HYP"]
    database = pd.read_csv(data_root / "ptbxl_database.csv", index_col="ecg_id")
    in_training = database["strat_fold"].between(4, 10)
    labels = run.read_info()["data"]["parts"]["train"]
    weight = [
        (labels["n_records"] - labels["n_positive"][c]) / labels["n_positive"][c]
        for c in checkpoint["ecgcls_class_names"]
    ]
    assert in_training.sum() >= labels["n_records"]
    np.testing.assert_allclose(state["loss.pos_weight"].numpy(), np.minimum(weight, 20), rtol=1e-6)
    assert state["standardizer.sd_mv"].shape == (12, 1)


def test_run_json_tells_where_the_result_comes_from(run):
    info = json.loads((run.path / "run.json").read_text())
    assert info["status"] == "finished"
    assert info["n_parameters"] == 46_757
    assert info["n_epochs"] == EPOCHS
    assert set(info["stages_s"]) == {"data", "fit", "test", "score"}
    assert info["versions"]["torch"] == torch.__version__
    assert set(info["data"]["fingerprint"]) == {"signals", "ptbxl_database.csv", "scp_statements.csv"}
    assert info["data"]["n_records"] + info["data"]["n_without_label"] == 80
    counts = [part["n_records"] for part in info["data"]["parts"].values()]
    assert sum(counts) == info["data"]["n_records"]


def test_the_saved_configuration_is_resolved_and_trains_the_same_run_again(run, data_root, tmp_path):
    saved = OmegaConf.load(run.path / ".hydra" / "config.yaml")
    assert "${" not in (run.path / ".hydra" / "config.yaml").read_text()
    again = RunDirectory(tmp_path / "fold_0")
    train(saved, again, model="cnn1d", variant="")
    assert (again.path / "predictions.csv").read_bytes() == (run.path / "predictions.csv").read_bytes()
    assert (again.path / "history.csv").read_bytes() == (run.path / "history.csv").read_bytes()


def test_another_seed_gives_other_predictions(run, data_root, tmp_path):
    other = fit(tmp_path / "fold_0", data_root, "seed=1")
    assert (other.path / "predictions.csv").read_bytes() != (run.path / "predictions.csv").read_bytes()


@pytest.mark.parametrize("settings", [("scheduler=cosine",), ("callbacks=early_stopping",)])
def test_a_run_stopped_between_epochs_ends_as_an_uninterrupted_one(data_root, tmp_path, settings):
    whole = fit(tmp_path / "whole", data_root, *settings)
    config = configure(data_root, *settings, f"+callbacks.stop={{_target_: {__name__}.StopAfterFirstEpoch}}")
    stopped = RunDirectory(tmp_path / "stopped")
    with pytest.raises(Stopped):
        train(config, stopped, model="cnn1d", variant="")
    assert stopped.read_info()["status"] == "failed"
    del config.callbacks.stop
    OmegaConf.save(config, stopped.path / ".hydra" / "config.yaml")
    train(config, stopped, model="cnn1d", variant="")
    for name in ("predictions.csv", "history.csv"):
        assert (stopped.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert stopped.read_info()["n_starts"] == 2


def test_early_stopping_stops(data_root, tmp_path):
    run = fit(
        tmp_path / "fold_0",
        data_root,
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "optimizer.lr=1e-12",
        "trainer.max_epochs=8",
    )
    assert run.read_info()["n_epochs"] < 8


def test_overwrite_trains_anew_and_leaves_nothing_of_the_former_run(data_root, tmp_path):
    run = fit(tmp_path / "fold_0", data_root)
    (run.path / "figures" / "left_over.png").touch()
    fit(run.path, data_root, "seed=1", "overwrite=true")
    assert not (run.path / "figures" / "left_over.png").exists()
    assert run.read_info()["seed"] == 1


def test_another_configuration_in_the_same_folder_is_refused(run, data_root):
    before = (run.path / "predictions.csv").read_bytes()
    with pytest.raises(ConfigError, match=r"another configuration \(optimizer\.lr: 0\.001 there, 0\.1 asked\)"):
        fit(run.path, data_root, "optimizer.lr=0.1")
    assert (run.path / "predictions.csv").read_bytes() == before


def test_a_run_does_not_go_on_with_other_data(data_root, tmp_path):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(data_root, root, ignore=shutil.ignore_patterns(".ecgcls"))
    run = fit(tmp_path / "fold_0", root)
    run.write_info(run.read_info() | {"status": "running"})
    database = pd.read_csv(root / "ptbxl_database.csv")
    database.iloc[:-1].to_csv(root / "ptbxl_database.csv", index=False)
    with pytest.raises(ConfigError, match="the data have changed since this run began"):
        fit(run.path, root)


def test_diverged_training_is_an_error_not_a_result(data_root, tmp_path):
    run = RunDirectory(tmp_path / "fold_0")
    config = configure(data_root, "optimizer.lr=1e30", "model.dropout=0.0")
    with pytest.raises(DataError, match=r"training diverged; try a smaller optimizer\.lr"):
        train(config, run, model="cnn1d", variant="")
    info = run.read_info()
    assert info["status"] == "failed"
    assert "diverged" in info["error"]
    assert not (run.path / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("~callbacks.checkpoint", r"callbacks\.checkpoint is missing"),
        ("callbacks.checkpoint.monitor=val/pr_auk", r"trainer: .*val/pr_auk"),
        ("trainer.accelerator=gpu", r"trainer: .*") if not torch.cuda.is_available() else ("seed=0", None),
        ("~metrics.pr_auc", r"trainer: .*val/pr_auc"),
    ],
)
def test_what_only_lightning_finds_wrong_is_a_config_error_too(data_root, tmp_path, override, match):
    config = configure(data_root, override)
    if match is None:
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=match):
        train(config, RunDirectory(tmp_path / "fold_0"), model="cnn1d", variant="")


def test_a_net_that_cannot_be_built_leaves_nothing(data_root, tmp_path):
    config = configure(data_root, "model=cnn2d", "model.image=spectrogram")
    config.model._target_ = f"{__name__}.refuse"
    with pytest.raises(ConfigError, match=r"model: .*refuse cannot be built: needs longer ECGs"):
        train(config, RunDirectory(tmp_path / "fold_0"), model="cnn2d", variant="")
    assert not (tmp_path / "fold_0").exists()


def test_a_failing_data_set_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        fit(tmp_path / "outputs" / "fold_0", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_the_log_of_the_time_before_the_folder_is_kept(run):
    assert "without a label" in (run.path / "run.log").read_text() or run.read_info()["data"]["n_without_label"] == 0


def refuse(n_leads, n_samples, n_classes, **settings):
    raise ValueError("needs longer ECGs")


class Stopped(Exception):
    pass


import pytorch_lightning as pl  # noqa: E402


class StopAfterFirstEpoch(pl.Callback):
    """Stops as a fault would, in the second epoch's second batch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 1:
            raise Stopped
