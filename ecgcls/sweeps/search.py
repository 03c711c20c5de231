"""The results of a search for better settings: one row per trial, the best configuration, a figure."""

import json
import shlex
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
from ecgcls.runs.searched import BEST, OBJECTIVE, TRIALS, list_searches
from ecgcls.sweeps.nested import describe_nested
from ecgcls.sweeps.reports import Report


def write_search(reports: Sequence[Report], sweep_folder: Path, folder: Path, *, choices: Sequence[str] = ()) -> str:
    """Write ``trials.csv``, ``best.yaml`` (a whole configuration) and ``search.png`` into a folder.

    `choices` are overrides that repeat what a preset chose. Returned are the trials, best first; the commands that test
    the best one on the fold of the search, and train it again there; what a nested search lacks, or its result; and the
    folder. That no trial finished is a `DataError`.
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
    write_atomically(folder / TRIALS, encode_csv(trials, index=False))
    shutil.copyfile(Path(best["run"]) / ".hydra" / "config.yaml", folder / BEST)
    save_figure(draw_search(trials, searched, objective=OBJECTIVE), folder / "search.png")
    shown = trials.sort_values(OBJECTIVE, ascending=False)[["trial", *searched, OBJECTIVE, "status"]]
    command = " ".join([*fixed, *(f"{key}={best[key]}" for key in searched)])
    searches = list_searches(folder.parents[1])
    own = next(search for search in searches if search.folder == folder)
    return (
        f"{shown.to_string(index=False, float_format='{:.4g}'.format)}\n\n"
        f"The best of {len(shown)} trials was chosen on the validation set of fold {own.fold}, so its {OBJECTIVE} is "
        f"optimistic. To test it on fold {own.fold}, the one whose test records no trial has seen:\n"
        f"python -m ecgcls.evaluate run={shlex.quote(str(own.run))}\n"
        f"To train it there again:\npython -m ecgcls.run {command} fold={own.fold}\n\n"
        f"{describe_nested([search for search in searches if search.is_like(own)])}{folder}"
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
