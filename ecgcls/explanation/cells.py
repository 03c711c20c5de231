"""Cells, short windows of one lead: the scale on which a map of ten seconds is read.

Single samples would reveal more of how a net samples its input than of what it looks at: one that shrinks the ECG to an
image reads every other sample, whatever its weights.
"""

import numpy as np
from numpy.typing import NDArray

CELL_S = 0.1
"""Length of a cell, s."""


def sum_cells(values: NDArray, n_samples: int) -> NDArray[np.float64]:
    """Sum each lead over windows of `n_samples`; a last one that is shorter counts too.

    Parameters
    ----------
    values
        ``(record, lead, sample)``.
    n_samples
        Length of a window.

    Returns
    -------
    numpy.ndarray
        ``(record, lead, window)``.

    Examples
    --------
    >>> import numpy as np
    >>> sum_cells(np.arange(5)[None, None], 2)
    array([[[1., 5., 4.]]])
    """
    starts = np.arange(0, values.shape[2], n_samples)
    return np.add.reduceat(values, starts, axis=2, dtype=np.float64)
