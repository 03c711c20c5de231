"""What a report says of how far its numbers can be believed: intervals, comparisons, calibration and checks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecgcls.cross_validation import read_folds
from ecgcls.errors import DataError
from ecgcls.evaluation.calibration import measure_calibration
from ecgcls.evaluation.comparison import ComparisonSettings, compare
from ecgcls.evaluation.intervals import Bootstrap, bootstrap
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.predictions import pool
from ecgcls.reporting.collect import SHOWN, Configuration

_COMPARED = ("pr_auc", "roc_auc")
_CALIBRATION = {
    "ece_mass": "ECE (equal mass)",
    "ece_width": "ECE (equal width)",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "slope": "Slope",
    "intercept": "Intercept",
}
"""Columns of `describe_calibration`."""


def find_intervals(one: Configuration) -> dict[str, tuple[float, float] | None]:
    """Return the 95 % interval of each metric of the leaderboard, from drawing patients; None with fewer than two."""
    pooled = one.pooled
    if len(np.unique(pooled.patient_id)) < 2:
        return dict.fromkeys(SHOWN)
    found = bootstrap(
        pooled.y_true, pooled.y_prob, pooled.patient_id, pooled.class_names, y_pred=pooled.y_pred, settings=Bootstrap()
    )
    low, high = found["low"].to_dict(), found["high"].to_dict()
    return {key: (low[OVERALL, key], high[OVERALL, key]) for key in SHOWN}


def compare_with_best(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Compare the first configuration of the leaderboard with each other one, on macro PR-AUC and ROC-AUC.

    Returns
    -------
    list of dict
        ``name`` of the other one, and either ``reason``, why they cannot be compared, or ``metrics``: by metric
        ``difference`` (best - other), ``low``, ``high``, ``p``, ``detectable`` and ``verdict`` in words.
    """
    best, *others = configurations
    lines = []
    for other in others:
        try:
            found = compare([best.pooled], [other.pooled], ComparisonSettings()).to_dict(orient="index")
        except DataError as error:
            lines.append({"name": other.name, "reason": str(error), "metrics": {}})
            continue
        metrics = {}
        for metric in _COMPARED:
            row = found[OVERALL, metric]
            verdict = {"a better": f"{best.name} is better", "b better": f"{other.name} is better"}
            values = {key: float(row[key]) for key in ("difference", "low", "high", "p", "detectable")}
            metrics[metric] = values | {"verdict": verdict.get(str(row["verdict"]), "cannot be told")}
        lines.append({"name": other.name, "reason": "", "metrics": metrics})
    return lines


def describe_calibration(configurations: Sequence[Configuration]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return how well calibrated each configuration is, before recalibration and after, averaged over the classes.

    Returns
    -------
    columns
        By key the label.
    lines
        ``name``, ``stage`` and a value for each column.
    """
    lines = []
    for one in configurations:
        before = pool(read_folds(one.runs, split="test", is_calibrated=False)[0])
        for stage, said in (("before", before), ("after", one.pooled)):
            measured = measure_calibration(said.y_true, said.y_prob, said.class_names).to_dict(orient="index")[OVERALL]
            lines.append({"name": one.name, "stage": stage, **{key: measured[key] for key in _CALIBRATION}})
    return _CALIBRATION, lines


def list_checks(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return what each configuration's runs were checked for, and how often the official test fold was scored."""
    lines = []
    for one in configurations:
        checked = [info["leakage"] for info in one.infos if "leakage" in info]
        looks = [found["official_test_fold"] for found in checked if found["official_test_fold"]]
        lines.append(
            {
                "name": one.name,
                "n_checked": len(checked),
                "n_runs": len(one.infos),
                "n_records": max((found["waveforms"]["compared"] for found in checked), default=0),
                "n_left_out": max((found["waveforms"]["left_out"] for found in checked), default=0),
                "n_looks_before": max((look["n_scored_before"] for look in looks), default=None),
                "n_configurations_before": max((look["n_configurations_before"] for look in looks), default=None),
                "labels": sorted({info["data"].get("labels_sha256", "not recorded")[:12] for info in one.infos}),
            }
        )
    return lines
