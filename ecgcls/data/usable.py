"""Which records of a data set can be used: those that are bad or repeat another are left out, told and counted.

A record is bad if the signal store could not read it or, on request, if it was repaired or is doubtful.
Which records repeat another is for `ecgcls.data.leakage.find_duplicates` to say.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from ecgcls.data.leakage import find_duplicates
from ecgcls.data.recordings import AS_RECORDED, Repairs
from ecgcls.data.store import SignalStore
from ecgcls.errors import DataError

log = logging.getLogger(__name__)

_N_SHOWN = 3  # records in an error


@dataclass(frozen=True)
class LeftOut:
    """Records that are left out, by ecg_id."""

    bad: Mapping[int | str, str] = field(default_factory=dict)
    """Why each cannot be used."""
    duplicates: Mapping[int | str, int | str] = field(default_factory=dict)
    """Which record each repeats."""

    @property
    def ecg_ids(self) -> set[int | str]:
        """All of them."""
        return {*self.bad, *self.duplicates}


def find_unusable(
    store: SignalStore,
    records: pd.DataFrame,
    *,
    known_duplicates: Mapping[Any, Any],
    bad_records: Literal["error", "drop"],
    repairs: Repairs,
) -> LeftOut:
    """Find which records are to be left out.

    Parameters
    ----------
    records
        Of a source, those that are in the store.
    known_duplicates
        Pairs that the source knows: the record to leave out, and the one to keep.
    bad_records
        ``error`` refuses bad records, ``drop`` leaves them out.
    repairs
        ``note`` uses every record. ``refuse_doubtful`` makes one bad whose scale or content the store calls doubtful;
        ``refuse`` also one whose samples are not those that were recorded: resampled, padded, with derived leads, or
        read with an assumption. What leaves the samples that are kept as they were recorded is always just noted: leads
        in another order, other signals, a longer recording, a calibration pulse.

    Raises
    ------
    DataError
        If a record is bad and `bad_records` is ``error``, or if all are.
    """
    bad = dict(zip(store.bad_records["ecg_id"].tolist(), store.bad_records["reason"].tolist(), strict=True))
    refused = _choose_refused(store.repairs, repairs)
    bad |= refused.groupby("ecg_id", sort=False)["what"].agg("; ".join).to_dict()
    if bad:
        _refuse_or_tell(bad, store, len(records), bad_records, refused_by=repairs if len(refused) else "")
    duplicates = find_duplicates(store, records.drop(list(bad)), known_duplicates)
    if duplicates:
        pairs = [f"{left_out} ({kept})" for left_out, kept in list(duplicates.items())[:_N_SHOWN]]
        text = "Left out %d records that repeat another, such as ecg_id %s"
        log.warning(text, len(duplicates), ", ".join(pairs))
    return LeftOut(bad, duplicates)


def _choose_refused(noted: pd.DataFrame, repairs: Repairs) -> pd.DataFrame:
    """Return those of the notes whose records are refused."""
    if repairs == "note":
        return noted.iloc[:0]
    if repairs == "refuse_doubtful":
        return noted[noted["is_doubtful"]]
    return noted[noted["is_doubtful"] | ~noted["what"].astype(str).str.match(AS_RECORDED)]


def _refuse_or_tell(
    bad: Mapping[int | str, str], store: SignalStore, n_records: int, bad_records: str, *, refused_by: str
) -> None:
    lists = str(store.folder / "bad_records.csv")
    if refused_by:
        which = " (is_doubtful)" if refused_by == "refuse_doubtful" else ""
        lists += f" and repairs.csv beside it{which}, whose records data.repairs={refused_by} refuses"
    shown = "; ".join(f"ecg_id {ecg_id}: {reason}" for ecg_id, reason in list(bad.items())[:_N_SHOWN])
    more = f"; and {len(bad) - _N_SHOWN} more" if len(bad) > _N_SHOWN else ""
    what = f"{len(bad)} of {n_records} records cannot be used ({shown}{more}); all are in {lists}"
    if any(reason.startswith(("the lead ", "the leads ")) and " missing, got " in reason for reason in bad.values()):
        what += "; data.leads=[...] trains on leads that all records have"
    if len(bad) == n_records:
        raise DataError(what)
    if bad_records == "error":
        pad = "; data.shorter=pad fills up those that are too short"
        hint = pad if any("data.duration_s takes" in reason for reason in bad.values()) else ""
        raise DataError(f"{what}. Repair them, or leave them out with data.bad_records=drop{hint}")
    log.warning("Left out: %s", what)
