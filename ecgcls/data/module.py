"""The LightningDataModule: the train, validation and test sets of one fold, loaded in whole batches."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pandas.api.types import is_integer_dtype
from torch import Tensor
from torch.utils.data import DataLoader

from ecgcls.data.batches import Batch, PartDataset, make_loader
from ecgcls.data.cohort import Cohort, Tables, log_left_out, read_tables, select_cohort
from ecgcls.data.folds import LEFT_OUT, Folds, Part
from ecgcls.data.initial import Comparison, Initial, settle_initial
from ecgcls.data.lead_sets import parse_leads
from ecgcls.data.leakage import settle_copies
from ecgcls.data.metadata import read_columns, refuse_empty
from ecgcls.data.reading import Shorter
from ecgcls.data.seen import SeenRecords, list_seen
from ecgcls.data.source import Source
from ecgcls.data.store import SignalStore, open_store
from ecgcls.data.store_writer import count_kinds
from ecgcls.data.tasks import Task
from ecgcls.data.training_size import TrainingSize
from ecgcls.data.usable import LeftOut, find_unusable
from ecgcls.errors import ConfigError
from ecgcls.files import hash_standardizer

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Standardization:
    """Each lead's mean and standard deviation, ``(lead,)`` in mV, over all samples of some records."""

    mean_mv: Tensor
    sd_mv: Tensor
    sha256: str
    """`ecgcls.files.hash_standardizer` of this and of the records' signals."""


class ECGDataModule(pl.LightningDataModule):
    """One fold of a data set. The constructor reads no file; `prepare_data` and `setup` raise what is wrong with them.

    Parameters
    ----------
    source, task, folds, fold
        Where the records come from, what the classes are, and which records are trained, validated and tested on.
    copies
        What to do with a waveform that is in two of train, val and test (see `ecgcls.data.leakage`): ``error`` refuses,
        ``drop`` leaves out and counts the record of the earlier one (train, then val). Copies within one of them stay
        and are counted.
    bad_records
        What to do with records that cannot be used: ``error`` refuses and names the list of them, ``drop`` leaves them
        out and counts them.
    repairs
        What to do with a record that was repaired or is doubtful, see `ecgcls.data.usable.find_unusable`.
    duration_s
        Of every record: longer ones are cut; None: the duration that most records have.
    shorter
        ``refuse`` makes a record that is shorter a bad one, ``pad`` fills it up, see `ecgcls.data.reading`.
    leads
        Which leads, as `ecgcls.data.lead_sets.parse_leads` takes them; None: all twelve. Records need no other leads.
    window_s, window_pooling
        A net's window, and how its answers become that of a record (`ecgcls.training.windows`); None: it takes records.
    store_dir
        Where the signal store is written; None: in the data set's folder, or in the user's cache folder.
    batch_size
        Records per optimizer step, shared by all devices of a trainer; the last batch of an epoch may be smaller. A
        last one of a single record, over which batch normalization fails, is joined to the batch before it.
    n_train, n_train_seed
        How many records to train on, of whole patients (see `ecgcls.data.training_size`), and the seed that draws them;
        None: all. Validation and test are the same for every number.
    seed
        Seed of the order of the training records; each epoch has another order.
    metadata
        Columns of the table that come with each record's signal; they must hold numbers.
    initial
        What the weights have learned from that a training starts from; None: it starts from none.
    """

    def __init__(
        self,
        source: Source,
        *,
        task: Task,
        folds: Folds,
        fold: int,
        copies: Literal["error", "drop"] = "error",
        bad_records: Literal["error", "drop"] = "error",
        repairs: Literal["note", "refuse_doubtful", "refuse"] = "note",
        duration_s: float | None = None,
        shorter: Literal["refuse", "pad"] = "refuse",
        leads: list[str] | str | None = None,
        window_s: float | None = None,
        window_pooling: Literal["logits", "probabilities", "max"] = "logits",
        store_dir: str | None = None,
        batch_size: int = 16,
        n_train: int | None = None,
        n_train_seed: int = 0,
        seed: int = 0,
        metadata: Sequence[str] = (),
        initial: Initial | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"data.batch_size must be at least 1, got {batch_size}")
        if duration_s is not None and not 0.5 <= duration_s <= 600:
            raise ConfigError(f"data.duration_s must be 0.5 to 600 s, or null, got {duration_s}")
        if shorter not in get_args(Shorter):
            raise ConfigError(f"data.shorter must be {' or '.join(get_args(Shorter))}, got {shorter!r}")
        if n_train is None and n_train_seed != 0:
            raise ConfigError(f"data.n_train_seed={n_train_seed} draws nothing without data.n_train")
        self.training_size = None if n_train is None else TrainingSize(n_train, n_train_seed)
        self.source, self.task, self.folds, self.fold = source, task, folds, fold
        self.copies, self.bad_records, self.repairs, self.duration_s = copies, bad_records, repairs, duration_s
        self.shorter, self.window_s, self.window_pooling = shorter, window_s, window_pooling
        self.store_dir = Path(store_dir) if store_dir else None
        self.batch_size, self.seed, self.initial = batch_size, seed, initial
        self.lead_names, self.metadata_names = parse_leads(leads), tuple(metadata)

    def check_shared_by(self, n_processes: int) -> None:
        """Raise ConfigError if the processes cannot share a batch evenly."""
        if left := self.batch_size % n_processes:
            raise ConfigError(
                f"data.batch_size={self.batch_size} cannot be shared out evenly over {n_processes} devices; "
                f"{self.batch_size + n_processes - left} can"
            )

    def prepare_data(self) -> None:
        """Prepare the source, check its tables and the split, build the signal store if needed, and look for copies."""
        if "cohort" not in self.__dict__:  # a trainer calls this again for each of fit, test and predict
            self.source.prepare()
        self.cohort  # noqa: B018 (reads the tables, then the signals)

    def setup(self, stage: str | None = None) -> None:
        """Read the tables and open the signal store, once."""
        self.cohort  # noqa: B018

    @cached_property
    def cohort(self) -> Cohort:
        """The records of this fold, without those left out."""
        return self._settled[0]

    @property
    def compared(self) -> Comparison | None:
        """What the weights that a training starts from have seen of it; None where it starts from none."""
        return self._settled[1]

    @cached_property
    def _settled(self) -> tuple[Cohort, Comparison | None]:
        self._read_metadata(self._select(self._tables))  # what is wrong with tables is said before signals are read
        cohort = self._select(self._tables.leave_out(self._left_out.ecg_ids))
        log_left_out(cohort, fold=self.fold)
        cohort = settle_copies(cohort, self.store, copies=self.copies, root=self.source.root)
        if self.initial is None:
            return cohort, None
        return settle_initial(cohort, self.store, self.initial, root=self.source.root, open_longer=self._open_store)

    def _select(self, tables: Tables) -> Cohort:
        size = self.training_size
        return select_cohort(tables, task=self.task, folds=self.folds, fold=self.fold, training_size=size)

    @cached_property
    def _tables(self) -> Tables:
        return read_tables(self.source)

    @cached_property
    def store(self) -> SignalStore:
        """The signals of all records, also of those that are left out; built or opened on first use."""
        rate_hz = self.source.sampling_rate_hz
        store = self._open_store(None if self.duration_s is None else round(self.duration_s * rate_hz))
        if flat := store.find_flat_leads():
            ecg_id, leads = next(iter(flat.items()))
            log.warning(
                "A lead is flat in %d of the records, the first ecg_id %s (%s)", len(flat), ecg_id, ", ".join(leads)
            )
        return store

    def _open_store(self, n_samples: int | None) -> SignalStore:
        return open_store(
            self.source.root,
            self._tables.database["filename"],
            sampling_rate_hz=self.source.sampling_rate_hz,
            n_samples=n_samples,
            lead_names=self.lead_names,
            shorter=self.shorter,
            store_dir=self.store_dir,
        )

    @cached_property
    def _left_out(self) -> LeftOut:
        return find_unusable(
            self.store,
            self._tables.database,
            known_duplicates=getattr(self.source, "known_duplicates", {}),
            bad_records=self.bad_records,
            repairs=self.repairs,
        )

    @property
    def noted(self) -> pd.DataFrame:
        """What was changed in records of the cohort, or is doubtful, as `SignalStore.repairs`."""
        return self.store.repairs[self.store.repairs["ecg_id"].isin(self.cohort.records.index)]

    @property
    def left_out(self) -> pd.DataFrame:
        """The records that cannot be used or repeat another: ``ecg_id`` and ``reason``."""
        reasons = {ecg_id: f"repeats ecg_id {kept}" for ecg_id, kept in self._left_out.duplicates.items()}
        known = {}
        if self.initial is not None and self.compared is not None:
            known = dict.fromkeys(self.compared.dropped, f"{self.initial.key} has learned from it")
        every = {**self._left_out.bad, **reasons, **known}
        return pd.DataFrame([*every.items()], columns=["ecg_id", "reason"])

    @cached_property
    def seen(self) -> SeenRecords:
        """The waveforms of every usable record by part; of those without a label in the task by what their fold is.

        Patients whom `n_train` has left out are in none: they are as unseen as those of another data set.
        """
        usable = self._tables.leave_out(self._left_out.ecg_ids).database
        part = self.folds.assign(self._tables.every_record, fold=self.fold).loc[usable.index]
        if self.cohort.untrained is not None:
            part = part.mask(usable["patient_id"].isin(self.cohort.untrained), LEFT_OUT)
        is_used = pd.Series(part.index.isin(self.cohort.records.index), part.index)
        seen = list_seen(self.store, part, is_used=is_used)
        return replace(seen, init=self.initial.seen.to_init()) if self.initial and self.initial.seen else seen

    @cached_property
    def _store_rows(self) -> NDArray[np.int64]:
        """The store's row of each record of the cohort."""
        return self.store.find_rows(self.cohort.records.index)

    @cached_property
    def metadata(self) -> NDArray[np.float64]:
        """``(record, column)``: the metadata of each record of the cohort, nan where not known."""
        return self._read_metadata(self.cohort)

    def _read_metadata(self, cohort: Cohort) -> NDArray[np.float64]:
        values = read_columns(cohort.records, self.metadata_names, key="model.metadata")
        refuse_empty(values[cohort.find_part("train")], self.metadata_names, key="model.metadata")
        return values

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the targets."""
        return self.cohort.class_names

    @property
    def n_samples(self) -> int:
        """Samples of each lead."""
        return self.store.n_samples

    @property
    def n_window_samples(self) -> int | None:
        """Samples of each lead that a net of windows takes at a time; None: it takes whole records."""
        if self.window_s is None:
            return None
        n_samples = round(self.window_s * self.source.sampling_rate_hz)
        if not 0 < n_samples < self.n_samples:
            whole_s = self.n_samples / self.source.sampling_rate_hz
            raise ConfigError(
                f"data.window_s must be more than 0 and less than the records' {whole_s:g} s, got {self.window_s:g}"
            )
        return n_samples

    @property
    def standardization(self) -> Standardization:
        """Each lead's mean and standard deviation over the training set."""
        return self.fit_standardization(self.cohort.find_part("train"))

    def fit_standardization(self, rows: NDArray[np.int64]) -> Standardization:
        """Compute each lead's mean and standard deviation over these rows of the cohort."""
        mean, sd = self.store.mean_sd_mv(self._store_rows[rows])
        signals_sha256 = self.seen.hash_signals(self.cohort.records.index[rows])
        digest = hash_standardizer(signals_sha256, mean, sd)
        return Standardization(torch.from_numpy(mean).float(), torch.from_numpy(sd).float(), digest)

    @property
    def pos_weight(self) -> Tensor:
        """Negatives over positives of each class in the training set, ``(class,)``."""
        y_train = self.cohort.y_true[self.cohort.find_part("train")]
        n_positive, n_negative = ((y_train == value).sum(axis=0) for value in (1, 0))  # others are not annotated
        return torch.from_numpy(n_negative / n_positive).float()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the shuffled training set; order and windows depend on the seed and the epoch alone.

        Each of several processes gets its share of every batch. They take as many steps as one process and see the same
        batches, except for the last one of an epoch, which is filled up by repeating a few records.
        """
        return self._load("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation set in the order of the data set; each of several processes gets its share."""
        return self._load("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test set, as the validation set."""
        return self._load("test")

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        """Return the sets that a run predicts: validation, then test."""
        return [self.val_dataloader(), self.test_dataloader()]

    def _load(self, part: Part) -> DataLoader[Batch]:
        rank, n_processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        metadata = self.metadata if self.metadata_names else None
        rows = self.cohort.find_part(part)
        dataset = PartDataset(
            self.store,
            self._store_rows,
            self.cohort.y_true,
            rows,
            metadata,
            n_window_samples=self.n_window_samples if part == "train" else None,
            seed=self.seed,
        )
        return make_loader(
            dataset,
            batch_size=self.batch_size // n_processes,
            rank=rank,
            n_processes=n_processes,
            # The sampler adds the epoch to its seed: with seeds 0 and 1, run 1 would repeat the orders of run 0.
            seed=int(np.random.SeedSequence(self.seed).generate_state(1)[0]) if part == "train" else None,
        )

    def describe(self) -> dict[str, Any]:
        """Return the settings, counts and fingerprints of the data, ready for JSON."""
        described = self.cohort.describe()
        for name, part in described["parts"].items():
            part["signals_sha256"] = self.seen.hash_signals(self.seen.groups[name].ecg_ids)
        return {
            "root": str(self.source.root),
            **({"manifest": str(self.source.manifest)} if hasattr(self.source, "manifest") else {}),
            "sampling_rate_hz": self.source.sampling_rate_hz,
            "n_samples": self.n_samples,
            "lead_names": list(self.lead_names),
            **({"metadata": list(self.metadata_names)} if self.metadata_names else {}),
            **(
                {}
                if (n := self.n_window_samples) is None
                else {"windows": {"n_samples": n, "pooling": self.window_pooling}}
            ),
            **({} if is_integer_dtype(self.cohort.records.index) else {"ids": "text"}),
            "n_records_with_a_flat_lead": len(self.store.find_flat_leads()),
            **described,
            "n_missing_files": self._tables.n_missing_files,
            "n_bad_records": len(self._left_out.bad),
            "n_duplicates_left_out": len(self._left_out.duplicates),
            "repairs": dict(count_kinds(self.noted["what"])),
            "n_copies_left_out": self.cohort.n_copies_left_out,
            "n_copies_within": dict(self.cohort.n_copies_within),
            "fingerprint": {"signals": self.store.manifest["content_sha256"], **self.source.fingerprint()},
        }
