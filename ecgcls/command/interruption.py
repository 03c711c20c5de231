"""What a process does when it is told to stop, or when the disk is full."""

import atexit
import errno
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

TRY_AGAIN = 75
"""Exit code after SIGTERM: ``EX_TEMPFAIL`` of sysexits.h, for a queue that starts such a job again."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AT_ONCE_S = 2.0  # a Ctrl-C that follows another within this time says nothing new
_LOST_S = 0.05  # how soon a stop that went nowhere is repeated
_received: list[int] = []  # SIGTERM, each time it has told this command to stop
_ending: list[int] = []  # the exit code, once an interrupted command has begun to end
_interrupts_s: list[float] = []  # when each Ctrl-C came, s


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let SIGTERM, which clusters send before they take a machine away, stop a block as Ctrl-C does.

    The first signal is a `KeyboardInterrupt`. Those that follow at once do not disturb the clean-up; a Ctrl-C later on
    interrupts that as well. Python drops an exception that a handler raises while an object is being finalized or a
    weak reference cleared: within the block it is raised again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, _interrupt)
    before, alarm = sys.unraisablehook, signal.signal(signal.SIGALRM, _raise)

    def raise_again(dropped: Any) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _LOST_S)  # here, it would be dropped once more
        else:
            before(dropped)

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        sys.unraisablehook = before


def remember_sigterm() -> None:
    """Note that another part of the command has received SIGTERM."""
    _received.append(signal.SIGTERM)


def was_told_to_stop() -> bool:
    """Whether SIGTERM has been received."""
    return bool(_received)


def exit_interrupted(*, resumes: bool, is_silent: bool) -> NoReturn:
    """End an interrupted command: code 75 after SIGTERM, 130 after Ctrl-C; a line says so unless it `is_silent`.

    Whatever signal comes from here on changes neither.
    """
    _ending.append(TRY_AGAIN if was_told_to_stop() else 130)
    _ignore_signals()
    if not is_silent:
        hint = "; the same command resumes from the last epoch" if resumes else ""
        print(f"{'stopped by SIGTERM' if was_told_to_stop() else 'interrupted'}{hint}", file=sys.stderr)
    sys.exit(_ending[0])


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that the disk, the user's quota or the maximum size of a file is exhausted."""
    return isinstance(error, OSError) and error.errno in _FULL


@atexit.register  # before torch and Lightning register theirs, so after these, which restore the defaults
def _ignore_signals() -> None:
    """Let no signal end an interrupted command: a handler in Python would not outlive the interpreter's first steps."""
    if _ending:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _stop(number: int, frame: FrameType | None) -> None:
    is_first = not _received
    _received.append(number)
    if is_first:  # those that follow would interrupt the clean-up
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    is_new = not _interrupts_s or now - _interrupts_s[-1] >= _AT_ONCE_S
    _interrupts_s.append(now)
    if is_new:
        raise KeyboardInterrupt


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
