"""The nets of an ensemble, ready to predict: each member's net with its own calibrator, and the mean of all.

Members that take the same input (leads, sampling rate, length, metadata) are one net, `BlendedNet`, that is applied to
windows as any other. Where members take different input, each recording is brought into every form and each net sees
its own windows; what they say of a whole recording is averaged (`LoadedEnsemble`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgcls.data.metadata import describe_unknown
from ecgcls.data.recordings import Prepared
from ecgcls.data.seen import SeenRecords
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.blending import Blend
from ecgcls.evaluation.logits import mean_of_probabilities
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.jobs.load import load_configuration
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.jobs.prediction import Prediction
from ecgcls.jobs.predictor import Unusable
from ecgcls.jobs.scored import Scored, average_p_values, describe_known, describe_unusable
from ecgcls.runs.configuration import Configuration, read_single
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.members import open_members, read_blend
from ecgcls.training.standardizer import StandardizedNet
from ecgcls.training.windows import apply_net


class BlendedNet(StandardizedNet):
    """The members of an ensemble that take the same input, as one net: the mean of their recalibrated logits."""

    def __init__(self, members: Sequence[LoadedRun], blend: Blend) -> None:
        nn.Sequential.__init__(self, *(member.nets[0] for member in members))
        self.windows = None  # each member has its own
        self.members, self.blend = [member.nets[0] for member in members], blend
        self._class_names = members[0].class_names
        self.calibrators = [member.calibrators[0] for member in members]
        self._may_lack = members[0].may_lack_leads

    def forward(self, signal_mv: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Turn ``(batch, lead, sample)`` in mV, and metadata ``(batch, column)``, into logits of double precision."""
        logits = []
        for net, calibrator in zip(self.members, self.calibrators, strict=True):
            whole = net.fill_absent(signal_mv) if self._may_lack else signal_mv
            own = apply_net(net, whole, metadata).double().cpu().numpy()
            logits.append(calibrator.apply_logits(own, self._class_names))
        return torch.from_numpy(self.blend.apply(logits))

    def fill_absent(self, signal_mv: Tensor) -> Tensor:
        """Return leads as they are: each member fills in its own mean."""
        return signal_mv


def load_ensemble(one: Configuration, *, device: str = "cpu", trust: Sequence[str] = ()) -> LoadedRun:
    """Load the nets of an ensemble, or of all its folds, as `ecgcls.jobs.load.load_run` does."""
    nets, every, forms = [], [], []
    for run, info in zip(one.runs, one.infos, strict=True):
        blend = read_blend(info)
        members = [load_configuration(read_single(member), device=device, trust=trust) for member in open_members(run)]
        run.attest()
        forms = _group(members)
        if len(forms) > 1 and len(one.runs) > 1:
            raise ConfigError(
                f"{one.folder}: the members take different input ({_describe_forms(members)}), so that folds cannot be "
                "averaged as well: name one fold"
            )
        nets.append(BlendedNet(members, blend))
        every += members
    whole = replace(
        max(every, key=lambda member: member.sampling_rate_hz),
        path=one.folder,
        nets=tuple(nets),
        thresholds=one.thresholds,
        calibrators=tuple(info.read_decisions().calibrator for info in one.infos),
        info=one.info,
        folds="" if one.is_single_run else one.folds,
        runs=one.runs,
        learned=_list_data_sets(every),
    )
    if len(forms) == 1:
        return whole
    parts = [[members[number] for number in numbers] for numbers in forms]
    shares = [[blend.weights[number] for number in numbers] for numbers in forms]
    return LoadedEnsemble(
        **{each.name: getattr(whole, each.name) for each in fields(LoadedRun)}
        | {"metadata_names": tuple(dict.fromkeys(name for member in members for name in member.metadata_names))},
        parts=tuple(_join(part, blend, share) for part, share in zip(parts, shares, strict=True)),
        blend=replace(blend, weights=tuple(map(sum, shares))),
    )


@dataclass(frozen=True, eq=False, repr=False)
class LoadedEnsemble(LoadedRun):
    """An ensemble whose members take different input; what each says of a whole recording is averaged.

    Attributes
    ----------
    parts
        Those members that take the same input, together; their calibrators are in their net.
    blend
        The mean of the parts.
    """

    parts: tuple[LoadedRun, ...] = ()
    blend: Blend = field(default_factory=lambda: Blend((1.0,)))

    @cached_property
    def why_no_likeness(self) -> str:
        """Why there are no `likenesses`, in words; empty if there are."""
        return next((part.why_no_likeness for part in self.parts if part.why_no_likeness), "")

    @cached_property
    def seen(self) -> SeenRecords | None:
        """The waveforms of the first part's data sets, as each part has its own form; None if one has kept none."""
        return None if any(part.seen is None for part in self.parts) else self.parts[0].seen

    def list_parts(self) -> Sequence[LoadedRun]:
        """Return the parts, each of which is given a recording in its own form."""
        return self.parts

    def apply_nets(
        self, windows_mv: NDArray[np.float32], metadata: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Refuse windows of one form, of which only a part of the members knows anything."""
        raise _several_inputs(self)

    def conclude(
        self,
        seen: Sequence[tuple[Prepared, Scored, NDArray[np.float64]]],
        *,
        error_rate: float | None = None,
        unusable: Unusable = "note",
    ) -> Prediction:
        """Decide about a recording, given for each part its form, what is known of the windows, and the metadata.

        It is no usable ECG, or unlike the training data, if one of the parts says so.
        """
        raw = self.blend.apply([mean_of_probabilities(scored.logits)[None] for _, scored, _ in seen])  # (1, class)
        told = [describe_unusable(scored, prepared.lost) for prepared, scored, _ in seen]
        doubts = tuple(dict.fromkeys(text for texts, _ in told for text in texts))
        if unusable == "refuse" and any(is_most for _, is_most in told):
            raise DataError(f"refused, as unusable=refuse asks: {'; '.join(doubts)}")
        repairs = [*(text for prepared, _, _ in seen for text in prepared.repairs)]
        for part, (_, _, metadata) in zip(self.parts, seen, strict=True):
            repairs += describe_unknown(metadata, part.metadata_names)
        known = dict.fromkeys(text for _, scored, _ in seen if (text := describe_known(scored)))
        first = seen[0][1]
        joined = Scored(
            self.average(raw[None]),
            average_p_values(self.conformals, raw[None]) if error_rate is not None else first.p_values[:1],
            *(getattr(first, name)[:1] for name in Scored._fields[2:]),
        )
        whole = replace(seen[0][0], starts_s=(0.0,), repairs=tuple(dict.fromkeys(repairs)))
        return self.decide(joined, whole, doubts, "; ".join(known), error_rate)


def check_one_input(run: LoadedRun) -> None:
    """Refuse an ensemble whose members take different input, where all records are of one form."""
    if isinstance(run, LoadedEnsemble):
        raise _several_inputs(run)


def _several_inputs(run: LoadedEnsemble) -> ConfigError:
    return ConfigError(
        f"{run.path}: its members take different input ({_describe_forms(run.parts)}), and a data set has one form: "
        "evaluate each member, or an ensemble of those that take the same; predict takes files"
    )


def _group(members: Sequence[LoadedRun]) -> list[list[int]]:
    """Return the numbers of the members that take the same input, together."""
    groups: dict[Any, list[int]] = {}
    for number, member in enumerate(members):
        groups.setdefault(_describe_form(member), []).append(number)
    return list(groups.values())


def _describe_form(member: LoadedRun) -> tuple[Any, ...]:
    form = member.lead_names, member.sampling_rate_hz, member.n_samples, member.metadata_names
    return (*form, member.may_lack_leads, member.pads)


def _describe_forms(members: Sequence[LoadedRun]) -> str:
    texts = [
        f"{len(one.lead_names)} leads at {one.sampling_rate_hz:g} Hz for {one.n_samples / one.sampling_rate_hz:g} s"
        for one in members
    ]
    return ", ".join(dict.fromkeys(texts))


def _join(members: Sequence[LoadedRun], blend: Blend, weights: Sequence[float]) -> LoadedRun:
    """Return members that take the same input as one run, whose predictions are not recalibrated further."""
    names, total = members[0].class_names, sum(weights)
    own = [weight / total for weight in weights] if total else [1 / len(weights)] * len(weights)
    net = BlendedNet(members, replace(blend, weights=tuple(own)))
    as_it_is = Calibrator("none", {name: {"method": "none", "slope": 1.0, "intercept": 0.0} for name in names})
    learned = _list_data_sets(members)
    return replace(members[0], nets=(net,), calibrators=(as_it_is,), learned=learned)


def _list_data_sets(members: Sequence[LoadedRun]) -> tuple[RunDirectory, ...]:
    """Return one run for each data set, by its signals, that members have learned from."""
    found: dict[Any, RunDirectory] = {}
    for member in members:
        info = member.runs[0].read_info()
        parts = [info.data["parts"][part].get("signals_sha256", member.path) for part in ("train", "val", "test")]
        found.setdefault((*parts, *_describe_form(member)), member.runs[0])
    return tuple(found.values())
