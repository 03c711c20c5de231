"""How an attribution is turned into colors, on ECG paper and on beats alike.

Attributions with a sign run from blue (evidence against the class) over transparent to orange (evidence for it), those
without one from transparent to purple. The scale ends at the 99.5th percentile of the magnitudes drawn; arrows at the
ends of the color bar mean that values lie beyond it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import DataError

_SIGNED = LinearSegmentedColormap.from_list(
    "against_for", [(0.0, (0.13, 0.42, 0.72, 0.9)), (0.5, (0.97, 0.97, 0.97, 0)), (1.0, (0.90, 0.49, 0.05, 0.9))]
)
_UNSIGNED = LinearSegmentedColormap.from_list("magnitude", [(0.98, 0.97, 1.0, 0.0), (0.40, 0.22, 0.60, 0.9)])


@dataclass(frozen=True)
class Layer:
    """An attribution as it is drawn, and what its colours mean."""

    values: NDArray[np.float64]  # (lead, sample): means over columns; magnitudes where the sign means nothing
    norm: Normalize
    colours: LinearSegmentedColormap
    extend: str  # at which ends of the scale values lie beyond it
    label: str

    @classmethod
    def of(cls, values: NDArray[np.float64], *, is_signed: bool, label: str, n_averaged: int = 1) -> "Layer":
        """Average the samples over columns of `n_averaged` and find the scale."""
        shown = _average(values if is_signed else np.abs(values), n_averaged)
        magnitude = np.abs(shown)
        top = float(np.percentile(magnitude, 99.5)) or float(magnitude.max()) or 1.0
        low, colours = (-top, _SIGNED) if is_signed else (0.0, _UNSIGNED)
        ends = (bool(shown.min() < low), bool(shown.max() > top))
        extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[ends]
        meaning = "blue: against the class, orange: for it" if is_signed else "magnitude"
        return cls(shown, Normalize(low, top), colours, extend, f"{label}; {meaning}")

    @property
    def key(self) -> ScalarMappable:
        """What a colour bar shows."""
        return ScalarMappable(self.norm, self.colours)

    def draw(
        self, axes: Axes, values: NDArray[np.float64], extent: tuple[float, float, float, float], **style: Any
    ) -> None:
        """Draw some of the values."""
        style = {"aspect": "auto", "interpolation": "none", **style}
        axes.imshow(values, norm=self.norm, cmap=self.colours, extent=extent, **style)


def _average(values: NDArray[np.float64], n_averaged: int) -> NDArray[np.float64]:
    """Give each sample the mean of its column of `n_averaged` samples; the last column may be narrower."""
    starts = np.arange(0, values.shape[1], n_averaged)
    widths = np.diff(starts, append=values.shape[1])
    return np.repeat(np.add.reduceat(values, starts, axis=1) / widths, widths, axis=1)


def check_attribution(attribution: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an attribution as an array, once its shape and its values are checked."""
    values = np.asarray(attribution, dtype=np.float64)
    if values.shape != shape:
        raise DataError(f"the attribution must have the signal's shape {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise DataError("the attribution has a value that is not finite")
    return values
