"""Nets that are tested on another data set, and what is known of what they have learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.seen import SeenRecords
from ecgcls.errors import ConfigError
from ecgcls.jobs.load_bundle import load_bundle
from ecgcls.jobs.predictor import Predictor
from ecgcls.jobs.trust import take_trusted

if TYPE_CHECKING:
    from ecgcls.runs.configuration import Configuration


@dataclass(frozen=True, eq=False)
class Tested:
    """The nets of a run, of several, or of a bundle.

    Attributes
    ----------
    net
        What predicts.
    task
        The node ``task`` of their configuration, which may be built.
    seen
        The waveforms that they have learned from; None where a bundle has kept none.
    own
        The run, or its folds, with their stored predictions; None of a bundle, which has none.
    standardizer_mv
        Mean and standard deviation of each lead, ``(lead,)``, mV, where they must be those of the training records:
        of one net whose standardizer is fitted. Else None.
    """

    net: Predictor
    task: Mapping[str, Any]
    seen: SeenRecords | None
    own: Configuration | None = None
    standardizer_mv: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    @property
    def is_single_run(self) -> bool:
        """Whether the nets are of one run, not the mean over folds."""
        return not self.net.folds

    @property
    def title(self) -> str:
        """The nets, in words."""
        info = self.net.info
        return f"{info.model}, {f'fold {info.fold}' if self.is_single_run else f'mean of {self.net.folds}'}"


def load_tested_bundle(path: Path, *, device: str = "cpu", trust: Sequence[str] = ()) -> Tested:
    """Load a bundle to test it on another data set; its task, which may be anybody's, is built only if it is known."""
    net = load_bundle(path, device=device)
    try:
        task = take_trusted(net.bundle.info.content, "task", trust=trust)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return Tested(net, task, net.seen)
