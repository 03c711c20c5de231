"""Explained ECGs of a report: the results of ``interpret`` in the runs' folders, redrawn as vector graphics."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from ecgcls.errors import DataError
from ecgcls.explanation.selection import OUTCOMES, describe_example
from ecgcls.figures.ecg_paper import draw_ecg
from ecgcls.figures.style import to_svg
from ecgcls.runs.configuration import Configuration

_COLUMNS = ("ecg_id", "class", "outcome", "method", "y_true", "y_prob", "attribution")
_CHECKS = {
    "randomization": "changes when the weights are shuffled",
    "deletion": "deleting the highest-ranked samples lowers the probability more than deleting random ones",
    "insertion": "inserting the highest-ranked samples raises the probability more than inserting random ones",
    "completeness": "adds up to the difference it explains",
}


@dataclass
class Gallery:
    """The pictures (caption and SVG) of one run and one method.

    `simulated` marks simulated ECGs, or is empty; `verdicts` are what was checked of the method, and whether it passed;
    `warnings` are reasons not to believe it.
    """

    name: str
    fold: int
    simulated: str
    method: str
    verdicts: Sequence[tuple[str, bool]] = ()
    warnings: Sequence[str] = ("No scorecard: whether this method can be believed was not checked.",)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    n_left_out: int = 0


def collect_galleries(configurations: Sequence[Configuration], *, max_bytes: int) -> list[Gallery]:
    """Draw the explained ECGs of all runs, the hits of each first, until their size reaches `max_bytes`.

    A result of ``interpret`` that is damaged is a `DataError`.
    """
    galleries, waiting = [], []
    for one in configurations:
        for run, info in zip(one.runs, one.infos, strict=True):
            folder = run.path / "interpret"
            if not (folder / "records.csv").is_file():
                continue
            table, judged = _read_table(folder / "records.csv"), _read_scorecard(folder / "scorecard.json")
            for method, rows in table.groupby("method", sort=False):
                gallery = Gallery(one.name, info.fold, info.simulated, str(method), *judged.get(str(method), ()))
                galleries.append(gallery)
                waiting += [(gallery, folder, row, one.class_names) for row in rows.to_dict("records")]
    waiting.sort(key=lambda item: list(OUTCOMES).index(item[2]["outcome"]))
    for number, (gallery, folder, row, class_names) in enumerate(waiting):
        with _reading(folder / row["attribution"]):
            picture = _draw(folder, row, gallery, class_names, prefix=f"ecg{number}")
        max_bytes -= sum(len(text.encode()) for text in picture)
        if max_bytes < 0:
            for other, *_ in waiting[number:]:
                other.n_left_out += 1
            break
        gallery.pictures.append(picture)
    return galleries


def _draw(
    folder: Path, row: Mapping[Any, Any], gallery: Gallery, class_names: Sequence[str], *, prefix: str
) -> tuple[str, str]:
    with np.load(folder / row["attribution"]) as arrays:
        unit = str(arrays["unit"])
        caption = describe_example(
            ecg_id=row["ecg_id"],
            class_name=row["class"],
            y_prob=row["y_prob"],
            outcome=row["outcome"],
            true_classes=names if set(names := row["y_true"].split()) <= {*class_names} else [row["y_true"]],
        )
        figure = draw_ecg(
            arrays["signal_mv"],
            sampling_rate_hz=float(arrays["sampling_rate_hz"]),
            lead_names=[str(name) for name in arrays["lead_names"]],
            title=caption,
            subtitle=f"{gallery.name}, fold {gallery.fold}{gallery.simulated}; {row['method']}",
            attribution=arrays["attribution"],
            label=f"{row['method']} ({unit})",
            is_signed=unit == "logit",
        )
    return caption, to_svg(figure, prefix=prefix)


def _read_table(path: Path) -> pd.DataFrame:
    with _reading(path):
        table = pd.read_csv(path, keep_default_na=False)
        if missing := [name for name in _COLUMNS if name not in table]:
            raise ValueError(f"no column {missing[0]}")
        if unknown := set(table["outcome"]) - set(OUTCOMES):
            raise ValueError(f"outcome {min(unknown)!r}, expected one of {', '.join(filter(None, OUTCOMES))}")
    return table


def _read_scorecard(path: Path) -> dict[str, tuple[list[tuple[str, bool]], list[str]]]:
    """Read verdicts and warnings by method; none if there is no scorecard."""
    judged = {}
    if path.is_file():
        with _reading(path, AttributeError, TypeError):
            for method, scores in json.loads(path.read_text())["methods"].items():
                checks = {text: scores[name] for name, text in _CHECKS.items() if scores.get(name) is not None}
                verdicts = [(text, bool(check["passes"])) for text, check in checks.items()]
                judged[method] = verdicts, list(scores["warnings"])
    return judged


@contextmanager
def _reading(path: Path, *more: type[Exception]) -> Iterator[None]:
    """Report what a damaged result raises, and `more`, as a `DataError` that names the file."""
    damage: tuple[type[Exception], ...] = (OSError, EOFError, KeyError, ValueError, BadZipFile, *more)
    try:
        yield
    except damage as error:
        text = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise DataError(
            f"{path}: this result of interpret is damaged ({text}); run interpret again, or remove the folder"
        ) from error
