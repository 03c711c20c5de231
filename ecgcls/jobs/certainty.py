"""Sets of labels at a stated error rate: what a run's own validation records say, and the tables of scored records.

The known records are the run's validation set, and the scores the net's own, before recalibration. Its calibrator and
thresholds are learned on the same records, but neither takes part in a score, so nothing was fitted on them that the
sets depend on, but for one thing: the epoch was chosen among few on the macro average of all classes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.evaluation.conformal import SETS, Conformal, can_be_stated, form_sets, learn_conformal, measure_sets
from ecgcls.evaluation.logits import to_logits
from ecgcls.evaluation.predictions import Predictions
from ecgcls.figures.certainty import draw_certainty
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, printable, write_atomically
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.directory import RunDirectory

log = logging.getLogger(__name__)

_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Certainty:
    """The sets of scored records.

    Attributes
    ----------
    error_rate
        That was stated.
    ecg_id, sets
        ``(record,)``; and ``(record, class)``, numbers of `ecgcls.evaluation.conformal.SETS`.
    n_known
        ``(class, 2)``: validation patients with a negative and with a positive record, the fewest of all runs.
    """

    error_rate: float
    ecg_id: NDArray
    sets: NDArray[np.int8]
    n_known: NDArray[np.int64]

    def take(self, ecg_ids: NDArray) -> Certainty:
        """Keep these records, in this order."""
        rows = pd.Index(self.ecg_id).get_indexer(ecg_ids)
        return replace(self, ecg_id=self.ecg_id[rows], sets=self.sets[rows])

    def take_columns(self, columns: Sequence[int]) -> Certainty:
        """Keep these classes, in this order."""
        return replace(self, sets=self.sets[:, columns], n_known=self.n_known[columns])


def learn_from(run: RunDirectory, class_names: Sequence[str]) -> Conformal:
    """Learn what the scores of a run's net are on its validation records."""
    validation = run.read_predictions("val", is_calibrated=False).take_classes(class_names)
    return learn_conformal(validation.y_true, _take_logits(validation), validation.patient_id)


def _take_logits(predictions: Predictions) -> NDArray[np.float64]:
    return to_logits(predictions.y_prob) if predictions.y_logit is None else predictions.y_logit


def form_own_sets(one: Configuration, error_rate: float) -> Certainty:
    """Form the sets of the test records of a run, or of all folds, each by its own run's validation records."""
    ids, sets, known = [], [], []
    for run in one.runs:
        conformal = learn_from(run, one.class_names)
        tested = run.read_predictions("test", is_calibrated=False).take_classes(one.class_names)
        ids.append(tested.ecg_id)
        sets.append(form_sets(conformal.find_p(_take_logits(tested)), conformal.n_patients, error_rate))
        known.append(conformal.n_patients)
    return Certainty(error_rate, np.concatenate(ids), np.concatenate(sets), np.min(known, axis=0))


def write_certainty(
    folder: Path,
    predictions: Predictions,
    certainty: Certainty,
    *,
    groups: pd.DataFrame | None,
    min_records: int,
    title: str = "",
) -> pd.DataFrame:
    """Write ``sets.csv``, ``conformal.csv`` with its figure and ``conformal_subgroups.csv``; return the table by class.

    Cells of `groups` with fewer than `min_records` records, or of one patient, are left out. A warning counts
    those that do not keep the error rate.
    """
    sets, names = certainty.take(predictions.ecg_id).sets, predictions.class_names
    columns = {f"y_set_{name}": np.array(SETS)[sets[:, column]] for column, name in enumerate(names)}
    write_atomically(
        folder / "sets.csv", encode_csv(pd.DataFrame({"ecg_id": predictions.ecg_id, **columns}), index=False)
    )
    stated = pd.DataFrame(
        {
            "error_rate": certainty.error_rate,
            "n_known_negative": certainty.n_known[:, 0],
            "n_known_positive": certainty.n_known[:, 1],
            "is_stated": can_be_stated(certainty.n_known, certainty.error_rate),
        }
    )
    table = pd.concat([measure_sets(predictions.y_true, sets, predictions.patient_id, names), stated], axis=1)
    write_atomically(folder / "conformal.csv", encode_csv(table, index=False))
    figure = draw_certainty(table, error_rate=certainty.error_rate, title=title)
    save_figure(figure, folder / "figures" / "conformal.png")
    if groups is not None and len(groups.columns):
        cells = _measure_cells(predictions, sets, groups.reindex(predictions.ecg_id), min_records)
        write_atomically(folder / "conformal_subgroups.csv", encode_csv(cells, index=False))
        _tell_missed(cells, certainty.error_rate)
    if unstated := [printable(name) for name, is_it in zip(names, stated["is_stated"], strict=True) if not is_it]:
        log.warning(
            "Not certain for every record, with too few validation patients to state an error rate of %g: %s",
            certainty.error_rate,
            ", ".join(unstated),
        )
    return table


def _measure_cells(
    predictions: Predictions, sets: NDArray[np.int8], groups: pd.DataFrame, min_records: int
) -> pd.DataFrame:
    """Measure each cell; the limits hold for all cells, classes and labels together (Bonferroni)."""
    cells = []
    for grouping, group_of in groups.items():
        for group in sorted(group_of.dropna().unique()):
            rows = np.flatnonzero((group_of == group).to_numpy())
            if len(rows) >= min_records and len(np.unique(predictions.patient_id[rows])) > 1:
                cells.append((str(grouping), group, rows))
    level = 1 - (1 - _LEVEL) / max(2 * len(cells) * len(predictions.class_names), 1)
    tables = []
    for grouping, group, rows in cells:
        arrays = predictions.y_true[rows], sets[rows], predictions.patient_id[rows]
        table = measure_sets(*arrays, predictions.class_names, level=level)
        table.insert(0, "group", group)
        table.insert(0, "grouping", grouping)
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["grouping", "group", "class"])


def _tell_missed(cells: pd.DataFrame, error_rate: float) -> None:
    """Name the subgroup and class whose sets hold their label least often, where limits say too rarely."""
    found = []
    for label in ("positive", "negative"):
        key = f"coverage_{label}"
        missed = cells[cells[f"{key}_high"] < 1 - error_rate] if len(cells) else cells
        found += [(row[key], label, row) for _, row in missed.iterrows()]
    if found:
        value, label, row = min(found, key=lambda each: each[0])
        log.warning(
            "The error rate does not hold in every subgroup: %d times a class's sets hold the label too rarely, least "
            "often for the %s records of %s in %s %s (%.3f of them)",
            len(found),
            label,
            printable(row["class"]),
            printable(row["grouping"]),
            printable(row["group"]),
            value,
        )


def format_certainty(table: pd.DataFrame, error_rate: float) -> str:
    """Return a table of `write_certainty` as text."""

    def show(key: str) -> list[str]:
        limits = zip(table[key], table[f"{key}_low"], table[f"{key}_high"], strict=True)
        return [f"{value:.3f} [{low:.3f}, {high:.3f}]" if value == value else "" for value, low, high in limits]

    shown = pd.DataFrame(
        {
            "": [printable(name) for name in table["class"]],
            "yes": table["yes"],
            "no": table["no"],
            "not certain": table["not_certain"],
            "neither": table["neither"],
            "holds, of positives": show("coverage_positive"),
            "of negatives": show("coverage_negative"),
            "wrong, of yes and no": show("error_certain"),
        }
    )
    text = shown.to_string(index=False, float_format="{:.3f}".format)
    wanted = f"they are meant to hold the true label for {1 - error_rate:g} of the positives and of the negatives"
    return f"\nSets at an error rate of {error_rate:g}; {wanted}:\n{text}\n"
