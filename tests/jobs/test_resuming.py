"""Trainings that were stopped: with which epoch they go on, and what of them can be scored."""

import contextlib
import functools
import json
import logging
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.build import build_job
from ecgcls.jobs.unfinished import score_unfinished
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import choose_unfinished
from ecgcls.training.fitters import NetFitter
from tests.in_process import configure, fit

SETTINGS = (
    "data.batch_size=13",  # of 40 records: the last one joins the third batch
    "model.width=4",
    "evaluation.intervals.n_resamples=2",
    "evaluation.subgroups.n_resamples=2",
)


class Stopped(Exception):
    pass


class StopInThirdEpoch(pl.Callback):
    """Stops as a fault would, in the third epoch's second batch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (2, 1):
            raise Stopped


def stop(folder, root, *settings):
    """Stop a run in its third epoch, and have it go on as one that was not told to."""
    with pytest.raises(Stopped):
        fit(folder, root, *SETTINGS, *settings, f"+callbacks.stop={{_target_: {__name__}.StopInThirdEpoch}}")
    stopped = RunDirectory(folder)
    text = (folder / ".hydra" / "config.yaml").read_text()
    stopped.write_config(text.replace(f"  stop:\n    _target_: {__name__}.StopInThirdEpoch\n", ""))
    return stopped


@pytest.mark.parametrize(
    "schedule",
    [
        ("scheduler=onecycle", "model.metadata=[age,sex]", "augment=lead_dropout"),
        ("scheduler=plateau", "scheduler.patience=0", "scheduler.mode=min", "optimizer.lr=0.05", "callbacks=ema"),
    ],
)
def test_a_schedule_and_the_best_epoch_go_on_where_they_were_in_a_folder_that_was_moved(
    synthetic_root, tmp_path, schedule
):
    config = configure(synthetic_root, *SETTINGS, *schedule, "trainer.max_epochs=4")
    histories, rates = {}, {}
    for name, is_stopped in (("whole", False), ("stopped", True), ("moved", False)):
        if name == "moved":
            (tmp_path / "stopped").rename(tmp_path / name)
        job = build_job(config, RunDirectory(tmp_path / name), model="cnn1d")
        job.fitter.trainer.callbacks += [StopInThirdEpoch()] * is_stopped
        with pytest.raises(Stopped) if is_stopped else contextlib.nullcontext():
            histories[name] = job.fitter.fit(job.data, tmp_path / name, resume=True)
        rates[name] = _read_rate(tmp_path / name / "last.ckpt")
    pd.testing.assert_frame_equal(histories["moved"], histories["whole"], check_exact=True)
    assert rates["moved"] == rates["whole"] < 0.01  # it has changed: from 1e-2 down the cycle, from 0.05 by a tenth
    moved, whole = (torch.load(tmp_path / name / "best.ckpt", weights_only=True) for name in ("moved", "whole"))
    assert [moved["epoch"], whole["epoch"]] == [histories["whole"]["val/pr_auc"].idxmax()] * 2
    for key in {"state_dict", "current_model_state"} & whole.keys():  # the latter is there where weights are averaged
        assert all(torch.equal(value, moved[key][name]) for name, value in whole[key].items())


def _read_rate(checkpoint):
    return torch.load(checkpoint, weights_only=True)["optimizer_states"][0]["param_groups"][0]["lr"]


@pytest.fixture(scope="module")
def finished(synthetic_root, tmp_path_factory):
    """A run of one epoch."""
    return fit(tmp_path_factory.mktemp("finished") / "fold_0", synthetic_root, *SETTINGS, "trainer.max_epochs=1")


@pytest.fixture
def run(finished, tmp_path):
    """The finished run, to be changed."""
    shutil.copytree(finished.path, tmp_path / "fold_0")
    return RunDirectory(tmp_path / "fold_0")


def test_a_training_that_only_lacks_its_scores_trains_nothing(run, synthetic_root, monkeypatch):
    before = (run.path / "predictions.csv").read_bytes()
    seconds = run.read_info().stages_s["fit"]
    run.write_info(_change(run, status="running"))
    for name in ("predictions.csv", "predictions_uncalibrated.csv", "metrics.json"):
        (run.path / name).unlink()
    with monkeypatch.context() as patched:
        patched.setattr(NetFitter, "fit", None)
        fit(run.path, synthetic_root, *SETTINGS, "trainer.max_epochs=1")
    assert (run.path / "predictions.csv").read_bytes() == before
    assert run.read_info().stages_s["fit"] == seconds


@pytest.mark.parametrize("name", ["last.ckpt", pytest.param("best.ckpt", marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_told_and_the_training_starts_anew(run, synthetic_root, caplog, name):
    before = (run.path / "predictions.csv").read_bytes()
    (run.path / name).write_bytes((run.path / name).read_bytes()[:-2000])
    run.write_info(_change(run, status="running"))
    with caplog.at_level(logging.WARNING):
        fit(run.path, synthetic_root, *SETTINGS, "trainer.max_epochs=1")
    assert f"{name}: damaged" in caplog.text
    assert "the training starts anew" in caplog.text
    assert (run.path / "predictions.csv").read_bytes() == before


def test_a_stopped_run_is_scored_as_it_is_and_marked(synthetic_root, tmp_path):
    stopped = stop(tmp_path / "default" / "cnn1d" / "fold_0", synthetic_root, "trainer.max_epochs=4")
    files = {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}
    place = {"output_dir": tmp_path, "experiment": "default", "model": None, "variant": None, "run_dir": None}
    assert choose_unfinished(**place, fold=0).path == stopped.path
    score = functools.partial(score_unfinished, overrides={}, device="cpu", output_dir=tmp_path)
    scored = {split: score(stopped, split=split) for split in ("val", "test")}
    assert {path: path.read_bytes() for path in files} == files
    best = torch.load(stopped.best_checkpoint, weights_only=True)["epoch"] + 1
    assert scored["test"].title == f"cnn1d, fold 0 (simulated ECGs), test, unfinished: epoch {best} of 4"
    assert scored["test"].source["unfinished"] == {"epoch": best, "n_trained": 2, "n_epochs": 4}
    config = (stopped.path / ".hydra" / "config.yaml").read_text()
    stopped.write_config(config.replace("ecgcls.data.tasks.Task", "pathlib.Path"))
    with pytest.raises(ConfigError, match=r"task\._target_: pathlib\.Path is not built from a saved configuration"):
        score(stopped, split="val")
    stopped.write_config(config.replace("ecgcls.data.ptbxl.PTBXL", "pathlib.Path"))
    with pytest.raises(ConfigError, match=r"data\._target_: pathlib\.Path is not built from a saved configuration"):
        score(stopped, split="val")
    stopped.write_config(config)
    fit(stopped.path, synthetic_root, *SETTINGS, "trainer.max_epochs=4")
    if stopped.read_info().best_epoch + 1 == best:  # then it is what the finished run says
        assert (stopped.read_predictions("test").y_prob == scored["test"].predictions.y_prob).all()
    with pytest.raises(ConfigError, match="this run is finished: leave out unfinished=true"):
        choose_unfinished(**place, fold=0)


def test_a_run_without_a_whole_epoch_has_nothing_to_score(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"status": "interrupted"}))
    place = {"output_dir": tmp_path, "experiment": None, "model": None, "variant": None, "run_dir": tmp_path}
    with pytest.raises(ConfigError, match="no epoch of this run is finished"):
        choose_unfinished(**place, fold=None)
    (tmp_path / "best.ckpt").write_bytes(b"half")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("{}")
    with pytest.raises(DataError, match=r"no whole best\.ckpt to score"):
        score_unfinished(RunDirectory(tmp_path), split="test", overrides={}, device="cpu", output_dir=tmp_path)


def _change(run, **changes):
    return replace(run.read_info(), **changes)
