"""The settings ``init``: which net a training starts from, told by its content where its place does not count."""

from ecgcls.config import InitSettings, RunConfig
from ecgcls.errors import ConfigError


def settle_init(config: RunConfig) -> RunConfig:
    """Add to ``init`` the `source` of its weights, which counts in the run's identity in place of their path.

    Raises
    ------
    ConfigError
        If it names nothing to start from, or if its settings contradict one another.
    """
    init = config.get("init")
    if init is None:
        return config
    check_init(init)
    if init["path"] is None:
        return config
    from ecgcls.runs.origin import find_origin  # reads runs, which most need not

    origin = find_origin(config)
    assert origin is not None
    return {**config, "init": {**init, "source": origin.source}}  # type: ignore[typeddict-unknown-key]


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
