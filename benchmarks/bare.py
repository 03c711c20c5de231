"""A bare PyTorch loop over tensors in memory: ``python -m benchmarks.bare classic|own N_TRAIN N_VAL``.

``classic`` is cnn1d's layers as one would write them (Conv1d, a plain AdamW); ``own`` is ecgcls's net with the fused
optimizer and freed memory kept, that is, what a run does without a run around it.
"""

import sys

import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from benchmarks.interleave import answer_turns
from ecgcls.models.cnn1d import CNN1D
from ecgcls.training.memory import keep_freed_memory

N_LEADS, N_SAMPLES, N_CLASSES, BATCH_SIZE = 12, 1000, 5, 16


class Classic(nn.Module):
    """cnn1d's layers in Conv1d."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out, width in ((N_LEADS, 32, 7), (32, 64, 5), (64, 128, 3)):
            layers += [nn.Conv1d(n_in, n_out, width, padding="same"), nn.BatchNorm1d(n_out), nn.ReLU(), nn.MaxPool1d(2)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, N_CLASSES))

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits of ``(batch, lead, sample)``."""
        logits: Tensor = self.head(self.features(signal).mean(dim=-1))
        return logits


class Loop:
    """Training and validation over tensors in memory."""

    def __init__(self, kind: str, n_train: int, n_val: int) -> None:
        if kind == "own":
            keep_freed_memory()
        self.net = Classic() if kind == "classic" else CNN1D(N_LEADS, N_SAMPLES, N_CLASSES)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3, fused=kind == "own")
        self.loss = nn.BCEWithLogitsLoss()
        self.signal, self.target = _draw(n_train)
        self.val_signal, self.val_target = _draw(n_val)

    def train_epoch(self) -> None:
        """Train over all records in a new order."""
        self.net.train()
        for rows in torch.randperm(len(self.signal)).split(BATCH_SIZE):
            self.optimizer.zero_grad()
            self.loss(self.net(self.signal[rows]), self.target[rows]).backward()
            self.optimizer.step()

    def take_turn(self) -> None:
        """Train over all records, then score the validation records."""
        self.train_epoch()
        self.net.eval()
        with torch.no_grad():
            y_prob = torch.cat([self.net(batch).sigmoid() for batch in self.val_signal.split(BATCH_SIZE)])
        average_precision_score(self.val_target.numpy(), y_prob.numpy())


def _draw(n_records: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n_records, N_LEADS, N_SAMPLES), (torch.rand(n_records, N_CLASSES) < 0.3).float()


if __name__ == "__main__":
    answer_turns(Loop(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).take_turn)
