"""External validation: what ``evaluate`` has found of the nets of an experiment on other data sets.

It is read from the folders that ``evaluate`` has written, beside the scores of the same classes in the runs' own tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ecgcls.evaluation.case_mix import PREVALENCE, SHARE_OF, UNKNOWN_SHARE
from ecgcls.evaluation.metrics import OVERALL, RANKING, score_predictions
from ecgcls.files import restore
from ecgcls.jobs.results import read_intervals
from ecgcls.runs.configuration import Configuration, read_single


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """A configuration, or one fold of it, on another data set."""

    number: int
    """Of the configuration, on the page."""
    one: Configuration
    folder: Path
    written: dict[str, Any]
    """Its ``metrics.json``."""

    @property
    def source(self) -> dict[str, Any]:
        """What was scored."""
        found: dict[str, Any] = self.written["source"]
        return found

    @property
    def nets(self) -> str:
        """Whose mean the predictions are."""
        return f"fold {self.one.info.fold}" if self.one.is_single_run else self.one.folds

    def summarize(self) -> dict[str, Any]:
        """Return a line of the table: records, classes, and scores here and, of the same classes, in the run's test."""
        scores = self.written["test"]
        names = list(scores["by_class"])
        home = score_predictions(self.one.tested.take_classes(names))
        intervals = read_intervals(self.folder)
        rows: dict[str, Any] = {} if intervals is None else {key: intervals.loc[(OVERALL, key)] for key in RANKING}
        update = self.source.get("local_update")
        return {
            "place": Path(self.source["data_root"]).name,
            "path": self.source["data_root"],
            "data": self.source["data"],
            "nets": self.nets,
            "n_records": scores["overall"]["n_records"],
            "n_left_out": self.source["n_known_left_out"],
            "n_own": self.source["n_own_test_records"],
            "n_classes": len(names),
            "not_scored": self.source["classes_not_scored"],
            "broader": self.source["classes_broader"],
            "learned": update and f"{update['method']}, on {update['n_records']} records that are not scored",
            "scores": {key: scores["overall"].get(key) for key in RANKING},
            "home": {key: home.overall[key] for key in RANKING},
            "limits": {key: [row["low"], row["high"], bool(row["is_supported"])] for key, row in rows.items()},
        }

    def tabulate_classes(self) -> list[dict[str, Any]]:
        """Return a line a class: prevalence, ROC-AUC and observed to expected positives, here and in the run's test."""
        of_class = self.written["test"]["by_class"]
        home = score_predictions(self.one.tested.take_classes(list(of_class))).by_class
        mix: Any = self._read("case_mix.csv").set_index(["what", "of"])
        oe: Any = self._read("calibration.csv").set_index(["recalibration", "class"]).loc["after"]
        return [
            {
                "name": name,
                "n_positive": found["n_positive"],
                "prevalence": mix.loc[(PREVALENCE, name), ["run", "here"]].tolist(),
                "unknown": mix.loc[(UNKNOWN_SHARE, name), "here"],
                "roc_auc": [home.loc[name, "roc_auc"], found["roc_auc"]],
                "oe": oe.loc[name, ["oe", "oe_low", "oe_high"]].tolist() if name in oe.index else None,
            }
            for name, found in of_class.items()
        ]

    def tabulate_patients(self) -> list[dict[str, Any]]:
        """Return a line for each of the other rows of the case mix: who the patients are."""
        table = self._read("case_mix.csv")
        shown = table[table["of"].eq("") | table["of"].str.startswith(("sex=", "age="))]
        columns = [shown[name].tolist() for name in ("what", "of", "run", "here")]
        return [
            {"name": f"{of.replace('=', ' ')}, {what}" if what == SHARE_OF else what, "run": run, "here": here}
            for what, of, run, here in zip(*columns, strict=True)
        ]

    def _read(self, name: str) -> pd.DataFrame:
        text: dict[Any, Any] = {"class": restore, "of": restore}
        table = pd.read_csv(self.folder / name, keep_default_na=False, na_values=[""], converters=text)
        return table.fillna({name: "" for name in text if name in table})


def find_elsewhere(configurations: Sequence[Configuration]) -> list[Elsewhere]:
    """Find the evaluations on other data sets, of all folds first; chosen records and validation sets are left out."""
    found = []
    for number, one in enumerate(configurations):
        places = dict.fromkeys([one.folder, *(run.path for run in one.runs)])
        for path in [path for place in places for path in sorted(place.glob("evaluate/*/metrics.json"))]:
            written = json.loads(path.read_text())
            source = written.get("source", {})
            is_whole = "classes_not_scored" in source and "n_chosen_records" not in source and "test" in written
            if is_whole and (path.parent / "case_mix.csv").is_file():
                of_run = [read_single(run) for run in one.runs if run.path == path.parents[2]]
                found.append(Elsewhere(number, of_run[0] if of_run else one, path.parent, written))
    return found
