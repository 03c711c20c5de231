"""The Inception net of the PTB-XL benchmark, after InceptionTime."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ecgcls.models.convolutional import ConvolutionalNet, convolve

_KERNEL_SIZES = (39, 19, 9)
_WIDTH = 32  # of the bottleneck and of each of the four branches
_N_FEATURES = _WIDTH * (len(_KERNEL_SIZES) + 1)


class Inception1D(ConvolutionalNet):
    """Six Inception modules in two residual blocks [1]_, then the benchmark's head [2]_.

    - A module is four branches of 32 channels side by side, BatchNorm and ReLU: kernels 39, 19 and 9 of a bottleneck
      (kernel 1 to 32 channels), and kernel 1 of the maximum of every 3 samples. Convolutions have no bias.
    - A block is three modules and ReLU of their sum with kernel 1 to 128 channels, BatchNorm, of what came in.

    There is no stride. InceptionTime is the mean of five such nets, with a mean over time and one linear layer as the
    head. 507,653 parameters for 12 leads and 5 classes, whatever the length.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits. At least 39 samples, the longest kernel.
    dropout
        Probability of dropping a hidden unit of the head, 0 to 1; half of it for its inputs.

    References
    ----------
    .. [1] H. Ismail Fawaz, B. Lucas, G. Forestier, et al., "InceptionTime: finding AlexNet for time series
           classification", Data Min. Knowl. Discov. 2020, doi:10.1007/s10618-020-00710-y.
    .. [2] N. Strodthoff, P. Wagner, T. Schaeffter, W. Samek, "Deep learning for ECG analysis: benchmarks and insights
           from PTB-XL", IEEE J. Biomed. Health Inform. 2021, doi:10.1109/JBHI.2020.3022989.
    """

    lead_layers: ClassVar[tuple[str, ...]] = (
        "features.0.path.0.bottleneck",
        "features.0.path.0.pooled.1",
        "features.0.shortcut.0",
    )
    """The layers whose columns are leads."""

    def __init__(self, n_leads: int, n_samples: int, n_classes: int, *, dropout: float = 0.5) -> None:
        if n_samples < _KERNEL_SIZES[0]:
            raise ValueError(f"Inception1D's longest kernel is 39: n_samples must be at least 39, got {n_samples}")
        features = nn.Sequential(ResidualBlock(n_leads), ResidualBlock(_N_FEATURES))
        super().__init__(
            features, _N_FEATURES, n_leads=n_leads, n_samples=n_samples, n_classes=n_classes, dropout=dropout
        )


class ResidualBlock(nn.Module):
    """ReLU of three Inception modules plus what came in: ``(batch, n_in, 1, time)`` to ``(batch, 128, 1, time)``."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.path = nn.Sequential(InceptionModule(n_in), InceptionModule(_N_FEATURES), InceptionModule(_N_FEATURES))
        self.shortcut = nn.Sequential(convolve(n_in, _N_FEATURES, kernel_size=1), nn.BatchNorm2d(_N_FEATURES))
        self.act = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        """Turn ``(batch, n_in, 1, time)`` into ``(batch, 128, 1, time)``."""
        out: Tensor = self.act(self.path(image) + self.shortcut(image))
        return out


class InceptionModule(nn.Module):
    """Four branches side by side: ``(batch, n_in, 1, time)`` to ``(batch, 128, 1, time)``."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.bottleneck = convolve(n_in, _WIDTH, kernel_size=1)
        self.branches = nn.ModuleList(convolve(_WIDTH, _WIDTH, kernel_size=each) for each in _KERNEL_SIZES)
        self.pooled = nn.Sequential(
            nn.MaxPool2d((1, 3), stride=1, padding=(0, 1)), convolve(n_in, _WIDTH, kernel_size=1)
        )
        self.norm = nn.Sequential(nn.BatchNorm2d(_N_FEATURES), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        """Turn ``(batch, n_in, 1, time)`` into ``(batch, 128, 1, time)``."""
        squeezed = self.bottleneck(image)
        branches = [*(branch(squeezed) for branch in self.branches), self.pooled(image)]
        out: Tensor = self.norm(torch.cat(branches, dim=1))
        return out
