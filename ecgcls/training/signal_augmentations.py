"""Changes of training records that their labels mostly survive, each with the statements that may not; see [1]_.

Signals are standardized: 0 is a lead's mean, and 1 its standard deviation (sd) over the training part. Each record is
changed by itself, with a strength that is drawn from none to the most that is asked for.

References
----------
.. [1] A. Raghu, D. Shanmugam, E. Pomerantsev, J. Guttag, C. M. Stultz, "Data augmentation for electrocardiograms",
       CHIL 2022, arXiv:2204.04360.
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ecgcls.errors import ConfigError

AtRisk = Literal["leave_out", "refuse", "allow"]

_VOLTAGE = {"LVH", "RVH", "SEHYP", "VCLVH", "HVOLT", "LVOLT", "LAO/LAE", "RAO/RAE", "LOWT"}
_RATES = {"SR", "SBRAD", "STACH", "SARRH", "SVARR", "AFIB", "AFLT", "SVTAC", "PSVT"}
_INTERVALS = {"1AVB", "2AVB", "LPR", "LNGQT", "WPW", "IVCD", "IRBBB", "CRBBB", "ILBBB", "CLBBB"}
_SINGLE_BEATS = {"PVC", "PAC", "PRC(S)", "SVARR", "PSVT"}  # what there may be one of in a record


class SignalAugmentation:
    """What those here share.

    Attributes
    ----------
    probability
        Of a record to be changed in an epoch.
    at_risk
        What to do for a task with a class that has a statement of `statements_at_risk`: ``leave_out`` the augmentation
        with a warning, ``refuse`` to train, or ``allow`` it.
    statements_at_risk
        The SCP statements that it may make untrue.
    """

    name: ClassVar[str]
    statements_at_risk: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, probability: float, at_risk: AtRisk = "leave_out") -> None:
        if not 0 < probability <= 1:
            raise ConfigError(f"augment.{self.name}.probability must be above 0 and at most 1, got {probability}")
        if at_risk not in ("leave_out", "refuse", "allow"):
            raise ConfigError(f"augment.{self.name}.at_risk must be leave_out, refuse or allow, got {at_risk!r}")
        self.probability, self.at_risk = probability, at_risk

    def __call__(self, signal: Tensor, target: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change ``(batch, lead, sample)`` in place; the targets stay."""
        chosen = (self._draw(signal, 1, generator=generator)[:, 0] < self.probability).nonzero()[:, 0]
        return signal.index_copy_(0, chosen, self.change(signal[chosen], generator=generator)), target

    def change(self, signal: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return signals ``(record, lead, sample)`` as changed, each with a strength of its own; there may be none."""
        raise NotImplementedError

    def _draw(self, signal: Tensor, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw ``(batch, n)`` from 0 to below 1."""
        return torch.rand((len(signal), n), generator=generator, device=signal.device)

    def _check(self, key: str, value: float, is_allowed: bool, expected: str) -> None:
        if not is_allowed:
            raise ConfigError(f"augment.{self.name}.{key} must be {expected}, got {value}")


class Crop(SignalAugmentation):
    """Keeps a segment of a record, moves it to a random place and sets what is around it to 0.

    Parameters
    ----------
    min_share
        Of the record, the least that is kept; above 0, at most 1.
    probability, at_risk
        As `SignalAugmentation` has them; a beat, or a pause, may be cut away.
    """

    name = "crop"
    statements_at_risk = frozenset(_SINGLE_BEATS)

    def __init__(self, *, min_share: float = 0.8, probability: float = 0.5, at_risk: AtRisk = "leave_out") -> None:
        super().__init__(probability, at_risk)
        self._check("min_share", min_share, 0 < min_share <= 1, "above 0 and at most 1")
        self.min_share = min_share

    def change(self, signal: Tensor, *, generator: torch.Generator) -> Tensor:
        """Crop."""
        n_samples = signal.shape[2]
        length, start, place = self._draw(signal, 3, generator=generator)[:, :, None, None].unbind(1)
        n_cut = (length * (1 + math.floor(n_samples * (1 - self.min_share) + 1e-9))).long()
        start, place = (start * (n_cut + 1)).long(), (place * (n_cut + 1)).long()
        sample = torch.arange(n_samples, device=signal.device)
        is_kept = (sample >= place) & (sample < place + n_samples - n_cut)
        source = (sample - place + start).clamp(0, n_samples - 1).expand(signal.shape)
        return signal.gather(2, source) * is_kept  # a mask of few bytes: twice as fast as filling


class TimeWarp(SignalAugmentation):
    """Lets time run faster in one half of a record and slower in the other, smoothly; its first and last sample stay.

    Parameters
    ----------
    max_change
        Of the speed, by which rates and intervals change: 0.1 is 10 percent. From 0 to below 1.
    probability, at_risk
        As `SignalAugmentation` has them; rates, rhythms and intervals change.
    """

    name = "time_warp"
    statements_at_risk = frozenset(_RATES | _INTERVALS)

    def __init__(self, *, max_change: float = 0.1, probability: float = 0.5, at_risk: AtRisk = "leave_out") -> None:
        super().__init__(probability, at_risk)
        self._check("max_change", max_change, 0 <= max_change < 1, "at least 0 and below 1")
        self.max_change = max_change

    def change(self, signal: Tensor, *, generator: torch.Generator) -> Tensor:
        """Warp; what lies between two samples is on a line."""
        n_samples = signal.shape[2]
        change, phase = self._draw(signal, 2, generator=generator)[:, :, None, None].unbind(1)
        change, phase = change * self.max_change, 2 * math.pi * phase
        sample = torch.arange(n_samples, device=signal.device, dtype=torch.float32)
        period = max(n_samples - 1, 1) / (2 * math.pi)  # the speed is 1 + change * sin(sample / period + phase)
        source = sample + change * period * (phase.cos() - (sample / period + phase).cos())
        before = source.floor().long().clamp(0, max(n_samples - 2, 0))
        share = (source - before).clamp(0, 1)
        after = (before + 1).clamp(max=n_samples - 1)
        return signal.gather(2, before.expand(signal.shape)).lerp(signal.gather(2, after.expand(signal.shape)), share)


class AmplitudeScaling(SignalAugmentation):
    """Multiplies all leads of a record by one factor, so that its axis stays.

    Parameters
    ----------
    max_factor
        The factor is from ``1 / max_factor`` to `max_factor`, as often above 1 as below; at least 1.
    probability, at_risk
        As `SignalAugmentation` has them; what is defined by a voltage may become untrue.
    """

    name = "amplitude"
    statements_at_risk = frozenset(_VOLTAGE)

    def __init__(self, *, max_factor: float = 1.2, probability: float = 0.5, at_risk: AtRisk = "leave_out") -> None:
        super().__init__(probability, at_risk)
        self._check("max_factor", max_factor, 1 <= max_factor < math.inf, "at least 1")
        self.max_factor = max_factor

    def change(self, signal: Tensor, *, generator: torch.Generator) -> Tensor:
        """Scale."""
        power = 2 * self._draw(signal, 1, generator=generator)[:, :, None] - 1
        return signal * (math.log(self.max_factor) * power).exp()


class GaussianNoise(SignalAugmentation):
    """Adds white noise, independent in all leads and samples.

    Parameters
    ----------
    max_sd
        Standard deviation of the noise in sd, from 0.
    probability
        As `SignalAugmentation` has it.
    """

    name = "noise"

    def __init__(self, *, max_sd: float = 0.1, probability: float = 0.5) -> None:
        super().__init__(probability)
        self._check("max_sd", max_sd, 0 <= max_sd < math.inf, "at least 0")
        self.max_sd = max_sd

    def change(self, signal: Tensor, *, generator: torch.Generator) -> Tensor:
        """Add noise."""
        sd = self._draw(signal, 1, generator=generator)[:, :, None] * self.max_sd
        noise = torch.randn(signal.shape, generator=generator, device=signal.device)
        return torch.addcmul(signal, noise, sd)


class BaselineWander(SignalAugmentation):
    """Adds two slow sinusoids, as of breathing and of moving electrodes; each lead has amplitudes of its own.

    Parameters
    ----------
    sampling_rate_hz
        Of the signals.
    max_sd
        The most that both together reach, in sd; from 0.
    min_hz, max_hz
        Between which frequencies they are.
    probability
        As `SignalAugmentation` has it.
    """

    name = "wander"
    _N_WAVES = 2

    def __init__(
        self,
        *,
        sampling_rate_hz: float,
        max_sd: float = 0.2,
        min_hz: float = 0.05,
        max_hz: float = 0.5,
        probability: float = 0.5,
    ) -> None:
        super().__init__(probability)
        self._check("max_sd", max_sd, 0 <= max_sd < math.inf, "at least 0")
        self._check("min_hz", min_hz, 0 < min_hz <= max_hz, f"above 0 and at most max_hz ({max_hz})")
        self.sampling_rate_hz, self.max_sd, self.min_hz, self.max_hz = sampling_rate_hz, max_sd, min_hz, max_hz

    def change(self, signal: Tensor, *, generator: torch.Generator) -> Tensor:
        """Add wander."""
        n_leads, n_samples = signal.shape[1:]
        drawn = self._draw(signal, (n_leads + 2) * self._N_WAVES, generator=generator)
        amplitude = drawn.view(len(signal), n_leads + 2, self._N_WAVES)  # (batch, lead, wave), and two rows more
        frequency_hz = self.min_hz + amplitude[:, -2, :, None] * (self.max_hz - self.min_hz)
        phase = 2 * math.pi * amplitude[:, -1, :, None]
        time_s = torch.arange(n_samples, device=signal.device) / self.sampling_rate_hz
        waves = (2 * math.pi * frequency_hz * time_s + phase).sin()  # (batch, wave, sample)
        amplitude = (2 * amplitude[:, :n_leads] - 1) * (self.max_sd / self._N_WAVES)
        return torch.baddbmm(signal, amplitude, waves)


class TimeMasking(SignalAugmentation):
    """Sets one segment of a record to 0 in all leads.

    Parameters
    ----------
    sampling_rate_hz
        Of the signals.
    max_s
        The longest segment, above 0; at most half of a record is masked.
    probability, at_risk
        As `SignalAugmentation` has them; a single beat that a label speaks of may be masked.
    """

    name = "time_mask"
    statements_at_risk = frozenset(_SINGLE_BEATS)

    def __init__(
        self, *, sampling_rate_hz: float, max_s: float = 1.0, probability: float = 0.5, at_risk: AtRisk = "leave_out"
    ) -> None:
        super().__init__(probability, at_risk)
        self._check("max_s", max_s, 0 < max_s < math.inf, "above 0")
        self.sampling_rate_hz, self.max_s = sampling_rate_hz, max_s

    def change(self, signal: Tensor, *, generator: torch.Generator) -> Tensor:
        """Mask."""
        n_samples = signal.shape[2]
        longest = min(round(self.max_s * self.sampling_rate_hz), n_samples // 2)
        length, start = self._draw(signal, 2, generator=generator)[:, :, None, None].unbind(1)
        length = (1 + (length * longest).long()).clamp(max=longest)  # 1 to the longest, each as often
        start = (start * (n_samples - length + 1)).long()
        sample = torch.arange(n_samples, device=signal.device)
        return signal * ((sample < start) | (sample >= start + length))
