"""Render the report: one HTML file with everything in it, that makes no request."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ecgcls import __version__
from ecgcls.evaluation.label_noise import HEADLINE, format_readings
from ecgcls.evaluation.metrics import METRICS, RANKING
from ecgcls.files import name_file, write_atomically
from ecgcls.reporting import charts, facts
from ecgcls.reporting.against import BEST, choose_reference, compare_with
from ecgcls.reporting.cards import write_cards
from ecgcls.reporting.cells import score_cells
from ecgcls.reporting.curves import SENSITIVITY, SPECIFICITY, AllCurves, trace_all
from ecgcls.reporting.decided import describe_calibrators, read_thresholds
from ecgcls.reporting.elsewhere import find_elsewhere
from ecgcls.reporting.experiment import Experiment, collect
from ecgcls.reporting.gallery import collect_galleries
from ecgcls.reporting.learning import draw_learning, find_curves, tabulate_curve
from ecgcls.runs.configuration import Configuration

MAX_BYTES = 9_900_000
"""Of a page: the explained ECGs get what the rest leaves."""

_HERE = Path(__file__).parent


def write_report(
    experiment_dir: Path, *, output: Path, data_root: Path | None = None, reference: str | None = None
) -> Path:
    """Write the report of all runs of an experiment, and a model card and a checklist for each configuration.

    These two go into the configuration's folder or, where that is read-only, beside the page.

    The table of the data set at `data_root` says which subgroups there are; None: as the runs recorded them.
    `reference` names the configuration that all others are compared with, see `against.choose_reference`.
    """
    experiment, environment = collect(experiment_dir), facts.open_templates()
    tables = [facts.score_label_noise(one) for one in experiment.configurations]
    content = _collect_content(experiment, data_root=data_root, reference=reference)
    content["readings"] = facts.list_readings(tables, experiment.configurations)
    own = zip(content["saved"], content["board"], tables, experiment.configurations, strict=True)
    for saved, line, readings, one in own:
        worst = content["worst"].get(one.name, "")
        limits = facts.list_limits(replace(experiment, configurations=(one,)))
        is_writable = os.access(one.folder, os.W_OK)  # what only reads a run works where its folder is read-only
        folder = one.folder if is_writable else output.with_name(f"{output.stem}_cards") / name_file(one.name)
        noise = "" if readings is None else format_readings(readings)
        cards = write_cards(one, folder, intervals=line["intervals"], worst=worst, limits=limits, readings=noise)
        saved["cards"] = [(path.name, os.path.relpath(path, output.parent)) for path in cards]
    template = environment.get_template("report.html.jinja")
    n_bytes = len(template.render(**content, galleries=[]).encode())
    galleries = collect_galleries(experiment.configurations, max_bytes=MAX_BYTES - n_bytes)
    write_atomically(output, template.render(**content, galleries=galleries).encode())
    return output


def _collect_content(experiment: Experiment, *, data_root: Path | None, reference: str | None) -> dict[str, Any]:
    """Return what the template says, but for the explained ECGs."""
    configurations, class_names = experiment.configurations, experiment.class_names
    is_best, against = reference == BEST, choose_reference(configurations, reference)
    widest = experiment.widest.tested
    curves = trace_all(configurations, class_names)
    subgroups, worst, no_subgroups = score_cells(configurations, data_root=data_root)
    board, learning = [facts.summarize_configuration(one) for one in configurations], find_curves(configurations)
    return {
        "experiment": experiment,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "trained": [datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M UTC") for time in experiment.trained],
        "version": __version__,
        "n_records": len(widest),
        "n_patients": len(np.unique(widest.patient_id)),
        "shown": facts.list_leaderboard(class_names),
        "noisy": {key: METRICS[key].label for key in HEADLINE},
        "columns": {"n_positive": "Positives"}
        | ({"n_unknown": "Unknown"} if any(one.tested.n_unknown.any() for one in configurations) else {})
        | {"prevalence": "Prevalence"}
        | facts.list_class_columns(),
        "board": board,
        "learning": [
            {"curve": each, "lines": tabulate_curve(each, board), **charts.style(number)}
            for number, each in enumerate(learning)
        ],
        "learning_charts": [
            _write_chart(f"learning-{key}", METRICS[key].label, draw_learning(learning, board, key))
            for key in (RANKING if learning else ())
        ],
        "external": [
            {
                "line": each.summarize(),
                "classes": each.tabulate_classes(),
                "patients": each.tabulate_patients(),
                "name": configurations[each.number].name,
                **charts.style(each.number),
            }
            for each in find_elsewhere(configurations)
        ],
        "reference": against,
        "is_best": is_best,
        "is_chosen": reference is not None,
        "comparisons": compare_with(against, configurations, is_best=is_best),
        "calibration": facts.describe_calibration(configurations),
        "calibrators": {one.name: describe_calibrators(one) for one in configurations},
        "thresholds": [read_thresholds(one) for one in configurations],
        "checks": facts.list_checks(configurations),
        "models": [{"name": one.name, **charts.style(number)} for number, one in enumerate(configurations)],
        "curves": curves,
        "sensitivity": SENSITIVITY,
        "specificity": SPECIFICITY,
        "charts": _draw_charts(curves, configurations, class_names),
        "losses": [facts.summarize_training(one) for one in configurations],
        "subgroups": subgroups,
        "no_subgroups": no_subgroups,
        "min_records": max(one.evaluation.subgroups.min_records for one in configurations),
        "worst": worst,
        "data": facts.describe_data(configurations),
        "saved": [_describe_config(one) for one in configurations],
        "versions": facts.compare_versions(configurations),
        "limits": facts.list_limits(experiment),
        "plotly": Markup(get_plotlyjs()),
        "style": Markup((_HERE / "report.css").read_text()),
        "script": Markup((_HERE / "report.js").read_text()),
    }


def _draw_charts(curves: AllCurves, configurations: Sequence[Configuration], class_names: Sequence[str]) -> list[Any]:
    """Return the charts in the order of the page: id, what is seen, and the figure as JSON for a script element."""
    drawn = (
        ("pr", "Precision-recall", charts.draw_pr(curves, configurations, class_names)),
        ("roc", "ROC", charts.draw_roc(curves, configurations, class_names)),
        ("reliability", "Reliability", charts.draw_reliability(curves, configurations, class_names)),
        ("loss", "Training loss", charts.draw_training(configurations, "train/loss", "Training loss")),
        ("val-loss", "Validation loss", charts.draw_training(configurations, "val/loss", "Validation loss")),
        (
            "val-pr",
            "Validation PR-AUC (optimistic)",
            charts.draw_training(configurations, "val/pr_auc", "Macro PR-AUC"),
        ),
    )
    return [_write_chart(*each) for each in drawn]


def _write_chart(name: str, title: str, figure: go.Figure) -> dict[str, Any]:
    return {"id": name, "title": title, "json": htmlsafe_json_dumps(figure, dumps=go.Figure.to_json)}


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
