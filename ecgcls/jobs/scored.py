"""What is known of the windows of recordings once the nets have seen them, and what it says of a whole recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.likeness import UNLIKE, Likeness
from ecgcls.data.quality import KINDS, describe_windows, find_noise
from ecgcls.data.seen import SeenRecords
from ecgcls.evaluation.conformal import Conformal

UNLIKE_RATE = 0.01
"""Share of the records of the training data's own source that is called unlike them."""
_N_SHOWN = 3  # ECGs of one recording that the nets have learned from


class Inspected(NamedTuple):
    """What is known of windows without the nets, ``(window, ...)`` in each array; see `Scored`."""

    noise: NDArray[np.bool_]
    p_likeness: NDArray[np.float64]
    oddity: NDArray[np.str_]
    known: NDArray[np.str_]


class Scored(NamedTuple):
    """Windows, ``(window, ...)`` in each array."""

    logits: NDArray[np.float64]
    """``(window, class)``: of the nets' mean probability, each recalibrated."""
    p_values: NDArray[np.float64]
    """``(window, class, 2)``: of the labels no and yes, the mean over the nets; no class where no set is asked for."""
    noise: NDArray[np.bool_]
    """``(window, kind)``: whether it is no ECG, by the kinds of `ecgcls.data.quality.KINDS`."""
    p_likeness: NDArray[np.float64]
    """``(window,)``: of being like the training data, the mean over the nets; 1 where that is not known."""
    oddity: NDArray[np.str_]
    """``(window,)``: in which group of features it is least like them."""
    known: NDArray[np.str_]
    """``(window,)``: which ECG it is of those that the nets have learned from, as `SeenRecords.recognize` says it."""

    @classmethod
    def join(cls, parts: Sequence[Scored]) -> Scored:
        """Put windows one after another."""
        return parts[0] if len(parts) == 1 else cls(*map(np.concatenate, zip(*parts, strict=True)))

    def cut(self, lengths: Sequence[int]) -> list[Scored]:
        """Undo `join`, given the number of windows of each part."""
        ends = np.cumsum(lengths)
        spans = zip(ends - lengths, ends, strict=True)
        return [Scored(*(array[start:end] for array in self)) for start, end in spans]  # type: ignore[arg-type]


def score_quality(
    windows_mv: NDArray[np.float32],
    sampling_rate_hz: float,
    likenesses: Sequence[Likeness],
    lead_names: Sequence[str] = LEADS,
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.str_]]:
    """Return noise, p-values of likeness and oddities of windows, as `Scored` has them.

    Of windows whose leads are not all there (nan) the likeness is not known.
    """
    is_there = ~np.isnan(windows_mv[:, :, 0])
    if not is_there.all():
        return _score_parts(windows_mv, sampling_rate_hz, likenesses, lead_names, is_there)
    features = describe_windows(windows_mv, sampling_rate_hz, lead_names)
    noise = find_noise(features)
    p_likeness, oddity = np.ones(len(windows_mv)), np.full(len(windows_mv), "", dtype="<U16")
    if likenesses:
        measured = [likeness.measure(features) for likeness in likenesses]
        each = [likeness.find_p(distances) for likeness, (distances, _) in zip(likenesses, measured, strict=True)]
        p_likeness, oddity = np.mean(each, axis=0), measured[0][1].astype("<U16")
    return noise, p_likeness, oddity


def _score_parts(
    windows_mv: NDArray[np.float32],
    sampling_rate_hz: float,
    likenesses: Sequence[Likeness],
    lead_names: Sequence[str],
    is_there: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.str_]]:
    """Score windows that have the same leads together."""
    n_windows = len(windows_mv)
    noise, p_likeness = np.zeros((n_windows, len(KINDS)), bool), np.ones(n_windows)
    oddity = np.full(n_windows, "", dtype="<U16")
    for leads in np.unique(is_there, axis=0):
        rows = (is_there == leads).all(axis=1)
        names = [name for name, is_one in zip(lead_names, leads, strict=True) if is_one]
        known = likenesses if leads.all() else ()
        noise[rows], p_likeness[rows], oddity[rows] = score_quality(
            windows_mv[rows][:, leads], sampling_rate_hz, known, names
        )
    return noise, p_likeness, oddity


def recognize(
    windows_mv: NDArray[np.float32],
    sampling_rate_hz: float,
    seen: SeenRecords | None,
    lead_names: Sequence[str] = LEADS,
) -> NDArray[np.str_]:
    """Return which of the ECGs that the nets have learned from each window is; empty where that is not known."""
    if seen is None:
        return np.full(len(windows_mv), "")
    return seen.recognize(windows_mv, sampling_rate_hz=int(sampling_rate_hz), lead_names=lead_names)


def average_p_values(conformals: Sequence[Conformal], y_score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(window, class, 2)``, the mean over the nets, of their scores ``(net, window, class)``."""
    each = [conformal.find_p(scores) for conformal, scores in zip(conformals, y_score, strict=True)]
    mean: NDArray[np.float64] = np.mean(each, axis=0)
    return mean


def describe_known(scored: Scored) -> str:
    """Return which ECGs the windows are of those that the nets have learned from, in words; empty if none is."""
    known = [str(text) for text in dict.fromkeys(scored.known.tolist()) if text]
    which = ", ".join(known[:_N_SHOWN]) + ", ..." * (len(known) > _N_SHOWN)
    return f"an ECG that the run has learned from: ecg_id {which}" if known else ""


def describe_unusable(scored: Scored, lost: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Return what speaks against a recording, in words, and whether most of it, or a part of it, cannot be used.

    What is `lost` comes from the recording (`ecgcls.data.recordings.Prepared`), the rest from its windows.
    Single windows of a long recording that are unlike the training data are not told: of many, some always are.
    """
    is_unlike = scored.p_likeness <= UNLIKE_RATE
    if not lost and not scored.noise.any() and not is_unlike.any():
        return (), False
    n_windows = len(scored.noise)
    texts = [f"not all of the ECG is there: {text}" for text in lost]
    is_most = bool(lost) or bool(2 * scored.noise.any(axis=1).sum() > n_windows)
    for text, is_it in zip(KINDS.values(), scored.noise.T, strict=True):
        if n_found := int(is_it.sum()):
            where = "" if n_found == n_windows == 1 else f" in {n_found} of {n_windows} windows"
            texts.append(f"no usable ECG{where}: {text}")
    if 2 * is_unlike.sum() > n_windows:
        groups, counts = np.unique(scored.oddity[is_unlike], return_counts=True)
        texts.append(
            f"unlike the training data: {UNLIKE[str(groups[counts.argmax()])]}, as in at most {UNLIKE_RATE:.0%} of "
            "their source's ECGs"
        )
        is_most = True
    return tuple(texts), is_most
