"""The standard leads, however a file calls them and in whatever order it has them."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.limb_leads import LIMB_LEADS, derive_limb_leads
from ecgcls.errors import DataError

_NAME = re.compile(r"(?:mdc[ _])?(?:e[ck]g[ _-]*)?(?:lead[ _-]*)?(d?i{1,3}|av[rlf]|[vc][1-6])", re.IGNORECASE)
_STANDARD = {lead.casefold(): lead for lead in LEADS} | {
    **{f"d{lead.casefold()}": lead for lead in ("I", "II", "III")},  # as in Romance languages
    **{f"c{number}": f"V{number}" for number in range(1, 7)},  # as in IEC 60601: the chest electrodes
}
_SOURCES = ("I", "II", "III")  # two of them give all limb leads


@lru_cache(maxsize=1024)  # the headers of a folder have the same few lists of names
def standardize_names(names: tuple[str, ...]) -> tuple[str | None, ...]:
    """Return the standard name of each lead, None for other signals."""
    found = [_NAME.fullmatch(name.strip()) for name in names]
    return tuple(_STANDARD[match[1].casefold()] if match else None for match in found)


def find_available(lead_names: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return which of the wanted leads a recording has, or can be derived from what it has."""
    there = {*standardize_names(tuple(lead_names))}
    if len(there.intersection(_SOURCES)) > 1:
        there |= {*LIMB_LEADS}
    return tuple(name for name in wanted if name in there)


def find_needed(standard: Sequence[str | None], wanted: Sequence[str]) -> set[str]:
    """Return which standard leads of a recording are wanted, or may give those that are; all if none is."""
    there = {name for name in standard if name is not None}
    needed = there.intersection(wanted if there.issuperset(wanted) else {*wanted, *_SOURCES})
    return needed or there


def list_names(names: Sequence[str]) -> str:
    """Name signals in a message, however many there are."""
    listed = ", ".join(name.strip() or "(no name)" for name in names[:20])
    return f"{listed}, ... ({len(names)} signals)" if len(names) > 20 else listed or "no signal"


def put_leads_in_order(
    signal: NDArray[np.floating], lead_names: Sequence[str], wanted: Sequence[str], left_out: Sequence[str] = ()
) -> tuple[NDArray[np.floating], list[str]]:
    """Return the wanted leads of a signal, ``(lead, sample)``, and what was changed.

    `left_out` are signals of the file that are not among `signal`'s rows, to be told; standard leads that are not
    wanted are not. DataError if a lead is missing and does not follow from others, or is given twice.
    """
    names = standardize_names(tuple(lead_names))
    if names == tuple(wanted) and not left_out:
        return signal, []
    used = {*wanted} if {*wanted} <= {*names} else {*wanted, *_SOURCES}
    twice = [name for name in LEADS if name in used and names.count(name) > 1]
    if twice:
        raise DataError(f"the lead {twice[0]} is given twice, among {list_names(lead_names)}")
    rows = {name: row for name, row in zip(names, signal, strict=True) if name is not None}
    there = [name for name in names if name in wanted]
    derived = [name for name in wanted if name not in rows]
    if derived:
        rows = derive_limb_leads(rows)
    absent = [name for name in wanted if name not in rows]
    if absent:
        what = f"leads {', '.join(absent)} are" if len(absent) > 1 else f"lead {absent[0]} is"
        raise DataError(
            f"the {what} missing, got {list_names(lead_names)} "
            "(limb leads can be derived from two of I, II, III; others cannot)"
        )
    repairs = []
    unwanted = [given for given, name in zip(lead_names, names, strict=True) if name is None]
    if others := [*left_out, *unwanted]:
        repairs.append(f"left out {list_names(others)}")
    if there != [name for name in wanted if name in there]:
        repairs.append("leads put in order")
    if derived:
        sources = " and ".join([name for name in _SOURCES if name in names][:2])
        repairs.append(f"derived {', '.join(derived)} from {sources}")
    return np.stack([rows[name] for name in wanted]), repairs
