"""PTB-XL as a source of records, and its two tables.

Versions 1.0.1 to 1.0.3 have the same layout: ``ptbxl_database.csv`` (one row per record), ``scp_statements.csv`` (one
row per statement of the SCP-ECG standard), ``records100/`` and ``records500/``.

References
----------
.. [1] Wagner, Strodthoff, Bousseljot, Samek, Schaeffter. PTB-XL, a large publicly available electrocardiography
   dataset. Scientific Data 7, 154 (2020). doi:10.1038/s41597-020-0495-6
.. [2] The data set: https://doi.org/10.13026/kfzx-aw45
.. [3] ``ptbxl_v103_changelog.txt`` of the data set, version 1.0.3: duplicates and triplicates.
"""

import ast
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from ecgcls.data.csv_tables import read_csv
from ecgcls.data.source import Publication
from ecgcls.errors import DataError

log = logging.getLogger(__name__)

DATABASE_CSV = "ptbxl_database.csv"
STATEMENTS_CSV = "scp_statements.csv"

KNOWN_DUPLICATES = {
    137: 138, 139: 7781, 140: 1370, 141: 2509, 142: 13803, 143: 144, 145: 463, 11817: 146, 456: 457, 458: 3797,
    459: 460, 461: 9823, 462: 13802, 13796: 1371, 2506: 2507, 2511: 7784, 3795: 3796, 3798: 3799, 3832: 15768,
    5817: 9824, 7777: 7778, 7779: 7780, 7782: 7783, 9821: 9822, 9825: 11813, 9888: 9889, 15742: 11809, 11810: 15741,
    11838: 11839, 13791: 13792, 13793: 13794, 13797: 13798, 13799: 13800, 18150: 18151, 11814: 11816, 11815: 11816,
    3800: 3802, 3801: 3802,
}  # fmt: skip
"""The 38 records of version 1.0.1 that 1.0.3 left out, and the one that it kept of each ECG [3]_."""

_MAX_ID = 2**53  # from here on, numbers that are read as floats merge
_NESTED = ("*", "physionet.org/files/*/*")  # the latter as wget writes it
_FILENAME_COLUMN = {100: "filename_lr", 500: "filename_hr"}


@dataclass(frozen=True, kw_only=True)
class PTBXL:
    """PTB-XL, or a data set of the same layout: a source of records (`ecgcls.data.source.Source`).

    Parameters
    ----------
    root
        The folder with ``ptbxl_database.csv``; or one with a single data set below it, such as what PhysioNet's zip
        file or wget write: reading the records finds it, and `root` becomes its folder.
    sampling_rate_hz
        Which signals: those of ``records100`` or ``records500``.
    missing_records
        What to do with a row whose signal file is missing: ``error`` refuses, ``drop`` leaves it out and counts it.
    """

    root: Path
    sampling_rate_hz: Literal[100, 500] = 100
    missing_records: Literal["error", "drop"] = "error"
    is_synthetic: ClassVar[bool] = False
    known_duplicates: ClassVar[Mapping[int, int]] = KNOWN_DUPLICATES
    publication: ClassVar[Publication] = Publication(
        title="PTB-XL",
        license="CC BY 4.0",
        references=(
            "P. Wagner, N. Strodthoff, R.-D. Bousseljot, D. Kreiseler, F. I. Lunze, W. Samek, T. Schaeffter: PTB-XL, a "
            "large publicly available electrocardiography dataset. Scientific Data 7, 154 (2020). "
            "doi:10.1038/s41597-020-0495-6",
            "P. Wagner, N. Strodthoff, R.-D. Bousseljot, W. Samek, T. Schaeffter: PTB-XL, a large publicly available "
            "electrocardiography dataset (version 1.0.3). PhysioNet (2022). doi:10.13026/kfzx-aw45",
            "A. L. Goldberger et al.: PhysioBank, PhysioToolkit, and PhysioNet. Circulation 101, e215-e220 (2000). "
            "doi:10.1161/01.CIR.101.23.e215",
        ),
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))  # a configuration has it as text

    def prepare(self) -> None:
        """Do nothing: reading finds the data set and reports what is missing."""

    def read_records(self) -> pd.DataFrame:
        """Read ``ptbxl_database.csv`` with all its columns; DataError names a malformed row."""
        object.__setattr__(self, "root", _find_data_set(self.root))
        path = self.root / DATABASE_CSV
        filename_column = _FILENAME_COLUMN[self.sampling_rate_hz]
        text = ["ecg_id", "patient_id", filename_column]
        required = [*text[:2], "scp_codes", filename_column]
        table = _read_table(path, required=required, text=[*text, "strat_fold"])
        for column in [name for name in ("ecg_id", "patient_id", "strat_fold") if name in table]:
            table[column] = _to_int(table[column], path)
        repeated = table["ecg_id"][table["ecg_id"].duplicated()]
        if len(repeated):
            raise DataError(f"{path}: ecg_id {repeated.iloc[0]} is in more than one row")
        table = table.set_index("ecg_id")
        if "strat_fold" in table:
            wrong = table["strat_fold"][~table["strat_fold"].between(1, 10)]
            if len(wrong):
                raise DataError(f"{path}: strat_fold must be in 1..10, got {wrong.iloc[0]} for ecg_id {wrong.index[0]}")
        unnamed = table.index[table[filename_column].isna()]
        if len(unnamed):
            raise DataError(f"{path}: {filename_column} is empty for ecg_id {unnamed[0]}")
        filenames = _clean_filenames(table[filename_column], self.root)
        codes = {ecg_id: _parse_scp_codes(text, ecg_id, path) for ecg_id, text in table["scp_codes"].items()}
        return table.assign(scp_codes=pd.Series(codes, dtype=object), filename=filenames)

    def read_statements(self) -> pd.DataFrame:
        """Read ``scp_statements.csv``."""
        path = self.root / STATEMENTS_CSV
        kinds, classes = ["diagnostic", "form", "rhythm"], ["diagnostic_class", "diagnostic_subclass"]
        table = _read_table(path, required=[*kinds, *classes])
        table = table.set_index(table.columns[0])  # the first column has no name
        if table.index.hasnans or not table.index.is_unique:
            raise DataError(f"{path}: the first column must name each statement once")
        for kind in kinds:
            values = pd.to_numeric(table[kind], errors="coerce").mask(table[kind].isna(), 0)
            if not values.isin([0, 1]).all():
                row = table.index[~values.isin([0, 1])][0]
                raise DataError(f"{path}: {kind} must be 1 or empty, got {table.loc[row, kind]!r} for {row}")
            table[kind] = values == 1
        for column in classes:
            unclassed = table.index[table["diagnostic"] & table[column].isna()]
            if len(unclassed):
                raise DataError(f"{path}: the diagnostic statement {unclassed[0]} has no {column}")
        return table[[*kinds, *classes]]

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of both tables, by file name."""
        return {
            name: hashlib.sha256((self.root / name).read_bytes()).hexdigest() for name in (DATABASE_CSV, STATEMENTS_CSV)
        }


def _find_data_set(root: Path) -> Path:
    """Return the folder with ``ptbxl_database.csv``: this one, or the only one below it."""
    if root.is_file():
        raise DataError(f"data.root={root} is a file; pass its folder: data.root={root.absolute().parent}")
    if not root.is_dir():
        raise DataError(
            f"data.root: there is no folder {root}; get PTB-XL with python -m ecgcls.download, pass "
            "data.root=PATH, or train on simulated ECGs with data=synthetic"
        )
    if (root / DATABASE_CSV).exists():
        return root
    found = sorted({path.parent for pattern in _NESTED for path in root.glob(f"{pattern}/{DATABASE_CSV}")})
    if len(found) == 1:
        log.info("data.root=%s: the data set is in %s", root, found[0])
        return found[0]
    if found:
        raise DataError(
            f"data.root={root}: {len(found)} data sets are below it ({', '.join(map(str, found[:5]))}); name one"
        )
    above = next((path for path in list(root.absolute().parents)[:2] if (path / DATABASE_CSV).exists()), None)
    hint = f": {root} is a folder of its records; pass data.root={above}" if above else f", with {DATABASE_CSV}"
    raise DataError(f"{root / DATABASE_CSV}: not found; data.root must be a folder of PTB-XL{hint}")


def _clean_filenames(filenames: pd.Series, root: Path) -> pd.Series:
    """Return the paths below the root as WFDB names records: with slashes, and without an extension."""
    plain = filenames.str.strip().str.replace("\\", "/").str.replace(r"\.(?:hea|dat|mat)$", "", regex=True)
    plain = plain.str.replace(r"^(?:\./)+", "", regex=True)
    is_absolute = plain.str.startswith("/")
    below = plain[is_absolute].str.lstrip("/")
    outside = [not (root / name).with_name(f"{Path(name).name}.hea").exists() for name in below]
    return plain.where(~is_absolute, below.mask(pd.Series(outside, below.index, dtype=bool), plain[is_absolute]))


def _read_table(path: Path, *, required: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
    return read_csv(
        path, required=required, text=text, absent=f"data.root must be a folder of PTB-XL, with {path.name}"
    )


def _to_int(values: pd.Series, path: Path) -> pd.Series:
    """Convert a column such as 15709.0 to integers; name the first row that is not a whole number, or too large."""
    numbers = pd.to_numeric(values, errors="coerce")
    is_outside = (numbers < 0) | (numbers >= _MAX_ID)
    wrong = numbers.isna() | (numbers % 1 != 0) | is_outside
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        expected = "a whole number from 0 to 2**53 - 1" if is_outside.iloc[row] else "a whole number"
        is_empty = pd.isna(values.iloc[row])
        is_name = not is_empty and pd.isna(numbers.iloc[row]) and values.name != "strat_fold"
        hint = "; PTB-XL's layout has numbers: number the rows, and keep names in another column" if is_name else ""
        got = "an empty cell" if is_empty else repr(values.iloc[row])
        raise DataError(f"{path}: {values.name} must be {expected}, got {got} in line {row + 2}{hint}")
    return numbers.astype("int64")


def _parse_scp_codes(text: object, ecg_id: object, path: Path) -> dict[str, float]:
    try:
        codes = _evaluate(str(text))
        if all(isinstance(name, str) and isinstance(likelihood, int | float) for name, likelihood in codes.items()):
            return codes
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        pass
    raise DataError(f"{path}: scp_codes of ecg_id {ecg_id} must read like {{'NORM': 100.0, 'SR': 0.0}}, got {text!r}")


_evaluate = lru_cache(maxsize=32768)(ast.literal_eval)  # many records have the same text
