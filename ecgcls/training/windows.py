"""Windows: parts of a record that a net takes one by one, and how its answers become one.

A net of windows learns from one random window of each record in an epoch, all that the training set reads of it (see
`ecgcls.data.batches`), and answers for a whole record with what it answers for windows that cover it. [1]_ trains on
windows of 2.5 s and averages.

References
----------
.. [1] N. Strodthoff, P. Wagner, T. Schaeffter, W. Samek, "Deep learning for ECG analysis: benchmarks and insights from
       PTB-XL", IEEE JBHI 2021, doi:10.1109/JBHI.2020.3022989.
"""

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgcls.errors import ConfigError

Pooling = Literal["logits", "probabilities", "max"]


@dataclass(frozen=True)
class Windows:
    """How a record is cut into windows, and how their logits become those of the record.

    Windows are spread evenly from the first sample to the last, each half over the one before it or a little more.

    Attributes
    ----------
    n_samples
        Of a window.
    pooling
        ``logits``: their mean; ``probabilities``: the logit of the mean probability; ``max``: the largest logit.
    """

    n_samples: int
    pooling: Pooling = "logits"

    def __post_init__(self) -> None:
        if self.pooling not in get_args(Pooling):
            raise ConfigError(f"data.window_pooling must be {', '.join(get_args(Pooling))}, got {self.pooling!r}")

    def find_starts(self, n_samples: int) -> list[int]:
        """Return the first samples of the windows of a record of `n_samples`.

        Examples
        --------
        >>> Windows(250).find_starts(1000)
        [0, 125, 250, 375, 500, 625, 750]
        >>> Windows(1000).find_starts(1000)
        [0]
        """
        room = n_samples - self.n_samples
        n_steps = ceil(room / max(1, self.n_samples // 2))
        return [round(step * room / n_steps) for step in range(n_steps + 1)] if n_steps else [0]

    def ask(self, net: nn.Module, signal: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Return a net's logits ``(batch, class)`` for whole records ``(batch, lead, sample)``.

        The net is asked once about all windows; those of a record follow each other and share its `metadata`.
        """
        n_windows = len(self.find_starts(signal.shape[-1]))
        if metadata is not None:
            metadata = metadata.repeat_interleave(n_windows, dim=0)
        logits = apply_net(net, self.cut(signal), metadata)
        return self.pool(logits.unflatten(0, (-1, n_windows)))

    def cut(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)`` into windows ``(batch * window, lead, sample)``."""
        starts = self.find_starts(signal.shape[-1])
        return torch.stack([signal[..., start : start + self.n_samples] for start in starts], dim=1).flatten(0, 1)

    def pool(self, logits: Tensor) -> Tensor:
        """Turn logits ``(batch, window, class)`` into ``(batch, class)``."""
        if self.pooling == "max":
            return logits.amax(dim=1)
        if self.pooling == "logits":
            return logits.mean(dim=1)
        positive, negative = (functional.logsigmoid(sign * logits.float()).logsumexp(dim=1) for sign in (1, -1))
        return positive - negative  # the number of windows cancels

    def join(self, values: Tensor, n_samples: int) -> Tensor:
        """Turn values of windows ``(batch * window, lead, sample)`` into those of records, the mean where they overlap.

        Returns
        -------
        Tensor
            ``(batch, lead, n_samples)``.
        """
        starts = self.find_starts(n_samples)
        by_window = values.unflatten(0, (-1, len(starts)))
        total = values.new_zeros(len(by_window), values.shape[1], n_samples)
        n_over = values.new_zeros(n_samples)
        for number, start in enumerate(starts):
            total[..., start : start + self.n_samples] += by_window[:, number]
            n_over[start : start + self.n_samples] += 1
        return total / n_over

    def describe(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


def apply_net(net: nn.Module, signal: Tensor, metadata: Tensor | None, windows: Windows | None = None) -> Tensor:
    """Return a net's logits; one that takes the signal alone is given nothing else.

    With `windows` they are those of whole records, which the net is shown piece by piece.
    """
    if windows is not None:
        return windows.ask(net, signal, metadata)
    logits: Tensor = net(signal) if metadata is None else net(signal, metadata)
    return logits
