"""Diagonal state space layers (S4D) over the whole signal, forwards and backwards in time.

A layer's channels are linear systems of their own, in continuous time ``x' = A x + u``, ``y = 2 Re(C x) + D u`` with a
diagonal, complex A, held over a step dt (zero-order hold): a convolution whose kernel is as long as the signal.

References
----------
A. Gu, A. Gupta, K. Goel, C. Ré, "On the parameterization and initialization of diagonal state space models", NeurIPS
2022, arXiv:2206.11893 (the layer, its initialization S4D-Lin).
T. Mehari, N. Strodthoff, "Towards quantitative precision for ECG analysis: leveraging state space models,
self-supervision and patient metadata", IEEE JBHI 27(11), 2023, doi:10.1109/JBHI.2023.3310989 (four such layers of 512
channels and state 8 on PTB-XL).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_BLOCK = 8  # samples
_LONGEST_PRODUCT = 512  # samples; beyond, a matrix of all pairs of samples takes more time and memory than the FFT


class S4D(nn.Module):
    """A 1x1 convolution to `width` channels, `depth` bidirectional S4D layers, the mean over time and a linear head.

    A layer is the state space convolution, GELU, dropout, 1x1 to twice the width and GLU, dropout, the residual, and
    layer norm over the channels. Dropout leaves out whole channels of a record. A layer of width H and state N has
    2 H² + 2 H parameters of the 1x1, 2 H of the norm, and H (3 N + 2) of the systems: A (N), dt (1), D (1), and C of
    either direction (N each), which share the others. With 12 leads and 5 classes 2,167,813 in all: 6,656 +
    4 (525,312 + 1,024 + 13,312) + 2,565.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits. Any length will do.
    width
        Channels.
    depth
        Layers.
    state
        Real numbers in a channel's state, even: 8 are four complex numbers, of four pairs of conjugates.
    dropout
        Probability of dropping a channel, 0 to 1.
    """

    grad_cam_layer = "features"

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        width: int = 512,
        depth: int = 4,
        state: int = 8,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if width < 1 or depth < 1:
            raise ValueError(f"S4D's width and depth must be at least 1, got {width} and {depth}")
        if state < 2 or state % 2:
            raise ValueError(f"S4D's state must be even and at least 2, got {state}")
        self.n_samples = n_samples
        self.encoder = nn.Linear(n_leads, width)
        self.layers = nn.Sequential(*[_Layer(width, state=state, dropout=dropout) for _ in range(depth)])
        self.features = nn.Identity()  # for Grad-CAM: (batch, channel, sample)
        self.head = nn.Linear(width, n_classes)

    def forward(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)``, standardized, into logits ``(batch, class)``."""
        hidden = self.layers(self.encoder(signal.permute(2, 0, 1)))  # (sample, batch, channel)
        logits: Tensor = self.head(self.features(hidden.permute(1, 2, 0)).mean(dim=-1))
        return logits

    def prepare_export(self) -> None:
        """Compute all kernels for `n_samples` now: ONNX has neither complex exponentials nor an exact, fast FFT."""
        for module in self.modules():
            if isinstance(module, StateSpace):
                module.fixed_kernel = module.make_kernel(self.n_samples).detach()


class _Layer(nn.Module):
    def __init__(self, width: int, *, state: int, dropout: float) -> None:
        super().__init__()
        self.systems = StateSpace(width, state=state)
        self.mix = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Turn ``(sample, batch, channel)`` into the same.

        The convolution takes channels first, all else takes them last; both are matrix products that way.
        """
        n_samples, n_batch, width = hidden.shape
        by_channel = hidden.reshape(-1, width).t().contiguous().view(width, n_samples, n_batch)
        response = self._drop(functional.gelu(self.systems(by_channel)), (width, 1, n_batch))
        mixed = functional.glu(self.mix(response.reshape(width, -1).t())).view(hidden.shape)
        normed: Tensor = self.norm(hidden + self._drop(mixed, (1, n_batch, width)))
        return normed

    def _drop(self, hidden: Tensor, channels: tuple[int, int, int]) -> Tensor:
        """Leave out channels of a record over its whole time: `channels` has the size 1 where time is."""
        return hidden * self.dropout(hidden.new_ones(channels)) if self.training else hidden


class StateSpace(nn.Module):
    """Linear systems, one a channel, each run forwards and backwards in time; both responses are added.

    The frequencies of S4D-Lin are pi n (n = 0, 1, ...) and the decays 1/2, both per unit of time; a step dt is a part
    of it, drawn log-uniformly from 0.001 to 0.1 for each channel.
    """

    fixed_kernel: Tensor | None

    def __init__(self, width: int, *, state: int) -> None:
        super().__init__()
        self.register_buffer("fixed_kernel", None, persistent=False)
        n_pairs = state // 2
        lowest, highest = math.log(1e-3), math.log(1e-1)
        self.log_dt = nn.Parameter(torch.rand(width) * (highest - lowest) + lowest)
        self.log_decay = nn.Parameter(torch.full((width, n_pairs), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(n_pairs).repeat(width, 1).float())
        self.output = nn.Parameter(torch.randn(width, 2, n_pairs, 2) * math.sqrt(0.5))  # C: direction, pair, re and im
        self.skip = nn.Parameter(torch.randn(width))

    def forward(self, signal: Tensor) -> Tensor:
        """Turn ``(channel, sample, batch)`` into the same; the kernel, and an FFT, are computed in float32."""
        if self.fixed_kernel is not None:
            return convolve_by_blocks(self.fixed_kernel, signal)
        with torch.autocast(signal.device.type, enabled=False):
            kernel = self.make_kernel(signal.shape[1])
            if signal.shape[1] > _LONGEST_PRODUCT:
                return convolve_by_fft(kernel, signal.float()).to(signal.dtype)
            response: Tensor = ConvolveByProduct.apply(kernel.to(signal.dtype), signal)
            return response

    def make_kernel(self, n_samples: int) -> Tensor:
        """Return ``(channel, 2 * n_samples - 1)``: the response to an impulse in the middle."""
        poles = torch.complex(-self.log_decay.exp(), self.frequency)
        steps = poles * self.log_dt.exp()[:, None]  # (channel, pair)
        weights = 2 * torch.view_as_complex(self.output) * (torch.expm1(steps) / poles)[:, None]
        time = torch.arange(n_samples, device=steps.device)
        size = (steps.real[..., None] * time).exp()  # (channel, pair, sample)
        angle = steps.imag[..., None] * time
        powers = torch.cat([size * angle.cos(), size * angle.sin()], dim=1)
        forward, backward = (torch.cat([weights.real, -weights.imag], dim=-1) @ powers).unbind(1)
        middle = forward[:, :1] + backward[:, :1] + self.skip[:, None]
        return torch.cat([backward[:, 1:].flip(-1), middle, forward[:, 1:]], dim=1)


def convolve_by_fft(kernel: Tensor, signal: Tensor) -> Tensor:
    """Convolve ``(channel, sample, batch)`` with kernels ``(channel, 2 * sample - 1)`` whose middle is lag 0."""
    n_samples = signal.shape[1]
    n = 2 * n_samples  # what wraps around lies outside of the samples that are kept
    spectrum = torch.fft.rfft(signal, n=n, dim=1) * torch.fft.rfft(kernel, n=n, dim=1)[..., None]
    return torch.fft.irfft(spectrum, n=n, dim=1)[:, n_samples - 1 : 2 * n_samples - 1]


def convolve_by_blocks(kernel: Tensor, signal: Tensor) -> Tensor:
    """Do the same with plain convolutions over blocks of samples, which any runtime has.

    Eight samples in a row are eight channels, so that a weight is a matrix of pairs of samples for each distance of two
    blocks. That takes 16 n_samples weights a channel, where a matrix of all pairs takes n_samples².
    """
    n_channels, n_samples, n_batch = signal.shape
    n_blocks = -(-n_samples // _BLOCK)
    lag = torch.arange(_BLOCK)[:, None, None] - torch.arange(_BLOCK)[:, None]  # (to, from, 1) in a block
    lag = lag + _BLOCK * torch.arange(n_blocks - 1, -n_blocks, -1)  # (to, from, block)
    place = torch.where(lag.abs() < n_samples, lag + n_samples - 1, 2 * n_samples - 1)
    with_zero = torch.cat([kernel, torch.zeros_like(kernel[:, :1])], dim=1)
    weight = with_zero[:, place].reshape(n_channels * _BLOCK, _BLOCK, 2 * n_blocks - 1)
    padded = functional.pad(signal.permute(2, 0, 1), (0, n_blocks * _BLOCK - n_samples))
    blocks = padded.reshape(n_batch, n_channels, n_blocks, _BLOCK).transpose(2, 3)
    blocks = blocks.reshape(n_batch, n_channels * _BLOCK, n_blocks)
    response = functional.conv1d(blocks, weight, padding=n_blocks - 1, groups=n_channels)
    response = response.reshape(n_batch, n_channels, _BLOCK, n_blocks).transpose(2, 3)
    return response.reshape(n_batch, n_channels, -1)[..., :n_samples].permute(1, 2, 0)


class ConvolveByProduct(torch.autograd.Function):
    """The same as a product with the matrix of all pairs of samples, which takes the units for bfloat16.

    Its own backward pass adds up the matrix's diagonals at the speed of the memory, autograd's takes ten times as long.
    """

    @staticmethod
    def forward(ctx, kernel: Tensor, signal: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """See `convolve_by_fft`."""
        matrix = kernel.flip(1).unfold(1, signal.shape[1], 1).flip(1)  # [channel, t, s] = kernel at lag t - s
        ctx.save_for_backward(matrix, signal)
        return torch.bmm(matrix, signal)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[no-untyped-def]
        """Return the gradients of the kernel and of the signal."""
        matrix, signal = ctx.saved_tensors
        n_channels, n_samples, _ = signal.shape
        of_kernel = of_signal = None
        if ctx.needs_input_grad[0]:
            padded = functional.pad(signal.flip(1), (0, 0, 0, n_samples))
            pairs = torch.bmm(gradient, padded.transpose(1, 2))  # [channel, t, n - 1 - s], then zeros
            # Rows that are one shorter move each row t by t to the right, so that t - s + n - 1 is the column.
            sheared = pairs.view(n_channels, -1)[:, : n_samples * (2 * n_samples - 1)]
            of_kernel = sheared.view(n_channels, n_samples, -1).sum(dim=1)
        if ctx.needs_input_grad[1]:
            of_signal = torch.bmm(matrix.transpose(1, 2), gradient)
        return of_kernel, of_signal
