"""What a report says about its runs: scores and how far they can be trusted, data, versions, checks and limits."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from ecgcls.errors import DataError
from ecgcls.evaluation.calibration import measure_calibration
from ecgcls.evaluation.comparison import compare
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import OVERALL, RANKING, class_metrics, overall_metrics
from ecgcls.reporting.decided import is_untuned, list_weights
from ecgcls.reporting.experiment import Experiment
from ecgcls.reporting.markup import clean, escape_markdown, quote_code
from ecgcls.runs.configuration import Configuration

_FEW = 30  # positive records below which a class's scores are called uncertain


def list_leaderboard() -> dict[str, str]:
    """Return the metrics of the leaderboard, with their labels."""
    return {metric.key: metric.label for metric in overall_metrics(headline=True)}


def list_class_columns() -> dict[str, str]:
    """Return the metrics of a table of classes, with their labels."""
    return {metric.key: metric.label for metric in class_metrics()}


def summarize_configuration(one: Configuration) -> dict[str, Any]:
    """Return the configuration's line of the leaderboard, as numbers."""
    line: dict[str, Any] = {
        "name": one.name,
        "n_finished": len(one.runs),
        "n_folds": one.n_folds,
        "n_parameters": one.info.n_parameters,
        "fit_s": one.fit_s,
        "intervals": find_intervals(one),
    }
    for key in list_leaderboard():
        mean, sd = one.over_folds.loc[("overall", key), ["mean", "sd"]].astype(float)
        line[key] = {"mean": mean, "sd": sd, "pooled": one.scores.overall[key]}
    return line


def find_intervals(one: Configuration) -> dict[str, tuple[float, float, bool] | None]:
    """Return low, high and ``is_supported`` of each metric of the leaderboard, as the runs evaluate it.

    None where there is only one patient.
    """
    tested = one.tested
    if len(np.unique(tested.patient_id)) < 2:
        return dict.fromkeys(list_leaderboard())
    settings, records = one.evaluation.intervals, (tested.y_true, tested.y_prob, tested.patient_id)
    more = {name: getattr(tested, name) for name in ("y_pred", "y_logit", "fold")}
    table = bootstrap(*records, tested.class_names, **more, settings=settings)
    low, high, is_supported = (table[name].to_dict() for name in ("low", "high", "is_supported"))
    keys = {key: (OVERALL, key) for key in list_leaderboard()}
    return {key: (low[row], high[row], is_supported[row]) for key, row in keys.items()}


def compare_with_best(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Compare the first configuration of the leaderboard with each other one, on macro PR-AUC and ROC-AUC.

    Each line has the ``name`` of the other one, and either ``reason``, why they cannot be compared, or ``metrics``: by
    metric the row of `ecgcls.evaluation.comparison.compare` (best - other), its ``verdict`` in the models' names.
    """
    best, *others = configurations
    lines: list[dict[str, Any]] = []
    for other in others:
        line: dict[str, Any] = {"name": other.name, "reason": "", "metrics": {}}
        lines.append(line)
        try:
            table = compare([best.tested], [other.tested], best.evaluation.intervals).to_dict(orient="index")
        except DataError as error:
            line["reason"] = f"{best.name} (a) and {other.name} (b): {error}"
            continue
        verdicts = {"a better": f"{best.name} is better", "b better": f"{other.name} is better"}
        for metric in RANKING:
            row = table[OVERALL, metric]
            line["metrics"][metric] = row | {"verdict": verdicts.get(row["verdict"], "cannot be told")}
    return lines


def describe_calibration(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return the calibration of each configuration, before recalibration and after, averaged over the classes."""
    lines = []
    for one in configurations:
        stages = {"before": one.pooled("test", is_calibrated=False), "after": one.tested}
        for stage, each in stages.items():
            arrays = each.y_true, each.y_prob
            found = measure_calibration(*arrays, each.class_names, y_logit=each.y_logit)
            measured: Any = found.to_dict(orient="index")
            lines.append({"name": one.name, "stage": stage, **measured[OVERALL]})
    return lines


def summarize_training(one: Configuration) -> dict[str, Any]:
    """Return in numbers what the training curves show; a baseline has no epochs."""
    is_net = one.info.kind == "net"
    scored = [table.dropna(subset=["val/pr_auc"]) for table in one.histories if "val/pr_auc" in table]
    best = [table.iloc[int(table["val/pr_auc"].to_numpy().argmax())] for table in scored if len(table)]
    return {
        "name": one.name,
        "n_epochs": [len(table) for table in one.histories if is_net],
        "best_epoch": [int(row["epoch"]) for row in best if is_net],
        "best_pr_auc": [float(row["val/pr_auc"]) for row in best],
    }


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
    infos = [info for one in configurations for info in one.infos]
    counts = pd.concat([one.scores.by_class["n_positive"] for one in configurations])
    fewest = counts.groupby(level=0, sort=False).min()
    text = (
        open_templates()
        .get_template("limits.md.jinja")
        .render(
            experiment=experiment,
            few=_FEW,
            rare=fewest[fewest < _FEW].to_dict(),
            seeds={info.seed for info in infos},
            weighted=_list_weighted(configurations),
            untuned=_list_untuned(configurations),
        )
    )
    return text.splitlines()


def _list_weighted(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return the configurations whose loss weighed positive records, how much, and whether they were recalibrated."""
    lines = []
    for one in configurations:
        if weights := [weight for info in one.infos for weight in list_weights(info).values()]:
            is_raw = one.info.decisions["calibrator"]["method"] == "none"
            lines.append({"name": one.name, "low": min(weights), "high": max(weights), "is_raw": is_raw})
    return lines


def _list_untuned(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return the configurations with thresholds that were not tuned: all of them, or of which classes."""
    lines = []
    for one in configurations:
        rule = one.info.decisions["threshold_rule"]
        names = [name for name in one.class_names if any(is_untuned(info, name) for info in one.infos)]
        if names:
            fixed = rule["fixed"] if rule["rule"] == "fixed" else None
            lines.append({"name": one.name, "classes": names, "fixed": fixed})
    return lines


def open_templates() -> jinja2.Environment:
    """Return the templates of this folder, with filters for numbers."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name is not None and "html" in name,
        undefined=jinja2.StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _format_score, "count": "{:,.0f}".format, "plain": _format_plain}
    environment.filters |= {"md": escape_markdown, "code": quote_code}
    return environment


def _format_score(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _format_plain(value: float) -> str:
    """Write a number so that a script can read it; empty where it is not defined."""
    return "" if math.isnan(value) else repr(float(value))
