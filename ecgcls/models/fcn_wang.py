"""The fully convolutional net of the PTB-XL benchmark, Wang's for time series."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgcls.models.convolutional import ConvolutionalNet, convolve


class FCNWang(ConvolutionalNet):
    """Three convolutions over time [1]_, then the benchmark's head [2]_.

    Kernel 8 to 128 channels, kernel 5 to 256, kernel 3 to 128, each without a bias, with BatchNorm and ReLU. There is
    no stride and the length stays: an output of the first sees 3 samples before its own and 4 after it. Wang et al.
    take the mean over time and one linear layer as the head; the benchmark's first convolution leaves out the last
    sample. 309,765 parameters for 12 leads and 5 classes, whatever the length.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits. At least 8 samples, the first kernel.
    dropout
        Probability of dropping a hidden unit of the head, 0 to 1; half of it for its inputs.

    References
    ----------
    .. [1] Z. Wang, W. Yan, T. Oates, "Time series classification from scratch with deep neural networks: a strong
           baseline", IJCNN 2017, doi:10.1109/IJCNN.2017.7966039.
    .. [2] N. Strodthoff, P. Wagner, T. Schaeffter, W. Samek, "Deep learning for ECG analysis: benchmarks and insights
           from PTB-XL", IEEE J. Biomed. Health Inform. 2021, doi:10.1109/JBHI.2020.3022989.
    """

    def __init__(self, n_leads: int, n_samples: int, n_classes: int, *, dropout: float = 0.5) -> None:
        if n_samples < 8:
            raise ValueError(f"FCNWang's first kernel is 8: n_samples must be at least 8, got {n_samples}")
        features = nn.Sequential(
            FirstConvolution(n_leads), nn.BatchNorm2d(128), nn.ReLU(),
            convolve(128, 256, kernel_size=5), nn.BatchNorm2d(256), nn.ReLU(),
            convolve(256, 128, kernel_size=3), nn.BatchNorm2d(128), nn.ReLU(),
        )  # fmt: skip
        super().__init__(features, 128, n_leads=n_leads, n_samples=n_samples, n_classes=n_classes, dropout=dropout)


class FirstConvolution(nn.Conv2d):
    """Kernel 8 to 128 channels, computed as a kernel of 9 whose first value is 0.

    An odd kernel keeps the length. And torch 2.13 (oneDNN 3.12) computes an even one of 8 or 16 values wrongly in
    bfloat16 on a CPU with AMX, for 8 or 12 leads among others: the error is as large as the result.
    """

    def __init__(self, n_leads: int) -> None:
        super().__init__(n_leads, 128, (1, 8), bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Turn ``(batch, lead, 1, sample)`` into ``(batch, 128, 1, sample)``."""
        weight = torch.cat([torch.zeros_like(self.weight[..., :1]), self.weight], dim=-1)  # ONNX's exporter loses a pad
        return functional.conv2d(image, weight, padding=(0, 4))
