"""Five nets trained in one step, as grouped convolutions or by `torch.func`, against one net after another.

Tried for cross-validation and not kept: see the README beside this file.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.bare import BATCH_SIZE, N_CLASSES, N_LEADS, N_SAMPLES, Classic
from benchmarks.findings import Finding, Setting
from benchmarks.interleave import median_ratio, take_turns
from ecgcls.models.cnn1d import CNN1D
from ecgcls.training.memory import keep_freed_memory

_N_NETS, _N_STEPS = 5, 20


class Grouped(nn.Module):
    """Five of cnn1d as one net: logits ``(batch, net, class)`` of ``(batch, net * lead, 1, sample)``."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out, width in ((N_LEADS, 32, 7), (32, 64, 5), (64, 128, 3)):
            conv = nn.Conv2d(_N_NETS * n_in, _N_NETS * n_out, (1, width), padding="same", groups=_N_NETS)
            layers += [conv, nn.BatchNorm2d(_N_NETS * n_out), nn.ReLU(), nn.MaxPool2d((1, 2))]
        self.features = nn.Sequential(*layers)
        self.weights = nn.ParameterList(
            [torch.randn(_N_NETS, 128, 64) * 0.1, torch.randn(_N_NETS, 64, N_CLASSES) * 0.1]
        )
        self.biases = nn.ParameterList([torch.zeros(_N_NETS, 1, 64), torch.zeros(_N_NETS, 1, N_CLASSES)])

    def forward(self, signal: Tensor) -> Tensor:
        """Return the logits of all nets."""
        hidden = self.features(signal).mean(dim=(-2, -1)).view(-1, _N_NETS, 128).transpose(0, 1)
        hidden = torch.baddbmm(self.biases[0], hidden, self.weights[0]).relu()
        hidden = nn.functional.dropout(hidden, 0.3, self.training)
        return torch.baddbmm(self.biases[1], hidden, self.weights[1]).transpose(0, 1)


def measure(setting: Setting) -> list[Finding]:
    """Train as many records each way."""
    keep_freed_memory()
    torch.manual_seed(0)
    signal = torch.randn(_N_STEPS * BATCH_SIZE, N_LEADS, N_SAMPLES)
    target = (torch.rand(len(signal), N_CLASSES) < 0.3).float()
    loss = nn.BCEWithLogitsLoss()

    def draw() -> list[Tensor]:
        return [torch.randperm(len(signal))[:BATCH_SIZE] for _ in range(_N_NETS)]

    nets = [CNN1D(N_LEADS, N_SAMPLES, N_CLASSES) for _ in range(_N_NETS)]
    optimizers = [torch.optim.AdamW(net.parameters(), fused=True) for net in nets]

    def train_separately() -> None:
        for _ in range(_N_STEPS):
            for net, optimizer, rows in zip(nets, optimizers, draw(), strict=True):
                optimizer.zero_grad()
                loss(net(signal[rows]), target[rows]).backward()
                optimizer.step()

    grouped = Grouped()
    grouped_optimizer = torch.optim.AdamW(grouped.parameters(), fused=True)

    def train_grouped() -> None:
        for _ in range(_N_STEPS):
            rows = torch.stack(draw(), dim=1)  # (batch, net)
            stacked = signal[rows].view(BATCH_SIZE, _N_NETS * N_LEADS, 1, N_SAMPLES)
            grouped_optimizer.zero_grad()
            logits = grouped(stacked.contiguous(memory_format=torch.channels_last))
            (loss(logits, target[rows]) * _N_NETS).backward()
            grouped_optimizer.step()

    template = Classic()  # vmap does not take channels-last tensors
    parameters, buffers = stack_module_state([Classic() for _ in range(_N_NETS)])
    own = {name: each.detach().requires_grad_() for name, each in parameters.items()}
    vmap_optimizer = torch.optim.AdamW(list(own.values()), fused=True)

    def call(one: dict[str, Tensor], other: dict[str, Tensor], batch: Tensor) -> Tensor:
        logits: Tensor = functional_call(template, (one, other), (batch,))
        return logits

    def train_vmapped() -> None:
        for _ in range(_N_STEPS):
            rows = torch.stack(draw())  # (net, batch)
            vmap_optimizer.zero_grad()
            logits = vmap(call, randomness="different")(own, buffers, signal[rows])
            (loss(logits, target[rows]) * _N_NETS).backward()
            vmap_optimizer.step()

    seconds = take_turns(
        {"separate": train_separately, "grouped": train_grouped, "vmap": train_vmapped}, setting.rounds + 1
    )
    separate = seconds["separate"][1:]
    return [
        Finding(
            "times as fast as five nets in turn: grouped convolutions", median_ratio(separate, seconds["grouped"][1:])
        ),
        Finding("times as fast as five nets in turn: `torch.func.vmap`", median_ratio(separate, seconds["vmap"][1:])),
    ]
