"""The manifest of a data set of one's own: a CSV or Parquet file with a row a record, and what its columns are for.

Cells are text here, without blanks around them. A column that no setting names is recognized by its name, the file also
by naming files that exist, and labels by their content; what was guessed is told.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ecgcls.data.csv_tables import find_separator, hint_at, read_cells
from ecgcls.errors import ConfigError, DataError

NONE = "none"
"""A setting of a column that says that there is none."""
NAMES = {
    "file": ("file", "path", "filename", "filepath", "file_name", "file_path", "ecg_file", "ecg_path", "signal_file",
             "record_path", "signal", "ecg", "recording", "filename_lr", "filename_hr"),
    "record": ("record", "record_id", "record_name", "ecg_id", "ecg_name", "recording_id", "study_id", "exam_id",
               "id", "name"),
    "patient": ("patient", "patient_id", "patientid", "pat_id", "pid", "subject", "subject_id", "person_id", "mrn"),
    "fold": ("fold", "strat_fold", "split", "partition"),
    "age": ("age", "age_years", "patient_age"),
    "sex": ("sex", "gender", "patient_sex"),
}  # fmt: skip
"""By role the names of columns that are taken for it, likely ones first."""
_LABELS = ("labels", "label", "dx", "diagnosis", "diagnoses", "class", "classes", "statements", "scp_codes", "codes")
_GROUPS = ("device", "site", "hospital")
_EMPTY = ("", "nan", "na", "n/a", "null", "<na>")
_SEPARATORS = ";|"
_BINARY = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
_MOSTLY = 0.95  # of a column's cells: if these are 0 or 1, it does not hold names, and the others are mistakes
_PARTLY = 0.5  # the same where it is not called as names are: rather refuse a cell than pass over a class
_N_TRIED = 20  # cells of a column that are tried as names of files


@dataclass(frozen=True, eq=False)
class Manifest:
    """The cells of a manifest as text, and where each is."""

    path: Path
    cells: pd.DataFrame
    """A row a record, by its number from 0; an empty cell is an empty text."""

    def say_where(self, row: int) -> str:
        """Name a row as an editor does."""
        return f"row {row + 1}" if _is_parquet(self.path) else f"line {row + 2}"


@dataclass(frozen=True)
class Asked:
    """The columns that the settings name; None is to be guessed, `NONE` is none."""

    file: str | None = None
    record: str | None = None
    patient: str | None = None
    fold: str | None = None
    age: str | None = None
    sex: str | None = None
    labels: Sequence[str] | None = None
    separator: str | None = None
    groups: Sequence[str] | None = None


@dataclass(frozen=True)
class Columns:
    """What the columns of a manifest are for; None where there is no such column."""

    file: str
    record: str | None
    patient: str | None
    fold: str | None
    age: str | None
    sex: str | None
    labels: tuple[str, ...]
    """One column a class, or a single one that holds names."""
    holds_names: bool
    separator: str | None
    """Between the names in a cell; None: a cell is one name."""
    groups: tuple[str, ...]
    guessed: tuple[str, ...]
    """The roles whose columns no setting named."""

    def list_used(self) -> list[str]:
        """List all columns that have a role."""
        single = [getattr(self, role) for role in NAMES]
        return [*filter(None, single), *self.labels, *self.groups]


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises
    ------
    DataError
        If it is missing, empty, neither CSV nor Parquet, or has a column twice.
    ConfigError
        If it is in Parquet, and the package that reads this is not installed.
    """
    if path.is_dir():
        raise DataError(f"data.manifest={path} is a folder, expected a CSV or Parquet file with a row a record")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty, expected a table with a row a record")
    if _starts_with(path, b"PK\x03\x04"):
        raise DataError(f"{path}: a workbook or another archive, expected a CSV or Parquet file: save it as CSV")
    absent = "data.manifest is a CSV or Parquet file with a row a record"
    cells = _read_parquet(path) if _is_parquet(path) else read_cells(path, absent=absent)
    names = list(cells.columns)
    if len(names) == 1 and (reason := find_separator(path)):
        raise DataError(f"{path}: {reason}")
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"{path}: the column {twice[0]!r} is there {names.count(twice[0])} times, expected once")
    cells = cells.loc[:, [bool(name) for name in names]]
    stripped = cells.apply(lambda column: column.str.strip())
    return Manifest(path, stripped.mask(stripped.apply(lambda column: column.str.casefold().isin(_EMPTY)), ""))


def read_binary(text: str) -> int | None:
    """Return 0 or 1 as a cell says it, or None if it says something else."""
    return _BINARY.get(text.casefold())


def understand(manifest: Manifest, asked: Asked, *, root: Path) -> Columns:
    """Say what each column is for, as asked or as guessed.

    Raises
    ------
    ConfigError
        If a column that was asked for is not there, has two roles, or what the labels are cannot be guessed.
    """
    cells = manifest.cells
    chosen = {role: _choose(manifest, role, getattr(asked, role)) for role in NAMES}
    if chosen["file"] is None and asked.file is None:
        chosen["file"] = _find_files(cells, root)
    if chosen["file"] is None:
        hint = hint_at(NAMES["file"][:3], cells, manifest.path)
        raise ConfigError(f"{manifest.path}: no column names the files of the ECGs ({hint}); set data.file_column=NAME")
    for role in ("record", "patient", "fold", "age", "sex"):  # a name may be known in two roles: the first has it
        earlier = [chosen[each] for each in NAMES if each != role and getattr(asked, each) is not None]
        if getattr(asked, role) is None and chosen[role] in (chosen["file"], *earlier):
            chosen[role] = None
    single = [name for name in chosen.values() if name]
    groups = _check_list(manifest, "data.group_columns", asked.groups)
    if groups is None:
        taken = {*single, *(asked.labels or ())}
        groups = [name for name in map(str, cells) if _plain(name) in _GROUPS and name not in taken]
    labels = _check_list(manifest, "data.label_columns", asked.labels)
    if labels is None:
        labels = _guess_labels(manifest, [name for name in map(str, cells) if name not in (*single, *groups)])
    _refuse_two_roles(chosen, labels, groups)
    least = _MOSTLY if asked.labels is not None else _least(labels[0])
    holds_names = len(labels) == 1 and not _is_mostly_binary(cells[labels[0]], least)
    separator = _choose_separator(cells[labels[0]], asked.separator) if holds_names else None
    every: dict[str, Any] = {**{role: getattr(asked, role) for role in NAMES}, "labels": asked.labels}
    every |= {"groups": asked.groups, **({"separator": asked.separator} if holds_names else {})}
    return Columns(
        **chosen,  # type: ignore[arg-type]  # a file is there by now
        labels=tuple(labels),
        holds_names=holds_names,
        separator=separator,
        groups=tuple(groups),
        guessed=tuple(role for role, value in every.items() if value is None),
    )


def _choose(manifest: Manifest, role: str, asked: str | None) -> str | None:
    """Return the column of a role: the one that was asked for, or the likeliest by its name."""
    if asked == NONE:
        return None
    if asked is not None:
        _check_there(manifest, f"data.{role}_column", [asked])
        return asked
    by_name = {_plain(name): name for name in reversed([str(each) for each in manifest.cells])}
    return next((by_name[name] for name in NAMES[role] if name in by_name), None)


def _check_there(manifest: Manifest, key: str, names: Sequence[str]) -> None:
    if absent := [name for name in names if name not in manifest.cells]:
        hint = hint_at(absent, manifest.cells, manifest.path)
        raise ConfigError(f"{key}: {manifest.path} has no column {', '.join(absent)}; {hint}")


def _check_list(manifest: Manifest, key: str, names: Sequence[str] | None) -> list[str] | None:
    if names is None:
        return None
    _check_there(manifest, key, names)
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise ConfigError(f"{key} names the column {twice[0]} twice")
    if key == "data.label_columns" and not names:
        raise ConfigError(f"{key} is empty, expected the columns of the labels")
    return list(names)


def _refuse_two_roles(chosen: dict[str, str | None], labels: Sequence[str], groups: Sequence[str]) -> None:
    roles: dict[str, list[str]] = {}
    for role, name in chosen.items():
        if name and role not in ("record", "patient"):  # a file may be a name, and a name a patient
            roles.setdefault(name, []).append(f"data.{role}_column")
    for key, names in (("data.label_columns", labels), ("data.group_columns", groups)):
        for name in names:
            roles.setdefault(name, []).append(key)
    for name, keys in roles.items():
        if len(keys) > 1:
            raise ConfigError(f"the column {name} is {' and '.join(keys)}; expected one of them")


def _guess_labels(manifest: Manifest, names: Sequence[str]) -> list[str]:
    """Return the columns that hold 0 and 1, or the one that is called as labels are."""
    cells = manifest.cells
    by_class = [name for name in names if _is_mostly_binary(cells[name], _least(name))]
    by_name = {_plain(name): name for name in names if name not in by_class}
    named = [by_name[name] for name in _LABELS if name in by_name]
    if by_class and named:
        raise ConfigError(
            f"{manifest.path}: what are the labels? {', '.join(by_class)} hold 0 and 1, and {named[0]} is called as "
            "labels are: set data.label_columns=[...]"
        )
    if not by_class and not named:
        raise ConfigError(
            f"{manifest.path}: no column holds labels (0, 1 or empty), and none is called {', '.join(_LABELS[:4])}; "
            f"{hint_at(_LABELS[:4], cells, manifest.path)}; set data.label_columns=[...]"
        )
    return by_class or named[:1]


def _least(name: str) -> float:
    """Return how much of a column must be 0 or 1 to be a class's."""
    return _MOSTLY if _plain(name) in _LABELS else _PARTLY


def _is_mostly_binary(column: pd.Series, least: float) -> bool:
    """Whether a column's cells are 0, 1 or empty, up to a few mistakes."""
    filled = column[column != ""]
    return len(filled) > 0 and float(filled.str.casefold().isin(_BINARY).mean()) >= least


def _choose_separator(column: pd.Series, asked: str | None) -> str | None:
    if asked is not None:
        return None if asked == NONE else asked
    return next((mark for mark in _SEPARATORS if column.str.contains(mark, regex=False).any()), None)


def _find_files(cells: pd.DataFrame, root: Path) -> str | None:
    """Return the first column whose cells name files, WFDB records among them."""
    for name, column in cells.items():
        tried = [root / text.replace("\\", "/") for text in column[column != ""].head(_N_TRIED)]
        if any(path.is_file() or path.with_name(f"{path.name}.hea").is_file() for path in tried if path.name):
            return str(name)
    return None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False


def _is_parquet(path: Path) -> bool:
    return _starts_with(path, b"PAR1")


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            f"data.manifest={path} is in Parquet, which needs pyarrow: pip install 'ecgcls[parquet]'"
        ) from None
    try:
        table = pyarrow.parquet.read_table(path).to_pandas(types_mapper=None)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error
    if table.empty:
        raise DataError(f"{path}: no rows")
    if table.index.name is not None:
        table = table.reset_index()
    return pd.DataFrame({str(name).strip(): [_spell(each) for each in table[name].tolist()] for name in table})


def _spell(value: Any) -> str:
    """Return a cell as it would be written into a CSV file; a list as its names with ``;`` between them."""
    if isinstance(value, str):
        return value
    if hasattr(value, "__len__"):
        return ";".join(map(str, value))
    if value is None or pd.isna(value):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
