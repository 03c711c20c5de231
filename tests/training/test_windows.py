import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.explanation.grad_cam import grad_cam
from ecgcls.explanation.method import MethodSettings, make_query
from ecgcls.models.cnn1d import CNN1D
from ecgcls.training.metadata import MetadataNet
from ecgcls.training.standardizer import StandardizedNet, Standardizer
from ecgcls.training.windows import Windows

SIGNAL = torch.randn(3, 2, 100, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n_samples", [24, 25, 31, 40, 99, 100])
@pytest.mark.parametrize("n_window", [1, 7, 16, 24])
def test_windows_cover_a_record_evenly_and_overlap_by_half_at_least(n_samples, n_window):
    starts = Windows(n_window).find_starts(n_samples)
    steps = np.diff(starts)
    assert starts[0] == 0 and starts[-1] == n_samples - n_window
    assert len({*starts}) == len(starts)
    if len(steps):
        assert steps.max() <= max(1, n_window // 2) and steps.max() - steps.min() <= 1


@pytest.mark.parametrize("pooling", ["logits", "probabilities", "max"])
def test_a_record_gets_what_its_windows_get_one_by_one(pooling):
    torch.manual_seed(0)
    windows = Windows(40, pooling)
    mean_mv, sd_mv = torch.tensor([1.0, -2.0]), torch.tensor([2.0, 0.5])
    net = MetadataNet(CNN1D(2, 40, 3), columns=("age",), n_classes=3).eval()
    nn.init.normal_(net.metadata[-1].weight)
    age = torch.tensor([[0.2], [-1.0], [torch.nan]])
    whole = StandardizedNet(Standardizer(mean_mv, sd_mv), net, windows=windows)
    with torch.no_grad():
        found = whole(SIGNAL, age).numpy()
        standardized = (SIGNAL - mean_mv[:, None]) / sd_mv[:, None]
        parts = np.stack([net(standardized[..., s : s + 40], age).numpy() for s in (0, 20, 40, 60)])
    expected = {
        "logits": parts.mean(axis=0),
        "probabilities": logit(expit(parts.astype(float)).mean(axis=0)),
        "max": parts.max(axis=0),
    }
    assert found == pytest.approx(expected[pooling], abs=1e-5)


def test_probabilities_are_averaged_where_float32_has_no_more_of_them():
    logits = torch.tensor([[[200.0], [180.0]], [[-200.0], [-180.0]]])
    assert Windows(5, "probabilities").pool(logits).numpy() == pytest.approx(
        np.array([[180 + np.log(2)], [-180 - np.log(2)]]), abs=1e-4
    )


def test_values_of_windows_are_averaged_where_they_overlap():
    windows = Windows(4)
    assert windows.find_starts(6) == [0, 2]
    values = torch.tensor([[[1.0, 1, 1, 1]], [[3.0, 3, 3, 3]], [[0.0, 0, 0, 0]], [[8.0, 8, 8, 8]]])
    assert windows.join(values, 6).tolist() == [[[1, 1, 2, 2, 3, 3]], [[0, 0, 4, 4, 8, 8]]]
    assert torch.equal(windows.join(windows.cut(SIGNAL[..., :6]), 6), SIGNAL[..., :6])


def test_grad_cam_of_windows_is_a_map_of_the_whole_record():
    torch.manual_seed(1)
    net = StandardizedNet(Standardizer(torch.zeros(2), torch.ones(2)), CNN1D(2, 40, 3), windows=Windows(40))
    signal = torch.zeros(2, 2, 100)
    signal[0, :, 80:85] = 5.0  # in one window alone
    common = {"baseline_mv": torch.zeros(2, 1), "sd_mv": torch.ones(2, 1), "sampling_rate_hz": 100.0}
    query = make_query(net.eval(), signal, [1, 1], **common)
    settings = MethodSettings(layer="net.features.0")
    maps = grad_cam(query, settings).values
    assert maps.shape == signal.shape
    assert maps[0, 0].argmax() in range(60, 100) and torch.equal(maps[0, :, :40], maps[1, :, :40])
    assert not torch.equal(maps[0, :, 70:95], maps[1, :, 70:95])


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ConfigError, match=r"data\.window_pooling must be logits, probabilities, max, got 'median'"):
        Windows(5, "median")
