"""What an attribution method takes (a `Query` and settings) and returns (`Maps`), and the row that makes it known.

Conventions: signals are ``(record, lead, sample)`` in mV. What an ECG deviates from, its *baseline*, is the input that
carries no information: each lead's mean over the training set (0 once standardized), not 0 mV.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from torch import Tensor, nn

from ecgcls.errors import ConfigError

BATCH_SIZE = 32
"""Signals that go through the net at once, which bounds the memory."""


@dataclass(frozen=True)
class Query:
    """Some records, each with the class whose logit is explained; built by `make_query`.

    Attributes
    ----------
    net
        Takes ``(record, lead, sample)`` in mV, and the metadata if there are any, and returns logits
        ``(record, class)``; in eval mode.
    class_index
        ``(record,)``, counted from 0.
    baseline_mv, sd_mv
        ``(lead, 1)``: each lead's mean and standard deviation over the training set.
    recalibrate
        Takes and returns logits ``(record, class)``: probabilities are reported as the run reports its own. None: as
        the net gives them.
    metadata
        ``(record, column)``: what the net takes beside the signal, which is held fixed; None if it takes nothing else.
    """

    net: nn.Module
    signal_mv: Tensor
    class_index: Tensor
    baseline_mv: Tensor
    sd_mv: Tensor
    sampling_rate_hz: float
    recalibrate: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    metadata: Tensor | None = None

    def __len__(self) -> int:
        return len(self.class_index)

    @property
    def deviation_mv(self) -> Tensor:
        """``(record, lead, sample)``: the signal minus the baseline, which Captum takes to be 0."""
        return self.signal_mv - self.baseline_mv

    @property
    def leaf_mv(self) -> Tensor:
        """The deviations as a leaf that already requires a gradient: Captum would warn that it has to set that."""
        return self.deviation_mv.requires_grad_()

    def logits(self, deviation_mv: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Return ``(record, class)`` for deviations from the baseline, and the metadata of these records.

        Captum, which repeats and slices records, does the same with `metadata` as an additional argument.
        """
        return self.ask(self.baseline_mv + deviation_mv, metadata)

    def ask(self, signal_mv: Tensor, metadata: Tensor | None) -> Tensor:
        """Return the net's logits ``(record, class)``."""
        logits: Tensor = self.net(signal_mv) if metadata is None else self.net(signal_mv, metadata)
        return logits

    def class_logits(self, deviation_mv: Tensor) -> Tensor:
        """Return ``(record,)``: the logit of each record's class."""
        return self.logits(deviation_mv, self.metadata).gather(1, self.class_index[:, None])[:, 0]

    @property
    def has_gradient(self) -> bool:
        """Whether the logits depend on the signal in a way that has a gradient."""
        first = self.take(slice(1))
        with torch.enable_grad():
            return first.logits(first.leaf_mv, first.metadata).requires_grad

    def to_probability(self, logits: Tensor) -> NDArray[np.float64]:
        """Turn logits ``(record, class)`` into the probability ``(record,)`` of each record's class."""
        values = logits.double().cpu().numpy()
        if self.recalibrate is not None:
            values = self.recalibrate(values)
        return np.asarray(expit(values[np.arange(len(values)), self.class_index.cpu().numpy()]))

    def take(self, rows: Tensor | slice) -> "Query":
        """Return some of the records."""
        metadata = None if self.metadata is None else self.metadata[rows]
        return replace(self, signal_mv=self.signal_mv[rows], class_index=self.class_index[rows], metadata=metadata)

    def split(self, n_records: int) -> Iterator["Query"]:
        """Yield the records in batches of `n_records`."""
        for start in range(0, len(self), n_records):
            yield self.take(slice(start, start + n_records))


def make_query(
    net: nn.Module,
    signal_mv: Tensor | ArrayLike,
    class_index: ArrayLike,
    *,
    baseline_mv: Tensor | ArrayLike,
    sd_mv: Tensor | ArrayLike,
    sampling_rate_hz: float,
    recalibrate: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    metadata: Tensor | ArrayLike | None = None,
) -> Query:
    """Bring everything to the net's device and check that it fits together; see `Query` for the arguments.

    Raises
    ------
    ConfigError
        A shape disagrees, the net has no such class, or it is in training mode.
    """
    if any(module.training for module in net.modules()):
        raise ConfigError(
            "the net is in training mode: dropout and batch statistics change its outputs; call net.eval()"
        )
    device = next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
    signal, baseline, sd = (_to_tensor(values, device) for values in (signal_mv, baseline_mv, sd_mv))
    classes = torch.as_tensor(np.asarray(class_index), dtype=torch.int64, device=device)
    if signal.ndim != 3 or not signal.numel():
        raise ConfigError(f"signal_mv must be (record, lead, sample), got {tuple(signal.shape)}")
    n_records, n_leads, _ = signal.shape
    if classes.shape != (n_records,):
        raise ConfigError(f"class_index must have one class per record, ({n_records},), got {tuple(classes.shape)}")
    for name, values in (("baseline_mv", baseline), ("sd_mv", sd)):
        if values.shape != (n_leads, 1):
            raise ConfigError(f"{name} must be (lead, 1), ({n_leads}, 1), got {tuple(values.shape)}")
    beside = None if metadata is None else _to_tensor(metadata, device)
    if beside is not None and (beside.ndim != 2 or len(beside) != n_records):
        raise ConfigError(f"metadata must be (record, column), ({n_records}, ...), got {tuple(beside.shape)}")
    query = Query(net, signal, classes, baseline, sd, sampling_rate_hz, recalibrate, beside)
    with torch.no_grad():
        n_classes = query.ask(signal[:1], None if beside is None else beside[:1]).shape[1]
    if not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
        raise ConfigError(f"class_index must be in 0..{n_classes - 1}, got {sorted(set(classes.tolist()))}")
    return query


def count_samples(name: str, seconds: float, *, sampling_rate_hz: float) -> int:
    """Turn the setting `name`, a time in seconds, into samples; one that is shorter than a sample is a ConfigError."""
    n_samples = round(seconds * sampling_rate_hz)
    if n_samples < 1:
        raise ConfigError(f"{name} must be at least one sample, {1 / sampling_rate_hz:g} s, got {seconds:g}")
    return n_samples


def _to_tensor(values: Tensor | ArrayLike, device: torch.device) -> Tensor:
    """Bring a tensor or an array, which may be read-only, to a device as float32 without a history."""
    tensor = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float32))
    return tensor.to(device, torch.float32)


@dataclass(frozen=True)
class MethodSettings:
    """Settings of the attribution methods; each reads those that concern it. A number out of range is a ConfigError.

    Parameters
    ----------
    seed
        Of SmoothGrad's noise. Every record gets the same noise, whatever other records there are.
    layer
        Grad-CAM: the dotted name, within the net, of the layer whose output is mapped. By default the last convolution
        with the normalization and activation that follow it.
    window_s, stride_s
        Occlusion in time: length of the window and the distance from one to the next. A sample's value is the mean
        over the windows that cover it.
    noise_sd, n_noisy
        SmoothGrad: standard deviation of the noise, in units of each lead's own (of 1 where a lead is flat), and the
        number of noisy copies. 0.2 is about 0.05 mV, 3% of an ECG's range: the 10 to 20% that suit photographs
        would drown its P wave.
    tolerance, max_steps
        Integrated gradients: records whose relative error is larger are computed again with twice the steps, up to
        `max_steps`. The last attempt is kept, with its error.
    """

    seed: int = 0
    layer: str | None = None
    window_s: float = 0.2
    stride_s: float = 0.1
    noise_sd: float = 0.2
    n_noisy: int = 25
    tolerance: float = 0.05
    max_steps: int = 1024

    def __post_init__(self) -> None:
        for name, lowest in (("n_noisy", 1), ("max_steps", 1), ("noise_sd", 0.0)):
            value = getattr(self, name)
            if not value >= lowest:
                raise ConfigError(f"{name} must be at least {lowest}, got {value}")


@dataclass(frozen=True)
class Maps:
    """What a method computes for the records of a query: ``(record, lead, sample)``, in the method's unit.

    Integrated gradients add the `relative_error` and `n_steps`, ``(record,)``, of `attribution.Attribution`.
    """

    values: Tensor
    relative_error: NDArray[np.float64] | None = None
    n_steps: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Method:
    """One way to attribute a logit to samples, by the name that a user requests and the label in figures.

    It `is_signed` where a positive value speaks for the class and a negative one against it. Where not, what counts is
    the magnitude: a gradient's sign only says which way the voltage would have to change. It `is_slow` where one map
    takes hundreds of evaluations of the net; summaries and scorecards then take fewer records. It `needs_gradient`
    unless it compares logits alone, and is then refused for a net that has none, such as one of counts.
    """

    name: str
    label: str
    unit: str
    is_signed: bool
    explain: Callable[[Query, MethodSettings], Maps]
    is_slow: bool = False
    needs_gradient: bool = True
