r"""Calibration: whether a class is true as often as its probability says.

Of the records to which a model gives a class with probability 0.3, three in ten should have it.

Conventions
    - Arrays are `(record, class)`; `y_true` is 0 or 1, `y_prob` in [0, 1]. Each class is binned by itself, with the
      records that are annotated for it (`y_true` is -1 or nan where one is not).
    - A curve is the mean probability of a bin against its share of positives, as in a reliability diagram [1]_; a
      perfectly calibrated class lies on the diagonal. Below it the probabilities are too high, above it too low [2]_.
      Some papers draw the middle of a bin instead of its mean probability, which is wrong by up to half a bin.
    - The share of a bin comes with Wilson's 95% score interval [3]_, which stays in [0, 1] and keeps a width where no
      record or every record is positive. It is of one bin at a time, and takes records as independent (two ECGs of a
      patient are not quite).
    - The expected calibration error (ECE) is the mean distance between a bin's mean probability and its share of
      positive records, weighted by its records, with bins of equal width or equal mass [4]_. It is never below 0 and
      grows with the number of bins, so it has no interval here: compare it at equal numbers only.
    - Brier score = reliability - resolution + uncertainty + within bins [5]_, with bins of equal mass: reliability is
      the squared distance from the diagonal, resolution how far the bins' shares are from the prevalence, uncertainty
      the variance of the truth; the last is what lies within the bins.
    - Calibration slope: of a logistic regression of the truth on the logit, 1 at best; below 1 the probabilities are
      too extreme. Intercept: what must be added to all logits for the mean probability to be the prevalence, 0 at best;
      below 0 the probabilities are too high [6]_. nan where the probabilities separate the class perfectly.

How many bins
    `n_bins` is the most there may be. No more are made than `n_records // 10`, and at least one.

    'equal_mass' goes up the probabilities: each bin takes an equal share of the records that are left, rounded
    up. Records of equal probability stay together, so a bin grows until its last tie ends; where fewer than 10
    records would be left over, it takes them too. So every bin has at least 10 records (or there is one bin, of
    all of them), and a class whose probabilities are all alike has one.

    'equal_width' cuts [0, 1] into bins of one width, each `(low, high]`, the first with 0. That leaves 10 records per
    bin on average, but any one of them may be sparse, which its interval shows, or empty, which leaves it out.

References
----------
.. [1] M. H. DeGroot, S. E. Fienberg, "The comparison and evaluation of forecasters", Journal of the Royal
       Statistical Society D 32(1/2), 1983, doi:10.2307/2987588.
.. [2] A. Niculescu-Mizil, R. Caruana, "Predicting good probabilities with supervised learning", ICML 2005,
       doi:10.1145/1102351.1102430.
.. [3] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
       American Statistical Association 22(158), 1927, doi:10.1080/01621459.1927.10502953.
.. [4] M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
       AAAI 2015, doi:10.1609/aaai.v29i1.9602.
.. [5] D. B. Stephenson, C. A. S. Coelho, I. T. Jolliffe, "Two extra components in the Brier score decomposition",
       Weather and Forecasting 23(4), 2008, doi:10.1175/2007WAF2006116.1.
.. [6] B. Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17, 2019,
       doi:10.1186/s12916-019-1466-7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from ecgcls.errors import ConfigError
from ecgcls.evaluation.checks import UNKNOWN, check_arrays, check_logits
from ecgcls.evaluation.logits import place_certain, to_logits
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.weighted import Array, cross_entropy

MIN_RECORDS = 10
"""Fewer records than this make no bin of their own."""
Strategy = Literal["equal_mass", "equal_width"]
_Z = 1.959963984540054  # of a standard normal variable, 95% lie within this
_WIDEST = 40.0  # a logit beyond this is a probability of 0 or 1


def reliability_curve(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    class_names: Sequence[str],
    *,
    n_bins: int = 10,
    strategy: Strategy = "equal_mass",
) -> pd.DataFrame:
    """Compare probabilities with frequencies, class by class and bin by bin.

    Parameters
    ----------
    n_bins
        The most bins a class may have, at least 1; few records make fewer (see above).

    Returns
    -------
    pandas.DataFrame
        One row per class and bin that holds an annotated record: `class`, `bin` (from 0), `prob_low` and `prob_high`
        (equal mass: the lowest and the highest probability in the bin; equal width: its borders), `mean_prob`,
        `share_positive`, `share_low` and `share_high` (the 95% Wilson interval of the share), `n_records`,
        `n_positive`.

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
    if strategy not in get_args(Strategy):
        raise ConfigError(f"strategy must be one of {', '.join(get_args(Strategy))}, got {strategy!r}")
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    tables = {}
    for name, labels, probs in zip(class_names, y_true.T, y_prob.T, strict=True):
        known = np.flatnonzero(labels != UNKNOWN)
        order = known[np.argsort(probs[known], kind="stable")]
        truth, prob = labels[order], probs[order]  # by rising probability
        n_at_most = max(1, min(n_bins, len(known) // MIN_RECORDS))
        if strategy == "equal_mass":
            tables[name] = _tabulate(truth, prob, _cut_by_mass(prob, n_at_most))
        else:
            tables[name] = _tabulate_by_width(truth, prob, n_at_most)
    return pd.concat(tables, names=["class"]).reset_index(level="class").reset_index(drop=True)


def measure_calibration(
    y_true: ArrayLike, y_prob: ArrayLike, class_names: Sequence[str], *, y_logit: ArrayLike | None = None
) -> pd.DataFrame:
    """Measure how far probabilities are from frequencies, with the bins of `reliability_curve`.

    Parameters
    ----------
    y_logit
        The logits of `y_prob`, of which slope and intercept are then; None: they are computed from `y_prob`.

    Returns
    -------
    DataFrame
        Indexed by class, and 'overall' for their mean: ``ece_width``, ``ece_mass``, ``brier``, ``reliability``,
        ``resolution``, ``uncertainty``, ``within_bins``, ``slope``, ``intercept``, ``log_loss``.
    """
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    logits = None if y_logit is None else check_logits(y_logit, y_prob, class_names)
    by_mass, by_width = (
        reliability_curve(y_true, y_prob, class_names, strategy=strategy).groupby("class")
        for strategy in get_args(Strategy)
    )
    columns = [
        "ece_width", "ece_mass", "brier", "reliability", "resolution", "uncertainty", "slope", "intercept", "log_loss"
    ]  # fmt: skip
    rows = {}
    for column, name in enumerate(class_names):
        known = y_true[:, column] != UNKNOWN
        if not known.any():
            rows[name] = dict.fromkeys(columns, np.nan)
            continue
        truth, prob = y_true[known, column], y_prob[known, column]
        mass, width = by_mass.get_group(name), by_width.get_group(name)
        prevalence, share = truth.mean(), mass["n_records"] / len(truth)
        slope, intercept = _regress(
            truth == 1, to_logits(place_certain(prob)) if logits is None else logits[known, column]
        )
        rows[name] = {
            "ece_width": _average_distance(width),
            "ece_mass": _average_distance(mass),
            "brier": np.mean((prob - truth) ** 2),
            "reliability": (share * (mass["mean_prob"] - mass["share_positive"]) ** 2).sum(),
            "resolution": (share * (mass["share_positive"] - prevalence) ** 2).sum(),
            "uncertainty": prevalence * (1 - prevalence),
            "slope": slope,
            "intercept": intercept,
            "log_loss": cross_entropy(truth, prob).mean(),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")
    between_bins = table["reliability"] - table["resolution"] + table["uncertainty"]
    table.insert(6, "within_bins", table["brier"] - between_bins)
    table.loc[OVERALL] = table.mean()
    return table


def regress_logistic(logits: Array, truth: NDArray, weights: Array | None = None) -> tuple[float, float]:
    """Return slope and intercept of an unpenalized logistic regression; the logits may be of any size."""
    center, spread = logits.mean(), logits.std() or 1.0
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit((logits[:, None] - center) / spread, truth, sample_weight=weights)
    slope = float(model.coef_[0, 0] / spread)
    return slope, float(model.intercept_[0] - slope * center)


def _cut_by_mass(prob: Array, n_bins: int) -> NDArray[np.int64]:
    """Choose where bins of sorted probabilities begin and end: 0, ..., n_records."""
    if not len(prob):
        return np.zeros(1, dtype=np.int64)
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


def _tabulate_by_width(truth: NDArray[np.int8], prob: Array, n_bins: int) -> pd.DataFrame:
    borders = np.linspace(0.0, 1.0, n_bins + 1)
    cuts = np.concatenate([[0], np.searchsorted(prob, borders[1:], side="right")])
    filled = np.flatnonzero(np.diff(cuts))
    table = _tabulate(truth, prob, np.append(cuts[filled], len(prob)))
    return table.assign(bin=filled, prob_low=borders[filled], prob_high=borders[filled + 1])


def _tabulate(truth: NDArray[np.int8], prob: Array, cuts: NDArray[np.int64]) -> pd.DataFrame:
    """Describe the bins between the cuts of records sorted by probability; none of them is empty."""
    begins = cuts[:-1]
    n_records = np.diff(cuts)
    n_positive = np.add.reduceat(truth.astype(np.int64), begins) if len(begins) else n_records
    share_low, share_high = _wilson_interval(n_positive, n_records)
    return pd.DataFrame(
        {
            "bin": np.arange(len(begins)),
            "prob_low": prob[begins],
            "prob_high": prob[cuts[1:] - 1],
            "mean_prob": np.add.reduceat(prob, begins) / n_records if len(begins) else prob,
            "share_positive": n_positive / n_records,
            "share_low": share_low,
            "share_high": share_high,
            "n_records": n_records,
            "n_positive": n_positive,
        }
    )


def _wilson_interval(n_positive: NDArray[np.int64], n_records: NDArray[np.int64]) -> tuple[Array, Array]:
    share = n_positive / n_records
    weight = _Z**2 / n_records
    middle = (share + weight / 2) / (1 + weight)
    half = np.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    # at a share of 0 or 1 the ends are 0 and 1, but for rounding
    return np.clip(middle - half, 0.0, share), np.clip(middle + half, share, 1.0)


def _average_distance(bins: pd.DataFrame) -> float:
    return float(np.average((bins["mean_prob"] - bins["share_positive"]).abs(), weights=bins["n_records"]))


def _regress(truth: NDArray[np.bool_], logits: Array) -> tuple[float, float]:
    """Return calibration slope and intercept; nan where the probabilities separate the class, or it is undefined."""
    if truth.all() or not truth.any():
        return np.nan, np.nan
    positive, negative = logits[truth], logits[~truth]
    overlaps = positive.min() <= negative.max() and negative.min() <= positive.max() and np.ptp(logits) > 0
    slope = regress_logistic(logits, truth)[0] if overlaps else np.nan
    mean, low, high = truth.mean(), -_WIDEST - logits.max(), _WIDEST - logits.min()
    return slope, float(brentq(lambda offset: expit(logits + offset).mean() - mean, low, high))
