"""A model card and a TRIPOD+AI checklist of a configuration, as Markdown, from what its runs recorded.

What the runs cannot answer is marked as open; nothing is made up.

References
----------
.. [1] M. Mitchell et al., "Model cards for model reporting", FAT* 2019, doi:10.1145/3287560.3287596.
.. [2] G. S. Collins et al., "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
       regression or machine learning methods", BMJ 385, 2024, doi:10.1136/bmj-2023-078378. The items are
       abbreviated here; the statement has their full text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgcls.evaluation.metrics import METRICS, class_metrics, overall_metrics
from ecgcls.files import write_atomically
from ecgcls.identity import flatten
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.info import RunInfo

OPEN = "**Open.** The run cannot answer this; its authors must."


def write_cards(
    one: Configuration, *, intervals: Mapping[str, tuple[float, float] | None], worst: str, limits: Sequence[str]
) -> tuple[Path, Path]:
    """Write ``model_card.md`` and ``tripod_ai.md`` into the folder of a configuration.

    Parameters
    ----------
    one
        The configuration.
    intervals
        By metric of the leaderboard its interval.
    worst
        The worst subgroup, in words; empty where there is none.
    limits
        What the numbers cannot show.

    Returns
    -------
    tuple of Path
        The two files.
    """
    facts = _collect_facts(one, intervals=intervals, worst=worst, limits=limits)
    card, checklist = one.folder / "model_card.md", one.folder / "tripod_ai.md"
    write_atomically(card, render_card(one, facts).encode())
    write_atomically(checklist, render_checklist(one, facts).encode())
    return card, checklist


def render_card(one: Configuration, facts: Mapping[str, str]) -> str:
    """Return the model card as Markdown."""
    sections = {
        "Model": f"{facts['model']}\n\n{facts['training']}",
        "Intended use": "Research. Not a medical device; no number here is fit for decisions about patients. "
        f"Intended users and settings: {OPEN}",
        "Data": f"{facts['source']}\n\n{facts['participants']}\n\n{facts['left_out']}\n\nLabels: {facts['outcome']}",
        "Preparation": facts["preparation"],
        "Metrics": f"{facts['measures']}\n\n{facts['performance']}\n\n{_tabulate_classes(one)}",
        "Decisions": facts["decisions"],
        "Subgroups": facts["subgroups"],
        "Checks": facts["checks"],
        "Limits": facts["limits"],
        "Ethical considerations": OPEN,
        "Reproducing it": facts["repeat"],
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# Model card: {one.name}\n\n{facts['warning']}{body}\n"


def render_checklist(one: Configuration, facts: Mapping[str, str]) -> str:
    """Return the TRIPOD+AI checklist as Markdown."""
    rows = [
        f"| {number} | {item} | {(facts[key] if key else OPEN).replace(chr(10), ' ').replace('|', '/')} |"
        for number, item, key in _ITEMS
    ]
    n_open = sum(key == "" for _, _, key in _ITEMS)
    return (
        f"# TRIPOD+AI checklist: {one.name}\n\n{facts['warning']}Items of TRIPOD+AI (Collins et al., BMJ 2024, "
        "doi:10.1136/bmj-2023-078378), abbreviated. The answers are what the runs recorded; "
        f"{n_open} of {len(_ITEMS)} items are open.\n\n| item | asks for | answer |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


_ITEMS = (
    ("1", "Title", ""),
    ("2", "Abstract", ""),
    ("3a", "Medical context and rationale", ""),
    ("3b", "Target population and intended use", ""),
    ("3c", "Known health inequalities", ""),
    ("4", "Objectives", ""),
    ("5a", "Sources of data", "source"),
    ("5b", "Dates of the data", ""),
    ("6a", "Setting and centers", ""),
    ("6b", "Eligibility of participants", "left_out"),
    ("6c", "Treatments received", ""),
    ("7", "Data preparation and quality checks", "preparation"),
    ("8a", "Outcome: what is predicted", "outcome"),
    ("8b", "Outcome: who assessed it", ""),
    ("8c", "Outcome: blinding of the assessment", ""),
    ("9a", "Predictors: how they were chosen", "predictors"),
    ("9b", "Predictors: definition and measurement", "predictors"),
    ("9c", "Predictors: who assessed them", ""),
    ("10", "Sample size", "participants"),
    ("11", "Missing data", "left_out"),
    ("12a", "How the data were used for development and evaluation", "splits"),
    ("12b", "How predictors were handled", "preparation"),
    ("12c", "Model type, building steps, hyperparameters, internal validation", "training"),
    ("12d", "Heterogeneity across clusters", "subgroups"),
    ("12e", "Measures of performance", "measures"),
    ("12f", "Model updating, recalibration", "decisions"),
    ("12g", "How predictions were computed for evaluation", "decisions"),
    ("13", "Class imbalance", "imbalance"),
    ("14", "Fairness", "subgroups"),
    ("15", "Output of the model, and thresholds", "decisions"),
    ("16", "Differences between training and evaluation data", "splits"),
    ("17", "Ethical approval", ""),
    ("18a", "Funding", ""),
    ("18b", "Conflicts of interest", ""),
    ("18c", "Protocol", ""),
    ("18d", "Registration", ""),
    ("18e", "Data sharing", ""),
    ("18f", "Code sharing", "repeat"),
    ("19", "Patient and public involvement", ""),
    ("20a", "Flow of participants", "left_out"),
    ("20b", "Characteristics of participants", "participants"),
    ("20c", "Comparison of development and evaluation data", "participants"),
    ("21", "Numbers of participants and events in each analysis", "participants"),
    ("22", "Full model specification", "model"),
    ("23a", "Performance with confidence intervals", "performance"),
    ("23b", "Heterogeneity of performance", "subgroups"),
    ("24", "Results of model updating", "calibration"),
    ("25", "Interpretation", ""),
    ("26", "Limitations", "limits"),
    ("27a", "Handling of poor or missing input in use", "input"),
    ("27b", "Expertise and interaction of users", ""),
    ("27c", "Next steps", ""),
)  # fmt: skip


def _collect_facts(
    one: Configuration, *, intervals: Mapping[str, tuple[float, float] | None], worst: str, limits: Sequence[str]
) -> dict[str, str]:
    """Write what the runs recorded in sentences, by key."""
    config = dict(flatten(one.runs[0].read_config()))
    simulated = "The ECGs are simulated: no number here says anything about patients.\n\n"
    info, git = one.info, one.info.git or {}
    versions = ", ".join(f"{name} {value}" for name, value in info.versions.items())
    n_checked = sum(bool(each.leakage) for each in one.infos)
    return {
        "warning": simulated if info.synthetic else "",
        **_describe_model(info, config, one),
        **_describe_data(info, config),
        **_describe_evaluation(info, one, intervals),
        "subgroups": f"Lowest: {worst}. All: `subgroups.csv` of each fold."
        if worst
        else "See `subgroups.csv` of each fold.",
        "checks": "No patient and no waveform is in two of train, validation and test; the standardizer was fitted on the "
        "training set; calibrator and thresholds were learned on the validation set. "
        f"{n_checked} of {len(one.infos)} runs recorded these checks.",
        "limits": " ".join(limits),
        "input": "A recording that is too short, lacks a lead that cannot be derived, or has missing samples is refused "
        "with the reason; what was resampled, derived or cut is reported with the result.",
        "repeat": f"`{' '.join(info.command)}` at commit {git.get('commit', 'unknown')}"
        + (" (modified)" if git.get("modified") else "")
        + f"; {versions}.",
    }


def _describe_model(info: RunInfo, config: Mapping[str, Any], one: Configuration) -> dict[str, str]:
    is_net = info.kind == "net"
    kept = "weights and standardizer in `best.ckpt` of each fold" if is_net else "coefficients in `baseline.json`"
    variant = f", variant `{info.variant}`" if info.variant else ""
    loss = config.get("loss._target_")
    is_weighted = any(weight != 1 for weight in info.pos_weight or ())
    columns = ", ".join(config.get("model.columns") or []) or "none"
    return {
        "model": f"`{info.model}` (`{config.get('model._target_')}`), {info.n_parameters:,} parameters{variant}; {kept}.",
        "training": f"Loss `{loss}`, optimizer `{config.get('optimizer._target_')}` (lr {config.get('optimizer.lr')}), at "
        f"most {config.get('trainer.max_epochs')} epochs, batch size {config.get('data.batch_size')}, seed {info.seed}; "
        f"the epoch with the best validation score is kept. {len(one.runs)} of {one.n_folds} folds are finished. Every "
        "setting is in `.hydra/config.yaml` of each fold.",
        "predictors": f"The raw ECG: {', '.join(info.data['lead_names'])}, {info.data['n_samples']} samples per lead."
        if is_net
        else f"Columns of the data set's table: {columns}.",
        "imbalance": f"Loss `{loss}`"
        + (", which weighs positive records more; recalibration undoes the weight." if is_weighted else "."),
    }


def _describe_data(info: RunInfo, config: Mapping[str, Any]) -> dict[str, str]:
    data = info.data
    parts = "; ".join(
        f"{name}: {part['n_records']} records of {part['n_patients']} patients ("
        + ", ".join(f"{label} {count}" for label, count in part["n_positive"].items())
        + ")"
        for name, part in data["parts"].items()
    )
    return {
        "source": f"`{data['root']}`, {data['n_records']} labeled records with {len(data['lead_names'])} leads at "
        f"{data['sampling_rate_hz']} Hz; fingerprint of the signals {data['fingerprint']['signals'][:16]}.",
        "participants": f"Records, patients and positive records of fold {info.fold}: {parts}.",
        "left_out": f"Left out: {data['n_without_label']} records without a label in the task, {data['n_missing_files']} "
        f"without a signal file, {data['n_copies_left_out']} copies of records that are also in another of train, "
        f"validation and test; classes that could not be learned: {', '.join(data['absent_classes']) or 'none'}. No "
        "values are imputed in signals.",
        "preparation": "Signals are verified against their checksums when they are read; leads are matched by name. The "
        "net takes each lead minus its mean over the training set, divided by its standard deviation there. "
        f"{data['n_records_with_a_flat_lead']} records have a flat lead and are kept.",
        "outcome": f"{', '.join(info.class_names)}, from the SCP statements of the data set (task "
        f"`{config.get('task.statements')}`, `{config.get('task.classes')}`); a statement counts from a likelihood of "
        f"{config.get('task.min_likelihood', 0)} percent. Fingerprint of the labels {data['labels_sha256'][:16]}.",
        "splits": f"Test strat_folds of each fold {config.get('folds.test')}, validation {config.get('folds.val')}; the "
        "rest is the training set. No patient is in two of them. All records come from one data set.",
    }


def _describe_evaluation(
    info: RunInfo, one: Configuration, intervals: Mapping[str, tuple[float, float] | None]
) -> dict[str, str]:
    performance = ", ".join(
        f"{metric.label} {one.scores.overall[metric.key]:.3f}"
        + ("" if not (limits := intervals[metric.key]) else f" [{limits[0]:.3f}, {limits[1]:.3f}]")
        for metric in overall_metrics(headline=True)
    )
    learned, thresholds = info.decisions, ", ".join(f"{name} {at:.3g}" for name, at in info.thresholds.items())
    return {
        "measures": "On pooled test records, each tested once by a net that had not seen its patient: "
        f"{', '.join(metric.label for metric in METRICS.values())}, calibration; PR-AUC is average precision; macro "
        f"means over the classes; {100 * info.evaluation.intervals.level:g} % intervals from a bootstrap over patients.",
        "performance": f"{performance} (macro, pooled, {len(one.tested)} test records of "
        f"{len(np.unique(one.tested.patient_id))} patients); by class in `metrics_by_class.csv` and `intervals.csv`.",
        "decisions": f"Each run recalibrated its probabilities ({learned['calibrator']['method']}) and chose thresholds "
        f"({learned['threshold_rule']['rule']}) on its {learned['learned_on']['n_records']} validation records; fold "
        f"{info.fold}: {thresholds}.",
        "calibration": "Before and after recalibration: `calibration.csv` and `reliability.csv` of each fold.",
    }


def _tabulate_classes(one: Configuration) -> str:
    shown = class_metrics()
    heads = ["positive", *(metric.label for metric in shown)]
    lines = [f"| class | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for name, row in one.scores.by_class.iterrows():
        cells = [f"{row['n_positive']:.0f}", *(_format(float(row[metric.key])) for metric in shown)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _format(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"
