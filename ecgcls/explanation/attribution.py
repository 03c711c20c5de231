"""How much each sample of each lead counts for the logit of one class.

Task: for one class of each record, give every sample of every lead a number. Captum computes them; what is added here
is what an ECG needs:

- The baseline is each lead's mean over the training set, not 0 mV.
- What is explained is the logit, not the probability: a sigmoid flattens where the net is sure.
- Integrated gradients are computed with as many steps as they need, and report how far their sum is off.
- A Grad-CAM is brought back to leads and samples.

A number is a statement about the net, not about the heart, and may not even be that: see `scorecard`.

To add a method, write its function and its row in `METHODS`.

Conventions: a record's numbers do not depend on the other records in the call, and the same seed gives the same
numbers. The net's weights, torch's global random state and its settings stay as they are.

References
----------
- Simonyan, Vedaldi, Zisserman. Deep inside convolutional networks. 2013. arXiv:1312.6034
- Zeiler, Fergus. Visualizing and understanding convolutional networks. ECCV 2014. arXiv:1311.2901
- Shrikumar et al. Not just a black box. 2016. arXiv:1605.01713
- Sundararajan, Taly, Yan. Axiomatic attribution for deep networks. ICML 2017. arXiv:1703.01365
- Smilkov et al. SmoothGrad: removing noise by adding noise. 2017. arXiv:1706.03825
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Occlusion, Saliency
from numpy.typing import NDArray

from ecgcls.errors import ConfigError
from ecgcls.explanation.grad_cam import grad_cam
from ecgcls.explanation.method import BATCH_SIZE, Maps, Method, MethodSettings, Query, count_samples

MIN_STEPS = 32
"""Steps of the first attempt at integrated gradients; each further one has twice as many."""
MIN_DIFFERENCE = 0.1
"""Logit. The error of integrated gradients is taken relative to the difference that they explain, but never to less
than this, which moves a probability by 0.025 at most."""


def saliency(query: Query, settings: MethodSettings) -> Maps:
    """Gradient of the logit: how much it changes if this voltage does (Simonyan et al. 2013)."""
    explainer = Saliency(query.logits)
    return Maps(explainer.attribute(query.leaf_mv, query.class_index, False, additional_forward_args=query.metadata))


def input_x_gradient(query: Query, settings: MethodSettings) -> Maps:
    """Gradient times the distance from the baseline: the net taken as linear (Shrikumar et al. 2016)."""
    explainer = InputXGradient(query.logits)
    return Maps(explainer.attribute(query.leaf_mv, query.class_index, additional_forward_args=query.metadata))


def integrated_gradients(query: Query, settings: MethodSettings) -> Maps:
    """Gradient along the path from the baseline; the values sum to the logit's difference (Sundararajan et al. 2017).

    Records whose sum is off by more than `settings.tolerance` are computed again with twice the steps.
    """
    explainer = IntegratedGradients(query.logits)
    deviation_mv = query.deviation_mv
    with torch.no_grad():
        baseline_logit = query.class_logits(torch.zeros_like(deviation_mv))
        difference = (query.class_logits(deviation_mv) - baseline_logit).double()
    values = torch.empty_like(deviation_mv)
    error = torch.full_like(difference, torch.inf)
    n_steps = torch.zeros_like(query.class_index)
    steps = min(MIN_STEPS, settings.max_steps)
    left = torch.arange(len(error), device=error.device)
    while len(left) and steps <= settings.max_steps:
        attempt = explainer.attribute(
            deviation_mv[left],
            target=query.class_index[left],
            additional_forward_args=None if query.metadata is None else query.metadata[left],
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=BATCH_SIZE,
        )
        values[left], n_steps[left] = attempt, steps
        missing = attempt.sum(dim=(1, 2), dtype=torch.float64) - difference[left]
        error[left] = missing.abs() / difference[left].abs().clamp_min(MIN_DIFFERENCE)
        left = left[~(error[left] <= settings.tolerance)]
        steps *= 2
    return Maps(values, error.cpu().numpy(), n_steps.cpu().numpy())


def smoothgrad(query: Query, settings: MethodSettings) -> Maps:
    """Gradient of the logit, averaged over noisy copies of the ECG (Smilkov et al. 2017)."""
    scale_mv = torch.where(query.sd_mv > 0, query.sd_mv, 1.0)
    explainer = NoiseTunnel(  # one noise_sd for all leads
        Saliency(lambda scaled, metadata=None: query.logits(scaled * scale_mv, metadata))
    )
    values = []
    for record in query.split(1):
        with _seeded(settings.seed, scale_mv.device):
            gradient = explainer.attribute(
                record.deviation_mv / scale_mv,
                nt_type="smoothgrad",
                nt_samples=settings.n_noisy,
                nt_samples_batch_size=min(BATCH_SIZE, settings.n_noisy),
                stdevs=float(settings.noise_sd),
                target=record.class_index,
                additional_forward_args=record.metadata,
                abs=False,
            )
        values.append(gradient / scale_mv)
    return Maps(torch.cat(values))


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators from which Captum draws, and restore their state afterwards."""
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


def occlusion(query: Query, settings: MethodSettings) -> Maps:
    """Drop of the logit when a window of one lead is replaced by the baseline (Zeiler & Fergus 2014)."""
    return _slide(query, settings, n_leads=1)


def occlusion_time(query: Query, settings: MethodSettings) -> Maps:
    """Drop of the logit when a window of all leads is replaced by the baseline."""
    return _slide(query, settings, n_leads=query.signal_mv.shape[1])


def occlusion_lead(query: Query, settings: MethodSettings) -> Maps:
    """Drop of the logit when a whole lead is replaced by the baseline."""
    whole_lead = (1, query.signal_mv.shape[2])
    return _occlude(query, window=whole_lead, stride=whole_lead)


def _slide(query: Query, settings: MethodSettings, *, n_leads: int) -> Maps:
    """Slide a window over time and, where it does not cover all of them, over the leads."""
    rate_hz, n_samples = query.sampling_rate_hz, query.signal_mv.shape[2]
    window = count_samples("window_s", settings.window_s, sampling_rate_hz=rate_hz)
    stride = count_samples("stride_s", settings.stride_s, sampling_rate_hz=rate_hz)
    if window > n_samples:
        raise ConfigError(f"window_s must be no longer than the record, {n_samples} samples, got {window} samples")
    if stride > window:
        raise ConfigError(
            f"stride_s must be no longer than window_s, {window} samples, or some samples are never covered; "
            f"got {stride} samples"
        )
    return _occlude(query, window=(n_leads, window), stride=(n_leads, stride))


def _occlude(query: Query, *, window: tuple[int, int], stride: tuple[int, int]) -> Maps:
    """Occlude windows of (leads, samples)."""
    values = Occlusion(query.logits).attribute(
        query.deviation_mv,
        target=query.class_index,
        additional_forward_args=query.metadata,
        sliding_window_shapes=window,
        strides=stride,
        baselines=0,
        perturbations_per_eval=max(1, BATCH_SIZE // len(query)),
    )
    return Maps(values)


_LOGITS_ALONE = {"needs_gradient": False}

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("saliency", "Saliency", "logit/mV", is_signed=False, explain=saliency),
        Method("input_x_gradient", "Input x gradient", "logit", is_signed=True, explain=input_x_gradient),
        Method("integrated_gradients", "Integrated gradients", "logit", is_signed=True, explain=integrated_gradients),
        Method("smoothgrad", "SmoothGrad", "logit/mV", is_signed=False, explain=smoothgrad),
        Method("grad_cam", "Grad-CAM", "arbitrary unit", is_signed=False, explain=grad_cam),
        Method("occlusion", "Occlusion", "logit", is_signed=True, explain=occlusion, is_slow=True, **_LOGITS_ALONE),
        Method(
            "occlusion_lead", "Occlusion of a lead", "logit", is_signed=True, explain=occlusion_lead, **_LOGITS_ALONE
        ),
        Method("occlusion_time", "Occlusion in time", "logit", is_signed=True, explain=occlusion_time, **_LOGITS_ALONE),
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
    relative_error, n_steps
        ``(record,)``, integrated gradients only: how far the values' sum is from ``logit - baseline_logit``, relative
        to that difference or to `MIN_DIFFERENCE` if it is smaller, and the steps of the last attempt.
    """

    values: NDArray[np.float32]
    logit: NDArray[np.float32]
    baseline_logit: NDArray[np.float32]
    relative_error: NDArray[np.float64] | None = None
    n_steps: NDArray[np.int64] | None = None


def get_method(name: str) -> Method:
    """Return the method of this name; a ConfigError lists the names there are."""
    if name not in METHODS:
        near = " or ".join(difflib.get_close_matches(name, METHODS, n=3))
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"method: there is no {name!r}{hint} (the methods are {', '.join(METHODS)})")
    return METHODS[name]


def choose_methods(names: Sequence[str]) -> tuple[str, ...]:
    """Check the names of methods and return each once; ``all`` alone stands for every method.

    Examples
    --------
    >>> choose_methods(["saliency", "grad_cam", "saliency"])
    ('saliency', 'grad_cam')
    """
    if list(names) == ["all"]:
        return tuple(METHODS)
    if not names:
        raise ConfigError(f"method is empty, expected all or one or more of {', '.join(METHODS)}")
    return tuple(dict.fromkeys(get_method(name).name for name in names))


def attribute(query: Query, method: str, settings: MethodSettings = MethodSettings()) -> Attribution:
    """Attribute the logit of each record's class to the samples of its leads.

    Raises
    ------
    ConfigError
        There is no such method, an occlusion window does not fit the records, Grad-CAM finds no layer it can use, or
        the net has no gradient that the method needs.
    """
    chosen = get_method(method)
    if chosen.needs_gradient and len(query) and not query.has_gradient:
        others = ", ".join(name for name, each in METHODS.items() if not each.needs_gradient)
        raise ConfigError(f"method={method} needs a gradient, and the features of this net have none: choose {others}")
    explain = chosen.explain
    parts = list(query.split(BATCH_SIZE))
    maps = [explain(part, settings) for part in parts]
    with torch.no_grad():
        logit = torch.cat([part.class_logits(part.deviation_mv) for part in parts])
        baseline_logit = torch.cat([part.class_logits(torch.zeros_like(part.signal_mv)) for part in parts])
    errors = [part.relative_error for part in maps if part.relative_error is not None]
    n_steps = [part.n_steps for part in maps if part.n_steps is not None]
    return Attribution(
        values=torch.cat([part.values for part in maps]).float().detach().cpu().numpy(),
        logit=logit.cpu().numpy(),
        baseline_logit=baseline_logit.cpu().numpy(),
        relative_error=np.concatenate(errors) if errors else None,
        n_steps=np.concatenate(n_steps) if n_steps else None,
    )
