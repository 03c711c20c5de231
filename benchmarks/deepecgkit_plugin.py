"""The same net and the 100 Hz files for deepecgkit, by its option ``--import``, in an environment of its own."""

import torch
from deepecgkit.datasets.ptbxl import PTBXLDataset
from deepecgkit.registry import register_dataset, register_model
from torch import nn


@register_model("cnn1d", description="the layers of ecgcls's cnn1d")
class CNN1D(nn.Module):
    """The layers of ``ecgcls.models.cnn1d.CNN1D``, as one would write them: logits from ``(batch, lead, sample)``."""

    def __init__(self, input_channels: int = 12, output_size: int = 5, **others: object) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out, width in ((input_channels, 32, 7), (32, 64, 5), (64, 128, 3)):
            layers += [nn.Conv1d(n_in, n_out, width, padding="same"), nn.BatchNorm1d(n_out), nn.ReLU(), nn.MaxPool1d(2)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, output_size))
        self.is_told = False

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        if self.training and not self.is_told:
            print("first step", flush=True)
            self.is_told = True
        logits: torch.Tensor = self.head(self.features(signal).mean(dim=-1))
        return logits


@register_dataset("ptbxl", input_channels=12, num_classes=5, description="PTB-XL, the 100 Hz files")
class PTBXL100(PTBXLDataset):
    """Reads ``records100``; deepecgkit looks at the arguments' names."""

    def __init__(
        self,
        data_dir: str | None = None,
        sampling_rate: int = 100,
        leads: list[str] | None = None,
        normalization: str = "zscore",
        multi_label: bool = True,
        download: bool = False,
        force_download: bool = False,
        **others: object,
    ) -> None:
        super().__init__(
            data_dir=data_dir,
            sampling_rate=100,
            use_high_resolution=False,
            leads=leads,
            normalization=normalization,
            multi_label=multi_label,
            download=download,
            force_download=force_download,
            **others,
        )
