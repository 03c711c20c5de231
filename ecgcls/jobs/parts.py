"""What of a configuration can be built without Lightning: a net, a task, fold tables."""

import contextlib
from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn

from ecgcls.config import RunConfig
from ecgcls.data.source import Source, split_settings
from ecgcls.errors import ConfigError, DataError
from ecgcls.identity import identify
from ecgcls.runs.directory import RunDirectory


def build_net(config: Mapping[str, Any], *, n_leads: int, n_samples: int, n_classes: int) -> nn.Module:
    """Build the untrained net of a configuration; one that refuses, or whose package is absent, is a `ConfigError`."""
    node = config["model"]
    try:
        net: nn.Module = instantiate(node)(n_leads, n_samples, n_classes)
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(f"model: {node.get('_target_')} cannot be built: {' '.join(str(cause).split())}") from error
    return net


def build_part(key: str, node: Mapping[str, Any]) -> Any:
    """Build what a node names; its own refusal comes through as it is."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause = error.__cause__
        raise (
            cause if isinstance(cause, ConfigError | DataError) else ConfigError(f"{key}: {cause or error}")
        ) from error


def check_repeated(run: RunDirectory, config: RunConfig) -> None:
    """Refuse to take a finished run for the result of another configuration, or of other data.

    The tables of the data set are compared if they are still where the configuration says; the run does not need them.
    """
    run.check_same_config(identify(config))
    source: Source = build_part("data", split_settings(config["data"])[0])
    with contextlib.suppress(OSError):
        run.check_same_data(source.fingerprint())
