"""Apply a finished run, or a bundle, to files of ECGs in batches; one odd file ends nothing."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, islice, tee
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.metadata import read_comments, read_patient
from ecgcls.data.plain_records import read_plain_records
from ecgcls.data.recordings import Prepared, Repairs, iter_recording, prepare_blocks
from ecgcls.errors import DataError
from ecgcls.jobs.prediction import Prediction
from ecgcls.jobs.predictor import BATCH_SIZE, Predictor, Unusable
from ecgcls.jobs.scored import Inspected, Scored


@dataclass(frozen=True, eq=False)
class _Piece:
    """A part of a record, or why the record cannot be used; and whether nothing more of it comes."""

    path: Path
    content: Prepared | DataError
    is_last: bool
    metadata: NDArray[np.float64]
    """``(column,)``, of the record."""


@dataclass(frozen=True, eq=False)
class _Batch:
    """Pieces of records, their windows and metadata together, and what is known of these without the nets."""

    pieces: list[_Piece]
    windows_mv: NDArray[np.float32]
    metadata: NDArray[np.float64]
    """``(window, column)``."""
    inspected: Inspected

    @classmethod
    def join(cls, run: Predictor, pieces: list[_Piece]) -> "_Batch":
        """Put the windows of some pieces together, and inspect them."""
        contents = [
            (piece.content.windows_mv, piece.metadata) for piece in pieces if isinstance(piece.content, Prepared)
        ]
        if not contents:
            n_leads, n_columns = len(run.lead_names), len(run.metadata_names)
            contents = [(np.empty((0, n_leads, run.n_samples), np.float32), np.empty(n_columns))]
        windows_mv = np.concatenate([windows for windows, _ in contents])
        metadata = np.concatenate([np.tile(own, (len(windows), 1)) for windows, own in contents])
        return cls(pieces, windows_mv, metadata, run.inspect_windows(windows_mv))


@dataclass(frozen=True, eq=False)
class _Seen:
    """A record's form, what is known of its windows and its metadata; or why it cannot be used."""

    path: Path
    found: tuple[Prepared, Scored, NDArray[np.float64]] | DataError


@dataclass(eq=False)
class _Record:
    """What is known of a record whose pieces are coming."""

    scored: list[Scored] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    error: DataError | None = None


def predict_files(
    run: Predictor,
    paths: Iterable[Path],
    *,
    repairs: Repairs = "note",
    error_rate: float | None = None,
    unusable: Unusable = "note",
) -> Iterator[tuple[Path, Prediction | DataError]]:
    """Predict WFDB records (without extensions) and other files, batch by batch; the next one is read meanwhile.

    A record that cannot be used comes with the reason instead of a prediction, whatever is wrong with it. Age and sex,
    where the nets take them, are read from the comments of its header, or from the device's file. The memory that this
    takes depends neither on the number of the records nor on the length of WFDB records. `error_rate` and `unusable`
    are those of `Predictor.predict`.
    """
    parts = run.list_parts()
    with_sets = error_rate is not None and len(parts) == 1
    streams = [
        _score_files(part, each, repairs, with_sets) for part, each in zip(parts, tee(paths, len(parts)), strict=True)
    ]
    for seen in zip(*streams, strict=True):
        yield seen[0].path, _conclude(run, seen, error_rate, unusable)


def _score_files(run: Predictor, paths: Iterable[Path], repairs: Repairs, with_sets: bool) -> Iterator[_Seen]:
    """Read records in the form that the nets take, and ask them about its windows."""
    pieces = _read_pieces(run, paths, repairs)
    record = _Record()
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(_collect, run, pieces)
        while batch := coming.result():
            coming = reader.submit(_collect, run, pieces)
            for piece, scored in zip(batch.pieces, _predict_batch(run, batch, with_sets), strict=True):
                if isinstance(scored, DataError):
                    record.error = record.error or scored
                elif isinstance(piece.content, Prepared):
                    record.scored.append(scored)
                    record.starts_s += piece.content.starts_s
                if piece.is_last:
                    yield _join(record, piece)
                    record = _Record()


def _read_pieces(run: Predictor, paths: Iterable[Path], repairs: Repairs) -> Iterator[_Piece]:
    """Read records piece by piece, as many at once as fill a batch of windows."""
    rest = iter(paths)
    while some := list(islice(rest, BATCH_SIZE)):
        plain = read_plain_records(
            some, lead_names=run.lead_names, sampling_rate_hz=run.sampling_rate_hz, n_samples=run.n_samples
        )
        for path, window_mv in zip(some, plain, strict=True):
            if window_mv is None:
                yield from _read_other(run, path, repairs)
            else:
                content = Prepared(window_mv, (0.0,), ())
                yield _Piece(path, content, True, read_comments(path, run.metadata_names))


def _read_other(run: Predictor, path: Path, repairs: Repairs) -> Iterator[_Piece]:
    """Read a record of any kind piece by piece; the last piece has its repairs, or an error."""
    beside = np.full(len(run.metadata_names), np.nan)
    try:
        blocks = iter_recording(path, lead_names=run.lead_names)
        first = list(islice(blocks, 1))
        beside = read_patient(path, first[0].patient if first else {}, run.metadata_names)
        waiting: Prepared | None = None
        for prepared in prepare_blocks(
            chain(first, blocks),
            lead_names=run.lead_names,
            sampling_rate_hz=run.sampling_rate_hz,
            n_samples=run.n_samples,
            repairs=repairs,
            may_lack=run.may_lack_leads,
            pads=run.pads,
        ):
            if waiting is not None:
                yield _Piece(path, waiting, False, beside)
            waiting = prepared
        assert waiting is not None
        yield _Piece(path, waiting, True, beside)
    except DataError as error:
        yield _Piece(path, error, True, beside)
    except Exception as error:  # a file of strangers may raise whatever a reader stumbles over
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        yield _Piece(path, DataError(f"{path}: cannot be used ({text})"), True, beside)


def _collect(run: Predictor, pieces: Iterator[_Piece]) -> _Batch | None:
    """Take pieces until their windows fill a batch; None at the end."""
    batch: list[_Piece] = []
    n_windows = 0
    for piece in pieces:
        batch.append(piece)
        n_windows += len(piece.content.windows_mv) if isinstance(piece.content, Prepared) else 1
        if n_windows >= BATCH_SIZE:
            break
    return _Batch.join(run, batch) if batch else None


def _predict_batch(run: Predictor, batch: _Batch, with_sets: bool) -> list[Scored | DataError]:
    """Return what is known of the windows of each piece, or why nothing is."""
    contents = [piece.content for piece in batch.pieces]
    try:
        own: Iterator[Scored] = iter(())
        if lengths := [len(content.windows_mv) for content in contents if isinstance(content, Prepared)]:
            scored = run.score_windows(batch.windows_mv, batch.metadata, with_sets=with_sets, inspected=batch.inspected)
            own = iter(scored.cut(lengths))
        return [next(own) if isinstance(content, Prepared) else content for content in contents]
    except DataError as error:
        if len(contents) == 1:
            return [error]
        alone = [_Batch.join(run, [piece]) for piece in batch.pieces]  # which record is it?
        return [_predict_batch(run, one, with_sets)[0] for one in alone]


def _join(record: _Record, last: _Piece) -> _Seen:
    """Put together what is known of the pieces of a record, of which this is the last one."""
    if isinstance(last.content, DataError):
        return _Seen(last.path, last.content)
    if record.error is not None:
        return _Seen(last.path, record.error)
    whole = replace(last.content, starts_s=tuple(record.starts_s))
    return _Seen(last.path, (whole, Scored.join(record.scored), last.metadata))


def _conclude(
    run: Predictor, seen: Sequence[_Seen], error_rate: float | None, unusable: Unusable
) -> Prediction | DataError:
    found = []
    for each in seen:
        if isinstance(each.found, DataError):
            return each.found
        found.append(each.found)
    try:
        return run.conclude(found, error_rate=error_rate, unusable=unusable)
    except DataError as error:
        return error
