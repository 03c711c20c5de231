"""A model card and a TRIPOD+AI checklist of a configuration, as Markdown, from what its runs recorded.

What the runs cannot answer is marked as open; nothing is invented.

References
----------
.. [1] M. Mitchell et al., "Model cards for model reporting", FAT* 2019, doi:10.1145/3287560.3287596.
.. [2] G. S. Collins et al., "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
       regression or machine learning methods", BMJ 385, 2024, doi:10.1136/bmj-2023-078378. The items are named here in
       short; the statement says what each asks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from ecgcls.files import write_atomically
from ecgcls.reporting.collect import SHOWN, Configuration

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
        By metric of the leaderboard its 95 % interval.
    worst
        The worst subgroup, in words; empty where there is none.
    limits
        What the numbers cannot say.

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
        "To repeat it": facts["repeat"],
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
        "doi:10.1136/bmj-2023-078378), named in short. Answered is what the runs recorded; "
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
    ("6a", "Setting and centres", ""),
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
    info, config = one.infos[0], one.runs[0].read_config()
    data = info["data"]

    def setting(key: str, default: Any = "not recorded") -> Any:
        return OmegaConf.select(config, key, default=default)

    parts = "; ".join(
        f"{name}: {part['n_records']} records of {part['n_patients']} patients ("
        + ", ".join(f"{label} {count}" for label, count in part["n_positive"].items())
        + ")"
        for name, part in data["parts"].items()
    )
    performance = ", ".join(
        f"{label} {one.scores.overall[key]:.3f}"
        + ("" if not (held := intervals[key]) else f" [{held[0]:.3f}, {held[1]:.3f}]")
        for key, label in SHOWN.items()
    )
    decisions = info.get("decisions", {})
    rule = decisions.get("threshold_rule", {"rule": "fixed"})
    thresholds = ", ".join(f"{name} {at:.3g}" for name, at in info.get("thresholds", {}).items())
    learned = "Nothing was recalibrated; classes are predicted from 0.5 on."
    if decisions:
        learned = (
            f"Each run recalibrated its probabilities ({decisions['calibrator']['method']}) and chose thresholds "
            f"({rule['rule']}) on its {decisions['learned_on']['n_records']} validation records; of fold "
            f"{info['fold']}: "
            f"{thresholds}."
        )
    git = info.get("git") or {}
    is_net = not (one.runs[0].path / "baseline.json").is_file()
    versions = ", ".join(f"{name} {value}" for name, value in info["versions"].items())
    simulated = "The ECGs are simulated: no number here says anything about patients.\n\n" if info["synthetic"] else ""
    return {
        "warning": simulated,
        "model": f"`{one.model}` (`{setting('model._target_')}`), {info['n_parameters']:,} parameters"
        + (f", variant `{one.variant}`" if one.variant else "")
        + (
            "; weights and standardiser in `best.ckpt` of each fold."
            if is_net
            else "; coefficients in `baseline.json`."
        ),
        "training": f"Loss `{setting('loss._target_')}`, optimiser `{setting('optimizer._target_')}` (lr "
        f"{setting('optimizer.lr')}), "
        f"at most {setting('trainer.max_epochs')} epochs, batch size {setting('data.batch_size')}, seed "
        f"{info['seed']}; the epoch "
        f"with the best validation score is kept. {len(one.runs)} of {one.n_folds} folds are finished. Every setting "
        "stands in `.hydra/config.yaml` of each fold.",
        "source": f"`{data['root']}`, {data['n_records']} labelled records of {len(data['lead_names'])} leads at "
        f"{data['sampling_rate_hz']} Hz; fingerprint of the signals {data['fingerprint']['signals'][:16]}.",
        "participants": f"Records, patients and positive records of fold {info['fold']}: {parts}.",
        "left_out": f"Left out: {data['n_without_label']} records without a label in the task, "
        f"{data['n_missing_files']} without a signal file, {data.get('n_copies_left_out', 0)} copies of records "
        f"of another "
        f"part; classes that could not be learned: {', '.join(data['absent_classes']) or 'none'}. Values are "
        f"not imputed "
        "in signals.",
        "preparation": "Signals are checked against their checksums when they are read; leads are matched by "
        "name. The net "
        "takes each lead less its mean over the training part, divided by its standard deviation there. "
        f"{data.get('n_records_with_a_flat_lead', 0)} records have a flat lead and are kept.",
        "outcome": f"{', '.join(data['class_names'])}, from the SCP statements of the data set (task "
        f"`{setting('task.statements')}`, `{setting('task.classes')}`); a statement counts from a likelihood of "
        f"{setting('task.min_likelihood', 0)} percent on. Fingerprint of the labels "
        f"{data.get('labels_sha256', 'not recorded')[:16]}.",
        "predictors": f"The raw ECG: {', '.join(data['lead_names'])}, {data['n_samples']} samples a lead."
        if is_net
        else f"Columns of the data set's table: {', '.join(setting('model.columns', [])) or 'none'}.",
        "splits": f"Fold table {setting('folds.test')} (strat_folds that each fold tests), validation "
        f"{setting('folds.val')}; the rest trains. No patient is in two parts of a fold. All records come "
        "from one data set.",
        "measures": "On pooled test records, each tested once by a net that had not seen its patient: PR-AUC "
        "(average "
        "precision), ROC-AUC, F1, MCC, sensitivity, specificity, predictive values, Brier score, calibration; "
        "macro means "
        "over the classes; 95 % intervals from drawing patients.",
        "performance": f"{performance} (macro, pooled, {len(one.pooled)} test records of "
        f"{len(np.unique(one.pooled.patient_id))} patients); by class in `metrics_by_class.csv` and `intervals.csv`.",
        "decisions": learned,
        "calibration": "Before and after recalibration: `calibration.csv` and `reliability.csv` of each fold.",
        "imbalance": f"Loss `{setting('loss._target_')}`"
        + (
            ", which weighs positive records more; the weight is undone by recalibration."
            if info.get("pos_weight")
            else "."
        ),
        "subgroups": f"Lowest: {worst}. All: `subgroups.csv` of each fold."
        if worst
        else "See `subgroups.csv` of each fold.",
        "checks": "No patient and no waveform in two parts; standardiser fitted on the training part; calibrator and "
        f"thresholds learned on the validation part. {sum('leakage' in one_info for one_info in one.infos)} of "
        f"{len(one.infos)} runs recorded these checks.",
        "limits": " ".join(limits),
        "input": "A recording that is too short, lacks a lead that cannot be derived or has missing samples is "
        "refused with "
        "the reason; what was resampled, derived or cut is said with the result.",
        "repeat": f"`{' '.join(info['command'])}` at commit {git.get('commit', 'unknown')}"
        + (" (modified)" if git.get("modified") else "")
        + f"; {versions}.",
    }


def _tabulate_classes(one: Configuration) -> str:
    columns = {
        "n_positive": "positive",
        "pr_auc": "PR-AUC",
        "roc_auc": "ROC-AUC",
        "f1": "F1",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
        "precision": "PPV",
        "npv": "NPV",
    }
    lines = [f"| class | {' | '.join(columns.values())} |", f"|---|{'---:|' * len(columns)}"]
    for name, row in one.scores.by_class.iterrows():
        cells = [f"{row[key]:.0f}" if key == "n_positive" else _say(float(row[key])) for key in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _say(value: float) -> str:
    return "not defined" if np.isnan(value) else f"{value:.3f}"
