"""The graph of a bundle, in torch: against the library's own numpy and against one window after another."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from ecgcls.data.recordings import Recording, prepare
from ecgcls.evaluation.blending import Blend
from ecgcls.evaluation.logits import mean_of_probabilities
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.models.cnn1d import CNN1D
from ecgcls.training.graph import BlendedNets, Graph, OneNet, Recalibration, _place_stretches, _place_windows
from ecgcls.training.standardizer import StandardizedNet, Standardizer
from ecgcls.training.windows import Windows

NAMES = ("A", "B", "C")
LINEAR = {"method": "platt", "slope": 0.7, "intercept": -0.3}
KNOTS = [0.01, 0.2, 0.21, 0.9]
FITTED = {
    "none": {"method": "none", "slope": 1.0, "intercept": 0.0},
    "unweighted": {"method": "unweighted", "slope": 1.0, "intercept": -2.3},
    "temperature": {"method": "temperature", "slope": 1.7, "intercept": 0.0},
    "platt": LINEAR,
    "intercept": {"method": "intercept", "slope": 1.0, "intercept": 0.4},
    "isotonic of probabilities": {"method": "isotonic", "prob": KNOTS, "calibrated": [0.001, 0.3, 0.3, 0.95]},
    "isotonic of logits": {"method": "isotonic", "logit": [-9.0, -1.0, 4.0], "calibrated": [0.001, 0.3, 0.95]},
    "isotonic of one": {"method": "isotonic", "logit": [0.5], "calibrated": [0.25]},
}
EXTREME = [-1e4, -800.0, -40.0, -9.0, -1.0, -1e-9, 0.0, 0.5, 3.0, 4.0, 17.0, 36.0, 40.0, 800.0, 1e4]


@pytest.mark.parametrize("name", FITTED)
def test_a_calibrator_says_what_it_says_in_numpy(name):
    calibrator = Calibrator(name.split()[0], {"A": FITTED[name], "B": LINEAR, "C": FITTED["isotonic of logits"]})
    logits = np.stack([EXTREME, EXTREME[::-1], EXTREME], axis=1)
    found = Recalibration(calibrator, NAMES)(torch.tensor(logits, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(found, calibrator.apply_logits(logits, NAMES), rtol=1e-9, atol=1e-9)


def test_classes_that_exclude_each_other_are_recalibrated_together():
    by_class = {
        name: {"method": "platt", "slope": 1.3, "intercept": offset}
        for name, offset in zip(NAMES, (0, 1, -2), strict=True)
    }
    calibrator = Calibrator("platt", by_class, is_exclusive=True)
    scores = np.random.default_rng(0).normal(size=(20, 3)) * 5
    logits = scores - np.stack([np.logaddexp(scores[:, (c + 1) % 3], scores[:, (c + 2) % 3]) for c in range(3)], axis=1)
    found = Recalibration(calibrator, NAMES)(torch.tensor(logits)).numpy()
    np.testing.assert_allclose(found, calibrator.apply_logits(logits, NAMES), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(expit(found).sum(axis=1), 1)


@pytest.mark.parametrize("length", [100, 101, 149, 150, 199, 200, 201, 250, 999, 1000])
def test_stretches_lie_where_a_recording_is_cut(length):
    signal = np.sin(np.arange(12 * length).reshape(12, -1)).astype(np.float32)
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    form = {"lead_names": leads, "sampling_rate_hz": 100, "n_samples": 100}
    expected = prepare(Recording(signal, 100, leads), **form).starts_s
    for least in (100, 50):
        found = _place_stretches(torch.zeros(1, 12, length), 100, least=least)
        assert (found[:, 0] / 100).tolist() == pytest.approx(expected)
        assert (found.diff(dim=1) == 1).all() and found[-1, -1] == length - 1


@pytest.mark.parametrize("size", [1, 2, 7, 100, 250])
def test_windows_lie_where_the_nets_windows_lie(size):
    windows = Windows(size)
    for length in [*range(size, size + 60), 999, 1000, 1001, 5000]:
        found = _place_windows(torch.zeros(1, 1, length), windows)
        assert found[:, 0].tolist() == windows.find_starts(length), length


def make_net(*, windows=None, n_samples=40, seed=0):
    torch.manual_seed(seed)
    standardizer = Standardizer(torch.randn(3) * 0.1, torch.rand(3) + 0.5)
    return StandardizedNet(standardizer, CNN1D(3, n_samples, 3, width=2), windows=windows).eval()


@pytest.mark.parametrize("pooling", [None, "logits", "probabilities", "max"])
def test_a_long_record_is_the_mean_of_its_stretches_and_nets(pooling):
    windows = pooling and Windows(16, pooling)
    nets = [make_net(windows=windows, n_samples=16 if windows else 40, seed=seed) for seed in (0, 1)]
    calibrators = [Calibrator("none", dict.fromkeys(NAMES, FITTED[name])) for name in ("platt", "isotonic of logits")]
    graph = Graph([OneNet(net) for net in nets], calibrators, NAMES, n_samples=40).eval()
    assert graph.min_samples == (16 if windows else 40)
    signal = torch.randn(2, 3, 90)
    with torch.no_grad():
        found = graph(signal)
        by_stretch = [[net(signal[..., start : start + 40]).double().numpy() for net in nets] for start in (0, 40, 50)]
    expected = mean_of_probabilities(
        [
            mean_of_probabilities(
                [each.apply_logits(own, NAMES) for each, own in zip(calibrators, of_nets, strict=True)]
            )
            for of_nets in by_stretch
        ]
    )
    np.testing.assert_allclose(found.logits.numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.probabilities.numpy(), expit(expected), atol=1e-6)
    np.testing.assert_allclose(found.net_logits.numpy(), np.moveaxis(by_stretch, 2, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("blend", [
    Blend((0.25, 0.75)), Blend((0.25, 0.75), "probabilities"), Blend((0.0, 1.0), "probabilities"),
    Blend((0.25, 0.75), "logits", is_exclusive=True),
])  # fmt: skip
def test_members_are_blended_as_an_ensemble_blends_them(blend):
    nets, calibrator = [make_net(seed=0), make_net(seed=1)], Calibrator("platt", dict.fromkeys(NAMES, LINEAR))
    whole = BlendedNets([OneNet(net) for net in nets], [calibrator] * 2, NAMES, blend)
    signal = torch.randn(5, 3, 40)
    with torch.no_grad():
        own = [calibrator.apply_logits(net(signal).double().numpy(), NAMES) for net in nets]
        np.testing.assert_allclose(whole(signal).numpy(), blend.apply(own), rtol=1e-6, atol=1e-8)


def test_a_lead_of_nan_is_the_leads_mean():
    net = make_net()
    signal = torch.randn(2, 3, 40)
    signal[0, 1] = torch.nan
    with torch.no_grad():
        found = OneNet(net, may_lack_leads=True)(signal)
        torch.testing.assert_close(found, net(net.fill_absent(signal)))
        assert OneNet(net)(signal)[0].isnan().all()
