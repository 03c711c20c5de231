"""A configuration held against what it names.

A command is a function with annotations, a group of the configuration a node with a ``_target_``. Both are held against
a signature by the same checker: an unknown key, a missing one or a value of another type than the annotation's is a
`ConfigError` that names the key and the near matches. Here a configuration is plain data: dicts, lists and values.

A command's parameter may be a node of its own: a typed dict, or ``Annotated[dict, SomeDataclass]``, which overrides
fields of the dataclass where it is not null.
"""

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from hydra.utils import get_object

from ecgcls.data.source import ModuleSettings
from ecgcls.errors import ConfigError
from ecgcls.identity import suggest, suggest_key

_PACKAGE = Path(__file__).parent
CONF_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""The folder of the YAML groups: inside an installed wheel, or beside the package in a checkout."""

Group = Annotated[dict[str, Any], "group"]
"""A choice of a group: each node in it that has a ``_target_`` is held against what that names."""
Text = Annotated[str, "text"]
"""A value taken exactly as it was typed, whatever ``,``, ``=``, ``*`` or blanks are in it; so is a `Path`."""


class RunConfig(TypedDict):
    """What ``python -m ecgcls.run`` takes: ``conf/config.yaml``."""

    experiment: Text
    fold: int
    seed: int
    output_dir: Path
    overwrite: bool
    data: Group
    task: Group
    folds: Group
    model: Group
    loss: Group
    optimizer: Group
    scheduler: Group
    metrics: Group
    trainer: Group
    callbacks: Group
    logger: Group
    evaluation: Group
    preset: NotRequired[Group]


class DataPlace(TypedDict):
    """Where a data set is."""

    root: Path | None


class Place(TypedDict):
    """Where the runs are that a command reads, and which configuration of them."""

    output_dir: Path
    experiment: Text
    model: str | None
    variant: Text | None
    run_dir: Path | None


class FoldChoice(Place):
    """One run."""

    fold: int


class RunChoice(Place):
    """One run, or all folds of a configuration."""

    fold: int | Literal["all"]


_INSTANTIATE_KEYS = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def check_arguments(command: Callable[..., Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Hold a command's resolved configuration against its signature; return the arguments of the call, paths as `Path`.

    The parameters of `command` are all keywords with annotations; ``**name: Unpack[SomeTypedDict]`` is for the keys of
    the typed dict. The first key that is unknown, missing or of the wrong type is a `ConfigError`.
    """
    hints, required = read_parameters(command)
    for key in config:
        if key not in hints:
            raise ConfigError(f"{key}: no such key{suggest_key(str(key), list(hints))}")
    for key in sorted(required - config.keys()):
        raise ConfigError(f"{key}: this setting is missing")
    for key, value in config.items():
        _check_argument(key, value, hints[key])
    return {key: _convert(value, hints[key]) for key, value in config.items()}


def list_texts(command: Callable[..., Any]) -> list[str]:
    """Return the dotted keys of a command whose values are taken exactly as they are typed."""
    return [key for key, hint in _list_keys(read_parameters(command)[0]) if _is_text(hint)]


def read_parameters(command: Callable[..., Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the annotation of each keyword of a function, by name, and the names that have no default."""
    hints, required = get_type_hints(command, include_extras=True), set()
    hints.pop("return", None)
    for name, parameter in inspect.signature(command).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            typed_dict = get_args(hints.pop(name))[0]
            hints |= get_type_hints(typed_dict, include_extras=True)
            required |= typed_dict.__required_keys__
        elif parameter.default is parameter.empty:
            required.add(name)
    return hints, required


def check_run(config: RunConfig) -> None:
    """Refuse values of a run's own settings that are out of their range."""
    if not _PLAIN_NAME.fullmatch(config["experiment"]):
        raise ConfigError(
            f"experiment must be a name of letters, digits, '.', '_', '+' and '-', got {config['experiment']!r}"
        )
    if not 0 <= config["seed"] < 2**32:
        raise ConfigError(f"seed must be in 0..{2**32 - 1}, got {config['seed']}")
    trainer = config["trainer"]
    if (  # Lightning would refuse it only at the first step
        config["optimizer"].get("fused")
        and trainer.get("gradient_clip_val") is not None
        and str(trainer.get("precision")).startswith("16")
    ):
        raise ConfigError(
            f"optimizer.fused=true cannot clip gradients (trainer.gradient_clip_val={trainer['gradient_clip_val']}) "
            f"with trainer.precision={trainer['precision']}: set optimizer.fused=false, or trainer.precision=bf16-mixed"
        )


def check_group(key: str, node: Any) -> None:
    """Hold a choice of a group, or an argument in one, against what it names, as `check_arguments` does."""
    if not isinstance(node, dict):
        raise ConfigError(f"{key}: expected a choice of this group, got {node!r}")
    if "_target_" in node:
        _check_target(key, node)
    for name, child in node.items():
        if isinstance(child, dict) and ("_target_" in child or "_target_" not in node):
            check_group(f"{key}.{name}", child)  # other dicts are values, such as a prevalence by class
        elif "_target_" not in node:
            raise ConfigError(
                f"{key}.{name} must be a node with a _target_, got {child!r}; ~{key}.{name} leaves it out"
            )


def _check_argument(key: str, value: Any, hint: Any) -> None:
    if (inner := _read_inner(hint)) is not None:
        if not isinstance(value, dict):
            raise ConfigError(f"{key} must be a node of settings ({', '.join(inner)}), got {value!r}")
        _check_settings(key, value, inner, set(), target=key)
    elif get_origin(hint) is Annotated and "group" in hint.__metadata__:
        check_group(key, value)
    elif not _fits(value, hint):
        raise ConfigError(f"{key} must be {_name_type(hint)}, got {value!r}")


def _read_inner(hint: Any) -> dict[str, Any] | None:
    """Return the annotations of a parameter that is a node of its own; None for any other."""
    if is_typeddict(hint):
        return get_type_hints(hint, include_extras=True)
    marks = hint.__metadata__ if get_origin(hint) is Annotated else ()
    settings = next((mark for mark in marks if is_dataclass(mark)), None)
    return None if settings is None else {name: each | None for name, each in get_type_hints(settings).items()}


def _list_keys(hints: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of a command, those of its inner nodes too."""
    for key, hint in hints.items():
        inner = _read_inner(hint)
        if inner is None:
            yield key, hint
        else:
            yield from ((f"{key}.{name}", each) for name, each in inner.items())


def _is_text(hint: Any) -> bool:
    return hint in (Path, Text) or any(_is_text(each) for each in get_args(hint) if each is not str)


def _convert(value: Any, hint: Any) -> Any:
    """Turn a text into a path where the annotation says so."""
    if isinstance(value, str) and Path in (hint, *get_args(hint)):
        return Path(value)
    if (inner := _read_inner(hint)) is not None:
        return {name: _convert(each, inner[name]) for name, each in value.items()}
    return value


def _check_target(key: str, node: dict[str, Any]) -> None:
    target = node["_target_"]
    if not isinstance(target, str):
        raise ConfigError(f"{key}._target_ must be a class or function, by its full name, got {target!r}")
    try:
        called = get_object(target)
        signature = inspect.signature(called)
    except Exception as error:  # whatever an import of somebody's module may raise
        cause = error.__cause__ or error
        raise ConfigError(f"{key}._target_: cannot import {target} ({str(cause).splitlines()[0]})") from error
    hints: dict[str, Any] = {name: Any for name in signature.parameters} | _read_hints(called)
    if key == "data":  # its node has the settings of the source and of the data module side by side
        hints |= get_type_hints(ModuleSettings)
    kinds = {parameter.kind: name for name, parameter in signature.parameters.items()}
    takes_any = hints.pop(kinds.get(inspect.Parameter.VAR_KEYWORD, ""), None) is not None
    hints.pop(kinds.get(inspect.Parameter.VAR_POSITIONAL, ""), None)
    required = {name for name, each in signature.parameters.items() if each.default is each.empty and name in hints}
    _check_settings(key, node, hints, set() if node.get("_partial_") else required, target=target, takes_any=takes_any)


def _check_settings(
    key: str,
    node: Mapping[str, Any],
    hints: Mapping[str, Any],
    required: set[str],
    *,
    target: str,
    takes_any: bool = False,
) -> None:
    """Hold a node against what its target takes."""
    for name, value in node.items():
        if name in _INSTANTIATE_KEYS:
            continue
        if name not in hints and not takes_any:
            raise ConfigError(f"{key}.{name}: no such setting of {target}{suggest(str(name), list(hints))}")
        is_node = isinstance(value, dict) and "_target_" in value
        if name in hints and not is_node and not _fits(value, hints[name]):
            raise ConfigError(f"{key}.{name} must be {_name_type(hints[name])}, got {value!r}")
    for name in sorted(required - node.keys()):
        raise ConfigError(f"{key}.{name}: {target} needs this setting")


def _read_hints(called: Any) -> dict[str, Any]:
    """Return the annotations of a callable's arguments; none where they cannot be evaluated."""
    try:
        hints = get_type_hints(called.__init__ if inspect.isclass(called) else called)
    except Exception:  # an annotation may name what is only imported for type checkers
        return {}
    hints.pop("return", None)
    return hints


def _fits(value: Any, hint: Any) -> bool:
    from typeguard import TypeCheckError, check_type

    if isinstance(value, bool) and not _mentions_bool(hint):
        return False  # to Python true is a number; to a reader of a YAML file it is not
    hint = _read_paths_as_text(hint)
    for candidate in (value, tuple(value)) if isinstance(value, list) else (value,):
        try:
            check_type(candidate, hint)
        except TypeCheckError:
            continue
        return True
    return False


def _read_paths_as_text(hint: Any) -> Any:
    """Return an annotation in which a path may be given as text."""
    if hint is Path:
        return str | Path
    is_union = type(None) in get_args(hint) or "Union" in str(get_origin(hint))
    return reduce(or_, map(_read_paths_as_text, get_args(hint))) if is_union else hint


def _mentions_bool(hint: Any) -> bool:
    if hint in (bool, Any, object) or any(isinstance(literal, bool) for literal in get_args(hint)):
        return True
    return any(_mentions_bool(argument) for argument in get_args(hint))


def _name_type(hint: Any) -> str:
    """Name a type for a reader: ``a whole number``, ``100 or 500``, ``text or null``."""
    if hint is type(None):
        return "null"
    if get_origin(hint) is Annotated:
        return _name_type(get_args(hint)[0])
    if isinstance(hint, type) and not get_args(hint):
        names = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "Path": "a path"}
        return names.get(hint.__name__, hint.__name__)
    if get_origin(hint) is typing.Literal:
        return " or ".join(str(value) for value in get_args(hint))
    if type(None) in get_args(hint) or "Union" in str(get_origin(hint)):
        return " or ".join(_name_type(argument) for argument in get_args(hint))
    return str(hint).replace("typing.", "").replace("collections.abc.", "")
