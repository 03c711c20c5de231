"""How far the numbers of a report can be trusted: intervals, comparisons and calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecgcls.errors import DataError
from ecgcls.evaluation.calibration import measure_calibration
from ecgcls.evaluation.comparison import compare
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import OVERALL, RANKING, class_metrics, overall_metrics
from ecgcls.runs.configuration import Configuration

CALIBRATION = {
    "ece_mass": "ECE (equal mass)",
    "ece_width": "ECE (equal width)",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "slope": "Slope",
    "intercept": "Intercept",
}
"""Columns of the table of calibration."""


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


def find_intervals(one: Configuration) -> dict[str, tuple[float, float] | None]:
    """Return the interval of each metric of the leaderboard, as the runs evaluate it; None with only one patient."""
    tested = one.tested
    if len(np.unique(tested.patient_id)) < 2:
        return dict.fromkeys(list_leaderboard())
    table = bootstrap(
        tested.y_true,
        tested.y_prob,
        tested.patient_id,
        tested.class_names,
        y_pred=tested.y_pred,
        settings=one.evaluation.intervals,
    )
    low, high = table["low"].to_dict(), table["high"].to_dict()
    return {key: (low[OVERALL, key], high[OVERALL, key]) for key in list_leaderboard()}


def compare_with_best(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Compare the first configuration of the leaderboard with each other one, on macro PR-AUC and ROC-AUC.

    Returns
    -------
    list of dict
        ``name`` of the other one, and either ``reason``, why they cannot be compared, or ``metrics``: by metric
        ``difference`` (best - other), ``low``, ``high``, ``p``, ``detectable`` and ``verdict`` in words.
    """
    best, *others = configurations
    lines: list[dict[str, Any]] = []
    for other in others:
        try:
            table = compare([best.tested], [other.tested], best.evaluation.intervals).to_dict(orient="index")
        except DataError as error:
            lines.append({"name": other.name, "reason": str(error), "metrics": {}})
            continue
        verdicts = {"a better": f"{best.name} is better", "b better": f"{other.name} is better"}
        metrics = {
            metric: {key: float(row[key]) for key in ("difference", "low", "high", "p", "detectable")}
            | {"verdict": verdicts.get(str(row["verdict"]), "no difference shown")}
            for metric in RANKING
            for row in [table[OVERALL, metric]]
        }
        lines.append({"name": other.name, "reason": "", "metrics": metrics})
    return lines


def describe_calibration(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return the calibration of each configuration, before recalibration and after, averaged over the classes.

    Returns
    -------
    list of dict
        ``name``, ``stage`` and a value for each column of `CALIBRATION`.
    """
    lines = []
    for one in configurations:
        stages = {"before": one.pooled("test", is_calibrated=False), "after": one.tested}
        for stage, each in stages.items():
            measured = measure_calibration(each.y_true, each.y_prob, each.class_names).to_dict(orient="index")[OVERALL]
            lines.append({"name": one.name, "stage": stage, **{key: measured[key] for key in CALIBRATION}})
    return lines
