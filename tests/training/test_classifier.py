import functools

import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import average_precision_score, log_loss
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MultilabelAccuracy

from ecgcls.errors import ConfigError, DataError
from ecgcls.models.cnn1d import CNN1D
from ecgcls.training.classifier import ECGClassifier
from ecgcls.training.losses import BCE, WeightedBCE
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


def test_predictions_are_exact_whatever_the_precision_of_the_training(classifier):
    signal_mv = torch.randn(3, 12, 100)
    with torch.no_grad():
        exact = classifier.eval()(signal_mv)
        with torch.autocast("cpu", torch.bfloat16):  # as Lightning asks for predictions
            found = classifier.predict_step({"record": torch.arange(3), "signal": signal_mv}, 0)["logits"]
            assert not torch.equal(classifier(signal_mv).float(), exact)
    assert torch.equal(found, exact)


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


def train(folder, net, batches, *, validation=None, loss=None, metrics=None, **changed):
    """Train a net of two leads, three samples and two classes on batches; return its classifier and the trainer."""
    classifier = ECGClassifier(
        net,
        class_names=("A", "B"),
        mean_mv=torch.zeros(2),
        sd_mv=torch.ones(2),
        standardized_on="0" * 64,
        loss=loss or BCE(torch.ones(2)),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
        scheduler=Schedule(functools.partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)),
        metrics=metrics or {"pr_auc": MacroAveragePrecision(num_labels=2)},
    )
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, **changed,
    )  # fmt: skip
    loaders = [DataLoader(each, batch_size=None) for each in (batches, validation or batches)]
    trainer.fit(classifier, *loaders)
    return classifier, trainer


def make_batches(*, unknown=None):
    torch.manual_seed(0)
    signal, target = torch.randn(10, 2, 3), (torch.rand(10, 2) < 0.4).float()
    if unknown is not None:
        target[3:7, 1] = unknown
    return [{"signal": signal[rows], "target": target[rows]} for rows in (slice(0, 4), slice(4, 8), slice(8, 10))]


class Diverging(nn.Module):
    """Returns what is not finite from its n-th call on, in training or in validation."""

    def __init__(self, n_sound, *, in_training):
        super().__init__()
        self.layer, self.n_left, self.in_training = nn.Linear(6, 2), n_sound, in_training

    def forward(self, signal):
        logits = self.layer(signal.flatten(1))
        if self.training == self.in_training:
            self.n_left -= 1
        return logits * float("inf") if self.n_left < 0 else logits


@pytest.mark.parametrize(
    ("n_sound", "in_training", "match"),
    [
        (4, True, "^epoch 2, batch 2: the training loss is nan: training diverged; try a smaller optimizer.lr, or "),
        (2, False, "^epoch 1, validation batch 3: the net's logits are not finite: training diverged"),
    ],
)
def test_what_is_not_finite_ends_the_training(tmp_path, n_sound, in_training, match):
    with pytest.raises(DataError, match=match):
        train(tmp_path, Diverging(n_sound, in_training=in_training), make_batches(), num_sanity_val_steps=0)


@pytest.mark.parametrize("unknown", [-1.0, float("nan")])
def test_unknown_targets_take_no_part_and_are_counted(tmp_path, caplog, unknown):
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    batches = make_batches(unknown=unknown)
    classifier, trainer = train(tmp_path, net, batches)
    signal, target = (torch.cat([batch[key] for batch in batches]) for key in ("signal", "target"))
    known = target >= 0
    assert known.sum() == 16
    logits = classifier(signal).detach()
    expected = log_loss(target[known].numpy(), logits.sigmoid()[known].numpy())
    for key in ("train/loss", "val/loss"):
        assert trainer.callback_metrics[key].item() == pytest.approx(expected, rel=1e-5)
    of_class = [average_precision_score(target[rows, c], logits[rows, c]) for c, rows in enumerate(known.T)]
    assert trainer.callback_metrics["val/pr_auc"].item() == pytest.approx(sum(of_class) / 2, rel=1e-5)
    assert caplog.text.count("4 targets of the training part are not annotated") == 1


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"loss": nn.BCEWithLogitsLoss()}, "loss: BCEWithLogitsLoss does not say that it leaves out targets"),
        ({"metrics": {"own": MultilabelAccuracy(2)}}, r"metrics\.own: .*set metrics\.own\.ignore_index=-1"),
    ],
)
def test_what_would_take_unknown_targets_for_negatives_is_refused(tmp_path, changed, match):
    with pytest.raises(ConfigError, match=match):
        train(tmp_path, nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), make_batches(unknown=-1.0), **changed)


def test_validation_ranks_logits_whose_probabilities_tie(tmp_path, caplog):
    layer = nn.Linear(6, 2)
    torch.nn.init.constant_(layer.bias, 40.0)
    classifier, trainer = train(tmp_path, nn.Sequential(nn.Flatten(), layer), batches := make_batches())
    signal, target = (torch.cat([batch[key] for batch in batches]) for key in ("signal", "target"))
    logits = classifier(signal).detach()
    assert (logits.sigmoid() == 1).all()
    expected = average_precision_score(target, logits, average="macro")
    assert trainer.callback_metrics["val/pr_auc"].item() == pytest.approx(expected, rel=1e-5)
    assert "seems to be probabilities" not in caplog.text


def test_a_net_that_returns_probabilities_is_told(tmp_path, caplog):
    train(tmp_path, nn.Sequential(nn.Flatten(), nn.Linear(6, 2), nn.Sigmoid()), make_batches())
    assert caplog.text.count("what the net returns seems to be probabilities") == 1


def test_the_losses_of_an_epoch_are_means_over_its_records(tmp_path):
    batches = make_batches()
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    classifier, trainer = train(tmp_path, net, batches, validation=batches[:2], loss=nn.BCEWithLogitsLoss())
    signal, target = (torch.cat([batch[key] for batch in batches]) for key in ("signal", "target"))
    y_prob = classifier(signal).sigmoid().detach().numpy().ravel()
    expected = log_loss(target.numpy().ravel(), y_prob)  # each batch weighs as many records as it has
    expected_val = log_loss(target[:8].numpy().ravel(), y_prob[:16])
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(expected, rel=1e-5)
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(expected_val, rel=1e-5)
