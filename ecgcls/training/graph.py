r"""The whole way from a raw ECG to a calibrated probability as one module, for export.

It computes what `ecgcls.jobs.predictor.Predictor` does with a recording in the nets' leads and sampling rate: a long
one is cut into stretches of the length that the nets were trained on, side by side, the last one ending with the
recording; each net standardizes a stretch, is asked about its windows and recalibrated; probabilities are averaged over
nets, then over stretches. What averages and recalibrates computes in double precision, as in the library.

Shapes are never read into Python numbers where they may change, so that a graph of it takes any batch and any length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ecgcls.evaluation.blending import Blend
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.training.standardizer import StandardizedNet
from ecgcls.training.windows import Windows, apply_net


class Answers(NamedTuple):
    """What a `Graph` says of recordings."""

    probabilities: Tensor
    """``(batch, class)``, float32."""
    logits: Tensor
    """``(batch, class)``, float64: of these probabilities."""
    net_logits: Tensor
    """``(batch, stretch, net, class)``, float64: each net's own, before recalibration."""


class Graph(nn.Module):
    """Nets that take the same input, from millivolt to the mean of their calibrated probabilities.

    Parameters
    ----------
    nets
        Each takes ``(batch, lead, sample)`` in mV, and metadata ``(batch, column)`` where there are any.
    calibrators
        One per net.
    class_names
        The classes, in the order of the logits.
    n_samples
        Of a record as the nets were trained on; a longer one is cut.
    """

    def __init__(
        self,
        nets: Sequence[OneNet | BlendedNets],
        calibrators: Sequence[Calibrator],
        class_names: Sequence[str],
        *,
        n_samples: int,
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.calibrators = nn.ModuleList(Recalibration(each, class_names) for each in calibrators)
        self.n_samples = n_samples

    @property
    def min_samples(self) -> int:
        """Of the shortest record that all nets take."""
        return max(net.find_min_samples(self.n_samples) for net in self.nets)  # type: ignore[operator]

    def forward(self, signal_mv: Tensor, metadata: Tensor | None = None) -> Answers:
        """Answer for recordings ``(batch, lead, sample)`` in mV, all of one length, from `min_samples` up."""
        stretches = _take(signal_mv, _place_stretches(signal_mv, self.n_samples, least=self.min_samples))
        n_stretches = stretches.shape[2]
        flat = stretches.transpose(1, 2).flatten(0, 1)  # (batch * stretch, lead, sample)
        beside = None if metadata is None else _repeat(metadata, stretches)
        own = torch.stack([net(flat, beside) for net in self.nets], dim=1).double()  # (batch * stretch, net, class)
        calibrated = torch.stack([each(own[:, number]) for number, each in enumerate(self.calibrators)], dim=1)
        by_stretch = _average(calibrated).unflatten(0, (-1, n_stretches))
        logits = _average(by_stretch)
        return Answers(logits.sigmoid().float(), logits, own.unflatten(0, (-1, n_stretches)))


class OneNet(nn.Module):
    """A net with its standardizer and windows; with `may_lack_leads` it takes leads that are nan as absent."""

    def __init__(self, net: StandardizedNet, *, may_lack_leads: bool = False) -> None:
        super().__init__()
        self.standardizer, self.net = net
        self.windows, self.may_lack_leads = net.windows, may_lack_leads

    def find_min_samples(self, n_samples: int) -> int:
        """Return the samples of the shortest record that the net takes, trained on `n_samples`."""
        return n_samples if self.windows is None else self.windows.n_samples

    def forward(self, signal_mv: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Turn ``(batch, lead, sample)`` in mV into logits ``(batch, class)``."""
        signal = self.standardizer(signal_mv)
        if self.may_lack_leads:
            signal = torch.where(signal[..., :1].isnan(), 0.0, signal)  # the mean, once standardized
        if self.windows is None:
            return apply_net(self.net, signal, metadata)
        cut = _take(signal, _place_windows(signal, self.windows))
        n_windows = cut.shape[2]
        beside = None if metadata is None else _repeat(metadata, cut)
        logits = apply_net(self.net, cut.transpose(1, 2).flatten(0, 1), beside)
        return self.windows.pool(logits.unflatten(0, (-1, n_windows)))


class BlendedNets(nn.Module):
    """The members of an ensemble as one net: the mean of their recalibrated logits."""

    def __init__(
        self, nets: Sequence[OneNet], calibrators: Sequence[Calibrator], class_names: Sequence[str], blend: Blend
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.calibrators = nn.ModuleList(Recalibration(each, class_names) for each in calibrators)
        self.average, self.is_exclusive = blend.average, blend.is_exclusive
        self.register_buffer("weights", torch.tensor(blend.weights, dtype=torch.float64)[:, None, None])

    def find_min_samples(self, n_samples: int) -> int:
        """Return the samples of the shortest record that all members take, trained on `n_samples`."""
        return max(net.find_min_samples(n_samples) for net in self.nets)  # type: ignore[operator]

    def forward(self, signal_mv: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Turn ``(batch, lead, sample)`` in mV into logits ``(batch, class)`` of double precision."""
        pairs = zip(self.nets, self.calibrators, strict=True)
        every = torch.stack([recalibrate(net(signal_mv, metadata).double()) for net, recalibrate in pairs])
        weights = self.get_buffer("weights")  # (net, 1, 1)
        if self.average == "probabilities":
            log_weights = weights.log()
            positive, negative = ((logsigmoid(sign * every) + log_weights).logsumexp(dim=0) for sign in (1, -1))
            return positive - negative
        if self.is_exclusive:
            return _against_the_rest((weights * logsigmoid(every)).sum(dim=0))
        return (weights * every).sum(dim=0)


class Recalibration(nn.Module):
    """A `Calibrator` for logits ``(batch, class)`` of double precision."""

    def __init__(self, calibrator: Calibrator, class_names: Sequence[str]) -> None:
        super().__init__()
        fitted = [calibrator.by_class[name] for name in class_names]
        for key, usual in (("slope", 1.0), ("intercept", 0.0)):
            values = torch.tensor([one.get(key, usual) for one in fitted], dtype=torch.float64)
            self.register_buffer(key, values)
        self.is_exclusive = bool(calibrator.is_exclusive) and calibrator.method != "none"
        self.steps = nn.ModuleDict(
            {str(number): _Steps(one) for number, one in enumerate(fitted) if one["method"] == "isotonic"}
        )

    def forward(self, logits: Tensor) -> Tensor:
        """Recalibrate."""
        slope, intercept = self.get_buffer("slope"), self.get_buffer("intercept")
        if self.is_exclusive:
            return _against_the_rest(slope * logsigmoid(logits) + intercept)
        straight = slope * logits + intercept
        if not self.steps:
            return straight
        columns = [
            self.steps[str(number)](logits[:, number]) if str(number) in self.steps else straight[:, number]
            for number in range(len(slope))
        ]
        return torch.stack(columns, dim=1)


class _Steps(nn.Module):
    """The interpolated step function of an isotonic calibrator, for logits ``(batch,)`` of one class."""

    def __init__(self, fitted: Mapping[str, Any]) -> None:
        super().__init__()
        self.is_of_prob = "prob" in fitted
        knots = np.asarray(fitted["prob" if self.is_of_prob else "logit"], dtype=np.float64)
        values = np.asarray(fitted["calibrated"], dtype=np.float64)
        if len(knots) == 1:
            knots, values = knots[0] + np.arange(2.0), np.repeat(values, 2)
        width = np.diff(knots)
        rise = np.divide(np.diff(values), width, out=np.zeros_like(width), where=width > 0)
        for name, array in (("knots", knots), ("values", values), ("rise", rise)):
            self.register_buffer(name, torch.from_numpy(array))

    def forward(self, logits: Tensor) -> Tensor:
        knots, values, rise = (self.get_buffer(name) for name in ("knots", "values", "rise"))
        at = (logits.sigmoid() if self.is_of_prob else logits).clamp(knots[0], knots[-1])
        below = (at[:, None] >= knots[:-1]).sum(dim=1) - 1  # the last knot that is not above
        prob = values[below] + (at - knots[below]) * rise[below]
        return prob.log() - (-prob).log1p()


def _average(logits: Tensor) -> Tensor:
    """Return the logit of the mean of the probabilities along axis 1, without computing any probability."""
    return logsigmoid(logits).logsumexp(dim=1) - logsigmoid(-logits).logsumexp(dim=1)


def _against_the_rest(scores: Tensor) -> Tensor:
    """Turn scores ``(batch, class)``, of which the softmax is the probability, into log odds against the others."""
    is_own = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    others = scores[:, None, :].masked_fill(is_own, -torch.inf)  # (batch, class, other)
    return scores - others.logsumexp(dim=2)


def _take(signal: Tensor, index: Tensor) -> Tensor:
    """Cut ``(batch, lead, sample)`` at samples ``(part, sample)`` into ``(batch, lead, part, sample)``."""
    return signal.index_select(2, index.flatten()).unflatten(2, index.shape)


def _repeat(metadata: Tensor, cut: Tensor) -> Tensor:
    """Turn ``(batch, column)`` into ``(batch * part, column)`` for parts ``(batch, lead, part, sample)``.

    By a product: what torch's exporter makes of ``repeat_interleave`` onnxruntime refuses for some sizes.
    """
    return (metadata[:, None] * torch.ones_like(cut[:, 0, :, :1])).flatten(0, 1)


def _place_stretches(signal: Tensor, n_samples: int, *, least: int) -> Tensor:
    """Return the samples ``(stretch, sample)`` of stretches side by side, of which the last ends with the record.

    Nets that take no fewer than `n_samples` see stretches of one fixed length.
    """
    if torch.jit.is_tracing():  # which takes a length for a constant
        return _script(_traced_stretches)(signal, n_samples)
    length = signal.shape[-1]
    size = n_samples if least == n_samples else torch.sym_min(length, n_samples)
    starts = (torch.arange((length + size - 1) // size) * size).clamp(max=length - size)
    return starts[:, None] + torch.arange(size)


def _place_windows(signal: Tensor, windows: Windows) -> Tensor:
    """Return the samples ``(window, sample)`` of windows that are spread evenly, as `Windows.find_starts`."""
    step = max(1, windows.n_samples // 2)
    if torch.jit.is_tracing():
        return _script(_traced_windows)(signal, windows.n_samples, step)
    room = signal.shape[-1] - windows.n_samples
    n_steps = (room + step - 1) // step
    starts = (torch.arange(n_steps + 1).double() * room / torch.sym_max(n_steps, 1)).round().long()
    return starts[:, None] + torch.arange(windows.n_samples)


@cache
def _script(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    scripted: Callable[..., Tensor] = torch.jit.script(function)
    return scripted


def _traced_stretches(signal: Tensor, n_samples: int) -> Tensor:
    length = signal.size(-1)
    size = min(length, n_samples)
    starts = (torch.arange((length + size - 1) // size) * size).clamp(max=length - size)
    return starts[:, None] + torch.arange(size)


def _traced_windows(signal: Tensor, n_samples: int, step: int) -> Tensor:
    room = signal.size(-1) - n_samples
    n_steps = (room + step - 1) // step
    starts = (torch.arange(n_steps + 1).double() * room / max(n_steps, 1)).round().long()
    return starts[:, None] + torch.arange(n_samples)
