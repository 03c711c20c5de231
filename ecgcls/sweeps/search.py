"""The results of a search for better settings: one row per trial, the best configuration, a figure."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from ecgcls.errors import DataError
from ecgcls.figures.panels import draw_search
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, write_atomically
from ecgcls.sweeps.reports import Report

OBJECTIVE = "val_pr_auc"
"""The column of the trials that is maximized: macro PR-AUC on the validation set."""


def write_search(reports: Sequence[Report], sweep_folder: Path, folder: Path, *, choices: Sequence[str] = ()) -> str:
    """Write ``trials.csv``, ``best.yaml`` (a whole configuration) and ``search.png`` into a folder.

    `choices` are overrides that repeat what a preset chose. Returned are the trials, best first, the folder, and the
    command that trains the best on every fold. That no trial finished is a `DataError`.
    """
    finished = [report for report in reports if report.status == "finished"]
    if not finished:
        raise DataError("no trial of the search finished")
    results: Any = OmegaConf.load(sweep_folder / "optimization_results.yaml")  # the sweeper's
    searched = [str(key) for key in results["best_params"]]
    trials = pd.DataFrame([_describe(report, searched) for report in reports])
    best = trials.iloc[int(np.nanargmax(trials[OBJECTIVE].to_numpy()))]
    typed = [override for override in finished[0].overrides if _key(override) not in (*searched, "fold", "+preset")]
    fixed = [*typed, *(choice for choice in choices if _key(choice) not in map(_key, typed))]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "trials.csv", encode_csv(trials, index=False))
    shutil.copyfile(Path(best["run"]) / ".hydra" / "config.yaml", folder / "best.yaml")
    save_figure(draw_search(trials, searched, objective=OBJECTIVE), folder / "search.png")
    shown = trials.sort_values(OBJECTIVE, ascending=False)[["trial", *searched, OBJECTIVE, "status"]]
    command = " ".join([*fixed, *(f"{key}={best[key]}" for key in searched)])
    return (
        f"{shown.to_string(index=False, float_format='{:.4g}'.format)}\n\n"
        f"The best of {len(shown)} trials was chosen on the validation set, so its {OBJECTIVE} is optimistic. To "
        f"train it on every fold:\npython -m ecgcls.run -m {command} fold=0,1,2,3,4\n\n{folder}"
    )


def _describe(report: Report, searched: Sequence[str]) -> dict[str, Any]:
    values = {_key(override): override.partition("=")[2] for override in report.overrides}
    return {
        "trial": report.number,
        **{key: _read_value(values[key]) for key in searched},
        OBJECTIVE: np.nan if report.objective is None else report.objective,
        "status": report.status,
        "run": report.run,
        "error": report.error,
    }


def _key(override: str) -> str:
    return override.partition("=")[0]


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
