"""What a search for better settings leaves behind: its trials, the best configuration, a picture."""

import json
import shutil
from collections.abc import Mapping, Sequence
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

OBJECTIVE = "val_pr_auc"
"""The column of the trials that is searched for: the macro PR-AUC of the validation part."""


@dataclass(frozen=True)
class Search:
    """A search that has ended.

    Attributes
    ----------
    folder
        Where its files are.
    trials
        A row a trial: ``trial``, the searched settings, ``val_pr_auc`` (nan where it failed), ``status``, ``run``.
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

    def say(self) -> str:
        """Return the trials, best first, the folder, and the command that trains the best on every fold."""
        shown = self.trials.sort_values(OBJECTIVE, ascending=False)[["trial", *self.searched, OBJECTIVE, "status"]]
        best = [f"{key}={self.best[key]}" for key in self.searched]
        return (
            f"{shown.to_string(index=False, float_format='{:.4g}'.format)}\n\n"
            f"The best of {len(shown)} trials by the validation part, so its {OBJECTIVE} is too good to be expected "
            f"again. On every fold:\n"
            f"python -m ecgcls.run -m {' '.join([*self.fixed, *best])} fold=0,1,2,3,4\n\n{self.folder}"
        )


def write_search(
    words: Sequence[Mapping[str, Any]], sweep_folder: Path, folder: Path, *, choices: Sequence[str] = ()
) -> Search:
    """Write ``trials.csv``, ``best.yaml`` (a whole configuration) and ``search.png``.

    Parameters
    ----------
    words
        How each trial ended: ``number``, ``overrides``, ``status`` and, if it finished, ``run`` and ``objective``.
    sweep_folder
        Where the sweeper has left ``optimization_results.yaml``.
    folder
        Where to write.
    choices
        Overrides that stand for what a preset chose.

    Raises
    ------
    DataError
        If no trial finished.
    """
    finished = [word for word in words if word["status"] == "finished"]
    if not finished:
        raise DataError("no trial of the search finished")
    results = OmegaConf.to_container(OmegaConf.load(sweep_folder / "optimization_results.yaml"))
    assert isinstance(results, dict)
    searched = tuple(str(key) for key in results["best_params"])
    trials = pd.DataFrame([_describe(word, searched) for word in words])
    typed = [override for override in finished[0]["overrides"] if _key(override) not in (*searched, "fold", "+preset")]
    named = {_key(override) for override in typed}
    fixed = (*typed, *(choice for choice in choices if _key(choice) not in named))
    search = Search(folder, trials, searched, fixed)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "trials.csv", trials.to_csv(index=False).encode())
    shutil.copyfile(Path(str(search.best["run"])) / ".hydra" / "config.yaml", folder / "best.yaml")
    save_figure(draw_search(trials, searched, objective=OBJECTIVE), folder / "search.png")
    return search


def _describe(word: Mapping[str, Any], searched: Sequence[str]) -> dict[str, Any]:
    values = {_key(override): override.partition("=")[2] for override in word["overrides"]}
    return {
        "trial": word["number"],
        **{key: _read_value(values[key]) for key in searched},
        OBJECTIVE: word.get("objective", np.nan),
        "status": word["status"],
        "run": word.get("run", ""),
        "error": word.get("error", ""),
    }


def _key(override: str) -> str:
    return override.partition("=")[0]


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
