"""The results of a search for better settings: its trials, the best configuration, a figure."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from ecgcls.errors import DataError
from ecgcls.figures.panels import draw_search
from ecgcls.figures.style import save_figure
from ecgcls.files import write_atomically
from ecgcls.sweeps.reports import Report

OBJECTIVE = "val_pr_auc"
"""The column of the trials that is maximized: macro PR-AUC on the validation set."""


@dataclass(frozen=True)
class Search:
    """A search that has ended.

    Attributes
    ----------
    folder
        Where its files are.
    trials
        One row per trial: ``trial``, the searched settings, ``val_pr_auc`` (nan where it failed), ``status``, ``run``.
    searched
        The settings that were searched, by dotted key.
    fixed
        The other overrides, as typed.
    """

    folder: Path
    trials: pd.DataFrame
    searched: tuple[str, ...]
    fixed: tuple[str, ...]

    @property
    def best(self) -> pd.Series:
        """The trial with the highest objective."""
        return self.trials.iloc[int(np.nanargmax(self.trials[OBJECTIVE].to_numpy()))]

    def format(self) -> str:
        """Return the trials, best first, the folder, and the command that trains the best on every fold."""
        shown = self.trials.sort_values(OBJECTIVE, ascending=False)[["trial", *self.searched, OBJECTIVE, "status"]]
        best = [f"{key}={self.best[key]}" for key in self.searched]
        return (
            f"{shown.to_string(index=False, float_format='{:.4g}'.format)}\n\n"
            f"The best of {len(shown)} trials was chosen on the validation set, so its {OBJECTIVE} is optimistic. To "
            f"train it on every fold:\n"
            f"python -m ecgcls.run -m {' '.join([*self.fixed, *best])} fold=0,1,2,3,4\n\n{self.folder}"
        )


def write_search(reports: Sequence[Report], sweep_folder: Path, folder: Path, *, choices: Sequence[str] = ()) -> Search:
    """Write ``trials.csv``, ``best.yaml`` (a whole configuration) and ``search.png``.

    Parameters
    ----------
    reports
        How each trial ended.
    sweep_folder
        Where the sweeper wrote ``optimization_results.yaml``.
    folder
        Where to write.
    choices
        Overrides that repeat what a preset chose.

    Raises
    ------
    DataError
        If no trial finished.
    """
    finished = [report for report in reports if report.status == "finished"]
    if not finished:
        raise DataError("no trial of the search finished")
    results = OmegaConf.to_container(OmegaConf.load(sweep_folder / "optimization_results.yaml"))
    assert isinstance(results, dict)
    searched = tuple(str(key) for key in results["best_params"])
    trials = pd.DataFrame([_describe(report, searched) for report in reports])
    typed = [override for override in finished[0].overrides if _key(override) not in (*searched, "fold", "+preset")]
    named = {_key(override) for override in typed}
    fixed = (*typed, *(choice for choice in choices if _key(choice) not in named))
    search = Search(folder, trials, searched, fixed)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "trials.csv", trials.to_csv(index=False).encode())
    shutil.copyfile(Path(str(search.best["run"])) / ".hydra" / "config.yaml", folder / "best.yaml")
    save_figure(draw_search(trials, searched, objective=OBJECTIVE), folder / "search.png")
    return search


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
