"""The samples of WFDB signal files, in all formats of signal(5) [1]_, block by block.

Conventions: a block is ``(frame, sample of the frame)``; a frame has one sample of each signal of the file, or as many
as the header says. Sizes are compared with the header before anything is read.

References
----------
.. [1] WFDB signal formats, https://physionet.org/physiotools/wag/signal-5.htm
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.regular_files import measure_file
from ecgcls.data.wfdb_header import Signal
from ecgcls.errors import DataError

MISSING = {
    **{8: None, 16: -(2**15), 24: -(2**23), 32: -(2**31), 61: -(2**15), 80: -(2**7), 160: -(2**15), 212: -(2**11)},
    **{310: -(2**9), 311: -(2**9), 508: -(2**7), 516: -(2**15), 524: -(2**23)},
}
"""Each format's mark of a missing sample."""

_FORMATS = ", ".join(map(str, MISSING))
_PACKED = {8: (1, 1), 16: (2, 1), 24: (3, 1), 32: (4, 1), 61: (2, 1), 80: (1, 1), 160: (2, 1)} | {
    **{212: (3, 2), 310: (4, 3), 311: (4, 3)}
}  # bytes of so many samples
_FLAC = {508: 8, 516: 16, 524: 24}  # bits
_FLAC_BITS = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}
_BLOCK_SAMPLES = 2**21
_MAX_FLAC_BYTES = 2**26  # of samples, whatever the size of the file
_MAX_FLAC_RATIO = 500  # bytes of samples in one of the file: more than any signal but a constant one


class SignalFile(NamedTuple):
    """A signal file and the signals in it, by their numbers in the header."""

    path: str
    numbers: list[int]
    signals: list[Signal]

    @property
    def width(self) -> int:
        """The samples of a frame."""
        return sum(signal.coding.samples_per_frame for signal in self.signals)


def list_files(folder: str, signals: tuple[Signal, ...], path: str) -> list[SignalFile]:
    """Group the signals of a header by file; those of format 0 have none. `path` names the record in errors."""
    files: dict[str, SignalFile] = {}
    for number, signal in enumerate(signals):
        coding = signal.coding
        if coding.format == 0:
            continue
        if coding.format not in MISSING:
            raise DataError(f"{path}: the format of {signal.file_name} must be one of {_FORMATS}, got {coding.format}")
        file = files.setdefault(signal.file_name, SignalFile(f"{folder}{signal.file_name}", [], []))
        file.numbers.append(number)
        file.signals.append(signal)
        first = file.signals[0].coding
        if coding.format != first.format or coding.offset not in (0, first.offset):
            raise DataError(f"{path}: the signals of {signal.file_name} differ in their format or offset")
    return [*files.values()]


def measure_frames(file: SignalFile) -> int:
    """Return how many whole frames a file holds."""
    coding = file.signals[0].coding
    if coding.format in _FLAC:
        with _open_flac(file) as flac:
            return max(0, flac.frames - coding.offset) // file.signals[0].coding.samples_per_frame
    n_bytes, n_samples = _PACKED[coding.format]
    size = measure_file(file.path, "signal file") - coding.offset
    return max(0, size) * n_samples // n_bytes // file.width


def check_size(file: SignalFile, n_frames: int) -> None:
    """Compare a file's size with its header.

    Raises
    ------
    DataError
        If it has another one. What fills the last group of a packed format, or the last block, may follow.
    """
    coding = file.signals[0].coding
    if coding.format in _FLAC:
        if (found := measure_frames(file)) != n_frames or not n_frames:
            raise _refuse_size(file, n_frames, f"{n_frames} frames", f"{found} frames")
        return
    n_bytes, n_samples = _PACKED[coding.format]
    expected = coding.offset + count_bytes(coding.format, n_frames * file.width)
    size = measure_file(file.path, "signal file")
    padding = max(n_bytes if n_samples > 1 else 1, *[signal.block_size for signal in file.signals])
    if not expected <= size < expected + padding or not n_frames:
        more = ", of which the wfdb package reads the first" if size > expected else ""
        raise _refuse_size(file, n_frames, f"{expected} bytes", f"{size} bytes{more}")


def count_bytes(format_: int, n_samples: int) -> int:
    """Return the bytes of so many samples; formats 310 and 212 end within a group of samples."""
    n_bytes, in_group = _PACKED[format_]
    return -(-n_samples * n_bytes // in_group) + (format_ == 310 and n_samples % 3 == 2)


def iter_blocks(file: SignalFile, n_frames: int, block: int) -> Iterator[NDArray[np.integer]]:
    """Yield all frames of a file, `block` at a time, as ``(frame, sample of the frame)``."""
    if file.signals[0].coding.format in _FLAC:
        yield from _iter_flac(file, n_frames, block)
        return
    format_, offset = file.signals[0].coding.format, file.signals[0].coding.offset
    n_bytes, in_group = _PACKED[format_]
    before = [(signal.initial_value + 2**31) % 2**32 - 2**31 for signal in file.signals]  # of format 8: differences
    try:
        with open(file.path, "rb", buffering=0) as opened:  # noqa: PTH123 (a text, not a Path)
            for start in range(0, n_frames, block):
                first, end = start * file.width, min(start + block, n_frames) * file.width
                ahead = first % in_group
                opened.seek(offset + (first - ahead) // in_group * n_bytes)
                expected = count_bytes(format_, end - first + ahead)
                data = opened.read(expected)
                while len(data) < expected and (more := opened.read(expected - len(data))):
                    data += more
                if len(data) < expected:
                    raise _refuse_size(file, n_frames, f"{expected} bytes from byte {start}", f"{len(data)}")
                frames = decode(data, format_)[ahead : ahead + end - first].reshape(-1, file.width)
                if format_ == 8:
                    frames, before = _sum_differences(frames, before, file.signals)
                yield frames
    except OSError as error:
        raise DataError(f"{file.path}: the signal file cannot be read ({error.strerror})") from error


def decode(data: bytes, format_: int) -> NDArray[np.integer]:
    """Decode the samples of some bytes; the last group of a packed format may lack its end."""
    if format_ in (16, 32, 61, 8):
        return np.frombuffer(data, {16: "<i2", 32: "<i4", 61: ">i2", 8: "i1"}[format_])
    if format_ == 80:
        return np.frombuffer(data, np.uint8).astype(np.int16) - 128
    if format_ == 160:
        return np.frombuffer(data, "<u2").astype(np.int32) - 32768
    size = _PACKED[format_][0]
    data += bytes(-len(data) % size)
    groups = np.frombuffer(data, np.uint8).reshape(-1, size)
    if format_ == 24:
        wide = np.zeros((len(groups), 4), np.uint8)
        wide[:, 1:] = groups
        return wide.view("<i4")[:, 0] >> 8
    if format_ == 212:
        low, middle, high = groups.astype(np.int16).T
        pairs = np.stack([low | (middle & 15) << 8, high | (middle >> 4) << 8], axis=1)
        return ((pairs ^ 2048) - 2048).ravel()
    if format_ == 310:
        first, second = np.frombuffer(data, "<u2").astype(np.int16).reshape(-1, 2).T
        triples = [first >> 1 & 1023, second >> 1 & 1023, (first >> 11 & 31) | (second >> 11 & 31) << 5]
    else:  # 311
        word = np.frombuffer(data, "<u4")
        triples = [(word >> shift & 1023).astype(np.int16) for shift in (0, 10, 20)]
    return ((np.stack(triples, axis=1) ^ 512) - 512).ravel()


def _sum_differences(
    frames: NDArray[np.integer], before: list[int], signals: list[Signal]
) -> tuple[NDArray[np.integer], list[int]]:
    """Turn the differences of format 8 into samples; return the last ones too."""
    columns, last, start = [], [], 0
    for signal, value in zip(signals, before, strict=True):
        end = start + signal.coding.samples_per_frame
        column = np.cumsum(frames[:, start:end], dtype=np.int64).reshape(-1, end - start) + value
        columns.append(column)
        last.append(int(column[-1, -1]))
        start = end
    return np.concatenate(columns, axis=1), last


def _open_flac(file: SignalFile) -> Any:
    import soundfile  # a library of compiled code that few records need

    size = measure_file(file.path, "signal file")
    try:
        flac = soundfile.SoundFile(file.path)
    except RuntimeError as error:
        raise DataError(f"{file.path}: not a FLAC file ({_explain(error)})") from error
    bits = _FLAC_BITS.get(flac.subtype, 99)
    per_frame = {signal.coding.samples_per_frame for signal in file.signals}
    wrong = flac.format != "FLAC" or bits > _FLAC[file.signals[0].coding.format] or flac.channels != len(file.signals)
    if wrong or len(per_frame) > 1:
        flac.close()
        raise DataError(
            f"{file.path}: the header announces {len(file.signals)} FLAC signals of format "
            f"{file.signals[0].coding.format}, the file has {flac.channels} of {flac.format} {flac.subtype}"
        )
    if flac.frames * flac.channels * 2 > max(_MAX_FLAC_BYTES, _MAX_FLAC_RATIO * size):
        flac.close()
        raise DataError(f"{file.path}: {size} bytes that unpack to {flac.frames} samples of {flac.channels} signals")
    return flac


def _explain(error: RuntimeError) -> str:
    return str(error).splitlines()[0].rpartition(": ")[2]  # without the path once more


def _iter_flac(file: SignalFile, n_frames: int, block: int) -> Iterator[NDArray[np.integer]]:
    coding = file.signals[0].coding
    with _open_flac(file) as flac:
        shift = 32 - _FLAC_BITS[flac.subtype]  # soundfile aligns samples to the left
        try:
            flac.seek(coding.offset)
            for start in range(0, n_frames, block):
                wanted = (min(start + block, n_frames) - start) * coding.samples_per_frame
                samples = flac.read(wanted, dtype="int32", always_2d=True) >> shift
                if len(samples) != wanted:
                    raise _refuse_size(file, n_frames, f"{wanted} samples", f"{len(samples)}")
                frames = samples.reshape(-1, coding.samples_per_frame, flac.channels)
                yield frames.transpose(0, 2, 1).reshape(len(frames), -1)
        except RuntimeError as error:
            raise DataError(f"{file.path}: damaged FLAC file ({_explain(error)})") from error


def _refuse_size(file: SignalFile, n_frames: int, expected: str, got: str) -> DataError:
    leads = f"{len(file.signals)} leads"
    return DataError(
        f"{file.path}: truncated or damaged: the header announces {n_frames} samples of {leads} ({expected}), "
        f"the file has {got}; fetch it again"
    )
