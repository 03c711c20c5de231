"""Every net as a graph: what onnxruntime and TorchScript say of it against torch, at any batch and length."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.special import expit
from torch import nn

from ecgcls.bundles.graph_file import check_graph
from ecgcls.bundles.session import open_session
from ecgcls.config import CONF_DIR
from ecgcls.data.recordings import Recording
from ecgcls.evaluation.blending import Blend
from ecgcls.evaluation.logits import mean_of_probabilities
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.jobs.export import _to_onnx, _to_torchscript, make_graph
from ecgcls.jobs.load_bundle import OUTPUTS
from ecgcls.jobs.load_ensemble import BlendedNet
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.jobs.parts import build_net
from ecgcls.runs.info import RunInfo
from ecgcls.training.standardizer import StandardizedNet, Standardizer
from ecgcls.training.windows import Windows

NAMES = ("A", "B", "C", "D")
BOUND = 1e-5  # of a probability; a bundle's is 1e-4
BASELINES = {"prevalence", "age_sex"}
SMALL = {  # the same layers, fewer of them, so that all nets are exported within seconds
    "lstm_bidir": {"width": 8}, "minirocket": {"n_features": 300, "differences": 0.3}, "s4d": {"width": 8, "depth": 2},
    "xresnet1d50": {"blocks": [1, 1, 1, 1]}, "cnn1d": {"width": 4},
}  # fmt: skip
LINEAR = {"method": "platt", "slope": 0.7, "intercept": -0.3}
CALIBRATORS = [
    Calibrator(one["method"], dict.fromkeys(NAMES, one))
    for one in (
        {"method": "none", "slope": 1.0, "intercept": 0.0},
        {"method": "temperature", "slope": 1.7, "intercept": 0.0},
        LINEAR,
        {"method": "isotonic", "prob": [0.01, 0.2, 0.21, 0.9], "calibrated": [0.001, 0.3, 0.3, 0.95]},
        {"method": "isotonic", "logit": [-9.0, -1.0, 4.0], "calibrated": [0.001, 0.3, 0.95]},
        {"method": "intercept", "slope": 1.0, "intercept": 0.4},
    )
]
EXCLUSIVE = Calibrator("platt", dict.fromkeys(NAMES, LINEAR), is_exclusive=True)


def read_choice(name, **changes):
    return {**yaml.safe_load((CONF_DIR / "model" / f"{name}.yaml").read_text()), **changes}


def make_nets(nodes, *, n_leads, n_samples, metadata=(), windows=(None,), exclusive=False):
    """Untrained nets, with statistics of batch norm and whatever else a training would have moved."""
    torch.manual_seed(0)
    nets = []
    for number, node in enumerate(nodes):
        window = windows[number % len(windows)]
        config = {"model": {**node, "metadata": list(metadata)}, "task": {"exclusive": exclusive}}
        size = n_samples if window is None else window.n_samples
        net = build_net(config, n_leads=n_leads, n_samples=size, n_classes=len(NAMES))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                nn.init.normal_(module.weight, 1, 0.2)
            for name, values in module.named_buffers(recurse=False):
                if name in ("bias", "median"):  # of MiniRocket, and of metadata
                    values.normal_(0, 2)
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.bias, 0, 0.5)
        standardizer = Standardizer(torch.randn(n_leads) * 0.1, torch.rand(n_leads) + 0.5)
        nets.append(StandardizedNet(standardizer, net, windows=window).eval().requires_grad_(False))
    return nets


def make_run(nets, *, n_samples, n_leads=3, calibrators=None, metadata=(), may_lack_leads=False, rate_hz=100):
    if calibrators is None:
        calibrators = [CALIBRATORS[number % len(CALIBRATORS)] for number in range(len(nets))]
    return LoadedRun(
        path=Path("run"), nets=tuple(nets), class_names=NAMES, lead_names=("I", "II", "V2", "V5", "V1", "V6")[:n_leads],
        sampling_rate_hz=rate_hz, n_samples=n_samples, thresholds=dict.fromkeys(NAMES, 0.5),
        calibrators=tuple(calibrators), info=RunInfo(status="finished"), metadata_names=metadata,
        may_lack_leads=may_lack_leads,
    )  # fmt: skip


def expect(run, signal_mv, metadata):
    """What the library says: the mean probabilities, and each net's logits ``(batch, stretch, net, class)``."""
    logits, by_net = [], []
    for number, record in enumerate(signal_mv):
        there = ~np.isnan(record[:, 0])  # a lead of nan is not there
        names = tuple(np.array(run.lead_names)[there])
        windows_mv = run.prepare(Recording(record[there], run.sampling_rate_hz, names)).windows_mv
        beside = None if metadata is None else np.tile(metadata[number].astype(float), (len(windows_mv), 1))
        raw = run.apply_nets(windows_mv, beside)
        by_net.append(raw.transpose(1, 0, 2))
        logits.append(mean_of_probabilities(run.average(raw)))
    return expit(np.array(logits)), np.array(by_net)


def hold_against_torch(run, *, batches=(1, 3), torchscript=True):
    """Compare the run's graph, in both forms, with the run itself."""
    graph = make_graph(run)  # of copies: the run's own nets compute as ever
    content = _to_onnx(graph, run)
    check_graph(content, where="model.onnx")
    session = open_session(content, where="model.onnx")
    module = torch.jit.load(io.BytesIO(_to_torchscript(graph, run))) if torchscript else None
    rng, n = np.random.default_rng(0), run.n_samples
    found = {}
    for n_records, length in [(batches[0], n), (batches[1], n + 1), (2, 5 * n // 2), (batches[-1], n)]:
        signal_mv = rng.normal(0, 0.4, (n_records, len(run.lead_names), length)).astype(np.float32)
        given = {"signal_mv": signal_mv}
        if run.may_lack_leads:
            signal_mv[0, 1] = np.nan
        if run.metadata_names:
            given["metadata"] = rng.normal(50, 20, (n_records, len(run.metadata_names))).astype(np.float32)
            given["metadata"][0, 0] = np.nan
        expected, by_net = expect(run, signal_mv, given.get("metadata"))
        answers = {"onnxruntime": session.run(OUTPUTS, given)}
        if module is not None:
            answers["torchscript"] = [each.numpy() for each in module(*map(torch.from_numpy, given.values()))]
        for runtime, (probabilities, logits, net_logits) in answers.items():
            where = runtime, n_records, length
            assert net_logits.shape == by_net.shape and np.isfinite(net_logits).all(), where
            by_each = abs(expit(net_logits) - expit(by_net)).max(axis=(0, 1, 3))
            found[where] = max(by_each)
            assert by_each.max() < BOUND, (*where, dict(enumerate(by_each.round(7).tolist())))
            assert abs(probabilities - expected).max() < BOUND, where
            assert abs(expit(logits) - probabilities).max() < 1e-6, where
    return found


def list_nets():
    nodes = {
        path.stem: read_choice(path.stem, **SMALL.get(path.stem, {}))
        for path in sorted((CONF_DIR / "model").glob("*.yaml"))
        if path.stem not in {*BASELINES, "xresnet1d101"}  # the class of xresnet1d50, with more blocks
    }
    return nodes | {"spectrogram": read_choice("cnn2d", image="spectrogram")}


@pytest.mark.slow
def test_a_small_net_says_the_same_as_a_graph():
    windows = Windows(16, "probabilities")
    nets = make_nets([read_choice("cnn1d", width=2)], n_leads=3, n_samples=40, windows=[windows])
    hold_against_torch(make_run(nets, n_samples=40, calibrators=CALIBRATORS[4:5]), torchscript=False)


@pytest.mark.slow
def test_every_net_of_whole_records_says_the_same_as_a_graph():
    nodes = list_nets()
    assert len({node["_target_"] for node in nodes.values()}) == 10
    nets = make_nets(nodes.values(), n_leads=3, n_samples=100)
    hold_against_torch(make_run(nets, n_samples=100), batches=(1, 3, 64))


@pytest.mark.slow
def test_nets_of_windows_with_metadata_and_absent_leads_say_the_same_as_a_graph():
    nodes = {name: list_nets()[name] for name in ("cnn1d", "cnn2d", "lstm_bidir", "s4d", "fcn_wang", "spectrogram")}
    windows = [Windows(50, pooling) for pooling in ("logits", "probabilities", "max")]
    nets = make_nets(nodes.values(), n_leads=6, n_samples=170, metadata=["age", "sex"], windows=windows)
    run = make_run(nets, n_samples=170, n_leads=6, metadata=("age", "sex"), may_lack_leads=True, rate_hz=500)
    hold_against_torch(run, batches=(1, 3, 64))


@pytest.mark.slow
@pytest.mark.parametrize("is_exclusive", [False, True])
def test_ensembles_and_exclusive_classes_say_the_same_as_a_graph(is_exclusive):
    nodes = [read_choice("cnn1d", width=2), read_choice("cnn1d", width=3)]
    windows = [Windows(40, "logits"), None]
    nets = make_nets(nodes, n_leads=3, n_samples=100, windows=windows, exclusive=is_exclusive)
    own = [EXCLUSIVE, EXCLUSIVE] if is_exclusive else [CALIBRATORS[2], CALIBRATORS[4]]
    members = [make_run([net], n_samples=100, calibrators=[one]) for net, one in zip(nets, own, strict=True)]
    blends = [Blend((0.25, 0.75), "logits", is_exclusive), Blend((0.3, 0.7), "probabilities", is_exclusive)]
    blended = [BlendedNet(members, blend) for blend in blends]
    calibrators = [EXCLUSIVE] * 2 if is_exclusive else CALIBRATORS[1:3]
    hold_against_torch(make_run(blended, n_samples=100, calibrators=calibrators))
