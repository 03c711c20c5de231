"""Nets whose attributions are known by hand, the project's own, and signals for them."""

import torch
from torch import nn

from ecgcls.explanation.attribution import Attribution, attribute
from ecgcls.explanation.method import MethodSettings, make_query
from ecgcls.models.cnn1d import CNN1D
from ecgcls.models.cnn2d import CNN2D
from ecgcls.models.resnet1d_wang import ResNet1DWang
from ecgcls.training.standardizer import Standardizer

RATE_HZ = 100
MEAN_MV = torch.tensor([0.1, -0.2, 0.05])
SD_MV = torch.tensor([0.5, 0.25, 0.1])
EVEN_SD_MV = torch.full((3, 1), 0.3)  # gradients in logit/mV would favor leads of low voltage whatever the weights


class Linear(nn.Module):
    """Three leads, 100 samples, two classes; each logit is a weighted sum of the voltages."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(1)))

    def forward(self, signal_mv):
        return torch.einsum("nls,cls->nc", signal_mv, self.weight) + torch.tensor([3.0, -1.0])


def ask(net, signal_mv, class_index, **changes):
    """A query with the mean and standard deviation of these leads, unless they are given."""
    leads = slice(0, signal_mv.shape[1])
    given = {"baseline_mv": MEAN_MV[leads, None], "sd_mv": SD_MV[leads, None], "sampling_rate_hz": RATE_HZ} | changes
    return make_query(net, signal_mv, class_index, **given)


def explain(net, signal_mv, class_index, method, **settings) -> Attribution:
    scale = {key: settings.pop(key) for key in ("baseline_mv", "sd_mv") if key in settings}
    return attribute(ask(net, signal_mv, class_index, **scale), method, MethodSettings(**settings))


def draw_signal(n_records=3, n_samples=100, seed=0):
    return torch.randn(n_records, 3, n_samples, generator=torch.Generator().manual_seed(seed)) * 0.3


def build(kind, n_samples=100):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        nets = {
            "cnn1d": lambda: CNN1D(3, n_samples, 4),
            "resize": lambda: CNN2D(3, n_samples, 4),
            "spectrogram": lambda: CNN2D(3, n_samples, 4, image="spectrogram"),
            "residual": lambda: ResNet1DWang(3, n_samples, 4),
        }
        net = nets[kind]()
        for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return nn.Sequential(Standardizer(MEAN_MV, SD_MV), net).eval()


class Detector(nn.Module):
    """One channel that responds to lead 0; the logit of class 0 is its mean, of class 1 minus that."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(3, 1, 1), nn.ReLU(), nn.AvgPool1d(4))
        with torch.no_grad():
            self.features[0].weight.copy_(torch.tensor([1.0, 0.0, 0.0])[None, :, None])
            self.features[0].bias.zero_()

    def forward(self, signal_mv):
        response = self.features(signal_mv).mean(dim=(1, 2))
        return torch.stack([response, -response], dim=1)
