r"""Calibration: whether a class is true as often as its probability says.

Task
    Of the records to which a model gives a class with probability 0.3, three in ten should have it.
    `reliability_curve` puts records of like probability into a bin and sets their mean probability beside the
    share of them that is positive.

Conventions
    - Arrays are `(record, class)`; `y_true` is 0 or 1, `y_prob` in [0, 1]. Each class is binned by itself,
      whatever else the record has.
    - A curve is the mean probability of a bin against its share of positives, as in a reliability diagram [1]_; a
      perfectly calibrated class lies on the diagonal. Below it the model promises too much, above it too little [2]_.
      Some papers draw the middle of a bin instead of its mean probability, which is wrong by up to half a bin.
    - Records are few and the share of a bin is uncertain, so each comes with Wilson's 95 % score interval [3]_,
      which stays in [0, 1] and keeps a width where no record or every record is positive. It speaks of one bin at
      a time, and takes records as independent (two ECGs of a patient are not quite).
    - Bins are counted from 0. The class order is that of `class_names`; a class without positives has a curve as
      well, flat at 0.

How many bins
    `n_bins` is the most there may be. No more are made than `n_records // 10`, and at least one.

    'equal_mass' walks up the probabilities: each bin takes an equal share of the records that are left, rounded
    up. Records of equal probability stay together, so a bin grows until its last tie ends; where fewer than 10
    records would be left over, it takes them too. So every bin has at least 10 records (or there is one bin, of
    all of them), and a class whose probabilities are all alike has one.

    'equal_width' cuts [0, 1] into bins of one width, each `(low, high]`, the first with 0. That leaves 10 records a
    bin on average, but any one of them may be sparse, which its interval shows, or empty, which leaves it out.

References
----------
.. [1] M. H. DeGroot, S. E. Fienberg, "The comparison and evaluation of forecasters", Journal of the Royal
       Statistical Society D 32(1/2), 1983, doi:10.2307/2987588.
.. [2] A. Niculescu-Mizil, R. Caruana, "Predicting good probabilities with supervised learning", ICML 2005,
       doi:10.1145/1102351.1102430.
.. [3] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
       American Statistical Association 22(158), 1927, doi:10.1080/01621459.1927.10502953.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import ConfigError
from ecgcls.evaluation.checks import check_arrays

MIN_RECORDS = 10
"""Fewer records than this make no bin of their own."""
_STRATEGIES = ("equal_mass", "equal_width")
_Z = 1.959963984540054  # of a standard normal variable, 95 % lie within this


def reliability_curve(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    class_names: Sequence[str],
    *,
    n_bins: int = 10,
    strategy: Literal["equal_mass", "equal_width"] = "equal_mass",
) -> pd.DataFrame:
    """Compare what was promised with what was true, class by class and bin by bin.

    Parameters
    ----------
    y_true
        0 or 1, shape `(n_records, n_classes)`.
    y_prob
        Probabilities in [0, 1], same shape.
    class_names
        One name a class.
    n_bins
        The most bins a class may have, at least 1; few records make fewer (see above).
    strategy
        'equal_mass' or 'equal_width'.

    Returns
    -------
    pandas.DataFrame
        One row a class and bin, of bins that hold a record: `class`, `bin`, `prob_low` and `prob_high` (equal mass:
        the lowest and the highest probability in the bin; equal width: its borders), `mean_prob`, `share_positive`,
        `share_low` and `share_high` (the 95 % Wilson interval of the share), `n_records`, `n_positive`.

    Raises
    ------
    DataError
        There is no record, the shapes disagree, or a value is out of its range.
    ConfigError
        `n_bins` is below 1, or there is no such strategy.

    Examples
    --------
    >>> y_prob = [[0.1]] * 20 + [[0.6]] * 10
    >>> y_true = [[1]] * 2 + [[0]] * 18 + [[1]] * 6 + [[0]] * 4
    >>> curve = reliability_curve(y_true, y_prob, ["AFIB"])
    >>> curve[["mean_prob", "share_positive", "share_low", "share_high", "n_records"]].round(3)
       mean_prob  share_positive  share_low  share_high  n_records
    0        0.1             0.1      0.028       0.301         20
    1        0.6             0.6      0.313       0.832         10
    """
    if n_bins < 1:
        raise ConfigError(f"n_bins must be at least 1, got {n_bins}")
    if strategy not in _STRATEGIES:
        raise ConfigError(f"strategy must be one of {', '.join(_STRATEGIES)}, got {strategy!r}")
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    n_bins = max(1, min(n_bins, len(y_true) // MIN_RECORDS))
    tables = {}
    for column, name in enumerate(class_names):
        order = np.argsort(y_prob[:, column], kind="stable")
        truth, prob = y_true[order, column], y_prob[order, column]  # by rising probability
        if strategy == "equal_mass":
            tables[name] = _tabulate(truth, prob, _cut_by_mass(prob, n_bins))
        else:
            tables[name] = _tabulate_by_width(truth, prob, n_bins)
    return pd.concat(tables, names=["class"]).reset_index(level="class").reset_index(drop=True)


def _cut_by_mass(prob: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """Choose where bins of sorted probabilities begin and end: 0, ..., n_records."""
    n_records = len(prob)
    ends = np.append(np.flatnonzero(np.diff(prob) > 0) + 1, n_records)  # where a run of equal probabilities ends
    cuts = [0]
    while cuts[-1] < n_records:
        n_left = n_records - cuts[-1]
        bins_left = max(1, min(n_bins + 1 - len(cuts), n_left // MIN_RECORDS))
        wanted = cuts[-1] - (-n_left // bins_left)
        end = ends[np.searchsorted(ends, wanted)]
        cuts.append(int(end) if n_records - end >= MIN_RECORDS else n_records)
    return np.array(cuts)


def _tabulate_by_width(truth: NDArray[np.int8], prob: NDArray[np.float64], n_bins: int) -> pd.DataFrame:
    borders = np.linspace(0.0, 1.0, n_bins + 1)
    cuts = np.concatenate([[0], np.searchsorted(prob, borders[1:], side="right")])
    filled = np.flatnonzero(np.diff(cuts))
    table = _tabulate(truth, prob, np.append(cuts[filled], len(prob)))
    return table.assign(bin=filled, prob_low=borders[filled], prob_high=borders[filled + 1])


def _tabulate(truth: NDArray[np.int8], prob: NDArray[np.float64], cuts: NDArray[np.int64]) -> pd.DataFrame:
    """Describe the bins between the cuts of records sorted by probability; none of them is empty."""
    begins = cuts[:-1]
    n_records = np.diff(cuts)
    n_positive = np.add.reduceat(truth.astype(np.int64), begins)
    share_low, share_high = _wilson_interval(n_positive, n_records)
    return pd.DataFrame(
        {
            "bin": np.arange(len(begins)),
            "prob_low": prob[begins],
            "prob_high": prob[cuts[1:] - 1],
            "mean_prob": np.add.reduceat(prob, begins) / n_records,
            "share_positive": n_positive / n_records,
            "share_low": share_low,
            "share_high": share_high,
            "n_records": n_records,
            "n_positive": n_positive,
        }
    )


def _wilson_interval(
    n_positive: NDArray[np.int64], n_records: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    share = n_positive / n_records
    weight = _Z**2 / n_records
    middle = (share + weight / 2) / (1 + weight)
    half = np.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    # at a share of 0 or 1 the ends are 0 and 1, but for rounding
    return np.clip(middle - half, 0.0, share), np.clip(middle + half, share, 1.0)
