"""The standardizer: the first thing that happens to a signal, inside the net's checkpoint."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ecgcls.training.windows import Windows, apply_net


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
        return (signal_mv - self.mean_mv).div_(self.sd_mv)


class StandardizedNet(nn.Sequential):
    """A net with its standardizer before it, as a checkpoint holds them; `windows` are those that it is asked about."""

    def __init__(self, standardizer: Standardizer, net: nn.Module, *, windows: Windows | None = None) -> None:
        super().__init__(OrderedDict(standardizer=standardizer, net=net))
        self.windows = windows

    def forward(self, signal_mv: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Turn ``(batch, lead, sample)`` in mV, and ``(batch, column)`` if the net takes such, into logits."""
        standardizer, net = self
        return apply_net(net, standardizer(signal_mv), metadata, self.windows)

    def fill_absent(self, signal_mv: Tensor) -> Tensor:
        """Give the leads of ``(batch, lead, sample)`` that are nan their mean, which is 0 when standardized."""
        is_absent = signal_mv[..., :1].isnan()
        if not is_absent.any():
            return signal_mv
        mean_mv = self.get_buffer("standardizer.mean_mv")  # (lead, 1)
        return torch.where(is_absent, mean_mv.to(signal_mv.dtype), signal_mv)


def take_own(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return of a checkpoint's weights those of a `StandardizedNet`."""
    return {key: each for key, each in state.items() if key.startswith(("standardizer.", "net."))}


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights by name; that of a file would change with the version of PyTorch."""
    content = hashlib.sha256()
    for key in sorted(weights):
        tensor = weights[key].detach().cpu().contiguous()
        content.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()
