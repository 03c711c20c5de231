"""The shallow and wide residual net of the PTB-XL benchmark, after Wang's for time series."""

from torch import Tensor, nn

from ecgcls.models.convolutional import ConvolutionalNet, convolve

_WIDTH = 128


class ResNet1DWang(ConvolutionalNet):
    """A convolution and three residual blocks of 128 channels, then the benchmark's head [1]_.

    Convolutions have no bias and a BatchNorm behind them, and ReLU where nothing else is said.

    - Stem: kernel 7 to 128 channels, without a pooling.
    - Three blocks: kernel 5, kernel 3 without ReLU; ReLU of the sum with what came in. The second and the third have
      stride 2 in their first convolution, and in one of kernel 1, without ReLU, of what came in.

    Wang et al. [2]_ have three blocks of three convolutions of 64, 128 and 128 channels, without strides, and a mean
    over time before the last layer; the benchmark's net, with its name, is this one. 473,349 parameters for 12 leads
    and 5 classes, whatever the length.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits. At least 7 samples, the first kernel.
    dropout
        Probability of dropping a hidden unit of the head, 0 to 1; half of it for its inputs.

    References
    ----------
    .. [1] N. Strodthoff, P. Wagner, T. Schaeffter, W. Samek, "Deep learning for ECG analysis: benchmarks and insights
           from PTB-XL", IEEE J. Biomed. Health Inform. 2021, doi:10.1109/JBHI.2020.3022989.
    .. [2] Z. Wang, W. Yan, T. Oates, "Time series classification from scratch with deep neural networks: a strong
           baseline", IJCNN 2017, doi:10.1109/IJCNN.2017.7966039.
    """

    def __init__(self, n_leads: int, n_samples: int, n_classes: int, *, dropout: float = 0.5) -> None:
        if n_samples < 7:
            raise ValueError(f"ResNet1DWang's first kernel is 7: n_samples must be at least 7, got {n_samples}")
        features = nn.Sequential(
            convolve(n_leads, _WIDTH, kernel_size=7), nn.BatchNorm2d(_WIDTH), nn.ReLU(),
            BasicBlock(stride=1), BasicBlock(stride=2), BasicBlock(stride=2),
        )  # fmt: skip
        super().__init__(features, _WIDTH, n_leads=n_leads, n_samples=n_samples, n_classes=n_classes, dropout=dropout)


class BasicBlock(nn.Module):
    """ReLU of what came in plus two convolutions of it: ``(batch, 128, 1, time)``, the time divided by the stride."""

    def __init__(self, *, stride: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.extend([convolve(_WIDTH, _WIDTH, kernel_size=1, stride=stride), nn.BatchNorm2d(_WIDTH)])
        self.path = nn.Sequential(
            convolve(_WIDTH, _WIDTH, kernel_size=5, stride=stride), nn.BatchNorm2d(_WIDTH), nn.ReLU(),
            convolve(_WIDTH, _WIDTH, kernel_size=3), nn.BatchNorm2d(_WIDTH),
        )  # fmt: skip
        self.act = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        """Turn ``(batch, 128, 1, time)`` into the same with the time divided by the stride, rounded up."""
        out: Tensor = self.act(self.path(image) + self.shortcut(image))
        return out
