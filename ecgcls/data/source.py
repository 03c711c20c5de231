"""What a source of records must provide, so that its users need not know which source it is.

A source is added in one file, a class with the members of `Source`, and one YAML file of the group ``data``, whose
``_target_`` is that class. There are four: `ecgcls.data.ptbxl.PTBXL`, `ecgcls.data.synthetic.Synthetic`,
`ecgcls.data.challenge.Challenge` and `ecgcls.data.table.Table`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, cast

if TYPE_CHECKING:  # checking a configuration imports this module, and pandas takes half a second
    import pandas as pd


SYNTHETIC_NOTE = "SYNTHETIC.json"
"""The file that marks a folder of simulated ECGs."""


def is_simulated(root: Path) -> bool:
    """Whether a data set's folder holds simulated ECGs, whatever source reads it."""
    return (root / SYNTHETIC_NOTE).exists()


class ModuleSettings(TypedDict, total=False):
    """The keys of the group ``data`` that every source shares: settings of `ecgcls.data.module.ECGDataModule`."""

    copies: Literal["error", "drop"]
    bad_records: Literal["error", "drop"]
    repairs: Literal["note", "refuse_doubtful", "refuse"]
    duration_s: float | None
    shorter: Literal["refuse", "pad"]
    leads: list[str] | str | None
    window_s: float | None
    window_pooling: Literal["logits", "probabilities", "max"]
    store_dir: str | None
    batch_size: int
    n_train: int | None
    n_train_seed: int


@dataclass(frozen=True)
class Publication:
    """Under what name and terms a data set is published, for whoever gets a net that was trained on it."""

    title: str
    license: str = ""
    """The terms; empty: not known."""
    references: tuple[str, ...] = ()
    """What to cite."""


SIMULATED = Publication(title="Simulated ECGs of ecgcls", license="MIT")
"""What stands for a data set of simulated ECGs, whatever source reads it."""


class Source(Protocol):
    """A data set: which records there are, what is known about them, and where their signals are.

    A source is made of settings alone: its constructor reads and writes nothing. What it reads raises `DataError` if it
    is missing or malformed. It may have a mapping ``known_duplicates`` from ecg_id to ecg_id: pairs of records that are
    one ECG, the one to leave out and the one to keep (see `ecgcls.data.leakage.find_duplicates`); a mapping
    ``groupings`` from a column of its records, of text, to a title: further subgroups; a `Publication` called
    ``publication``, which the card of a bundle cites; and, if it guesses what its tables are, the methods
    ``settle()``, which returns the settings that make guessing needless, ``describe()``, which tells in lines what was
    understood, and ``tabulate_columns()`` and ``tabulate_labels()``, which do so in tables.
    """

    @property
    def is_synthetic(self) -> bool:
        """Whether the ECGs are simulated, so that no number computed from them is about patients."""

    @property
    def root(self) -> Path:
        """The data set's folder; it may be known only once the records have been read."""

    @property
    def sampling_rate_hz(self) -> int:
        """The sampling rate of the signals."""

    @property
    def missing_records(self) -> Literal["error", "drop"]:
        """What to do with a record whose signal file is missing: refuse, or leave the record out and count it."""

    def prepare(self) -> None:
        """Write or check what must exist before anything is read; quick when there is nothing to do."""

    def read_records(self) -> "pd.DataFrame":
        """Read the table of records, in the data set's order.

        Returns
        -------
        DataFrame
            Indexed by record id (whole numbers or text, named ``ecg_id``), one row per record, with ``patient_id``
            (whole numbers or text), ``scp_codes`` (a dict from statement to likelihood in percent; nan: nobody has said
            whether the record has it), ``filename`` (path of the signal, absolute or below `root`; that of a WFDB
            record without an extension), ``strat_fold`` (int, 1..10) if the data set assigns its records to folds, and
            whatever else is known about a record, such as the columns of `ecgcls.data.groupings.GROUPINGS`.
        """

    def read_statements(self) -> "pd.DataFrame":
        """Read the table of statements, in the data set's order.

        Returns
        -------
        DataFrame
            Indexed by statement, with boolean columns ``diagnostic``, ``form`` and ``rhythm`` and the text columns
            ``diagnostic_class`` and ``diagnostic_subclass`` (missing for statements that are not diagnostic).
        """

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of each table, by name."""


def split_settings(node: Mapping[str, Any]) -> tuple[dict[str, Any], ModuleSettings]:
    """Split a node of the group ``data``, whose keys are flat, into settings of the source and of the data module.

    Examples
    --------
    >>> split_settings({"_target_": "ecgcls.data.ptbxl.PTBXL", "root": "data/ptbxl", "batch_size": 16})
    ({'_target_': 'ecgcls.data.ptbxl.PTBXL', 'root': 'data/ptbxl'}, {'batch_size': 16})
    """
    shared = ModuleSettings.__annotations__
    module = {key: value for key, value in node.items() if key in shared}
    return {key: value for key, value in node.items() if key not in shared}, cast(ModuleSettings, module)
