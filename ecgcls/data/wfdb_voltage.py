"""The voltage of a WFDB record's signals, block by block, with late ones moved; checksums are compared at the end."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.wfdb_header import Signal
from ecgcls.data.wfdb_record import MICROVOLT, Part, list_checksums
from ecgcls.data.wfdb_samples import MISSING, iter_blocks
from ecgcls.errors import DataError

_BLOCK_SAMPLES = 2**20  # read at a time
_TOO_LARGE = 32767.5  # microvolts: beyond int16 when rounded (32767.5 itself rounds to 32768)


def compare_checksums(computed: Sequence[int], expected: Sequence[int | None], path: str) -> None:
    """Raise DataError unless the sums of the signals' samples are those expected, modulo 65536, where there are any."""
    if any([e is not None and (c - e) % 65536 for c, e in zip(computed, expected, strict=True)]):  # a list is faster
        says = [e if e is None else e % 65536 for e in expected]
        raise DataError(
            f"{path}: damaged: the samples' checksums are {[c % 65536 for c in computed]}, "
            f"the header says {says} (the wfdb package reads it, and does not compare); fetch the record again"
        )


def iter_microvolt(part: Part) -> Iterator[NDArray[np.int16]]:
    """Yield the chosen signals of a part, ``(lead, sample)`` in microvolt, and verify the checksums of all at the end.

    Checksums are those of the samples as stored, before those of a frame are averaged and late signals moved.
    """
    sums: dict[int, int] = {}
    skews = [signal.coding.skew for signal in part.chosen]
    held: list[NDArray[np.integer]] = []
    n_read = n_given = 0
    for rows in _iter_rows(part):
        for number, samples in rows.items():
            sums[number] = sums.get(number, 0) + int(samples.sum(dtype=np.int64))
            n_new = samples.shape[1]
        n_read += n_new
        chosen = [rows[number] for number in part.order]
        if held:
            chosen = [np.concatenate(pair, axis=1) for pair in zip(held, chosen, strict=True)]
        n = max(0, n_read - part.skew - n_given)  # frames that all the chosen signals have now
        ready = [samples[:, skew : skew + n] for samples, skew in zip(chosen, skews, strict=True)]
        if n:
            yield to_microvolt(ready, part.chosen, part.path) if ready else np.empty((0, n), np.int16)
        held = [samples[:, n:] for samples in chosen] if part.skew else []
        n_given += n
    if part.skew and part.is_filled:
        # What is held begins with the first frame that was not given; of the latest signal there is none left.
        rest = [samples[:, skew:] for samples, skew in zip(held, skews, strict=True)]
        ends = [
            np.concatenate([samples, np.repeat(one[:, -1:], skew, axis=1)], axis=1)
            for samples, one, skew in zip(rest, held, skews, strict=True)
        ]
        yield to_microvolt(ends, part.chosen, part.path)
    compare_checksums([sums[number] for number in sorted(sums)], list_checksums(part.signals), part.path)


def _iter_rows(part: Part) -> Iterator[dict[int, NDArray[np.integer]]]:
    """Yield the samples of all signals, by number, as ``(sample of the frame, frame)``, some frames at a time."""
    block = max(1, _BLOCK_SAMPLES // sum(file.width for file in part.files))
    for blocks in zip(*[iter_blocks(file, part.n_samples, block) for file in part.files], strict=True):
        found: dict[int, NDArray[np.integer]] = {}
        for file, samples in zip(part.files, blocks, strict=True):
            rows = np.ascontiguousarray(samples.T)
            first = 0
            for number, signal in zip(file.numbers, file.signals, strict=True):
                found[number] = rows[first : first + signal.coding.samples_per_frame]
                first += signal.coding.samples_per_frame
        yield found


def to_microvolt(rows: Sequence[NDArray[np.integer]], signals: Sequence[Signal], path: str) -> NDArray[np.int16]:
    """Convert the samples of some signals, each ``(sample of the frame, frame)``, to int16 ``(lead, sample)``.

    Raises
    ------
    DataError
        If a sample is missing, or exceeds the range of int16 microvolts.
    """
    signal_uv = np.empty((len(rows), rows[0].shape[1]), np.int16)
    lost: dict[str, int] = {}
    largest = 0.0
    for row, samples, signal in zip(signal_uv, rows, signals, strict=True):
        missing = MISSING[signal.coding.format]
        if samples.min() == missing:  # always the lowest that there is
            lost[signal.name] = int((samples == missing).any(axis=0).sum())
            continue
        gain, baseline, unit = signal.scale[:3]
        with np.errstate(over="ignore"):  # infinite is too large
            microvolt = np.subtract(samples, baseline, dtype=np.float64)
            microvolt /= gain
            microvolt *= MICROVOLT[unit.casefold()]
        largest = max(largest, float(microvolt.max()), -float(microvolt.min()))
        if largest < _TOO_LARGE:
            np.rint(microvolt[0] if len(microvolt) == 1 else microvolt.mean(axis=0), out=row, casting="unsafe")
    if lost:
        leads = ", ".join(f"{name} ({count})" for name, count in lost.items())
        raise DataError(f"{path}: missing samples (NaN) in {leads}")
    if largest >= _TOO_LARGE:
        raise DataError(
            f"{path}: a sample of {largest / 1000:.6g} mV; an ECG stays within 32.767 mV: check the gain in the header"
        )
    return signal_uv
