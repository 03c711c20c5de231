"""What a process does when it is told to stop, or when the disk is full."""

import errno
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

TRY_AGAIN = 75
"""Exit code after SIGTERM: ``EX_TEMPFAIL`` of sysexits.h, for a queue that starts such a job again."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_received: list[int] = []  # what has told this command to stop


def stop_on_sigterm() -> None:
    """Let SIGTERM, which clusters send before they take a machine away, stop this process as Ctrl-C does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)


def remember_sigterm() -> None:
    """Note that another part of the command has received SIGTERM."""
    _received.append(signal.SIGTERM)


def was_told_to_stop() -> bool:
    """Whether SIGTERM has been received."""
    return bool(_received)


def exit_interrupted(*, resumes: bool, is_silent: bool) -> NoReturn:
    """End an interrupted command: code 75 after SIGTERM, 130 after Ctrl-C; a line says so unless it `is_silent`."""
    if not is_silent:
        hint = "; the same command resumes from the last epoch" if resumes else ""
        print(f"{'stopped by SIGTERM' if was_told_to_stop() else 'interrupted'}{hint}", file=sys.stderr)
    sys.exit(TRY_AGAIN if was_told_to_stop() else 130)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that the disk, the user's quota or the maximum size of a file is exhausted."""
    return isinstance(error, OSError) and error.errno in _FULL


def _stop(number: int, frame: FrameType | None) -> None:
    is_first = not _received
    _received.append(number)
    if is_first:  # those that follow would interrupt the clean-up
        raise KeyboardInterrupt
