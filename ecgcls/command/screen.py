"""What a command writes on the terminal: control characters, as a name in a file may have them, are shown, not obeyed.

Everything goes through here, whatever prints it: an answer, a refusal, a log, a progress bar.
"""

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_CLOSED_PIPE = 141  # what a shell reports of a program that wrote to a reader that has gone, as in `| head`
# Besides a tab and the end of a line: C0, DEL, C1, what turns the direction of text, and halves of characters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MOVES = re.compile("\n*(\x1b\\[A)*")  # a progress bar below another moves the cursor, and writes nothing else then


def escape(text: str) -> str:
    r"""Return a text with its control characters written out; a carriage return may begin it.

    Examples
    --------
    >>> escape("MI\x1b[2J\u202e"), escape("\rEpoch 3"), escape("a\tb\n")
    ('MI\\x1b[2J\\u202e', '\rEpoch 3', 'a\tb\n')
    """
    if _MOVES.fullmatch(text):
        return text
    start = "\r" * text.startswith("\r")
    return start + _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text.removeprefix(start))


@contextmanager
def guard_screen() -> Iterator[None]:
    """Escape what is written within a block; exit quietly if nobody reads it any more."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Escaping(stream)) for stream in streams)
    for handler in logging.root.handlers:  # a process of a sweep has its log before its guard
        if isinstance(handler, logging.StreamHandler) and handler.stream is streams[1]:
            handler.setStream(sys.stderr)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), streams[0].fileno())  # the interpreter flushes it once more
        sys.exit(_CLOSED_PIPE)
    finally:
        sys.stdout, sys.stderr = streams


class _Escaping:
    """A stream that escapes what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(escape(text))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
