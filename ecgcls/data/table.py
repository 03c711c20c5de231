"""Anybody's ECGs as a source of records: a manifest, a CSV or Parquet file with a row a record, and the files it names.

The labels of the manifest are the statements, so that ``task=own`` makes each of them a class. Those that are names of
PTB-XL's statements or superclasses have the classes that these have there, for ``task=superdiagnostic`` and the like.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.manifest import NAMES, NONE, Asked, Columns, Manifest, read_manifest, understand
from ecgcls.data.own_labels import (
    PART_WORDS,
    count_labels,
    name_cells,
    read_age,
    read_folds,
    read_labels,
    read_sex,
)
from ecgcls.data.record_lists import find_record
from ecgcls.data.synthetic.tables import read_statements
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import as_ids

log = logging.getLogger(__name__)

_RESERVED = ("ecg_id", "patient_id", "scp_codes", "filename", "strat_fold", "given_part", "part", "age", "sex")
_KINDS, _CLASSES = ("diagnostic", "form", "rhythm"), ("diagnostic_class", "diagnostic_subclass")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A manifest and the files that it names: a source of records (`ecgcls.data.source.Source`).

    Parameters
    ----------
    manifest
        The CSV or Parquet file. One that is not there is looked for in `root`.
    root
        The folder that its paths start from; None: that of the manifest.
    sampling_rate_hz
        To which every signal is resampled.
    missing_records
        What to do with a row whose file is missing: ``error`` refuses, ``drop`` leaves it out and counts it.
    file_column, record_column, patient_column, fold_column, age_column, sex_column
        Which columns these are; None guesses, ``none`` says that there is none. Without names of records, the names of
        the files are taken; without patients, each record is a patient of its own.
    label_columns
        One column a class (0, 1 or empty), or a single one with names; None guesses.
    label_separator
        Between the names in a cell; ``none``: a cell is one name; None guesses ``;`` or ``|``.
    empty_labels
        What an empty cell means: ``unknown``, or ``negative``.
    group_columns
        Columns whose values are subgroups, numbers by quartile; None guesses device, site and hospital.
    """

    manifest: Path | None = None
    root: Path | None = None
    sampling_rate_hz: int = 100
    missing_records: Literal["error", "drop"] = "error"
    file_column: str | None = None
    record_column: str | None = None
    patient_column: str | None = None
    fold_column: str | None = None
    age_column: str | None = None
    sex_column: str | None = None
    label_columns: Sequence[str] | None = None
    label_separator: str | None = None
    empty_labels: Literal["unknown", "negative"] = "unknown"
    group_columns: Sequence[str] | None = None
    is_synthetic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.manifest is None:
            raise ConfigError(
                "data.manifest is missing: data=table needs a CSV or Parquet file with a row a record, as in "
                "data.manifest=ecgs.csv"
            )
        if not 1 <= self.sampling_rate_hz <= 10_000:
            raise ConfigError(f"data.sampling_rate_hz must be in 1..10000, got {self.sampling_rate_hz}")
        manifest, root = Path(self.manifest), self.root and Path(self.root)  # a configuration has them as text
        if root is not None and not manifest.exists():
            manifest = next((path for path in (root / manifest, root / manifest.name) if path.exists()), manifest)
        object.__setattr__(self, "manifest", manifest)
        object.__setattr__(self, "root", root or manifest.parent)

    def prepare(self) -> None:
        """Warn if patients are not known."""
        if self.columns.patient is None:
            log.warning(
                "%s: no column says whose the ECGs are, so each record counts as a patient of its own: where a patient "
                "has several, test records are not independent of training records (data.patient_column=NAME)",
                self.manifest,
            )

    @cached_property
    def table(self) -> Manifest:
        """The cells of the manifest."""
        assert self.manifest is not None
        return read_manifest(self.manifest)

    @cached_property
    def columns(self) -> Columns:
        """What its columns are for."""
        asked = Asked(
            **{role: getattr(self, f"{role}_column") for role in NAMES},
            labels=self.label_columns,
            separator=self.label_separator,
            groups=self.group_columns,
        )
        return understand(self.table, asked, root=self._folder)

    def settle(self) -> dict[str, Any]:
        """Return the settings with everything that was guessed, so that nothing need be guessed again."""
        found = self.columns
        single = {f"{role}_column": getattr(found, role) or NONE for role in NAMES}
        separator = found.separator or NONE
        lists = {"label_columns": list(found.labels), "group_columns": list(found.groups)}
        return {"root": str(self._folder), **single, **lists, "label_separator": separator}

    def read_records(self) -> pd.DataFrame:
        """Read the manifest; DataError names the row and the column of what is wrong."""
        cells, columns = self.table.cells, self.columns
        self._refuse_empty(columns.file)
        filenames = pd.Series([_clean(text, self._folder) for text in cells[columns.file]], cells.index)
        places = filenames.map(lambda name: (self._folder / name).resolve())  # however it is spelled
        self._refuse_twice(places, f"the file {{}} ({columns.file})", shown=filenames)
        names = filenames.map(lambda name: Path(name).stem) if columns.record is None else cells[columns.record]
        if columns.record is not None:
            self._refuse_empty(columns.record)
        hint = "" if columns.record else f"; data.record_column={columns.file} takes the whole paths as names"
        if columns.patient is not None:
            self._refuse_empty(columns.patient)
        ids = self._read_ids(names, columns.record or columns.file)
        self._refuse_twice(pd.Series(ids, cells.index), "the record {}", hint)
        of_patients = None if columns.patient is None else self._read_ids(cells[columns.patient], columns.patient)
        patients = pd.Series(ids if of_patients is None else of_patients, cells.index)
        _, codes = self._labels
        records = pd.DataFrame({"patient_id": patients, "scp_codes": pd.Series(codes, cells.index, dtype=object)})
        if columns.fold is not None:
            records["strat_fold"] = read_folds(self.table, columns.fold, patients, records["scp_codes"])
            if cells[columns.fold].str.casefold().isin(PART_WORDS).any():
                records["given_part"] = records["strat_fold"].map({1: "train", 9: "val", 10: "test"})
        if columns.age is not None:
            records["age"] = read_age(self.table, columns.age)
        if columns.sex is not None:
            records["sex"] = read_sex(self.table, columns.sex)
        for name in columns.groups:
            if name in _RESERVED:
                raise ConfigError(f"data.group_columns: {name} is a name that ecgcls uses: rename this column")
            records[name] = name_cells(cells[name])
        return records.assign(filename=filenames).set_index(pd.Index(ids, name="ecg_id"))

    def read_statements(self) -> pd.DataFrame:
        """Return the labels as statements; what PTB-XL calls so has the kinds and classes that it has there."""
        known = read_statements()
        superclasses = {row["diagnostic_class"] for row in known.values()} - {""}
        rows: dict[str, list[Any]] = {}
        for name in self._labels[0]:
            row = known.get(name, {})
            classes: list[str | None] = [row.get(key) or None for key in _CLASSES]
            if name in superclasses:
                row, classes = {"diagnostic": "1"}, [name, name]
            rows[name] = [*(bool(row.get(kind)) for kind in _KINDS), *classes]
        return pd.DataFrame.from_dict(rows, orient="index", columns=[*_KINDS, *_CLASSES])

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of the manifest."""
        assert self.manifest is not None
        return {"manifest": hashlib.sha256(self.manifest.read_bytes()).hexdigest()}

    @property
    def groupings(self) -> Mapping[str, str]:
        """The columns of subgroups of its own, and their titles."""
        return {name: name for name in self.columns.groups}

    def tabulate_columns(self) -> pd.DataFrame:
        """Return by role the columns, and whether they were guessed."""
        found = self.columns
        rows = {role: getattr(found, role) or "" for role in NAMES}
        rows |= {"labels": ", ".join(found.labels), "groups": ", ".join(found.groups)}
        rows["not used"] = ", ".join(name for name in map(str, self.table.cells) if name not in found.list_used())
        how = {role: "guessed" if role in found.guessed else "as set" for role in rows if role != "not used"}
        return pd.DataFrame({"columns": rows, "": how}).fillna("").rename_axis("role")

    def tabulate_labels(self) -> pd.DataFrame:
        """Count by class the records that have it, that do not, and of which nobody has said it."""
        classes, codes = self._labels
        return count_labels(pd.Series(codes, dtype=object), classes)

    def describe(self) -> list[str]:
        """Say in lines what was understood."""
        found = self.columns
        lines = [
            f"{role}: {row['columns'] or 'none'}" + (" (guessed)" if row[""] == "guessed" else "")
            for role, row in self.tabulate_columns().iterrows()
            if row["columns"] or role in ("record", "patient", "fold")
        ]
        if found.holds_names:
            mark = f"names separated by {found.separator!r}" if found.separator else "one name a cell"
            lines.append(f"labels are {mark}")
        lines.append(f"empty labels are {self.empty_labels}")
        return [f"{self.manifest}: {len(self.table.cells)} records; {'; '.join(lines)}"]

    @property
    def _folder(self) -> Path:
        assert self.root is not None
        return self.root

    @cached_property
    def _labels(self) -> tuple[list[str], list[dict[str, float]]]:
        return read_labels(self.table, self.columns, empty_is_negative=self.empty_labels == "negative")

    def _read_ids(self, texts: pd.Series, column: str) -> NDArray:
        """Return ids as whole numbers where all are, also as 15709.0, else as text; refuse other numbers."""
        if pd.to_numeric(texts, errors="coerce").notna().all():
            plain = texts.str.replace(r"\.0*$", "", regex=True)
            if (is_other := ~plain.str.fullmatch(r"\d+")).any():
                row = int(is_other.to_numpy().argmax())
                where = self.table.say_where(row)
                raise DataError(
                    f"{self.manifest}: {where}: {column} must hold names or whole numbers, got {texts[row]!r}"
                )
            texts = plain if (texts != plain).any() else texts
        return as_ids(texts)

    def _refuse_empty(self, column: str) -> None:
        if (is_empty := self.table.cells[column] == "").any():
            where = self.table.say_where(int(is_empty.to_numpy().argmax()))
            raise DataError(f"{self.manifest}: {where}: {column} is empty ({int(is_empty.sum())} such rows)")

    def _refuse_twice(self, values: pd.Series, what: str, hint: str = "", *, shown: pd.Series | None = None) -> None:
        if (is_again := values.duplicated()).any():
            row = int(is_again.to_numpy().argmax())
            earlier = int((values == values[row]).to_numpy().argmax())
            say, text = self.table.say_where, (values if shown is None else shown)[row]
            raise DataError(
                f"{self.manifest}: {what.format(text)} is in {say(earlier)} and in {say(row)}, expected once "
                f"({int(is_again.sum())} such rows){hint}"
            )


def _clean(text: str, root: Path) -> str:
    """Return a path as sources have it: with slashes, below the root or absolute; a WFDB record without extension."""
    plain = text.replace("\\", "/").removeprefix("./")
    path = root / plain
    if path.suffix.lower() in ("", ".hea", ".dat", ".mat") or not path.is_file():
        record = find_record(path)
        if record is not None:
            return plain if record == path else plain.removesuffix(path.suffix)
    return plain
