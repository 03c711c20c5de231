"""The LightningDataModule: patient-split parts of a data set in PTB-XL's layout, handed out in whole batches."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from ecgcls.data.cohort import Cohort, select_cohort
from ecgcls.data.folds import FoldTable, Part
from ecgcls.data.leakage import Copy, find_copies
from ecgcls.data.ptbxl import hash_tables
from ecgcls.data.signals import LEADS
from ecgcls.data.store import SignalStore, open_store
from ecgcls.data.synthetic import write_synthetic
from ecgcls.data.tasks import Task
from ecgcls.errors import ConfigError, DataError
from ecgcls.fingerprint import hash_records

log = logging.getLogger(__name__)


class Batch(TypedDict):
    """What a loader hands out."""

    signal: Tensor
    """``(batch, lead, sample)`` float32, mV."""
    target: Tensor
    """``(batch, class)`` float32, 0 or 1."""
    record: Tensor
    """``(batch,)`` int64, row numbers of the cohort."""


@dataclass(frozen=True, eq=False)
class Standardization:
    """Each lead's mean and standard deviation, ``(lead,)`` in mV, and of which records.

    Attributes
    ----------
    mean_mv, sd_mv
        Over all samples of the records.
    records_sha256
        `ecgcls.fingerprint.hash_records` of the records they were computed from.
    """

    mean_mv: Tensor
    sd_mv: Tensor
    records_sha256: str


class PTBXLDataModule(pl.LightningDataModule):
    """One fold of a data set in PTB-XL's layout.

    Parameters
    ----------
    root
        The folder with ``ptbxl_database.csv``.
    sampling_rate_hz
        Which signals: ``records100`` or ``records500``.
    missing_records
        What to do with a row whose signal file is missing: ``error`` refuses, ``drop`` leaves the record out and
        counts it.
    copies
        What to do with a waveform that stands in two parts (see `ecgcls.data.leakage`): ``error`` refuses, ``drop``
        leaves the record of the earlier part (train, then val) out and counts it.
    store_dir
        Where the signal store lies; None: beside the data, or in the user's cache folder.
    batch_size
        Records of a step of the optimiser, shared out over the devices of a trainer; the last batch of an epoch may
        be smaller.
    task, folds, fold
        What the classes are, and which records are trained, validated and tested on.
    seed
        Seed of the order of the training records; each epoch has another order.

    Raises
    ------
    ConfigError, DataError
        In `prepare_data` and `setup`, never in the constructor: whatever is wrong with the files or the split.
    """

    def __init__(
        self,
        *,
        root: str,
        task: Task,
        folds: FoldTable,
        fold: int,
        sampling_rate_hz: Literal[100, 500] = 100,
        missing_records: Literal["error", "drop"] = "error",
        copies: Literal["error", "drop"] = "error",
        store_dir: str | None = None,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"data.batch_size must be at least 1, got {batch_size}")
        self.root = Path(root)
        self.task, self.folds, self.fold = task, folds, fold
        self.sampling_rate_hz = sampling_rate_hz
        self.missing_records = missing_records
        self.copies = copies
        self.store_dir = Path(store_dir) if store_dir else None
        self.batch_size = batch_size
        self.seed = seed
        self.lead_names = LEADS

    def check_shared_by(self, n_processes: int) -> None:
        """Refuse a batch that cannot be shared out evenly.

        Raises
        ------
        ConfigError
            Naming the next larger size that can.
        """
        if left := self.batch_size % n_processes:
            raise ConfigError(
                f"data.batch_size={self.batch_size} cannot be shared out evenly over {n_processes} devices; "
                f"{self.batch_size + n_processes - left} can"
            )

    def prepare_data(self) -> None:
        """Check the tables and the split, build the signal store if there is none, and look for copies."""
        self.cohort  # noqa: B018 (reads the tables, then the signals)

    def setup(self, stage: str | None = None) -> None:
        """Read the tables and open the signal store, once."""
        self.cohort  # noqa: B018

    @cached_property
    def cohort(self) -> Cohort:
        """The records of this fold, without copies of one another in different parts."""
        cohort, copies = self._selected, self._copies
        if not copies:
            return cohort
        if self.copies == "error":
            raise DataError(
                f"{self.root}: the same waveform stands in two parts: {copies[0]}; {len(copies)} such pairs. Put them "
                "into one strat_fold, or leave the earlier part's record out with data.copies=drop"
            )
        left_out = {copy.ecg_id for copy in copies}
        log.warning("Left out %d records whose waveform stands in a later part too", len(left_out))
        return cohort.leave_out(left_out)

    @cached_property
    def _copies(self) -> list[Copy]:
        records = self._selected.records
        rows = self.store.find_rows(records.index)
        return find_copies(
            self.store, rows, records["part"].to_numpy(dtype=np.str_), sampling_rate_hz=self.sampling_rate_hz
        )

    @cached_property
    def _selected(self) -> Cohort:
        """The records of this fold, as the tables have them."""
        return select_cohort(
            self.root,
            task=self.task,
            folds=self.folds,
            fold=self.fold,
            sampling_rate_hz=self.sampling_rate_hz,
            missing_records=self.missing_records,
        )

    @cached_property
    def store(self) -> SignalStore:
        """The signals of all records, also of those without a label; built or opened on first use."""
        store = open_store(
            self.root,
            self._selected.filenames,
            sampling_rate_hz=self.sampling_rate_hz,
            store_dir=self.store_dir,
        )
        flat = store.find_flat_leads()
        if flat:
            ecg_id, leads = next(iter(flat.items()))
            log.warning("%d records have a flat lead, the first ecg_id %d (%s)", len(flat), ecg_id, ", ".join(leads))
        return store

    @cached_property
    def _store_rows(self) -> NDArray[np.int64]:
        """The store's row of each record of the cohort."""
        return self.store.find_rows(self.cohort.records.index)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the targets."""
        return self.cohort.class_names

    @property
    def n_samples(self) -> int:
        """Samples of each lead."""
        return self.store.n_samples

    @property
    def standardization(self) -> Standardization:
        """Each lead's mean and standard deviation over the training part."""
        return self.fit_standardization(self.cohort.find_part("train"))

    def fit_standardization(self, rows: NDArray[np.int64]) -> Standardization:
        """Compute each lead's mean and standard deviation over these rows of the cohort."""
        mean, sd = self.store.mean_sd_mv(self._store_rows[rows])
        return Standardization(
            torch.from_numpy(mean).float(),
            torch.from_numpy(sd).float(),
            hash_records(self.cohort.records.index[rows]),
        )

    @property
    def pos_weight(self) -> Tensor:
        """Negatives over positives of each class in the training part, ``(class,)``."""
        y_train = self.cohort.y_true[self.cohort.find_part("train")]
        n_positive = y_train.sum(axis=0)
        return torch.from_numpy((len(y_train) - n_positive) / n_positive).float()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the shuffled training part; the order depends on the seed and the epoch alone.

        Of several processes each has its share of every batch. They do as many steps as one process and see the same
        batches, but for the last one of an epoch, which a few records fill up a second time.
        """
        dataset = self._dataset("train")
        rank, n_processes = self._share
        sampler: DistributedSampler = DistributedSampler(
            dataset,
            num_replicas=n_processes,
            rank=rank,
            shuffle=True,
            # The sampler adds the epoch to its seed: with 0 and 1 as they are, run 1 would repeat run 0 an epoch later.
            seed=int(np.random.SeedSequence(self.seed).generate_state(1)[0]),
        )
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation part in the order of the data set; of several processes each has its share."""
        return self._load_in_order("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test part, like the validation part."""
        return self._load_in_order("test")

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        """Return the parts that a run predicts: validation, then test."""
        return [self.val_dataloader(), self.test_dataloader()]

    @property
    def _share(self) -> tuple[int, int]:
        """The number of this process among those that share the work, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _dataset(self, part: Part) -> "_PartDataset":
        return _PartDataset(self.store, self._store_rows, self.cohort.y_true, self.cohort.find_part(part))

    def _load_in_order(self, part: Part) -> DataLoader[Batch]:
        dataset = self._dataset(part)
        rank, n_processes = self._share
        return self._loader(dataset, range(rank, len(dataset), n_processes))  # each record once, whatever remains

    def _loader(self, dataset: "_PartDataset", sampler: Iterable[int]) -> DataLoader[Batch]:
        _, n_processes = self._share
        # No worker processes: a batch is one copy out of mapped memory.
        return DataLoader(
            dataset,
            batch_size=self.batch_size // n_processes,
            sampler=sampler,
            collate_fn=_keep_batch,
            pin_memory=torch.cuda.is_available(),
        )

    def describe(self) -> dict[str, Any]:
        """Return what the data are and what was left out, ready for JSON."""
        return {
            "root": str(self.root),
            "sampling_rate_hz": self.sampling_rate_hz,
            "n_samples": self.n_samples,
            "lead_names": list(self.lead_names),
            "n_records_with_a_flat_lead": len(self.store.find_flat_leads()),
            **self.cohort.describe(),
            "n_copies_left_out": self.cohort.n_copies_left_out,
            "fingerprint": {"signals": self.store.manifest["content_sha256"], **hash_tables(self.root)},
        }


class SyntheticDataModule(PTBXLDataModule):
    """One fold of a simulated data set, which is written to `root` first if it is not there.

    Parameters
    ----------
    n_records
        How many ECGs to simulate, 50 to 21,799.
    synthetic_seed
        Seed of the simulation; not the seed of the training.
    root, task, folds, fold, sampling_rate_hz, copies, store_dir, batch_size, seed
        As for `PTBXLDataModule`.
    """

    def __init__(
        self,
        *,
        root: str,
        task: Task,
        folds: FoldTable,
        fold: int,
        n_records: int = 1000,
        synthetic_seed: int = 0,
        sampling_rate_hz: Literal[100, 500] = 100,
        copies: Literal["error", "drop"] = "error",
        store_dir: str | None = None,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(
            root=root,
            task=task,
            folds=folds,
            fold=fold,
            sampling_rate_hz=sampling_rate_hz,
            copies=copies,
            store_dir=store_dir,
            batch_size=batch_size,
            seed=seed,
        )
        self.n_records = n_records
        self.synthetic_seed = synthetic_seed

    def prepare_data(self) -> None:
        """Write the simulated data set, then go the way of a real one."""
        if "cohort" in self.__dict__:
            return  # done; a trainer asks again for each of fit, test and predict
        log.warning("data=synthetic: simulated ECGs, not patients'; no number from them says anything about patients")
        write_synthetic(
            self.root,
            n_records=self.n_records,
            seed=self.synthetic_seed,
            sampling_rate_hz=self.sampling_rate_hz,
        )
        super().prepare_data()


class _PartDataset(Dataset[Batch]):
    """The records of one part; a loader asks for a whole batch at once."""

    def __init__(
        self,
        store: SignalStore,
        store_rows: NDArray[np.int64],
        y_true: NDArray[np.bool_],
        rows: NDArray[np.int64],
    ) -> None:
        self._store = store
        self._rows = rows  # of the cohort
        self._store_rows = store_rows[rows]
        self._target = torch.from_numpy(y_true[rows]).float()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        return Batch(
            # Converted by torch, not NumPy: its memory is always aligned alike, and so are the sums that follow.
            signal=torch.from_numpy(self._store.signals_uv[self._store_rows[indices]]).float().mul_(1e-3),
            target=self._target[indices],
            record=torch.from_numpy(self._rows[indices]),
        )


def _keep_batch(batch: Any) -> Batch:
    """Stand in for the collate function: `_PartDataset` hands out whole batches already."""
    return batch
