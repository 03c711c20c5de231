"""How much each sample of each lead counts for the logit of one class.

Task: a net takes ECGs in mV, ``(record, lead, sample)``, and returns logits ``(record, class)``; for one class of each
record, give every sample of every lead a number. Captum computes them; what is added here is what an ECG asks for:

- The baseline, the input that says nothing, is each lead's mean over the training part (0 once standardised), not 0 mV.
- What is explained is the logit, not the probability: a sigmoid flattens where the net is sure.
- Integrated gradients are computed with as many steps as they need, and say how far their sum is off.
- A Grad-CAM is brought back to leads and samples; a net that makes an image does so itself (``map_to_leads``).

A number is a statement about the net, not about the heart, and may not even be that: see `scorecard`.

Conventions: arrays are ``(record, lead, sample)``, a record's numbers do not depend on the other records in the call,
and the same seed gives the same numbers. The net's weights, torch's global random state and its settings stay as they
are. A net must be in eval mode.
"""

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import InputXGradient, IntegratedGradients, LayerGradCam, NoiseTunnel, Occlusion, Saliency
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from ecgcls.errors import ConfigError

MIN_STEPS = 32
"""Steps of the first try at integrated gradients; each further try has twice as many."""
MIN_DIFFERENCE = 0.1
"""Logit. The error of integrated gradients is taken relative to the difference that they explain, but never to less
than this, which moves a probability by 0.025 at most."""

_BATCH = 32  # signals that go through the net at once, which bounds the memory


@dataclass(frozen=True)
class Method:
    """One way to attribute a logit to samples.

    Attributes
    ----------
    name, label
        As it is asked for, and as a figure calls it.
    unit
        Of the values, in words.
    is_signed
        Whether a positive value speaks for the class and a negative one against it. Where not, what counts is the
        magnitude: a gradient's sign only says which way the voltage would have to change.
    resolves_leads
        Whether it tells the leads apart. Where not, every lead of a record has the same values, but for the Grad-CAM
        of a net that makes an image of the leads.
    reference
        DOI or arXiv number.
    description
        One line.
    """

    name: str
    label: str
    unit: str
    is_signed: bool
    resolves_leads: bool
    reference: str
    description: str


METHODS = {
    method.name: method
    for method in (
        Method(
            "saliency",
            label="Saliency",
            unit="logit/mV",
            is_signed=False,
            resolves_leads=True,
            reference="arXiv:1312.6034",
            description="gradient of the logit: how much it changes if this voltage does",
        ),
        Method(
            "input_x_gradient",
            label="Input x gradient",
            unit="logit",
            is_signed=True,
            resolves_leads=True,
            reference="arXiv:1605.01713",
            description="gradient times the distance from the baseline: the net taken as linear",
        ),
        Method(
            "integrated_gradients",
            label="Integrated gradients",
            unit="logit",
            is_signed=True,
            resolves_leads=True,
            reference="arXiv:1703.01365",
            description="the gradient along the way from the baseline; the values sum to the logit's difference",
        ),
        Method(
            "smoothgrad",
            label="SmoothGrad",
            unit="logit/mV",
            is_signed=False,
            resolves_leads=True,
            reference="arXiv:1706.03825",
            description="gradient of the logit, averaged over noisy copies of the ECG",
        ),
        Method(
            "grad_cam",
            label="Grad-CAM",
            unit="arbitrary unit",
            is_signed=False,
            resolves_leads=False,
            reference="doi:10.1109/ICCV.2017.74",
            description="where the last convolutional block responds with what the class asks for",
        ),
        Method(
            "occlusion",
            label="Occlusion",
            unit="logit",
            is_signed=True,
            resolves_leads=True,
            reference="arXiv:1311.2901",
            description="drop of the logit when a window of one lead is replaced by the baseline",
        ),
        Method(
            "occlusion_lead",
            label="Occlusion of a lead",
            unit="logit",
            is_signed=True,
            resolves_leads=True,
            reference="arXiv:1311.2901",
            description="drop of the logit when a whole lead is replaced by the baseline",
        ),
        Method(
            "occlusion_time",
            label="Occlusion in time",
            unit="logit",
            is_signed=True,
            resolves_leads=False,
            reference="arXiv:1311.2901",
            description="drop of the logit when a window of all leads is replaced by the baseline",
        ),
    )
}
"""Every method by its name."""


@dataclass(frozen=True)
class Attribution:
    """What the samples of some records count for, and how far to trust the sum.

    Attributes
    ----------
    values
        ``(record, lead, sample)`` float32, in the method's unit.
    logit, baseline_logit
        ``(record,)``: of the class that is explained, for the record and for the baseline.
    relative_error
        ``(record,)``, integrated gradients only: how far the values' sum is from ``logit - baseline_logit``, relative
        to that difference or to `MIN_DIFFERENCE` if it is smaller.
    n_steps
        ``(record,)``, integrated gradients only: steps of the last try.
    """

    values: NDArray[np.float32]
    logit: NDArray[np.float32]
    baseline_logit: NDArray[np.float32]
    relative_error: NDArray[np.float64] | None = None
    n_steps: NDArray[np.int64] | None = None


def get_method(name: str) -> Method:
    """Return the method of this name.

    Raises
    ------
    ConfigError
        There is none, with the near matches.

    Examples
    --------
    >>> get_method("occlusion").unit
    'logit'
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(METHODS)}"
        raise ConfigError(f"attribution method {name!r}: no such method; {hint}")
    return METHODS[name]


def find_device(net: nn.Module) -> torch.device:
    """Say where a net's weights lie; a net without any is on the CPU."""
    parameter = next(net.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def to_tensor(values: Tensor | ArrayLike, device: torch.device) -> Tensor:
    """Bring a tensor or an array, which may be read-only, to a device as float32 without a history."""
    tensor = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float32))
    return tensor.to(device, torch.float32)


def attribute(
    net: nn.Module,
    signal_mv: Tensor | ArrayLike,
    class_index: ArrayLike,
    *,
    method: str,
    baseline_mv: Tensor | ArrayLike,
    sd_mv: Tensor | ArrayLike,
    sampling_rate_hz: float,
    seed: int = 0,
    layer: str | None = None,
    window_s: float = 0.2,
    stride_s: float = 0.1,
    noise_sd: float = 0.2,
    n_noisy: int = 25,
    tolerance: float = 0.05,
    max_steps: int = 1024,
) -> Attribution:
    """Attribute the logit of one class a record to the samples of its leads.

    Parameters
    ----------
    net
        Takes ``(record, lead, sample)`` in mV and returns logits ``(record, class)``; in eval mode.
    signal_mv
        ``(record, lead, sample)``.
    class_index
        ``(record,)``: the class to explain, counted from 0.
    method
        A name in `METHODS`.
    baseline_mv, sd_mv
        ``(lead, 1)``: each lead's mean and standard deviation over the training part.
    sampling_rate_hz
        Of the signals.
    seed
        Of SmoothGrad's noise. Every record meets the same noise, whatever other records there are.
    layer
        Grad-CAM: the dotted name, within `net`, of the layer whose output is mapped. By default the last convolution
        with the normalisation and activation that follow it.
    window_s, stride_s
        Occlusion in time: length of the window and the distance from one to the next. A sample's value is the mean
        over the windows that cover it.
    noise_sd, n_noisy
        SmoothGrad: standard deviation of the noise, in units of each lead's own (of 1 where a lead is flat), and the
        number of noisy copies. 0.2 is about 0.05 mV, 3 % of an ECG's range: the 10 to 20 % that suit photographs
        would drown its P wave.
    tolerance, max_steps
        Integrated gradients: records whose relative error is larger are tried again with twice the steps, from
        `MIN_STEPS` up to `max_steps`. The last try is kept, with its error.

    Raises
    ------
    ConfigError
        There is no such method, layer or class, a shape disagrees, a setting is out of range, the net is in training
        mode, or Grad-CAM cannot be brought back to the leads.
    """
    get_method(method)
    for name, value, lowest in (("n_noisy", n_noisy, 1), ("max_steps", max_steps, 1), ("noise_sd", noise_sd, 0.0)):
        if not value >= lowest:
            raise ConfigError(f"{name} must be at least {lowest}, got {value}")
    settings = _Settings(
        seed=seed,
        layer=layer,
        window=_count_samples("window_s", window_s, sampling_rate_hz),
        stride=_count_samples("stride_s", stride_s, sampling_rate_hz),
        noise_sd=noise_sd,
        n_noisy=n_noisy,
        tolerance=tolerance,
        max_steps=max_steps,
    )
    if any(module.training for module in net.modules()):
        raise ConfigError(
            "the net is in training mode: dropout and batch statistics change its answers; call net.eval()"
        )
    asked = _ask(net, signal_mv, class_index, baseline_mv=baseline_mv, sd_mv=sd_mv, settings=settings)
    answers = [_EXPLAIN[method](part) for part in asked.split(_BATCH)]
    with torch.no_grad():
        logit = torch.cat([part.class_logits(part.deviation_mv) for part in asked.split(_BATCH)])
        baseline_logit = asked.logits(torch.zeros_like(asked.deviation_mv[:1]))[0, asked.class_index]
    return Attribution(
        values=_to_numpy(torch.cat([answer.values for answer in answers]).float()),
        logit=_to_numpy(logit),
        baseline_logit=_to_numpy(baseline_logit),
        relative_error=_join([answer.relative_error for answer in answers]),
        n_steps=_join([answer.n_steps for answer in answers]),
    )


@dataclass(frozen=True)
class _Settings:
    seed: int
    layer: str | None
    window: int  # samples
    stride: int
    noise_sd: float
    n_noisy: int
    tolerance: float
    max_steps: int


@dataclass(frozen=True)
class _Asked:
    """Some records, each with a class, as a net sees them. Captum's baseline of 0 is the baseline of `deviation_mv`."""

    net: nn.Module
    baseline_mv: Tensor  # (lead, 1)
    sd_mv: Tensor  # (lead, 1)
    deviation_mv: Tensor  # (record, lead, sample): the signal minus the baseline
    class_index: Tensor  # (record,)
    settings: _Settings

    def logits(self, deviation_mv: Tensor) -> Tensor:
        """(record, class)"""
        logits: Tensor = self.net(self.baseline_mv + deviation_mv)
        return logits

    def class_logits(self, deviation_mv: Tensor) -> Tensor:
        """(record,): of the class asked for"""
        return self.logits(deviation_mv).gather(1, self.class_index[:, None])[:, 0]

    def take(self, rows: Tensor) -> "_Asked":
        return _Asked(
            self.net, self.baseline_mv, self.sd_mv, self.deviation_mv[rows], self.class_index[rows], self.settings
        )

    def split(self, n_records: int) -> Iterator["_Asked"]:
        for rows in torch.arange(len(self.class_index), device=self.class_index.device).split(n_records):
            yield self.take(rows)

    def input(self) -> Tensor:
        """The deviations as a leaf that already wants a gradient: Captum would warn that it has to ask for one."""
        return self.deviation_mv.clone().requires_grad_()


@dataclass(frozen=True)
class _Answer:
    values: Tensor  # (record, lead, sample)
    relative_error: NDArray[np.float64] | None = None
    n_steps: NDArray[np.int64] | None = None


def _saliency(asked: _Asked) -> _Answer:
    return _Answer(Saliency(asked.logits).attribute(asked.input(), target=asked.class_index, abs=False))


def _input_x_gradient(asked: _Asked) -> _Answer:
    return _Answer(InputXGradient(asked.logits).attribute(asked.input(), target=asked.class_index))


def _integrated_gradients(asked: _Asked) -> _Answer:
    explainer = IntegratedGradients(asked.logits)
    with torch.no_grad():
        zero = torch.zeros_like(asked.deviation_mv)
        difference = (asked.class_logits(asked.deviation_mv) - asked.class_logits(zero)).double()
    values = torch.empty_like(asked.deviation_mv)
    error = torch.full_like(difference, torch.inf)
    n_steps = torch.zeros_like(asked.class_index)
    steps = min(MIN_STEPS, asked.settings.max_steps)
    left = torch.arange(len(error), device=error.device)
    while len(left) and steps <= asked.settings.max_steps:
        tried = explainer.attribute(
            asked.deviation_mv[left],
            target=asked.class_index[left],
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=_BATCH,
        )
        values[left], n_steps[left] = tried, steps
        missing = tried.sum(dim=(1, 2), dtype=torch.float64) - difference[left]
        error[left] = missing.abs() / difference[left].abs().clamp_min(MIN_DIFFERENCE)
        left = left[~(error[left] <= asked.settings.tolerance)]
        steps *= 2
    return _Answer(values, _to_numpy(error), _to_numpy(n_steps))


def _smoothgrad(asked: _Asked) -> _Answer:
    scale_mv = torch.where(asked.sd_mv > 0, asked.sd_mv, 1.0)
    explainer = NoiseTunnel(Saliency(lambda scaled: asked.logits(scaled * scale_mv)))  # one noise_sd for all leads
    values = []
    for record in asked.split(1):
        with _seeded(asked.settings.seed, asked.deviation_mv.device):
            gradient = explainer.attribute(
                record.deviation_mv / scale_mv,
                nt_type="smoothgrad",
                nt_samples=asked.settings.n_noisy,
                nt_samples_batch_size=min(_BATCH, asked.settings.n_noisy),
                stdevs=float(asked.settings.noise_sd),
                target=record.class_index,
                abs=False,
            )
        values.append(gradient / scale_mv)
    return _Answer(torch.cat(values))


def _grad_cam(asked: _Asked) -> _Answer:
    name = asked.settings.layer or _find_last_block(asked.net)
    layer = _get_layer(asked.net, name)
    cam = LayerGradCam(asked.logits, layer).attribute(asked.input(), asked.class_index, relu_attributions=True)
    n_leads, n_samples = asked.deviation_mv.shape[1:]
    if isinstance(cam, Tensor) and cam.ndim == 3:  # (record, 1, time)
        values = functional.interpolate(cam, n_samples, mode="linear", align_corners=False)
        return _Answer(values.expand(-1, n_leads, -1).detach())
    if isinstance(cam, Tensor) and cam.ndim == 4:  # (record, 1, height, width)
        return _Answer(_find_map_to_leads(asked.net)(cam[:, 0].detach()))
    shape = tuple(cam.shape) if isinstance(cam, Tensor) else "several tensors"
    raise ConfigError(
        f"grad_cam: the layer {name} gives no map over time or an image (Grad-CAM of it: {shape}); choose another: "
        f"{_list_layers(asked.net, name)}"
    )


def _occlusion(asked: _Asked) -> _Answer:
    return _occlude(asked, (1, asked.settings.window), (1, asked.settings.stride))


def _occlusion_lead(asked: _Asked) -> _Answer:
    n_samples = asked.deviation_mv.shape[2]
    return _occlude(asked, (1, n_samples), (1, n_samples))


def _occlusion_time(asked: _Asked) -> _Answer:
    n_leads = asked.deviation_mv.shape[1]
    return _occlude(asked, (n_leads, asked.settings.window), (n_leads, asked.settings.stride))


def _occlude(asked: _Asked, window: tuple[int, int], stride: tuple[int, int]) -> _Answer:
    """Slide a window of (leads, samples)."""
    n_samples = asked.deviation_mv.shape[2]
    if window[1] > n_samples:
        raise ConfigError(f"window_s must be no longer than the record, {n_samples} samples, got {window[1]} samples")
    if stride[1] > window[1]:
        raise ConfigError(
            f"stride_s must be no longer than window_s, {window[1]} samples, or some samples are never covered; "
            f"got {stride[1]} samples"
        )
    values = Occlusion(asked.logits).attribute(
        asked.deviation_mv,
        target=asked.class_index,
        sliding_window_shapes=window,
        strides=stride,
        baselines=0,
        perturbations_per_eval=max(1, _BATCH // len(asked.class_index)),
    )
    return _Answer(values)


_EXPLAIN: dict[str, Callable[[_Asked], _Answer]] = {
    "saliency": _saliency,
    "input_x_gradient": _input_x_gradient,
    "integrated_gradients": _integrated_gradients,
    "smoothgrad": _smoothgrad,
    "grad_cam": _grad_cam,
    "occlusion": _occlusion,
    "occlusion_lead": _occlusion_lead,
    "occlusion_time": _occlusion_time,
}


def _ask(
    net: nn.Module,
    signal_mv: Tensor | ArrayLike,
    class_index: ArrayLike,
    *,
    baseline_mv: Tensor | ArrayLike,
    sd_mv: Tensor | ArrayLike,
    settings: _Settings,
) -> _Asked:
    """Bring everything to the net's device, and refuse shapes that disagree."""
    device = find_device(net)
    signal, baseline, sd = (to_tensor(values, device) for values in (signal_mv, baseline_mv, sd_mv))
    classes = torch.as_tensor(np.asarray(class_index), dtype=torch.int64, device=device)
    if signal.ndim != 3 or not signal.numel():
        raise ConfigError(f"signal_mv must be (record, lead, sample), got {tuple(signal.shape)}")
    n_records, n_leads, _ = signal.shape
    if classes.shape != (n_records,):
        raise ConfigError(f"class_index must have one class a record, ({n_records},), got {tuple(classes.shape)}")
    for name, values in (("baseline_mv", baseline), ("sd_mv", sd)):
        if values.shape != (n_leads, 1):
            raise ConfigError(f"{name} must be (lead, 1), ({n_leads}, 1), got {tuple(values.shape)}")
    with torch.no_grad():
        n_classes = net(signal[:1]).shape[1]
    if not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
        raise ConfigError(f"class_index must be in 0..{n_classes - 1}, got {sorted(set(classes.tolist()))}")
    return _Asked(net, baseline, sd, signal - baseline, classes, settings)


def _count_samples(name: str, seconds: float, sampling_rate_hz: float) -> int:
    n_samples = round(seconds * sampling_rate_hz)
    if n_samples < 1:
        raise ConfigError(f"{name} must be at least one sample, {1 / sampling_rate_hz:g} s, got {seconds:g}")
    return n_samples


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators from which Captum draws, and put them back as they were."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


_FOLLOWS_A_CONVOLUTION = (
    nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.ReLU, nn.ReLU6,
    nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Tanh,
)  # fmt: skip


def _find_last_block(net: nn.Module) -> str:
    """Name the last convolution, or the last of the normalisations and activations that come right after it."""
    modules = dict(net.named_modules())
    convolutions = [name for name, module in modules.items() if isinstance(module, nn.Conv1d | nn.Conv2d)]
    if not convolutions:
        raise ConfigError(
            f"grad_cam needs a convolution and this net has none; choose a layer that gives (record, channel, time): "
            f"{_list_layers(net)}"
        )
    found = convolutions[-1]
    parent, _, child = found.rpartition(".")
    if isinstance(modules[parent], nn.Sequential):
        siblings = [name for name, _ in modules[parent].named_children()]
        for sibling in siblings[siblings.index(child) + 1 :]:
            name = f"{parent}.{sibling}".lstrip(".")
            if not isinstance(modules[name], _FOLLOWS_A_CONVOLUTION):
                break
            found = name
    return found


def _get_layer(net: nn.Module, name: str) -> nn.Module:
    try:
        return net.get_submodule(name)
    except AttributeError:
        raise ConfigError(f"grad_cam: the net has no layer {name!r}; {_list_layers(net, name)}") from None


def _list_layers(net: nn.Module, near: str = "") -> str:
    """Say which layers there are, or of many those that come near a name."""
    names = [name for name, module in net.named_modules() if not list(module.children())]
    if len(names) > 30:
        names = difflib.get_close_matches(near, names, n=10, cutoff=0.0)
    return f"there are {', '.join(names)}"


def _find_map_to_leads(net: nn.Module) -> Callable[[Tensor], Tensor]:
    for module in net.modules():
        map_to_leads: Any = getattr(module, "map_to_leads", None)
        if callable(map_to_leads):
            return map_to_leads
    raise ConfigError(
        "grad_cam: the net works on an image and cannot bring a map of it back to the leads; give it a method "
        "map_to_leads that takes (batch, height, width) and returns (batch, lead, sample), as CNN2D has"
    )


def _to_numpy(tensor: Tensor) -> NDArray:
    return tensor.detach().cpu().numpy()


def _join(parts: list[Any]) -> Any:
    return None if parts[0] is None else np.concatenate(parts)
