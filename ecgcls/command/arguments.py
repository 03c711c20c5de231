"""From what was typed to what Hydra's grammar reads: a path or a text arrives as it was typed, in every command.

A node with a path may be given that path alone: ``init=PATH`` is ``init.path=PATH``.

Without quotes the grammar has no place for ``~``, letters beyond ASCII, ``#`` and much else, and takes ``,`` and ``=``
for its own. In a sweep a comma separates values, so a path with a comma is quoted there: ``"data.root='a,b'"``.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ecgcls.errors import ConfigError

_SETTING = re.compile(r"(\+{0,2}\w[\w./@]*)=(.*)", flags=re.DOTALL)
_PATH = re.compile(r"(.*[._])?(root|dir|path|file|folder|manifest)")  # a key that names a path, in whichever group
_CALL = re.compile(r"(choice|range|glob|interval|shuffle|sort|tag)\(.*\)", flags=re.DOTALL)  # of a sweep
_SWEEPS = ("-m", "--multirun", "hydra.mode=MULTIRUN")


def read_arguments(arguments: Sequence[str], texts: Sequence[str], *, may_sweep: bool = False) -> list[str]:
    """Quote paths and texts for Hydra's grammar, unless the user has done it; a leading ``~`` is a home folder.

    Parameters
    ----------
    arguments
        What was typed after the command.
    texts
        The keys whose values are taken as they are, besides those that name a path.
    may_sweep
        Whether a comma separates values where a sweep is asked for.

    Raises
    ------
    ConfigError
        For an empty argument, an empty path or text, or bytes that are no text.
    """
    sweeps = may_sweep and any(argument in _SWEEPS for argument in arguments)
    return [_read(argument, texts, sweeps=sweeps) for argument in arguments]


def quote(text: str) -> str:
    """Quote a text for Hydra's grammar."""
    # Before the closing quote the grammar reads a backslash as an escape; elsewhere it is one.
    body = re.sub(r"(\\*)'", r"\1\1\\'", text)
    body += "\\" * (len(body) - len(body.rstrip("\\")))
    return f"'{body}'"


def expand_home(config: Mapping[str, Any], key: str = "") -> dict[str, Any]:
    """Return a configuration in which a leading ``~`` of every path is a home folder."""
    return {name: _expand(value, f"{key}{name}") for name, value in config.items()}


def _expand(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return expand_home(value, f"{key}.")
    is_home = isinstance(value, str) and value.startswith("~") and _PATH.fullmatch(key)
    return os.path.expanduser(value) if is_home else value  # noqa: PTH111  # pathlib would raise for no such user


def _read(argument: str, texts: Iterable[str], *, sweeps: bool) -> str:
    if not argument.strip():
        raise ConfigError("an argument is empty, perhaps a variable that is not set; expected key=value")
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{argument}: not a text in UTF-8; rename the file or folder") from error
    setting = _SETTING.fullmatch(argument)
    if setting is None:
        return argument
    key, value = setting.groups()
    if f"{key}.path" in texts and not value.startswith("{"):
        key = f"{key}.path"
    name = key.lstrip("+")
    if (name not in texts and not _PATH.fullmatch(name)) or value == "null" or _is_quoted(value):
        return f"{key}={value}"
    if not value:
        expected = "a path; . is the current folder" if _PATH.fullmatch(name) or name == "output" else "a text"
        raise ConfigError(f"{key}= is empty, expected {expected}; null is none")
    if sweeps and _CALL.fullmatch(value):
        return argument
    values = value.split(",") if sweeps else [value]
    return f"{key}={','.join(quote(os.path.expanduser(each)) for each in values)}"  # noqa: PTH111


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] in ("'", '"') and value[-1] == value[0]


def refuse_unused(settings: Mapping[str, object], where: str) -> None:
    """Refuse a setting that was given and that nothing would read."""
    for name, value in settings.items():
        if value not in (None, ""):
            raise ConfigError(f"{name} has no effect {where}; leave it out")
