"""In which order, and from which sample on, a net sees the training records."""

from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ecgcls.data.batches import PartDataset
from ecgcls.data.store import SignalStore
from tests.data.modules import make, record_order


def find_starts(data, epoch, processes=(0,)) -> dict[int, int]:
    """The first sample of each training record's window, found by comparing it with the whole record."""
    found = {}
    for rank in processes:
        data.trainer = SimpleNamespace(global_rank=rank, world_size=len(processes))
        loader = data.train_dataloader()
        loader.batch_sampler.sampler.set_epoch(epoch)
        for batch in loader:
            found |= dict(read_starts(data, zip(batch["record"].tolist(), batch["signal"], strict=True)))
    data.trainer = None
    return found


def read_starts(data, windows) -> list[tuple[int, int]]:
    in_store = data.store.find_rows(data.cohort.records.index)
    found = []
    for record, window in windows:
        whole = torch.from_numpy(data.store.read_mv(in_store[[record]]))[0]
        (start,) = (whole[0].unfold(0, window.shape[1], 1) == window[0]).all(dim=1).nonzero().flatten().tolist()
        assert torch.equal(whole[:, start : start + window.shape[1]], window)
        found.append((record, start))
    return found


class Probe(pl.LightningModule):
    """Records which ECGs it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []
        self.signals: list[torch.Tensor] = []

    def on_train_epoch_start(self) -> None:
        self.seen.append([])

    def training_step(self, batch):
        self.signals.append(batch["signal"])
        self.seen[-1].extend(batch["record"].tolist())
        return self.weight * batch["signal"].mean()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_trainer(folder, *, max_epochs) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=folder,
    )


def test_a_trainer_gives_each_epoch_its_own_order_and_windows_also_where_it_goes_on(synthetic_root, tmp_path):
    data, probe, resumed = make(synthetic_root, tmp_path, window_s=2.5), Probe(), Probe()
    trainer = make_trainer(tmp_path, max_epochs=2)
    trainer.fit(probe, datamodule=data)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    again = make(synthetic_root, tmp_path, window_s=2.5)
    make_trainer(tmp_path, max_epochs=3).fit(resumed, datamodule=again, ckpt_path=tmp_path / "two.ckpt")
    assert probe.seen + resumed.seen == [record_order(data.train_dataloader(), epoch) for epoch in range(3)]
    signals = torch.cat(probe.signals + resumed.signals).split(len(probe.seen[0]))
    for epoch, order in enumerate(probe.seen + resumed.seen):
        assert dict(read_starts(data, zip(order, signals[epoch], strict=True))) == find_starts(data, epoch)


def test_a_window_follows_from_seed_epoch_and_record_alone(synthetic_root, tmp_path):
    data = make(synthetic_root, tmp_path, window_s=2.5, batch_size=7)
    starts = find_starts(data, 1)
    assert sorted(starts) == data.cohort.find_part("train").tolist()
    others = make(synthetic_root, tmp_path, window_s=2.5, batch_size=16)
    assert find_starts(others, 1, processes=(0, 1)) == starts
    seed = make(synthetic_root, tmp_path, window_s=2.5, seed=1)
    for other in (find_starts(data, 0), find_starts(data, 2), find_starts(seed, 1), find_starts(seed, 0)):
        assert sum(other[record] == start for record, start in starts.items()) < 0.1 * len(starts)
    assert next(iter(data.val_dataloader()))["signal"].shape[2] == 1000


def test_each_start_is_as_likely_as_any_other():
    signals_uv = np.broadcast_to(np.arange(20, dtype=np.int16), (4000, 2, 20))
    store = SignalStore(signals_uv, *[None] * 7)
    rows = np.arange(4000)
    dataset = PartDataset(store, rows, np.ones((4000, 1), np.int8), rows, None, n_window_samples=8, seed=0)
    window = (1000 * dataset.__getitems__([*rows])["signal"]).round()
    start = window[:, 0, 0]
    assert torch.equal(window, (start[:, None, None] + torch.arange(8)).expand(-1, 2, -1))
    assert np.bincount(start.int().numpy()) == pytest.approx(np.full(13, 4000 / 13), abs=75)  # over four SD
