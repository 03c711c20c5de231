"""Bring together what the processes that train one net have each computed."""

from typing import Any

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor


def gather_rows(rows: Tensor, values: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Bring row numbers ``(record,)`` and their values ``(record, ...)`` of all processes together, in ascending order.

    No row is in two processes. A process that is alone gets back what it gave.
    """
    own = (rows.numpy(), values.numpy())
    if not _are_several():
        return own
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, own)  # unlike all_gather, of unequal lengths
    all_rows, all_values = (np.concatenate(parts) for parts in zip(*shares, strict=True))
    order = np.argsort(all_rows)
    return all_rows[order], all_values[order]


def average(mean: Tensor, weight: Tensor | int) -> Tensor:
    """Return the mean over all processes, from the scalar mean of this one and the weight that it has."""
    if not _are_several():
        return mean
    weighted = torch.stack([mean * weight, torch.as_tensor(weight).to(mean)])
    torch.distributed.all_reduce(weighted)
    return weighted[0] / weighted[1]


def leave_group() -> None:
    """End the communication of the processes together; one that ended by itself, later, might abort."""
    if _are_several():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _are_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
