"""What a report says about its runs besides scores: data, versions, checks, and the limits of the numbers."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ecgcls.reporting.experiment import Experiment
from ecgcls.runs.configuration import Configuration

_FEW = 30  # positive records below which a class's scores are called uncertain


def describe_data(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return records, patients and class counts by fold and part, once for all configurations that share them."""
    groups: dict[str, dict[str, Any]] = {}
    for one in configurations:
        datas = [info.data for info in one.infos]
        key = repr([(data["fingerprint"], data["parts"], data["class_names"]) for data in datas])
        group = groups.setdefault(key, {"names": [], "data": datas[0], "folds": []})
        group["names"].append(one.name)
        group["folds"] = [
            {"fold": info.fold, "part": part, **counts}
            for info in one.infos
            for part, counts in info.data["parts"].items()
        ]
        group["absent_classes"] = sorted({name for data in datas for name in data["absent_classes"]})
    return list(groups.values())


def compare_versions(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return versions, commit, machine and fingerprints: each with its values and the runs that have them."""
    seen: dict[str, dict[str, list[str]]] = {}
    for one in configurations:
        for info in one.infos:
            git = info.git or {}
            facts = {
                **info.versions,
                "git commit": f"{git.get('commit', 'unknown')}{' (modified)' if git.get('modified') else ''}",
                "platform": info.machine["platform"],
                "CPUs": info.machine["n_cpus"],
                **{f"sha256 of {name}": value for name, value in info.data["fingerprint"].items()},
            }
            for name, value in facts.items():
                seen.setdefault(name, {}).setdefault(str(value), []).append(f"{one.name}, fold {info.fold}")
    return [{"name": name, "found": found, "differs": len(found) > 1} for name, found in seen.items()]


def list_checks(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return what each configuration's runs were checked for, and how often the official test fold was scored."""
    lines = []
    for one in configurations:
        checks = [info.leakage for info in one.infos if info.leakage]
        looks = [check["official_test_fold"] for check in checks if check["official_test_fold"]]
        lines.append(
            {
                "name": one.name,
                "n_checked": len(checks),
                "n_runs": len(one.infos),
                "n_records": max((check["waveforms"]["compared"] for check in checks), default=0),
                "n_left_out": max((check["waveforms"]["left_out"] for check in checks), default=0),
                "n_looks_before": max((look["n_scored_before"] for look in looks), default=None),
                "n_configurations_before": max((look["n_configurations_before"] for look in looks), default=None),
                "labels": sorted({info.data["labels_sha256"][:12] for info in one.infos}),
            }
        )
    return lines


def list_limits(experiment: Experiment) -> list[str]:
    """Return what these numbers cannot show, in sentences."""
    configurations = experiment.configurations
    limits = ["Research software, not a medical device. No number here is fit for decisions about patients."]
    if experiment.is_synthetic:
        which = "Some runs were trained on simulated ECGs" if experiment.is_mixed else "The ECGs are simulated"
        limits.append(f"{which}. No number from them says anything about patients.")
    counts = pd.concat([one.scores.by_class["n_positive"] for one in configurations])
    fewest = counts.groupby(level=0, sort=False).min()
    few = ", ".join(f"{name} ({count})" for name, count in fewest.items() if count < _FEW)
    if few:
        limits.append(
            f"Fewer than {_FEW} positive test records: {few}. Their scores, and the macro averages, could change a lot "
            "with a few other records."
        )
    for one in configurations:
        if not one.is_complete:
            limits.append(f"{one.name}: {one.missing}, so not every record was tested.")
        if one.left_out_classes:
            names = ", ".join(one.left_out_classes)
            limits.append(f"{one.name}: these classes are left out because a fold lacks them: {names}.")
    if all(one.n_folds == 1 for one in configurations):
        limits.append("There is only one split: how much the scores vary between splits is unknown.")
    seeds = {info.seed for one in configurations for info in one.infos}
    if len(seeds) == 1:
        limits.append(f"There is only one seed ({seeds.pop()}): its effect cannot be separated from that of the model.")
    if any(weight != 1 for one in configurations for info in one.infos for weight in info.pos_weight or ()):
        limits.append(
            "The loss weighs positive records more, which raises the probabilities of rare classes; each run "
            "recalibrates them on its validation set, and the reliability curves show the remaining error."
        )
    if any(threshold == 0.5 for one in configurations for threshold in one.thresholds.values()):
        limits.append("For some classes, F1, sensitivity, specificity and the confusion matrices use 0.5, untuned.")
    limits.append(
        "Intervals show how much a number would vary with other patients like these, not with another seed, training "
        "set or hospital. For a class with few records the interval covers the true value less often than its level."
    )
    limits.append("All records come from one data set: performance on other devices or populations is unknown.")
    return limits
