"""Render the report: one HTML file with everything in it, that makes no request."""

import math
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ecgcls import __version__
from ecgcls.evaluation.files import write_atomically
from ecgcls.reporting import charts
from ecgcls.reporting.collect import (
    SHOWN,
    Configuration,
    Experiment,
    collect,
    compare_versions,
    describe_data,
    list_limits,
)
from ecgcls.reporting.gallery import collect_galleries
from ecgcls.reporting.subgroups import score_subgroups

_HERE = Path(__file__).parent


def write_report(experiment_dir: Path, *, output: Path, data_root: Path | None = None) -> Path:
    """Write the report of all runs of an experiment.

    Parameters
    ----------
    experiment_dir
        ``outputs/<experiment>``.
    output
        The HTML file; an older one is replaced.
    data_root
        Where the runs' data set lies now, for the subgroups; None: where it lay in training.

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
    experiment = collect(experiment_dir)
    write_atomically(output, render(experiment, data_root=data_root).encode())
    return output


def render(experiment: Experiment, *, data_root: Path | None) -> str:
    """Return the page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _format_score, "count": _format_count}
    configurations = experiment.configurations
    subgroups, no_subgroups = score_subgroups(configurations, data_root=data_root)
    return environment.get_template("report.html.jinja").render(
        experiment=experiment,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        shown=SHOWN,
        board=[one.tabulate() for one in configurations],
        models=[{"name": one.name, **charts.style(number)} for number, one in enumerate(configurations)],
        charts=_draw_charts(experiment),
        losses=[_summarise_training(one) for one in configurations],
        subgroups=subgroups,
        no_subgroups=no_subgroups,
        data=describe_data(configurations),
        galleries=collect_galleries(configurations),
        saved=[_describe_config(one) for one in configurations],
        versions=compare_versions(configurations),
        limits=list_limits(experiment),
        plotly=Markup(get_plotlyjs()),
        style=Markup((_HERE / "report.css").read_text()),
        script=Markup((_HERE / "report.js").read_text()),
        columns={
            "n_positive": "Positives",
            "prevalence": "Prevalence",
            "pr_auc": "PR-AUC",
            "roc_auc": "ROC-AUC",
            "f1": "F1",
            "sensitivity": "Sensitivity",
            "specificity": "Specificity",
            "precision": "Precision (PPV)",
            "npv": "NPV",
        },
    )


def _draw_charts(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the charts in the order of the page: id, what is seen, and the figure as JSON for a script element."""
    configurations, names = experiment.configurations, experiment.class_names
    drawn: Sequence[tuple[str, str, go.Figure]] = (
        ("pr", "Precision-recall", charts.draw_pr(configurations, names)),
        ("roc", "ROC", charts.draw_roc(configurations, names)),
        ("reliability", "Reliability", charts.draw_reliability(configurations, names)),
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


def _summarise_training(one: Configuration) -> dict[str, Any]:
    """Say in numbers what the training curves show."""
    scored = [table.dropna(subset=["val/pr_auc"]) for table in one.histories]
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
        "commands": list(dict.fromkeys(shlex.join(info["command"]) for info in one.infos)),
        "seed": info["seed"],
    }


def _format_score(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _format_count(value: float) -> str:
    return f"{value:,.0f}"
