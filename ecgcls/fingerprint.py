"""Fingerprints: a short text that says of which records, or which labels, something was computed."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

STANDARDIZED_ON = "ecgcls_standardized_on"
"""Key in a checkpoint: `hash_records` of what the standardiser was fitted on."""


def hash_records(ecg_ids: Iterable[int]) -> str:
    """Return the SHA-256 of a set of records; their order does not matter.

    Examples
    --------
    >>> hash_records([3, 1]) == hash_records([1, 3]) != hash_records([1, 2])
    True
    """
    text = ",".join(str(int(ecg_id)) for ecg_id in sorted(ecg_ids))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_labels(ecg_ids: Iterable[int], y_true: ArrayLike, class_names: Sequence[str]) -> str:
    """Return the SHA-256 of who is labelled with what; the order of the records does not matter, that of classes does.

    Parameters
    ----------
    ecg_ids
        ``(record,)``.
    y_true
        0 or 1, ``(record, class)``.
    class_names
        One name a class.

    Examples
    --------
    >>> hash_labels([3, 1], [[1, 0], [0, 1]], ["MI", "CD"]) == hash_labels([1, 3], [[0, 1], [1, 0]], ["MI", "CD"])
    True
    """
    ids = np.fromiter(ecg_ids, dtype=np.int64)
    order = np.argsort(ids)
    content = hashlib.sha256("\n".join([*map(str, class_names), ""]).encode())
    content.update(ids[order].astype("<i8").tobytes())
    content.update(np.asarray(y_true, dtype=np.uint8)[order].tobytes())
    return content.hexdigest()
