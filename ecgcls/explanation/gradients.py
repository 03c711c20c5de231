"""Attribution by the gradient of the logit, after Captum.

References
----------
- Simonyan, Vedaldi, Zisserman. Deep inside convolutional networks. 2013. arXiv:1312.6034
- Shrikumar et al. Not just a black box. 2016. arXiv:1605.01713
- Sundararajan, Taly, Yan. Axiomatic attribution for deep networks. ICML 2017. arXiv:1703.01365
- Smilkov et al. SmoothGrad: removing noise by adding noise. 2017. arXiv:1706.03825
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency

from ecgcls.explanation.method import BATCH_SIZE, Maps, Method, MethodSettings, Query

MIN_STEPS = 32
"""Steps of the first attempt at integrated gradients; each further one has twice as many."""
MIN_DIFFERENCE = 0.1
"""Logit. The error of integrated gradients is taken relative to the difference that they explain, but never to less
than this, which moves a probability by 0.025 at most."""


def saliency(query: Query, settings: MethodSettings) -> Maps:
    """Gradient of the logit: how much it changes if this voltage does (Simonyan et al. 2013)."""
    return Maps(Saliency(query.logits).attribute(query.leaf_mv, target=query.class_index, abs=False))


def input_x_gradient(query: Query, settings: MethodSettings) -> Maps:
    """Gradient times the distance from the baseline: the net taken as linear (Shrikumar et al. 2016)."""
    return Maps(InputXGradient(query.logits).attribute(query.leaf_mv, target=query.class_index))


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
    explainer = NoiseTunnel(Saliency(lambda scaled: query.logits(scaled * scale_mv)))  # one noise_sd for all leads
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


METHODS = (
    Method("saliency", "Saliency", "logit/mV", is_signed=False, explain=saliency),
    Method("input_x_gradient", "Input x gradient", "logit", is_signed=True, explain=input_x_gradient),
    Method("integrated_gradients", "Integrated gradients", "logit", is_signed=True, explain=integrated_gradients),
    Method("smoothgrad", "SmoothGrad", "logit/mV", is_signed=False, explain=smoothgrad),
)
