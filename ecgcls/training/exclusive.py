"""Classes that exclude each other: a net's scores as log odds of one class against the others."""

from typing import Any

import torch
from torch import Tensor, nn


def against_the_rest(scores: Tensor) -> Tensor:
    r"""Turn scores ``(batch, class)`` into log odds whose sigmoid is the scores' softmax, without computing it.

    .. math:: z_c = s_c - \log \sum_{k \ne c} e^{s_k} = \log p_c - \log(1 - p_c)

    Examples
    --------
    >>> round(against_the_rest(torch.tensor([[0.0, 0.0, 100.0]]))[0, 2].item(), 4)  # 100 - log 2
    99.3069
    """
    n_classes = scores.shape[-1]
    own = torch.eye(n_classes, dtype=torch.bool, device=scores.device)
    others = scores[..., None, :].masked_fill(own, -torch.inf)  # (batch, class, other class)
    return scores - others.logsumexp(dim=-1)


def make_exclusive(net: nn.Module) -> nn.Module:
    """Have a net return log odds of classes that exclude each other; its weights and their names stay as they are."""
    net.register_forward_hook(_return_log_odds)
    return net


def _return_log_odds(net: nn.Module, inputs: Any, scores: Tensor) -> Tensor:
    return against_the_rest(scores)
