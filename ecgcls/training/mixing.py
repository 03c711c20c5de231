"""Training records that are mixed with others, and their targets with them.

References
----------
.. [1] H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: Beyond empirical risk minimization", ICLR 2018,
       arXiv:1710.09412.
"""

import math

import torch
from torch import Tensor

from ecgcls.errors import ConfigError
from ecgcls.training.losses import is_known


class Mixup:
    r"""Replaces each record, and its targets, by a weighted mean of itself and another record of its batch [1]_.

    The record's own share is drawn from a beta distribution with both parameters `alpha`, for each record. A target
    that is not known of either stays unknown.

    Parameters
    ----------
    alpha
        Above 0: the less, the more often a record stays nearly as it is; 1 draws every share as often.
    probability
        Of a record to be mixed in an epoch.
    """

    mixes_records = True

    def __init__(self, *, alpha: float = 0.2, probability: float = 1.0) -> None:
        if not 0 < alpha < math.inf:
            raise ConfigError(f"augment.mixup.alpha must be above 0, got {alpha}")
        if not 0 < probability <= 1:
            raise ConfigError(f"augment.mixup.probability must be above 0 and at most 1, got {probability}")
        self.alpha, self.probability = alpha, probability

    def __call__(self, signal: Tensor, target: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix ``(batch, lead, sample)`` and ``(batch, class)``; an unknown target becomes -1."""
        n_records, device = len(signal), signal.device
        other = torch.randperm(n_records, generator=generator, device=device)
        is_mixed = torch.rand(n_records, generator=generator, device=device) < self.probability
        # Lightning's and torch's own beta distribution takes no generator; of two shares the Dirichlet is the same.
        parameters = torch.full((n_records, 2), self.alpha, dtype=torch.float64, device=device)
        share = torch._sample_dirichlet(parameters, generator)[:, 1].to(signal.dtype) * is_mixed  # of the other record
        of_other = target[other]
        known = is_known(target) & (is_known(of_other) | (share == 0)[:, None])
        mixed = torch.where(known, target.lerp(of_other, share[:, None]), -1.0)
        return signal.lerp(signal[other], share[:, None, None]), torch.where((share == 0)[:, None], target, mixed)
