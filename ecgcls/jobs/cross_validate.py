"""From the folds of one configuration to its cross-validated result.

Every metric is measured within folds and averaged (see `ecgcls.evaluation.metrics`); beside it stand the value of the
records of all folds ranked together, as ``pooled``, and the standard deviation over folds. All is written to ``cv/``
beside the folds.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ecgcls.evaluation.folds import correct_folds
from ecgcls.evaluation.metrics import METRICS, overall_metrics
from ecgcls.figures.curves import draw_training_curves
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, write_atomically
from ecgcls.jobs.results import nest, write_results
from ecgcls.jobs.sites import format_sites, write_sites
from ecgcls.runs.configuration import Configuration, read_configuration
from ecgcls.runs.predictions_csv import write_csv

log = logging.getLogger(__name__)


def cross_validate(folder: Path) -> Configuration:
    """Score the folds of a configuration together, and write ``cv/`` if all of them are finished."""
    one = read_configuration(folder)
    if not one.is_complete:
        return one
    threads = {info.fold: info.n_threads for info in one.infos}
    if len(set(threads.values())) > 1:
        log.warning("%s: the folds were trained with different numbers of threads, %s by fold", folder, threads)
    cv = folder / "cv"
    over_folds = add_corrected_intervals(one)
    write_csv(one.tested, cv / "predictions.csv")
    write_results(
        cv,
        one.tested,
        uncalibrated=one.pooled("test", is_calibrated=False),
        title=f"{one.title}, test",
        settings=one.evaluation,
        groups=one.groups,
        likelihoods=one.likelihoods,
        more={
            "over_folds": nest(over_folds),
            "left_out_classes": one.left_out_classes,
            "folds": {
                str(info.fold): {
                    "run": run.path.name,
                    "predictions_sha256": run.hash_predictions(),
                    "n_records": len(predictions),
                }
                for run, info, predictions in zip(one.runs, one.infos, one.predictions("test"), strict=True)
            },
        },
    )
    write_sites(one, cv, title=f"{one.title}, each site held out")
    write_atomically(cv / "metrics_over_folds.csv", encode_csv(over_folds))
    folds = pd.Index([info.fold for info in one.infos], name="fold")
    by_fold = pd.DataFrame([scores.overall for scores in one.by_fold], index=folds)
    write_atomically(cv / "metrics_by_fold.csv", by_fold.to_csv().encode())
    epochs = pd.concat(one.histories).groupby("epoch", as_index=False).mean()
    curves = draw_training_curves(epochs, best_epoch=None, title=f"{one.title}, mean of each epoch")
    save_figure(curves, cv / "figures" / "training_curves.png")
    return one


def add_corrected_intervals(one: Configuration) -> pd.DataFrame:
    """Return mean and standard deviation over the folds, with the interval of the mean as ``low`` and ``high``."""
    table = one.over_folds.copy()
    keys = table.index.get_level_values("metric")
    bounds = np.array([METRICS[key].bounds if key in METRICS else (-np.inf, np.inf) for key in keys]).T
    low, high = correct_folds(
        table["mean"],
        table["sd"],
        table["n"],
        n_train=one.count_records("train"),
        n_test=one.count_records("test"),
        level=one.evaluation.intervals.level,
        bounds=bounds,
    )
    is_metric = keys.isin(list(METRICS))  # the others count records
    return table.assign(low=np.where(is_metric, low, np.nan), high=np.where(is_metric, high, np.nan))


def format_configurations(found: Sequence[Configuration]) -> str:
    """Return one table with a line per configuration: means over the finished folds ± sd, and pooled metrics.

    Of those whose folds test one site each, what is to be expected at a new one follows.
    """
    rows = []
    for one in found:
        name = f"{one.info.model} {one.info.variant}".strip()
        row = {"model": name, "parameters": f"{one.info.n_parameters:,}", "folds": f"{len(one.runs)}/{one.n_folds}"}
        for metric in overall_metrics(one.class_names, headline=True):
            key, label = metric.key, metric.label
            sd = one.over_folds["sd"]["overall", key]
            row[label] = f"{one.scores.overall[key]:.3f}" + ("" if np.isnan(sd) else f" ± {sd:.3f}")
            row[f"{label} pooled"] = f"{one.pooled_scores.overall[key]:.3f}"
        rows.append(row)
    text = pd.DataFrame(rows).to_string(index=False)
    if " ± " in text:
        text += "\n±: standard deviation over the folds; cv/metrics_over_folds.csv has intervals of the means"
    sites = {row["model"]: format_sites(one.folder / "cv") for row, one in zip(rows, found, strict=True)}
    return "\n\n".join([text, *(f"{name}: {of_sites}" for name, of_sites in sites.items() if of_sites)])
