"""Whether a bundle is whole and says what it should: its checksums, its metadata, and its example again."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgcls.bundles.directory import CARD, NETS, SUMS, WEIGHTS, BundleDirectory, open_bundle
from ecgcls.data.sample_tables import read_table
from ecgcls.errors import DataError
from ecgcls.files import printable
from ecgcls.jobs.load_bundle import LoadedBundle, load_bundle

BOUND = 1e-4
"""Of a probability's difference from what is expected."""
EXAMPLE, EXPECTED = "example.csv", "example_expected.json"


class Check(NamedTuple):
    """What was checked, on what, and what was found."""

    what: str
    on: str
    found: str


def check_bundle(path: Path, *, trust: Sequence[str] = ()) -> list[Check]:
    """Check a bundle, and return what was found.

    The example is predicted by onnxruntime and, where torch is installed and the bundle has its weights, by torch;
    `trust` names packages besides ecgcls whose nets torch may build.

    Raises
    ------
    ConfigError
        If there is no bundle, or its net is of a package that is not trusted.
    DataError
        If a file is missing, damaged or not the one that the bundle was made with, the metadata do not fit, or a
        probability of the example is more than `BOUND` away from what is expected.
    """
    bundle = open_bundle(path)
    for name in bundle.sums:
        bundle.check(name)
    content = bundle.info.content
    checks = [
        Check("checksums", f"{len(bundle.sums)} files", f"those of {SUMS}"),
        Check(
            "metadata", f"format {content['format_version']}", f"{content['name']}, {len(content['classes'])} classes"
        ),
        Check("model card", CARD, _describe_card(bundle)),
    ]
    if foreign := sorted(each.name for each in path.iterdir() if each.name not in {*bundle.sums, SUMS, CARD}):
        checks.append(
            Check("other files", printable(", ".join(foreign[:5])) + ", ..." * (len(foreign) > 5), "not of the bundle")
        )
    return [*checks, *_check_example(bundle, trust)]


def _describe_card(bundle: BundleDirectory) -> str:
    if CARD in bundle:
        return f"as listed in {SUMS}"
    return (
        f"there, not checked: it may be edited, so {SUMS} leaves it out"
        if (bundle.path / CARD).is_file()
        else "missing"
    )


def _check_example(bundle: BundleDirectory, trust: Sequence[str]) -> list[Check]:
    if EXAMPLE not in bundle or EXPECTED not in bundle:
        return [Check("example", EXAMPLE, "the bundle has none")]
    import onnxruntime

    expected = _read_expected(bundle)
    loaded = load_bundle(bundle.path)
    recording = read_table(bundle.check(EXAMPLE))
    found = loaded.predict(
        recording.signal_mv, sampling_rate_hz=recording.sampling_rate_hz, lead_names=recording.lead_names
    )
    runtime = f"onnxruntime {onnxruntime.__version__}"
    checks = [Check("example", runtime, _compare(bundle, found.y_prob, expected, runtime))]
    if any(name not in bundle for name in (WEIGHTS, NETS)):
        return checks
    if not all(importlib.util.find_spec(name) for name in ("torch", "safetensors")):
        return [*checks, Check("weights", "torch", "not installed, not checked")]
    return [*checks, _check_weights(loaded, recording.signal_mv, expected, trust)]


def _check_weights(
    loaded: LoadedBundle, signal_mv: np.ndarray, expected: Mapping[str, float], trust: Sequence[str]
) -> Check:
    """Predict the example, which is in the form that the nets take, with the bundle's weights in torch."""
    import torch

    from ecgcls.jobs.bundle_weights import load_graph

    graph = load_graph(loaded.bundle, trust=trust)
    beside = torch.full((1, len(loaded.metadata_names)), torch.nan) if loaded.metadata_names else None
    with torch.inference_mode():
        probabilities = graph(torch.from_numpy(signal_mv)[None], beside).probabilities[0].tolist()
    runtime = f"torch {torch.__version__}"
    found = dict(zip(loaded.class_names, probabilities, strict=True))
    return Check("weights", runtime, _compare(loaded.bundle, found, expected, runtime))


def _read_expected(bundle: BundleDirectory) -> dict[str, float]:
    """Read the probabilities that are expected, one of each class."""
    try:
        stored = json.loads(bundle.read(EXPECTED))["probabilities"]
        expected = {str(name): float(value) for name, value in stored.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{bundle.path / EXPECTED}: no probabilities by class ({error!r:.100})") from error
    if expected.keys() != set(bundle.info.class_names):
        raise DataError(f"{bundle.path / EXPECTED}: its classes are not those of metadata.json")
    return expected


def _compare(bundle: BundleDirectory, found: Mapping[str, float], expected: Mapping[str, float], runtime: str) -> str:
    """Say how far probabilities are from what is expected; a DataError where that is too far."""
    far = {name: abs(found[name] - value) for name, value in expected.items()}
    name = max(far, key=lambda name: np.nan_to_num(far[name], nan=np.inf))
    if not far[name] <= BOUND:  # also nan
        raise DataError(
            f"{bundle.path}: {runtime} gives the example a probability of {found[name]:.6f} for {name}, expected "
            f"{expected[name]:.6f} (allowed: {BOUND:g} away)"
        )
    return f"{far[name]:.1e} away from what is expected (allowed: {BOUND:g})"
