"""The simulated data set as a source of records."""

import logging
from dataclasses import dataclass
from typing import ClassVar

from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.synthetic.write import write_synthetic

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Synthetic(PTBXL):
    """Simulated ECGs in PTB-XL's layout, written on first use: a source of records (`ecgcls.data.source.Source`).

    Parameters
    ----------
    root
        The folder they are written to, unless they are there already. It must hold no other data set.
    n_records
        How many ECGs to simulate, 50 to 21,799.
    synthetic_seed
        Seed of the simulation; not the seed of the training.
    sampling_rate_hz, missing_records
        As for `ecgcls.data.ptbxl.PTBXL`.
    """

    n_records: int = 1000
    synthetic_seed: int = 0
    is_synthetic: ClassVar[bool] = True

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
