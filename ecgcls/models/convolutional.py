"""What the convolutional nets of the PTB-XL benchmark share: their input, their head, how their weights start."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

_N_HIDDEN = 128


class TimeNet(nn.Module):
    """A net whose feature maps are over time alone, the same for every lead."""

    n_leads: int
    n_samples: int

    def map_to_leads(self, time_map: Tensor) -> Tensor:
        """Bring a map over time, as a block's Grad-CAM is one, back to the samples; it is the same for every lead.

        Parameters
        ----------
        time_map
            ``(batch, 1, width)``: values over time at any resolution.

        Returns
        -------
        Tensor
            ``(batch, lead, sample)``, interpolated linearly.
        """
        values = functional.interpolate(time_map, self.n_samples, mode="linear", align_corners=False)
        return values.expand(-1, self.n_leads, -1)


class ConvolutionalNet(TimeNet):
    """Blocks over time, then the benchmark's head [1]_.

    The head is: maximum over time beside the mean, BatchNorm, dropout, Linear to 128, ReLU, BatchNorm, dropout, Linear.
    With `n` features that is ``4 n`` + ``(2 n + 1) 128`` + ``256`` + ``129 n_classes`` parameters. As in the benchmark,
    weights of convolutions and linear layers start as Kaiming's normal distribution [2]_, biases as 0.

    Inside, a signal is an image of height 1 with its channels last: torch's kernels for that are faster on a CPU than
    Conv1d and its kin, and compute the same.

    Parameters
    ----------
    features
        Takes ``(batch, lead, 1, sample)`` and returns ``(batch, feature, 1, time)``.
    n_features
        How many it returns.
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits.
    dropout
        Probability of dropping a hidden unit of the head, 0 to 1; half of it for its inputs.

    References
    ----------
    .. [1] N. Strodthoff, P. Wagner, T. Schaeffter, W. Samek, "Deep learning for ECG analysis: benchmarks and insights
           from PTB-XL", IEEE J. Biomed. Health Inform. 2021, doi:10.1109/JBHI.2020.3022989.
    .. [2] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015, arXiv:1502.01852.
    """

    grad_cam_layer: ClassVar[str] = "features"
    """What the last block gives, which the last convolution is only a part of."""

    def __init__(
        self, features: nn.Module, n_features: int, *, n_leads: int, n_samples: int, n_classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.n_leads, self.n_samples = n_leads, n_samples
        self.features = features
        self.head = nn.Sequential(
            nn.BatchNorm1d(2 * n_features),
            nn.Dropout(dropout / 2),
            nn.Linear(2 * n_features, _N_HIDDEN),
            nn.ReLU(),
            nn.BatchNorm1d(_N_HIDDEN),
            nn.Dropout(dropout),
            nn.Linear(_N_HIDDEN, n_classes),
        )
        self.apply(_initialize)

    def forward(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)``, standardized, into logits ``(batch, class)``."""
        image = signal[:, :, None].contiguous(memory_format=torch.channels_last)  # (batch, lead, 1, sample)
        features: Tensor = self.features(image)  # (batch, feature, 1, time)
        highest, mean = features.amax(dim=(-2, -1)), features.mean(dim=(-2, -1), dtype=signal.dtype)
        with torch.autocast(signal.device.type, enabled=False):  # logits of half precision would tie
            logits: Tensor = self.head(torch.cat([highest.to(signal.dtype), mean], dim=1))
        return logits


def convolve(n_in: int, n_out: int, *, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution over time, of an odd kernel, without a bias; the stride divides the time and rounds up."""
    padding = (0, kernel_size // 2)
    return nn.Conv2d(n_in, n_out, (1, kernel_size), stride=(1, stride), padding=padding, bias=False)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
