"""The two ways in which ecgcls refuses: what was asked is wrong, or what the files say is wrong.

Each message is one line: what, where, expected, got, and what to do.
"""


class ConfigError(ValueError):
    """What was asked cannot be done: a key, a value, a choice, a folder that is not to be written."""


class DataError(ValueError):
    """What the files say is wrong: a missing file, a malformed column, a damaged record."""
