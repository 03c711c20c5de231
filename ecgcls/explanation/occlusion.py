"""Occlusion: how much a class's logit falls when a stretch of the ECG is made flat [1]_.

It needs nothing of a net but its answers, neither its layers nor gradients, so that it works on whatever predicts.

Conventions: a signal is ``(lead, sample)`` in mV. A stretch is made flat by the mean of its lead over the whole signal,
which is about 0 once standardized. A value above 0 speaks for the class: without the stretch its logit is lower. What
several stretches cover has the mean of their values.

A value says what the net's answer depends on, not what is wrong with the heart. The edges of a flat stretch are
themselves something that no ECG has; what is there twice (the same change in each beat) may be covered without effect;
and the values of stretches do not add up to the logit.

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
       doi:10.1007/978-3-319-10590-1_53.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

STRETCH_S = 0.2
"""How much is made flat at once in all leads: about a QRS complex with its neighborhood."""
STEP_S = 0.1
"""By how much such stretches are apart."""
LEAD_STRETCH_S = 0.4
"""How much is made flat at once in a single lead, side by side: there are as many more of them as leads."""
UNIT = "change of the logit"
_BATCH_SIZE = 64  # signals in one call, which bounds the memory

Predict = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Takes signals ``(signal, lead, sample)`` in mV, returns logits ``(signal, class)``."""


@dataclass(frozen=True)
class Steps:
    """Stretches of time that are made flat, one after another, in samples."""

    stretch: int
    step: int
    n_samples: int

    @classmethod
    def cut(cls, n_samples: int, sampling_rate_hz: float, *, stretch_s: float, step_s: float) -> "Steps":
        """Count samples; a stretch is no longer than the signal, a step no longer than a stretch."""
        stretch = min(max(1, round(stretch_s * sampling_rate_hz)), n_samples)
        return cls(stretch, min(max(1, round(step_s * sampling_rate_hz)), stretch), n_samples)

    @property
    def starts(self) -> list[int]:
        """Where stretches begin; the last one ends with the signal."""
        last = self.n_samples - self.stretch
        return [*range(0, last, self.step), last]

    def average(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn values ``(stretch, ...)`` into the mean over each step of time, ``(step, ...)``."""
        total = np.zeros((self.n_samples, *values.shape[1:]))
        count = np.zeros(self.n_samples)
        for start, value in zip(self.starts, values, strict=True):
            total[start : start + self.stretch] += value
            count[start : start + self.stretch] += 1
        by_sample = total / count.reshape(-1, *[1] * (values.ndim - 1))
        firsts = np.arange(0, self.n_samples, self.step)
        lengths = np.diff([*firsts, self.n_samples]).reshape(-1, *[1] * (values.ndim - 1))
        mean: NDArray[np.float64] = np.add.reduceat(by_sample, firsts, axis=0) / lengths
        return mean


def occlude_time(predict: Predict, signal_mv: NDArray[np.float32], steps: Steps) -> NDArray[np.float64]:
    """Return how much each class's logit falls without a time, in all leads: ``(step, class)``."""
    return steps.average(_measure(predict, signal_mv, ((start, slice(None)) for start in steps.starts), steps.stretch))


def occlude_leads(predict: Predict, signal_mv: NDArray[np.float32], steps: Steps) -> NDArray[np.float64]:
    """Return the same for each lead alone: ``(step, lead, class)``."""
    n_leads = len(signal_mv)
    places = ((start, slice(lead, lead + 1)) for start in steps.starts for lead in range(n_leads))
    falls = _measure(predict, signal_mv, places, steps.stretch)
    return steps.average(falls.reshape(len(steps.starts), n_leads, -1))


def _measure(
    predict: Predict, signal_mv: NDArray[np.float32], places: Iterable[tuple[int, slice]], stretch: int
) -> NDArray[np.float64]:
    """Return ``(place, class)``: the logits of the signal minus those without a stretch of some leads."""
    whole = predict(signal_mv[None])
    falls = [whole - predict(batch) for batch in _flatten(signal_mv, places, stretch)]
    return np.concatenate(falls)


def _flatten(
    signal_mv: NDArray[np.float32], places: Iterable[tuple[int, slice]], stretch: int
) -> Iterator[NDArray[np.float32]]:
    """Yield batches of the signal, each time with another stretch of some leads made flat."""
    mean_mv = signal_mv.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)  # nan: the lead is not there
    every = iter(places)
    while batch := list(islice(every, _BATCH_SIZE)):
        signals = np.repeat(signal_mv[None], len(batch), axis=0)
        for signal, (start, leads) in zip(signals, batch, strict=True):
            signal[leads, start : start + stretch] = mean_mv[leads]
        yield signals
