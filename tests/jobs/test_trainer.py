"""Settings of the trainer and of callbacks: what is refused before anything is trained, and what has an effect."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ecgcls.data.cohort import select_cohort
from ecgcls.errors import ConfigError
from ecgcls.jobs.trainer import build_trainer
from tests.in_process import configure, fit

REFUSED = {
    "+trainer.fast_dev_run=true": r"trainer\.fast_dev_run=True: it keeps no epoch that could be tested",
    "+trainer.max_steps=5": r"trainer\.max_steps=5: a run trains and keeps whole epochs; set trainer\.max_epochs",
    "trainer.max_epochs=0": r"trainer\.max_epochs must be at least 1, got 0",
    "trainer.max_epochs=-1": r"trainer\.max_epochs must be at least 1, got -1; .* callbacks=early_stopping",
    "+trainer.limit_predict_batches=1": r"trainer\.limit_predict_batches=1: a run predicts every record",
    "+trainer.limit_val_batches=0": r"trainer\.limit_val_batches must be more than 0, got 0",
    "+trainer.limit_train_batches=0": r"trainer\.limit_train_batches must be more than 0, got 0",
    "+trainer.overfit_batches=2": r"trainer\.overfit_batches=2: it would validate on training records",
    "+trainer.val_check_interval=0.5": r"trainer\.val_check_interval=0\.5: a run trains and keeps whole epochs",
    "+trainer.check_val_every_n_epoch=4": r"check_val_every_n_epoch must be in 1\.\.3 \(trainer\.max_epochs\), got 4",
    "+trainer.gradient_clip_val=-1": r"trainer\.gradient_clip_val must be more than 0, got -1",
    "+trainer.min_epochs=9000": r"trainer\.min_epochs must be at most \d+ \(trainer\.max_epochs\), got 9000",
    "+trainer.accumulate_grad_batches=0": r"trainer\.accumulate_grad_batches must be more than 0, got 0",
    "+trainer.max_time=soon": r"trainer\.max_time: .*soon",
    "+trainer.profiler=best": r"trainer: .*profiler",
    "trainer.precision=foo": r"trainer\.precision must be .*, got 'foo'",
    "callbacks.checkpoint.mode=foo": r"callbacks\.checkpoint: `mode` can be min, max but got foo",
    "+callbacks.checkpoint.save_top_k=3": r"save_top_k=3: a run keeps one best epoch, best\.ckpt",
    "+callbacks.checkpoint.dirpath=x": r"callbacks\.checkpoint\.dirpath: a run decides this itself",
    "callbacks.checkpoint.monitor=null": r"callbacks\.checkpoint\.monitor: which metric",
    "+callbacks.s={_target_: pytorch_lightning.callbacks.EarlyStopping, _partial_: true}": r"callbacks\.s: .*monitor",
    "+callbacks.x={_target_: pathlib.PurePath}": r"callbacks\.x: expected a pytorch_lightning\.Callback, got Pure",
    "n_threads=0": r"n_threads must be at least 1, got 0",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_would_leave_a_run_without_a_result_is_refused_before_the_data_are_looked_for(tmp_path, override):
    with pytest.raises(ConfigError, match=REFUSED[override]) as refused:
        fit(tmp_path / "fold_0", tmp_path / "nowhere", override)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_values_that_change_nothing_are_no_reason_to_refuse(tmp_path):
    harmless = ("+trainer.fast_dev_run=false", "+trainer.max_steps=-1", "+trainer.limit_predict_batches=1.0")
    config = configure(tmp_path, *harmless, "+trainer.val_check_interval=1.0", "+trainer.overfit_batches=0.0")
    assert build_trainer(config, tmp_path, title="", shows_bar=False).max_epochs == 3


def test_a_partial_callback_is_called(tmp_path):
    node = "{_target_: pytorch_lightning.callbacks.EarlyStopping, _partial_: true, monitor: val/loss}"
    config = configure(tmp_path, f"+callbacks.stop={node}")
    trainer = build_trainer(config, tmp_path, title="", shows_bar=False)
    (stop,) = [callback for callback in trainer.callbacks if isinstance(callback, pl.callbacks.EarlyStopping)]
    assert stop.monitor == "val/loss"


def test_a_setting_that_only_lightning_finds_wrong_leaves_no_folder(synthetic_root, tmp_path):
    (tmp_path / "mine").mkdir()
    rate = "+callbacks.rate={_target_: pytorch_lightning.callbacks.LearningRateMonitor}"
    match = r"training cannot start with these settings: .*LearningRateMonitor"
    for folder in (tmp_path / "outputs" / "e" / "fold_0", tmp_path / "mine"):
        with pytest.raises(ConfigError, match=match) as refused:
            fit(folder, synthetic_root, rate, "logger=none")
        assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


@pytest.mark.slow
def test_a_time_limit_a_profiler_and_validation_now_and_then_have_their_effect(synthetic_root, tmp_path):
    settings = ("trainer.max_epochs=1000", "+trainer.max_time={seconds: 1}", "+trainer.min_epochs=2")
    run = fit(
        tmp_path / "fold_0", synthetic_root, *settings, "+trainer.check_val_every_n_epoch=2", "+trainer.profiler=simple"
    )
    history = run.read_history()
    assert 1 < run.read_info().n_epochs == len(history) < 1000
    assert history["train/loss"].notna().all()  # the last epoch is a whole one
    assert history["val/loss"].isna().tolist() == [epoch % 2 == 0 for epoch in history["epoch"]]
    assert run.read_info().best_epoch == history["val/pr_auc"].idxmax()
    assert "FIT Profiler Report" in (run.path / "fit-profile.txt").read_text()


def test_no_class_to_score_in_validation_is_told_before_training(synthetic_root, tmp_path, monkeypatch):
    def select_without_positives(*given, **more):
        cohort = select_cohort(*given, **more)
        cohort.y_true[cohort.find_part("val")] = False
        return cohort

    monkeypatch.setattr("ecgcls.data.module.select_cohort", select_without_positives)
    with pytest.raises(ConfigError, match=r"monitor: val/pr_auc would be nan in every epoch: no class of the valid"):
        fit(tmp_path / "fold_0", synthetic_root)
    assert not list(tmp_path.iterdir())


def test_classes_that_exclude_each_other_have_probabilities_that_sum_to_one(synthetic_root, tmp_path):
    few = ("evaluation.intervals.n_resamples=2", "evaluation.subgroups.n_resamples=2", "trainer.max_epochs=1")
    run = fit(tmp_path / "fold_0", synthetic_root, "task.exclusive=true", "task.absent_classes=drop", *few)
    predictions = run.read_predictions(is_calibrated=False)
    np.testing.assert_allclose(predictions.y_prob.sum(axis=1), 1, atol=1e-5)
    known = predictions.select("val").y_true.any(axis=1)  # but for records of the class that is left out
    tested, weight = predictions.select("val"), torch.load(run.best_checkpoint)["state_dict"]["loss.class_weight"]
    of_record = tested.y_true[known] @ weight.double().numpy()
    own = (tested.y_true * tested.y_prob).sum(axis=1)[known]
    expected = -(of_record * np.log(own)).sum() / of_record.sum()
    assert run.read_history()["val/loss"].iloc[0] == pytest.approx(expected, rel=1e-5)
