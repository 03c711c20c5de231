"""The deep residual nets of the PTB-XL benchmark: ResNet-50 and -101 with He's tricks, over time."""

from collections.abc import Sequence

from torch import Tensor, nn

from ecgcls.models.convolutional import ConvolutionalNet, convolve

_WIDTH = 64  # of the inner layers of every bottleneck, in every stage
_N_FEATURES = 4 * _WIDTH


class XResNet1D(ConvolutionalNet):
    """Three convolutions, a pooling and four stages of bottlenecks of the same width, then the benchmark's head [1]_.

    Convolutions have no bias and a BatchNorm behind them, and ReLU where nothing else is said.

    - Stem: kernel 5 to 32 channels with stride 2, kernel 5 to 32, kernel 5 to 64; MaxPool 3 with stride 2.
    - Each bottleneck: kernel 1 to 64, kernel 5 to 64, kernel 1 to 256 without ReLU; ReLU of the sum with what came in.
      The first of stages 2 to 4 has stride 2 in the middle, and averages pairs of what came in. The very first
      brings what came in from 64 to 256 channels, with kernel 1; the others need not, since all stages are as wide.
      The last BatchNorm of each starts with a weight of 0, so that at first a block passes on what came in [2]_.

    1 / 32 of the time's resolution is left. With blocks of 3, 4, 6, 3 (``xresnet1d50``) 953,989 parameters for 12 leads
    and 5 classes, with 3, 4, 23, 3 (``xresnet1d101``) 1,872,261, whatever the length.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits. The time is halved five times: at least 32 samples.
    blocks
        How many bottlenecks each of the four stages has.
    dropout
        Probability of dropping a hidden unit of the head, 0 to 1; half of it for its inputs.

    References
    ----------
    .. [1] N. Strodthoff, P. Wagner, T. Schaeffter, W. Samek, "Deep learning for ECG analysis: benchmarks and insights
           from PTB-XL", IEEE J. Biomed. Health Inform. 2021, doi:10.1109/JBHI.2020.3022989.
    .. [2] T. He, Z. Zhang, H. Zhang, Z. Zhang, J. Xie, M. Li, "Bag of tricks for image classification with
           convolutional neural networks", CVPR 2019, arXiv:1812.01187.
    """

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        blocks: Sequence[int] = (3, 4, 6, 3),
        dropout: float = 0.5,
    ) -> None:
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f"XResNet1D's blocks must be four numbers of at least 1, got {list(blocks)}")
        if n_samples < 32:
            raise ValueError(f"XResNet1D halves the time five times: n_samples must be at least 32, got {n_samples}")
        layers: list[nn.Module] = []
        for n_in, n_out, stride in ((n_leads, 32, 2), (32, 32, 1), (32, 64, 1)):
            layers += [convolve(n_in, n_out, kernel_size=5, stride=stride), nn.BatchNorm2d(n_out), nn.ReLU()]
        layers.append(nn.MaxPool2d((1, 3), stride=(1, 2), padding=(0, 1)))
        n_in = 64
        for stage, n_blocks in enumerate(blocks):
            for number in range(n_blocks):
                layers.append(Bottleneck(n_in, stride=2 if stage and not number else 1))
                n_in = _N_FEATURES
        super().__init__(
            nn.Sequential(*layers), _N_FEATURES, n_leads=n_leads, n_samples=n_samples, n_classes=n_classes,
            dropout=dropout,
        )  # fmt: skip


class Bottleneck(nn.Module):
    """ReLU of what came in plus three convolutions of it: ``(batch, n_in, 1, time)`` to ``(batch, 256, 1, time)``."""

    def __init__(self, n_in: int, *, stride: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential()
        if stride > 1:  # an odd length's last sample stands alone
            self.shortcut.append(nn.AvgPool2d((1, stride), ceil_mode=True))
        if n_in != _N_FEATURES:
            self.shortcut.extend([convolve(n_in, _N_FEATURES, kernel_size=1), nn.BatchNorm2d(_N_FEATURES)])
        last = nn.BatchNorm2d(_N_FEATURES)
        nn.init.zeros_(last.weight)
        self.path = nn.Sequential(
            convolve(n_in, _WIDTH, kernel_size=1), nn.BatchNorm2d(_WIDTH), nn.ReLU(),
            convolve(_WIDTH, _WIDTH, kernel_size=5, stride=stride), nn.BatchNorm2d(_WIDTH), nn.ReLU(),
            convolve(_WIDTH, _N_FEATURES, kernel_size=1), last,
        )  # fmt: skip
        self.act = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        """Turn ``(batch, n_in, 1, time)`` into ``(batch, 256, 1, time)``."""
        out: Tensor = self.act(self.path(image) + self.shortcut(image))
        return out
