"""The settings ``init`` and ``distill``: which net a training starts or learns from, told by content, not place."""

from typing import Any, Literal

from ecgcls.config import DistillSettings, InitSettings, RunConfig
from ecgcls.errors import ConfigError


def settle_init(config: RunConfig) -> RunConfig:
    """Add to ``init`` and ``distill`` the `source` of the weights, which counts in place of their path.

    Raises
    ------
    ConfigError
        If one names nothing to start or learn from, or if its settings contradict one another.
    """
    if config.get("init") is not None:
        check_init(config["init"])
    if config.get("distill") is not None:
        check_distill(config["distill"])
    keys: tuple[Literal["init", "distill"], ...] = ("init", "distill")
    for key in keys:
        node: Any = config.get(key)
        if node is None or node["path"] is None:
            continue
        from ecgcls.runs.origin import find_origin  # reads runs, which most need not

        origin = find_origin(config, key)
        assert origin is not None
        config = {**config, key: {**node, "source": origin.source}}  # type: ignore[misc]
    return config


def check_init(init: InitSettings) -> None:
    """Refuse settings of ``init`` that are out of their range, or that would do nothing."""
    if not 0 < init["lr_decay"] <= 1:
        raise ConfigError(f"init.lr_decay must be above 0 and at most 1, got {init['lr_decay']}")
    every = init["unfreeze_every"]
    if every is not None and every < 1:
        raise ConfigError(f"init.unfreeze_every must be at least 1 epoch, or null, got {every}")
    if every is not None and init["freeze"] != "backbone":
        raise ConfigError("init.unfreeze_every needs init.freeze=backbone: nothing else is frozen")
    defaults = {"seen": None, "freeze": "none", "lr_decay": 1, "standardizer": "refit", "known_records": "error"}
    idle = [key for key, value in defaults.items() if init[key] != value]  # type: ignore[literal-required]
    if init["path"] is None and idle:
        raise ConfigError(f"init.{idle[0]}={init[idle[0]]} has no effect without a net to start from: set init=PATH")  # type: ignore[literal-required]


def check_distill(distill: DistillSettings) -> None:
    """Refuse settings of ``distill`` that are out of their range, or that would do nothing."""
    if not 0 < distill["weight"] <= 1:
        raise ConfigError(f"distill.weight must be above 0 and at most 1, got {distill['weight']}")
    defaults = {"weight": 0.5, "known_records": "error"}
    idle = [key for key, value in defaults.items() if distill[key] != value]  # type: ignore[literal-required]
    if distill["path"] is None and idle:
        value = distill[idle[0]]  # type: ignore[literal-required]
        raise ConfigError(f"distill.{idle[0]}={value} has no effect without a teacher: set distill=PATH")
