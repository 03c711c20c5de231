"""The PhysioNet/CinC Challenges 2020 and 2021 [1]_ [2]_ as a source: any folders of WFDB records with ``#Dx`` lines.

What is known of a record stands in the comments of its header: ``#Dx``, its diagnoses as SNOMED CT codes, ``#Age`` and
``#Sex``. A record's id is its name, with its folders in front where several records have the same name.

The Challenge names no patients, so each record counts as a patient of its own. Patients with several records (PTB,
PTB-XL and INCART have some) may then be in two of train, val and test, and intervals may be too narrow.

References
----------
.. [1] E. A. Perez Alday et al., "Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge 2020",
       Physiological Measurement 41(12), 2020, doi:10.1088/1361-6579/abc960.
.. [2] The data of 2021: https://doi.org/10.13026/34va-7q14
"""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import pandas as pd
from tqdm import tqdm

from ecgcls.data.crosswalks import find_unasked, read_snomed
from ecgcls.data.metadata import find_value, limit_ages, list_comments
from ecgcls.data.regular_files import walk_visible
from ecgcls.data.source import Publication
from ecgcls.data.wfdb_header import read_bytes
from ecgcls.errors import ConfigError, DataError

log = logging.getLogger(__name__)

_DX = re.compile(r"#\s*dx\b\s*[:=]?(.*)", re.IGNORECASE)
_NO_CODE = {"", "unknown", "nan", "none", "n/a"}
_SITES = {
    "A": "CPSC", "Q": "CPSC-Extra", "I": "INCART", "S": "PTB", "HR": "PTB-XL", "E": "Georgia", "JS": "Ningbo",
}  # fmt: skip
_NAME = re.compile(r"([AQIS])\d{4}|(E|HR|JS)\d{5}")
_LAST_OF_CHAPMAN = "JS10646"
_SHOWN = 5


class _Header(NamedTuple):
    """What a header says of its record."""

    filename: str
    """Path below the root, without an extension."""
    codes: tuple[str, ...] | None
    """None if nobody has said which diagnoses the record has."""
    age: float
    sex: float


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """Records of the Challenges 2020 and 2021: a source of records (`ecgcls.data.source.Source`).

    Parameters
    ----------
    root
        The folder with the records, at any depth.
    sampling_rate_hz
        To which all are resampled; most are at 500 Hz.
    missing_records
        What to do with a header whose signal file is missing: ``error`` refuses, ``drop`` leaves it out and counts it.
    site
        What the column ``site`` is: ``database``, that of the record's name as the Challenge gave it (``A0001`` CPSC,
        ``Q`` CPSC-Extra, ``I`` INCART, ``S`` PTB, ``HR`` PTB-XL, ``E`` Georgia, ``JS`` Chapman-Shaoxing up to JS10646
        and then Ningbo), or, of any other name, its first folder; or ``folder``, always the first folder.
    unasked
        What a record is of a diagnosis that its readers were not asked for: ``negative``, as in the Challenge, or
        ``unknown`` (of CPSC, see `ecgcls.data.crosswalks.find_unasked`).
    """

    root: Path
    sampling_rate_hz: int = 100
    missing_records: Literal["error", "drop"] = "error"
    site: Literal["database", "folder"] = "database"
    unasked: Literal["negative", "unknown"] = "negative"
    is_synthetic: ClassVar[bool] = False
    publication: ClassVar[Publication] = Publication(  # any folders: each data set of the Challenge has its own terms
        title="Records of the PhysioNet/CinC Challenges 2020 and 2021",
        references=(
            "E. A. Perez Alday et al.: Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge "
            "2020. Physiological Measurement 41(12) (2020). doi:10.1088/1361-6579/abc960",
            "The data of the Challenge 2021. doi:10.13026/34va-7q14",
        ),
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))  # a configuration has it as text
        if self.sampling_rate_hz < 50:
            raise ConfigError(f"data.sampling_rate_hz must be at least 50, got {self.sampling_rate_hz}")

    def prepare(self) -> None:
        """Do nothing: reading finds the records and reports what is missing."""

    def read_records(self) -> pd.DataFrame:
        """Read one row per header: ``patient_id``, ``scp_codes``, ``filename``, ``age``, ``sex``, ``site``.

        The keys of ``scp_codes`` are SNOMED CT codes, all at 100; those of a record without a diagnosis, or with
        ``#Dx: Unknown``, are all codes, at nan: nobody has said which it has. So are, where asked, the codes that its
        readers were not asked for.
        """
        headers, ids = self._headers, pd.Index(self._ids, name="ecg_id")
        unknown = dict.fromkeys(self.read_statements().index, float("nan"))
        codes = [unknown if each.codes is None else self._list_codes(each.filename, each.codes) for each in headers]
        values = limit_ages(pd.DataFrame({"age": [each.age for each in headers]}).to_numpy(), ["age"])[:, 0]
        table = pd.DataFrame(
            {
                "patient_id": ids,
                "scp_codes": pd.Series(codes, index=ids, dtype=object),
                "filename": [each.filename for each in headers],
                "age": values,
                "sex": [each.sex for each in headers],
                "site": [self._find_site(each.filename) for each in headers],
            },
            index=ids,
        )
        self._tell(table, n_unknown=[each.codes is None for each in headers].count(True))
        return table

    def read_statements(self) -> pd.DataFrame:
        """Return the table of SNOMED CT codes, with the codes of these records that it does not know, of no class."""
        table, kinds = read_snomed(), ["diagnostic", "form", "rhythm"]
        if self._unlisted:
            table = table.reindex([*table.index, *self._unlisted])
            table[kinds] = table[kinds].eq(True)  # missing in the new rows
        return table

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of all headers with their paths, and of the table of codes."""
        return {"headers": self._read[1], "snomed": hashlib.sha256(read_snomed().to_csv().encode()).hexdigest()}

    @cached_property
    def _read(self) -> tuple[list[_Header], str]:
        """All headers by path, read once, and their SHA-256."""
        if not self.root.is_dir():
            raise DataError(
                f"data.root: there is no folder {self.root}; pass the folder of the records: data.root=PATH"
            )
        names = sorted(_list_headers(self.root))
        if not names:
            raise DataError(f"data.root={self.root}: no WFDB header (.hea) in it or below; expected Challenge records")
        headers, digest = [], hashlib.sha256()
        for name in tqdm(names, desc="Reading headers", unit=" records", disable=None, leave=False):
            data = read_bytes(f"{self.root}{os.sep}{name}.hea")
            digest.update(f"{name}\0{len(data)}\0".encode("utf-8", "surrogateescape") + data)
            headers.append(_parse(name.replace(os.sep, "/"), data))
        if all(each.codes is None for each in headers):
            raise DataError(
                f"data.root={self.root}: none of the {len(headers)} headers has diagnoses, such as #Dx: 164889003"
            )
        return headers, digest.hexdigest()

    @property
    def _headers(self) -> list[_Header]:
        return self._read[0]

    @property
    def _ids(self) -> list[str]:
        names = [each.filename.rpartition("/")[2] for each in self._headers]
        count = Counter(names)
        return [each.filename if count[name] > 1 else name for each, name in zip(self._headers, names, strict=True)]

    @cached_property
    def _unlisted(self) -> Counter[str]:
        """How many records have each code that the table does not know."""
        known = set(read_snomed().index)
        return Counter(code for each in self._headers for code in each.codes or () if code not in known)

    def _list_codes(self, filename: str, codes: Sequence[str]) -> dict[str, float]:
        """Return the codes of a record at 100, and those that are unknown of it at nan."""
        unasked = find_unasked(_find_database(filename)) if self.unasked == "unknown" else ()
        return dict.fromkeys(sorted(unasked), float("nan")) | dict.fromkeys(codes, 100.0)

    def _find_site(self, filename: str) -> str:
        database = _find_database(filename) if self.site == "database" else ""
        return database or filename.rpartition("/")[0].partition("/")[0] or "unknown"

    def _tell(self, table: pd.DataFrame, *, n_unknown: int) -> None:
        """Log what was found, and what is not known."""
        sites = ", ".join(f"{name} {count}" for name, count in table["site"].value_counts().items())
        log.info("%d Challenge records (%s); the Challenge names no patients: each counts as one", len(table), sites)
        lacks = {name: int(table[name].isna().sum()) for name in ("age", "sex")}
        if any(lacks.values()):
            log.info("Not known: the age of %d records, the sex of %d", lacks["age"], lacks["sex"])
        n_narrow = sum(bool(find_unasked(_find_database(each.filename))) for each in self._headers)
        if self.unasked == "unknown":
            log.info("Readers of %d records were asked for some diagnoses alone: all others are unknown", n_narrow)
        if n_unknown:
            first = next(ecg_id for ecg_id, each in zip(table.index, self._headers, strict=True) if each.codes is None)
            text = "%d records have no diagnosis in #Dx, such as %s: all their labels are unknown"
            log.warning(text, n_unknown, first)
        if self._unlisted:
            shown = [f"{code} ({count} records)" for code, count in self._unlisted.most_common(_SHOWN)]
            more = f", and {len(self._unlisted) - _SHOWN} more" if len(self._unlisted) > _SHOWN else ""
            log.warning("Codes that the table of SNOMED CT does not know, of no class: %s%s", ", ".join(shown), more)


def _find_database(filename: str) -> str:
    """Return which database of the Challenge has records of this name; empty: none."""
    name = filename.rpartition("/")[2]
    if not (found := _NAME.fullmatch(name)):
        return ""
    return "Chapman-Shaoxing" if found[2] == "JS" and name <= _LAST_OF_CHAPMAN else _SITES[found[1] or found[2]]


def _list_headers(root: Path) -> Iterator[str]:
    """Yield the paths of all headers below a folder, without the extension; what is hidden does not count."""
    for where, names in walk_visible(root):
        below = os.path.relpath(where, root)
        prefix = "" if below == "." else f"{below}{os.sep}"
        yield from (f"{prefix}{name[:-4]}" for name in names if name.endswith(".hea"))


def _parse(filename: str, data: bytes) -> _Header:
    """Read the comments of a header."""
    comments = list_comments(data)
    return _Header(filename, _find_codes(comments), find_value(comments, "age"), find_value(comments, "sex"))


def _find_codes(comments: Sequence[str]) -> tuple[str, ...] | None:
    texts = [found[1] for comment in comments if (found := _DX.match(comment))]
    codes = [code for text in texts for code in re.split(r"[,;\s]+", text) if code.casefold() not in _NO_CODE]
    return tuple(dict.fromkeys(codes)) or None
