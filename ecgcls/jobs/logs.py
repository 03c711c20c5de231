"""The log of a run: ``run.log`` in its folder, from before the folder existed, and what is left out of it."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path

from ecgcls.command.screen import escape

BY_ALL = {"is_by_all": True}
"""``extra`` of a message that is the same in all jobs of a sweep."""
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NOISE = (
    ".*does not have many workers.*",  # batches come from mapped memory, in this process
    ".*Checkpoint directory .* exists and is not empty.*",  # a run that is resumed
    ".*LeafSpec.*",
    ".*treespec.*",
    ".*You called `self.log.*",
    ".*You have overridden `on_before_batch_transfer`.*",  # the classifier looks at targets there
    ".*sync_dist=True.*",  # what is logged is the mean over the processes already
    ".*`srun` command is available.*",  # on a cluster's login node, or in a job of one process
)


def title_job(model: str, variant: str, fold: int) -> str:
    """Return the title of a job's lines on the screen."""
    return ", ".join(part for part in (model, variant, f"fold {fold}") if part)


@contextmanager
def hold_log() -> Iterator[MemoryHandler]:
    """Hold the messages of a block until `write_log` has a file for them."""
    early = MemoryHandler(10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    logging.getLogger().addHandler(early)
    try:
        yield early
    finally:
        logging.getLogger().removeHandler(early)


@contextmanager
def write_log(early: MemoryHandler, path: Path) -> Iterator[None]:
    """Write the log to a file for the duration of a block, the messages held so far first."""
    file = _LogFile(path)
    file.setFormatter(_Escaped(_FORMAT))
    early.setTarget(file)
    early.flush()
    early.flushLevel = logging.NOTSET  # from here on at once
    try:
        yield
    finally:
        early.setTarget(None)
        file.close()


@contextmanager
def name_lines(title: str, *, is_first: bool) -> Iterator[None]:
    """Begin each line on the screen with the title of the job of a sweep that says it, for the duration of a block.

    What all jobs say alike (records with `BY_ALL`) only the first one says. A run's own log has every line as it is.
    """
    handlers = [each for each in logging.root.handlers if isinstance(each, logging.StreamHandler)]
    before = [(each, each.formatter) for each in handlers]

    def is_shown(record: logging.LogRecord) -> bool:
        return is_first or not hasattr(record, "is_by_all")

    for handler in handlers:
        handler.addFilter(is_shown)
        handler.setFormatter(_Titled(title))
    try:
        yield
    finally:
        for handler, formatter in before:
            handler.removeFilter(is_shown)
            handler.setFormatter(formatter)


class _Titled(logging.Formatter):
    """Begins a line with a title, unless it does already."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if text.startswith(self._title) else f"{self._title}: {text}"


@contextmanager
def errors_only() -> Iterator[None]:
    """Keep all but errors out of the log for the duration of a block."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def quiet_lightning() -> None:
    """Keep what matters of Lightning's messages."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)


class _Escaped(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Write out control characters, as a name in a file may have them: a log is read on a terminal."""
        return escape(super().format(record))


class _LogFile(logging.FileHandler):
    """A log that drops what does not fit on a full disk; the run's own files report that."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
