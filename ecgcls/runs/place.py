"""Where a run is."""

from pathlib import Path

from ecgcls.config import RunConfig


def place_run(config: RunConfig, *, model: str, variant: str) -> Path:
    """Return the folder of a run, whether it is there or not."""
    return config["output_dir"] / config["experiment"] / model / variant / f"fold_{config['fold']}"
