"""The metric that decides which epoch is kept: whether it exists, and whether it said anything."""

import logging
from collections.abc import Sequence

import pandas as pd

from ecgcls.errors import ConfigError
from ecgcls.identity import suggest

log = logging.getLogger(__name__)

_OTHER = "choose another, as in callbacks.checkpoint.monitor=val/loss callbacks.checkpoint.mode=min"


def check_monitor(key: str, monitor: object, known: Sequence[str]) -> None:
    """Refuse a metric that no epoch will have; `key` is the setting that names it."""
    if monitor not in known:
        raise ConfigError(f"{key}: no metric {monitor}{suggest(str(monitor), known)}")


def check_scores(history: pd.DataFrame, monitor: str) -> None:
    """Hold the epochs' values of the metric that chooses the best: none is a `ConfigError`, a missing one a warning."""
    if monitor.startswith("val/"):  # not every epoch need be validated
        history = history[history["val/loss"].notna()]
    values = history[monitor] if monitor in history else pd.Series(dtype=float)
    if values.isna().all():
        raise ConfigError(
            f"callbacks.checkpoint.monitor: {monitor} is nan in every epoch, so there is no best one"
            f"{' (no class of the validation set has a positive and a negative record?)' * monitor.startswith('val/')}"
            f"; {_OTHER}"
        )
    if values.isna().any():
        missing = [str(epoch + 1) for epoch in history.loc[values.index[values.isna()], "epoch"].astype(int)]
        log.warning("%s is nan in epoch %s: these were not candidates for the best", monitor, ", ".join(missing))


def refuse_unscorable(monitor: str) -> None:
    """Refuse to train when no class of the validation set can be scored by the metric that chooses the best epoch."""
    raise ConfigError(
        f"callbacks.checkpoint.monitor: {monitor} would be nan in every epoch: no class of the validation set has both "
        f"a positive and a negative record; {_OTHER}"
    )
