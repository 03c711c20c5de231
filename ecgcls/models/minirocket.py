"""MiniRocket: ten thousand fixed features of a signal, and a linear head that is fitted to them."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL_SIZE = 9
_N_KERNELS = 84  # the ways to choose 3 of 9 weights
_MAX_DILATIONS = 32  # of each kernel
_CLIP = 3.0  # standard deviations: of few records, one that is far out would lead the head astray
_GOLDEN_RATIO = (math.sqrt(5) + 1) / 2
_BLOCK = 4  # records at a time, whose convolutions fit into the cache of a core


class MiniRocket(nn.Module):
    """Proportions of positive values of 84 dilated convolutions, and one linear layer over them [1]_.

    Each kernel has nine weights, three of them 2 and six -1 (so they add up to 0), in all 84 ways; it is dilated from
    1 to the length of the signal, in exponential steps. Each pair of kernel and dilation sees a random subset of the
    leads, whose number is log-uniform from 1 to 9, and adds up over them. A feature is the proportion of samples at
    which such a convolution exceeds a bias. Of two neighboring pairs one is padded with zeros, the other counts only
    the samples at which the kernel lies inside the signal. Nothing of this is trained by gradients: `fit_features`
    draws the biases from the convolutions of training records, and the head is fitted by
    `ecgcls.training.heads.fit_head`.

    Two things differ from the paper: a bias is a quantile of the samples that its feature counts, and standardized
    features are clipped at 3, which on 350 records of PTB-XL raised the validation PR-AUC by .002 to .013.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits; n_samples at least 9.
    n_features
        About how many features; the multiple of 84 below it is taken, 9,996 by default.
    differences
        Proportion of the features that are of the signal's first differences, as in [2]_; 0 to 1.
    n_bias_records
        The biases are drawn from so many training records, or all if there are fewer.
    penalties
        The head is fitted with each of these weights of its squared norm; the one that validates best is kept.

    References
    ----------
    .. [1] A. Dempster, D. F. Schmidt, G. I. Webb, "MiniRocket: a very fast (almost) deterministic transform for time
           series classification", KDD 2021, doi:10.1145/3447548.3467231.
    .. [2] C. W. Tan, A. Dempster, C. Bergmeir, G. I. Webb, "MultiRocket: multiple pooling operators and
           transformations for fast and effective time series classification", Data Mining and Knowledge Discovery
           2022, doi:10.1007/s10618-022-00844-1.
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        n_features: int = 10_000,
        differences: float = 0.0,
        n_bias_records: int = 256,
        penalties: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        if not 0 <= differences < 1:
            raise ValueError(f"MiniRocket's differences must be at least 0 and below 1, got {differences}")
        if n_bias_records < 1 or not penalties or min(penalties) <= 0:
            given = f"{n_bias_records} and {tuple(penalties)}"
            raise ValueError(f"MiniRocket needs n_bias_records of at least 1 and penalties above 0, got {given}")
        self.n_bias_records, self.penalties = n_bias_records, tuple(penalties)
        n_of_differences = round(n_features * differences)
        self.signal = Proportions(n_leads, n_samples, n_features - n_of_differences)
        self.differences = Proportions(n_leads, n_samples - 1, n_of_differences) if n_of_differences else None
        n_all = len(self.signal.bias) + (len(self.differences.bias) if self.differences else 0)
        self.register_buffer("mean", torch.zeros(n_all))
        self.register_buffer("sd", torch.ones(n_all))
        self.head = nn.Linear(n_all, n_classes)

    def forward(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)``, standardized, into logits ``(batch, class)``."""
        features = self.compute_features(signal)
        with torch.autocast(signal.device.type, enabled=False):  # half precision would tie logits that differ
            logits: Tensor = self.head(self.standardize(features))
        return logits

    def standardize(self, features: Tensor) -> Tensor:
        """Turn proportions into what the head takes: standard deviations from the mean, 3 at most."""
        return ((features - self.mean) / self.sd).clamp(-_CLIP, _CLIP)

    @torch.no_grad()
    def compute_features(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)`` into proportions ``(batch, feature)``, 0 to 1."""
        parts = [part(given) for part, given in self._pair(signal)]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def fit_features(self, signal: Tensor, generator: torch.Generator) -> None:
        """Draw the biases from ``(record, lead, sample)`` of the training part, standardized."""
        for part, given in self._pair(signal):
            part.fit(given, generator)

    def _pair(self, signal: Tensor) -> list[tuple["Proportions", Tensor]]:
        """Return the kinds of features, each with what it is computed of."""
        of_signal = [(self.signal, signal)]
        return of_signal if self.differences is None else [*of_signal, (self.differences, signal.diff(dim=-1))]


class Proportions(nn.Module):
    """Proportions of positive values of one input; nothing in it is trained by gradients.

    Parameters
    ----------
    n_leads, n_samples
        The shape of the input.
    n_features
        Rounded down to a multiple of 84, and at least that.
    """

    bias: Tensor
    leads: Tensor

    def __init__(self, n_leads: int, n_samples: int, n_features: int) -> None:
        super().__init__()
        if n_samples < KERNEL_SIZE:
            raise ValueError(f"MiniRocket's kernels span {KERNEL_SIZE} samples at least, got {n_samples}")
        if n_features < _N_KERNELS:
            raise ValueError(f"MiniRocket needs at least {_N_KERNELS} features of an input, got {n_features}")
        self.dilations, self.n_biases = spread_dilations(n_samples, n_features // _N_KERNELS)
        self.register_buffer("leads", _draw_leads(len(self.dilations), n_leads))  # (dilation, kernel, lead)
        self.register_buffer("bias", torch.zeros(_N_KERNELS * sum(self.n_biases)))  # by dilation (kernel, bias)

    def forward(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)`` into proportions ``(batch, feature)``."""
        if torch.compiler.is_exporting() or torch.jit.is_tracing():  # a graph of any number of records
            return self._count(signal)
        return torch.cat([self._count(block) for block in signal.split(_BLOCK)])

    def _count(self, signal: Tensor) -> Tensor:
        found, is_above = [], signal.new_empty((signal.shape[0], _N_KERNELS, signal.shape[-1]), dtype=torch.float32)
        for number, biases in enumerate(self._split_biases()):
            values, n_counted = self._convolve(signal, number)  # (batch, kernel, sample)
            # Into numbers: torch compares several times as fast as into booleans, and adds them up at once.
            counts = [torch.gt(values, bias[:, None], out=is_above).sum(dim=-1) for bias in biases.unbind(dim=1)]
            found.append((torch.stack(counts, dim=-1) / n_counted[:, None]).flatten(start_dim=1))
        return torch.cat(found, dim=1)  # dilation by dilation (kernel, bias)

    def fit(self, signal: Tensor, generator: torch.Generator) -> None:
        """Draw the biases: each pair's are quantiles of its convolution of one record of ``(record, lead, sample)``.

        The quantiles are multiples of the golden ratio, modulo 1, which fill the unit interval evenly.
        """
        n_drawn, n_samples = 0, signal.shape[-1]
        for number, biases in enumerate(self._split_biases()):
            drawn = torch.randint(len(signal), (_N_KERNELS,), generator=generator).to(signal.device)
            stacked = signal[drawn].reshape(1, -1, n_samples)  # a record for each kernel, its leads
            values, n_counted = self._convolve(stacked, number, groups=_N_KERNELS)
            ordered = values[0].double().sort(dim=-1).values  # (kernel, sample), those that do not count first
            order = torch.arange(n_drawn + 1, n_drawn + biases.numel() + 1, dtype=torch.float64, device=signal.device)
            quantiles = (order * _GOLDEN_RATIO % 1).view_as(biases)
            for row, counted, n, places in zip(biases, ordered, n_counted, quantiles, strict=True):
                row.copy_(counted[n_samples - int(n) :].quantile(places))
            n_drawn += biases.numel()

    def _split_biases(self) -> list[Tensor]:
        """Return the biases of each dilation, views of ``(kernel, bias)``."""
        parts = self.bias.split([_N_KERNELS * n for n in self.n_biases])
        return [part.view(_N_KERNELS, -1) for part in parts]

    def _convolve(self, signal: Tensor, number: int, *, groups: int = 1) -> tuple[Tensor, Tensor]:
        """Return the convolutions with one dilation, -inf where they do not count, and how many do, ``(kernel,)``."""
        dilation, n_samples = self.dilations[number], signal.shape[-1]
        margin = dilation * (KERNEL_SIZE // 2)
        weight = make_kernels().to(signal)[:, None, :] * self.leads[number, :, :, None]  # (kernel, lead, 9)
        with torch.autocast(signal.device.type, enabled=False):
            values = functional.conv1d(signal.float(), weight.float(), padding=margin, dilation=dilation, groups=groups)
        first = 1 - number % 2  # of the kernels that must lie inside the signal, which are every other one
        n_counted = torch.full((_N_KERNELS,), n_samples, device=signal.device)
        n_counted[first::2] = n_samples - 2 * margin
        values[:, first::2, :margin] = -torch.inf
        values[:, first::2, n_samples - margin :] = -torch.inf
        return values, n_counted


def make_kernels() -> Tensor:
    """Return the weights ``(kernel, 9)``: 2 at three places, -1 at the others, in the order of the places."""
    kernels = torch.full((_N_KERNELS, KERNEL_SIZE), -1.0)
    places = torch.tensor([*combinations(range(KERNEL_SIZE), 3)])
    return kernels.scatter_(1, places, 2.0)


def spread_dilations(n_samples: int, n_per_kernel: int) -> tuple[list[int], list[int]]:
    """Return the dilations, and how many features each kernel has with each of them, `n_per_kernel` in all.

    At most 32, in exponential steps up to that at which a kernel spans the signal; of those that are the same when
    rounded down, one has the features of all.

    Examples
    --------
    >>> spread_dilations(100, 7)
    ([1, 2, 3, 5, 8, 12], [2, 1, 1, 1, 1, 1])
    """
    n_steps = min(n_per_kernel, _MAX_DILATIONS)
    largest = math.log2((n_samples - 1) / (KERNEL_SIZE - 1))
    steps = Counter(int(2 ** (largest * step / max(n_steps - 1, 1))) for step in range(n_steps))
    n_biases = [n * n_per_kernel // n_steps for n in steps.values()]
    for number in range(n_per_kernel - sum(n_biases)):
        n_biases[number % len(n_biases)] += 1
    return [*steps], n_biases


def _draw_leads(n_dilations: int, n_leads: int) -> Tensor:
    """Draw which leads each pair of dilation and kernel adds up, ``(dilation, kernel, lead)`` of 0 and 1."""
    most = min(n_leads, KERNEL_SIZE)
    n_drawn = torch.exp2(torch.rand(n_dilations, _N_KERNELS) * math.log2(most + 1)).floor().clamp(max=most)
    rank = torch.rand(n_dilations, _N_KERNELS, n_leads).argsort(dim=-1)
    return (rank < n_drawn[..., None]).float()
