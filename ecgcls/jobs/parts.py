"""What of a configuration can be built without Lightning: a net, a task, fold tables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ecgcls.config import RunConfig
from ecgcls.data.source import Source, split_settings
from ecgcls.errors import ConfigError, DataError
from ecgcls.identity import identify

if TYPE_CHECKING:  # what fails early imports neither torch nor scikit-learn
    from torch import nn

    from ecgcls.runs.directory import RunDirectory

_Config = TypeVar("_Config", bound=Mapping[str, Any])


def build_net(config: Mapping[str, Any], *, n_leads: int, n_samples: int, n_classes: int) -> nn.Module:
    """Build the untrained net of a configuration; one that refuses, or whose package is absent, is a `ConfigError`."""
    node, columns = split_metadata(config["model"])
    try:
        net: nn.Module = instantiate(node, _convert_="all")(n_leads, n_samples, n_classes)
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(f"model: {node.get('_target_')} cannot be built: {' '.join(str(cause).split())}") from error
    if columns:
        from ecgcls.training.metadata import MetadataNet

        net = MetadataNet(net, columns=columns, n_classes=n_classes)
    if config.get("task", {}).get("exclusive"):
        from ecgcls.training.exclusive import make_exclusive  # with torch, which what fails early does without

        return make_exclusive(net)
    return net


def split_metadata(node: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Split a node of the group ``model`` into what is built and the columns that it takes beside the ECG."""
    columns = tuple(node.get("metadata") or ())
    if len(set(columns)) < len(columns):
        raise ConfigError(f"model.metadata names a column twice: {', '.join(columns)}")
    return {key: value for key, value in node.items() if key != "metadata"}, columns


def build_part(key: str, node: Mapping[str, Any]) -> Any:
    """Build what a node names; its own refusal comes through as it is."""
    try:
        return instantiate(node, _convert_="all")  # lists and dicts as such
    except InstantiationException as error:
        cause = error.__cause__
        raise (
            cause if isinstance(cause, ConfigError | DataError) else ConfigError(f"{key}: {cause or error}")
        ) from error


def settle_data(config: _Config, *, tell: Callable[[str], None] = lambda line: None) -> _Config:
    """Return a configuration in which nothing about the data set is left to be guessed, where its source guesses.

    `tell` is given what was understood, in lines.
    """
    node = config["data"]
    source: Any = build_part("data", split_settings(node)[0])
    if not hasattr(source, "settle"):
        return config
    settled = {**config, "data": {**node, **source.settle()}}
    for line in source.describe():
        tell(line)
    return settled  # type: ignore[return-value]


def check_data(config: Mapping[str, Any]) -> None:
    """Refuse a task, a fold or a data set's tables that are not there, before torch and Lightning are imported.

    Simulated data are written where they are missing.
    """
    folds, _ = build_part("folds", config["folds"]), build_part("task", config["task"])
    if "fold" in config:
        folds.check_fold(config["fold"])
    source: Source = build_part("data", split_settings(config["data"])[0])
    if source.is_synthetic:
        return
    try:
        source.fingerprint()
    except OSError:  # reading says it in words
        source.prepare()
        source.read_records()
        source.read_statements()


def check_repeated(run: RunDirectory, config: RunConfig) -> None:
    """Refuse to take a finished run for the result of another configuration, or of other data.

    The tables of the data set are compared if they are still where the configuration says; the run does not need them.
    """
    run.check_same_config(identify(config))
    source: Source = build_part("data", split_settings(config["data"])[0])
    with contextlib.suppress(OSError):
        run.check_same_data(source.fingerprint())
    from ecgcls.runs.origin import check_same_origin, find_origin  # with all that reads a run

    if (origin := find_origin(config)) is not None:
        check_same_origin(run, origin.weights_sha256)
    if (teacher := find_origin(config, "distill")) is not None:
        check_same_origin(run, teacher.weights_sha256, "distill")


def list_without_effect(run: RunDirectory, config: RunConfig) -> list[str]:
    """Return what was asked for, and would show only in a training, of a run that is finished already."""
    saved, keys = run.read_config(), []
    if config["logger"].keys() - saved.get("logger", {}).keys():
        keys.append(f"logger={','.join(config['logger'])}")
    for name in ("enable_model_summary", "profiler"):
        if (value := config["trainer"].get(name)) and value != saved["trainer"].get(name):
            keys.append(f"trainer.{name}={str(value).lower()}")
    if config["n_threads"] != run.read_info().n_threads:
        keys.append(f"n_threads={config['n_threads']}")
    return keys
