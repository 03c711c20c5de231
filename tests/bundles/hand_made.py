"""A bundle of a graph of a few operators, made without torch: the two logits are the signal's mean and its opposite."""

import hashlib
import io
import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ecgcls.bundles.directory import GRAPH, SUMS
from ecgcls.bundles.metadata import FORMAT, FORMAT_VERSION, NAME
from ecgcls.data.signals import LEADS

N_SAMPLES = 100


def make_metadata():
    """A new ``metadata.json``, to be changed."""
    linear = {"method": "none", "slope": 1.0, "intercept": 0.0}
    form = {"lead_names": list(LEADS), "sampling_rate_hz": 100, "n_samples": N_SAMPLES}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "ecgcls_version": "1.0",
        "name": "hand-made",
        "input": {
            **form, "unit": "mV", "min_samples": N_SAMPLES, "metadata": [], "may_lack_leads": False,
            "shorter": "refuse", "window": None,
        },
        "classes": [{"name": "MI", "threshold": 0.5}, {"name": "CD", "threshold": 0.25}],
        "nets": {"n": 1, "model": "mean", "experiment": "e", "variant": "", "folds": "", "n_parameters": 0},
        "decisions": {"calibrators": [{"method": "none", "by_class": {"MI": dict(linear), "CD": dict(linear)}}]},
        "training_data": {"is_synthetic": True, "parts": []},
        "run": {"status": "finished", "data": {"class_names": ["MI", "CD"], **form}},
        "task": {"_target_": "ecgcls.data.tasks.Task"},
    }  # fmt: skip


def make_model(*, n_leads=12, names=("probabilities", "logits", "net_logits"), swap=False, extra=(), scale=1.0):
    """The graph; `names` are those of its outputs, `extra` more nodes, and `scale` is what the logits are times."""
    shapes = [("batch", 2), ("batch", 2), ("batch", "stretch", 1, 2)]
    kinds = [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.DOUBLE]
    nodes = [
        helper.make_node("ReduceMean", ["signal_mv", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["positive"]),
        helper.make_node("Neg", ["positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"] if swap else ["positive", "negative"], ["both"], axis=1),
        helper.make_node("Mul", ["both", "scale"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], [names[1]], to=TensorProto.DOUBLE),
        helper.make_node("Sigmoid", ["scaled"], [names[0]]),
        helper.make_node("Unsqueeze", [names[1], "axes"], [names[2]]),
        *extra,
    ]
    weights = {
        "axes": np.array([1, 2]), "column": np.array([-1, 1]), "scale": np.float32(scale),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("signal_mv", TensorProto.FLOAT, ["batch", n_leads, "sample"])],
        [helper.make_tensor_value_info(*each) for each in zip(names, kinds, shapes, strict=True)],
        [numpy_helper.from_array(np.asarray(content), name) for name, content in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def make_certainty():
    """Four validation scores of each label of either class."""
    arrays = {
        "n_records": np.full(4, 4), "n_patients": np.full(4, 4), "scores": np.tile(np.arange(4.0), 4),
        "weights": np.tile(np.arange(1.0, 5), 4),
    }  # fmt: skip
    return pack(arrays)


def pack(arrays, save=np.savez):
    """An npz file as bytes."""
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def write_bundle(folder, files=None, *, metadata=None, seals=True):
    """Write the bundle with other `files` by name, or None for one that is missing; return its folder."""
    content = {
        NAME: json.dumps(make_metadata() if metadata is None else metadata).encode(),
        GRAPH: make_model().SerializeToString(),
        "certainty_0.npz": make_certainty(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (content | (files or {})).items():
        if data is not None:
            (folder / name).write_bytes(data)
    if seals:
        seal(folder)
    return folder


def seal(folder):
    """Have the list of hashes agree with what is there, as somebody would who means harm."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="ascii")
