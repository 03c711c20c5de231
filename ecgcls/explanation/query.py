"""What is to be explained: some records, each with one class of a net.

Conventions: signals are ``(record, lead, sample)`` in mV. What an ECG deviates from, its *baseline*, is the input that
carries no information: each lead's mean over the training set (0 once standardized), not 0 mV.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ecgcls.errors import ConfigError

BATCH_SIZE = 32
"""Signals that go through the net at once, which bounds the memory."""


@dataclass(frozen=True)
class Query:
    """Some records, each with the class whose logit is explained; built by `make_query`.

    Attributes
    ----------
    net
        Takes ``(record, lead, sample)`` in mV and returns logits ``(record, class)``; in eval mode.
    signal_mv
        ``(record, lead, sample)``.
    class_index
        ``(record,)``, counted from 0.
    baseline_mv, sd_mv
        ``(lead, 1)``: each lead's mean and standard deviation over the training set.
    sampling_rate_hz
        Of the signals.
    """

    net: nn.Module
    signal_mv: Tensor
    class_index: Tensor
    baseline_mv: Tensor
    sd_mv: Tensor
    sampling_rate_hz: float

    def __len__(self) -> int:
        return len(self.class_index)

    @property
    def deviation_mv(self) -> Tensor:
        """``(record, lead, sample)``: the signal minus the baseline, which Captum takes to be 0."""
        return self.signal_mv - self.baseline_mv

    def logits(self, deviation_mv: Tensor) -> Tensor:
        """Return ``(record, class)`` for deviations from the baseline."""
        logits: Tensor = self.net(self.baseline_mv + deviation_mv)
        return logits

    def class_logits(self, deviation_mv: Tensor) -> Tensor:
        """Return ``(record,)``: the logit of each record's class."""
        return self.logits(deviation_mv).gather(1, self.class_index[:, None])[:, 0]

    def take(self, rows: Tensor | slice) -> "Query":
        """Return some of the records."""
        return replace(self, signal_mv=self.signal_mv[rows], class_index=self.class_index[rows])

    def split(self, n_records: int) -> Iterator["Query"]:
        """Yield the records in batches of `n_records`."""
        for start in range(0, len(self), n_records):
            yield self.take(slice(start, start + n_records))


def make_query(
    net: nn.Module,
    signal_mv: Tensor | ArrayLike,
    class_index: ArrayLike,
    *,
    baseline_mv: Tensor | ArrayLike,
    sd_mv: Tensor | ArrayLike,
    sampling_rate_hz: float,
) -> Query:
    """Bring everything to the net's device and check that it fits together; see `Query` for the arguments.

    Raises
    ------
    ConfigError
        A shape disagrees, the net has no such class, or it is in training mode.
    """
    if any(module.training for module in net.modules()):
        raise ConfigError(
            "the net is in training mode: dropout and batch statistics change its outputs; call net.eval()"
        )
    parameter = next(net.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    signal, baseline, sd = (_to_tensor(values, device) for values in (signal_mv, baseline_mv, sd_mv))
    classes = torch.as_tensor(np.asarray(class_index), dtype=torch.int64, device=device)
    if signal.ndim != 3 or not signal.numel():
        raise ConfigError(f"signal_mv must be (record, lead, sample), got {tuple(signal.shape)}")
    n_records, n_leads, _ = signal.shape
    if classes.shape != (n_records,):
        raise ConfigError(f"class_index must have one class per record, ({n_records},), got {tuple(classes.shape)}")
    for name, values in (("baseline_mv", baseline), ("sd_mv", sd)):
        if values.shape != (n_leads, 1):
            raise ConfigError(f"{name} must be (lead, 1), ({n_leads}, 1), got {tuple(values.shape)}")
    with torch.no_grad():
        n_classes = net(signal[:1]).shape[1]
    if not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
        raise ConfigError(f"class_index must be in 0..{n_classes - 1}, got {sorted(set(classes.tolist()))}")
    return Query(net, signal, classes, baseline, sd, sampling_rate_hz)


def count_samples(name: str, seconds: float, *, sampling_rate_hz: float) -> int:
    """Turn the setting `name`, a time in seconds, into samples.

    Raises
    ------
    ConfigError
        It is shorter than one sample.
    """
    n_samples = round(seconds * sampling_rate_hz)
    if n_samples < 1:
        raise ConfigError(f"{name} must be at least one sample, {1 / sampling_rate_hz:g} s, got {seconds:g}")
    return n_samples


def _to_tensor(values: Tensor | ArrayLike, device: torch.device) -> Tensor:
    """Bring a tensor or an array, which may be read-only, to a device as float32 without a history."""
    tensor = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float32))
    return tensor.to(device, torch.float32)
