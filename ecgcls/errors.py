"""The two ways in which ecgcls refuses: the request is wrong, or the content of a file is wrong.

Each message is one line: what, where, expected, got, and what to do.
"""


class ConfigError(ValueError):
    """A request that cannot be met: a key, a value, a choice, a folder that cannot be written."""


class DataError(ValueError):
    """Files with wrong content: a missing file, a malformed column, a damaged record."""
