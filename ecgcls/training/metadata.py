"""Numbers such as age and sex as inputs of a net, beside the ECG."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgcls.data.metadata import refuse_empty

_WIDTH = 16  # of the hidden layer


class MetadataScaler(nn.Module):
    """Standardizes columns, and puts the training part's median where a value is not known.

    Its output has a second column for each one: 1 where the value is not known. That of a column which was always known
    in the training part is 0 throughout, for nothing could be learned from it.

    Parameters
    ----------
    columns
        Their names.
    """

    median: Tensor
    mean: Tensor
    sd: Tensor
    has_unknown: Tensor

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        for name, value in (("median", 0.0), ("mean", 0.0), ("sd", 1.0), ("has_unknown", 0.0)):
            self.register_buffer(name, torch.full((len(self.columns),), value))

    def fit(self, values: NDArray[np.float64]) -> None:
        """Learn from the training part, ``(record, column)``: median, mean and standard deviation of what is known."""
        refuse_empty(values, self.columns, key="model.metadata")
        sd = np.nanstd(values, axis=0)
        fitted = {
            "median": np.nanmedian(values, axis=0),
            "mean": np.nanmean(values, axis=0),
            "sd": np.where(sd > 0, sd, 1.0),
            "has_unknown": np.isnan(values).any(axis=0),
        }
        for name, value in fitted.items():
            self.get_buffer(name).copy_(torch.from_numpy(value))

    def forward(self, values: Tensor) -> Tensor:
        """Turn ``(batch, column)`` into ``(batch, 2 * column)``."""
        is_unknown = values.isnan()
        known = torch.where(is_unknown, self.median, values)
        return torch.cat([(known - self.mean) / self.sd, is_unknown * self.has_unknown], dim=1)


class MetadataNet(nn.Module):
    """A net whose logits are those of the signal plus those of a small net of the metadata.

    The latter starts at 0, so that an untrained net is the same with metadata as without.

    Parameters
    ----------
    net
        Takes ``(batch, lead, sample)`` and returns logits ``(batch, class)``.
    columns
        Names of the metadata.
    """

    def __init__(self, net: nn.Module, *, columns: Sequence[str], n_classes: int) -> None:
        super().__init__()
        head = nn.Linear(_WIDTH, n_classes)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        self.scaler = MetadataScaler(columns)
        self.metadata = nn.Sequential(nn.Linear(2 * len(self.scaler.columns), _WIDTH), nn.GELU(), head)
        self.net = net  # last, for its output layer is the one that a randomization starts with

    def forward(self, signal: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Turn a signal, standardized, and ``(batch, column)`` into logits; without the latter nothing is known."""
        if metadata is None:
            metadata = signal.new_full((len(signal), len(self.scaler.columns)), torch.nan)
        logits: Tensor = self.net(signal) + self.metadata(self.scaler(metadata))
        return logits


def take_signal_net(net: nn.Module) -> nn.Module:
    """Return the part of a net that takes the signal: all of it, unless it takes metadata beside."""
    return net.net if isinstance(net, MetadataNet) else net
