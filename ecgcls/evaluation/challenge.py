r"""The metric of the PhysioNet/Computing in Cardiology Challenges 2020 and 2021 [1]_ [2]_, from decisions alone.

It rewards a wrong diagnosis that leads to a similar treatment or outcome. A record with the true classes Y and the
predicted classes P, both sets, earns

.. math:: c(Y, P) = \frac{1}{\max(|Y \cup P|, 1)} \sum_{j \in Y} \sum_{k \in P} w_{jk}

with the weights w of ``challenge_weights.csv``, those of 2021 [3]_: 1 for the class itself, at most 0.5 for another.
The metric is the sum over all records, scaled so that the right answer has 1 and *the inactive classifier*, which
always answers sinus rhythm (NSR) alone, has 0:

.. math:: \frac{\sum c(Y, P) - \sum c(Y, \{NSR\})}{\sum c(Y, Y) - \sum c(Y, \{NSR\})}

Conventions
    - It has no lower limit, and is 0 where both references earn the same, as the Challenge defines it.
    - A label that nobody annotated is neither in Y nor in P.
    - There are 26 classes. Four of them are two diagnoses each that the Challenge scores as one, and have the name of
      the first here: CLBBB (and LBBB), CRBBB (and RBBB), PAC (and SVPB), PVC (and VPB).
    - Where a task has only some of the classes, NSR among them, the metric is of these alone: no number that compares
      with the Challenge's.

References
----------
.. [1] E. A. Perez Alday et al., "Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge 2020",
       Physiological Measurement 41(12), 2020, doi:10.1088/1361-6579/abc960.
.. [2] M. A. Reyna et al., "Will two do? Varying dimensions in electrocardiography: the PhysioNet/Computing in
       Cardiology Challenge 2021", Computing in Cardiology 48, 2021, doi:10.23919/CinC53138.2021.9662687.
.. [3] ``weights_abbreviations.csv`` of https://github.com/physionetchallenges/evaluation-2021
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import DataError
from ecgcls.evaluation.checks import check_arrays

Array = NDArray[np.float64]
NORMAL = "NSR"
"""The class that the inactive classifier answers."""


@cache
def read_weights() -> pd.DataFrame:
    """Return the weights of 2021, by true and predicted class, ``(class, class)``."""
    return pd.read_csv(Path(__file__).with_name("challenge_weights.csv"), index_col=0)


def is_scored(class_names: Sequence[str]) -> bool:
    """Whether these are classes of the Challenge, sinus rhythm and at least one more."""
    names = {*class_names}
    return NORMAL in names and len(names) > 1 and names <= {*read_weights().index}


def measure_credits(y_true: NDArray, y_pred: NDArray, class_names: Sequence[str]) -> Array:
    """Return what each record earns by its predictions, the right answer and the inactive one, ``(3, record)``.

    `y_true` and `y_pred` are ``(record, class)``, 0 or 1.
    """
    weights = read_weights().loc[[*class_names], [*class_names]].to_numpy()
    truth = np.asarray(y_true, dtype=bool)
    inactive = np.broadcast_to(np.array(class_names) == NORMAL, truth.shape)
    earned = truth @ weights  # (record, class): what each predicted class would earn
    return np.stack(
        [
            np.where(predicted, earned, 0.0).sum(axis=1) / np.maximum((truth | predicted).sum(axis=1), 1)
            for predicted in (np.asarray(y_pred, dtype=bool), truth, inactive)
        ]
    )


def normalize_credits(earned: Array) -> Array:
    """Return the metric from the sums of `measure_credits` over records, ``(3, resample)``."""
    predicted, correct, inactive = earned
    span = correct - inactive
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isclose(span, 0.0, atol=1e-9), 0.0, (predicted - inactive) / span)


def challenge_metric(y_true: ArrayLike, y_pred: ArrayLike, class_names: Sequence[str]) -> float:
    """Return the metric of decisions.

    Parameters
    ----------
    y_true
        0 or 1 (-1 or nan: not annotated), ``(record, class)``.
    y_pred
        0 or 1, ``(record, class)``.
    class_names
        Classes of the Challenge 2021, as in `read_weights`: NSR and others.

    Raises
    ------
    DataError
        If NSR is missing, or a class is none of the Challenge.

    Examples
    --------
    A record with AF is called AF and AFL, which earns (1 + 0.5) / 2; one with NSR is right and earns 1. Always NSR
    earns 0.25 / 2 and 1. So the metric is (1.75 - 1.125) / (2 - 1.125).

    >>> round(challenge_metric([[1, 0, 0], [0, 0, 1]], [[1, 1, 0], [0, 0, 1]], ["AF", "AFL", "NSR"]), 4)
    0.7143
    """
    if not is_scored(class_names):
        known = ", ".join(read_weights().index)
        raise DataError(f"class_names must be NSR and others of {known}; got {', '.join(map(str, class_names))}")
    truth, decided = check_arrays(y_true, y_pred, class_names)
    earned = measure_credits(truth == 1, (decided >= 0.5) & (truth >= 0), class_names)
    return float(normalize_credits(earned.sum(axis=1)))
