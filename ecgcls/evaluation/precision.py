r"""Precision before training: how wide intervals will be for the records at hand, before any of them is scored.

A test set that cannot tell a ROC-AUC of 0.85 from one of 0.95 cannot do so after weeks of training either. The widths
follow from how many patients have a class and from the performance that is anticipated [1]_.

Conventions
    - The logits of a class are normal in its positive records and in its negative ones, with one spread, as far apart
      as the anticipated ROC-AUC C asks for, and calibrated:
      :math:`N(\operatorname{logit} \pi \pm \delta^2/2, \delta^2)` with :math:`\delta = \sqrt 2\,\Phi^{-1}(C)` and the
      prevalence :math:`\pi`.
    - Counted are patients, not records, so n is what the data are worth if the records of a patient are all alike. The
      intervals of a trained model are narrower where they are not.
    - ROC-AUC: Newcombe's formula of the standard error [2]_, which is wider by up to a third than that of two normal
      distributions from 0.95 on; calibration slope: the expected information of a logistic
      regression; O:E, the ratio of observed to expected positives: the standard error of its logarithm,
      :math:`\sqrt{(1 - \pi) / (n \pi)}` [3]_; sensitivity: Wilson's score interval [4]_; average precision: its
      influence function under these two normal distributions, and limits on the logit scale, as in [5]_.
    - A class without a positive or without a negative patient has no interval: nan.

References
----------
.. [1] R. D. Riley et al., "Evaluation of clinical prediction models (part 3): calculating the sample size required for
       an external validation study", BMJ 384, 2024, e074821, doi:10.1136/bmj-2023-074821.
.. [2] R. G. Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2:
       asymptotic methods and evaluation", Statistics in Medicine 25(4), 2006, doi:10.1002/sim.2324.
.. [3] R. D. Riley et al., "Minimum sample size for external validation of a clinical prediction model with a binary
       outcome", Statistics in Medicine 40(19), 2021, doi:10.1002/sim.9025.
.. [4] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
       Statistical Association 22(158), 1927, doi:10.1080/01621459.1927.10502953.
.. [5] K. Boyd, K. H. Eng, C. D. Page, "Area under the precision-recall curve: point estimates and confidence
       intervals", ECML PKDD 2013, doi:10.1007/978-3-642-40994-3_29.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import expit, logit

from ecgcls.errors import ConfigError
from ecgcls.evaluation.checks import UNKNOWN

Array = NDArray[np.float64]
_N_STEPS = 4001  # of the grids that integrals are taken over
_REACH = 8.0  # how far the grids go, in standard deviations


@dataclass(frozen=True)
class Anticipated:
    """The performance that a model is hoped to have in each class.

    Parameters
    ----------
    roc_auc
        In (0.5, 1).
    sensitivity
        In (0, 1).
    level
        The confidence of the intervals, in (0, 1).
    """

    roc_auc: float = 0.9
    sensitivity: float = 0.8
    level: float = 0.95

    def __post_init__(self) -> None:
        for name, low in (("roc_auc", 0.5), ("sensitivity", 0.0), ("level", 0.0)):
            if not low < getattr(self, name) < 1:
                raise ConfigError(f"anticipated.{name} must be between {low:g} and 1, got {getattr(self, name):g}")


def expect_precision(
    y_true: ArrayLike, patient_id: ArrayLike, class_names: Sequence[str], anticipated: Anticipated = Anticipated()
) -> pd.DataFrame:
    """Return how wide the intervals of these test records are to be expected.

    Parameters
    ----------
    y_true
        1 or 0, -1 where not annotated; ``(record, class)``.
    patient_id
        ``(record,)``.

    Returns
    -------
    DataFrame
        Indexed by class: ``n_positive`` records, ``n_positive_patients``, ``n_negative_patients`` (with a negative
        record and no positive one), and the width (upper less lower limit) of the interval of ``roc_auc``, ``pr_auc``,
        ``sensitivity``, ``slope`` and ``oe``; ``pr_auc_expected`` is the average precision that goes with the
        anticipated ROC-AUC at the prevalence.

    Examples
    --------
    >>> y_true = [[1]] * 100 + [[0]] * 900
    >>> found = expect_precision(y_true, range(1000), ["MI"])
    >>> found.loc["MI", ["roc_auc", "sensitivity", "slope", "oe"]].round(3).to_dict()
    {'roc_auc': 0.066, 'sensitivity': 0.155, 'slope': 0.34, 'oe': 0.374}
    """
    labels, patients = np.asarray(y_true), np.asarray(patient_id)
    rows = {}
    for name, of_class in zip(map(str, class_names), labels.T, strict=True):
        positive = np.unique(patients[of_class == 1])
        negative = np.setdiff1d(patients[(of_class != 1) & (of_class != UNKNOWN)], positive)
        counts = {"n_positive": int((of_class == 1).sum()), "n_positive_patients": len(positive)}
        counts["n_negative_patients"] = len(negative)
        rows[name] = counts | _expect_widths(len(positive), len(negative), anticipated)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")


def describe_precision(found: pd.DataFrame, anticipated: Anticipated = Anticipated()) -> str:
    """Say in a sentence what `expect_precision` found."""
    labels = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "sensitivity": "sensitivity", "slope": "calibration slope"}
    labels["oe"] = "O:E"
    widths = [
        f"{name} ({int(row['n_positive_patients'])} positive patients) "
        + ", ".join(f"{label} {row[key]:.2f}" for key, label in labels.items())
        for name, row in found.dropna(subset=["roc_auc"]).iterrows()
    ]
    hoped = f"the ROC-AUC is {anticipated.roc_auc:g} and the sensitivity {anticipated.sensitivity:g}"
    return (
        f"The {100 * anticipated.level:g}% intervals to be expected on these test records if {hoped} (Riley et al., "
        f"BMJ 2024, doi:10.1136/bmj-2023-074821) are so wide: {'; '.join(widths)}."
    )


def _expect_widths(n_positive: int, n_negative: int, anticipated: Anticipated) -> dict[str, float]:
    names = ("roc_auc", "pr_auc", "pr_auc_expected", "sensitivity", "slope", "oe")
    if not (n_positive and n_negative):
        return dict.fromkeys(names, float("nan"))
    prevalence = n_positive / (n_positive + n_negative)
    z = float(stats.norm.ppf((1 + anticipated.level) / 2))
    ap, ap_error = expect_average_precision(anticipated.roc_auc, n_positive, n_negative)
    ap_half = z * ap_error / (ap * (1 - ap))  # on the logit scale
    oe_half = z * oe_error(n_positive, n_negative)
    successes = anticipated.sensitivity * n_positive
    return {
        "roc_auc": 2 * z * roc_auc_error(anticipated.roc_auc, n_positive, n_negative),
        "pr_auc": float(np.diff(expit(logit(ap) + np.array([-ap_half, ap_half])))[0]),
        "pr_auc_expected": ap,
        "sensitivity": _width_wilson(successes, n_positive, z),
        "slope": 2 * z * slope_error(*_draw_logits(anticipated.roc_auc, prevalence), n_positive + n_negative),
        "oe": float(np.exp(oe_half) - np.exp(-oe_half)),
    }


def roc_auc_error(roc_auc: float, n_positive: float, n_negative: float) -> float:
    """Return the standard error of a ROC-AUC by Newcombe's formula [2]_."""
    half = (n_positive + n_negative) / 2 - 1
    spread = 1 + half * (1 - roc_auc) / (2 - roc_auc) + half * roc_auc / (1 + roc_auc)
    return float(np.sqrt(roc_auc * (1 - roc_auc) * spread / (n_positive * n_negative)))


def oe_error(n_positive: float, n_negative: float) -> float:
    """Return the standard error of the logarithm of O:E where the model is calibrated [3]_."""
    return float(np.sqrt(n_negative / (n_positive + n_negative) / n_positive))


def slope_error(logits: Array, weights: Array, n: float) -> float:
    """Return the standard error of the calibration slope of n patients [3]_.

    Parameters
    ----------
    logits, weights
        The distribution of a calibrated model's logits: values and their probabilities, ``(value,)``.
    """
    information = weights / weights.sum() * expit(logits) * expit(-logits)
    i_00, i_01, i_11 = information.sum(), (information * logits).sum(), (information * logits**2).sum()
    return float(np.sqrt(i_00 / (n * (i_00 * i_11 - i_01**2))))


def expect_average_precision(roc_auc: float, n_positive: float, n_negative: float) -> tuple[float, float]:
    r"""Return the average precision of a model with this ROC-AUC, and its standard error.

    With the survival functions :math:`S_1` and :math:`S_0` of positive and negative scores and the precision
    :math:`P = \pi S_1 / (\pi S_1 + (1 - \pi) S_0)` at each, the value is the mean of P over the positive scores. Its
    influence function is how P changes with one score more of either kind.
    """
    odds = n_positive / n_negative
    distance = float(np.sqrt(2) * stats.norm.ppf(roc_auc))
    score = np.linspace(-_REACH, distance + _REACH, _N_STEPS)  # of negative records, standardized
    density, step = stats.norm.pdf(score, loc=distance), score[1] - score[0]
    above_1, above_0 = stats.norm.sf(score, loc=distance), stats.norm.sf(score)
    precision = odds * above_1 / (odds * above_1 + above_0)
    value = float((precision * density).sum() * step)
    by_1 = odds * above_0 / (odds * above_1 + above_0) ** 2  # derivative of the precision by above_1, and by above_0
    by_0 = -odds * above_1 / (odds * above_1 + above_0) ** 2
    reached_1, reached_0 = (np.cumsum(by * density) * step for by in (by_1, by_0))
    of_positive = precision + reached_1  # its mean is not 0; only its variance matters
    of_negative = reached_0
    variance = 0.0
    for influence, at, n in ((of_positive, density, n_positive), (of_negative, stats.norm.pdf(score), n_negative)):
        mean = (influence * at).sum() * step
        variance += float(((influence - mean) ** 2 * at).sum() * step / n)
    return value, float(np.sqrt(variance))


def _draw_logits(roc_auc: float, prevalence: float) -> tuple[Array, Array]:
    """Return the distribution of a calibrated model's logits, as values and weights."""
    distance = float(np.sqrt(2) * stats.norm.ppf(roc_auc))
    middle = float(logit(prevalence))
    reach = distance**2 / 2 + _REACH * distance
    logits = middle + np.linspace(-reach, reach, _N_STEPS)
    positive, negative = (stats.norm.pdf(logits, middle + sign * distance**2 / 2, distance) for sign in (1, -1))
    return logits, prevalence * positive + (1 - prevalence) * negative


def _width_wilson(n_successes: float, n: float, z: float) -> float:
    from statsmodels.stats.proportion import proportion_confint  # takes a second to import

    low, high = proportion_confint(n_successes, n, alpha=2 * stats.norm.sf(z), method="wilson")
    return float(high - low)
