"""What a report says about its runs: scores and how far they can be trusted, data, versions, checks and limits."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from ecgcls.evaluation.calibration import measure_calibration
from ecgcls.evaluation.label_noise import score_readings
from ecgcls.evaluation.metrics import OVERALL, class_metrics, overall_metrics
from ecgcls.jobs.results import bound_headline
from ecgcls.reporting.decided import is_untuned, list_weights
from ecgcls.reporting.experiment import Experiment
from ecgcls.reporting.markup import clean, escape_markdown, quote_code
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.members import locate_members
from ecgcls.runs.searched import doubt_settings

_FEW = 30  # positive records below which a class's scores are called uncertain


def list_leaderboard(class_names: Sequence[str] = ()) -> dict[str, str]:
    """Return the metrics of the leaderboard of a task with these classes, with their labels."""
    return {metric.key: metric.label for metric in overall_metrics(class_names, headline=True)}


def list_class_columns() -> dict[str, str]:
    """Return the metrics of a table of classes, with their labels."""
    return {metric.key: metric.label for metric in class_metrics()}


def summarize_configuration(one: Configuration) -> dict[str, Any]:
    """Return the configuration's line of the leaderboard, as numbers."""
    intervals, supported = find_intervals(one)
    line: dict[str, Any] = {
        "name": one.name,
        "n_finished": len(one.runs),
        "n_folds": one.n_folds,
        "n_parameters": one.info.n_parameters,
        "fit_s": one.fit_s,
        "members": list_members(one),
        "intervals": intervals,
        "supported": supported,
    }
    for key in list_leaderboard(one.tested.class_names):
        sd = float(one.over_folds["sd"]["overall", key])
        line[key] = {"value": one.scores.overall[key], "sd": sd, "pooled": one.pooled_scores.overall[key]}
    return line


def list_members(one: Configuration) -> list[str]:
    """Return the members of an ensemble, in words, with their weights by fold; empty for any other run."""
    if not one.info.ensemble:
        return []
    lines = []
    for number, member in enumerate(one.info.ensemble["members"]):
        name = " ".join(filter(None, [member["model"], member["variant"]]))
        weights = ", ".join(f"{info.ensemble['members'][number]['weight']:.2f}" for info in one.infos)
        lines.append(f"{name} (weight {weights})")
    return lines


def find_intervals(
    one: Configuration,
) -> tuple[dict[str, tuple[float, float, bool] | None], dict[str, tuple[int, float, float, float]]]:
    """Return low, high and ``is_supported`` of each metric of the leaderboard, as the runs evaluate it.

    None where there is only one patient. Then, of the macro means over classes of which some have too few patients: how
    many have enough, and value, low and high over these alone.
    """
    keys = list_leaderboard(one.tested.class_names)
    table = bound_headline(one.tested, one.evaluation.intervals)
    if table is None:
        return dict.fromkeys(keys), {}
    rows: Any = table.loc[[(OVERALL, key) for key in keys]].droplevel("class").to_dict("index")
    supported = {
        key: (int(row["n_supported"]), *(row[f"supported_{name}"] for name in ("value", "low", "high")))
        for key, row in rows.items()
        if 0 < row.get("n_supported", 0) < one.scores.overall["n_defined_classes"]
    }
    return {key: (row["low"], row["high"], row["is_supported"]) for key, row in rows.items()}, supported


def describe_calibration(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return the calibration of each configuration, before recalibration and after, averaged and in ``by_class``."""
    lines = []
    for one in configurations:
        settings = one.evaluation.intervals
        stages = {"before": one.pooled("test", is_calibrated=False), "after": one.tested}
        for stage, each in stages.items():
            found = measure_calibration(
                each.y_true,
                each.y_prob,
                each.class_names,
                y_logit=each.y_logit,
                patient_id=each.patient_id,
                level=settings.level,
                min_positives=settings.min_positives,
            )
            measured: Any = found.to_dict(orient="index")
            lines.append({"name": one.name, "stage": stage, "by_class": measured, **measured[OVERALL]})
    return lines


def score_label_noise(one: Configuration) -> pd.DataFrame | None:
    """Return the test scores under stricter readings of the labels; None where no reading leaves one out."""
    return None if one.likelihoods is None else score_readings(one.tested, one.likelihoods)


def list_readings(
    tables: Sequence[pd.DataFrame | None], configurations: Sequence[Configuration]
) -> list[dict[str, Any]]:
    """Return the macro scores of each configuration under each reading, from its table of `score_label_noise`."""
    lines: list[dict[str, Any]] = []
    for number, (table, one) in enumerate(zip(tables, configurations, strict=True)):
        if table is not None:
            readings: Any = table.xs(OVERALL, level="class")
            for at_least, row in readings.to_dict(orient="index").items():
                lines.append({"number": number, "name": one.name, "at_least": at_least, **row})
    return lines


def summarize_training(one: Configuration) -> dict[str, Any]:
    """Return in numbers what the training curves show, epochs counted from 1; a baseline has none."""
    is_net = one.info.kind == "net"
    scored = [table.dropna(subset=["val/pr_auc"]) for table in one.histories if "val/pr_auc" in table]
    best = [table.iloc[int(table["val/pr_auc"].to_numpy().argmax())] for table in scored if len(table)]
    return {
        "name": one.name,
        "n_epochs": [len(table) for table in one.histories if is_net],
        "best_epoch": [int(row["epoch"]) + 1 for row in best if is_net],
        "best_pr_auc": [float(row["val/pr_auc"]) for row in best],
    }


def count_validated(one: Configuration) -> dict[int, float]:
    """Return by fold the share of test records that a human validated; empty where the table does not say."""
    if "validated_by_human" not in one.groups:
        return {}
    is_validated = one.groups["validated_by_human"] == "yes"
    tested = zip(one.infos, one.predictions("test"), strict=True)
    return {info.fold: float(is_validated.reindex(each.ecg_id, fill_value=False).mean()) for info, each in tested}


def describe_data(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return records, patients and class counts by fold and part, once for all configurations that share them."""
    groups: dict[str, dict[str, Any]] = {}
    for one in configurations:
        datas = [info.data for info in one.infos]
        key = repr([(data["fingerprint"], data["parts"], data["class_names"]) for data in datas])
        group = groups.setdefault(key, {"names": [], "data": datas[0], "folds": []})
        group["names"].append(one.name)
        shares = count_validated(one)
        group["is_validated"] = bool(shares)
        group["folds"] = [
            {"fold": info.fold, "part": part, "validated": shares.get(info.fold) if part == "test" else None, **counts}
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
            doubts=[(one.name, doubt) for one in configurations for doubt in _list_doubts(one)],
            untuned=_list_untuned(configurations),
            held_out=[one.name for one in configurations if one.info.held_out],
            blended=[one.name for one in configurations if (one.info.ensemble or {}).get("weights") == "validation"],
        )
    )
    return text.splitlines()


def _list_doubts(one: Configuration) -> list[str]:
    """Return why test scores are optimistic whose settings, or a member's, were searched on other folds."""
    runs = [each for run in one.runs for each in (locate_members(run) if one.info.ensemble else [run])]
    doubts = []
    for run in runs:
        if run.is_begun:  # a member may be gone
            name = run.read_info().experiment
            experiment = next((place for place in run.path.parents if place.name == name), run.path.parent)
            doubts.append(doubt_settings(experiment, run.read_config()))
    return [doubt for doubt in doubts if doubt][:1]


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
            is_ensemble = bool(one.info.ensemble)
            lines.append({"name": one.name, "classes": names, "fixed": fixed, "is_ensemble": is_ensemble})
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
    environment.filters |= {"score": _format_score, "count": "{:,.0f}".format, "plain": _format_plain, "p": _format_p}
    environment.filters |= {"md": escape_markdown, "code": quote_code}
    return environment


def _format_score(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _format_p(value: float) -> str:
    return "< 0.001" if value < 0.001 else _format_score(value)


def _format_plain(value: float) -> str:
    """Write a number so that a script can read it; empty where it is not defined."""
    return "" if math.isnan(value) else repr(float(value))
