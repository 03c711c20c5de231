import signal

import pytest
import pytorch_lightning as pl
import torch

from ecgcls.training.callbacks import OwnSigterm


class Net(pl.LightningModule):
    """One weight; remembers who handles SIGTERM in each step."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.handlers = []

    def training_step(self, batch, batch_idx):
        self.handlers.append(signal.getsignal(signal.SIGTERM))
        return self.layer(batch).sum()

    def predict_step(self, batch, batch_idx):
        self.handlers.append(signal.getsignal(signal.SIGTERM))

    def validation_step(self, batch, batch_idx):
        self.handlers.append(signal.getsignal(signal.SIGTERM))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def handler():
    before = signal.getsignal(signal.SIGTERM)

    def stop(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    yield stop
    signal.signal(signal.SIGTERM, before)


def test_the_commands_own_handler_of_sigterm_is_there_in_every_step(handler, tmp_path):
    net, batches = Net(), torch.utils.data.DataLoader(torch.ones(2, 1))
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[OwnSigterm()], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(net, batches, batches)
    trainer.predict(net, batches)
    assert net.handlers == [handler] * 8  # two steps each before training, in training, in validation and predicting
    assert signal.getsignal(signal.SIGTERM) is handler
