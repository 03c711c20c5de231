"""Grad-CAM by hand, and back from an image."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.explanation.nets import MEAN_MV, Detector, build, draw_signal, explain


def test_grad_cam_by_hand():
    signal_mv = torch.zeros(2, 3, 100)
    signal_mv[:, 0, 48:52] = 1.0
    net = Detector().eval()
    found = explain(net, signal_mv, [0, 1], "grad_cam").values
    # The map is the channel times its mean gradient: 1/100 a sample for the mean, and none against class 1 (ReLU).
    assert found[0, :, 48:52] == pytest.approx(0.01)
    assert np.delete(found[0], range(48, 52), axis=1) == pytest.approx(0)
    assert found[1] == pytest.approx(0)
    pooled = explain(net, signal_mv, [0, 1], "grad_cam", layer="features.2").values
    assert pooled[0, :, 49:51] == pytest.approx(0.04 * 0.875, rel=1e-4)  # half a sample off the middle of four
    assert pooled[0, 0, 30] == pytest.approx(0) and pooled[0, 0, 46] == pytest.approx(0.04 * 0.125, rel=1e-4)


@pytest.mark.parametrize("kind", ["resize", "spectrogram"])
def test_grad_cam_of_an_image_tells_leads_and_times_apart(kind):
    """A net that sums one channel of what its image holds: the map is where the signal is."""
    net = build(kind, n_samples=400)
    net[1].features = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU())
    net[1].head = nn.Sequential(nn.Flatten(), nn.Linear(1, 4, bias=False))
    with torch.no_grad():
        net[1].features[0].weight.fill_(1)
        net[1].head[1].weight.fill_(1)
    signal_mv = MEAN_MV[None, :, None].repeat(1, 1, 400)
    shape = torch.hann_window(31, periodic=False) * torch.cos(torch.arange(-15, 16) * torch.pi / 4)
    signal_mv[0, 1, 285:316] += shape
    found = explain(net.eval(), signal_mv, [0], "grad_cam").values[0]
    assert found.max(axis=1).argmax() == 1
    assert abs(int(found[1].argmax()) - 300) <= 6
    assert found[1].max() > 3 * found[1, 100:200].max()


@pytest.mark.parametrize(
    ("kind", "expected"), [("cnn1d", "1.features.10"), ("resize", "1.features.10"), ("spectrogram", "1.features.10")]
)
def test_the_default_layer_is_the_activation_after_the_last_convolution(kind, expected):
    net, signal_mv = build(kind), draw_signal(2)
    assert isinstance(net.get_submodule(expected), nn.ReLU)
    by_default = explain(net, signal_mv, [0, 1], "grad_cam").values
    assert (by_default == explain(net, signal_mv, [0, 1], "grad_cam", layer=expected).values).all()
    assert np.abs(by_default - explain(net, signal_mv, [0, 1], "grad_cam", layer="1.features.2").values).max() > 0


def test_a_net_says_which_layer_its_last_block_is():
    net, signal_mv = build("residual"), draw_signal(2)
    by_default = explain(net, signal_mv, [0, 1], "grad_cam").values
    assert (by_default == explain(net, signal_mv, [0, 1], "grad_cam", layer="1.features.5.act").values).all()
    summand = explain(net, signal_mv, [0, 1], "grad_cam", layer="1.features.5.path.4").values
    assert np.abs(by_default - summand).max() > 0
    assert by_default.shape == (2, 3, 100)
    assert np.abs(by_default).max() > 0
