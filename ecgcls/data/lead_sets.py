"""The twelve standard leads, and how a subset of them is named.

A subset is typed as the name of one of `LEAD_SETS`, as leads joined by ``+``, or as a list of leads. However it was
typed, it has the standard order, so that the same leads are the same run.

References
----------
.. [1] Reyna et al. Will two do? Varying dimensions in electrocardiography: the PhysioNet/Computing in Cardiology
   Challenge 2021. Computing in Cardiology 48 (2021). doi:10.23919/CinC53138.2021.9662687
"""

import difflib
from collections.abc import Sequence

from ecgcls.errors import ConfigError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve standard leads, in the order of every array in this project."""
INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""Those that do not follow from others."""
LEAD_SETS = {
    "all": LEADS,
    "limb": LEADS[:6],
    "precordial": LEADS[6:],
    "independent": INDEPENDENT,
    "challenge12": LEADS,
    "challenge6": LEADS[:6],
    "challenge4": ("I", "II", "III", "V2"),
    "challenge3": ("I", "II", "V2"),
    "challenge2": ("I", "II"),
}
"""Named subsets; the numbered ones are those of the Challenge 2021 [1]_."""
CHALLENGE = ("challenge12", "challenge6", "challenge4", "challenge3", "challenge2")
"""Those on which that Challenge scores."""

_FOLDED = {lead.casefold(): lead for lead in LEADS}


def parse_leads(leads: str | Sequence[str] | None, *, key: str = "data.leads") -> tuple[str, ...]:
    """Return the leads that a setting names, in standard order; None are all twelve.

    Raises
    ------
    ConfigError
        If it names none, an unknown one, or one twice.

    Examples
    --------
    >>> parse_leads(["v2", "II", "I"]), parse_leads("challenge2"), parse_leads("avf+II")
    (('I', 'II', 'V2'), ('I', 'II'), ('II', 'aVF'))
    """
    if leads is None:
        return LEADS
    if isinstance(leads, str) and leads.strip().casefold() in LEAD_SETS:
        return LEAD_SETS[leads.strip().casefold()]
    names = leads.split("+") if isinstance(leads, str) else list(leads)
    found = [_find_lead(str(name).strip(), key, may_be_set=isinstance(leads, str)) for name in names]
    if not found:
        raise ConfigError(f"{key} names no lead; null takes all twelve")
    if twice := [lead for lead in LEADS if found.count(lead) > 1]:
        raise ConfigError(f"{key} names {', '.join(twice)} twice")
    return tuple(lead for lead in LEADS if lead in found)


def join_leads(lead_names: Sequence[str]) -> str:
    """Write leads as one text, which `parse_leads` understands.

    Examples
    --------
    >>> join_leads(["I", "II", "V2"]), join_leads(LEADS)
    ('I+II+V2', 'all')
    """
    return "all" if tuple(lead_names) == LEADS else "+".join(lead_names)


def find_independent(lead_names: Sequence[str]) -> list[int]:
    """Return the positions of leads that do not follow from one another: the precordial ones, and two limb leads.

    Examples
    --------
    >>> find_independent(LEADS), find_independent(["III", "aVF", "V1"]), find_independent(["aVR", "aVL", "aVF"])
    ([0, 1, 6, 7, 8, 9, 10, 11], [0, 1, 2], [0, 1])
    """
    limb = [number for number, name in enumerate(lead_names) if name in LEAD_SETS["limb"]]
    return sorted(limb[:2] + [number for number, name in enumerate(lead_names) if name in LEAD_SETS["precordial"]])


def _find_lead(name: str, key: str, *, may_be_set: bool) -> str:
    if lead := _FOLDED.get(name.casefold()):
        return lead
    if name.casefold() in LEAD_SETS:
        raise ConfigError(f"{key}: {name} is a set of leads, not a lead; type {key}={name} without others")
    known = {**_FOLDED, **(dict.fromkeys(LEAD_SETS) if may_be_set else {})}
    near = [known[each] or each for each in difflib.get_close_matches(name.casefold(), known, n=3, cutoff=0.6)]
    expected = f"leads ({', '.join(LEADS)})" + f", or one of {', '.join(LEAD_SETS)}" * may_be_set
    hint = f"did you mean {' or '.join(near)}?" if near else f"expected {expected}"
    raise ConfigError(f"{key}: no lead{' or set of leads' * may_be_set} {name!r}; {hint}")
