"""The leak that a net can bring along: records that its first weights have learned from, in the new test part.

Whatever their ids, patients and folds are in either data set, they are known by their waveforms (`ecgcls.data.seen`).
What this cannot find is another ECG of a patient whom the first training has seen.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ecgcls.data.cohort import Cohort
from ecgcls.data.seen import COLUMNS, INIT, SeenRecords, count_parts, describe_found
from ecgcls.data.store import SignalStore
from ecgcls.errors import DataError

log = logging.getLogger(__name__)

KnownRecords = Literal["error", "drop"]


@dataclass(frozen=True)
class Initial:
    """What the weights that a training starts from have learned from.

    Attributes
    ----------
    name
        Of the run, in messages.
    seen
        None: nobody knows.
    known_records
        What to do with test records among them: ``error`` refuses, ``drop`` leaves them out and counts them.
    key
        The setting that names it, in messages: a training starts from the weights, or learns from their answers.
    """

    name: str
    seen: SeenRecords | None
    known_records: KnownRecords = "error"
    key: Literal["init", "distill"] = "init"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came of it."""

    known: pd.DataFrame
    """Validation and test records that are known, as `SeenRecords.find` has them."""
    dropped: frozenset[int | str]
    """Test records that are left out for it."""
    n_compared: int
    """Known waveforms that were looked for."""
    unchecked: tuple[str, ...]
    """What could not be compared, in words."""
    n_val: dict[str, int]
    """Validation records that are known, by the part that they were in."""

    def describe(self) -> dict[str, Any]:
        """Return the counts, ready for JSON."""
        return {
            "n_compared": self.n_compared,
            "unchecked": list(self.unchecked),
            "in_test": 0,
            "n_left_out_of_test": len(self.dropped),
            "in_val": self.n_val,
        }


def settle_initial(
    cohort: Cohort,
    store: SignalStore,
    initial: Initial,
    *,
    root: Path,
    open_longer: Callable[[int], SignalStore] | None = None,
) -> tuple[Cohort, Comparison]:
    """Refuse test records that the first weights have learned from, or leave them out; tell of validation records.

    `open_longer` opens a store of the same records with so many samples of each, for known records that are longer.

    A validation record that they were trained on makes the choice of the epoch, the thresholds and the calibration
    optimistic, but no test score: it is a warning.

    Raises
    ------
    DataError
        If there are any and `known_records` is ``error``, or if no other test record is left.
    """
    if initial.seen is None:
        why = f"init: which records {initial.name} was trained on is not known: nobody can tell whether it has seen the"
        log.warning("%s test records (init.seen=FOLDER names the waveforms/ of the run that it is from)", why)
        return cohort, Comparison(pd.DataFrame(columns=list(COLUMNS)), frozenset(), 0, ("all: nothing is known",), {})
    tested, validated = (cohort.records.index[cohort.find_part(part)] for part in ("test", "val"))
    rows = store.find_rows([*tested, *validated])
    known, n_compared, unchecked = initial.seen.learned_from.find_in(store, rows, open_longer)
    for what in unchecked:
        log.warning("%s: the test part was not searched for %s of %s", initial.key, what, initial.name)
    is_leak, is_validated = known["ecg_id"].isin(tested), known["ecg_id"].isin(validated)
    if is_leak.any() and (initial.known_records == "error" or is_leak.sum() == len(tested)):
        others = (
            "no other is left" if is_leak.sum() == len(tested) else f"{initial.key}.known_records=drop leaves them out"
        )
        raise DataError(
            f"{root}: leak: {is_leak.sum()} of the {len(tested)} test records are among those that {initial.key} "
            f"({initial.name}) has learned from ({describe_found(known[is_leak], whose='its')}): test on the fold of "
            f"that run, or start from another one; {others}"
        )
    dropped = frozenset(known.loc[is_leak, "ecg_id"])
    if dropped:
        log.warning(
            "Left out %d of %d test records, which %s has learned from", len(dropped), len(tested), initial.name
        )
        kept = ~cohort.records.index.isin(list(dropped))
        cohort = replace(cohort, records=cohort.records[kept], y_true=cohort.y_true[kept])
    n_val = count_parts(known[is_validated])
    if n_trained := sum(n_val.get(part, 0) for part in ("train", INIT)):
        log.warning(
            "%d of %d validation records are among those that %s was trained on: the chosen epoch, thresholds and "
            "calibration are optimistic", n_trained, len(validated), initial.name,
        )  # fmt: skip
    return cohort, Comparison(known, dropped, n_compared, unchecked, n_val)
