"""An attribution as colors behind an ECG, on paper and on mean beats alike.

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
class Overlay:
    """An attribution as it is drawn, and what its colors mean."""

    values: NDArray[np.float64]  # (lead, sample): means over columns, of magnitudes where the sign has no meaning
    norm: Normalize
    colors: LinearSegmentedColormap
    extend: str  # at which ends values lie beyond the scale: neither, min, max, both
    label: str

    @classmethod
    def of(cls, values: NDArray[np.float64], *, is_signed: bool, label: str, n_averaged: int = 1) -> "Overlay":
        """Average over columns of `n_averaged` samples and choose the scale."""
        shown = _average(values if is_signed else np.abs(values), n_averaged)
        magnitude = np.abs(shown)
        top = float(np.percentile(magnitude, 99.5)) or float(magnitude.max()) or 1.0
        low, colors = (-top, _SIGNED) if is_signed else (0.0, _UNSIGNED)
        ends = (bool(shown.min() < low), bool(shown.max() > top))
        extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[ends]
        meaning = "blue: against the class, orange: for it" if is_signed else "magnitude"
        return cls(shown, Normalize(low, top), colors, extend, f"{label}; {meaning}")

    @property
    def mappable(self) -> ScalarMappable:
        """The scale, for a color bar."""
        return ScalarMappable(self.norm, self.colors)

    def draw(
        self, axes: Axes, values: NDArray[np.float64], extent: tuple[float, float, float, float], **style: Any
    ) -> None:
        """Draw some of the values."""
        style = {"aspect": "auto", "interpolation": "none", **style}
        axes.imshow(values, norm=self.norm, cmap=self.colors, extent=extent, **style)


def _average(values: NDArray[np.float64], n_averaged: int) -> NDArray[np.float64]:
    """Replace each sample by the mean of its column of `n_averaged` samples; the last column may be narrower."""
    starts = np.arange(0, values.shape[1], n_averaged)
    widths = np.diff(starts, append=values.shape[1])
    return np.repeat(np.add.reduceat(values, starts, axis=1) / widths, widths, axis=1)


def check_attribution(attribution: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an attribution as an array after checking its shape and values."""
    values = np.asarray(attribution, dtype=np.float64)
    if values.shape != shape:
        raise DataError(f"the attribution must have the signal's shape {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise DataError("the attribution has a value that is not finite")
    return values
