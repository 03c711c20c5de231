"""Signal stores for tests whose signals are not in any file."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.store import SignalStore


def hold(store: SignalStore, signals_uv: NDArray, **changed) -> SignalStore:
    """A store of other signals ``(record, lead, sample)``."""
    signals_uv = np.clip(signals_uv, -32767, 32767).astype(np.int16)
    exact = signals_uv.astype(np.int64)
    sums = {"sums_uv": exact.sum(axis=-1), "squares_uv": (exact**2).sum(axis=-1)}
    return replace(store, signals_uv=signals_uv, **sums, **changed)


def alter(
    store: SignalStore, change: Callable[[NDArray], NDArray], *, offset: int = 0, sampling_rate_hz: int | None = None
) -> SignalStore:
    """The same records, each signal ``(lead, sample)`` changed, `offset` added to each ecg_id."""
    manifest = store.manifest | ({"sampling_rate_hz": sampling_rate_hz} if sampling_rate_hz else {})
    signals = np.stack([change(signal) for signal in store.signals_uv.astype(float)])
    return hold(store, signals, ecg_ids=store.ecg_ids + offset, manifest=manifest)
