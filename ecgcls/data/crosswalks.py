"""Between the statements of data sets: SNOMED CT codes of the PhysioNet Challenges, and PTB-XL's SCP statements.

Two tables, one a direction, since neither vocabulary is a part of the other: ``crosswalks/snomed_scp.csv`` has the 133
codes of the Challenge 2021, ``crosswalks/scp_snomed.csv`` the 71 statements of PTB-XL. In both, ``exact`` means that
the two say the same, ``broader`` that one of both says more than the other (``note`` says what), ``none`` that there
is no counterpart. Every row names its source: mostly the Challenge's tables, which count the records of PTB-XL that it
gave each code; as many, or in proportion as many, have the statement.

References
----------
.. [1] PhysioNet/CinC Challenge 2021, ``dx_mapping_scored.csv`` and ``dx_mapping_unscored.csv`` of
   github.com/physionetchallenges/evaluation-2021. doi:10.13026/34va-7q14 (the data)
.. [2] Wagner et al. PTB-XL, a large publicly available electrocardiography dataset. Scientific Data 7 (2020) 154.
   doi:10.1038/s41597-020-0495-6 (``scp_statements.csv``)
"""

import difflib
import re
from functools import cache
from importlib.resources import files

import pandas as pd

_KINDS = ["diagnostic", "form", "rhythm"]
_MAY_BE_MISSING = ["challenge_class", "diagnostic_class", "diagnostic_subclass"]


def read_snomed() -> pd.DataFrame:
    """Read what each SNOMED CT code of the Challenge is in PTB-XL's terms.

    Returns
    -------
    DataFrame
        By SNOMED CT code, as text: ``name`` and ``abbreviation`` of the Challenge; ``challenge_class``, the
        abbreviation of the scored class, the same for two codes that the Challenge scores as one, missing where the
        code is not scored; ``scp``, PTB-XL's statement, or ``""``; ``relation`` of both (``exact``, ``broader``,
        ``none``); ``diagnostic``, ``form`` and ``rhythm``; ``diagnostic_class`` and ``diagnostic_subclass``, missing
        where the code belongs to none for sure; ``possible_class``, the superclasses (or subclasses), separated by
        ``;``, to which a record with the code may or may not belong; ``note``; ``source``.
    """
    return _read("snomed_scp.csv", index="snomed_code")


def read_scp() -> pd.DataFrame:
    """Read with which SNOMED CT code the Challenge has each of PTB-XL's statements.

    Returns
    -------
    DataFrame
        By SCP statement: ``description``; ``snomed_code``, or ``""``, and its ``name``; ``relation``; ``diagnostic``,
        ``form``, ``rhythm``, ``diagnostic_class`` and ``diagnostic_subclass``, as in PTB-XL; ``snomed_rt_code``, which
        PTB-XL itself gives some statements (its column ``DICOM Code``); ``note``; ``source``.
    """
    return _read("scp_snomed.csv", index="scp")


@cache
def find_unasked(site: str) -> frozenset[str]:
    """Return the SNOMED CT codes that the readers of a site of the Challenge were not asked for; empty if nobody says.

    CPSC 2018 was read for nine diagnoses alone. A code that the Challenge scores as one with one of these counts as
    asked for. Of the other sites no list is published, and a code that is rare or absent may have been asked for.
    """
    table, codes = _read_plain("asked_snomed.csv"), read_snomed()
    asked = {*table.loc[table["site"] == site, "snomed_code"]}
    classes = {*codes["challenge_class"].reindex(sorted(asked)).dropna()}
    return (
        frozenset(codes.index[~codes.index.isin(asked) & ~codes["challenge_class"].isin(classes)])
        if asked
        else frozenset()
    )


def find_entries(name: str) -> tuple[str, ...]:
    """Return the SNOMED CT code and the SCP statement that a name of somebody's own means, or one of both.

    It is a code, a statement, the Challenge's abbreviation or the full name in either table, whatever the case and with
    any signs between the words. What could mean two things (AMI is PTB-XL's anterior and the Challenge's acute
    infarction) means nothing, and neither does the name of a superclass.

    Examples
    --------
    >>> find_entries("af"), find_entries("atrial_fibrillation"), find_entries("ami")
    (('164889003', 'AFIB'), ('164889003', 'AFIB'), ())
    """
    entries = _list_names().get(_normalize(name), frozenset())
    return next(iter(entries)) if len(entries) == 1 else ()


def describe_entries(name: str) -> str:
    """Say what a name that `find_entries` knows is taken for, as ``AFIB (atrial fibrillation)``."""
    entry = find_entries(name)[-1]
    full = read_scp()["description"].get(entry) or read_snomed()["name"][entry]
    return f"{entry} ({full})"


def suggest_entries(name: str) -> list[str]:
    """Return names like this one that `find_entries` knows, or what it could mean where that is more than one thing."""
    known = _list_names()
    if _normalize(name) in known:
        return sorted(entry for each in known[_normalize(name)] for entry in each[:1])
    return [near for near in difflib.get_close_matches(_normalize(name), known, n=3, cutoff=0.7) if find_entries(near)]


@cache
def _list_names() -> dict[str, frozenset[tuple[str, ...]]]:
    """Return what each name could mean: a code, a statement, or a code and the statement that says the same."""
    snomed, scp, found = read_snomed(), read_scp(), dict[str, set[tuple[str, ...]]]()
    for code, row in snomed.iterrows():
        entry = (str(code), row["scp"]) if row["relation"] == "exact" else (str(code),)
        for name in (code, row["name"], row["abbreviation"]):
            found.setdefault(_normalize(name), set()).add(entry)
    for statement, row in scp.iterrows():
        entry = (row["snomed_code"], str(statement)) if row["relation"] == "exact" else (str(statement),)
        for name in (statement, row["description"]):
            found.setdefault(_normalize(name), set()).add(entry)
    for name in {*scp["diagnostic_class"].dropna()} - {
        *scp.index
    }:  # such as MI: more than the code that it abbreviates
        found.pop(_normalize(name), None)
    return {name: frozenset(entries) for name, entries in found.items()}


def _normalize(name: object) -> str:
    return " ".join(re.split(r"[\W_]+", str(name).casefold())).strip()


def _read_plain(name: str) -> pd.DataFrame:
    with files("ecgcls.data").joinpath("crosswalks", name).open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)


def _read(name: str, *, index: str) -> pd.DataFrame:
    table = _read_plain(name).set_index(index)
    table[_KINDS] = table[_KINDS] == "1"
    for column in table.columns.intersection(_MAY_BE_MISSING):
        table[column] = table[column].mask(table[column] == "")
    return table
