"""What a build of the signal store has finished, so that one that was killed goes on where it was.

A journal is a text file beside ``signals.npy``: a line of JSON says what is built, and one more what is known of each
unit of consecutive records that has been written. A unit counts only if the file still holds its samples (SHA-256):
one that a computer lost with its power is read again, as is one with a record that could not be read for a reason that
may have passed. A file that changed in between leads to another journal: the first line has the store's fingerprint.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAY_PASS = re.compile(r"cannot be read|OSError|MemoryError")


class Note(NamedTuple):
    """What was changed in a record, or what is doubtful about its scale or content."""

    row: int
    what: str
    is_doubtful: bool


class Written(NamedTuple):
    """What is known about records that are in ``signals.npy``."""

    sums_uv: NDArray[np.int64]
    """``(record, lead)``: the sum of the samples."""
    squares_uv: NDArray[np.int64]
    """``(record, lead)``: the sum of their squares."""
    n_without_checksum: int
    sha256: bytes
    """Of the samples, one for every chunk or unit."""
    notes: list[Note]
    bad: dict[int, str]
    """Why a row cannot be used; it holds zeros."""


class Journal:
    """The journal of one build. `form` says what is built, as JSON holds it; its key ``unit`` is the builder's own."""

    def __init__(self, path: Path, form: Mapping[str, Any]) -> None:
        self._path, self._form = path, dict(form)

    def read_unit(self) -> int | None:
        """Return the number of records of a unit; None if there is no journal of the same form."""
        try:
            with self._path.open() as file:
                found = json.loads(file.readline())
            unit = int(found.pop("unit"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return unit if found == self._form else None

    def begin(self, unit: int) -> None:
        """Write the first line of a new journal."""
        self._path.write_text(json.dumps({**self._form, "unit": unit}))

    def add(self, start: int, one: Written) -> None:
        """Note a unit, whose first record is number `start`, as written."""
        line = {
            "start": start,
            "n_without_checksum": one.n_without_checksum,
            "sha256": one.sha256.hex(),
            "notes": one.notes,
            "bad": one.bad,
        }
        with self._path.open("a") as file:
            file.write("\n" + json.dumps(line))  # begins a line even where a kill has left half of one

    def read_done(self, samples: Path, *, n_header: int, shape: tuple[int, int, int]) -> dict[int, Written]:
        """Return by first record the units that are in the file of samples, whose array has this shape."""
        done = {}
        unit = self.read_unit() or 1
        with self._path.open() as lines, samples.open("rb") as file:
            next(lines)
            for line in lines:
                try:
                    found = json.loads(line)
                except ValueError:  # of a build that was killed while it wrote it
                    continue
                bad = {int(row): reason for row, reason in found["bad"].items()}
                if any(_MAY_PASS.search(reason) for reason in bad.values()):
                    continue
                start = found["start"]
                n_values = min(unit, shape[0] - start) * shape[1] * shape[2]
                file.seek(n_header + 2 * start * shape[1] * shape[2])
                data = file.read(2 * n_values)
                if hashlib.sha256(data).hexdigest() == found["sha256"]:
                    signals_uv = np.frombuffer(data, "<i2").reshape(-1, *shape[1:])
                    notes = [Note(*note) for note in found["notes"]]
                    n_without, sha256 = found["n_without_checksum"], bytes.fromhex(found["sha256"])
                    done[start] = Written(*sum_signals(signals_uv), n_without, sha256, notes, bad)
        return done


def sum_signals(signals_uv: NDArray[np.int16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the exact sums of the samples ``(record, lead, sample)`` and of their squares, ``(record, lead)``."""
    sums_uv = signals_uv.sum(axis=2, dtype=np.int64)
    # Integers below 2**53 are exact in float64, which is faster in NumPy than int64.
    return sums_uv, np.einsum("rls,rls->rl", signals_uv, signals_uv, dtype=np.float64).astype(np.int64)
