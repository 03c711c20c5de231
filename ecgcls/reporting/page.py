"""Render the report: one HTML file with everything in it, that makes no request."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ecgcls import __version__
from ecgcls.files import write_atomically
from ecgcls.reporting import charts
from ecgcls.reporting.cards import write_cards
from ecgcls.reporting.cells import name_worst, score_cells
from ecgcls.reporting.curves import SENSITIVITY, SPECIFICITY, Curves, trace_all
from ecgcls.reporting.experiment import Experiment, collect
from ecgcls.reporting.facts import compare_versions, describe_data, list_checks, list_limits
from ecgcls.reporting.gallery import collect_galleries
from ecgcls.reporting.statistics import (
    CALIBRATION,
    compare_with_best,
    describe_calibration,
    list_class_columns,
    list_leaderboard,
    summarize_configuration,
)
from ecgcls.runs.configuration import Configuration

MAX_BYTES = 9_900_000
"""Of a page: the explained ECGs get what the rest leaves."""

_HERE = Path(__file__).parent


def write_report(experiment_dir: Path, *, output: Path, data_root: Path | None = None) -> Path:
    """Write the report of all runs of an experiment, and a model card and a checklist for each configuration.

    Parameters
    ----------
    experiment_dir
        ``outputs/<experiment>``.
    output
        The HTML file; an older one is replaced.
    data_root
        The data set whose table says which subgroups there are; None: as the runs recorded them.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    ConfigError
        If no run is finished.
    DataError
        If a run's files are damaged.
    """
    experiment, environment = collect(experiment_dir), _open_templates()
    content = _collect_content(experiment, data_root=data_root)
    for saved, line, one in zip(content["saved"], content["board"], experiment.configurations, strict=True):
        worst = content["worst"].get(one.name, "")
        cards = write_cards(one, environment, intervals=line["intervals"], worst=worst, limits=content["limits"])
        saved["cards"] = [(path.name, os.path.relpath(path, output.parent)) for path in cards]
    template = environment.get_template("report.html.jinja")
    n_bytes = len(template.render(**content, galleries=[]).encode())
    galleries = collect_galleries(experiment.configurations, max_bytes=MAX_BYTES - n_bytes)
    write_atomically(output, template.render(**content, galleries=galleries).encode())
    return output


def _open_templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=lambda name: name is not None and "html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _format_score, "count": _format_count, "plain": _format_plain}
    return environment


def _collect_content(experiment: Experiment, *, data_root: Path | None) -> dict[str, Any]:
    """Return what the template says, but for the explained ECGs."""
    configurations, class_names = experiment.configurations, experiment.class_names
    widest = experiment.widest.tested
    curves = trace_all(configurations, class_names)
    subgroups, no_subgroups = score_cells(configurations, data_root=data_root)
    return {
        "experiment": experiment,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "trained": [datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M UTC") for time in experiment.trained],
        "version": __version__,
        "n_records": len(widest),
        "n_patients": len(np.unique(widest.patient_id)),
        "shown": list_leaderboard(),
        "columns": {"n_positive": "Positives", "prevalence": "Prevalence"} | list_class_columns(),
        "board": [summarize_configuration(one) for one in configurations],
        "comparisons": compare_with_best(configurations),
        "calibration_columns": CALIBRATION,
        "calibration": describe_calibration(configurations),
        "checks": list_checks(configurations),
        "models": [{"name": one.name, **charts.style(number)} for number, one in enumerate(configurations)],
        "curves": curves,
        "sensitivity": SENSITIVITY,
        "specificity": SPECIFICITY,
        "charts": _draw_charts(curves, configurations, class_names),
        "losses": [_summarize_training(one) for one in configurations],
        "subgroups": subgroups,
        "no_subgroups": no_subgroups,
        "min_records": max(one.evaluation.subgroups.min_records for one in configurations),
        "worst": name_worst(configurations, subgroups),
        "data": describe_data(configurations),
        "saved": [_describe_config(one) for one in configurations],
        "versions": compare_versions(configurations),
        "limits": list_limits(experiment),
        "plotly": Markup(get_plotlyjs()),
        "style": Markup((_HERE / "report.css").read_text()),
        "script": Markup((_HERE / "report.js").read_text()),
    }


def _draw_charts(
    curves: Mapping[tuple[str, int], Curves], configurations: Sequence[Configuration], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the charts in the order of the page: id, what is seen, and the figure as JSON for a script element."""
    drawn: Sequence[tuple[str, str, go.Figure]] = (
        ("pr", "Precision-recall", charts.draw_pr(curves, configurations, class_names)),
        ("roc", "ROC", charts.draw_roc(curves, configurations, class_names)),
        ("reliability", "Reliability", charts.draw_reliability(curves, configurations, class_names)),
        ("loss", "Training loss", charts.draw_training(configurations, "train/loss", "Training loss")),
        ("val-loss", "Validation loss", charts.draw_training(configurations, "val/loss", "Validation loss")),
        ("val-pr", "Validation PR-AUC", charts.draw_training(configurations, "val/pr_auc", "Macro PR-AUC")),
    )
    return [{"id": name, "title": title, "json": _embed(figure.to_json())} for name, title, figure in drawn]


def _embed(json_text: str | None) -> Markup:
    """Make JSON safe inside a script element: nothing in it can end the element."""
    text = json_text or "null"
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _summarize_training(one: Configuration) -> dict[str, Any]:
    """Return in numbers what the training curves show."""
    scored = [table.dropna(subset=["val/pr_auc"]) for table in one.histories if "val/pr_auc" in table]
    best = [table.sort_values("val/pr_auc", kind="stable").iloc[-1] for table in scored if len(table)]
    return {
        "name": one.name,
        "n_epochs": [len(table) for table in one.histories],
        "best_epoch": [int(row["epoch"]) for row in best],
        "best_pr_auc": [float(row["val/pr_auc"]) for row in best],
    }


def _describe_config(one: Configuration) -> dict[str, Any]:
    run, info = one.runs[0], one.infos[0]
    return {
        "name": one.name,
        "folder": str(one.folder),
        "yaml": (run.path / ".hydra" / "config.yaml").read_text(),
        "commands": list(dict.fromkeys(shlex.join(info.command) for info in one.infos)),
        "fold": info.fold,
        "seed": info.seed,
    }


def _format_score(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _format_count(value: float) -> str:
    return f"{value:,.0f}"


def _format_plain(value: float) -> str:
    """Write a number so that a script can read it; empty where it is not defined."""
    return "" if math.isnan(value) else repr(float(value))
