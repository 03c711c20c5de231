"""Learning curves: score against the number of training records, of runs that differ in nothing else.

A curve's configurations differ in ``data.n_train`` and, where there are several draws or starts, in
``data.n_train_seed`` and ``seed``. Every score and interval is that of the leaderboard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ecgcls.errors import DataError
from ecgcls.evaluation.comparison import compare
from ecgcls.evaluation.metrics import METRICS, OVERALL, RANKING
from ecgcls.identity import identify
from ecgcls.reporting.charts import add_trace, new_figure, style
from ecgcls.runs.configuration import Configuration

_VARIED = ("data.n_train", "data.n_train_seed", "seed")
_APART = 1.03  # between points of one size, so that their intervals do not hide one another


@dataclass(frozen=True)
class Point:
    """A configuration on a learning curve; its number is that on the page."""

    number: int
    one: Configuration
    asked: int | None
    """``data.n_train``; None: all."""
    draw: int

    @property
    def n_records(self) -> float:
        """How many records it was trained on, on average over the folds."""
        return self.one.count_records("train")

    @property
    def n_patients(self) -> float:
        """How many patients these are of."""
        return float(np.mean([info.data["parts"]["train"]["n_patients"] for info in self.one.infos]))


@dataclass(frozen=True)
class LearningCurve:
    """The configurations that differ in the number of training records, the fewest first."""

    name: str
    points: tuple[Point, ...]

    @property
    def sizes(self) -> list[list[Point]]:
        """The points of each size that was asked for, the smallest first."""
        return [[each for each in self.points if each.asked == asked] for asked in dict.fromkeys(self._asked)]

    @property
    def _asked(self) -> list[int | None]:
        return [each.asked for each in self.points]

    def find_largest(self, point: Point) -> Point:
        """Return the point of the most records, if possible with the same seed: what another is measured against."""
        largest = self.sizes[-1]
        return next((each for each in largest if each.one.info.seed == point.one.info.seed), largest[0])


def find_curves(configurations: Sequence[Configuration]) -> list[LearningCurve]:
    """Find the learning curves of an experiment: the best first, as the configurations are."""
    groups: dict[str, list[Point]] = {}
    for number, one in enumerate(configurations):
        identity = identify(one.runs[0].read_config())
        asked, draw = identity.get("data.n_train"), identity.get("data.n_train_seed", 0)
        rest = {key: value for key, value in identity.items() if key not in (*_VARIED, "fold")}
        key = json.dumps([one.info.model, rest, one.info.data["fingerprint"]], sort_keys=True, default=str)
        groups.setdefault(key, []).append(Point(number, one, asked, draw))
    found: list[LearningCurve] = []
    for points in groups.values():
        if len({each.asked for each in points}) > 1:
            points.sort(key=lambda each: (each.asked is None, each.asked, each.draw, each.one.info.seed))
            name = _name_curve(points[0].one)
            is_taken = any(name == other.name for other in found)
            found.append(LearningCurve(f"{name} ({len(found) + 1})" if is_taken else name, tuple(points)))
    return found


def tabulate_curve(curve: LearningCurve, board: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a line for each point: sizes, scores with their intervals, and the difference to the most records.

    `board` has the lines of the leaderboard. ``differences`` holds by metric the row of `compare`; it is empty for the
    point itself, and ``reason`` says why two cannot be compared.
    """
    lines = []
    for point in curve.points:
        largest, line = curve.find_largest(point), board[point.number]
        differences: dict[str, Any] = {}
        reason = ""
        if point is not largest:
            try:
                table = compare([point.one.tested], [largest.one.tested], point.one.evaluation.intervals)
                rows: Any = table.to_dict(orient="index")
                differences = {key: rows[OVERALL, key] for key in RANKING}
            except DataError as error:
                reason = str(error)
        lines.append(
            {
                "point": point,
                "n_classes": int(point.one.scores.overall["n_defined_classes"]),
                "scores": {key: line[key] for key in RANKING},
                "intervals": line["intervals"],
                "differences": differences,
                "reason": reason,
            }
        )
    return lines


def draw_learning(curves: Sequence[LearningCurve], board: Sequence[Mapping[str, Any]], metric: str) -> go.Figure:
    """Draw a metric against the training records, on a logarithmic axis.

    Of each configuration its test score with its interval, and faint those of its folds, where there are several; a
    line joins the means of the sizes.
    """
    figure = new_figure("Training records (logarithmic)", f"Macro {METRICS[metric].label}", is_unit=False)
    at: dict[float, str] = {}
    for number, curve in enumerate(curves):
        sizes, means = [], []
        for points in curve.sizes:
            size = float(np.mean([each.n_records for each in points]))
            at[size] = f"{size:,.0f}"
            size *= _APART ** (number - (len(curves) - 1) / 2)
            sizes.append(size)
            means.append(float(np.mean([board[each.number][metric]["value"] for each in points])))
            for place, point in enumerate(points):
                x = size * _APART ** (len(curves) * (place - (len(points) - 1) / 2))
                _add_point(figure, point, board[point.number], metric, x, style(number)["color"])
        line = style(number) | {"width": 2, "shape": "linear"}
        add_trace(figure, sizes, means, curve.name, line=line, hoverinfo="skip", hovertemplate=None)
    figure.update_xaxes(type="log", tickvals=sorted(at), ticktext=[at[size] for size in sorted(at)])
    return figure


def _add_point(figure: go.Figure, point: Point, line: Mapping[str, Any], metric: str, x: float, color: str) -> None:
    """Add a configuration's score, with its interval and its folds."""
    value, interval = line[metric]["value"], line["intervals"][metric]
    text = f"{point.n_records:,.0f} records, {point.n_patients:,.0f} patients: {value:.3f}"
    more: dict[str, Any] = {"mode": "markers", "marker": {"size": 7, "color": color}}
    if interval is not None:
        low, high, _ = interval
        text += f" [{low:.3f}, {high:.3f}]"
        bars = {"array": [high - value], "arrayminus": [value - low], "symmetric": False}
        more |= {"error_y": {"type": "data", "color": color, "thickness": 1.5, "width": 4, **bars}}
    add_trace(figure, [x], [value], point.one.name, text, **more)
    if len(point.one.by_fold) > 1:
        values = [scores.overall[metric] for scores in point.one.by_fold]
        faint: dict[str, Any] = {"opacity": 0.8, "marker": {"size": 6, "color": color, "symbol": "circle-open"}}
        add_trace(figure, [x] * len(values), values, point.one.name, "one fold: %{y:.3f}", mode="markers", **faint)


def _name_curve(one: Configuration) -> str:
    """Return a configuration's name without what varies on its curve."""
    varied = tuple(f"{key}=" for key in _VARIED)
    return " ".join(part for part in one.name.split(" ") if not part.startswith(varied))
