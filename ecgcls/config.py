"""A configuration held against what it names.

A command is a function with annotations, a group of the configuration a node with a ``_target_``. Both are held against
a signature by the same checker: an unknown key, a missing one or a value of another type than the annotation's is a
`ConfigError` that names the key and the near matches. Here a configuration is plain data: dicts, lists and values.

A command's parameter may be a node of its own: a typed dict, or ``Annotated[dict, SomeDataclass]``, which overrides
fields of the dataclass where it is not null.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

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


class InitSettings(TypedDict):
    """Which net a training starts from, and how it is trained further."""

    path: Path | None
    seen: Path | None
    freeze: Literal["none", "backbone"]
    unfreeze_every: int | None
    lr_decay: float
    standardizer: Literal["refit", "own"]
    known_records: Literal["error", "drop"]


class DistillSettings(TypedDict):
    """Which run's answers a training learns from beside the labels."""

    path: Path | None
    weight: float
    known_records: Literal["error", "drop"]


class RunConfig(TypedDict):
    """What ``python -m ecgcls.run`` takes: ``conf/config.yaml``."""

    experiment: Text
    fold: int
    seed: int
    n_threads: int
    output_dir: Path
    overwrite: bool
    init: InitSettings
    distill: DistillSettings
    data: Group
    task: Group
    folds: Group
    model: Group
    augment: Group
    loss: Group
    optimizer: Group
    scheduler: Group
    metrics: Group
    trainer: Group
    callbacks: Group
    logger: Group
    evaluation: Group
    preset: NotRequired[Group]


class ScheduleSettings(TypedDict):
    """What the group ``scheduler`` says beside the scheduler's own settings."""

    interval: Literal["epoch", "step"] | None
    """A step with every epoch or with every batch; None: as its class is meant."""
    monitor: str | None
    """The metric that ``ReduceLROnPlateau`` follows; None: that which chooses the best epoch."""


class ModelSettings(TypedDict):
    """What the group ``model`` says beside a net's own settings."""

    metadata: list[str] | None
    """Columns of the data set's table that the net takes beside the ECG."""


class DataPlace(TypedDict):
    """Where a data set is."""

    root: Path | None


class Place(TypedDict):
    """Where the runs are that a command reads, and which configuration of them."""

    output_dir: Path
    experiment: Text | None
    variant: Text | None
    run: Text | None
    run_dir: Path | None


class FoldChoice(Place):
    """One run."""

    model: str | None
    fold: int | None


class RunChoice(Place):
    """One run, or all folds of a configuration."""

    model: str | None
    fold: int | Literal["all"] | None


class RunsChoice(Place):
    """The same, or several of them, whose mean is taken: `model`, `run` or `run_dir` is a list."""

    model: list[str] | str | None
    fold: int | Literal["all"] | None
    average: Literal["logits", "probabilities"] | None
    weights: Literal["equal", "validation"] | None
    name: Text | None


_LIGHT_GROUPS = ("data", "task", "folds")
_BESIDE = {"data": ModuleSettings, "scheduler": ScheduleSettings, "model": ModelSettings}
_INSTANTIATE_KEYS = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""What a folder that a user names may be called."""


def check_arguments(
    command: Callable[..., Any], config: Mapping[str, Any], *, is_early: bool = False
) -> dict[str, Any]:
    """Hold a command's resolved configuration against its signature; return the arguments of the call, paths as `Path`.

    The parameters of `command` are all keywords with annotations; ``**name: Unpack[SomeTypedDict]`` is for the keys of
    the typed dict. The first key that is unknown, missing or of the wrong type is a `ConfigError`. An early check
    imports no torch and no Lightning: of most groups it sees only the shape.
    """
    hints, required = read_parameters(command)
    for key in config:
        if key not in hints:
            raise ConfigError(f"{key}: no such key{suggest_key(str(key), list(hints))}")
    for key in sorted(required - config.keys()):
        raise ConfigError(f"{key}: this setting is missing")
    late = {key for key in config if is_early and hints[key] == Group and key not in _LIGHT_GROUPS}
    for key in sorted(late):
        check_group(key, config[key], imports=False)
    return {key: value if key in late else _check_argument(key, value, hints[key]) for key, value in config.items()}


def list_texts(command: Callable[..., Any]) -> list[str]:
    """Return the dotted keys of a command whose values are taken exactly as they are typed."""
    keys = []
    for key, hint in read_parameters(command)[0].items():
        inner = _read_inner(hint)
        leaves = {key: hint} if inner is None else {f"{key}.{name}": each for name, each in inner.items()}
        keys += [leaf for leaf, each in leaves.items() if _is_text(each)]
    return keys


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
    name, trainer = config["experiment"], config["trainer"]
    if not PLAIN_NAME.fullmatch(name):
        several = "; to sweep over several, add -m" * ("," in name)
        raise ConfigError(f"experiment must be a name of letters, digits, '.', '_', '+' and '-', got {name!r}{several}")
    if not 0 <= config["seed"] < 2**32:
        raise ConfigError(f"seed must be in 0..{2**32 - 1}, got {config['seed']}")
    if config["n_threads"] < 1:
        raise ConfigError(f"n_threads must be at least 1, got {config['n_threads']}")
    clip, precision = trainer.get("gradient_clip_val"), str(trainer.get("precision"))
    if config["optimizer"].get("fused") and clip is not None and precision.startswith("16"):
        raise ConfigError(  # Lightning would refuse it only at the first step
            f"optimizer.fused=true cannot clip gradients (trainer.gradient_clip_val={clip}) with "
            f"trainer.precision={precision}: set optimizer.fused=false, or trainer.precision=bf16-mixed"
        )


def check_group(key: str, node: Any, *, imports: bool = True) -> None:
    """Hold a choice of a group, or an argument in one, against what it names, as `check_arguments` does.

    Without `imports` only its shape is checked.
    """
    if not isinstance(node, dict):
        raise ConfigError(f"{key}: expected a choice of this group, got {node!r}")
    if "_target_" in node and imports:
        _check_target(key, node)
    for name, child in node.items():
        if isinstance(child, dict) and ("_target_" in child or "_target_" not in node):
            check_group(f"{key}.{name}", child, imports=imports)  # others are values: a prevalence by class
        elif "_target_" not in node:
            raise ConfigError(
                f"{key}.{name} must be a node with a _target_, got {child!r}; ~{key}.{name} leaves it out"
            )


def _check_argument(key: str, value: Any, hint: Any) -> Any:
    """Return the value, a text as a path where the annotation says so."""
    if (inner := _read_inner(hint)) is not None:
        if not isinstance(value, dict):
            raise ConfigError(f"{key} must be a node of settings ({', '.join(inner)}), got {value!r}")
        if target := value.get("_target_"):  # a choice of a group, whose settings these are, too
            signature, annotations = read_target(key, target)
            inner = {name: annotations.get(name, Any) for name in signature.parameters} | inner
        _check_settings(key, value, inner, set(), target=target or key)
        return {name: _convert(each, inner.get(name, Any)) for name, each in value.items()}
    if hint == Group:
        check_group(key, value)
    else:
        _check_type(key, value, hint)
    return _convert(value, hint)


def _read_inner(hint: Any) -> dict[str, Any] | None:
    """Return the annotations of a parameter that is a node of its own; None for any other."""
    if is_typeddict(hint):
        return get_type_hints(hint, include_extras=True)
    marks = hint.__metadata__ if get_origin(hint) is Annotated else ()
    settings = next((mark for mark in marks if is_dataclass(mark)), None)
    return None if settings is None else {name: each | None for name, each in get_type_hints(settings).items()}


def _is_text(hint: Any) -> bool:
    return hint in (Path, Text) or any(_is_text(each) for each in get_args(hint) if each is not str)


def _convert(value: Any, hint: Any) -> Any:
    return Path(value) if isinstance(value, str) and Path in (hint, *get_args(hint)) else value


def read_target(key: str, target: Any) -> tuple[inspect.Signature, dict[str, Any]]:
    """Import what a ``_target_`` names; return its signature and its annotations."""
    if not isinstance(target, str):
        raise ConfigError(f"{key}._target_ must be a class or function, by its full name, got {target!r}")
    try:
        called = get_object(target)
        signature = inspect.signature(called)
    except Exception as error:  # whatever an import of somebody's module may raise
        cause = error.__cause__ or error
        raise ConfigError(f"{key}._target_: cannot import {target} ({str(cause).splitlines()[0]})") from error
    try:
        annotations = get_type_hints(called.__init__ if inspect.isclass(called) else called)
    except Exception:  # an annotation may name what is only imported for type checkers
        annotations = {}
    return signature, annotations


def _check_target(key: str, node: dict[str, Any]) -> None:
    target = node["_target_"]
    signature, annotations = read_target(key, target)
    parameters = signature.parameters.values()
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    named = [each for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    hints = {each.name: annotations.get(each.name, Any) for each in named}
    is_baseline = key == "model" and not node.get("_partial_")  # it is no net, and names its columns itself
    if key in _BESIDE and not is_baseline:  # its node has, side by side, settings of what is built and of who uses it
        hints |= get_type_hints(_BESIDE[key])
    required = set() if node.get("_partial_") else {each.name for each in named if each.default is each.empty}
    _check_settings(key, node, hints, required, target=target, takes_any=takes_any)


def _check_settings(
    key: str, node: dict[str, Any], hints: dict[str, Any], required: set[str], *, target: str, takes_any: bool = False
) -> None:
    """Hold a node against what its target takes."""
    for name, value in node.items():
        if name in _INSTANTIATE_KEYS:
            continue
        if name not in hints and not takes_any:
            raise ConfigError(f"{key}.{name}: no such setting of {target}{suggest(str(name), list(hints))}")
        if name in hints and not (isinstance(value, dict) and "_target_" in value):
            _check_type(f"{key}.{name}", value, hints[name])
    for name in sorted(required - node.keys()):
        raise ConfigError(f"{key}.{name}: {target} needs this setting")


def _check_type(key: str, value: Any, hint: Any) -> None:
    """Hold a value against an annotation; a text may be a path, and a list a tuple."""
    from typeguard import TypeCheckError, check_type

    readings = [value]
    if isinstance(value, str):
        if not value and (Path in (hint, *get_args(hint)) or key.endswith("_dir")):
            raise ConfigError(f"{key}= is empty, expected a path; . is the current folder")
        if "\0" in value:
            raise ConfigError(f"{key}: a text or a path has no NUL byte, got {value!r}")
        readings.append(Path(value))
    elif isinstance(value, list):
        readings.append(tuple(value))
    elif isinstance(value, bool) and not _mentions_bool(hint):
        readings = []  # to Python true is a number; to a reader of a YAML file it is not
    for reading in readings:
        with suppress(TypeCheckError):
            check_type(reading, hint)
            return
    raise ConfigError(f"{key} must be {_name_type(hint)}, got {value!r}")


def _mentions_bool(hint: Any) -> bool:
    return hint in (bool, Any, object) or any(isinstance(each, bool) or _mentions_bool(each) for each in get_args(hint))


def _name_type(hint: Any) -> str:
    """Name a type for a reader: ``a whole number``, ``100 or 500``, ``text or null``."""
    if hint is type(None):
        return "null"
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _name_type(inner[0])
    if isinstance(hint, type) and not inner:
        names = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "Path": "a path"}
        return names.get(hint.__name__, hint.__name__)
    if origin is list:
        return "a list, as [a,b],"
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join(map(_name_type, inner))
    return str(hint).replace("typing.", "").replace("collections.abc.", "")
