"""What a loader yields, and the sets that it takes whole batches from."""

import logging
import zlib
from collections.abc import Iterator
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, Sampler

from ecgcls.data.store import SignalStore

log = logging.getLogger(__name__)


class Batch(TypedDict):
    """What a loader yields."""

    signal: Tensor
    """``(batch, lead, sample)`` float32, mV: whole records, or one window of each."""
    target: Tensor
    """``(batch, class)`` float32: 0, 1, or below 0 where nobody knows."""
    record: Tensor
    """``(batch,)`` int64, row numbers of the cohort."""
    metadata: NotRequired[Tensor]
    """``(batch, column)`` float32, nan where not known; only where columns are asked for."""


class JoinedBatches(BatchSampler):
    """Batches of a training set, the last of which would have one record and is joined to the one before it."""

    def __init__(self, sampler: Sampler[int], batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)

    def __iter__(self) -> Iterator[list[int]]:
        *batches, last = super().__iter__()  # not before the first is asked for: a trainer sets the epoch late
        batches[-1] += last
        yield from batches

    def __len__(self) -> int:
        return super().__len__() - 1


class TrainingOrder(DistributedSampler[int]):
    """The order of the training records in an epoch, which the data set is told of as well."""

    dataset: "PartDataset"

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, from 0; a trainer does it, also where it goes on with one."""
        super().set_epoch(epoch)
        self.dataset.set_epoch(epoch)


class PartDataset(Dataset[Batch]):
    """The train, validation or test set: rows of a cohort; a loader requests a whole batch at once.

    Parameters
    ----------
    store, store_rows
        The signals, and the store's row of each record of the cohort.
    y_true, metadata
        ``(record, class)`` and ``(record, column)`` of the cohort.
    rows
        Of the cohort: the records of this set.
    n_window_samples
        Of the one window that is read of each record, in each epoch from another random sample on; None: whole records.
    seed
        Of these samples. They follow from it, from the epoch and from the record's place in `rows`, whatever the
        batches and processes are.
    """

    def __init__(
        self,
        store: SignalStore,
        store_rows: NDArray[np.int64],
        y_true: NDArray[np.int8],
        rows: NDArray[np.int64],
        metadata: NDArray[np.float64] | None,
        *,
        n_window_samples: int | None = None,
        seed: int = 0,
    ) -> None:
        self._store = store
        self._rows = rows  # of the cohort
        self._store_rows = store_rows[rows]
        self._target = torch.from_numpy(y_true[rows]).float()
        self._metadata = None if metadata is None else torch.from_numpy(metadata[rows]).float()
        self._n_window_samples, self._seed = n_window_samples, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw where each record's window starts."""
        if self._n_window_samples is not None:
            generator = np.random.default_rng((self._seed, zlib.crc32(b"window"), epoch))
            n_starts = self._store.n_samples - self._n_window_samples + 1
            self._starts = generator.integers(n_starts, size=len(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        batch = Batch(
            signal=torch.from_numpy(self._read_mv(indices)),
            target=self._target[indices],
            record=torch.from_numpy(self._rows[indices]),
        )
        if self._metadata is not None:
            batch["metadata"] = self._metadata[indices]
        return batch

    def _read_mv(self, indices: list[int]) -> NDArray[np.float32]:
        rows = self._store_rows[indices]
        if self._n_window_samples is None:
            return self._store.read_mv(rows)
        return self._store.read_windows_mv(rows, self._starts[indices], n_samples=self._n_window_samples)


def make_loader(
    dataset: PartDataset, *, batch_size: int, rank: int, n_processes: int, seed: int | None
) -> DataLoader[Batch]:
    """Return a loader of one process's share of a set, in an order that follows from a seed and the epoch.

    Without a `seed` the order is that of the data set. Of several processes, each then gets every record once; in
    another order the last batch of an epoch is filled up by repeating a few records.
    """
    batches: dict[str, Any] = {"batch_size": batch_size, "sampler": range(rank, len(dataset), n_processes)}
    if seed is not None:
        sampler = TrainingOrder(dataset, num_replicas=n_processes, rank=rank, shuffle=True, seed=seed)
        batches["sampler"] = sampler
        if batch_size > 1 and len(sampler) > batch_size and len(sampler) % batch_size == 1:
            log.info("The last batch of each epoch would have one record, which joins the batch before it")
            batches = {"batch_sampler": JoinedBatches(sampler, batch_size)}
    # No worker processes: a batch is a single copy from mapped memory.
    return DataLoader(
        dataset,
        **batches,
        collate_fn=lambda batch: batch,  # the data set returns whole batches
        pin_memory=torch.cuda.is_available(),
    )
