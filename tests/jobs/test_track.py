"""Trackers are asked, by their own packages, what a run has told them."""

import json
import sqlite3

import pytest
from omegaconf import OmegaConf

from ecgcls.errors import ConfigError
from ecgcls.jobs.track import check_installed
from tests.commands import QUICK, succeed


@pytest.fixture(scope="module")
def tracked(work):
    """Train with a logger, once anew and once going on from an interruption after the first epoch."""

    def train(name, **environment):
        arguments = (f"experiment={name}", f"logger={name}", *QUICK, "trainer.enable_progress_bar=false")
        run = work / succeed(work, *arguments, environment=environment).stdout.strip().splitlines()[-1]
        info = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(info | {"status": "interrupted"}))
        succeed(work, *arguments, environment=environment)
        assert json.loads((run / "run.json").read_text())["n_starts"] == 2
        return run

    return train


@pytest.mark.slow
def test_tensorboard_is_told_metrics_figures_and_configuration(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tracked("tensorboard")
    assert run.parent.name == "data=synthetic,data.n_records=60,trainer.accelerator=cpu,trainer.max_epochs=1"
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    metrics = json.loads((run / "metrics.json").read_text())
    (*_, last) = events.Scalars("scored/test/pr_auc")
    assert last.value == pytest.approx(metrics["test"]["overall"]["pr_auc"])
    assert "val/pr_auc" in events.Tags()["scalars"]
    assert "figures/training_curves" in events.Tags()["images"]
    hyperparameters = OmegaConf.load(run / "tensorboard" / "hparams.yaml")
    assert hyperparameters["optimizer.lr"] == 1e-3
    assert hyperparameters["run_dir"].endswith("fold_0")


@pytest.mark.slow
def test_mlflow_keeps_one_run_for_one_run(tracked, work):
    run = tracked("mlflow")
    database = sqlite3.connect(work / "outputs" / "mlflow.db")
    # Other tests use the database too.
    own = "from runs join experiments using (experiment_id) where experiments.name = 'mlflow'"
    ((run_id, status),) = database.execute(f"select run_uuid, status {own}").fetchall()
    assert status == "FINISHED"
    parameters = dict(database.execute("select key, value from params where run_uuid = ?", [run_id]))
    assert parameters["data.batch_size"] == "16"
    assert work / parameters["run_dir"] == run
    told = "select value from latest_metrics where key = 'scored/test/roc_auc' and run_uuid = ?"
    ((value,),) = database.execute(told, [run_id]).fetchall()
    assert value == pytest.approx(json.loads((run / "metrics.json").read_text())["test"]["overall"]["roc_auc"])
    figures = {path.name for path in (work / "outputs" / "mlflow_artifacts" / run_id).rglob("*.png")}
    assert figures == {path.name for path in (run / "figures").glob("*.png")}


@pytest.mark.slow
def test_wandb_works_without_a_network(tracked):
    run = tracked("wandb", WANDB_MODE="offline")
    records = sorted(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(records) == 2
    assert len({path.name for path in records}) == 1  # the same run there, going on
    assert b"scored/test/pr_auc" in records[0].read_bytes()
    logged = {path.name.rsplit("_", 2)[0] for path in run.glob("wandb/*/files/media/images/**/*.png")}
    assert logged == {path.stem for path in (run / "figures").glob("*.png")}


def test_an_absent_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("ecgcls.jobs.track.find_spec", lambda name: None)
    config = OmegaConf.create({"logger": {"wandb": {"_target_": "pytorch_lightning.loggers.WandbLogger"}}})
    with pytest.raises(ConfigError, match=r"logger=wandb: wandb is not installed; pip install 'ecgcls\[wandb\]'"):
        check_installed(config)
