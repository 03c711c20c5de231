"""What a process does when it is told to stop, or finds the disk full."""

import errno
import signal
import threading
from types import FrameType

TRY_AGAIN = 75
"""Exit code after SIGTERM: ``EX_TEMPFAIL`` of sysexits.h, for a queue that starts such a job again."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_received: list[int] = []  # signals that have asked this process to stop


def stop_on_sigterm() -> None:
    """Let SIGTERM, which clusters send before they take a machine away, stop this process as Ctrl-C does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)


def remember_sigterm() -> None:
    """Note that SIGTERM has come where somebody else has received it."""
    _received.append(signal.SIGTERM)


def was_told_to_stop() -> bool:
    """Whether SIGTERM has come."""
    return bool(_received)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that the disk, the user's quota or the largest size of a file is used up."""
    return isinstance(error, OSError) and error.errno in _FULL


def _stop(number: int, frame: FrameType | None) -> None:
    is_first = not _received
    _received.append(number)
    if is_first:  # those that follow would interrupt the cleaning up
        raise KeyboardInterrupt
