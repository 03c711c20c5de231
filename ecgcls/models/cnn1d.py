"""A small one-dimensional convolutional net over the twelve leads."""

from torch import Tensor, nn


class CNN1D(nn.Module):
    """Three convolution blocks over time, global average pooling and a small head.

    Each block is Conv1d ('same' padding), BatchNorm, ReLU and MaxPool 2: 32 channels with kernel 7, 64 with 5,
    128 with 3. The head is Linear 64, ReLU, dropout, Linear. 46,757 parameters for 12 leads and 5 classes,
    whatever the length.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits. Three poolings need at least 8 samples.
    dropout
        Probability of dropping a hidden unit of the head, 0 to 1.
    """

    def __init__(self, n_leads: int, n_samples: int, n_classes: int, *, dropout: float = 0.3) -> None:
        super().__init__()
        if n_samples < 8:
            raise ValueError(f"CNN1D halves the time three times: n_samples must be at least 8, got {n_samples}")
        self.features = nn.Sequential(
            *_block(n_leads, 32, kernel_size=7),
            *_block(32, 64, kernel_size=5),
            *_block(64, 128, kernel_size=3),
        )
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, n_classes))

    def forward(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)``, standardised, into logits ``(batch, class)``."""
        features: Tensor = self.features(signal)  # (batch, 128, n_samples // 8)
        logits: Tensor = self.head(features.mean(dim=-1))
        return logits


def _block(n_in: int, n_out: int, *, kernel_size: int) -> list[nn.Module]:
    return [
        nn.Conv1d(n_in, n_out, kernel_size, padding="same"),
        nn.BatchNorm1d(n_out),
        nn.ReLU(),
        nn.MaxPool1d(2),
    ]
