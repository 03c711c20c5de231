import copy
import functools

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from ecgcls.errors import ConfigError
from ecgcls.jobs.build import build_job
from ecgcls.runs.directory import RunDirectory
from ecgcls.training.averaging import EMA
from ecgcls.training.classifier import ECGClassifier
from ecgcls.training.losses import BCE
from ecgcls.training.metrics import MacroAveragePrecision
from ecgcls.training.schedules import Schedule
from ecgcls.training.standardizer import hash_weights, take_own
from tests.in_process import configure


class Watch(pl.Callback):
    """Keeps the weights after each step, and those that an epoch is validated with."""

    def __init__(self):
        self.after_step, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.after_step.append(copy.deepcopy(pl_module.state_dict()))

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validated.append(copy.deepcopy(pl_module.state_dict()))


def test_each_epoch_is_validated_with_the_average_computed_by_hand(tmp_path):
    torch.manual_seed(0)
    classifier = ECGClassifier(
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6), nn.Linear(6, 2)),
        class_names=("A", "B"),
        mean_mv=torch.tensor([0.1, 0.7]),
        sd_mv=torch.tensor([0.3, 1.7]),
        standardized_on="0" * 64,
        loss=BCE(torch.ones(2)),
        optimizer=functools.partial(torch.optim.SGD, lr=0.5),
        scheduler=Schedule(functools.partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)),
        metrics={"pr_auc": MacroAveragePrecision(num_labels=2)},
    )
    batch = {"signal": torch.randn(8, 2, 3), "target": (torch.rand(8, 2) < 0.5).float(), "record": torch.arange(8)}
    watch = Watch()
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0, callbacks=[EMA(0.25), watch],
    )  # fmt: skip
    trainer.fit(classifier, DataLoader([batch] * 3, batch_size=None), DataLoader([batch], batch_size=None))
    average = watch.after_step[0]
    for t, state in enumerate(watch.after_step[1:], 2):
        decay = {2: 2 / 11, 3: 3 / 12}.get(t, 0.25)  # min(0.25, t / (9 + t))
        average = {key: decay * average[key] + (1 - decay) * state[key] for key in state}
        if t in (3, 6):
            found = watch.validated[t // 3 - 1]
            for key in ("net.1.weight", "net.1.running_mean", "net.1.running_var", "net.2.weight", "net.2.bias"):
                torch.testing.assert_close(found[key], average[key])
                assert not torch.equal(found[key], state[key])
            assert found["net.1.num_batches_tracked"] == t
            for key in ("standardizer.mean_mv", "standardizer.sd_mv", "loss.pos_weight"):
                assert torch.equal(found[key], state[key])
    assert found.keys() == classifier.state_dict().keys()


def test_the_best_epoch_is_kept_and_predicted_with_as_averaged(synthetic_root, tmp_path):
    config = configure(synthetic_root, "callbacks=ema", "model.width=4", "trainer.max_epochs=1")
    job = build_job(config, RunDirectory(tmp_path), model="cnn1d")
    job.fitter.fit(job.data, tmp_path, resume=True)
    job.fitter.predict(job.data, tmp_path)  # Lightning by itself would put the last weights back for it
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    averaged, last = (take_own(best[key]) for key in ("state_dict", "current_model_state"))
    used = take_own(job.fitter.classifier.state_dict())
    assert used.keys() == averaged.keys() == last.keys()
    assert all(torch.equal(used[key], averaged[key]) for key in used)
    assert sum(not torch.equal(last[key], averaged[key]) for key in used) > 10
    assert job.fitter.describe(tmp_path)["fingerprints"]["net"] == hash_weights(averaged)


@pytest.mark.parametrize("decay", [0, 1, 1.5])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ConfigError, match=r"callbacks\.ema\.decay must be above 0 and below 1"):
        EMA(decay)
