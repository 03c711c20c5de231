"""From the folds of one configuration to its cross-validated result.

The test predictions of all folds are pooled, each record once, and scored as a whole; the mean and the standard
deviation over folds are reported beside it. Both are written to ``cv/`` beside the folds.

References
----------
.. [1] Forman, Scholz. Apples-to-apples in cross-validation studies: pitfalls in classifier performance measurement.
   ACM SIGKDD Explorations 12 (2010) 49-57. doi:10.1145/1882471.1882479 (why both are reported)
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
from ecgcls.runs.configuration import Configuration, read_configuration
from ecgcls.runs.predictions_csv import write_csv

log = logging.getLogger(__name__)


def cross_validate(folder: Path) -> Configuration:
    """Pool and score the folds of a configuration, and write ``cv/`` if all of them are finished."""
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
        title=f"{one.title}, test pooled",
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
    low, high = correct_folds(
        table["mean"],
        table["sd"],
        table["n"],
        n_train=one.count_records("train"),
        n_test=one.count_records("test"),
        level=one.evaluation.intervals.level,
    )
    is_metric = table.index.get_level_values("metric").isin(list(METRICS))  # the others count records
    return table.assign(low=np.where(is_metric, low, np.nan), high=np.where(is_metric, high, np.nan))


def format_configurations(found: Sequence[Configuration]) -> str:
    """Return one table with a line per configuration: pooled metrics, and mean ± sd over the finished folds."""
    rows = []
    for one in found:
        name = f"{one.info.model} {one.info.variant}".strip()
        row = {"model": name, "parameters": f"{one.info.n_parameters:,}", "folds": f"{len(one.runs)}/{one.n_folds}"}
        for metric in overall_metrics(headline=True):
            key, label = metric.key, metric.label
            mean, sd = one.over_folds.loc[("overall", key), ["mean", "sd"]].to_numpy(dtype=float)
            row[f"{label} pooled"] = f"{one.scores.overall[key]:.3f}"
            row[f"{label} folds"] = f"{mean:.3f}" + ("" if np.isnan(sd) else f" ± {sd:.3f}")
        rows.append(row)
    return pd.DataFrame(rows).to_string(index=False)
