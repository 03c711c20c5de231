"""Whether a net keeps to the contract of nets, seen before it is trained: signals in, logits out."""

import torch
from torch import nn

from ecgcls.errors import ConfigError

_N_RECORDS = 2


def check_net(net: nn.Module, *, n_leads: int, n_samples: int, n_classes: int) -> None:
    """Ask a net about noise; a `ConfigError` says what it returns instead of logits ``(batch, class)``.

    The net and the generators are left as they were, but for a net's lazy layers, which then exist.
    """
    name, expected = type(net).__name__, (_N_RECORDS, n_classes)
    asked = f"logits of shape {expected} for a batch of {_N_RECORDS} records"
    was_training = net.training
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        noise = torch.randn(_N_RECORDS, n_leads, n_samples, generator=torch.Generator().manual_seed(0))
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
