"""A bidirectional LSTM over the samples of all leads."""

import torch
from torch import Tensor, nn


class LSTMBidir(nn.Module):
    """Two bidirectional LSTM layers; the average, the maximum and the last output of each unit; a head of two layers.

    The last output of a unit that runs backwards is that at the first sample [1]_. The head is that of the CNNs of that
    comparison: BatchNorm, dropout, Linear to 128, ReLU, BatchNorm, dropout, Linear. With 12 leads and 5 classes
    2,330,629 parameters: 552,960 of the first layer (two directions of 4 x 256 x (12 + 256 + 2)), 1,576,960 of the
    second (4 x 256 x (512 + 256 + 2)), and 200,709 of the head (3,072 + 196,736 + 256 + 645 on 1,536 features).

    In bf16-mixed precision on a CPU the recurrence runs in bfloat16 as well, as PyTorch has it.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits. Any length will do; the time of a step is proportional to it.
    width
        Units of each direction in a layer.
    depth
        LSTM layers.
    dropout
        Probability of dropping a unit before the last layer of the head, 0 to 1; before the first one, half of that.

    References
    ----------
    .. [1] N. Strodthoff, P. Wagner, T. Schaeffter, W. Samek, "Deep learning for ECG analysis: benchmarks and insights
           from PTB-XL", IEEE JBHI 25(5), 2021, doi:10.1109/JBHI.2020.3022989.
    """

    grad_cam_layer = "features"

    def __init__(
        self, n_leads: int, n_samples: int, n_classes: int, *, width: int = 256, depth: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if width < 1 or depth < 1:
            raise ValueError(f"LSTMBidir's width and depth must be at least 1, got {width} and {depth}")
        self.lstm = nn.LSTM(n_leads, width, num_layers=depth, bidirectional=True)
        self.features = nn.Identity()  # for Grad-CAM: (batch, unit, sample)
        self.head = nn.Sequential(
            nn.BatchNorm1d(6 * width), nn.Dropout(dropout / 2), nn.Linear(6 * width, 128), nn.ReLU(),
            nn.BatchNorm1d(128), nn.Dropout(dropout), nn.Linear(128, n_classes),
        )  # fmt: skip

    def forward(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)``, standardized, into logits ``(batch, class)``."""
        # cuDNN has no backward pass in evaluation mode, which attribution asks for.
        with torch.backends.cudnn.flags(enabled=self.training or not torch.is_grad_enabled()):
            outputs, _ = self.lstm(signal.permute(2, 0, 1))
        features = self.features(outputs.permute(1, 2, 0))  # (batch, 2 * width, sample): forwards, then backwards
        width = self.lstm.hidden_size
        last = torch.cat([features[:, :width, -1], features[:, width:, 0]], dim=1)
        logits: Tensor = self.head(torch.cat([features.mean(dim=-1), features.amax(dim=-1), last], dim=1))
        return logits
