r"""Records by one threshold for all classes: how well each record's own set of classes is predicted.

Fmax [1]_, as the benchmark on PTB-XL defines it [2]_: at a threshold, precision is the mean over the records with a
predicted class of the share of these that is true, recall the mean over the records with a true class of the share of
these that is predicted; Fmax is the highest :math:`2 P R / (P + R)` over all thresholds, each one for all classes. It
is not the mean of the classes' highest F1s.

Conventions
    - The threshold is on what ranks the records. All distinct values are tried for the records as they are, and the
      best one is kept for resamples, with a hundred more whose numbers of predicted labels rise geometrically:
      neighbors differ by some 10%, which moves a resample's maximum by far less than its interval is wide.
    - Labels that nobody annotated are left out.

References
----------
.. [1] P. Radivojac et al., "A large-scale evaluation of computational protein function prediction", Nature Methods
       10(3), 2013, doi:10.1038/nmeth.2340.
.. [2] N. Strodthoff, P. Wagner, T. Schaeffter, W. Samek, "Deep learning for ECG analysis: benchmarks and insights from
       PTB-XL", IEEE Journal of Biomedical and Health Informatics 25(5), 2021, doi:10.1109/JBHI.2020.3022989.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_N_THRESHOLDS = 100


@dataclass(frozen=True, eq=False)
class ByRecord:
    """Each record's precision and recall at falling thresholds.

    `values` is ``(3 * threshold, record)``: the precision, whether a class is predicted, and the recall, block after
    block, 0 where undefined; `is_labeled`, ``(record,)``, is whether the record has a true class.
    """

    values: Array
    is_labeled: NDArray[np.bool_]

    @classmethod
    def sort(cls, y_true: NDArray[np.bool_], y_score: Array, is_known: NDArray[np.bool_]) -> ByRecord:
        """Sort the labels of all records and classes, ``(record, class)``, by falling score."""
        n_true = y_true.sum(axis=1)
        row, column = np.nonzero(is_known)
        truth, score = y_true[row, column].astype(float), y_score[row, column]
        within = np.lexsort((-score, row))  # each record's labels by falling score, record after record
        row, truth, score = row[within], truth[within], score[within]
        first = np.flatnonzero(np.diff(row, prepend=-1))  # where a record begins
        begin = np.repeat(first, np.diff(first, append=len(row)))
        n_predicted = np.arange(len(row)) - begin + 1
        n_hits = np.cumsum(truth) - np.cumsum(truth)[begin] + truth[begin]
        is_first = n_predicted == 1
        precision = n_hits / n_predicted
        gained = np.stack(
            [
                precision - np.where(is_first, 0.0, np.roll(precision, 1)),
                is_first,
                truth / np.maximum(n_true[row], 1),
            ]
        )  # (3, label): what each label adds to its record when the threshold falls below its score
        order = np.argsort(-score, kind="stable")
        row, gained = row[order], gained[:, order]
        ends = np.flatnonzero(np.diff(score[order], append=-np.inf))  # the last label of each distinct score
        ends = _choose_thresholds(ends, gained, n_labeled=int((n_true > 0).sum()))
        step = np.searchsorted(ends, np.arange(len(row)))
        shape = len(ends), len(y_true)
        blocks = [np.bincount(step * shape[1] + row, each, shape[0] * shape[1]).reshape(shape) for each in gained]
        return cls(np.concatenate([block.cumsum(axis=0) for block in blocks]), n_true > 0)

    def measure_fmax(self, weights: Array) -> Array:
        """Return Fmax of weighted records, ``(record, resample)``; nan without a record with a true class."""
        precision, n_predicted, recall = np.split(self.values @ weights, 3)
        n_labeled = self.is_labeled @ weights
        highest = _f(precision, n_predicted, recall, n_labeled).max(axis=0, initial=0.0)
        return np.where(n_labeled > 0, highest, np.nan)


def _choose_thresholds(ends: NDArray[np.intp], gained: Array, *, n_labeled: int) -> NDArray[np.intp]:
    """Choose from the ends of all distinct scores: all if they are few, or the best one and others."""
    if len(ends) <= _N_THRESHOLDS:
        return ends
    precision, n_predicted, recall = gained.cumsum(axis=1)[:, ends]
    best = int(_f(precision, n_predicted, recall, n_labeled).argmax())
    spread = np.searchsorted(ends, np.geomspace(1, ends[-1] + 1, _N_THRESHOLDS) - 1)
    return ends[np.unique([*spread.clip(0, len(ends) - 1), best, len(ends) - 1])]


def _f(precision: Array, n_predicted: Array, recall: Array, n_labeled: Array | int) -> Array:
    """Return 2 P R / (P + R) from sums over records; 0 where it is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p, r = precision / n_predicted, recall / n_labeled
        return np.nan_to_num(2 * p * r / (p + r))
