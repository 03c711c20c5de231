"""How much each sample of each lead counts for the logit of one class.

Task: for one class of each record, give every sample of every lead a number. Captum computes them; what is added here
is what an ECG needs:

- The baseline is each lead's mean over the training set, not 0 mV.
- What is explained is the logit, not the probability: a sigmoid flattens where the net is sure.
- Integrated gradients are computed with as many steps as they need, and report how far their sum is off.
- A Grad-CAM is brought back to leads and samples.

A number is a statement about the net, not about the heart, and may not even be that: see `scorecard`.

Conventions: a record's numbers do not depend on the other records in the call, and the same seed gives the same
numbers. The net's weights, torch's global random state and its settings stay as they are.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ecgcls.errors import ConfigError
from ecgcls.explanation import grad_cam, gradients, occlusion
from ecgcls.explanation.method import BATCH_SIZE, Method, MethodSettings, Query

METHODS: dict[str, Method] = {
    method.name: method for method in (*gradients.METHODS, *grad_cam.METHODS, *occlusion.METHODS)
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
        to that difference or to `gradients.MIN_DIFFERENCE` if it is smaller.
    n_steps
        ``(record,)``, integrated gradients only: steps of the last attempt.
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
        There is no such method, an occlusion window does not fit the records, or Grad-CAM finds no layer it can use.
    """
    explain = get_method(method).explain
    parts = list(query.split(BATCH_SIZE))
    maps = [explain(part, settings) for part in parts]
    with torch.no_grad():
        logit = torch.cat([part.class_logits(part.deviation_mv) for part in parts])
        baseline_logit = query.logits(torch.zeros_like(query.signal_mv[:1]))[0, query.class_index]
    errors = [part.relative_error for part in maps if part.relative_error is not None]
    n_steps = [part.n_steps for part in maps if part.n_steps is not None]
    return Attribution(
        values=torch.cat([part.values for part in maps]).float().detach().cpu().numpy(),
        logit=logit.cpu().numpy(),
        baseline_logit=baseline_logit.cpu().numpy(),
        relative_error=np.concatenate(errors) if errors else None,
        n_steps=np.concatenate(n_steps) if n_steps else None,
    )
