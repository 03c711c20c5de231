import functools

import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import log_loss
from torch import nn
from torch.utils.data import DataLoader

from ecgcls.errors import ConfigError
from ecgcls.models.cnn1d import CNN1D
from ecgcls.training.classifier import ECGClassifier
from ecgcls.training.losses import WeightedBCE
from ecgcls.training.metrics import MacroAveragePrecision
from ecgcls.training.schedules import Schedule


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return ECGClassifier(
        CNN1D(12, 100, 2),
        class_names=("NORM", "MI"),
        mean_mv=torch.linspace(-1, 1, 12),
        sd_mv=torch.linspace(0.1, 2, 12),
        standardized_on="0" * 64,
        loss=WeightedBCE(torch.tensor([1.0, 3.0])),
        optimizer=functools.partial(torch.optim.AdamW, lr=1e-3),
        scheduler=Schedule(functools.partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0, total_iters=0)),
        metrics={"pr_auc": MacroAveragePrecision(num_labels=2)},
    )


def test_forward_takes_raw_millivolt(classifier):
    classifier.eval()
    signal_mv = torch.randn(3, 12, 100)
    by_hand = (signal_mv - torch.linspace(-1, 1, 12)[:, None]) / torch.linspace(0.1, 2, 12)[:, None]
    torch.testing.assert_close(classifier(signal_mv), classifier.net(by_hand))


def test_state_dict_carries_the_preprocessing(classifier):
    state = classifier.state_dict()
    assert {"standardizer.mean_mv", "standardizer.sd_mv", "loss.pos_weight"} <= set(state)


def test_checkpoint_of_another_class_list_is_refused(classifier):
    checkpoint = {}
    classifier.on_save_checkpoint(checkpoint)
    classifier.on_load_checkpoint(checkpoint)
    classifier.class_names = ("MI", "NORM")
    with pytest.raises(ConfigError, match=r"trained for the classes \['NORM', 'MI'\], this run has \['MI', 'NORM'\]"):
        classifier.on_load_checkpoint(checkpoint)


def test_the_losses_of_an_epoch_are_means_over_its_records(tmp_path):
    torch.manual_seed(0)
    signal, target = torch.randn(10, 2, 3), (torch.rand(10, 2) < 0.4).float()
    batches = [{"signal": signal[rows], "target": target[rows]} for rows in (slice(0, 4), slice(4, 8), slice(8, 10))]
    classifier = ECGClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(6, 2)),
        class_names=("A", "B"),
        mean_mv=torch.zeros(2),
        sd_mv=torch.ones(2),
        standardized_on="0" * 64,
        loss=nn.BCEWithLogitsLoss(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
        scheduler=Schedule(functools.partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)),
        metrics={"pr_auc": MacroAveragePrecision(num_labels=2)},
    )
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(classifier, DataLoader(batches, batch_size=None), DataLoader(batches[:2], batch_size=None))
    y_prob = classifier(signal).sigmoid().detach().numpy().ravel()
    expected = log_loss(target.numpy().ravel(), y_prob)  # each batch weighs as many records as it has
    expected_val = log_loss(target[:8].numpy().ravel(), y_prob[:16])
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(expected, rel=1e-5)
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(expected_val, rel=1e-5)
