"""The log of a run: ``run.log`` in its folder, from before the folder existed, and what is left out of it."""

import logging
import logging.handlers
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NOISE = (
    ".*does not have many workers.*",  # batches come from mapped memory, in this process
    ".*Checkpoint directory .* exists and is not empty.*",  # a run that is resumed
    ".*LeafSpec.*",
    ".*treespec.*",
    ".*You called `self.log.*",
    ".*sync_dist=True.*",  # what is logged is the mean over the processes already
    ".*`srun` command is available.*",  # on a cluster's login node, or in a job of one process
)


class EarlyLog:
    """Holds messages until there is a file for them."""

    def __init__(self) -> None:
        self.handler = logging.handlers.MemoryHandler(10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)

    @contextmanager
    def written_to(self, path: Path) -> Iterator[None]:
        """Write the log to a file for the duration of a block, the messages held so far first."""
        file = _LogFile(path)
        file.setFormatter(logging.Formatter(_FORMAT))
        self.handler.setTarget(file)
        self.handler.flush()
        logging.getLogger().removeHandler(self.handler)
        logging.getLogger().addHandler(file)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(file)
            file.close()


@contextmanager
def hold_log() -> Iterator[EarlyLog]:
    """Hold the messages of a block until `EarlyLog.written_to` has a file for them."""
    early = EarlyLog()
    logging.getLogger().addHandler(early.handler)
    try:
        yield early
    finally:
        logging.getLogger().removeHandler(early.handler)


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


class _LogFile(logging.FileHandler):
    """A log that drops what does not fit on a full disk; the run's own files report that."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
