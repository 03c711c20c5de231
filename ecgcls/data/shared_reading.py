"""Reading many records by as many processes as are worth their while, with what is told meanwhile.

Files of devices may take a thousand times as long as PTB-XL's, so that how long the first ones take decides.
"""

import logging
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ecgcls.data.reading import spread

log = logging.getLogger(__name__)

_N_TIMED = 5  # records that are read to know how long they take
_MIN_TIMED = 20  # of fewer records none is read twice
_S_PER_PROCESS = 0.15  # of work: with less, another process costs more time than it saves
_S_BETWEEN_LINES = 60.0  # in a log file, which has no progress bar


def time_records(records: Sequence[Path], read: Callable[[Path], object]) -> float:
    """Return how many seconds a record takes: the median of a few, for the first of a format loads its reader."""
    if len(records) < _MIN_TIMED:
        return 0.0
    seconds = []
    for record in spread(records, _N_TIMED):
        start = time.perf_counter()
        with suppress(Exception):  # what is wrong with it is told when it is written
            read(record)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def count_processes(n_records: int, seconds: float) -> int:
    """Return how many processes are worth their while, for so many seconds a record."""
    if sys.platform != "linux":  # where processes cannot be forked
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), int(n_records * seconds / _S_PER_PROCESS)))


@contextmanager
def share_out(n_processes: int) -> Iterator[Any]:
    """Yield a function like ``map`` that has its work done by so many processes."""
    if n_processes < 2:
        yield map
        return
    with ProcessPoolExecutor(n_processes, get_context("fork"), initializer=_end_with_parent) as pool:
        yield pool.map


def _end_with_parent() -> None:
    """Let this process end when the one that has forked it is killed, whose lock of the store it has inherited."""

    def wait() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class Progress:
    """A progress bar; where there is no terminal, a line in the log now and then."""

    def __init__(self, n_records: int, n_done: int) -> None:
        self._n_records, self._n_done = n_records, n_done
        self._bar = tqdm(total=n_records, initial=self._n_done, desc="Reading ECGs", unit=" records", disable=None)
        self._told = time.monotonic()

    def __enter__(self) -> "Progress":
        """Show the bar until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar."""
        self._bar.close()

    def add(self, n_records: int) -> None:
        """Tell of some more records."""
        self._n_done += n_records
        self._bar.update(n_records)
        if self._bar.disable and time.monotonic() - self._told >= _S_BETWEEN_LINES:
            self._told = time.monotonic()
            log.info("Read %d of %d records", self._n_done, self._n_records)
