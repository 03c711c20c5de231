"""What the metadata of a bundle says to people: what it is, from which data, how well it did, under which terms.

The names are those of MONAI's bundles where they fit [1]_; ours is none of these, since its files lie elsewhere.

References
----------
.. [1] MONAI bundle specification, https://docs.monai.io/en/latest/mb_specification.html
"""

import inspect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ecgcls import __version__
from ecgcls.data.class_codes import describe_classes
from ecgcls.data.source import SIMULATED, Publication, split_settings
from ecgcls.errors import ConfigError
from ecgcls.evaluation.metrics import OVERALL, class_metrics, overall_metrics
from ecgcls.jobs.parts import build_part
from ecgcls.jobs.results import bound_headline
from ecgcls.jobs.trust import take_trusted
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.info import RunInfo

INTENDED_USE = (
    "Research software, not a medical device. Nothing here is fit for decisions about patients: it has not been "
    "validated for that, and no authority has cleared it."
)
VERSION = "1.0.0"
"""Of the bundle itself; whoever changes what is in it counts on."""
_MAX_PART = 30
"""Characters of a part of a name."""
_SELF = "ecgcls: deep learning for 12-lead ECGs (version {version}). MIT license."
_COLUMNS = ("value", "low", "high", "is_supported")


def describe_for_people(
    one: Configuration, nets: Iterable[Any] = (), *, lead_names: Sequence[str], metadata_names: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the keys of ``metadata.json`` that are for people, of a run or of the folds of a configuration.

    Parameters
    ----------
    nets
        The nets, whose docstrings say what to cite.
    lead_names, metadata_names
        What the nets take, which the formats of input and output describe.
    """
    config, info = one.runs[0].read_config(), one.info
    published, results = read_publication(config, is_simulated=info.synthetic), measure(one)
    classes = describe_classes(
        one.class_names, config["task"], has_own_labels=bool("manifest" in config["data"] and not info.synthetic)
    )
    kind = "An ensemble" if info.kind == "ensemble" else f"The net {info.model}"
    of = f"fold {info.fold}" if one.is_single_run else f"the mean of {one.folds}"
    title = published.title or "an unpublished data set"
    calibration = describe_calibration(one.infos)
    return {
        "name": name_bundle(info, title if published.title else ""),
        "version": VERSION,
        "changelog": {VERSION: f"trained {(info.finished or '')[:10]}, exported by ecgcls {__version__}"},
        "description": f"{kind}, {of}: {len(one.class_names)} classes of ECGs with {len(lead_names)} leads, from "
        f"{title}. It gives {calibration}. {INTENDED_USE}",
        "calibration": calibration,
        "authors": "not recorded: whoever trained it",
        "copyright": "code: Copyright (c) 2026 the ecgcls developers",
        "license": "MIT",
        "intended_use": INTENDED_USE,
        "data_source": "; ".join([title, *published.references[:1]]),
        "data_type": f"ECGs, {len(lead_names)} leads, mV" + " (simulated)" * info.synthetic,
        "references": [_SELF.format(version=__version__), *cite_nets(nets), *published.references],
        "eval_metrics": {
            f"macro_{key.removesuffix('_macro')}": row["value"] for key, row in results["overall"].items()
        },
        "network_data_format": describe_formats(lead_names, metadata_names, classes),
        "classes": [each | {"threshold": one.thresholds[each["name"]]} for each in classes],
        "training_data": describe_training_data(one, published),
        "results": results,
    }


def name_bundle(info: RunInfo, data_name: str) -> str:
    """Return a short name by which bundles are told apart: model, experiment, data set, and variant or else date."""
    data_name = "simulated" if info.synthetic else data_name
    short = [name for name in (data_name, info.variant) if len(name) <= _MAX_PART]  # what is long stands in the card
    parts = [info.model, info.experiment, *short]
    if info.variant not in short or not info.variant:
        parts.append((info.finished or "")[:10])
    return "-".join(re.sub(r"[^A-Za-z0-9_.=]+", "-", part).strip("-") for part in parts if part)


def describe_calibration(infos: Sequence[RunInfo]) -> str:
    """Say what the probabilities of the nets of some runs, or of their mean, are, and how far they are calibrated."""
    methods = [each.decisions["calibrator"]["by_class"][name]["method"] for each in infos for name in each.class_names]
    n_fitted = sum(method in ("platt", "temperature", "isotonic") for method in methods)
    is_weighted = any(weight != 1 for each in infos for weight in each.pos_weight or ())
    where = "on the validation records" + " of each fold" * (len(infos) > 1)
    if n_fitted == len(methods):
        how = f"recalibrated {where}"
    elif n_fitted:
        how = f"recalibrated {where} in {n_fitted} of {len(methods)} cases, not in the others"
    else:
        only = "; only the loss's weight is taken out" * (is_weighted and "unweighted" in methods)
        how = f"not recalibrated{only}"
    if len(infos) == 1:
        return f"probabilities ({how})"
    mean = "the mean itself: neither recalibrated nor tested"
    return f"the mean of {len(infos)} nets' probabilities (each net: {how}; {mean})"


def read_publication(config: Mapping[str, Any], *, is_simulated: bool) -> Publication:
    """Return under what name and terms a run's data set is published; simulated ECGs are so whatever reads them."""
    if is_simulated:
        return SIMULATED
    try:
        source = build_part("data", split_settings(take_trusted(config, "data"))[0])
    except ConfigError:  # of a package that is not there, or not trusted
        return Publication("")
    found: Publication = getattr(source, "publication", Publication(""))
    return found


def describe_training_data(one: Configuration, published: Publication) -> dict[str, Any]:
    """Return counts and fingerprints of the parts of each fold, and name and terms of the data set."""
    kept = ("n_records", "n_patients", "n_positive", "n_unknown", "records_sha256", "signals_sha256")
    return {
        "name": published.title,
        "license": published.license,
        "is_synthetic": one.info.synthetic,
        "fingerprint": dict(one.info.data["fingerprint"]),
        "labels_sha256": one.info.data["labels_sha256"],
        "folds": {
            str(info.fold): {
                part: {key: counts[key] for key in kept if key in counts} for part, counts in info.data["parts"].items()
            }
            for info in one.infos
        },
    }


def measure(one: Configuration) -> dict[str, Any]:
    """Return the scores of the run's own test records as it reports them, with intervals: macro and by class.

    Of several folds, each record was predicted by the net that had not seen its patient, and scores are measured within
    folds and averaged. A score that is not defined is None; `is_supported` says whether there are enough patients for a
    reliable interval, which is None where there is one patient.
    """
    tested, settings = one.tested, one.evaluation.intervals
    overall = [metric.key for metric in overall_metrics(one.class_names, headline=True)]
    by_class = [metric.key for metric in class_metrics()]
    table = bound_headline(tested, settings)
    if table is None:
        rows: dict[Any, Any] = {OVERALL: one.scores.overall, **one.scores.by_class.to_dict("index")}
        found: Any = {(name, key): {"value": value} for name, row in rows.items() for key, value in row.items()}
    else:
        found = table[[*_COLUMNS]].to_dict("index")
    counts = one.scores.by_class["n_positive"]
    return {
        "n_records": len(tested),
        "n_patients": len(np.unique(tested.patient_id)),
        "folds": [info.fold for info in one.infos],
        "n_folds": one.n_folds,
        "level": settings.level,
        "overall": {key: _to_plain(found[OVERALL, key]) for key in overall},
        "by_class": {
            name: {"n_positive": int(counts[name])}
            | {key: _to_plain(found[name, key]) for key in by_class if (name, key) in found}
            for name in one.class_names
        },
    }


def describe_formats(
    lead_names: Sequence[str], metadata_names: Sequence[str], classes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return inputs and outputs of the graph as MONAI's bundles describe theirs."""
    signal = {
        "type": "series", "format": "sequence", "modality": "EKG", "num_channels": len(lead_names),
        "spatial_shape": ["*"], "dtype": "float32", "value_range": [], "is_patch_data": False,
        "channel_def": {str(row): f"{name}, mV" for row, name in enumerate(lead_names)},
    }  # fmt: skip
    inputs = {"signal_mv": signal}
    if metadata_names:
        columns = {str(column): f"{name}, nan: not known" for column, name in enumerate(metadata_names)}
        told = {"type": "tuples", "format": "raw", "num_channels": len(metadata_names), "spatial_shape": []}
        inputs["metadata"] = signal | told | {"modality": "n/a", "channel_def": columns}
    names = {
        str(column): ": ".join(filter(None, [each["name"], each["description"]])) for column, each in enumerate(classes)
    }
    probabilities = {
        "type": "probabilities", "format": "classes", "modality": "n/a", "num_channels": len(classes),
        "spatial_shape": [], "dtype": "float32", "value_range": [0, 1], "is_patch_data": False, "channel_def": names,
    }  # fmt: skip
    logits = probabilities | {"type": "tuples", "dtype": "float64", "value_range": []}
    outputs = {
        "probabilities": probabilities,
        "logits": logits,
        "net_logits": logits | {"spatial_shape": ["stretch", "net"]},
    }
    return {"inputs": inputs, "outputs": outputs}


def cite_nets(nets: Iterable[Any]) -> list[str]:
    """Return the references in the docstrings of nets and of the modules that they are made of, each once."""
    found: dict[str, None] = {}
    for kind in dict.fromkeys(type(module) for net in nets for module in net.modules()):
        if not kind.__module__.startswith("torch."):
            references = (inspect.getdoc(kind) or "").partition("References\n----------\n")[2]
            for text in re.findall(r"^\.\. \[\d+\] (.+(?:\n .+)*)", references, re.MULTILINE):
                found[" ".join(text.split())] = None
    return [*found]


def _to_plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value and its interval for JSON, nan as None."""
    plain: dict[str, Any] = {key: _number(row[key]) for key in ("value", "low", "high") if key in row}
    return plain | ({"is_supported": bool(row["is_supported"])} if "is_supported" in row else {})


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
