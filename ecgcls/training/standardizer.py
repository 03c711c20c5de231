"""The standardizer: the first thing that happens to a signal, inside the net's checkpoint."""

import torch
from torch import Tensor, nn


class Standardizer(nn.Module):
    """Subtracts each lead's mean and divides by its standard deviation, both fitted on the training part.

    Parameters
    ----------
    mean_mv, sd_mv
        ``(lead,)`` in mV. A lead that is flat in the whole training part (sd 0) is only centered.
    """

    mean_mv: Tensor
    sd_mv: Tensor

    def __init__(self, mean_mv: Tensor, sd_mv: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_mv", mean_mv[:, None])  # (lead, 1)
        self.register_buffer("sd_mv", torch.where(sd_mv > 0, sd_mv, 1.0)[:, None])

    def forward(self, signal_mv: Tensor) -> Tensor:
        """Standardize ``(batch, lead, sample)``."""
        return (signal_mv - self.mean_mv) / self.sd_mv
