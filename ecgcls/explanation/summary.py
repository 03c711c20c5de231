"""What holds over many maps of a class: each lead's share of the attribution, and the mean around the R peak.

Conventions: maps and signals are ``(record, lead, sample)``; every record weighs the same in a lead's share and in a
phase's, every beat in the mean beat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.explanation.beats import align_beats, phase_shares


@dataclass(frozen=True)
class ClassSummary:
    """One method's maps of records that have a class.

    Attributes
    ----------
    n_records, n_beats
        How many records have a map that is not empty, and how many whole beats these have together.
    lead_shares
        ``(lead,)``: of the magnitude; they sum to 1.
    times_s
        ``(sample,)``, from the R peak.
    attribution, signal_mv
        ``(lead, sample)``: means over the beats; empty without beats.
    phase_shares, phase_times
        By phase of the beat: share of the magnitude, and of the time, which a map that is the same everywhere would
        have; no phase without beats.
    """

    n_records: int
    n_beats: int
    lead_shares: NDArray[np.float64]
    times_s: NDArray[np.float64]
    attribution: NDArray[np.float64]
    signal_mv: NDArray[np.float64]
    phase_shares: dict[str, float]
    phase_times: dict[str, float]


def summarize_maps(
    values: NDArray, signal_mv: NDArray, peaks: Sequence[NDArray[np.int64]], *, sampling_rate_hz: float
) -> ClassSummary:
    """Summarize the maps of some records, without empty ones: a Grad-CAM is empty where nothing speaks for the class.

    `peaks` holds the sample numbers of each record's R peaks.
    """
    lead_sums, n_records = np.zeros(values.shape[1]), 0
    beats, signals, shares, times = [], [], [], []
    times_s = np.empty(0)
    for one_map, one_signal, one_peaks in zip(values, signal_mv, peaks, strict=True):
        magnitude = np.abs(one_map).sum(axis=1)
        if not magnitude.any():
            continue
        n_records += 1
        lead_sums += magnitude / magnitude.sum()
        times_s, of_map = align_beats(one_map, one_peaks, sampling_rate_hz=sampling_rate_hz)
        _, of_signal = align_beats(one_signal, one_peaks, sampling_rate_hz=sampling_rate_hz)
        if len(of_map):
            beats.append(of_map)
            signals.append(of_signal)
            shares.append(phase_shares(one_map, one_peaks, sampling_rate_hz=sampling_rate_hz))
            times.append(phase_shares(np.ones_like(one_map), one_peaks, sampling_rate_hz=sampling_rate_hz))
    return ClassSummary(
        n_records=n_records,
        n_beats=sum(map(len, beats)),
        lead_shares=lead_sums / max(n_records, 1),
        times_s=times_s,
        attribution=np.concatenate(beats).mean(axis=0) if beats else np.empty((0, 0)),
        signal_mv=np.concatenate(signals).mean(axis=0) if signals else np.empty((0, 0)),
        phase_shares=_average(shares),
        phase_times=_average(times),
    )


def tabulate_leads(summaries: Mapping[tuple[str, str], ClassSummary], lead_names: Sequence[str]) -> pd.DataFrame:
    """Make a table of a row per method, class and lead: its share of the attribution."""
    rows = [
        (method, class_name, lead, share, summary.n_records)
        for (method, class_name), summary in summaries.items()
        for lead, share in zip(lead_names, summary.lead_shares, strict=True)
    ]
    return pd.DataFrame(rows, columns=["method", "class", "lead", "share", "n_records"])


def tabulate_beats(summaries: Mapping[tuple[str, str], ClassSummary]) -> pd.DataFrame:
    """Make a table of a row per method and class: each phase's share of the attribution and of the time."""
    rows = [
        {"method": method, "class": class_name, "n_records": summary.n_records, "n_beats": summary.n_beats}
        | {f"{phase}_share": share for phase, share in summary.phase_shares.items()}
        | {f"{phase}_time": share for phase, share in summary.phase_times.items()}
        for (method, class_name), summary in summaries.items()
    ]
    return pd.DataFrame(rows)


def _average(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in (rows[0] if rows else ())}
