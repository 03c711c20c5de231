"""From the folds of one configuration to its cross-validated result.

The test predictions of all folds are pooled, each record once, and scored as a whole; the mean and the standard
deviation over folds stand beside it. Both are written to ``cv/`` beside the folds.

References
----------
.. [1] Forman, Scholz. Apples-to-apples in cross-validation studies: pitfalls in classifier performance measurement.
   ACM SIGKDD Explorations 12 (2010) 49-57. doi:10.1145/1882471.1882479 (why both are told)
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate

from ecgcls.errors import DataError
from ecgcls.evaluation.figures import draw_training_curves, save_figure
from ecgcls.evaluation.folds import correct_folds, summarize_folds
from ecgcls.evaluation.intervals import Bootstrap
from ecgcls.evaluation.metrics import METRICS, Scores
from ecgcls.evaluation.predictions import Predictions, pool
from ecgcls.evaluation.results import score_split, write_results
from ecgcls.files import write_atomically
from ecgcls.predictions_file import write_csv
from ecgcls.runs import RunDirectory

log = logging.getLogger(__name__)

_SHOWN = {"pr_auc": "PR-AUC", "roc_auc": "ROC-AUC", "f1_macro": "F1 macro"}


@dataclass(frozen=True)
class CrossValidation:
    """The folds of one configuration, and their result if all are finished.

    Attributes
    ----------
    folder
        Holds ``fold_<k>/`` and, if complete, ``cv/``.
    finished, n_folds
        Which folds are finished, of how many.
    pooled
        Scores of the pooled out-of-fold predictions; None where a fold is missing.
    over_folds
        Mean and sd over folds by class and metric, and the mean's interval; None where a fold is missing.
    """

    folder: Path
    model: str
    variant: str
    n_parameters: int
    n_folds: int
    finished: tuple[int, ...]
    pooled: Scores | None = None
    over_folds: pd.DataFrame | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every fold is finished."""
        return len(self.finished) == self.n_folds

    def say_missing(self) -> str:
        """Say which folds are missing."""
        missing = [str(fold) for fold in range(self.n_folds) if fold not in self.finished]
        return f"{len(self.finished)} of {self.n_folds} folds finished, fold={','.join(missing)} missing"


def cross_validate(folder: Path) -> CrossValidation:
    """Pool and score the folds of a configuration, and write ``cv/`` if all of them are finished.

    Parameters
    ----------
    folder
        Holds ``fold_0/``, ``fold_1/``, ...

    Raises
    ------
    DataError
        If a record was tested twice, or the folds were not trained on the same data.
    """
    runs = {
        int(path.name.removeprefix("fold_")): RunDirectory(path)
        for path in folder.glob("fold_[0-9]*")
        if path.name[5:].isdigit()
    }
    runs = {fold: run for fold, run in sorted(runs.items()) if run.is_finished}
    first = next(iter(runs.values()))
    info, n_folds = first.read_info(), len(first.read_config().folds.test)
    found = CrossValidation(
        folder=folder,
        model=info["model"],
        variant=info["variant"],
        n_parameters=info["n_parameters"],
        n_folds=n_folds,
        finished=tuple(runs),
    )
    if not found.is_complete:
        return found
    tested, left_out = read_folds(list(runs.values()), split="test")
    by_fold = [score_split(predictions) for predictions in tested]
    over_folds = summarize_folds(by_fold)
    parts = [run.read_info()["data"]["parts"] for run in runs.values()]
    n_train, n_test = (float(np.mean([part[name]["n_records"] for part in parts])) for name in ("train", "test"))
    low, high = correct_folds(over_folds["mean"], over_folds["sd"], over_folds["n"], n_train=n_train, n_test=n_test)
    is_metric = over_folds.index.get_level_values("metric").isin(list(METRICS))  # the others count records
    over_folds["low"], over_folds["high"] = np.where(is_metric, low, np.nan), np.where(is_metric, high, np.nan)
    cv = folder / "cv"
    pooled_predictions = pool(tested)
    write_csv(pooled_predictions, cv / "predictions.csv")
    title = f"{info['model']}, {n_folds} folds" + (" (simulated ECGs)" if info["synthetic"] else "")
    uncalibrated = None
    if all(run.read_decisions() for run in runs.values()):
        uncalibrated = pool(read_folds(list(runs.values()), split="test", is_calibrated=False)[0])
    pooled = write_results(
        cv,
        pooled_predictions,
        uncalibrated=uncalibrated,
        title=f"{title}, test pooled",
        intervals=_read_bootstrap(first),
        more={
            "over_folds": _nest(over_folds),
            "left_out_classes": left_out,
            "folds": {
                str(fold): {
                    "run": run.path.name,
                    "predictions_sha256": hashlib.sha256((run.path / "predictions.csv").read_bytes()).hexdigest(),
                    "n_records": len(predictions),
                }
                for (fold, run), predictions in zip(runs.items(), tested, strict=True)
            },
        },
    )
    write_atomically(cv / "metrics_over_folds.csv", over_folds.to_csv().encode())
    by_fold_table = pd.DataFrame([scores.overall for scores in by_fold], index=pd.Index(list(runs), name="fold"))
    write_atomically(cv / "metrics_by_fold.csv", by_fold_table.to_csv().encode())
    epochs = pd.concat([pd.read_csv(run.path / "history.csv") for run in runs.values()])
    curves = draw_training_curves(
        epochs.groupby("epoch", as_index=False).mean(), best_epoch=None, title=f"{title}, mean of each epoch"
    )
    save_figure(curves, cv / "figures" / "training_curves.png")
    return replace(found, pooled=pooled, over_folds=over_folds)


def read_folds(
    runs: Sequence[RunDirectory], *, split: str, is_calibrated: bool = True
) -> tuple[list[Predictions], list[str]]:
    """Read the predictions of several folds of one configuration, so that they can be pooled.

    Parameters
    ----------
    runs
        Finished runs of one configuration.
    split
        'val' or 'test'.
    is_calibrated
        Whether what the runs say is read, or what their nets said before recalibration.

    Returns
    -------
    predictions
        One a fold, of the classes that all folds have.
    left_out
        The classes that a fold does not have.

    Raises
    ------
    ConfigError, DataError
        If the folds are of different configurations, or were trained on different data.
    """
    _check_same_data([run.read_info() for run in runs], runs[0].path.parent)
    for run in runs:
        run.check_same_config(_with_fold_of(run, runs[0]))
    predictions, left_out = _keep_common_classes(
        [(run.read_predictions() if is_calibrated else run.read_uncalibrated()).select(split) for run in runs]
    )
    if left_out:
        folder = runs[0].path.parent
        log.warning("%s: left out of the pooled result, absent in a fold: %s", folder, ", ".join(left_out))
    return predictions, left_out


def tabulate(found: list[CrossValidation]) -> str:
    """Return one table with a line a configuration: pooled metrics, and mean +- sd over folds."""
    rows = []
    for one in found:
        name = f"{one.model} {one.variant}".strip()
        row = {"model": name, "parameters": f"{one.n_parameters:,}", "folds": f"{len(one.finished)}/{one.n_folds}"}
        for key, label in _SHOWN.items():
            row[f"{label} pooled"] = "" if one.pooled is None else f"{one.pooled.overall[key]:.3f}"
            if one.over_folds is None:
                row[f"{label} folds"] = ""
            else:
                mean, sd = one.over_folds.loc[("overall", key), ["mean", "sd"]].to_numpy(dtype=float)
                row[f"{label} folds"] = f"{mean:.3f}" + ("" if np.isnan(sd) else f" ± {sd:.3f}")
        rows.append(row)
    return pd.DataFrame(rows).to_string(index=False)


def _read_bootstrap(run: RunDirectory) -> Bootstrap:
    """Return how the run's intervals are found; runs of version 0.1.0 do not say."""
    evaluation = run.read_config().get("evaluation")
    return Bootstrap() if evaluation is None else instantiate(evaluation.intervals)


def _check_same_data(infos: list[dict[str, Any]], folder: Path) -> None:
    prints = {info["fold"]: info["data"]["fingerprint"] for info in infos}
    first = next(iter(prints))
    for fold, fingerprint in prints.items():
        if fingerprint != prints[first]:
            raise DataError(
                f"{folder}: folds {first} and {fold} were trained on different data (fingerprints in run.json "
                "differ): train them anew with overwrite=true"
            )


def _with_fold_of(run: RunDirectory, other: RunDirectory) -> Any:
    """Return the other run's configuration as if it were of this run's fold."""
    config = other.read_config()
    config.fold = run.read_config().fold
    return config


def _keep_common_classes(parts: list[Predictions]) -> tuple[list[Predictions], list[str]]:
    """Narrow predictions to the classes that every fold has; with ``task.absent_classes=drop`` they may differ."""
    every = list(dict.fromkeys(name for part in parts for name in part.class_names))
    common = [name for name in every if all(name in part.class_names for part in parts)]
    if not common:
        raise DataError("the folds have no class in common")
    narrowed = []
    for part in parts:
        columns = [part.class_names.index(name) for name in common]
        narrowed.append(
            replace(
                part,
                y_true=part.y_true[:, columns],
                y_prob=part.y_prob[:, columns],
                y_pred=part.y_pred[:, columns],
                class_names=tuple(common),
            )
        )
    return narrowed, [name for name in every if name not in common]


def _nest(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Turn the table of means and sds into plain JSON: class, metric, statistic."""
    nested: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for row in table.reset_index().to_dict(orient="records"):
        class_name, metric = row.pop("class"), row.pop("metric")
        values = {str(key): None if np.isnan(value) else value for key, value in row.items()}
        nested.setdefault(class_name, {})[metric] = values
    return nested
