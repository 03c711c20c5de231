"""Pooling: the out-of-fold predictions of a cross-validation, put together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecgcls.errors import DataError
from ecgcls.evaluation.checks import describe_difference
from ecgcls.evaluation.predictions import FOLD, ID_COLUMNS, OF_CLASSES, Predictions


def pool(parts: Sequence[Predictions], folds: Sequence[int] | None = None) -> Predictions:
    """Pool out-of-fold predictions: put the folds' records together, sorted by ecg_id.

    Each part is narrowed to its out-of-fold records by `select("test")`. Parts that differ in the classes or their
    order, and a record that occurs twice, are refused. With several parts, each record keeps the number of its part as
    its `fold`, or that in `folds`: every metric is then measured within the folds, as the probabilities of different
    nets do not rank one another's records.

    Examples
    --------
    >>> first = Predictions([9], [1], [1], ["test"], [[1]], [[0.75]], ("AFIB",))
    >>> second = Predictions([4], [2], [3], ["test"], [[0]], [[0.25]], ("AFIB",))
    >>> pool([first, second]).ecg_id
    array([4, 9])
    >>> pool([first, second], folds=[2, 3]).fold
    array([3, 2])
    """
    if not parts:
        raise DataError("there are no predictions to pool: expected one part per fold, got none")
    class_names = parts[0].class_names
    for number, part in enumerate(parts):
        if part.class_names != class_names:
            difference = describe_difference(part.class_names, class_names)
            raise DataError(f"the classes of part {number} differ from those of part 0: {difference}")
    names = [*ID_COLUMNS, *OF_CLASSES]
    if any(part.y_logit is None for part in parts):
        names.remove("y_logit")  # all are ranked by the same thing
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    ids, counts = np.unique(arrays["ecg_id"], return_counts=True)
    if (counts > 1).any():
        twice = ids[counts > 1][0]
        where = [
            f"{split!s} of part {number}"
            for number, part in enumerate(parts)
            for split in part.split[part.ecg_id == twice]
        ]
        raise DataError(
            f"ecg_id {twice} occurs {len(where)} times ({', '.join(where)}), expected once; so do "
            f"{(counts > 1).sum() - 1} more records: pool one split of folds that do not overlap"
        )
    if len(parts) > 1:
        arrays[FOLD] = np.repeat(range(len(parts)) if folds is None else folds, [len(part) for part in parts])
    order = np.argsort(arrays["ecg_id"])
    return Predictions(**{name: array[order] for name, array in arrays.items()}, class_names=class_names)
