"""The weights of a bundle as nets in torch again: ``model.safetensors``, and ``config.json``, which says what they are.

A bundle may be anybody's: only nets of ecgcls and torch are built (`ecgcls.jobs.trust`), and none that is not of the
size of the weights that are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from safetensors.torch import load

from ecgcls.bundles.directory import NETS, WEIGHTS, BundleDirectory
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.blending import Blend
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.jobs.load import check_shapes
from ecgcls.jobs.parts import build_net
from ecgcls.jobs.trust import take_trusted
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.members import open_members, read_blend
from ecgcls.runs.saved import read_json
from ecgcls.training.graph import BlendedNets, Graph, OneNet
from ecgcls.training.standardizer import StandardizedNet, Standardizer
from ecgcls.training.windows import Windows

_MAX_BYTES = 5_000_000


def describe_nets(one: Configuration) -> dict[str, Any]:
    """Return the content of ``config.json``: by net the class and its settings, and its windows.

    An ensemble has its members in their place, with the calibrator and the weight of each.
    """
    return {"weights": WEIGHTS, "nets": [_describe_net(run) for run in one.runs]}


def _describe_net(run: RunDirectory) -> dict[str, Any]:
    info = run.read_info()
    if info.kind != "ensemble":
        return {"model": dict(run.read_config()["model"]), "window": info.data.get("windows") or None}
    blend, members = read_blend(info), open_members(run)
    return {
        "members": [_describe_net(member) for member in members],
        "calibrators": [member.read_info().read_decisions().calibrator.to_dict() for member in members],
        "blend": {"weights": list(blend.weights), "average": blend.average, "is_exclusive": blend.is_exclusive},
    }


def load_graph(bundle: BundleDirectory, *, trust: Sequence[str] = ()) -> Graph:
    """Build the nets of a bundle in torch, with its weights, as the module that its graph was made of.

    Raises
    ------
    DataError
        If ``config.json`` does not describe nets, or not those of the weights.
    ConfigError
        If it names a net that is not trusted, or one that cannot be built.
    """
    why = f"{bundle.path / NETS}: not the nets of {WEIGHTS}"
    content, stored = bundle.read(WEIGHTS), read_json(bundle.check(NETS), max_bytes=_MAX_BYTES)
    try:
        weights = load(content)
        nets = [
            _build(each, bundle, weights, prefix=f"nets.{number}.", trust=trust)
            for number, each in enumerate(stored["nets"])
        ]
        info = bundle.info
        graph = Graph(nets, info.calibrators, info.class_names, n_samples=info.content["input"]["n_samples"])
        graph.load_state_dict(weights)
    except ConfigError as error:
        raise ConfigError(f"{why} ({error})") from error
    except Exception as error:  # whatever a file that is not what it should be runs into
        raise DataError(f"{why} ({' '.join(str(error).split())[:200]})") from error
    return graph.eval().requires_grad_(False)


def _build(
    node: Mapping[str, Any],
    bundle: BundleDirectory,
    weights: Mapping[str, torch.Tensor],
    *,
    prefix: str,
    trust: Sequence[str],
) -> OneNet | BlendedNets:
    """Build a net, or the members of an ensemble, whose weights are called `prefix` and more."""
    info, form = bundle.info, bundle.info.content["input"]
    if "members" in node:
        members: list[Any] = [
            _build(member, bundle, weights, prefix=f"{prefix}nets.{number}.", trust=trust)
            for number, member in enumerate(node["members"])
        ]
        calibrators = [Calibrator.from_dict(each) for each in node["calibrators"]]
        blend = Blend(**{**node["blend"], "weights": tuple(node["blend"]["weights"])})
        return BlendedNets(members, calibrators, info.class_names, blend)
    config = {"model": node["model"], "task": info.content["task"]}
    groups = {group: take_trusted(config, group, trust=trust) for group in config}
    windows = Windows(**node["window"]) if node["window"] else None
    n_leads, n_samples = len(form["lead_names"]), windows.n_samples if windows else form["n_samples"]
    make_net = partial(build_net, groups, n_leads=n_leads, n_samples=n_samples, n_classes=len(info.class_names))
    check_shapes(make_net, {key.removeprefix(prefix): each for key, each in weights.items() if key.startswith(prefix)})
    standardizer = Standardizer(torch.zeros(n_leads), torch.ones(n_leads))
    return OneNet(StandardizedNet(standardizer, make_net(), windows=windows), may_lack_leads=form["may_lack_leads"])
