"""What is changed in training records, so that a net learns not to depend on it.

An augmentation gets the standardized signals and the targets of a batch, on the device, and returns both. All that is
random in it comes from the generator that it is given: that of the run's seed, the augmentation's name, the epoch and
the batch. So a run that was stopped goes on as if it had not been, and one augmentation more changes no other one.

References
----------
.. [1] J. Oh, H. Chung, J. Kwon, D. Hong, E. Choi, "Lead-agnostic self-supervised learning for local and global
       representations of electrocardiogram", CHIL 2022, arXiv:2203.06889.
"""

import zlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ecgcls.errors import ConfigError


class Augmentation(Protocol):
    """One change of a batch of training records.

    Where it makes a net do without some leads, it has an attribute `drops_leads` that is true.
    """

    def __call__(self, signal: Tensor, target: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what the net gets instead of ``(batch, lead, sample)``, and the loss instead of ``(batch, class)``.

        The signals are nobody else's: they may be changed in place, the targets may not.
        """


class Augmenter:
    """The augmentations of a run, one after another.

    Parameters
    ----------
    augmentations
        By name, in order.
    seed
        The run's.
    """

    def __init__(self, augmentations: Mapping[str, Augmentation], *, seed: int) -> None:
        self.augmentations, self.seed = dict(augmentations), seed

    @property
    def drops_leads(self) -> bool:
        """Whether a net that is trained with them can do without some leads."""
        return any(getattr(each, "drops_leads", False) for each in self.augmentations.values())

    def apply(
        self, signal: Tensor, target: Tensor, *, epoch: int, batch: int, process: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return the signals and targets of a batch as changed; the same numbers give the same changes."""
        for name, augmentation in self.augmentations.items():
            entropy = self.seed, zlib.crc32(name.encode()), epoch, batch, process
            generator = torch.Generator(signal.device)
            generator.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))
            with torch.autocast(signal.device.type, enabled=False):  # mixed precision is the net's
                signal, target = augmentation(signal, target, generator=generator)
        return signal, target


class LeadDropout:
    """Sets a random subset of the leads of some records to 0, which is the mean of a standardized lead.

    In [1]_ each lead is masked by itself with probability 0.5. Here the number of leads that are lost is drawn first,
    so that a net sees two leads as often as eleven. At least one is kept.

    Parameters
    ----------
    probability
        Of a record to lose leads.
    """

    drops_leads = True

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 < probability <= 1:
            raise ConfigError(f"augment.lead_dropout.probability must be above 0 and at most 1, got {probability}")
        self.probability = probability

    def __call__(self, signal: Tensor, target: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Drop leads of ``(batch, lead, sample)``."""
        n_records, n_leads = signal.shape[:2]
        drawn = torch.rand((n_records, n_leads + 2), generator=generator, device=signal.device)
        is_changed = drawn[:, :1] < self.probability
        n_lost = 1 + (drawn[:, 1:2] * (n_leads - 1)).long()  # 1 to n_leads - 1, each as often
        rank = drawn[:, 2:].argsort(dim=1).argsort(dim=1)  # of each lead, in random order
        is_lost = is_changed & (rank < n_lost.clamp(max=n_leads - 1))
        return signal.masked_fill(is_lost[:, :, None], 0.0), target
