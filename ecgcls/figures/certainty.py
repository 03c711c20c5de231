"""How often the sets of labels at a stated error rate answer, and how often they are right."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ecgcls.figures.style import COLORS, add_grid, finish_figure, new_figure

_RIGHT, _WRONG, _OPEN = COLORS[2], COLORS[1], "0.85"


def draw_certainty(table: pd.DataFrame, *, error_rate: float, title: str) -> Figure:
    """Draw by class, for its positive and its negative records, the shares that are right, not certain and wrong.

    `table` is that of `ecgcls.evaluation.conformal.measure_sets`. A line marks the share that may be wrong.
    """
    figure = new_figure(9.0, 1.8 + 0.26 * max(len(table), 3))
    panels = figure.subplots(1, 2, sharey=True)
    at = np.arange(len(table))
    for axes, label in zip(panels, ("positive", "negative"), strict=True):
        wrong = 1 - table[f"coverage_{label}"]
        open_share = table[f"not_certain_{label}"]
        axes.barh(at, 1 - wrong - open_share, color=_RIGHT)
        axes.barh(at, open_share, left=1 - wrong - open_share, color=_OPEN)
        axes.barh(at, wrong, left=1 - wrong, color=_WRONG)
        axes.axvline(1 - error_rate, color="black", linewidth=1, linestyle=":")
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"share of the {label} records", fontsize=9)
        axes.tick_params(labelsize=8)
        add_grid(axes, axis="x")
    panels[0].set_yticks(at, [str(name) for name in table["class"]], fontsize=8, parse_math=False)
    panels[0].set_ylim(len(table) - 0.4, -0.6)
    named = {"right": _RIGHT, "not certain": _OPEN, "wrong, or neither": _WRONG}
    handles = [Patch(color=color, label=text) for text, color in named.items()]
    return finish_figure(figure, title, handles=handles)
