"""What may be built from a saved configuration: what it names is held against a list before anything is imported.

A run's folder may come from anybody, and a ``_target_`` in its configuration is a name that would be imported and
called. Only these are: for a net a class of `ecgcls.models` or of `torch.nn`, also in its arguments; for a data set, a
task or a table of folds one of the classes that the choices in ``conf/`` name, so that a new source need not be listed
here; and whatever is in a package that the user trusts.
"""

import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from ecgcls.config import CONF_DIR, check_group
from ecgcls.errors import ConfigError
from ecgcls.runs.saved import read_yaml, to_plain

_MODEL_PACKAGES = ("ecgcls.models", "torch.nn")
_LISTED_GROUPS = ("data", "task", "folds")
_MAX_BYTES = 100_000  # of a choice in ``conf/``
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


def take_trusted(config: Mapping[str, Any], group: str, *, trust: Sequence[str] = ()) -> dict[str, Any]:
    """Return a group of a saved configuration as plain data that may be built.

    Parameters
    ----------
    config
        As `ecgcls.runs.directory.RunDirectory.read_config` reads it.
    group
        ``model``, ``data``, ``task`` or ``folds``.
    trust
        Packages of the user's choice, such as ``mylab``; whatever is in them may be named.

    Raises
    ------
    ConfigError
        If something else is named anywhere in the group, or a setting is of another type than its target's.
    """
    node: dict[str, Any] = to_plain(config[group])
    for key, target in _list_targets(node, group):
        _check_name(key, target, group, trust)
    for key, target in _list_targets(node, group):
        if group == "model" and not _is_in(target, trust):
            _check_net(key, target)
    if "_target_" not in node:
        raise ConfigError(f"{group}: the saved configuration does not name a class (_target_)")
    check_group(group, node)
    return node


def split_names(text: str | None) -> tuple[str, ...]:
    """Split the names of packages as they are typed, ``mylab,ours.nets``; refuse what is none."""
    names = tuple(name.strip() for name in (text or "").strip("[]").split(",") if name.strip())
    return check_names(names)


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Refuse what is no name of a package."""
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(f"trust must be names of packages, as in mylab,ours.nets, got {name!r}")
    return names


def _list_targets(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield every ``_target_`` in a node, however deep, with its dotted key."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield f"{key}._target_", value["_target_"]
        for name, child in value.items():
            yield from _list_targets(child, f"{key}.{name}")
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _list_targets(child, f"{key}[{number}]")


def _check_name(key: str, target: Any, group: str, trust: Sequence[str]) -> None:
    """Decide by its name alone whether something may be imported."""
    if not isinstance(target, str) or not _NAME.fullmatch(target):
        raise ConfigError(f"{key} must be the full name of a class, got {target!r}")
    if _is_in(target, trust) or (group in _LISTED_GROUPS and target in _list_own(group)):
        return
    if group == "model" and _is_in(target, _MODEL_PACKAGES):
        return
    package = target.partition(".")[0]
    hint = f"; if {package} is a package of yours, set trust={package}, which lets the run call whatever is in it"
    if package in ("ecgcls", "torch") or package in sys.stdlib_module_names:
        hint = "; do not use this run unless you know who made it"
    expected = " or ".join(f"a class of {name}" for name in _MODEL_PACKAGES) if group == "model" else "ecgcls's own"
    raise ConfigError(f"{key}: {target} is not built from a saved configuration, expected {expected}{hint}")


@cache
def _list_own(group: str) -> frozenset[str]:
    """Return the classes that the choices of a group in ``conf/`` name."""
    choices = [read_yaml(path, max_bytes=_MAX_BYTES) for path in (CONF_DIR / group).glob("*.yaml")]
    return frozenset(choice["_target_"] for choice in choices)


def _check_net(key: str, target: str) -> None:
    """Refuse what is in the nets' packages but no net: a function, or what one of their modules has imported."""
    from torch import nn  # which a task or a data set does without

    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise ConfigError(f"{key}: there is no {target} in this version of ecgcls or torch") from None
    if not (isinstance(found, type) and issubclass(found, nn.Module) and _is_in(found.__module__, _MODEL_PACKAGES)):
        raise ConfigError(f"{key}: {target} is no net (a subclass of torch.nn.Module)")


def _is_in(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
