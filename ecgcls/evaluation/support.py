"""Support: on how many records, and of how many patients, a metric relies.

Conventions
    - A metric relies on its own denominator: sensitivity on the positive records, specificity on the negative ones,
      precision on the records that are predicted positive, NPV on those predicted negative. Every other metric of a
      class relies on its positive and on its negative records, so on the rarer kind.
    - Records of one patient resemble one another, so patients are counted: twenty positive records of two patients say
      little more than two.
    - A macro mean is as uncertain as the rarest class in it; pooled metrics rely on the positive labels of all classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecgcls.evaluation.metrics import METRICS

_KINDS_OF = {"sensitivity": "positive", "specificity": "negative", "precision": "called", "npv": "cleared"}
"""The kind of records that is the denominator of a rate."""
_COLUMNS = ["n_positive", "n_rarest", "n_positive_patients", "n_rarest_patients"]


def count_support(
    index: pd.Index,
    class_names: Sequence[str],
    y_true: NDArray,
    patient_id: ArrayLike | None = None,
    *,
    y_pred: NDArray | None = None,
) -> pd.DataFrame:
    """Return on how many records and patients each row (class and metric) of a table relies.

    Parameters
    ----------
    y_true
        0 or 1, anything else where nobody annotated the class, ``(record, class)``.
    patient_id
        ``(record,)``: whose records they are; None: each is of a patient of its own.
    y_pred
        0 or 1, ``(record, class)``: the decisions that precision and NPV rely on; None: these are counted like F1.

    Returns
    -------
    DataFrame
        ``n_positive`` and ``n_rarest``, the positive records, and those of the rarer kind that the metric relies on;
        ``n_positive_patients`` and ``n_rarest_patients``, the patients who have any of them.

    Examples
    --------
    >>> rows = pd.MultiIndex.from_tuples([("MI", "roc_auc"), ("MI", "sensitivity")])
    >>> found = count_support(rows, ["MI"], np.array([[1], [1], [0], [0], [0]]), [7, 7, 8, 8, 8])
    >>> found["n_rarest"].tolist(), found["n_rarest_patients"].tolist()
    ([2, 2], [1, 1])
    """
    truth, names = np.asarray(y_true), [*map(str, class_names)]
    positive, negative = truth == 1, truth == 0
    kinds = {"positive": positive, "negative": negative}
    if y_pred is not None:
        called = np.asarray(y_pred) == 1
        kinds |= {"called": called & (positive | negative), "cleared": ~called & (positive | negative)}
    who = np.arange(len(truth)) if patient_id is None else np.unique(np.asarray(patient_id), return_inverse=True)[1]
    records = {kind: shown.sum(axis=0) for kind, shown in kinds.items()}
    patients = {kind: count_patients(shown, who) for kind, shown in kinds.items()}
    anyone = int(count_patients(positive.any(axis=1, keepdims=True), who)[0])
    rows = []
    for name, key in index:
        column = names.index(name) if name in names else None
        n_positive = [counts["positive"][slice(None) if column is None else column] for counts in (records, patients)]
        if column is not None:
            kind = _KINDS_OF.get(key)
            kinds_of = [kind] if kind in kinds else ["positive", "negative"]
            n_rarest = [min(counts[kind][column] for kind in kinds_of) for counts in (records, patients)]
        else:
            n_positive = [int(n_positive[0].sum()), anyone]
            rarest = [np.minimum(counts["positive"], counts["negative"]) for counts in (records, patients)]
            is_macro = METRICS[key].macro_of is not None
            n_rarest = [min(each[each > 0], default=0) for each in rarest] if is_macro else n_positive
        rows.append((n_positive[0], n_rarest[0], n_positive[1], n_rarest[1]))
    return pd.DataFrame(rows, index=index, columns=_COLUMNS).astype(int)


def count_patients(shown: NDArray[np.bool_], patient_of: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return how many patients have a record that is shown, ``(column,)``; `shown` is ``(record, column)``.

    Patients are numbered, ``(record,)``.
    """
    record, column = np.nonzero(shown)
    has_any = np.zeros((int(patient_of.max(initial=-1)) + 1, shown.shape[1]), dtype=bool)
    has_any[patient_of[record], column] = True
    counts: NDArray[np.int64] = has_any.sum(axis=0)
    return counts
