"""Explained ECGs of a report: the results of ``interpret`` in the runs' folders, redrawn as vector graphics."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from ecgcls.errors import DataError
from ecgcls.figures.ecg_paper import draw_ecg
from ecgcls.figures.style import to_svg
from ecgcls.runs.configuration import Configuration

_COLUMNS = ("ecg_id", "class", "outcome", "method", "y_true", "y_prob", "attribution")
_OUTCOMES = {"TP": "true positive", "FP": "false positive", "FN": "false negative", "TN": "true negative", "": ""}
_CHECKS = {
    "randomization": "changes when the weights are shuffled",
    "deletion": "deleting what it names lowers the probability more than chance",
    "insertion": "inserting what it names raises the probability more than chance",
    "completeness": "adds up to the difference it explains",
}


@dataclass
class Gallery:
    """The pictures of one run and one method.

    Attributes
    ----------
    name, fold, method
        Whose they are.
    verdicts
        What was checked of the method, and whether it passed.
    warnings
        Why not to believe it.
    pictures
        Caption and SVG.
    n_left_out
        Pictures that did not fit into the page.
    """

    name: str
    fold: int
    method: str
    verdicts: list[tuple[str, bool]]
    warnings: list[str]
    pictures: list[tuple[str, str]] = field(default_factory=list)
    n_left_out: int = 0


def collect_galleries(configurations: Sequence[Configuration], *, max_bytes: int) -> list[Gallery]:
    """Draw the explained ECGs of all runs, the hits of each first, until there is no room left.

    Parameters
    ----------
    configurations
        Those of the report.
    max_bytes
        Of all pictures together. A picture that does not fit is left out and counted.

    Raises
    ------
    DataError
        If a result of ``interpret`` is damaged.
    """
    galleries, waiting = [], []
    for one in configurations:
        for run, info in zip(one.runs, one.infos, strict=True):
            folder = run.path / "interpret"
            if not (folder / "records.csv").is_file():
                continue
            table = _read_table(folder / "records.csv")
            card = _read_card(folder / "scorecard.json")
            for method, rows in table.groupby("method", sort=False):
                judged = _judge(card.get(str(method)), folder / "scorecard.json")
                gallery = Gallery(one.name, info.fold, str(method), *judged)
                galleries.append(gallery)
                ranks = rows["outcome"].map(list(_OUTCOMES).index)
                waiting += [
                    (rank, gallery, folder, row) for rank, row in zip(ranks, rows.to_dict("records"), strict=True)
                ]
    waiting.sort(key=lambda item: item[0])
    for number, (_, gallery, folder, row) in enumerate(waiting):
        try:
            picture = _draw(folder, row, gallery, f"ecg{number}")
        except (
            OSError,
            EOFError,
            KeyError,
            ValueError,
            BadZipFile,
        ) as error:  # DataError is a ValueError
            raise _complain(folder / row["attribution"], error) from error
        max_bytes -= sum(len(text.encode()) for text in picture)
        if max_bytes < 0:  # they come in the order of their worth
            for _, other, *_ in waiting[number:]:
                other.n_left_out += 1
            break
        gallery.pictures.append(picture)
    return galleries


def _draw(folder: Path, row: Mapping[Any, Any], gallery: Gallery, prefix: str) -> tuple[str, str]:
    with np.load(folder / row["attribution"]) as arrays:
        values, unit = arrays["attribution"], str(arrays["unit"])
        outcome = f" ({_OUTCOMES[row['outcome']]})" if row["outcome"] else ""
        caption = (
            f"ecg_id {row['ecg_id']}, {row['class']}: probability {row['y_prob']:.2f}{outcome}; "
            f"true: {row['y_true'] or 'none'}"
        )
        figure = draw_ecg(
            arrays["signal_mv"],
            sampling_rate_hz=float(arrays["sampling_rate_hz"]),
            lead_names=[str(name) for name in arrays["lead_names"]],
            title=caption,
            subtitle=f"{gallery.name}, fold {gallery.fold}; {row['method']}",
            attribution=values,
            label=f"{row['method']} ({unit})",
            is_signed=unit == "logit",
        )
    return caption, to_svg(figure, prefix=prefix)


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise _complain(path, error) from error
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise _complain(path, f"no column {missing[0]}")
    unknown = sorted(set(table["outcome"]) - set(_OUTCOMES))
    if unknown:
        raise _complain(path, f"outcome {unknown[0]!r}, expected one of {', '.join(filter(None, _OUTCOMES))}")
    return table


def _read_card(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        methods: dict[str, Any] = json.loads(path.read_text())["methods"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _complain(path, error) from error
    return methods


def _judge(scores: dict[str, Any] | None, path: Path) -> tuple[list[tuple[str, bool]], list[str]]:
    if scores is None:
        return [], ["No scorecard: whether this method can be believed was not checked."]
    try:
        found = {text: scores[name] for name, text in _CHECKS.items() if scores.get(name) is not None}
        return [(text, bool(check["passes"])) for text, check in found.items()], list(scores["warnings"])
    except (AttributeError, KeyError, TypeError) as error:
        raise _complain(path, error) from error


def _complain(path: Path, reason: object) -> DataError:
    text = " ".join(str(getattr(reason, "strerror", None) or reason).split())
    return DataError(f"{path}: this result of interpret is damaged ({text}); run interpret again, or remove the folder")
