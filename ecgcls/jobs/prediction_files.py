"""What ``predict`` writes: ``predictions.csv``, ``predictions.json``, and ``failed.csv`` if a record could not be used.

The tables grow by a row as soon as a record is done, so that they can be read meanwhile and nothing is lost when the
command is killed. The same holds for ``predictions.jsonl``, a line for each record, from which ``predictions.json`` is
put together at the end.
"""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
import pandas as pd

from ecgcls.files import defuse, printable
from ecgcls.jobs.prediction import Prediction
from ecgcls.jobs.predictor import Predictor

MAX_SHOWN = 40
"""Rows of a table on the screen."""

_MAX_NAMED = 3  # records of each doubt
_NAMES = ("predictions.csv", "predictions.jsonl", "predictions.json", "failed.csv")
_MARKS = {"yes": "yes", "no": "no ", "not certain": "?  ", "neither": "-  "}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_NAME = re.compile(r"(?<=: ecg_id ).*")  # of an ECG that the run has learned from


class PredictionFiles:
    """The results in a folder, in place of those of an earlier call; to be used in a ``with`` block.

    Attributes
    ----------
    n_predicted, n_failed
        How many records were predicted, and could not be used.
    first, failed
        The first of them, by record, as far as they are shown on the screen.
    repairs
        How often something was changed or doubtful, by its text without numbers; and the first records of each.
    """

    def __init__(self, folder: Path, *, run: Predictor, source: str, error_rate: float | None = None) -> None:
        self.folder, self._run, self._source, self.error_rate = folder, run, source, error_rate
        self._open: dict[str, TextIO] = {}
        self.n_predicted = self.n_failed = 0
        self.first: dict[str, Prediction] = {}
        self.failed: dict[str, str] = {}
        self.repairs: Counter[str] = Counter()
        self.examples: dict[str, list[tuple[str, str]]] = {}

    def __enter__(self) -> "PredictionFiles":
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in _NAMES:
            (self.folder / name).unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._open.values():
            file.close()
        if self.n_predicted:
            self._assemble(is_complete=error is None)

    def add(self, record: str, prediction: Prediction) -> None:
        """Write the prediction of a record."""
        names, doubts = self._run.class_names, prediction.unusable
        row = {
            "record": record,
            **{f"y_prob_{name}": prediction.y_prob[name] for name in names},
            **{f"y_logit_{name}": prediction.y_logit[name] for name in names},
            **{f"y_pred_{name}": int(prediction.y_pred[name]) for name in names},
            **{f"y_set_{name}": text for name, text in prediction.y_set.items()},
            "n_windows": len(prediction.starts_s),
            "repairs": "; ".join(prediction.repairs),
            "unusable": "; ".join(doubts),
            "known": prediction.known,
        }
        line = json.dumps({"record": record} | prediction.to_dict(), ensure_ascii=False, allow_nan=False)
        self._append_row("predictions.csv", row)
        self._get("predictions.jsonl").write(f"{line}\n")
        self.n_predicted += 1
        if len(self.first) < MAX_SHOWN:
            self.first[record] = replace(prediction, windows=np.empty((0, len(names))), starts_s=())
        # What a recording lacks is told once, although it is both a repair and a doubt.
        repairs = [each for each in prediction.repairs if not any(one.endswith(f": {each}") for one in doubts)]
        for repair in (*doubts, *repairs, *([prediction.known] if prediction.known else [])):
            kind = _NUMBER.sub("#", _NAME.sub("#", repair))
            self.repairs[kind] += 1
            examples = self.examples.setdefault(kind, [])
            if len(examples) < _MAX_NAMED:
                examples.append((record, repair))

    def fail(self, record: str, reason: str) -> None:
        """Write why a record could not be used."""
        reason = " ".join(reason.split()).removeprefix(f"{record}: ")
        self._append_row("failed.csv", {"record": record, "reason": reason})
        self.n_failed += 1
        if len(self.failed) < MAX_SHOWN:
            self.failed[record] = reason

    def _append_row(self, name: str, row: dict[str, Any]) -> None:
        is_new = name not in self._open
        writer = csv.writer(self._get(name), lineterminator="\n")
        writer.writerows([map(defuse, each) for each in ([row, row.values()] if is_new else [row.values()])])

    def _get(self, name: str) -> TextIO:
        """Return a file that is written line by line."""
        if name not in self._open:
            path = self.folder / name
            # A name from a foreign system may be no text; it is then written as Python shows it.
            self._open[name] = path.open("w", encoding="utf-8", errors="backslashreplace", newline="", buffering=1)
        return self._open[name]

    def _assemble(self, *, is_complete: bool) -> None:
        """Put ``predictions.json`` together, line by line, for it may be larger than the memory."""
        run, lines_path = self._run, self.folder / "predictions.jsonl"
        unstated = run.list_unstated(self.error_rate) if self.error_rate else []
        content = {
            "run": str(run.path),
            "experiment": run.info.experiment,
            "model": run.info.model,
            "variant": run.info.variant,
            "n_nets": run.n_nets * len(run.info.ensemble.get("members", [0])),
            "folds": run.folds or None,
            "trained_on_simulated_ecgs": run.info.synthetic,
            "input": self._source,
            "is_complete": is_complete,
            **({"error_rate": self.error_rate, "not_stated": unstated} if self.error_rate else {}),
            "notes": describe_limits(run),
            "class_names": list(run.class_names),
            "thresholds": run.thresholds,
            "records": [],
        }
        before, _, after = json.dumps(content, indent=2, ensure_ascii=False).rpartition("[]")
        temporary = self.folder / f".predictions.json.{os.getpid()}.tmp"
        try:
            with lines_path.open(encoding="utf-8") as lines, temporary.open("w", encoding="utf-8", newline="") as file:
                file.write(f"{before}[")
                for number, line in enumerate(lines):
                    file.write(f"{',' if number else ''}\n    {line.rstrip()}")
                file.write(f"\n  ]{after}\n")
            temporary.replace(self.folder / "predictions.json")
        finally:
            temporary.unlink(missing_ok=True)
        lines_path.unlink()


def format_predictions(files: PredictionFiles, run: Predictor) -> str:
    """Return predictions as a table with a mark at each class that is predicted, and the repairs by frequency."""
    rows = [
        {"record": f"{'! ' if one.unusable else ''}{printable(record)}"}
        | {name: _format_cell(one, name) for name in run.class_names}
        for record, one in files.first.items()
    ]
    lines = [pd.DataFrame(rows).to_string(index=False)]
    if files.n_predicted > len(rows):
        lines.append(f"... and {files.n_predicted - len(rows)} more records")
    thresholds = ", ".join(f"{name} {run.thresholds[name]:.3g}" for name in run.class_names)
    lines.append(f"\n* at or above the class's threshold: {thresholds}")
    if any(one.unusable for one in files.first.values()):
        lines.append("! not to be relied on: no usable ECG, not all of it, or unlike the training data; see below")
    if files.error_rate:
        lines.append(_explain_sets(run, files.error_rate))
    if run.folds:
        lines.append(f"{run.folds}: the mean of their nets")
    if members := run.info.ensemble.get("members"):
        lines.append(f"An ensemble: the predictions of {len(members)} runs, averaged and recalibrated")
    lines += describe_limits(run)
    lines += _count_repairs(files)
    if run.info.synthetic:
        lines.append("The net was trained on simulated ECGs: these numbers say nothing about patients.")
    return "\n".join(lines)


def _format_cell(one: Prediction, name: str) -> str:
    mark = _MARKS[one.y_set[name]] if one.y_set else ""
    return f"{one.y_prob[name]:.3f}{'*' if one.y_pred[name] else ' '}{mark}"


def _explain_sets(run: Predictor, error_rate: float) -> str:
    text = (
        f"yes, no: at an error rate of {error_rate:g} among the positive, and among the negative ECGs of new patients; "
        "?: not certain; -: neither"
    )
    if run.n_nets > 1:
        text += f". Of several nets the p-values are averaged: what holds for any nets is a rate of {2 * error_rate:g}"
    if unstated := run.list_unstated(error_rate):
        text += f". Too few validation patients to state it: {', '.join(map(printable, unstated))}"
    return text


def describe_limits(run: Predictor) -> list[str]:
    """Return what cannot be said of a run's predictions, in words."""
    texts = []
    if run.n_nets > 1:
        texts.append(
            "The mean of calibrated nets is not calibrated itself, but too close to the middle, its thresholds are the "
            "means of theirs, and neither was tested: every record of the runs' data took part in one of the nets. "
            f"evaluate {run.choice} data.root=PATH tests the mean on other data"
        )
    if why := run.why_no_likeness:
        texts.append(f"Whether an ECG is unlike the training data is not told: {why}")
    if run.seen is None:
        needed = "a run's waveforms/" if run.choice == "fold=all" else "a bundle that was exported with waveforms=true"
        texts.append(f"Whether an ECG is one that the run has learned from is not told: that takes {needed}")
    return texts


def _count_repairs(files: PredictionFiles) -> Iterable[str]:
    for kind, count in files.repairs.most_common(20):
        examples = files.examples[kind]
        names = ", ".join(printable(record) for record, _ in examples) + ", ..." * (count > len(examples))
        # What differs in numbers alone is one kind; predictions.csv has each record's own.
        of = ", of the first" if count > 1 and "#" in kind else ""
        yield f"{count} record{'s' if count > 1 else ''} ({names}){of}: {printable(examples[0][1])}"
