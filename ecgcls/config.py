"""What a configuration may say; whatever else it says is refused before anything is built or read.

Every node with a ``_target_`` is held against the signature of what it names: an unknown key, a missing one or a
value of another type than the annotation's is a `ConfigError` that names the key and the near matches.
"""

import difflib
import hashlib
import inspect
import json
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ecgcls.data.source import split_settings
from ecgcls.errors import ConfigError
from ecgcls.signatures import read_signature

_PACKAGE = Path(__file__).parent
CONF_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""The folder of the YAML groups: inside an installed wheel, or beside the package in a checkout."""

_GROUPS = (
    "data", "task", "folds", "model", "loss", "optimizer", "scheduler", "metrics", "trainer", "callbacks", "logger",
    "evaluation",
)  # fmt: skip
_ROOT_TYPES: dict[str, type] = {
    "experiment": str,
    "fold": int,
    "seed": int,
    "output_dir": str,
    "overwrite": bool,
}
_LIGHT = ("folds", "task")  # their modules do without PyTorch
_INSTANTIATE_KEYS = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

_NOT_IDENTITY = (
    "experiment", "output_dir", "overwrite", "data.store_dir", "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
)  # fmt: skip
"""Keys that say where things lie or what is shown, not what is computed; the whole group ``logger`` is like that."""


def check_nodes(config: DictConfig, groups: Sequence[str]) -> None:
    """Refuse what some groups of a configuration cannot mean; the rest of it is not looked at.

    Raises
    ------
    ConfigError
        Naming the first key that is unknown, missing or of the wrong type.
    """
    try:
        plain = {group: OmegaConf.to_container(config[group], resolve=True, throw_on_missing=True) for group in groups}
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    for key, node in _find_targets(plain):
        _check_target(key, node)


def check(config: DictConfig) -> None:
    """Refuse a configuration that says something it cannot mean.

    Raises
    ------
    ConfigError
        Naming the first key that is unknown, missing, of the wrong type or out of range.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)
    _check_root(plain)
    targets = [*_find_targets(plain)]
    for key, node in targets:
        if not isinstance(node["_target_"], str):
            raise ConfigError(f"{key}._target_ must be a class or function, by its full name, got {node['_target_']!r}")
    for key, node in targets:  # a slip is told at once, before anything is imported that takes seconds
        signature = read_signature(node["_target_"])
        if signature is not None:
            hints = {name: each.annotation for name, each in signature.parameters.items()}
            given = {name: hint for name, hint in hints.items() if hint is not inspect.Parameter.empty}
            _check_settings(key, node, signature, given)
    _check_fused(plain)
    for key, node in targets:
        if key in _LIGHT:
            _check_target(key, node)
    _build(config.folds).check_fold(config.fold)
    _build(config.task)
    for key, node in targets:
        if key not in _LIGHT:
            _check_target(key, node)


def check_types(config: DictConfig, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse what a command without groups cannot mean, and return its settings.

    Parameters
    ----------
    config
        The command's configuration.
    expected
        What each setting must be, by dotted key, such as ``{"fold": int | Literal["all"], "data.root": str | None}``.

    Returns
    -------
    dict
        The resolved settings by dotted key.

    Raises
    ------
    ConfigError
        Naming the first key that is unknown or of another type.
    """
    settings = dict(_flatten(config, resolve=True))
    for key, value in settings.items():
        if key not in expected:
            raise ConfigError(f"{key}: no such key{suggest_key(key, list(expected))}")
        if not _fits(value, expected[key]):
            raise ConfigError(f"{key} must be {_name_type(expected[key])}, got {value!r}")
    return settings


def identify(config: DictConfig) -> dict[str, Any]:
    """Return the resolved settings that a result depends on, by dotted key."""
    return {key: value for key, value in _flatten(config, resolve=True) if _is_identity(key)}


def name_variant(
    config: DictConfig,
    *,
    choices: Mapping[str, Any],
    default_config: DictConfig,
    default_choices: Mapping[str, Any],
) -> str:
    """Say in a folder's name what distinguishes a configuration from the default one of the same model.

    Two configurations that differ in anything but the fold and where things lie have different names.

    Parameters
    ----------
    config, choices
        The composed configuration, and the choice made in each group.
    default_config, default_choices
        What the same choices give without further overrides; and the choices made by default.

    Returns
    -------
    str
        Such as ``task=rhythm,trainer.max_epochs=30``; empty for the defaults.
    """
    parts = [
        f"{group}={_name_value(choice)}"
        for group, choice in sorted(choices.items())
        if group not in ("model", "logger") and choice != default_choices.get(group)
    ]
    asked, default = dict(_flatten(config, resolve=False)), dict(_flatten(default_config, resolve=False))
    for key in sorted(asked.keys() | default.keys()):
        if key == "fold" or not _is_identity(key):
            continue
        if key not in asked:
            parts.append(f"no-{key}")
        elif key not in default or (asked[key], type(asked[key])) != (default[key], type(default[key])):
            parts.append(f"{key}={_name_value(asked[key])}")
    name = ",".join(parts)
    return name if len(name) <= 150 else f"{name[:140]}~{_digest(name)}"


def suggest(word: str, known: list[str]) -> str:
    """Return '; did you mean ...?' with the near matches, or what is known if there are few."""
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.7)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; expected one of {', '.join(known)}" if 0 < len(known) <= 30 else ""


def suggest_key(key: str, known: list[str]) -> str:
    """Return the near matches of a dotted key among its siblings, or anywhere if its parent is unknown."""
    parent, dot, _ = key.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == parent and "._" not in name]
    return suggest(key, siblings if siblings or not dot else known)


def list_keys(config: DictConfig) -> list[str]:
    """Return every dotted key of a configuration, inner nodes too."""
    leaves = [key for key, _ in _flatten(config, resolve=False)]
    inner = {".".join(key.split(".")[:n]) for key in leaves for n in range(1, key.count(".") + 1)}
    return sorted({*leaves, *inner})


def _is_identity(key: str) -> bool:
    return key not in _NOT_IDENTITY and key.partition(".")[0] != "logger"


def _check_root(plain: dict[Any, Any]) -> None:
    for key in plain:
        if key not in _GROUPS and key not in _ROOT_TYPES and key != "preset":
            raise ConfigError(f"{key}: no such key{suggest(str(key), [*_ROOT_TYPES, *_GROUPS])}")
    for group in _GROUPS:
        if not isinstance(plain.get(group), dict):
            raise ConfigError(f"{group}: expected a choice of this group, got {plain.get(group)!r}")
    for key, expected in _ROOT_TYPES.items():
        value = plain.get(key)
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise ConfigError(f"{key} must be {_name_type(expected)}, got {value!r}")
    if not _PLAIN_NAME.fullmatch(plain["experiment"]):
        raise ConfigError(
            f"experiment must be a name of letters, digits, '.', '_', '+' and '-', got {plain['experiment']!r}"
        )
    if not 0 <= plain["seed"] < 2**32:
        raise ConfigError(f"seed must be in 0..{2**32 - 1}, got {plain['seed']}")


def _check_fused(plain: dict[Any, Any]) -> None:
    """Refuse what Lightning would refuse only at the first step."""
    trainer = plain["trainer"]
    if (
        plain["optimizer"].get("fused")
        and trainer.get("gradient_clip_val") is not None
        and str(trainer.get("precision")).startswith("16")
    ):
        raise ConfigError(
            f"optimizer.fused=true cannot clip gradients (trainer.gradient_clip_val={trainer['gradient_clip_val']}) "
            f"with trainer.precision={trainer['precision']}: set optimizer.fused=false, or trainer.precision=bf16-mixed"
        )


def _build(node: DictConfig) -> Any:
    """Build what a node says; its own refusal comes through as it is."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        raise error.__cause__ if isinstance(error.__cause__, ConfigError) else error from None


def _find_targets(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node and key == "data":
            source, module = split_settings(node)
            yield key, source
            yield key, {"_target_": "ecgcls.data.module.ECGDataModule", "_partial_": True, **module}
        elif "_target_" in node:
            yield key, node
        for name, child in node.items():
            yield from _find_targets(child, f"{key}.{name}" if key else str(name))


def _check_target(key: str, node: dict[str, Any]) -> None:
    target = node["_target_"]
    try:
        called = get_object(target)
        signature = inspect.signature(called)
    except Exception as error:  # whatever an import of somebody's module may raise
        cause = error.__cause__ or error
        raise ConfigError(f"{key}._target_: cannot import {target} ({str(cause).splitlines()[0]})") from error
    _check_settings(key, node, signature, _type_hints(called))


def _check_settings(key: str, node: dict[str, Any], signature: inspect.Signature, hints: Mapping[str, Any]) -> None:
    """Hold a node against what its target takes."""
    target, parameters = node["_target_"], signature.parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name, value in node.items():
        if name in _INSTANTIATE_KEYS:
            continue
        if name not in parameters and not takes_any:
            raise ConfigError(f"{key}.{name}: no such setting of {target}{suggest(name, list(parameters))}")
        is_node = isinstance(value, dict) and "_target_" in value
        if name in hints and not is_node and not _fits(value, hints[name]):
            raise ConfigError(f"{key}.{name} must be {_name_type(hints[name])}, got {value!r}")
    if node.get("_partial_"):
        return
    for name, parameter in parameters.items():
        is_variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and not is_variadic and name not in node:
            raise ConfigError(f"{key}.{name}: {target} needs this setting")


def _type_hints(called: Any) -> dict[str, Any]:
    """Return the annotations of a callable's arguments; none where they cannot be evaluated."""
    try:
        return typing.get_type_hints(called.__init__ if inspect.isclass(called) else called)
    except Exception:  # an annotation may name what is only imported for type checkers
        return {}


def _fits(value: Any, hint: Any) -> bool:
    from typeguard import TypeCheckError, check_type

    if isinstance(value, bool) and not _mentions_bool(hint):
        return False  # to Python true is a number; to a reader of a YAML file it is not
    converted = [tuple(value)] if isinstance(value, list) else [Path(value)] if isinstance(value, str) else []
    for candidate in (value, *converted):
        try:
            check_type(candidate, hint)
        except TypeCheckError:
            continue
        return True
    return False


def _mentions_bool(hint: Any) -> bool:
    if hint in (bool, Any, object) or any(isinstance(literal, bool) for literal in typing.get_args(hint)):
        return True
    return any(_mentions_bool(argument) for argument in typing.get_args(hint))


def _name_type(hint: Any) -> str:
    """Say a type as one would to a reader: ``int``, ``100 or 500``, ``str or null``."""
    if hint is type(None):
        return "null"
    if isinstance(hint, type) and not typing.get_args(hint):
        return {
            "int": "a whole number",
            "float": "a number",
            "str": "a text",
            "bool": "true or false",
            "Path": "a path",
        }.get(hint.__name__, hint.__name__)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(str(value) for value in typing.get_args(hint))
    if type(None) in typing.get_args(hint) or "Union" in str(typing.get_origin(hint)):
        return " or ".join(_name_type(argument) for argument in typing.get_args(hint))
    return str(hint).replace("typing.", "").replace("collections.abc.", "")


def _flatten(config: DictConfig, *, resolve: bool) -> Iterator[tuple[str, Any]]:
    """Yield every leaf with its dotted key; an empty dict or a list is a leaf."""

    def walk(node: Any, key: str) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict) and node:
            for name, child in node.items():
                yield from walk(child, f"{key}.{name}" if key else str(name))
        else:
            yield key, node

    yield from walk(OmegaConf.to_container(config, resolve=resolve), "")


def _name_value(value: Any) -> str:
    """Write a value so that it can stand in a folder's name; what had to be changed gets a digest."""
    is_word = value is None or isinstance(value, bool)
    text = json.dumps(value) if is_word else str(value)  # null, true, false
    if re.fullmatch(r"[A-Za-z0-9._+-]{1,40}", text) and text not in (".", ".."):
        return text
    last = re.sub(r"[^A-Za-z0-9._+-]+", "-", text.rstrip("/").rpartition("/")[2]).strip("-")[:40]
    return f"{last}~{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
