"""Whether a net keeps to the contract of nets, seen before it is trained: signals in, logits out."""

import logging

import torch
from torch import nn

from ecgcls.errors import ConfigError

log = logging.getLogger(__name__)

_N_RECORDS = 2
_MAX_ROUNDING = 0.25  # of the largest logit; sound nets have 0.01 at most, one with a wrong kernel 0.4 to 0.8


def check_net(net: nn.Module, *, n_leads: int, n_samples: int, n_classes: int) -> None:
    """Ask a net about noise; a `ConfigError` says what it returns instead of logits ``(batch, class)``.

    The net and the generators are left as they were, but for a net's lazy layers, which then exist.
    """
    name, expected = type(net).__name__, (_N_RECORDS, n_classes)
    asked = f"logits of shape {expected} for a batch of {_N_RECORDS} records"
    was_training = net.training
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        noise = _draw_noise(n_leads, n_samples)
        try:
            logits = net.eval()(noise)
        except Exception as error:  # whatever somebody's net may raise
            cause = (str(error) or type(error).__name__).splitlines()[0]
            shape = (_N_RECORDS, n_leads, n_samples)
            raise ConfigError(f"model: {name} fails on a batch of shape {shape}: {cause}") from error
    net.train(was_training)
    if not isinstance(logits, torch.Tensor):
        raise ConfigError(f"model: {name} must return {asked}, got a {type(logits).__name__}")
    if tuple(logits.shape) != expected or not logits.is_floating_point():
        raise ConfigError(f"model: {name} must return {asked}, got shape {tuple(logits.shape)}, {logits.dtype}")


def check_bfloat16(net: nn.Module, *, n_leads: int, n_samples: int) -> None:
    """Warn of a net that in bfloat16 on this CPU computes something else than in full precision.

    oneDNN 3.12, in torch 2.13, does so on a CPU with AMX for a convolution of 8 or 16 samples of 8 or 12 leads.
    """
    was_training = net.training
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        noise = _draw_noise(n_leads, n_samples)
        exact = net.eval()(noise)
        with torch.autocast("cpu", torch.bfloat16):
            error = (net(noise).float() - exact).abs().max()
    net.train(was_training)
    if not error <= _MAX_ROUNDING * exact.abs().max():
        log.warning(
            "trainer.precision: in bfloat16 on this CPU %s has logits of noise that are off by up to %.2g of %.2g, "
            "more than rounding explains; expected at most %.0f %%: a kernel may be wrong here, use precision=32-true",
            type(net).__name__, error, exact.abs().max(), 100 * _MAX_ROUNDING,
        )  # fmt: skip


def _draw_noise(n_leads: int, n_samples: int) -> torch.Tensor:
    return torch.randn(_N_RECORDS, n_leads, n_samples, generator=torch.Generator().manual_seed(0))
