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
    - Slope, intercept and O:E, with intervals, say most about a class (`calibration_line`), then the distance of a
      smooth curve from the diagonal, the ICI (`smooth_calibration`).
    - Brier score = miscalibration - discrimination + uncertainty [5]_: against the best rising step function of the
      probability, and the prevalence alone. None depends on bins. Steps that fit best are never worse than the
      probabilities, so miscalibration is above 0 by chance as well.
    - The expected calibration error (ECE) is the mean distance between a bin's mean probability and its share of
      positive records, weighted by its records, with bins of equal width or equal mass [4]_. It is never below 0 and
      grows with the number of bins: compare it at equal numbers only. ``ece_debiased`` is the root of the mean squared
      distance in bins of equal mass, less what chance adds to it [6]_ (0 where that is more).

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
.. [5] T. Dimitriadis, T. Gneiting, A. I. Jordan, "Stable reliability diagrams for probabilistic classifiers", PNAS
       118(8), 2021, doi:10.1073/pnas.2016191118.
.. [6] A. Kumar, P. Liang, T. Ma, "Verified uncertainty calibration", NeurIPS 2019, arXiv:1909.10155.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.isotonic import IsotonicRegression

from ecgcls.errors import ConfigError
from ecgcls.evaluation.calibration_line import LIMITED, measure_line
from ecgcls.evaluation.checks import UNKNOWN, check_arrays, check_logits
from ecgcls.evaluation.logistic import (
    correct_for_patients,
    count_rarest_patients,
    number_patients,
    sum_by_patient,
)
from ecgcls.evaluation.logits import place_certain, to_logits
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.smooth_calibration import SmoothCurve, measure_distance
from ecgcls.evaluation.weighted import Array, cross_entropy

MIN_RECORDS = 10
"""Fewer records than this make no bin of their own."""
Strategy = Literal["equal_mass", "equal_width"]
_COLUMNS = (
    *(f"{name}{end}" for name in LIMITED for end in ("", "_low", "_high")),
    "ici", "ici_by_chance", "e50", "e90", "p_calibrated", "brier", "miscalibration", "discrimination", "uncertainty",
    "log_loss", "ece_debiased", "ece_mass", "ece_width",
)  # fmt: skip
_SUPPORT = ("n_unknown", "n_rarest_patients", "is_supported", "undefined")
_SIGNIFICANT = 0.05
_Z = 1.959963984540054  # of a standard normal variable, 95% lie within this


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
    y_true: ArrayLike,
    y_prob: ArrayLike,
    class_names: Sequence[str],
    *,
    y_logit: ArrayLike | None = None,
    patient_id: ArrayLike | None = None,
    level: float = 0.95,
    min_positives: int = 20,
) -> pd.DataFrame:
    """Measure how far probabilities are from frequencies.

    Parameters
    ----------
    y_logit
        The logits of `y_prob`, of which slope and intercept are then; None: they are computed from `y_prob`.
    patient_id
        ``(record,)``: whose records they are; None: each is of another patient.
    level
        The confidence of the limits.
    min_positives
        A class with fewer patients that show it (or do not) is marked as not supported.

    Returns
    -------
    DataFrame
        Indexed by class, and 'overall' for their mean: ``slope``, ``intercept`` and ``oe``, each followed by its
        limits, such as ``slope_low`` and ``slope_high``; ``ici``, ``ici_by_chance``, ``e50``, ``e90``,
        ``p_calibrated``; ``brier``, ``miscalibration``, ``discrimination``, ``uncertainty``; ``log_loss``;
        ``ece_debiased``, ``ece_mass``, ``ece_width``; ``n_unknown``, ``n_rarest_patients``, ``is_supported`` and
        ``undefined``, why something is not defined. A mean has no limits and no p-value.
    """
    y_true, y_prob = check_arrays(y_true, y_prob, class_names)
    logits = None if y_logit is None else check_logits(y_logit, y_prob, class_names)
    patients = np.arange(len(y_true)) if patient_id is None else np.asarray(patient_id)
    rows = {}
    for column, name in enumerate(class_names):
        known = y_true[:, column] != UNKNOWN
        if not known.any():
            rows[name] = {
                "n_unknown": len(known),
                "n_rarest_patients": 0,
                "is_supported": False,
                "undefined": "no annotated record",
            }
            continue
        truth, prob, patient_of = y_true[known, column], y_prob[known, column], number_patients(patients[known])
        of_class = to_logits(place_certain(prob)) if logits is None else logits[known, column]
        line, undefined = measure_line(truth == 1, prob, of_class, patient_of, level=level)
        curve = SmoothCurve.fit(truth.astype(float), of_class, patient_of)
        n_patients = count_rarest_patients(truth == 1, patient_of)
        rows[name] = {
            **line,
            **measure_distance(curve, of_class),
            **_decompose(truth, prob),
            "log_loss": cross_entropy(truth, prob).mean(),
            **_measure_bins(truth, prob, patient_of),
            "n_unknown": int((~known).sum()),
            "n_rarest_patients": n_patients,
            "is_supported": n_patients >= min_positives,
            "undefined": undefined,
        }
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=[*_COLUMNS, *_SUPPORT]).rename_axis("class")
    points = [name for name in _COLUMNS if not name.endswith(("_low", "_high", "p_calibrated"))]
    means = table[points].mean().to_dict()
    supported = bool(table["is_supported"].all())
    fewest: dict[str, Any] = {"n_rarest_patients": table["n_rarest_patients"].min(), "is_supported": supported}
    fewest["n_unknown"] = table["n_unknown"].sum()
    table.loc[OVERALL] = pd.Series(means | fewest | {"undefined": ""})
    return table


def find_miscalibrated(measured: pd.DataFrame) -> list[str]:
    """Return a text for each class that has enough patients and is not calibrated: p (Holm over these) below 0.05."""
    tested = measured.drop(index=OVERALL)
    tested = tested[tested["is_supported"].astype(bool) & tested["p_calibrated"].notna()]
    ordered = tested.sort_values("p_calibrated", kind="stable")
    corrected = (ordered["p_calibrated"] * np.arange(len(ordered), 0, -1)).cummax()
    off = set(corrected.index[corrected < _SIGNIFICANT])
    return [
        f"{name} {format_line(row, ', ')}, ICI {row['ici']:.3f} (by chance {row['ici_by_chance']:.3f})"
        for name, row in tested.iterrows()
        if name in off
    ]


def format_line(row: Any, separator: str) -> str:
    """Return slope and O:E of a row of `measure_calibration` as text, each with its limits; ``!``: few patients.

    Examples
    --------
    >>> row = {"slope": 0.9, "slope_low": 0.8, "slope_high": 1.0, "oe": 1.2, "oe_low": 0.9, "oe_high": 1.5}
    >>> format_line(pd.Series(row | {"is_supported": True}), ", ")
    'slope 0.90 [0.80, 1.00], O:E 1.20 [0.90, 1.50]'
    """
    texts = []
    for key, label in (("slope", "slope"), ("oe", "O:E")):
        if pd.notna(row[key]):
            limits = f" [{row[f'{key}_low']:.2f}, {row[f'{key}_high']:.2f}]" if pd.notna(row[f"{key}_low"]) else ""
            texts.append(f"{label} {row[key]:.2f}{limits}{'' if row['is_supported'] else ' !'}")
    return separator.join(texts)


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


def _decompose(truth: NDArray[np.int8], prob: Array) -> dict[str, float]:
    """Split the Brier score of records ``(record,)`` by their best rising step function [5]_."""
    steps = IsotonicRegression(y_min=0, y_max=1).fit_transform(prob, truth)
    brier, uncertainty = float(np.mean((prob - truth) ** 2)), float(truth.mean() * (1 - truth.mean()))
    of_steps = float(np.mean((steps - truth) ** 2))
    return {
        "brier": brier,
        "miscalibration": brier - of_steps,
        "discrimination": uncertainty - of_steps,
        "uncertainty": uncertainty,
    }


def _measure_bins(truth: NDArray[np.int8], prob: Array, patient_of: NDArray[np.intp]) -> dict[str, float]:
    """Return the calibration errors of records ``(record,)``."""
    arrays = truth[:, None], prob[:, None], ["class"]
    mass, width = (reliability_curve(*arrays, strategy=strategy) for strategy in get_args(Strategy))
    bin_of = np.searchsorted(mass["prob_high"], prob)
    share, by_chance = mass["share_positive"].to_numpy(), np.zeros(len(mass))
    for number in range(len(mass)):
        inside = bin_of == number
        of_bin = number_patients(patient_of[inside])
        if of_bin.max() > 0:
            sums = sum_by_patient((truth[inside] - share[number])[:, None], of_bin)
            by_chance[number] = (sums**2).sum() * correct_for_patients(of_bin) / inside.sum() ** 2
    squared = np.average((mass["mean_prob"] - share) ** 2 - by_chance, weights=mass["n_records"])
    return {
        "ece_debiased": float(np.sqrt(max(squared, 0.0))),
        "ece_mass": _average_distance(mass),
        "ece_width": _average_distance(width),
    }


def _average_distance(bins: pd.DataFrame) -> float:
    return float(np.average((bins["mean_prob"] - bins["share_positive"]).abs(), weights=bins["n_records"]))
