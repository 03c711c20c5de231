"""A finished run as nets that are ready to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ecgcls.data.likeness import Likeness
from ecgcls.data.metadata import take_values
from ecgcls.data.recordings import Recording
from ecgcls.data.seen import SeenRecords, merge
from ecgcls.data.signal_checks import as_signal
from ecgcls.errors import DataError
from ecgcls.evaluation.conformal import Conformal
from ecgcls.jobs.certainty import learn_from
from ecgcls.jobs.predictor import BATCH_SIZE, Predictor
from ecgcls.runs.directory import RunDirectory
from ecgcls.training.standardizer import StandardizedNet
from ecgcls.training.windows import apply_net

if TYPE_CHECKING:
    from ecgcls.jobs.explain_recording import Explanation


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LoadedRun(Predictor):
    """A finished run, or the folds of a configuration together, ready to be applied.

    Attributes
    ----------
    nets
        One per fold; each takes ``(batch, lead, sample)`` in mV, and metadata ``(batch, column)`` if there are any, and
        returns logits ``(batch, class)``.
    runs
        The folders that the nets are of, in the same order.
    learned
        The runs that have learned from a data set: an ensemble's members, each data set once; empty: `runs`.
    """

    nets: tuple[StandardizedNet, ...]
    runs: tuple[RunDirectory, ...] = ()
    learned: tuple[RunDirectory, ...] = ()

    def _learn_conformals(self) -> Sequence[Conformal]:
        return [learn_from(run, self.class_names) for run in self.runs]

    def _read_likenesses(self) -> Sequence[Likeness | None]:
        return [run.read_likeness() for run in self.learned or self.runs]

    @cached_property
    def seen(self) -> SeenRecords | None:
        """The waveforms of the nets' data sets; None if a run has not kept them."""
        runs = self.learned or self.runs
        if not runs or not all(run.has_seen for run in runs):
            return None
        every = [run.read_seen() for run in runs]
        return every[0] if len(every) == 1 else merge(every)

    def explain(
        self,
        signal_mv: ArrayLike,
        *,
        sampling_rate_hz: float,
        lead_names: Sequence[str],
        metadata: Mapping[str, float | None] | None = None,
        classes: Sequence[str] | None = None,
        method: str = "grad_cam",
    ) -> Explanation:
        """Explain one recording: how much each sample of each lead counts for some classes, given the metadata.

        The first arguments are those of `predict`; see `ecgcls.jobs.explain_recording.explain_recording` for the rest.
        """
        from ecgcls.jobs.explain_recording import explain_recording  # heavy, and predictions do not need it

        values = take_values(metadata, self.metadata_names)
        recording = Recording(as_signal(signal_mv, lead_names), sampling_rate_hz, tuple(lead_names))
        return explain_recording(self, recording, metadata=values, class_names=classes, method=method)

    def apply_nets(
        self, windows_mv: NDArray[np.float32], metadata: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the nets' own logits of windows, before recalibration: ``(net, window, class)``, all finite.

        A lead that is nan is not there: a net that may lack leads gets it as 0, standardized, as in its training.
        """
        logits = np.empty((len(self.nets), len(windows_mv), len(self.class_names)))
        device = next(self.nets[0].buffers()).device
        with torch.inference_mode():
            for start in range(0, len(windows_mv), BATCH_SIZE):
                batch = torch.from_numpy(windows_mv[start : start + BATCH_SIZE]).to(device)
                beside = self.to_tensor(metadata, slice(start, start + BATCH_SIZE), device)
                for number, net in enumerate(self.nets):
                    whole = net.fill_absent(batch) if self.may_lack_leads else batch
                    own = apply_net(net, whole, beside).double().cpu().numpy()
                    if not np.isfinite(own).all():
                        raise DataError(f"{self.path}: the net's logits are not finite")
                    logits[number, start : start + len(batch)] = own
        return logits

    def to_tensor(
        self, metadata: NDArray[np.float64] | None, rows: slice, device: torch.device | str
    ) -> torch.Tensor | None:
        """Return rows of metadata as the nets take them; None if they take none."""
        if metadata is None or not self.metadata_names:
            return None
        return torch.from_numpy(metadata[rows]).float().to(device)
