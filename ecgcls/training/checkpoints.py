"""Checkpoints that are whole or not there."""

import io
import logging
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO

from ecgcls.files import STANDARDIZED_ON, check_archive, write_atomically

log = logging.getLogger(__name__)

_TYPES = {"epoch": int, "global_step": int, "state_dict": dict, "callbacks": dict, STANDARDIZED_ON: str}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name in its own folder and renames it.

    A kill or a full disk leaves the previous checkpoint as it was. Lightning's own way goes through the system's
    temporary folder, from where a move to another disk is a copy that can be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, replacing an older one."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(Path(path), content.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return a checkpoint that is there and whole; of one that is damaged a warning says so."""
    if not path.is_file():
        return None
    try:
        check_archive(path)
        stored: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        absent = [key for key, kind in _TYPES.items() if not isinstance(stored.get(key), kind)]
    except Exception as error:  # a damaged file raises whatever the unpickler stumbles over
        log.warning("%s: damaged (%s)", path, (str(error) or type(error).__name__).splitlines()[0])
        return None
    if absent:
        log.warning("%s: damaged (it has no %s)", path, absent[0])
        return None
    return stored
