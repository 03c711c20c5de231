"""A finished run, the mean of its folds or an ensemble, written as a bundle."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors.torch import save

from ecgcls import __version__
from ecgcls.bundles.directory import CARD, GRAPH, LICENSE, NETS, READER, SUMS, WEIGHTS, BundleDirectory, open_bundle
from ecgcls.bundles.metadata import FORMAT, FORMAT_VERSION, NAME, BundleInfo
from ecgcls.data.seen import GROUPS
from ecgcls.errors import ConfigError
from ecgcls.files import format_json, remove_leftovers, write_arrays
from ecgcls.jobs.bundle_weights import describe_nets
from ecgcls.jobs.export_example import write_example
from ecgcls.jobs.export_facts import describe_for_people
from ecgcls.jobs.export_parity import measure_parity
from ecgcls.jobs.load import load_configuration
from ecgcls.jobs.load_bundle import INPUTS, OUTPUTS, load_bundle
from ecgcls.jobs.load_ensemble import BlendedNet, LoadedEnsemble
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.runs.configuration import Configuration
from ecgcls.training.graph import BlendedNets, Graph, OneNet
from ecgcls.training.standardizer import StandardizedNet

log = logging.getLogger(__name__)

Format = Literal["onnx", "safetensors", "torchscript"]
OPSET = 20
"""Of the ONNX graph."""

WriteCard = Callable[[Path, Configuration, Mapping[str, Any]], object]
"""Writes what a bundle is into its folder, given the run and the content of ``metadata.json``."""

_OF_A_MACHINE = ("command", "process", "machine", "git", "tracking_id", "stages_s", "n_starts")
"""What ``run.json`` says of where a run was trained, which does not travel."""
_PLACES = ("root", "manifest", "path")


def export_bundle(
    one: Configuration,
    folder: Path,
    *,
    formats: Sequence[str] = ("onnx", "safetensors"),
    waveforms: bool = False,
    trust: Sequence[str] = (),
    write_card: WriteCard | None = None,
) -> BundleDirectory:
    """Write a bundle into a new folder, or in place of an older bundle.

    Parameters
    ----------
    one
        The run, or the folds whose mean is exported.
    formats
        How the nets are written, of `Format`; ``onnx`` always is.
    waveforms
        Whether hashes, signatures and ids of all records of the data set, by part (train, val, test, unlabeled), are in
        it, so that these records are recognized elsewhere.
    write_card
        Writes the model card; None: there is none.

    Raises
    ------
    ConfigError
        If the run has no net, its members take different input, or the folder holds anything else.
    DataError
        If the graph says something else than the nets (`ecgcls.jobs.export_parity`). Nothing is left behind.
    """
    check_formats(formats)
    check_place(folder, one)
    run = load_configuration(one, trust=trust)
    if isinstance(run, LoadedEnsemble):
        raise ConfigError(f"{one.folder}: its members take different input, one graph cannot: export each member")
    graph = make_graph(run)
    with _replaced(folder) as place:
        (place / GRAPH).write_bytes(_to_onnx(graph, run))
        if "safetensors" in formats:
            weights = {key: each.contiguous() for key, each in graph.state_dict().items()}
            (place / WEIGHTS).write_bytes(save(weights))
            (place / NETS).write_bytes(format_json(describe_nets(one)))
        if "torchscript" in formats:
            (place / "model.pt").write_bytes(_to_torchscript(graph, run))
        for number, conformal in enumerate(run.conformals):
            write_arrays(place / f"certainty_{number}.npz", conformal.to_arrays())
        kept = [each for each in run.kept_likenesses if each is not None]
        for number, likeness in enumerate(kept if len(kept) == len(run.kept_likenesses) else ()):
            likeness.write(place / f"likeness_{number}.npz")
        if waveforms and run.seen is not None:
            for part in GROUPS:
                run.seen.groups[part].write(place / f"waveforms_{part}.npz")
        (place / READER.name).write_bytes(READER.read_bytes())
        (place / "LICENSE").write_bytes(LICENSE.read_bytes())
        write_example(place, run)
        content = describe_bundle(one, run, graph)
        BundleInfo(json.loads(format_json(content)), str(folder / NAME))
        _write_content(place, content)
        parity = measure_parity(one, run, load_bundle(place), trust=trust)
        if write_card is not None:
            write_card(place, one, content | {"parity": parity})
        _write_content(place, content | {"parity": parity})
    return open_bundle(folder)


def _write_content(place: Path, content: dict[str, Any]) -> None:
    (place / NAME).write_bytes(format_json(content))
    write_sums(place)


def check_formats(formats: Sequence[str]) -> None:
    """Refuse what is no format."""
    if unknown := [name for name in formats if name not in get_args(Format)]:
        raise ConfigError(f"format must be some of {', '.join(get_args(Format))}, got {unknown[0]!r}")


def check_place(folder: Path, one: Configuration) -> None:
    """Refuse a folder that holds anything but an older bundle of the same run, or of the same folds."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output: {folder} is a file, expected a folder for the bundle; name another")
    if folder.is_dir() and (names := sorted(path.name for path in folder.iterdir())):
        older = open_bundle(folder) if NAME in names else None
        known = {SUMS, CARD, *older.sums} if older else set()
        if foreign := [name for name in names if name not in known]:
            raise ConfigError(
                f"output: {folder} is not empty ({foreign[0]} is in it), and no bundle; name a new folder"
            )
        if older and (other := _find_other(older.info, one)):
            raise ConfigError(f"output: {folder} is a bundle of another run ({other}); name a new folder, or delete it")


def _show(value: object) -> object:
    return "none" if value == "" else value


def _find_other(older: BundleInfo, one: Configuration) -> str:
    """Say in what the run of an older bundle is another one; empty if it is the same."""
    found, data = {**older.content["nets"]}, older.content.get("training_data", {})
    own: dict[str, object] = {"experiment": one.info.experiment, "model": one.info.model, "variant": one.info.variant}
    found["fold"] = "mean of folds" if found["folds"] else older.run.fold
    own["fold"] = one.info.fold if one.is_single_run else "mean of folds"
    found["signals"], own["signals"] = (
        str(each.get("signals"))[:12] for each in (data.get("fingerprint", {}), one.info.data["fingerprint"])
    )
    return ", ".join(f"{key} {_show(found[key])}, here {_show(at)}" for key, at in own.items() if found[key] != at)


def make_graph(run: LoadedRun) -> Graph:
    """Return the nets of a run as one module, ready to be exported."""
    nets = [_take_net(net, run) for net in run.nets]
    graph = deepcopy(Graph(nets, run.calibrators, run.class_names, n_samples=run.n_samples))  # the run stays as it is
    for module in graph.modules():
        prepare: Any = getattr(module, "prepare_export", None)
        if prepare is not None:  # it computes the same afterwards, in a way that a graph can hold
            prepare()
    return graph.eval().requires_grad_(False)


def _take_net(net: StandardizedNet, run: LoadedRun) -> OneNet | BlendedNets:
    if isinstance(net, BlendedNet):
        members = [OneNet(member, may_lack_leads=run.may_lack_leads) for member in net.members]
        return BlendedNets(members, net.calibrators, run.class_names, net.blend)
    return OneNet(net, may_lack_leads=run.may_lack_leads)


def describe_bundle(one: Configuration, run: LoadedRun, graph: Graph) -> dict[str, Any]:
    """Return the content of ``metadata.json``."""
    info = run.info.to_dict()
    info = {key: value for key, value in info.items() if key not in _OF_A_MACHINE}
    info = _drop_places(info)
    window = run.info.data.get("windows")
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "ecgcls_version": __version__,
        **describe_for_people(one, run.nets, lead_names=run.lead_names, metadata_names=run.metadata_names),
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "onnx_opset": OPSET,
        "input": {
            "lead_names": list(run.lead_names),
            "sampling_rate_hz": run.sampling_rate_hz,
            "unit": "mV",
            "n_samples": run.n_samples,
            "min_samples": graph.min_samples,
            "window": window or None,
            "metadata": list(run.metadata_names),
            "may_lack_leads": run.may_lack_leads,
            "shorter": "pad" if run.pads else "refuse",
        },
        "nets": {
            "n": run.n_nets,
            "model": run.info.model,
            "experiment": run.info.experiment,
            "variant": run.info.variant,
            "folds": run.folds,
            "n_parameters": run.info.n_parameters,
        },
        "decisions": {
            "threshold_rule": run.info.decisions.get("threshold_rule", {}),
            "calibrators": [each.to_dict() for each in run.calibrators],
        },
        "run": info,
        "task": dict(one.runs[0].read_config()["task"]),
    }


def _drop_places(node: Any) -> Any:
    """Return plain data without the keys that say where something lay on the machine that trained."""
    if isinstance(node, Mapping):
        return {key: _drop_places(value) for key, value in node.items() if key not in _PLACES}
    return [_drop_places(value) for value in node] if isinstance(node, list | tuple) else node


def _make_example(run: LoadedRun) -> tuple[torch.Tensor, ...]:
    """Return inputs that no shape of the graph is fixed by: two recordings, each of two stretches and a half."""
    signal = torch.zeros(2, len(run.lead_names), 5 * run.n_samples // 2)
    return (signal, torch.zeros(2, len(run.metadata_names))) if run.metadata_names else (signal,)


def _to_onnx(graph: Graph, run: LoadedRun) -> bytes:
    from torch.export import Dim

    batch = Dim("batch", min=1)
    shapes = ({0: batch, 2: Dim("sample", min=graph.min_samples)}, {0: batch})[: 1 + bool(run.metadata_names)]
    with _quiet_exporter():
        program = torch.onnx.export(
            graph,
            _make_example(run),
            dynamo=True,
            input_names=list(INPUTS[: len(shapes)]),
            output_names=list(OUTPUTS),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():  # where each came from: paths of this machine
        node.metadata_props.clear()
        node.doc_string = None
    content: bytes = program.model_proto.SerializeToString()
    return content


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Leave out what the exporter says of every node, and of its own use of torch."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _to_torchscript(graph: Graph, run: LoadedRun) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what would be a constant: shapes that never change
        torch.jit.save(torch.jit.trace(graph, _make_example(run), check_trace=False), buffer)
    return buffer.getvalue()


def write_sums(folder: Path) -> None:
    """Write the list of all files with their hashes, but for the card."""
    names = sorted(path.name for path in folder.iterdir() if path.name not in (SUMS, CARD))
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="ascii", newline="")


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside, which takes the place of the older one once all of it is written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    place.mkdir()
    try:
        yield place
        remove_leftovers(place)
        if folder.exists():
            shutil.rmtree(folder)
        place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)
