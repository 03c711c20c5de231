"""What an attribution method is: a function of a `Query` that returns `Maps`, and a row that makes it known.

To add one, write its function and its row into the `METHODS` of gradients.py, grad_cam.py or occlusion.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ecgcls.errors import ConfigError
from ecgcls.explanation.query import Query


@dataclass(frozen=True)
class MethodSettings:
    """Settings of the attribution methods; each reads those that concern it.

    Parameters
    ----------
    seed
        Of SmoothGrad's noise. Every record gets the same noise, whatever other records there are.
    layer
        Grad-CAM: the dotted name, within the net, of the layer whose output is mapped. By default the last convolution
        with the normalization and activation that follow it.
    window_s, stride_s
        Occlusion in time: length of the window and the distance from one to the next. A sample's value is the mean
        over the windows that cover it.
    noise_sd, n_noisy
        SmoothGrad: standard deviation of the noise, in units of each lead's own (of 1 where a lead is flat), and the
        number of noisy copies. 0.2 is about 0.05 mV, 3 % of an ECG's range: the 10 to 20 % that suit photographs
        would drown its P wave.
    tolerance, max_steps
        Integrated gradients: records whose relative error is larger are computed again with twice the steps, up to
        `max_steps`. The last attempt is kept, with its error.

    Raises
    ------
    ConfigError
        A number is out of range.
    """

    seed: int = 0
    layer: str | None = None
    window_s: float = 0.2
    stride_s: float = 0.1
    noise_sd: float = 0.2
    n_noisy: int = 25
    tolerance: float = 0.05
    max_steps: int = 1024

    def __post_init__(self) -> None:
        for name, lowest in (("n_noisy", 1), ("max_steps", 1), ("noise_sd", 0.0)):
            value = getattr(self, name)
            if not value >= lowest:
                raise ConfigError(f"{name} must be at least {lowest}, got {value}")


@dataclass(frozen=True)
class Maps:
    """What a method computes for the records of a query.

    Attributes
    ----------
    values
        ``(record, lead, sample)``, in the method's unit.
    relative_error
        ``(record,)``, methods whose values must sum to the logit's difference from the baseline: how far the sum is
        off, relative to that difference.
    n_steps
        ``(record,)``, methods that integrate: in how many steps.
    """

    values: Tensor
    relative_error: NDArray[np.float64] | None = None
    n_steps: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Method:
    """One way to attribute a logit to samples.

    Attributes
    ----------
    name, label
        As a user requests it, and as a figure calls it.
    unit
        Of the values.
    is_signed
        Whether a positive value speaks for the class and a negative one against it. Where not, what counts is the
        magnitude: a gradient's sign only says which way the voltage would have to change.
    explain
        The function.
    """

    name: str
    label: str
    unit: str
    is_signed: bool
    explain: Callable[[Query, MethodSettings], Maps]
