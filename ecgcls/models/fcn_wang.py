"""The fully convolutional net of the PTB-XL benchmark, Wang's for time series."""

from torch import nn

from ecgcls.models.convolutional import ConvolutionalNet, convolve


class FCNWang(ConvolutionalNet):
    """Three convolutions over time [1]_, then the benchmark's head [2]_.

    Kernel 8 to 128 channels, kernel 5 to 256, kernel 3 to 128, each without a bias, with BatchNorm and ReLU. There is
    no stride; the even kernel leaves one sample fewer. Wang et al. take the mean over time and one linear layer as the
    head. 309,765 parameters for 12 leads and 5 classes, whatever the length.

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
        layers: list[nn.Module] = []
        for n_in, n_out, kernel_size in ((n_leads, 128, 8), (128, 256, 5), (256, 128, 3)):
            layers += [convolve(n_in, n_out, kernel_size=kernel_size), nn.BatchNorm2d(n_out), nn.ReLU()]
        super().__init__(
            nn.Sequential(*layers), 128, n_leads=n_leads, n_samples=n_samples, n_classes=n_classes, dropout=dropout
        )
