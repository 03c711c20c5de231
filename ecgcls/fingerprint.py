"""Fingerprints: a short text that says of which records something was computed."""

import hashlib
from collections.abc import Iterable


def hash_records(ecg_ids: Iterable[int]) -> str:
    """Return the SHA-256 of a set of records; their order does not matter.

    Examples
    --------
    >>> hash_records([3, 1]) == hash_records([1, 3]) != hash_records([1, 2])
    True
    """
    text = ",".join(str(int(ecg_id)) for ecg_id in sorted(ecg_ids))
    return hashlib.sha256(text.encode()).hexdigest()
