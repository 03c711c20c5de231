"""A recording as numbers for drawing: its leads as recorded, in standard order, bounded in rate and length."""

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.lead_names import find_available, put_leads_in_order, standardize_names
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.recordings import Recording
from ecgcls.data.resampling import resample_blocks
from ecgcls.errors import ConfigError, DataError
from ecgcls.serving.answers import Drawing, DrawnLead

MAX_DRAWN_S = 30.0
MAX_DRAWN_HZ = 500.0


def draw(recording: Recording, lead_names: tuple[str, ...], *, from_s: float = 0.0) -> Drawing:
    """Return the standard leads that a recording has, or that follow from those; else those of `lead_names` alone.

    ConfigError if the drawn part would begin after the end.
    """
    rate_hz, n_samples = recording.sampling_rate_hz, recording.signal_mv.shape[1]
    start = round(from_s * rate_hz) if 0 <= from_s < n_samples / rate_hz else n_samples
    if start >= n_samples:
        raise ConfigError(f"draw_from_s must be from 0 to below {n_samples / rate_hz:g} s, got {from_s:g}")
    names, signal = _choose_leads(recording, lead_names)
    part: NDArray[np.floating] = signal[:, start : start + round(MAX_DRAWN_S * rate_hz)]
    duration_s = part.shape[1] / rate_hz
    drawn_hz = min(rate_hz, MAX_DRAWN_HZ)
    notes = []
    is_whole = part.shape[1] == n_samples
    if not is_whole:
        notes.append(f"{duration_s:g} s of {n_samples / rate_hz:g} s are drawn")
    if drawn_hz < rate_hz:
        part = np.concatenate(list(resample_blocks([part], from_hz=rate_hz, to_hz=drawn_hz)), axis=1)
        notes.append(
            f"recorded at {rate_hz:g} Hz and drawn at {drawn_hz:g} Hz: narrow spikes, as of a pacemaker, look lower"
        )
    there = {*standardize_names(tuple(recording.lead_names))}
    rounded = np.round(part.astype(np.float64), 3)
    return Drawing(
        leads=[
            DrawnLead(name=name, is_derived=name not in there, mv=_to_list(row))
            for name, row in zip(names, rounded, strict=True)
        ],
        sampling_rate_hz=drawn_hz,
        start_s=start / rate_hz,
        duration_s=duration_s,
        is_whole=is_whole,
        is_resampled=drawn_hz < rate_hz,
        note="; ".join(notes),
    )


def _choose_leads(recording: Recording, lead_names: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.floating]]:
    for wanted in (LEADS, lead_names):
        names = find_available(recording.lead_names, wanted)
        try:
            return names, put_leads_in_order(recording.signal_mv, recording.lead_names, names)[0]
        except DataError:  # one that the nets do not take is given twice
            continue
    return (), recording.signal_mv[:0]


def _to_list(row: NDArray[np.float64]) -> list[float | None]:
    """Return numbers; None for a missing sample, which only a lead that the nets do not take can have."""
    values: list[float | None] = row.tolist()
    return [None if value != value else value for value in values] if np.isnan(row).any() else values
