"""Whether an attribution method may be believed for a net: three checks on a few records.

Task: a map that looks plausible may say nothing about the net. Each check demands something that a useful map must do
and a useless one need not:

- `randomization`: it must change when the net's weights are shuffled.
- `faithfulness`: deleting (or inserting) first what it ranks first must lower (or raise) the probability sooner than a
  random order does.
- Completeness, integrated gradients only: the values must sum to what they claim to explain (see `attribution`).

To pass is not to be right, and each limit is a convention.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgcls.explanation.attribution import attribute, get_method
from ecgcls.explanation.faithfulness import Curve, delete_and_insert
from ecgcls.explanation.method import MethodSettings, Query
from ecgcls.explanation.randomization import Randomization, randomize

N_RANDOMIZED, N_SHUFFLES = 4, 24
"""Records that are attributed with shuffled weights, and how often each at most: in 8 stages, with 3 seeds."""

_SLOW_RANDOMIZED = 2
_COARSE_STEPS = 64  # of integrated gradients of shuffled nets: ranks need no more, nor do windows that overlap


@dataclass(frozen=True)
class Completeness:
    """How well integrated gradients sum to the difference that they explain.

    `relative_error` and `n_steps`, ``(record,)``, are those of `attribution.Attribution`; the median error must not be
    above `limit`.
    """

    relative_error: NDArray[np.float64]
    n_steps: NDArray[np.int64]
    limit: float

    @property
    def passes(self) -> bool:
        """Whether the median record is within the limit."""
        return bool(np.median(self.relative_error) <= self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON; `n_steps` is the largest."""
        return {
            "relative_error": self.relative_error.tolist(),
            "limit": self.limit,
            "n_steps": int(self.n_steps.max()),
            "passes": self.passes,
        }

    def list_warnings(self) -> list[str]:
        """Return a sentence if something is wrong."""
        missed = ~(self.relative_error <= self.limit)
        if not missed.any():
            return []
        return [
            f"the values do not sum to the logit's difference in {missed.sum()} of {len(missed)} records (relative "
            f"error above {self.limit:.2f}, median {np.median(self.relative_error):.3f}, {self.n_steps.max()} steps)"
        ]


def score_method(
    query: Query, method: str, settings: MethodSettings = MethodSettings(), *, n_randomized: int = N_RANDOMIZED
) -> dict[str, Any]:
    """Run every check that applies to an attribution method.

    Parameters
    ----------
    settings
        Of the method; its seed is also that of the shuffles, the random orders and the bootstrap.
    n_randomized
        How many of the records the randomization takes, spread evenly over them, of a slow method at most two; it
        attributes each of them up to `N_SHUFFLES` + 1 times.

    Returns
    -------
    dict
        Ready for JSON: 'randomization', 'deletion' and 'insertion' as the ``to_dict`` of `Randomization` and `Curve`
        gives them, 'completeness' as `Completeness` does, or None for other methods, and 'warnings', a list of
        sentences that begin with the method's name.
    """
    found = attribute(query, method, settings)
    n_randomized = min(n_randomized, len(query), _SLOW_RANDOMIZED if get_method(method).is_slow else len(query))
    few = np.unique(np.linspace(0, len(query) - 1, n_randomized).round().astype(int))
    sample = query.take(torch.from_numpy(few).to(query.class_index.device))
    coarse = replace(settings, max_steps=min(_COARSE_STEPS, settings.max_steps), stride_s=settings.window_s)
    rule: dict[str, Any] = {"is_signed": get_method(method).is_signed, "seed": settings.seed}
    checks: dict[str, Randomization | Curve | Completeness | None] = {}
    checks["randomization"] = randomize(
        query.net,
        lambda net: attribute(replace(sample, net=net), method, coarse).values,
        sampling_rate_hz=query.sampling_rate_hz,
        **rule,
    )
    checks["deletion"], checks["insertion"] = delete_and_insert(query, found.values, **rule)
    checks["completeness"] = None
    if found.relative_error is not None and found.n_steps is not None:
        checks["completeness"] = Completeness(found.relative_error, found.n_steps, settings.tolerance)
    warnings = [f"{method}: {sentence}" for check in checks.values() if check for sentence in check.list_warnings()]
    return {**{name: check and check.to_dict() for name, check in checks.items()}, "warnings": warnings}
