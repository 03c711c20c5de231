"""The model card of a bundle: its ``README.md``, in the form of Hugging Face's model repositories.

The head between two lines of ``---`` is YAML for programs [1]_, the rest is for readers; what the run cannot know is
marked **Open**. No path and no command of the machine that trained is in it.

References
----------
.. [1] Model card metadata, https://huggingface.co/docs/hub/model-cards
.. [2] M. Mitchell et al., "Model cards for model reporting", FAT* 2019, doi:10.1145/3287560.3287596.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ecgcls.bundles.directory import CARD, SUMS
from ecgcls.data.groupings import GROUPINGS, order_groups
from ecgcls.evaluation.label_noise import format_readings
from ecgcls.evaluation.metrics import METRICS, OVERALL, RANKING
from ecgcls.evaluation.subgroups import describe_worst, score_subgroups
from ecgcls.files import restore, write_atomically
from ecgcls.reporting import facts
from ecgcls.reporting.cards import collect_content
from ecgcls.reporting.decided import describe_calibrators, describe_rule
from ecgcls.reporting.experiment import Experiment
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.info import RunInfo

_FILES = {
    "model.onnx": "the net as a graph for ONNX runtimes: millivolts in, probabilities out",
    "model.safetensors": "the weights, with their standardizers",
    "config.json": "which nets the weights belong to",
    "model.pt": "the graph as TorchScript",
    "metadata.json": "everything in this card, for programs",
    "certainty_*.npz": "validation scores, from which yes, no or not certain is said at a stated error rate",
    "likeness_*.npz": "what training records look like, for telling an ECG that is unlike them",
    "waveforms_*.npz": "hashes, signatures and ids of all records of the data set, to recognize them elsewhere",
    "predict.py": "predicts tables of samples and arrays with numpy and onnxruntime alone; `--help` says how",
    "example.csv": "a simulated ECG",
    "example_expected.json": "what is to be predicted of it",
    "LICENSE": "of code and weights",
    CARD: "this card, which may be edited: the checksums leave it out",
    SUMS: "checksums of all other files, for `sha256sum -c`",
}
_HUB_METRICS = {"pr_auc": "average_precision", "roc_auc": "roc_auc", "f1_macro": "f1"}  # names that the hub knows
_SHOWN_GROUPINGS = ("sex", "age")


def write_bundle_card(folder: Path, one: Configuration, metadata: Mapping[str, Any]) -> Path:
    """Write ``README.md`` into a bundle's folder.

    Parameters
    ----------
    folder
        The bundle; the files that are in it are listed.
    one
        The run, or the folds of a configuration, that was exported.
    metadata
        The content of ``metadata.json``.
    """
    path = folder / CARD
    text = format_bundle_card(one, metadata, file_names=[each.name for each in folder.iterdir()])
    write_atomically(path, text.encode())
    return path


def format_bundle_card(one: Configuration, metadata: Mapping[str, Any], *, file_names: Iterable[str]) -> str:
    """Return the card as text."""
    shown = _without_paths(one)
    results, table = metadata["results"], _tabulate_subgroups(shown)
    limits = facts.list_limits(Experiment(shown.info.experiment, (), (shown,), (), {}))
    readings = facts.score_label_noise(shown)
    intervals = {
        key: None if row.get("low") is None else (row["low"], row["high"], row["is_supported"])
        for key, row in results["overall"].items()
    }
    content = collect_content(
        shown,
        intervals=intervals,
        worst="" if table is None else describe_worst(table, GROUPINGS, shown.evaluation.intervals),
        limits=[line for line in limits if not line.startswith("Research software")],  # the card opens with that
        readings="" if readings is None else format_readings(readings),
    )
    config = content["config"]
    if "data.manifest" in config:
        config["data.manifest"] = Path(str(config["data.manifest"])).name
    present = {*file_names, CARD, SUMS}
    content |= {
        "bundle": metadata,
        "head": yaml.safe_dump(describe_card(metadata), sort_keys=False, allow_unicode=True, width=100),
        "files": {name: what for name, what in _FILES.items() if fnmatch.filter(present, name)},
        "labels": {key: METRICS[key].label for key in (*results["overall"], *content["by_class"])},
        "calibrated": describe_calibrators(shown),
        "rule": describe_rule(shown.info),
        "is_untuned": any(info.decisions["not_tuned"] for info in shown.infos),
        "groups": [] if table is None else _list_groups(table),
        "trained_on": _count_training(shown),
        "pooled": lambda *names: "",  # the run's own files are not in the bundle
        "cite": lambda *names: "",
    }
    text = facts.open_templates().get_template("bundle_card.md.jinja").render(content)
    return re.sub(r"\n{3,}", "\n\n", text)


def describe_card(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the YAML head of a card: the keys of ``huggingface_hub.ModelCardData``."""
    data, results = metadata["training_data"], metadata["results"]
    name = data["name"] or "unpublished data"
    slug = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
    is_published = bool(data["license"]) and not data["is_synthetic"]
    scored = {key: row["value"] for key, row in results["overall"].items() if row["value"] is not None}
    averaged = f", mean over {len(results['folds'])} folds" * (len(results["folds"]) > 1)
    metrics = [
        {"type": _HUB_METRICS.get(key, key), "value": round(value, 4), "name": METRICS[key].label + averaged}
        for key, value in scored.items()
    ]
    head: dict[str, Any] = {
        "license": metadata["license"].lower(),
        "library_name": "ecgcls",
        "pipeline_tag": "other",  # the hub has no task for time series but forecasting
        "tags": [
            "ecg",
            "electrocardiography",
            "time-series-classification",
            "onnx",
            *(["simulated-data"] if data["is_synthetic"] else []),
        ],
        "datasets": [slug] if is_published else None,
        "metrics": [each["type"] for each in metrics],
        "model-index": [
            {
                "name": metadata["name"],
                "results": [
                    {
                        "task": {"type": "other", "name": "12-lead ECG classification"},
                        "dataset": {"type": slug, "name": name, "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    if not metrics:  # the hub refuses results without a metric
        del head["model-index"]
    return {key: value for key, value in head.items() if value}


def _without_paths(one: Configuration) -> Configuration:
    """Return what was exported, as a configuration whose runs tell no place on the machine that trained them."""
    n_folds = 1 if one.is_single_run else one.n_folds  # the bundle has no other
    shown = replace(one, name=one.name or one.info.model, n_folds=n_folds)
    vars(shown)["infos"] = tuple(map(_hide_paths, one.infos))  # where the cached property keeps them
    return shown


def _hide_paths(info: RunInfo) -> RunInfo:
    init = info.init
    if init:
        init = {**init, "source": {**init["source"], "path": Path(init["source"]["path"]).name}}
    data = {**info.data, "root": Path(info.data["root"]).name}
    return replace(info, init=init, data=data, command=[])


def _tabulate_subgroups(one: Configuration) -> pd.DataFrame | None:
    """Return the scores of subgroups as the runs wrote them, else measured now; None where there are no subgroups."""
    if one.groups.empty or not len(one.groups.columns):
        return None
    folder = one.runs[0].path if len(one.runs) == 1 else one.folder / "cv"
    path = folder / "subgroups.csv"
    if path.is_file() and (len(one.runs) == 1 or one.is_complete):
        return pd.read_csv(path, keep_default_na=False, na_values=[""], converters={"class": restore, "group": restore})
    settings = one.evaluation
    return score_subgroups(one.tested, one.groups, settings=settings.subgroups, intervals=settings.intervals)


def _list_groups(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the groupings that the card shows: macro scores of each subgroup."""
    rows = []
    overall = table[(table["class"] == OVERALL) & table["metric"].isin(RANKING)]
    for grouping in _SHOWN_GROUPINGS:
        of_grouping = overall[overall["grouping"] == grouping]
        for group in order_groups(of_grouping["group"]):
            cells: Any = of_grouping[of_grouping["group"] == group].set_index("metric").to_dict("index")
            rows.append({**cells["roc_auc"], "title": GROUPINGS[grouping], "cells": cells})
    return rows


def _count_training(one: Configuration) -> dict[str, str]:
    """Return by class how many training records are positive, over the folds."""
    counts = {name: [info.data["parts"]["train"]["n_positive"][name] for info in one.infos] for name in one.class_names}
    return {
        name: f"{min(each):,}" if min(each) == max(each) else f"{min(each):,} to {max(each):,}"
        for name, each in counts.items()
    }
