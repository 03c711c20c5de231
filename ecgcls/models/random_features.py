"""Random features of an untrained net, with a linear head that is trained: what an architecture gives for nothing."""

from torch import nn

from ecgcls.models.cnn1d import CNN1D


class RandomFeatures(CNN1D):
    """The convolution blocks of `CNN1D` with the weights of their first moment, and one linear layer that learns.

    Only the head is trained; the running mean and variance of each BatchNorm follow the data, its weights do not. A
    baseline: a trained net should be better [1]_.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        As for `CNN1D`.

    References
    ----------
    .. [1] K. Jarrett, K. Kavukcuoglu, M. Ranzato, Y. LeCun, "What is the best multi-stage architecture for object
           recognition?", ICCV 2009, doi:10.1109/ICCV.2009.5459469.
    """

    def __init__(self, n_leads: int, n_samples: int, n_classes: int) -> None:
        super().__init__(n_leads, n_samples, n_classes)
        self.features.requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(128, n_classes))
