"""The two ways in which ecgcls refuses: the request is wrong, or the content of a file is wrong.

Each message is one line: what, where, expected, got, and what to do.
"""

from collections.abc import Sequence


class ConfigError(ValueError):
    """A request that cannot be met: a key, a value, a choice, a folder that cannot be written.

    `choices` are what could be asked for instead, where they are too many or too long for the line.
    """

    def __init__(self, message: str = "", *, choices: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.choices = tuple(choices)


class DataError(ValueError):
    """Files with wrong content: a missing file, a malformed column, a damaged record."""
