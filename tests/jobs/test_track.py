"""What a run has logged is read back from each tracker by the tracker's own package."""

import functools
import json
import sqlite3

import pandas as pd
import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from ecgcls.errors import ConfigError
from ecgcls.jobs.build import build_job
from ecgcls.jobs.logs import hold_log
from ecgcls.jobs.track import check_installed
from ecgcls.jobs.train import train
from ecgcls.runs.directory import RunDirectory
from tests.commands import QUICK, succeed
from tests.in_process import configure


@pytest.fixture(scope="module")
def tracked(work):
    """Train with a logger, once from the start and once resumed after an interruption."""

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
def test_tensorboard_shows_metrics_figures_and_configuration(tracked):
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
    hyperparameters = yaml.safe_load((run / "tensorboard" / "hparams.yaml").read_text())
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
    query = "select value from latest_metrics where key = 'scored/test/roc_auc' and run_uuid = ?"
    ((value,),) = database.execute(query, [run_id]).fetchall()
    assert value == pytest.approx(json.loads((run / "metrics.json").read_text())["test"]["overall"]["roc_auc"])
    figures = {path.name for path in (work / "outputs" / "mlflow_artifacts" / run_id).rglob("*.png")}
    assert figures == {path.name for path in (run / "figures").glob("*.png")}


@pytest.mark.slow
def test_wandb_works_without_a_network(tracked):
    run = tracked("wandb", WANDB_MODE="offline")
    records = sorted(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(records) == 2
    assert len({path.name for path in records}) == 1  # the same run there, resumed
    assert b"scored/test/pr_auc" in records[0].read_bytes()
    logged = {path.name.rsplit("_", 2)[0] for path in run.glob("wandb/*/files/media/images/**/*.png")}
    assert logged == {path.stem for path in (run / "figures").glob("*.png")}


def test_an_absent_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("ecgcls.jobs.track.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"logger=wandb: wandb is not installed; pip install 'ecgcls\[wandb\]'"):
        check_installed({"csv": CSVLogger, "wandb": functools.partial(WandbLogger)})


def read_log(run):
    """Return what the default logger has kept: the last value of each metric, and the settings."""
    (folder,) = (run.path / "log").iterdir()
    metrics = pd.read_csv(folder / "metrics.csv").ffill().iloc[-1].dropna()
    return metrics.to_dict(), yaml.safe_load((folder / "hparams.yaml").read_text())


def test_a_run_logs_its_settings_its_epochs_and_its_scores(configuration):
    run = RunDirectory(configuration / "fold_0")
    metrics, settings = read_log(run)
    assert (settings["optimizer.lr"], settings["experiment"], settings["fold"]) == (1e-3, "sweep", 0)
    assert settings["run_dir"].endswith("fold_0")
    epoch = run.read_history().iloc[-1]
    for name in ("train/loss", "val/loss", "val/pr_auc"):
        assert metrics[name] == pytest.approx(epoch[name], rel=1e-6)
    for part, scores in run.read_metrics().items():
        expected = {f"scored/{part}/{name}": value for name, value in scores["overall"].items() if value is not None}
        logged = {name: value for name, value in metrics.items() if name.startswith(f"scored/{part}/")}
        assert logged == pytest.approx(expected)
    assert not [name for name in metrics if name.startswith("test/")]


@pytest.mark.slow
def test_a_trial_of_a_search_logs_no_test_scores(synthetic_root, tmp_path):
    run = RunDirectory(tmp_path / "fold_0")
    with hold_log() as early:
        train(build_job(configure(synthetic_root, "trainer.max_epochs=1"), run, model="cnn1d", is_trial=True), early)
    metrics, _ = read_log(run)
    assert metrics["scored/val/pr_auc"] == pytest.approx(run.read_metrics()["val"]["overall"]["pr_auc"])
    assert not [name for name in metrics if "test" in name]
