"""A small two-dimensional convolutional net that looks at an ECG as an image."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGE_SIZE = (64, 256)
"""Height and width of the image, pixels."""

_WINDOW = 32  # samples of a spectrogram's window: 0.32 s at 100 Hz
_HOP = 4  # samples from one window to the next


class CNN2D(nn.Module):
    """Makes a 1 x 64 x 256 image of the signal; three convolution blocks, global average pooling, a small head.

    Each block is Conv2d 3 x 3 ('same' padding), BatchNorm, ReLU and MaxPool 2, with `width` channels, twice and
    four times as many. The head is Linear to twice the width, ReLU, dropout, Linear. With width 8 6,613 parameters for
    5 classes, whatever the image or the input's shape.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        The shape of the input and the number of logits. ``image=spectrogram`` needs at least 32 samples.
    image
        How the image is made. ``resize``: the lead-by-time matrix, resized bilinearly; the rows are the leads from
        top to bottom, the columns time. ``spectrogram``: each lead's log-spectrogram (Hann window of 32 samples, hop
        4, ``log(1 + power)``, without the zero frequency), the leads stacked from top to bottom with frequency
        rising downwards in each, resized bilinearly with anti-aliasing and standardized image by image.
    dropout
        Probability of dropping a hidden unit of the head, 0 to 1.
    width
        Channels of the first block.
    """

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        image: Literal["resize", "spectrogram"] = "resize",
        dropout: float = 0.3,
        width: int = 8,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"CNN2D's width must be at least 1, got {width}")
        if image not in ("resize", "spectrogram"):
            raise ValueError(f"CNN2D's image must be resize or spectrogram, got {image}")
        if image == "spectrogram" and n_samples < _WINDOW:
            raise ValueError(f"CNN2D's spectrogram needs at least {_WINDOW} samples, got {n_samples}")
        self.n_leads, self.n_samples = n_leads, n_samples
        self._make_image = _resize if image == "resize" else _spectrogram
        self._map_back = _unresize if image == "resize" else _unstack
        blocks = *_block(1, width), *_block(width, 2 * width), *_block(2 * width, 4 * width)
        self.features = nn.Sequential(*blocks)
        self.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster on a CPU
        n_hidden = 2 * width
        self.head = nn.Sequential(
            nn.Linear(4 * width, n_hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_hidden, n_classes)
        )

    def forward(self, signal: Tensor) -> Tensor:
        """Turn ``(batch, lead, sample)``, standardized, into logits ``(batch, class)``."""
        image = self._make_image(signal)  # (batch, 1, 64, 256)
        features: Tensor = self.features(image)  # (batch, 4 * width, 8, 32)
        logits: Tensor = self.head(features.mean(dim=(-2, -1)))
        return logits

    def map_to_leads(self, image_map: Tensor) -> Tensor:
        """Bring a map of the image back to the leads and samples that the image was made of.

        Parameters
        ----------
        image_map
            ``(batch, height, width)``: values over the image at any resolution, such as a Grad-CAM of one of the
            blocks. With ``image=spectrogram`` a lead's value is the mean over its frequencies.

        Returns
        -------
        Tensor
            ``(batch, lead, sample)``, interpolated linearly. It is no finer than the map was: one of 16 rows for
            12 leads mixes neighbors.
        """
        return self._map_back(image_map[:, None], self.n_leads, self.n_samples)


def _block(n_in: int, n_out: int) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, padding="same"), nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]


def _resize(signal: Tensor) -> Tensor:
    """Resize ``(batch, lead, sample)`` to ``(batch, 1, 64, 256)``."""
    return functional.interpolate(signal[:, None], IMAGE_SIZE, mode="bilinear", align_corners=False)


def _spectrogram(signal: Tensor) -> Tensor:
    """Turn ``(batch, lead, sample)`` into a stack of log-spectrograms, ``(batch, 1, 64, 256)``."""
    n_batch, n_leads, n_samples = signal.shape
    spectrum = torch.stft(
        signal.reshape(n_batch * n_leads, n_samples),
        n_fft=_WINDOW,
        hop_length=_HOP,
        window=torch.hann_window(_WINDOW, device=signal.device, dtype=signal.dtype),
        return_complex=True,
    )[:, 1:]  # (batch * lead, frequency, time)
    power = torch.log1p(spectrum.abs().square())
    stacked = power.reshape(n_batch, 1, n_leads * power.shape[1], power.shape[2])
    image = functional.interpolate(stacked, IMAGE_SIZE, mode="bilinear", align_corners=False, antialias=True)
    mean = image.mean(dim=(-2, -1), keepdim=True)
    return (image - mean) / (image.std(dim=(-2, -1), keepdim=True) + 1e-6)


def _unresize(image_map: Tensor, n_leads: int, n_samples: int) -> Tensor:
    """Turn ``(batch, 1, height, width)`` of a resized image into ``(batch, lead, sample)``."""
    return _scale(image_map, n_leads, n_samples)


def _unstack(image_map: Tensor, n_leads: int, n_samples: int) -> Tensor:
    """Turn ``(batch, 1, height, width)`` of a stack of spectrograms into ``(batch, lead, sample)``."""
    n_frequencies, n_frames = _WINDOW // 2, n_samples // _HOP + 1
    stacked = _scale(image_map, n_leads * n_frequencies, n_frames)
    frames = stacked.unflatten(1, (n_leads, n_frequencies)).mean(dim=2)  # (batch, lead, frame)
    # Frame f is centered on sample 4 f, so the frames' corners are samples; up to two more come after the last.
    samples = functional.interpolate(frames, (n_frames - 1) * _HOP + 1, mode="linear", align_corners=True)
    return functional.pad(samples, (0, _HOP - 2), mode="replicate")[..., :n_samples]


def _scale(image_map: Tensor, height: int, width: int) -> Tensor:
    """Resize ``(batch, 1, height, width)`` by pixel centers, as the images were; return it without the channel."""
    return functional.interpolate(
        image_map, (height, width), mode="bilinear", align_corners=False, antialias=True
    ).squeeze(1)
