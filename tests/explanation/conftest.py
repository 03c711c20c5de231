import pytest
import torch
from torch import nn

from ecgcls.models.cnn1d import CNN1D
from ecgcls.training.standardizer import Standardizer
from tests.explanation.nets import EVEN_SD_MV, MEAN_MV


@pytest.fixture
def cnn():
    """A small untrained net of three leads, 200 samples and four classes."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(Standardizer(MEAN_MV, EVEN_SD_MV[:, 0]), CNN1D(3, 200, 4)).eval()
