"""A signal in consecutive blocks: resampled, and cut into windows, without ever being in memory as a whole."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_STEP = 60  # for which the matrices are small
_REACH = 10  # the half length of the filter of scipy's resample_poly, in samples of the lower rate


def resample_blocks(blocks: Iterable[NDArray[Any]], *, from_hz: float, to_hz: float) -> Iterator[NDArray[np.float64]]:
    """Resample consecutive blocks ``(lead, sample)`` by a polyphase filter, which prevents aliasing.

    Each block is filtered with as much of its neighbors as the filter reaches, so that borders leave no trace: the
    result is that of the whole signal. Before its beginning and after its end, the signal is taken as constant.
    """
    up, down, margin = _find_steps(from_hz, to_hz)
    waiting: NDArray[np.float64] | None = None
    n_before = 0  # samples at the beginning of `waiting` that were resampled already
    for block in blocks:
        if waiting is None:
            offset = block[:, :1].astype(np.float64)  # the filter's ripple grows with a signal's distance from 0
            waiting = block - offset
        else:
            waiting = np.concatenate([waiting, block - offset], axis=1)
        n_ready = (waiting.shape[1] - n_before - margin) // down * down
        if n_ready <= 0 or waiting.shape[1] <= 4 * margin:
            continue
        end = n_before + n_ready
        resampled = _resample(waiting[:, : end + margin], up, down)
        yield resampled[:, n_before // down * up : end // down * up] + offset
        kept_from = max(end - margin, 0)
        waiting, n_before = waiting[:, kept_from:].copy(), end - kept_from
    if waiting is not None:
        yield _resample(waiting, up, down)[:, n_before // down * up :] + offset


def resample_beginning(signal: NDArray[Any], n_samples: int, *, from_hz: float, to_hz: float) -> NDArray[np.float64]:
    """Return the first `n_samples` (or all, if there are fewer) of what `resample_blocks` makes of a signal.

    Of a longer signal the rest is not filtered.
    """
    up, down, margin = _find_steps(from_hz, to_hz)
    offset = signal[:, :1].astype(np.float64)
    needed = signal[:, : ceil(n_samples / up) * down + 2 * margin]
    return _resample(needed - offset, up, down)[:, :n_samples] + offset


def _find_steps(from_hz: float, to_hz: float) -> tuple[int, int, int]:
    """Return by how much to resample, up and down, and how many samples the filter reaches to either side."""
    ratio = (Fraction(str(to_hz)) / Fraction(str(from_hz))).limit_denominator(2000)  # off by one sample in hours
    up, down = ratio.numerator, ratio.denominator
    return up, down, ceil(_REACH * max(up, down) / up / down) * down  # a multiple of `down`: a whole sample's time


def _resample(signal: NDArray[np.float64], up: int, down: int) -> NDArray[np.float64]:
    """Return what scipy's resample_poly does with a signal that is constant beyond its ends, to rounding.

    `down` samples become `up` in the same way everywhere. So a block of them is a product with a matrix, in a fraction
    of scipy's time; a block of outputs follows from two neighboring blocks of inputs.
    """
    if up == down:
        return signal
    if max(up, down) > _MAX_STEP:
        from scipy.signal import resample_poly  # takes half a second, and few ECGs need it

        return resample_poly(signal, up, down, axis=1, window=_design_filter(max(up, down)), padtype="edge")
    first, second, n_before = _design_matrices(up, down)
    n_block, n_out = first.shape[0], -(-signal.shape[1] * up // down)
    n_blocks = -(-n_out // first.shape[1])
    blocks = np.empty((len(signal), n_blocks + 1, n_block))
    padded = blocks.reshape(len(signal), -1)
    n_there = min(signal.shape[1], padded.shape[1] - n_before)
    padded[:, :n_before] = signal[:, :1]
    padded[:, n_before : n_before + n_there] = signal[:, :n_there]
    padded[:, n_before + n_there :] = signal[:, -1:]
    out = blocks[:, :-1] @ first
    out += blocks[:, 1:] @ second
    return out.reshape(len(signal), -1)[:, :n_out]


@lru_cache
def _design_matrices(up: int, down: int) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return what two blocks of inputs, one after the other, give of a block of outputs, each ``(input, output)``.

    The third is how many inputs the first block begins before the first output.
    """
    half = _REACH * max(up, down)
    n_before = half // up
    n_periods = -(-(2 * n_before + 2) // down)  # of `down` inputs in a block: as many as the filter reaches
    of_input = np.arange(2 * n_periods * down)[:, None] - n_before
    tap = np.arange(n_periods * up) * down + half - of_input * up
    weights = np.where((tap >= 0) & (tap <= 2 * half), up * _design_filter(max(up, down))[tap.clip(0, 2 * half)], 0.0)
    first, second = np.split(weights, 2)
    return first, second, n_before


@lru_cache
def _design_filter(n_times: int) -> NDArray[np.float64]:
    """Return the filter that scipy's resample_poly has by default, which would design it for every signal."""
    from scipy.signal import firwin

    return np.asarray(firwin(2 * _REACH * n_times + 1, 1 / n_times, window=("kaiser", 5.0)))


def cut_blocks(
    blocks: Iterable[NDArray[np.floating]], n_samples: int
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Cut consecutive blocks ``(lead, sample)`` into windows; the last one ends with the signal, so none is left out.

    Yields
    ------
    The first sample of each window, and the windows ``(window, lead, sample)``. A signal that is shorter than a window
    has none.
    """
    recent: NDArray[Any] | None = None  # what no window has yet, and before it the last window
    n_rest = n_done = 0
    for block in blocks:
        every = block if recent is None else np.concatenate([recent, block], axis=1)
        start = 0 if recent is None else recent.shape[1] - n_rest
        n_windows = (every.shape[1] - start) // n_samples
        stop = start + n_windows * n_samples
        if n_windows:
            windows = every[:, start:stop].reshape(len(every), n_windows, n_samples).transpose(1, 0, 2)
            firsts = [n_done + number * n_samples for number in range(n_windows)]
            yield firsts, np.ascontiguousarray(windows, dtype=np.float32)
        n_done += n_windows * n_samples
        n_rest = every.shape[1] - stop
        recent = every[:, max(stop - n_samples, 0) :].copy()
    if recent is not None and n_rest and recent.shape[1] >= n_samples:
        yield [n_done + n_rest - n_samples], np.ascontiguousarray(recent[None, :, -n_samples:], dtype=np.float32)
