"""The simulated data set as a source of records."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from ecgcls.data.ptbxl import hash_tables, read_database, read_statements
from ecgcls.data.synthetic.write import write_synthetic

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Simulated ECGs in PTB-XL's layout, written on first use: a source of records (`ecgcls.data.source.Source`).

    Parameters
    ----------
    root
        The folder they are written to, if they are not there yet. It must hold no other data set.
    n_records
        How many ECGs to simulate, 50 to 21,799.
    synthetic_seed
        Seed of the simulation; not the seed of the training.
    sampling_rate_hz
        100 or 500.
    """

    root: Path
    n_records: int = 1000
    synthetic_seed: int = 0
    sampling_rate_hz: Literal[100, 500] = 100
    is_synthetic: ClassVar[bool] = True
    missing_records: ClassVar[Literal["error", "drop"]] = "error"

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))  # a configuration has it as text

    def prepare(self) -> None:
        """Write the data set, or what is missing of it.

        Raises
        ------
        ConfigError, DataError
            As `ecgcls.data.synthetic.write_synthetic`.
        """
        write_synthetic(
            self.root, n_records=self.n_records, seed=self.synthetic_seed, sampling_rate_hz=self.sampling_rate_hz
        )
        log.warning("data=synthetic: simulated ECGs, not patients'; no number from them says anything about patients")

    def read_records(self) -> pd.DataFrame:
        """Read the table of records."""
        return read_database(self.root, sampling_rate_hz=self.sampling_rate_hz)

    def read_statements(self) -> pd.DataFrame:
        """Read the table of statements."""
        return read_statements(self.root)

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of both tables, by file name."""
        return hash_tables(self.root)
